//! [`Breaker`]: whether a provider is asked at all. After failures in a row, or one that only a person can mend, it is left
//! alone for a while; then exactly one turn may try, and what it finds decides. Pure: time and randomness are arguments.
//!
//! ```text
//!            5 failures in a row, or a rejection            the rest is over: one probe
//!   Closed ────────────────────────────────────────▶ Open ◀────────────────────────────▶ HalfOpen
//!      ▲                                                        it failed, or found nothing   │
//!      └──────────────────────────── it succeeded: ten minutes of probation ──────────────────┘
//! ```
//!
//! Every change has a generation. An answer to what was asked in an earlier one comes too late to change anything.

use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::net::backoff;
use crate::provider::class::Class;

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;

/// With so many it starts after a successful probe, for [`PROBATION`].
const FAILURES_ON_PROBATION: u32 = 3;

/// How long a provider that came back has less credit.
const PROBATION: Duration = Duration::from_secs(600);

/// Closed for so long, it forgets one opening.
const FORGET: Duration = Duration::from_secs(600);

/// No opening lasts longer, whatever a server says and however often it happened.
pub const REST_MAX: Duration = Duration::from_secs(24 * 3600);

/// A server cannot make us ask again sooner than this.
const REST_MIN: Duration = Duration::from_secs(30);

/// More openings than this change nothing.
const OPENINGS_MAX: u32 = 16;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everybody may ask.
    Closed,
    /// Nobody may.
    Open,
    /// One turn is asking.
    HalfOpen,
}

impl State {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// Why it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Too many in a row.
    Failures,
    /// The credentials are rejected.
    Auth,
    /// The quota is used up.
    Quota,
    /// We are not let in.
    Forbidden,
}

impl Cause {
    /// The class of failure that it stands for; failures of any class stand for the most usual one.
    pub fn class(self) -> Class {
        match self {
            Cause::Failures => Class::Server,
            Cause::Auth => Class::Auth,
            Cause::Quota => Class::Quota,
            Cause::Forbidden => Class::Forbidden,
        }
    }

    /// The shortest rest and the longest; every opening doubles it.
    fn rests(self) -> (Duration, Duration) {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        match self {
            Cause::Failures => (Duration::from_secs(30), minutes(15)),
            Cause::Auth => (minutes(15), minutes(6 * 60)),
            Cause::Quota => (minutes(60), REST_MAX),
            Cause::Forbidden => (minutes(60), minutes(60)),
        }
    }
}

/// The right to ask once; whoever has it reports what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass(u64);

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered,
    /// A failure of this one question: whoever said so is alive.
    Alive,
    /// A failure that counts.
    Failed,
    /// A failure that opens at once, until the time that the other side named, if it did.
    Rejected(Cause, Option<Duration>),
    /// Nothing was learned: it was not asked after all, or not waited for.
    Nothing,
}

/// No right to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why it opened.
    pub cause: Cause,
    /// How long until the next probe; zero while one is under way.
    pub wait: Duration,
}

/// An opening, to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Why.
    pub cause: Cause,
    /// How long it still lasts.
    pub left: Duration,
}

/// The state of one provider with one credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    generation: u64,
    /// In a row, since the last answer.
    failures: u32,
    /// In a row, and fewer with time.
    openings: u32,
    cause: Cause,
    /// Until when it is open.
    until: Mono,
    closed_since: Mono,
    probation_until: Mono,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            state: State::Closed,
            generation: 0,
            failures: 0,
            openings: 0,
            cause: Cause::Failures,
            until: Mono(0),
            closed_since: Mono(0),
            probation_until: Mono(0),
        }
    }
}

impl Breaker {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it last opened.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The opening that is to be kept over a restart. A probe does not survive one, so while it is under way the opening
    /// counts as just over.
    pub fn opening(&self, now: Mono) -> Option<Opening> {
        (self.state != State::Closed).then(|| Opening { cause: self.cause, left: now.until(self.until) })
    }

