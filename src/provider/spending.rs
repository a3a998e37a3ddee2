//! [`Spent`]: what was asked and spent, and whether more may be. Pure: the file is `spending_file.rs`'s, the clock is handed
//! in.
//!
//! Three limits (contract §16), 0 is none: turns of a sender in any 60 s and in a day (UTC), and tokens of all in a day. A
//! turn counts once, when it first asks a model; its retries, and the same turn after a crash, are known by its id and
//! free. Tokens count after each request, so the cap is overshot by the requests under way and by nothing else.
//!
//! Clocks lie. The minute is measured by the process's own steady time. For the day, what was counted on a later date than
//! today counts today: a clock that goes forth and back gives nobody a second day. Nor does it lock anybody out: once a
//! clock is believed (see [`Now`]), such counts are moved to the day on which it came back, and are gone at its end.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::base::sorted::SortedMap;
use crate::config::limits::SpendingLimits;
use crate::provider::class::Class;
use crate::provider::cost::Tokens;

/// Senders that are kept; beyond that the one who asked longest ago is forgotten, and begins anew.
pub const SENDERS_MAX: usize = 1024;

/// Bytes of the file.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Providers that are told apart in a day; others count as [`OTHERS`].
pub const PROVIDERS_MAX: usize = 16;

/// Dates that are kept. More than one is needed for clocks that jump; beyond that the earliest is forgotten.
const DAYS_MAX: usize = 4;

/// Entries of a sender's last minute. Beyond that neighbours count as one at the later time: too strict by a second or so.
const RECENT_MAX: usize = 64;

/// Turns that were counted and may come again after a crash: twice as many as can be under way. What is pushed out and
/// still comes again counts twice.
const COUNTED_MAX: usize = 128;

/// Bytes of a sender's name that tell it from others.
const SENDER_BYTES_MAX: usize = 64;

/// Where the requests of further providers are counted.
const OTHERS: &str = "others";

const MINUTE_MS: u64 = 60_000;
/// After this a sender's last minute is no longer written down.
const STALE_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 86_400_000;

/// The time in three readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The date, as the host believes it.
    pub wall: Wall,
    /// The date at the start of this process and the time that it has run: never jumps.
    pub steady: Wall,
    /// When the clock began to go evenly, if that is long enough ago to believe it although it is behind what was counted.
    pub believed_since: Option<Wall>,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Turns of a sender in a minute.
    Minute,
    /// Turns of a sender in a day.
    Day,
    /// Tokens of all in a day.
    Tokens,
}

/// Why a model is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which limit was reached.
    pub limit: Limit,
    /// What it is.
    pub most: u64,
    /// How long it holds.
    pub wait: Duration,
}

impl Refusal {
    /// The class of the turn's failure.
    pub fn class(&self) -> Class {
        match self.limit {
            Limit::Minute | Limit::Day => Class::SenderLimit,
            Limit::Tokens => Class::TokenLimit,
        }
    }

