//! [`Poller`]: Telegram long polling as a state machine (Bot API, `getUpdates`).
//!
//! The offset is the acknowledgement: asking with it makes the server forget everything below. So it moves only behind
//! a batch whose every message is on our disk, and it is one more than the highest id of *that batch*, never of
//! all that was ever seen: a server that starts over with lower numbers is followed, and copies are told apart by message.

use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::net::backoff::{ceiling, upper_half};

/// Most updates in one batch.
pub const BATCH_MAX: usize = 100;

/// Conflicts in a row before we say that another program reads this bot.
const CONFLICTS_TOLERATED: u32 = 3;

/// Pause after a batch that came back empty at once: a server that does not hold the poll is not asked in a loop.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);

/// A webhook may be removed any time; credentials change rarely.
const WEBHOOK_RECHECK: Duration = Duration::from_secs(300);
const DENIED_RECHECK_FIRST: Duration = Duration::from_secs(15 * 60);
const DENIED_RECHECK_MAX: Duration = Duration::from_secs(6 * 3600);

/// Why polling failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// Network trouble, 5xx, a response that is not ours.
    Transient,
    /// 429.
    Throttled {
        /// As told.
        after: Duration,
    },
    /// 409: another program reads this bot, or a read of ours has not ended yet.
    Conflict,
    /// A webhook is set, so polling cannot work.
    Webhook,
    /// 401 or 404: the token is not valid.
    Denied,
}

/// Why a person has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// The token is rejected.
    Auth,
    /// A webhook is set.
    Webhook,
    /// Another program reads this bot.
    Conflict,
}

impl Parked {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Parked::Auth => "auth",
            Parked::Webhook => "webhook_set",
            Parked::Conflict => "conflict",
        }
    }

    /// What the operator can do.
    pub fn remedy(self) -> &'static str {
        match self {
            Parked::Auth => {
                "set a valid RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN and restart, or send SIGHUP to look again now"
            }
            Parked::Webhook => {
                "remove the bot's webhook ('rusty-pinch channels telegram --delete-webhook'), then send SIGHUP to look again now"
            }
            Parked::Conflict => "stop the other program that reads this bot's updates",
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for updates.
    Poll {
        /// `None`: from the oldest that the server has.
        offset: Option<u64>,
    },
    /// Nothing before this time.
    Wait {
        /// When.
        until: Mono,
    },
}

/// Where polling stands.
#[derive(Clone, Debug)]
pub struct Poller {
    offset: Option<u64>,
    failures: u32,
    conflicts: u32,
    denials: u32,
    not_before: Mono,
    parked: Option<Parked>,
    /// What was last asked failed for something that a person mends.
    waits_for_person: bool,
    rng: Rng,
}

impl Poller {
    /// Starts behind the last message that is on disk.
    pub fn new(offset: Option<u64>, rng: Rng) -> Poller {
        let not_before = Mono(0);
        Poller { offset, failures: 0, conflicts: 0, denials: 0, not_before, parked: None, waits_for_person: false, rng }
    }

    /// What to do at `now`.
    pub fn step(&self, now: Mono) -> Step {
        if now < self.not_before { Step::Wait { until: self.not_before } } else { Step::Poll { offset: self.offset } }
    }

    /// Whether a person has to act.
    pub fn parked(&self) -> Option<Parked> {
        self.parked
    }