    /// Openings in a row, fewer with every ten minutes closed.
    pub fn openings(&self, now: Mono) -> u32 {
        match self.state {
            State::Closed => {
                let forgotten = self.closed_since.until(now).as_secs() / FORGET.as_secs();
                self.openings.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
            }
            State::Open | State::HalfOpen => self.openings,
        }
    }

    /// Asks for the right to ask.
    pub fn admit(&mut self, now: Mono) -> Result<Pass, Refusal> {
        match self.state {
            State::Closed => Ok(Pass(self.generation)),
            State::Open if now >= self.until => {
                self.enter(State::HalfOpen);
                Ok(Pass(self.generation))
            }
            State::Open => Err(Refusal { cause: self.cause, wait: now.until(self.until) }),
            State::HalfOpen => Err(Refusal { cause: self.cause, wait: Duration::ZERO }),
        }
    }

    /// Reports what came of it. Too late, if the state has changed since.
    pub fn settle(&mut self, pass: Pass, outcome: Outcome, now: Mono, rng: &mut Rng) {
        if pass.0 != self.generation {
            return;
        }
        match (self.state, outcome) {
            (_, Outcome::Rejected(cause, asked)) => self.open(cause, asked, now, rng),
            (State::HalfOpen, Outcome::Failed) => self.open(Cause::Failures, None, now, rng),
            (State::HalfOpen, Outcome::Answered | Outcome::Alive) => self.close(now),
            // The next turn may try what this one could not.
            (State::HalfOpen, Outcome::Nothing) => {
                self.until = now;
                self.enter(State::Open);
            }
            (State::Closed, Outcome::Answered) => self.failures = 0,
            (State::Closed, Outcome::Failed) => {
                self.failures += 1;
                let credit_used = if now < self.probation_until { FAILURES_ON_PROBATION } else { 0 };
                if self.failures + credit_used >= FAILURES_MAX {
                    self.open(Cause::Failures, None, now, rng);
                }
            }
            (State::Closed, Outcome::Alive | Outcome::Nothing) | (State::Open, _) => {}
        }
    }

    /// Takes over what another process found, or an earlier one: an opening, or that there is none any more.
    pub fn adopt(&mut self, opening: Option<Opening>, openings: u32, now: Mono) {
        match (self.state, opening) {
            (State::HalfOpen, _) => return,
            (_, Some(Opening { cause, left })) => {
                (self.cause, self.until) = (cause, now.after(left.min(REST_MAX)));
                self.enter(State::Open);
            }
            (State::Open, None) => self.close(now),
            (State::Closed, None) => self.closed_since = now,
        }
        self.openings = openings.min(OPENINGS_MAX);
    }

    fn open(&mut self, cause: Cause, asked: Option<Duration>, now: Mono, rng: &mut Rng) {
        let earlier = if cause == self.cause { self.openings(now) } else { 0 };
        self.openings = (earlier + 1).min(OPENINGS_MAX);
        self.cause = cause;
        self.until = now.after(rest(cause, self.openings, asked, rng));
        self.enter(State::Open);
    }

    fn close(&mut self, now: Mono) {
        (self.closed_since, self.probation_until) = (now, now.after(PROBATION));
        self.enter(State::Closed);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.failures = 0;
        self.generation += 1;
    }
}