    /// The limit's name in the log.
    pub fn name(&self) -> &'static str {
        match self.limit {
            Limit::Minute => "turns_per_minute",
            Limit::Day => "turns_per_day",
            Limit::Tokens => "tokens_per_day",
        }
    }

    /// What the person is told first; completes "Sorry, …".
    pub fn sentence(&self) -> String {
        let most = self.most;
        match self.limit {
            Limit::Minute => format!("you have reached your {most} questions a minute."),
            Limit::Day => format!("you have reached your {most} questions a day."),
            Limit::Tokens => format!("all {most} tokens that I may use in a day are used up."),
        }
    }
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// By date.
    days: Vec<Day>,
    /// By channel and sender.
    senders: SortedMap<String, Sender>,
    /// The last turns that were counted.
    counted: VecDeque<TurnId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Day {
    /// Days since 1970 UTC.
    day: u64,
    /// A clock was seen on an earlier date than this.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ahead: bool,
    providers: SortedMap<String, Tokens>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Sender {
    /// When they last asked, in milliseconds since 1970.
    last: u64,
    /// Dates, turns on each, and whether a clock was seen on an earlier date.
    days: Vec<(u64, u64, bool)>,
    /// Steady times in milliseconds, and turns at each.
    recent: Vec<(u64, u64)>,
}

impl Sender {
    fn on(&self, today: u64) -> u64 {
        self.days.iter().filter(|(day, ..)| *day >= today).fold(0, |sum, (_, turns, _)| sum.saturating_add(*turns))
    }

    /// How long it takes until there is room for one more in a minute of `most`.
    fn minute_wait(&self, most: u64, steady: Wall) -> Option<Duration> {
        let mut newer = 0_u64;
        for (at, turns) in self.recent.iter().rev() {
            // What another process counted by a clock ahead of ours is taken to be from now.
            let ends = (*at).min(steady.0).saturating_add(MINUTE_MS);
            newer = newer.saturating_add(*turns);
            if newer >= most && ends > steady.0 {
                return Some(Duration::from_millis(ends - steady.0));
            }
        }
        None
    }

    fn add(&mut self, day: u64, more: u64) {
        match self.days.iter_mut().find(|(known, _, ahead)| *known == day && !ahead) {
            Some((_, turns, _)) => *turns = turns.saturating_add(more),
            None => self.days.push((day, more, false)),
        }
        keep_latest(&mut self.days, |(day, ..)| *day);
    }

    /// As [`Spent::look`].
    fn look(&mut self, now: Now) -> bool {
        let mut is_new = false;
        self.days.iter_mut().for_each(|(day, _, ahead)| is_new |= mark(*day, ahead, now));
        let Some(since) = now.believed_since else { return is_new };
        let target = day_of(since);
        let ahead: Vec<_> = self.days.extract_if(.., |(.., ahead)| *ahead).collect();
        ahead.iter().for_each(|(day, turns, _)| self.add(target.min(*day), *turns));
        !ahead.is_empty()
    }

    /// Takes back a turn: that of the last entry, which is hardly ever another one.
    fn give_back(&mut self) {
        if let Some((_, turns, _)) = self.days.iter_mut().rfind(|(_, turns, _)| *turns > 0) {
            *turns -= 1;
        }
        if let Some((_, turns)) = self.recent.last_mut() {
            *turns = turns.saturating_sub(1);
        }
    }

    fn take(&mut self, now: Now) {
        self.last = now.wall.0;
        self.add(day_of(now.wall), 1);
        self.recent.iter_mut().for_each(|(at, _)| *at = (*at).min(now.steady.0));
        self.recent.retain(|(at, _)| at.saturating_add(MINUTE_MS) > now.steady.0);
        self.recent.push((now.steady.0, 1));
        while self.recent.len() > RECENT_MAX {
            let gap = |at: &usize| self.recent[*at].0.abs_diff(self.recent[*at - 1].0);
            let closest = (1..self.recent.len()).min_by_key(gap).unwrap_or(1);
            let (_, earlier) = self.recent.remove(closest - 1);
            self.recent[closest - 1].1 = self.recent[closest - 1].1.saturating_add(earlier);
        }
    }
}

fn day_of(wall: Wall) -> u64 {
    wall.0 / DAY_MS
}

/// Whether a date is later than today and was not known to be.
fn mark(day: u64, ahead: &mut bool, now: Now) -> bool {
    let is_ahead = day > day_of(now.wall);
    let is_new = is_ahead && !*ahead;
    *ahead |= is_ahead;
    is_new
}

fn keep_latest<T>(days: &mut Vec<T>, day: impl Fn(&T) -> u64) {
    days.sort_by_key(&day);
    let superfluous = days.len().saturating_sub(DAYS_MAX);
    days.drain(..superfluous);
}

impl Spent {
    /// Whether a request may be made.
    pub fn check(&self, limits: &SpendingLimits, now: Now) -> Result<(), Refusal> {
        let most = limits.tokens_per_day;
        if most > 0 && self.tokens(now.wall) >= most {
            return Err(Refusal { limit: Limit::Tokens, most, wait: until_midnight(now.wall) });
        }
        Ok(())
    }

    /// Whether a turn of `sender` may ask for the first time. `false`: it did so before, and is free.
    pub fn admit(&self, sender: &str, turn: TurnId, limits: &SpendingLimits, now: Now) -> Result<bool, Refusal> {
        if self.has_counted(turn) {
            return Ok(false);
        }
        let Some(known) = self.senders.get(clipped(sender)) else { return Ok(true) };
        let (most, of_day) = (limits.turns_per_minute, limits.turns_per_day);
        if of_day > 0 && known.on(day_of(now.wall)) >= of_day {
            return Err(Refusal { limit: Limit::Day, most: of_day, wait: until_midnight(now.wall) });
        }
        match known.minute_wait(most, now.steady) {
            Some(wait) if most > 0 => Err(Refusal { limit: Limit::Minute, most, wait }),
            _ => Ok(true),
        }
    }

    /// Counts a turn.
    pub fn take(&mut self, sender: &str, turn: TurnId, now: Now) {
        self.look(now);
        self.counted.push_back(turn);
        let superfluous = self.counted.len().saturating_sub(COUNTED_MAX);
        self.counted.drain(..superfluous);
        for known in self.senders.values_mut() {
            known.recent.retain(|(at, _)| at.saturating_add(STALE_MS) > now.steady.0);
        }
        self.senders.entry(clipped(sender).to_owned()).or_default().take(now);
        self.forget(self.senders.len().saturating_sub(SENDERS_MAX));
    }

    /// Whether this turn is counted.
    pub fn has_counted(&self, turn: TurnId) -> bool {
        self.counted.contains(&turn)
    }

    /// Takes back what [`Spent::take`] counted: nobody was asked.
    pub fn give_back(&mut self, sender: &str, turn: TurnId) {
        if self.has_counted(turn) {
            self.counted.retain(|known| *known != turn);
            self.senders.get_mut(clipped(sender)).into_iter().for_each(Sender::give_back);
        }
    }

    /// Counts what a request cost.
    pub fn count(&mut self, provider: &str, tokens: &Tokens, now: Now) {
        self.look(now);
        self.add(day_of(now.wall), provider, tokens);
    }

    /// Marks what was counted on later dates, and moves it once the clock is believed. `true`: something changed.
    pub fn look(&mut self, now: Now) -> bool {
        let mut is_new = false;
        self.days.iter_mut().for_each(|day| is_new |= mark(day.day, &mut day.ahead, now));
        self.senders.values_mut().for_each(|sender| is_new |= sender.look(now));
        let Some(since) = now.believed_since else { return is_new };
        let target = day_of(since);
        let ahead: Vec<Day> = self.days.extract_if(.., |day| day.ahead).collect();
        for Day { day, providers, .. } in &ahead {
            providers.iter().for_each(|(name, tokens)| self.add(target.min(*day), name, tokens));
        }
        is_new || !ahead.is_empty()
    }

    fn add(&mut self, day: u64, provider: &str, tokens: &Tokens) {
        let is_it = |known: &Day| known.day == day && !known.ahead;
        if !self.days.iter().any(is_it) {
            self.days.push(Day { day, ..Day::default() });
            keep_latest(&mut self.days, |known| known.day);
        }
        // Only a date that was pushed out by later ones is not there; then it is counted with the earliest of those.
        let at = self.days.iter().position(is_it).unwrap_or(0);
        add_to(&mut self.days[at].providers, provider, tokens);
    }

    /// Forgets so many senders, those who asked longest ago first.
    fn forget(&mut self, count: usize) {
        for _ in 0..count {
            let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.last).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.senders.remove(&name));
        }
    }

    /// The file, at most [`FILE_BYTES_MAX`] long: senders who do not fit are forgotten.
    pub fn to_json(&mut self) -> Vec<u8> {
        loop {
            let json = serde_json::to_vec(self).expect("counters are JSON");
            if json.len() <= FILE_BYTES_MAX || self.senders.is_empty() {
                return json;
            }
            self.forget(self.senders.len().div_ceil(8));
        }
    }

    /// Senders whose next turn would be refused.
    pub fn senders_limited(&self, limits: &SpendingLimits, now: Now) -> usize {
        let is_limited = |sender: &&Sender| {
            let of_day = limits.turns_per_day > 0 && sender.on(day_of(now.wall)) >= limits.turns_per_day;
            let most = limits.turns_per_minute;
            of_day || (most > 0 && sender.minute_wait(most, now.steady).is_some())
        };
        self.senders.values().filter(is_limited).count()
    }

    /// All tokens of today.
    pub fn tokens(&self, wall: Wall) -> u64 {
        self.by_provider(wall).values().fold(0, |sum, tokens| sum.saturating_add(tokens.sum()))
    }

    /// What each provider cost today.
    pub fn by_provider(&self, wall: Wall) -> SortedMap<String, Tokens> {
        let mut sums = SortedMap::new();
        for day in self.days.iter().filter(|day| day.day >= day_of(wall)) {
            day.providers.iter().for_each(|(name, tokens)| add_to(&mut sums, name, tokens));
        }
        sums
    }
}

