//! Retry or give up: a decision, not a loop. Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015): a delay anywhere between zero and a ceiling that doubles, so that many clients do not come back at once.

use std::time::Duration;

use crate::base::retry::Retry;
use crate::base::rng::Rng;

/// A server that asks for a longer wait than this is not waited for.
pub const SERVER_DELAY_MAX: Duration = Duration::from_secs(120);

/// No attempt is worth starting with less time than this.
pub const TIME_MIN: Duration = Duration::from_secs(5);

/// How often, how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in all.
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
    /// Decides after attempt number `attempt` (counting from 1) failed, with `left` of the time still there.
    pub fn decide(&self, attempt: u32, left: Duration, retry: Retry, rng: &mut Rng) -> Next {
        let attempts_max = match retry {
            Retry::No => 1,
            Retry::Once => self.attempts_max.min(2),
            Retry::Yes | Retry::After(_) => self.attempts_max,
        };
        if attempt >= attempts_max {
            return Next::GiveUp;
        }
        let jittered = rng.jitter(self.ceiling(attempt));
        let after = match retry {
            Retry::After(asked) if asked > SERVER_DELAY_MAX => return Next::GiveUp,
            // A little more than asked, so that clients told the same thing do not come back together.
            Retry::After(asked) => asked.max(jittered) + rng.jitter(asked / 10),
            _ => jittered,
        };
        if after + TIME_MIN > left { Next::GiveUp } else { Next::Retry { after } }
    }

    /// The largest delay after attempt number `attempt`.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        ceiling(self.base, self.cap, attempt)
    }
}

/// A delay in the upper half of a ceiling that doubles with every failure in a row (counting from 1): for channels, where
/// a storm has to stay below a number of requests a minute.
pub fn upper_half(base: Duration, cap: Duration, failures: u32, rng: &mut Rng) -> Duration {
    let ceiling = ceiling(base, cap, failures);
    ceiling / 2 + rng.jitter(ceiling / 2)
}

fn ceiling(base: Duration, cap: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    base.saturating_mul(1 << doublings).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { attempts_max: 3, base: Duration::from_millis(600), cap: Duration::from_secs(4) };
    const LONG: Duration = Duration::from_secs(180);

    #[test]
    fn delays_stay_under_a_ceiling_that_doubles_and_use_all_of_it() {
        let seed = 3;
        let mut rng = Rng::from_seed(seed);
        let policy = Policy { attempts_max: u32::MAX, ..POLICY };
        for attempt in [1, 2, 3, 4, 5, 40] {
            let ceiling = policy.ceiling(attempt);
            let (mut smallest, mut largest) = (Duration::MAX, Duration::ZERO);
            for _ in 0..2000 {
                let Next::Retry { after } = policy.decide(attempt, LONG, Retry::Yes, &mut rng) else {
                    panic!("gave up")
                };
                assert!(after <= ceiling, "seed {seed}, attempt {attempt}: {after:?}");
                (smallest, largest) = (smallest.min(after), largest.max(after));
            }
            assert!(smallest < ceiling / 20 && largest > ceiling * 19 / 20, "seed {seed}: {smallest:?} to {largest:?}");
        }
        assert_eq!(
            (policy.ceiling(1), policy.ceiling(3), policy.ceiling(99)),
            (POLICY.base, POLICY.base * 4, POLICY.cap)
        );
    }

    #[track_caller]
    fn gives_up(attempt: u32, left: Duration, retry: Retry) {
        assert_eq!(POLICY.decide(attempt, left, retry, &mut Rng::from_seed(1)), Next::GiveUp);
    }

    #[test]
    fn it_gives_up_when_more_cannot_help() {
        gives_up(3, LONG, Retry::Yes);
        gives_up(1, LONG, Retry::No);
        gives_up(2, LONG, Retry::Once);
        gives_up(1, Duration::from_secs(4), Retry::Yes);
        gives_up(1, LONG, Retry::After(Duration::from_secs(121)));
        gives_up(1, Duration::from_secs(60), Retry::After(Duration::from_secs(58)));
    }

    #[test]
    fn a_server_is_never_asked_before_the_time_it_named() {
        let mut rng = Rng::from_seed(2);
        let asked = Duration::from_secs(10);
        for _ in 0..500 {
            let Next::Retry { after } = POLICY.decide(1, LONG, Retry::After(asked), &mut rng) else {
                panic!("gave up")
            };
            assert!(after >= asked && after <= asked * 11 / 10, "{after:?}");
        }
    }
}