/// How long it stays open. Many clients do not come back at once after an outage: a fifth more or less.
fn rest(cause: Cause, openings: u32, asked: Option<Duration>, rng: &mut Rng) -> Duration {
    let (base, longest) = cause.rests();
    let doubled = backoff::ceiling(base, longest, openings);
    match (cause, asked) {
        (Cause::Failures, _) => (doubled * 4 / 5 + rng.jitter(doubled * 2 / 5)).min(longest),
        (Cause::Quota, Some(asked)) => asked.clamp(REST_MIN, REST_MAX),
        _ => doubled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker, the time, and the rights that were given and not used yet.
    struct Bench {
        breaker: Breaker,
        now: Mono,
        rng: Rng,
        kept: Vec<Pass>,
    }

    impl Bench {
        fn new(seed: u64) -> Bench {
            Bench { breaker: Breaker::default(), now: Mono(0), rng: Rng::from_seed(seed), kept: Vec::new() }
        }

        fn settle(&mut self, pass: Pass, outcome: Outcome) {
            self.breaker.settle(pass, outcome, self.now, &mut self.rng);
        }

        /// One word of a script: `+30` lets seconds pass; `ask` asks and keeps the right, `late-fail` uses the oldest one
        /// that was kept; every other word asks and reports at once, if it may.
        fn step(&mut self, word: &str) {
            if let Some(seconds) = word.strip_prefix('+') {
                self.now = self.now.after(Duration::from_secs(seconds.parse().expect("seconds")));
                return;
            }
            if let Some(late) = word.strip_prefix("late-") {
                let pass = self.kept.remove(0);
                return self.settle(pass, outcome(late));
            }
            match (self.breaker.admit(self.now), word) {
                (Ok(pass), "ask") => self.kept.push(pass),
                (Ok(pass), word) => self.settle(pass, outcome(word)),
                (Err(_), _) => {}
            }
        }

        fn run(script: &str) -> Bench {
            let mut bench = Bench::new(7);
            script.split_whitespace().for_each(|word| bench.step(word));
            bench
        }
    }

    fn outcome(word: &str) -> Outcome {
        match word {
            "ok" => Outcome::Answered,
            "alive" => Outcome::Alive,
            "fail" => Outcome::Failed,
            "auth" => Outcome::Rejected(Cause::Auth, None),
            "forbidden" => Outcome::Rejected(Cause::Forbidden, None),
            "nothing" => Outcome::Nothing,
            quota => {
                let seconds = quota.strip_prefix("quota").expect("a word of the script").parse().ok();
                Outcome::Rejected(Cause::Quota, seconds.map(Duration::from_secs))
            }
        }
    }

    #[track_caller]
    fn check(script: &str, want: State) {
        assert_eq!(Bench::run(script).breaker.state(), want, "{script}");
    }

    /// The seconds that it stays open, at least and at most.
    #[track_caller]
    fn rests(script: &str, cause: Cause, least: u64, most: u64) {
        let mut bench = Bench::run(script);
        let refusal = bench.breaker.admit(bench.now).expect_err("it is open");
        let range = Duration::from_secs(least)..=Duration::from_secs(most);
        assert_eq!(refusal.cause, cause, "{script}");
        assert!(range.contains(&refusal.wait), "{script}: {:?}", refusal.wait);
        bench.now = bench.now.after(refusal.wait);
        assert!(bench.breaker.admit(bench.now).is_ok(), "{script}: the rest is over");
    }

    const OPENED: &str = "fail fail fail fail fail";

    #[test]
    fn five_failures_in_a_row_open_it_and_less_do_not() {
        check("", State::Closed);
        check("fail fail fail fail", State::Closed);
        check("fail fail fail fail fail", State::Open);
        check("fail fail fail fail ok fail fail fail fail", State::Closed);
        check("fail fail fail fail ok fail fail fail fail fail", State::Open);
        check("fail fail fail fail alive fail", State::Open);
        check("fail fail fail fail nothing fail", State::Open);
        check("alive alive alive alive alive alive", State::Closed);
        check("nothing nothing nothing nothing nothing", State::Closed);
        check("fail +86400 fail +86400 fail +86400 fail +86400 fail", State::Open);
    }

    #[test]
    fn what_only_a_person_can_mend_opens_it_at_once() {
        check("auth", State::Open);
        check("quota", State::Open);
        check("forbidden", State::Open);
        check("ok ok auth", State::Open);
        rests("auth", Cause::Auth, 900, 900);
        rests("quota", Cause::Quota, 3600, 3600);
        rests("quota7200", Cause::Quota, 7200, 7200);
        rests("quota0", Cause::Quota, 30, 30);
        rests("quota999999999", Cause::Quota, 86_400, 86_400);
        rests("forbidden", Cause::Forbidden, 3600, 3600);
    }

    #[test]
    fn the_rest_doubles_with_every_opening_up_to_its_longest() {
        let again = |word: &str, count: usize| format!(" +90000 {word}").repeat(count);
        rests(OPENED, Cause::Failures, 24, 36);
        rests(&(OPENED.to_owned() + &again("fail", 1)), Cause::Failures, 48, 72);
        rests(&(OPENED.to_owned() + &again("fail", 2)), Cause::Failures, 96, 144);
        rests(&(OPENED.to_owned() + &again("fail", 30)), Cause::Failures, 720, 900);
        rests(&again("auth", 2), Cause::Auth, 1800, 1800);
        rests(&again("auth", 30), Cause::Auth, 6 * 3600, 6 * 3600);
        rests(&again("quota", 3), Cause::Quota, 4 * 3600, 4 * 3600);
        rests(&again("quota", 30), Cause::Quota, 86_400, 86_400);
        rests(&again("forbidden", 5), Cause::Forbidden, 3600, 3600);
    }

    #[test]
    fn another_cause_begins_its_own_count() {
        let opened_often = format!("{OPENED} +90000 fail +90000 fail +90000 fail");
        rests(&format!("{opened_often} +90000 auth"), Cause::Auth, 900, 900);
        rests("auth +90000 fail", Cause::Failures, 24, 36);
        rests("quota +90000 auth", Cause::Auth, 900, 900);
    }

    #[test]
    fn an_opening_is_forgotten_with_ten_minutes_closed() {
        let twice = format!("{OPENED} +40 fail +100 ok");
        rests(&format!("{twice} fail fail"), Cause::Failures, 96, 144);
        rests(&format!("{twice} +599 fail fail"), Cause::Failures, 96, 144);
        rests(&format!("{twice} +600 {OPENED}"), Cause::Failures, 48, 72);
        rests(&format!("{twice} +1200 {OPENED}"), Cause::Failures, 24, 36);
        rests(&format!("{twice} +999999 {OPENED}"), Cause::Failures, 24, 36);
    }

    #[test]
    fn one_probe_is_under_way_and_what_it_finds_decides() {
        check(&format!("{OPENED} +20 ask"), State::Open);
        check(&format!("{OPENED} +40 ask"), State::HalfOpen);
        check(&format!("{OPENED} +40 ask ask +86400 ask"), State::HalfOpen);
        check(&format!("{OPENED} +40 ok"), State::Closed);
        check(&format!("{OPENED} +40 alive"), State::Closed);
        check(&format!("{OPENED} +40 fail"), State::Open);
        check(&format!("{OPENED} +40 auth"), State::Open);
        check(&format!("{OPENED} +40 nothing"), State::Open);
        check(&format!("{OPENED} +40 nothing ask"), State::HalfOpen);
        check("auth +900 ok", State::Closed);
        check("quota60 +60 ok", State::Closed);
        let mut bench = Bench::run(&format!("{OPENED} +40 ask"));
        let wait = bench.breaker.admit(bench.now).expect_err("a probe is under way").wait;
        assert_eq!(wait, Duration::ZERO);
    }

    #[test]
    fn after_a_probe_two_failures_are_enough_for_ten_minutes() {
        let back = format!("{OPENED} +40 ok");
        check(&format!("{back} fail"), State::Closed);
        check(&format!("{back} fail fail"), State::Open);
        check(&format!("{back} fail ok fail"), State::Closed);
        check(&format!("{back} fail ok fail fail"), State::Open);
        check(&format!("{back} +599 fail fail"), State::Open);
        check(&format!("{back} +600 fail fail fail fail"), State::Closed);
        check(&format!("{back} +600 fail fail fail fail fail"), State::Open);
    }

    #[test]
    fn an_answer_of_an_earlier_generation_changes_nothing() {
        check(&format!("ask {OPENED} late-ok"), State::Open);
        check(&format!("ask {OPENED} +40 ask late-ok"), State::HalfOpen);
        check(&format!("ask {OPENED} +40 ok late-auth"), State::Closed);
        check(&format!("ask ask {OPENED} +40 ok late-fail late-fail fail"), State::Closed);
        check(&format!("{OPENED} +40 ask late-ok"), State::Closed);
        check("ask ask auth late-ok late-ok", State::Open);
    }

    #[test]
    fn what_another_process_found_is_taken_over() {
        let opening = |cause, seconds| Some(Opening { cause, left: Duration::from_secs(seconds) });
        let adopt = |script: &str, opening, want| {
            let mut bench = Bench::run(script);
            bench.breaker.adopt(opening, 2, bench.now);
            assert_eq!(bench.breaker.state(), want, "{script} {opening:?}");
            bench
        };
        adopt("", opening(Cause::Auth, 60), State::Open);
        adopt("auth", None, State::Closed);
        adopt("", None, State::Closed);
        adopt(&format!("{OPENED} +40 ask"), opening(Cause::Auth, 60), State::HalfOpen);
        let mut bench = adopt("", opening(Cause::Quota, u64::MAX), State::Open);
        assert_eq!(bench.breaker.admit(bench.now).expect_err("open").wait, REST_MAX);
        let mut bench = adopt("ask", opening(Cause::Failures, 60), State::Open);
        bench.step("late-ok");
        assert_eq!((bench.breaker.state(), bench.breaker.openings(bench.now)), (State::Open, 2));
    }

    /// Random turns, some of them late, against what must hold whatever happens.
    #[test]
    fn a_hundred_thousand_random_steps_break_no_law() {
        const WORDS: [&str; 8] = ["ok", "ok", "fail", "fail", "fail", "alive", "nothing", "auth"];
        let seed = 20_261_129;
        let mut bench = Bench::new(seed);
        let (mut probe, mut failures, mut opened) = (None, 0, 0);
        for step in 0..100_000 {
            let told = format!("seed {seed}, step {step}: {:?} at {:?}", bench.breaker, bench.now);
            bench.now = bench.now.after(bench.rng.clone().jitter(Duration::from_secs(40)));
            let _ = bench.rng.bits();
            let before = bench.breaker.clone();
            if bench.kept.len() < 8 && bench.rng.up_to(1) == 0 {
                match bench.breaker.admit(bench.now) {
                    Ok(pass) => {
                        bench.kept.push(pass);
                        if bench.breaker.state() == State::HalfOpen {
                            assert!(before.state() == State::Open && bench.now >= before.until, "{told}");
                            assert_eq!(probe.replace(pass), None, "two probes; {told}");
                        }
                    }
                    Err(refusal) => {
                        assert_ne!(before.state(), State::Closed, "{told}");
                        assert!(refusal.wait <= refusal.cause.rests().1.max(REST_MIN), "{told}");
                        assert_eq!(bench.breaker, before, "a refusal changed something; {told}");
                    }
                }
            } else if !bench.kept.is_empty() {
                let chosen = bench.rng.up_to(bench.kept.len() as u64 - 1);
                let pass = bench.kept.remove(usize::try_from(chosen).expect("small"));
                let word = WORDS[usize::try_from(bench.rng.up_to(7)).expect("small")];
                bench.settle(pass, outcome(word));
                if pass.0 != before.generation {
                    assert_eq!(bench.breaker, before, "late; {told}");
                    continue;
                }
                failures = if word == "fail" {
                    failures + 1
                } else if word == "ok" {
                    0
                } else {
                    failures
                };
                if probe == Some(pass) {
                    probe = None;
                    assert_ne!(bench.breaker.state(), State::HalfOpen, "{told}");
                } else if bench.breaker.state() == State::Open {
                    assert!(word == "auth" || word == "fail" && failures >= 2, "{failures} {told}");
                } else {
                    assert!(failures < FAILURES_MAX && word != "auth", "{failures} {told}");
                }
                if before.state() != bench.breaker.state() {
                    (failures, opened) = (0, opened + u32::from(bench.breaker.state() == State::Open));
                }
            }
        }
        assert!(opened > 1000, "seed {seed}: it opened {opened} times only");
    }
}