fn add_to(providers: &mut SortedMap<String, Tokens>, name: &str, tokens: &Tokens) {
    let is_room = providers.contains_key(name) || providers.len() < PROVIDERS_MAX - 1;
    providers.entry(if is_room { name } else { OTHERS }.to_owned()).or_default().add(tokens);
}

fn clipped(sender: &str) -> &str {
    &sender[..sender.floor_char_boundary(SENDER_BYTES_MAX)]
}

fn until_midnight(wall: Wall) -> Duration {
    Duration::from_millis(DAY_MS - wall.0 % DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SpendingLimits = SpendingLimits { turns_per_minute: 3, turns_per_day: 5, tokens_per_day: 100 };
    /// 2026-11-24, noon.
    const NOON: u64 = 20_781 * DAY_MS + DAY_MS / 2;
    const HOUR: u64 = 60 * MINUTE_MS;

    /// A clock that goes as it should, and long enough to be believed.
    fn at(millis: u64) -> Now {
        Now { wall: Wall(millis), steady: Wall(millis), believed_since: Some(Wall(millis)) }
    }

    /// A clock that jumped a moment ago: the process knows how long it has run.
    fn jumped(wall: u64, steady: u64) -> Now {
        Now { wall: Wall(wall), steady: Wall(steady), believed_since: None }
    }

    fn turn(number: u64) -> TurnId {
        TurnId::parse(&format!("rp-{number:026}")).expect("an id")
    }

    /// Asks as one would; every question is a turn of its own.
    fn ask(spent: &mut Spent, sender: &str, limits: &SpendingLimits, now: Now) -> Result<(), Refusal> {
        let turn = turn(1 + spent.counted.back().map_or(0, |last| last.to_string()[3..].parse().expect("a number")));
        spent.look(now);
        if spent.admit(sender, turn, limits, now)? {
            spent.take(sender, turn, now);
        }
        Ok(())
    }

    #[track_caller]
    fn refused(spent: &mut Spent, now: Now, want: Limit, millis: u64) {
        let refusal = ask(spent, "t:1", &LIMITS, now).expect_err("refused");
        assert_eq!((refusal.limit, refusal.wait), (want, Duration::from_millis(millis)));
    }

    #[test]
    fn a_minute_slides_and_ends_to_the_millisecond() {
        let mut spent = Spent::default();
        for millis in [0, 10_000, 20_000] {
            assert_eq!(ask(&mut spent, "t:1", &LIMITS, at(NOON + millis)), Ok(()));
        }
        refused(&mut spent, at(NOON + 20_000), Limit::Minute, 40_000);
        refused(&mut spent, at(NOON + 59_999), Limit::Minute, 1);
        assert_eq!(ask(&mut spent, "t:2", &LIMITS, at(NOON + 59_999)), Ok(()), "another sender");
        assert_eq!(ask(&mut spent, "t:1", &LIMITS, at(NOON + 60_000)), Ok(()));
        refused(&mut spent, at(NOON + 60_000), Limit::Minute, 10_000);
        assert_eq!(spent.senders_limited(&LIMITS, at(NOON + 60_000)), 1);
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let mut spent = Spent::default();
        for hour in 0..5 {
            assert_eq!(ask(&mut spent, "t:1", &LIMITS, at(NOON + hour * HOUR)), Ok(()));
        }
        refused(&mut spent, at(NOON + 11 * HOUR), Limit::Day, HOUR);
        refused(&mut spent, at(NOON + 12 * HOUR - 1), Limit::Day, 1);
        assert_eq!(ask(&mut spent, "t:1", &LIMITS, at(NOON + 12 * HOUR)), Ok(()));
    }

    #[test]
    fn tokens_of_all_providers_count_until_midnight() {
        let mut spent = Spent::default();
        let tokens = Tokens { requests: 1, input_tokens: 20, output_tokens: 20, estimated_tokens: 9 };
        spent.count("a", &tokens, at(NOON));
        spent.count("b", &tokens, at(NOON));
        assert_eq!(spent.check(&LIMITS, at(NOON)), Ok(()));
        spent.count("a", &Tokens { estimated_tokens: 2, ..Tokens::default() }, at(NOON));
        let wait = Duration::from_secs(12 * 3600);
        assert_eq!(spent.check(&LIMITS, at(NOON)), Err(Refusal { limit: Limit::Tokens, most: 100, wait }));
        assert_eq!(spent.by_provider(Wall(NOON))["a"], Tokens { estimated_tokens: 11, ..tokens });
        assert_eq!(spent.check(&LIMITS, at(NOON + 12 * HOUR)), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut spent = Spent::default();
        for _ in 0..200 {
            assert_eq!(ask(&mut spent, "t:1", &SpendingLimits::default(), at(NOON)), Ok(()));
        }
        spent.count("a", &Tokens { input_tokens: u64::MAX, output_tokens: 1, ..Tokens::default() }, at(NOON));
        assert_eq!(spent.check(&SpendingLimits::default(), at(NOON)), Ok(()));
    }

    #[test]
    fn a_turn_that_comes_again_after_a_crash_is_free_also_when_the_limit_is_reached() {
        let mut spent = Spent::default();
        let again = turn(1);
        (0..3).for_each(|_| ask(&mut spent, "t:1", &LIMITS, at(NOON)).expect("admitted"));
        let mut spent: Spent = serde_json::from_slice(&spent.to_json()).expect("what was written can be read");
        assert_eq!(spent.admit("t:1", again, &LIMITS, at(NOON)), Ok(false));
        refused(&mut spent, at(NOON), Limit::Minute, MINUTE_MS);
    }

    #[test]
    fn a_clock_that_jumps_opens_no_second_minute() {
        let mut spent = Spent::default();
        (0..3).for_each(|_| ask(&mut spent, "t:1", &LIMITS, at(NOON)).expect("admitted"));
        for wall in [0, NOON - HOUR, NOON + HOUR, NOON + 10 * 365 * DAY_MS] {
            refused(&mut spent, jumped(wall.max(NOON - HOUR), NOON + 1), Limit::Minute, 59_999);
        }
        // Another process, whose clock was set back in between.
        refused(&mut spent, at(NOON - HOUR), Limit::Minute, MINUTE_MS);
    }

    #[test]
    fn a_clock_that_goes_forth_and_back_opens_no_second_day() {
        for away in [DAY_MS, 3650 * DAY_MS] {
            let mut spent = Spent::default();
            for hour in 0..5 {
                assert_eq!(ask(&mut spent, "t:1", &LIMITS, at(NOON + hour * HOUR)), Ok(()));
            }
            spent.count("a", &Tokens { input_tokens: 100, ..Tokens::default() }, at(NOON));
            let steady = NOON + 5 * HOUR;
            // A new day begins there, and what is asked in it counts here, too.
            assert_eq!(ask(&mut spent, "t:1", &LIMITS, jumped(NOON + away, steady)), Ok(()));
            refused(&mut spent, jumped(NOON + 5 * HOUR, steady), Limit::Day, 7 * HOUR);
            assert!(spent.check(&LIMITS, jumped(NOON, steady)).is_err());
            // Nor does a clock that is behind for a while, until it is set.
            refused(&mut spent, jumped(NOON - away, steady), Limit::Day, 12 * HOUR);
            assert!(spent.check(&LIMITS, jumped(NOON - away, steady)).is_err());
            refused(&mut spent, jumped(NOON + 6 * HOUR, steady), Limit::Day, 6 * HOUR);
        }
    }

    #[test]
    fn a_clock_that_was_ahead_locks_nobody_out_for_longer_than_the_day_on_which_it_came_back() {
        for away in [DAY_MS, 3650 * DAY_MS] {
            let mut spent = Spent::default();
            for hour in 0..5 {
                assert_eq!(ask(&mut spent, "t:1", &LIMITS, at(NOON + away + hour * HOUR)), Ok(()));
            }
            spent.count("a", &Tokens { input_tokens: 100, ..Tokens::default() }, at(NOON + away));
            refused(&mut spent, jumped(NOON, NOON), Limit::Day, 12 * HOUR);
            assert!(!spent.look(jumped(NOON, NOON)), "it is known already");
            let believed = Now { believed_since: Some(Wall(NOON)), ..at(NOON + 13 * HOUR) };
            assert!(spent.look(believed));
            assert_eq!(spent.check(&LIMITS, believed), Ok(()));
            assert_eq!(ask(&mut spent, "t:1", &LIMITS, believed), Ok(()));
            assert_eq!(spent.tokens(Wall(NOON)), 100, "they count where they belong");
            assert!(!spent.look(believed));
        }
    }

    #[test]
    fn everything_kept_has_a_bound() {
        let limits = SpendingLimits { turns_per_minute: 1_000_000, ..SpendingLimits::default() };
        let mut spent = Spent::default();
        for step in 0..1200 {
            let sender = format!("t:{}", step % (SENDERS_MAX as u64 + 10));
            let now = jumped(NOON + step * 7, NOON + step * 7);
            ask(&mut spent, &sender, &limits, now).expect("admitted");
            ask(&mut spent, &"é".repeat(60), &limits, now).expect("admitted");
            spent.count(&format!("p{step}"), &Tokens::default(), jumped(NOON + step * DAY_MS, NOON));
        }
        assert_eq!((spent.senders.len(), spent.counted.len(), spent.days.len()), (SENDERS_MAX, COUNTED_MAX, DAYS_MAX));
        let often = spent.senders.iter().find(|(name, _)| name.starts_with('é')).expect("is kept");
        assert_eq!((often.0.len(), often.1.recent.len()), (SENDER_BYTES_MAX, RECENT_MAX));
        assert_eq!(often.1.recent.iter().map(|(_, turns)| turns).sum::<u64>(), 1200);
        (0..30).for_each(|name| spent.count(&format!("p{name}"), &Tokens::default(), at(NOON)));
        assert!(spent.days.iter().all(|day| day.providers.len() <= PROVIDERS_MAX));
        for number in 0..SENDERS_MAX as u64 {
            let recent = vec![(NOON, 1); 20];
            spent
                .senders
                .insert(format!("{number:064}"), Sender { last: 2 * NOON + number, recent, ..Sender::default() });
        }
        assert!(spent.to_json().len() <= FILE_BYTES_MAX && spent.senders.len() > SENDERS_MAX / 3);
        assert!(spent.senders.contains_key(&format!("{:064}", SENDERS_MAX - 1)), "the last to ask is kept");
    }

    #[test]
    fn a_damaged_file_of_any_numbers_does_no_harm() {
        let most = u64::MAX;
        let json = format!(
            "{{\"days\":[{{\"day\":{most},\"providers\":{{\"a\":{{\"input_tokens\":{most}}}}}}}],\
             \"senders\":{{\"t:1\":{{\"last\":{most},\"days\":[[{most},{most},false],[0,{most},true]],\"recent\":[[{most},{most}],[0,1]]}}}}}}"
        );
        let mut spent: Spent = serde_json::from_str(&json).expect("it has the form");
        spent.count("a", &Tokens { input_tokens: 1, ..Tokens::default() }, jumped(NOON, NOON));
        assert!(ask(&mut spent, "t:1", &LIMITS, jumped(NOON, NOON)).is_err());
        spent.take("t:1", turn(1), at(NOON));
        assert!(spent.check(&LIMITS, at(NOON)).is_err());
        assert_eq!(spent.check(&LIMITS, at(NOON + DAY_MS)), Ok(()));
    }
}
