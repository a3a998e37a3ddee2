//! What is known of each Codex account, and which one a turn takes. Pure: `pool.rs` keeps the file and the runs.
//!
//! An account has a number of requests in a window, and may be refused for a while: its credentials were rejected, its
//! quota is used up, or it cannot be used as it is set up. A turn takes the account with the largest share left.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::net::backoff;
use crate::provider::ProviderError;
use crate::provider::class::Class;

/// No refusal lasts longer, whatever was asked for.
const REFUSAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// The pauses between looks at an account that stays rejected double up to this.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);

/// A quota without a time of its end.
const QUOTA_PAUSE: Duration = Duration::from_secs(3600);

/// Not allowed in, for a reason that seldom goes away.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(3600);

/// Asked too often, without being told how long to wait.
const RATE_PAUSE: Duration = Duration::from_secs(30);

/// Why an account is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its credentials were rejected, or it has none.
    Auth,
    /// It is used up.
    Quota,
    /// It is not let in.
    Forbidden,
    /// It was asked too often.
    RateLimited,
    /// It cannot run as it is set up.
    Setup,
}

impl Reason {
    /// What a failed run says about its account; `None`: nothing.
    pub fn of(class: Class) -> Option<Reason> {
        match class {
            Class::Auth => Some(Reason::Auth),
            Class::Quota => Some(Reason::Quota),
            Class::Forbidden => Some(Reason::Forbidden),
            Class::RateLimited => Some(Reason::RateLimited),
            _ => None,
        }
    }

    /// What a turn fails with that finds no other account.
    pub fn class(self) -> Class {
        match self {
            Reason::Auth => Class::Auth,
            Reason::Quota => Class::Quota,
            Reason::Forbidden => Class::Forbidden,
            Reason::RateLimited => Class::RateLimited,
            Reason::Setup => Class::NotConfigured,
        }
    }

    /// Whether a look at the account can tell if it is over, without a request.
    fn is_seen_by_a_look(self) -> bool {
        matches!(self, Reason::Auth | Reason::Setup)
    }

    /// How long it lasts at the `times`-th time in a row.
    fn pause(self, asked: Option<Duration>, times: u32, look_interval: Duration) -> Duration {
        let pause = match self {
            Reason::Auth | Reason::Setup => backoff::ceiling(look_interval, LOOK_PAUSE_MAX.max(look_interval), times),
            Reason::Quota => asked.unwrap_or_else(|| backoff::ceiling(QUOTA_PAUSE, REFUSAL_MAX, times)),
            Reason::Forbidden => FORBIDDEN_PAUSE,
            Reason::RateLimited => asked.unwrap_or(RATE_PAUSE),
        };
        pause.min(REFUSAL_MAX)
    }
}

/// An account is not used for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Until when, in milliseconds since 1970.
    pub until: u64,
    /// How often in a row.
    pub times: u32,
    /// Of the credentials that it is about: others are tried at once.
    pub fingerprint: String,
}

/// All that is kept of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// When the window began, in milliseconds since 1970.
    pub window_start: u64,
    /// Requests since then.
    pub used: u64,
    /// Why it is not used.
    pub refusal: Option<Refusal>,
    /// When it was last looked at; 0 is never.
    pub looked_at: u64,
    /// What went wrong last: a phrase of our own.
    pub last_error: Option<String>,
}

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Ready,
    /// It may if a look says so.
    Doubtful,
    /// It may not.
    Refused(Reason, Duration),
}

/// What the operator has decided for all accounts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long requests are counted together.
    pub window: Duration,
    /// Between two looks.
    pub look_interval: Duration,
}

impl State {
    /// Requests of the running window.
    pub fn used(&self, now: Wall, window: Duration) -> u64 {
        if Wall(self.window_start).until(now) < window { self.used } else { 0 }
    }

