//! Retry or give up: a decision, not a loop. Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015): a delay anywhere between zero and a ceiling that doubles, so that many clients do not come back at once.

use std::time::Duration;

use crate::base::retry::{Retry, Times};
use crate::base::rng::Rng;

/// A server that asks for a longer wait than this is not waited for.
pub const SERVER_DELAY_MAX: Duration = Duration::from_secs(120);

/// No attempt is worth starting with less time than this.
pub const TIME_MIN: Duration = Duration::from_secs(5);

/// Attempts of one turn, over all providers of the chain.
pub const TURN_ATTEMPTS_MAX: u32 = 6;

/// Attempts made so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// At this provider, for this question.
    pub here: u32,
    /// In this turn, at all providers.
    pub in_turn: u32,
}

/// How often, how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts at one provider.
    pub attempts_max: u32,
    /// Ceiling of the first delay.
    pub base: Duration,
    /// Ceiling of every delay.
    pub cap: Duration,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Once more, after this delay.
    Retry {
        /// How long to wait first.
        after: Duration,
    },
    /// No more attempts.
    GiveUp,
}

impl Policy {
    /// Decides after a failed attempt, the last of `made`, with `left` of the time still there.
    pub fn decide(&self, made: Made, left: Duration, retry: Retry, rng: &mut Rng) -> Next {
        let attempts_max = match retry.times {
            Times::Never => 1,
            Times::Once | Times::OnceShorter => self.attempts_max.min(2),
            Times::Allowed => self.attempts_max,
        };
        if made.here >= attempts_max || made.in_turn >= TURN_ATTEMPTS_MAX || retry.at_least > SERVER_DELAY_MAX {
            return Next::GiveUp;
        }
        let jittered = match retry.times {
            Times::OnceShorter => Duration::ZERO,
            _ => rng.jitter(ceiling(self.base.saturating_mul(retry.stretch), self.cap, made.here)),
        };
        // A little more than asked, so that clients told the same thing do not come back together.
        let after = retry.at_least.max(jittered) + rng.jitter(retry.at_least / 10);
        if after + TIME_MIN > left { Next::GiveUp } else { Next::Retry { after } }
    }
}

/// A delay in the upper half of a ceiling that doubles with every failure in a row (counting from 1): for channels, where
/// a storm has to stay below a number of requests a minute.
pub fn upper_half(base: Duration, cap: Duration, failures: u32, rng: &mut Rng) -> Duration {
    let ceiling = ceiling(base, cap, failures);
    ceiling / 2 + rng.jitter(ceiling / 2)
}

/// A delay anywhere below such a ceiling (full jitter): for links, where many clients must not come back together.
pub fn full(base: Duration, cap: Duration, failures: u32, rng: &mut Rng) -> Duration {
    rng.jitter(ceiling(base, cap, failures))
}

/// What doubles with every failure in a row (counting from 1) up to `cap`, without jitter: for how long somebody else is left
/// alone, and for what only a person can mend.
pub fn ceiling(base: Duration, cap: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    base.saturating_mul(1 << doublings).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { attempts_max: 3, base: Duration::from_millis(600), cap: Duration::from_secs(4) };
    const LONG: Duration = Duration::from_secs(180);

    const AGAIN: Retry = Retry { times: Times::Allowed, at_least: Duration::ZERO, stretch: 1 };

    fn asked(seconds: u64) -> Retry {
        Retry { at_least: Duration::from_secs(seconds), ..AGAIN }
    }

    fn made(count: u32) -> Made {
        Made { here: count, in_turn: count.min(TURN_ATTEMPTS_MAX - 1) }
    }

    fn delays(attempt: u32, retry: Retry, seed: u64) -> Vec<u64> {
        let policy = Policy { attempts_max: u32::MAX, ..POLICY };
        let mut rng = Rng::from_seed(seed);
        let delay = |_| match policy.decide(made(attempt), LONG, retry, &mut rng) {
            Next::Retry { after } => u64::try_from(after.as_millis()).expect("short"),
            Next::GiveUp => panic!("gave up"),
        };
        (0..10_000).map(delay).collect()
    }

    /// The Kolmogorov-Smirnov test against whole milliseconds of `0..=ceiling`, all equally likely; p > 0.01 is a
    /// distance below 1.63 / sqrt(n).
    #[test]
    fn delays_are_spread_evenly_below_a_ceiling_that_doubles() {
        for (attempt, ceiling) in [(1, 600_u32), (2, 1200), (3, 2400), (4, 4000), (5, 4000), (40, 4000)] {
            let seed = u64::from(attempt);
            let mut found = delays(attempt, AGAIN, seed);
            found.sort_unstable();
            assert!(found.last() <= Some(&u64::from(ceiling)), "attempt {attempt}: {:?}", found.last());
            let share = |count: usize| f64::from(u32::try_from(count).expect("few")) / 10_000.0;
            let distance = (0..=ceiling).map(|delay| {
                let below = found.partition_point(|found| *found <= u64::from(delay));
                (share(below) - f64::from(delay + 1) / f64::from(ceiling + 1)).abs()
            });
            let distance = distance.fold(0.0, f64::max);
            assert!(distance < 0.0163, "seed {seed}, attempt {attempt}: {distance}");
        }
    }

    #[test]
    fn an_overloaded_server_gets_four_times_the_delay_and_never_more_than_the_cap() {
        let slowly = Retry { stretch: 4, ..asked(1) };
        for (attempt, ceiling) in [(1, 2400), (2, 4000), (3, 4000)] {
            let found = delays(attempt, slowly, 7);
            let (least, most) = (found.iter().min().expect("some"), found.iter().max().expect("some"));
            assert!(
                (1000..1010).contains(least) && (ceiling * 98 / 100..=ceiling + 100).contains(most),
                "{least} {most}"
            );
        }
    }

    #[track_caller]
    fn gives_up(made: Made, left: Duration, retry: Retry) {
        assert_eq!(POLICY.decide(made, left, retry, &mut Rng::from_seed(1)), Next::GiveUp);
    }

    #[test]
    fn it_gives_up_when_more_cannot_help() {
        gives_up(made(3), LONG, AGAIN);
        gives_up(made(1), LONG, Retry::NO);
        gives_up(made(2), LONG, Retry { times: Times::Once, ..AGAIN });
        gives_up(made(2), LONG, Retry { times: Times::OnceShorter, ..AGAIN });
        gives_up(Made { here: 1, in_turn: 6 }, LONG, AGAIN);
        gives_up(made(1), Duration::from_millis(4999), Retry { times: Times::OnceShorter, ..AGAIN });
        gives_up(made(1), LONG, asked(121));
        gives_up(made(1), Duration::from_secs(60), asked(58));
        gives_up(made(1), LONG, Retry { at_least: Duration::MAX, ..AGAIN });
    }

    #[test]
    fn a_shorter_conversation_is_sent_at_once() {
        let shorter = Retry { times: Times::OnceShorter, ..AGAIN };
        let next = POLICY.decide(made(1), TIME_MIN, shorter, &mut Rng::from_seed(1));
        assert_eq!(next, Next::Retry { after: Duration::ZERO });
    }

    #[test]
    fn a_server_is_never_asked_before_the_time_it_named() {
        let found = delays(1, asked(10), 2);
        assert!(found.iter().all(|delay| (10_000..=11_000).contains(delay)));
        assert!(found.iter().max() > Some(&10_950) && found.iter().min() < Some(&10_050), "not spread");
    }
}