    /// How long the server may hold the next poll. After a failure not at all: that it answers again, and that what parked us is
    /// over, is known at once then. Not after a conflict, which only a poll that is held can meet.
    pub fn patience(&self, usual: Duration) -> Duration {
        if self.failures > 0 && self.conflicts == 0 { Duration::ZERO } else { usual }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A batch came whose messages are all on disk. `last` is the highest id in it; `took` is how long the poll lasted.
    pub fn on_batch(&mut self, last: Option<u64>, took: Duration, now: Mono) {
        (self.failures, self.conflicts, self.denials, self.parked) = (0, 0, 0, None);
        self.waits_for_person = false;
        match last.map(|last| last.saturating_add(1)) {
            // The same batch again: the server does not heed the offset.
            next @ Some(_) if next == self.offset => self.not_before = now.after(EMPTY_PAUSE),
            Some(next) if cfg!(rp_break = "offset_by_max") => self.offset = self.offset.max(Some(next)),
            Some(next) => self.offset = Some(next),
            None if took < EMPTY_PAUSE => self.not_before = now.after(EMPTY_PAUSE),
            None => {}
        }
    }

    /// Polling failed; returns how long to wait.
    pub fn on_failure(&mut self, failure: PollFailure, now: Mono) -> Duration {
        self.failures += 1;
        self.waits_for_person = !matches!(failure, PollFailure::Transient | PollFailure::Throttled { .. });
        if failure != PollFailure::Conflict {
            self.conflicts = 0;
        }
        let delay = match failure {
            PollFailure::Transient => {
                upper_half(Duration::from_millis(500), Duration::from_secs(30), self.failures, &mut self.rng)
            }
            PollFailure::Throttled { after } => {
                let after = after.clamp(Duration::from_secs(1), Duration::from_secs(3600));
                after + self.rng.jitter(after / 10)
            }
            PollFailure::Conflict => {
                self.conflicts += 1;
                if self.conflicts >= CONFLICTS_TOLERATED {
                    self.parked = Some(Parked::Conflict);
                }
                // Two programs that take turns in throwing each other out must not do it often.
                Duration::from_secs(5)
                    + upper_half(Duration::from_secs(5), Duration::from_secs(55), self.conflicts, &mut self.rng)
            }
            PollFailure::Webhook => {
                self.parked = Some(Parked::Webhook);
                WEBHOOK_RECHECK
            }
            PollFailure::Denied => {
                self.parked = Some(Parked::Auth);
                self.denials += 1;
                ceiling(DENIED_RECHECK_FIRST, DENIED_RECHECK_MAX, self.denials)
            }
        };
        self.not_before = now.after(delay);
        delay
    }

    /// Somebody may have mended what parks us: look again now. What the server asked us to wait is waited all the same.
    pub fn on_reload(&mut self) {
        if self.waits_for_person {
            self.not_before = Mono(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poller(offset: Option<u64>) -> Poller {
        Poller::new(offset, Rng::from_seed(4))
    }

    const SLOW: Duration = Duration::from_secs(30);

    #[test]
    fn the_offset_follows_the_batch_and_not_the_largest_id() {
        let mut poller = poller(Some(500));
        assert_eq!(poller.step(Mono(0)), Step::Poll { offset: Some(500) });
        poller.on_batch(Some(41), SLOW, Mono(0));
        assert_eq!(poller.step(Mono(0)), Step::Poll { offset: Some(42) });
        poller.on_batch(None, SLOW, Mono(0));
        assert_eq!(poller.step(Mono(0)), Step::Poll { offset: Some(42) });
    }

    #[test]
    fn a_server_that_does_not_hold_the_poll_is_not_asked_in_a_loop() {
        let mut poller = poller(None);
        poller.on_batch(None, Duration::from_millis(3), Mono(0));
        assert_eq!(poller.step(Mono(0)), Step::Wait { until: Mono(1000) });
    }

    #[test]
    fn a_server_that_ignores_the_offset_or_asks_for_years_is_met_with_measure() {
        let mut poller = poller(Some(42));
        poller.on_batch(Some(41), SLOW, Mono(0));
        assert_eq!(poller.step(Mono(0)), Step::Wait { until: Mono(1000) });
        for seconds in [1_000_000_000, u64::MAX] {
            let delay = poller.on_failure(PollFailure::Throttled { after: Duration::from_secs(seconds) }, Mono(0));
            assert!(delay <= Duration::from_secs(3960), "{delay:?}");
        }
    }

    /// Seen to fail without the rule about conflicts: two readers would never meet, and neither would know.
    #[test]
    fn the_poll_after_a_failure_is_not_held_unless_it_was_a_conflict() {
        let mut poller = poller(None);
        assert_eq!(poller.patience(SLOW), SLOW);
        for (failure, want) in [
            (PollFailure::Transient, Duration::ZERO),
            (PollFailure::Denied, Duration::ZERO),
            (PollFailure::Conflict, SLOW),
            (PollFailure::Webhook, Duration::ZERO),
        ] {
            poller.on_failure(failure, Mono(0));
            assert_eq!(poller.patience(SLOW), want, "{failure:?}");
        }
        poller.on_batch(None, SLOW, Mono(0));
        assert_eq!(poller.patience(SLOW), SLOW);
    }

    /// Requests within the first minute of a failure that does not end.
    fn requests_in_a_minute(failure: PollFailure, seed: u64) -> u32 {
        let mut poller = Poller::new(None, Rng::from_seed(seed));
        let (mut now, mut requests) = (Mono(0), 0);
        while now < Mono(60_000) {
            requests += 1;
            now = now.after(poller.on_failure(failure, now));
        }
        requests
    }

    #[test]
    fn no_storm_makes_more_than_twelve_requests_a_minute() {
        let throttled = PollFailure::Throttled { after: Duration::from_secs(30) };
        for failure in
            [PollFailure::Transient, throttled, PollFailure::Conflict, PollFailure::Webhook, PollFailure::Denied]
        {
            for seed in 0..500 {
                let requests = requests_in_a_minute(failure, seed);
                assert!(requests <= 12, "{failure:?}, seed {seed}: {requests}");
            }
        }
    }

    #[test]
    fn what_only_a_person_can_mend_parks_and_a_reload_looks_again() {
        let mut poller = poller(None);
        poller.on_failure(PollFailure::Denied, Mono(0));
        assert_eq!(poller.parked(), Some(Parked::Auth));
        assert!(matches!(poller.step(Mono(60_000)), Step::Wait { .. }));
        poller.on_reload();
        assert_eq!(poller.step(Mono(60_000)), Step::Poll { offset: None });
        poller.on_failure(PollFailure::Throttled { after: Duration::from_secs(20) }, Mono(60_000));
        poller.on_reload();
        assert!(matches!(poller.step(Mono(79_999)), Step::Wait { .. }), "what the server asked for is waited");
        (0..2).for_each(|_| assert!(poller.on_failure(PollFailure::Conflict, Mono(0)) >= Duration::from_secs(5)));
        poller.on_batch(None, SLOW, Mono(0));
        assert_eq!(poller.parked(), None);
    }

    #[test]
    fn one_conflict_is_normal_and_three_are_another_program() {
        let mut poller = poller(None);
        poller.on_failure(PollFailure::Conflict, Mono(0));
        poller.on_failure(PollFailure::Conflict, Mono(0));
        assert_eq!(poller.parked(), None);
        poller.on_failure(PollFailure::Conflict, Mono(0));
        assert_eq!(poller.parked(), Some(Parked::Conflict));
    }
}