    /// Whether it may be used with these credentials. An end that lies implausibly far ahead is one of a clock that has
    /// gone back since, and has passed.
    pub fn standing(&self, fingerprint: &str, now: Wall) -> Standing {
        let Some(refusal) = self.refusal.as_ref().filter(|refusal| refusal.fingerprint == fingerprint) else {
            return Standing::Ready;
        };
        let left = now.until(Wall(refusal.until));
        match refusal.reason {
            reason if !left.is_zero() && left <= REFUSAL_MAX => Standing::Refused(reason, left),
            reason if reason.is_seen_by_a_look() => Standing::Doubtful,
            _ => Standing::Ready,
        }
    }

    /// Why a look has to come first; `None`: it need not.
    pub fn doubt(&self, fingerprint: &str, now: Wall) -> Option<Reason> {
        let is_doubtful = self.standing(fingerprint, now) == Standing::Doubtful;
        self.refusal.as_ref().filter(|_| is_doubtful).map(|refusal| refusal.reason)
    }

    /// When something was last known of it, in milliseconds since 1970.
    pub fn latest(&self) -> u64 {
        self.window_start.max(self.looked_at).max(self.refusal.as_ref().map_or(0, |refusal| refusal.until))
    }

    /// A run has ended. Only what reached the model is counted.
    pub fn on_run(&mut self, failure: Option<&ProviderError>, fingerprint: &str, now: Wall, limits: &Limits) {
        if failure.is_none_or(|error| reached_the_model(error.class)) {
            self.count(now, limits.window);
        }
        match failure {
            None => (self.refusal, self.last_error) = (None, None),
            Some(error) => {
                self.last_error = Some(error.to_string());
                if let Some(reason) = Reason::of(error.class) {
                    self.refuse(reason, error.retry_after, fingerprint, now, limits);
                }
            }
        }
    }

    /// A look has ended. What the server itself has said is not taken back by a look before its time.
    pub fn on_look(&mut self, found: Result<(), (Reason, &str)>, fingerprint: &str, now: Wall, limits: &Limits) {
        self.looked_at = now.0;
        match found {
            Err((reason, error)) => {
                self.last_error = Some(error.to_owned());
                self.refuse(reason, None, fingerprint, now, limits);
            }
            Ok(()) if matches!(self.standing(fingerprint, now), Standing::Doubtful) => {
                // It counts as rejected until a run succeeds: the next rejection pauses longer.
                if let Some(refusal) = &mut self.refusal {
                    refusal.until = 0;
                }
            }
            Ok(()) => {}
        }
    }

    fn count(&mut self, now: Wall, window: Duration) {
        if Wall(self.window_start).until(now) >= window {
            (self.window_start, self.used) = (now.0, 0);
        }
        // A window that begins in the future is one of a clock that has gone back.
        self.window_start = self.window_start.min(now.0);
        self.used += 1;
    }

    fn refuse(&mut self, reason: Reason, asked: Option<Duration>, fingerprint: &str, now: Wall, limits: &Limits) {
        let before = self.refusal.take();
        let same = before.filter(|before| before.reason == reason && before.fingerprint == fingerprint);
        let times = same.map_or(0, |before| before.times).saturating_add(1);
        let pause = reason.pause(asked, times, limits.look_interval);
        let until = now.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.refusal = Some(Refusal { reason, until, times, fingerprint: fingerprint.to_owned() });
    }
}

/// Whether a failed run may have used what the account is charged for.
fn reached_the_model(class: Class) -> bool {
    matches!(
        class,
        Class::Deadline
            | Class::TimeoutFirstByte
            | Class::TimeoutIdle
            | Class::StreamCut
            | Class::ContentFilter
            | Class::ContextLength
            | Class::Malformed
            | Class::TooLarge
            | Class::Cancelled
    )
}

/// An account as a turn sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Whether it may be used.
    pub standing: Standing,
    /// Requests left in its window.
    pub left: u64,
    /// Requests of a whole window; at least 1.
    pub max: u64,
    /// When its window is over.
    pub window_left: Duration,
    /// A turn runs on it.
    pub busy: bool,
    /// This turn has failed on it already.
    pub tried: bool,
}

impl Candidate {
    /// Its share that is left.
    pub fn percent(&self) -> u64 {
        self.left.saturating_mul(100) / self.max.max(1)
    }

    /// Why it is of no use now, and for how long.
    fn refusal(&self) -> Option<(Reason, Duration)> {
        match self.standing {
            Standing::Refused(reason, left) => Some((reason, left)),
            _ if self.left == 0 => Some((Reason::RateLimited, self.window_left)),
            _ => None,
        }
    }
}

/// What a turn does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It takes this account.
    Take(usize),
    /// It waits for one that is busy.
    Wait,
    /// It fails: no account will do, and the next one will after this time. `None`: all were tried.
    Fail(Option<(Reason, Duration)>),
}

/// The account with the largest share left. One with little left is used only if no other has more, also if that other
/// one has to be waited for.
pub fn choose(candidates: &[Candidate], reserve_percent: u64) -> Choice {
    let usable = |candidate: &&Candidate| !candidate.tried && candidate.refusal().is_none();
    let best_of = |busy: bool| {
        let those = candidates.iter().enumerate().filter(|(_, candidate)| usable(candidate) && candidate.busy == busy);
        // The first of equals.
        those.rev().max_by_key(|(_, candidate)| candidate.percent()).map(|(at, candidate)| (at, candidate.percent()))
    };
    match (best_of(false), best_of(true)) {
        (Some((_, free)), Some((_, busy))) if free <= reserve_percent && busy > free => Choice::Wait,
        (Some((at, _)), _) => Choice::Take(at),
        (None, Some(_)) => Choice::Wait,
        (None, None) => {
            let untried = candidates.iter().filter(|candidate| !candidate.tried);
            Choice::Fail(untried.filter_map(Candidate::refusal).min_by_key(|(_, left)| *left))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMITS: Limits = Limits { window: HOUR, look_interval: Duration::from_secs(300) };
    const START: Wall = Wall(1_800_000_000_000);

    fn later(seconds: u64) -> Wall {
        Wall(START.0 + seconds * 1000)
    }

    fn failed(state: &mut State, class: Class, asked: Option<u64>, at: Wall) {
        let error = ProviderError { retry_after: asked.map(Duration::from_secs), ..ProviderError::new(class, "x") };
        state.on_run(Some(&error), "f", at, &LIMITS);
    }

    #[test]
    fn successes_and_what_reached_the_model_are_counted_until_the_window_is_over() {
        let mut state = State::default();
        state.on_run(None, "f", START, &LIMITS);
        failed(&mut state, Class::StreamCut, None, later(10));
        failed(&mut state, Class::Deadline, None, later(20));
        for class in [Class::Connect, Class::Auth, Class::Spawn, Class::Quota, Class::Server] {
            failed(&mut state, class, None, later(30));
        }
        assert_eq!((state.used(later(3599), HOUR), state.used(later(3600), HOUR)), (3, 0));
        state.on_run(None, "f", later(3600), &LIMITS);
        assert_eq!((state.used, state.window_start), (1, later(3600).0));
        // The clock goes back: the requests stay counted, and not for longer than a window.
        let back = Wall(START.0 - 86_400_000);
        state.on_run(None, "f", back, &LIMITS);
        assert_eq!((state.used, state.used(Wall(back.0 + 3_600_000), HOUR)), (2, 0));
    }

    #[test]
    fn a_refusal_lasts_its_time_and_ends_with_other_credentials() {
        let refused = |class, asked| {
            let mut state = State::default();
            failed(&mut state, class, asked, START);
            match state.standing("f", START) {
                Standing::Refused(_, left) => left.as_secs(),
                other => panic!("{class:?}: {other:?}"),
            }
        };
        assert_eq!(refused(Class::Auth, None), 300);
        assert_eq!(refused(Class::Quota, None), 3600);
        assert_eq!(refused(Class::Quota, Some(7200)), 7200);
        assert_eq!(refused(Class::Quota, Some(1 << 40)), 86_400);
        assert_eq!(refused(Class::RateLimited, Some(7)), 7);
        assert_eq!(refused(Class::RateLimited, None), 30);
        assert_eq!(refused(Class::Forbidden, Some(7)), 3600);
        let mut state = State::default();
        failed(&mut state, Class::Quota, None, START);
        assert_eq!(state.standing("other", START), Standing::Ready);
        assert_eq!(state.standing("f", later(3600)), Standing::Ready);
        assert_eq!(state.standing("f", Wall(0)), Standing::Ready, "a clock in 1970 refuses nothing for ever");
    }

    #[test]
    fn a_rejected_account_is_looked_at_ever_less_often_until_it_works() {
        let (mut state, mut now) = (State::default(), START);
        failed(&mut state, Class::Auth, None, now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let Standing::Refused(Reason::Auth, left) = state.standing("f", now) else { panic!("{state:?}") };
            pauses.push(left.as_secs());
            // A look before its time takes nothing back.
            state.on_look(Ok(()), "f", now, &LIMITS);
            assert!(matches!(state.standing("f", now), Standing::Refused(..)));
            now = Wall(now.0 + left.as_secs() * 1000);
            assert_eq!(state.standing("f", now), Standing::Doubtful);
            state.on_look(Ok(()), "f", now, &LIMITS);
            failed(&mut state, Class::Auth, None, now);
        }
        assert_eq!(pauses, [300, 600, 1200, 2400, 4800, 9600, 19_200, 21_600, 21_600]);
        state.on_run(None, "f", now, &LIMITS);
        assert_eq!((state.standing("f", now), &state.last_error), (Standing::Ready, &None));
        state.on_look(Err((Reason::Setup, "gone")), "f", now, &LIMITS);
        assert_eq!(state.standing("f", now), Standing::Refused(Reason::Setup, Duration::from_secs(300)));
    }

    fn candidate(left: u64, busy: bool) -> Candidate {
        let (standing, window_left) = (Standing::Ready, Duration::from_secs(60));
        Candidate { standing, left, max: 100, window_left, busy, tried: false }
    }

    #[test]
    fn the_largest_share_is_taken_and_little_is_kept_back() {
        let check = |candidates: &[Candidate], want| assert_eq!(choose(candidates, 25), want, "{candidates:?}");
        check(&[candidate(50, false), candidate(60, false), candidate(60, false)], Choice::Take(1));
        check(&[candidate(30, false), candidate(90, true)], Choice::Take(0));
        check(&[candidate(25, false), candidate(90, true)], Choice::Wait);
        check(&[candidate(25, false), candidate(20, true)], Choice::Take(0));
        check(&[candidate(90, true)], Choice::Wait);
        check(&[candidate(1, false)], Choice::Take(0));
        let empty = (Reason::RateLimited, Duration::from_secs(60));
        check(&[candidate(0, false)], Choice::Fail(Some(empty)));
        let refused = |reason, seconds| Candidate {
            standing: Standing::Refused(reason, Duration::from_secs(seconds)),
            ..candidate(90, false)
        };
        check(&[refused(Reason::Auth, 1), candidate(10, false)], Choice::Take(1));
        let quota = (Reason::Quota, Duration::from_secs(50));
        check(&[refused(Reason::Auth, 90), refused(Reason::Quota, 50), candidate(0, true)], Choice::Fail(Some(quota)));
        let tried = |candidate: Candidate| Candidate { tried: true, ..candidate };
        check(&[tried(candidate(90, false)), candidate(10, true)], Choice::Wait);
        check(&[tried(candidate(90, false))], Choice::Fail(None));
        check(&[Candidate { standing: Standing::Doubtful, ..candidate(9, false) }], Choice::Take(0));
        // Shares count, not numbers.
        let large = Candidate { max: 1000, ..candidate(400, false) };
        check(&[large, candidate(50, false)], Choice::Take(1));
    }
}
