//! The retry budget of one credential: a token bucket. A provider in trouble is not made busier by everyone's second and
//! third attempts: when most attempts fail, the tokens run out, and only first attempts are left.
//!
//! Tokens are counted in milliseconds of refilling, so that every amount is a whole number: one token is a minute. Not
//! kept over a restart; the breaker is.

use crate::base::clock::Mono;

/// One token; also how long one takes to come back.
const TOKEN: u64 = 60_000;
/// A full bucket.
const TOKENS_MAX: u64 = 10 * TOKEN;
/// Another attempt.
const RETRY: u64 = TOKEN;
/// Another attempt after a timeout: the other side may still be at work on the first one.
const RETRY_AFTER_TIMEOUT: u64 = 2 * TOKEN;
/// What a success gives back.
const SUCCESS: u64 = TOKEN / 5;

/// Tokens of one credential, shared by every turn that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    tokens: u64,
    counted: Mono,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new()
    }
}

impl Budget {
    /// A full bucket.
    pub fn new() -> Budget {
        Budget { tokens: TOKENS_MAX, counted: Mono(0) }
    }

    /// Takes the tokens of another attempt. `false`: there are not enough, so there is no other attempt.
    pub fn may_retry(&mut self, now: Mono, after_timeout: bool) -> bool {
        self.refill(now);
        let price = if after_timeout { RETRY_AFTER_TIMEOUT } else { RETRY };
        let left = self.tokens.checked_sub(price);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }

    /// What is left, in thousandths of a token.
    pub fn left(mut self, now: Mono) -> u64 {
        self.refill(now);
        self.tokens * 1000 / TOKEN
    }

    /// An attempt succeeded.
    pub fn on_success(&mut self, now: Mono) {
        self.refill(now);
        self.tokens = (self.tokens + SUCCESS).min(TOKENS_MAX);
    }

    /// A reading that is older than the last one, from a slower thread, adds nothing.
    fn refill(&mut self, now: Mono) {
        self.tokens = self.tokens.saturating_add(now.0.saturating_sub(self.counted.0)).min(TOKENS_MAX);
        self.counted = self.counted.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::base::rng::Rng;

    fn taken(budget: &mut Budget, now: Mono, after_timeout: bool) -> u32 {
        (0..100).map(|_| u32::from(budget.may_retry(now, after_timeout))).sum()
    }

    fn seconds(count: u64) -> Mono {
        Mono(count * 1000)
    }

    #[test]
    fn a_full_bucket_has_ten_retries_or_five_after_timeouts() {
        assert_eq!(taken(&mut Budget::new(), Mono(0), false), 10);
        assert_eq!(taken(&mut Budget::new(), Mono(0), true), 5);
        assert_eq!(taken(&mut Budget::new(), seconds(86_400), false), 10);
    }

    #[test]
    fn tokens_come_back_with_minutes_and_with_every_fifth_success() {
        let mut budget = Budget::new();
        taken(&mut budget, Mono(0), false);
        assert!(!budget.may_retry(Mono(59_999), false));
        assert!(budget.may_retry(seconds(60), false));
        assert!(!budget.may_retry(seconds(179), true));
        assert!(budget.may_retry(seconds(180), true));
        (0..4).for_each(|_| budget.on_success(seconds(180)));
        assert!(!budget.may_retry(seconds(180), false));
        budget.on_success(seconds(180));
        assert!(budget.may_retry(seconds(180), false));
        assert!(!budget.may_retry(seconds(10), false), "a reading of the past");
    }

    /// A hundred turns in ten minutes, two retries wanted by each: a naive client makes three hundred requests.
    #[test]
    fn a_dead_provider_costs_at_most_a_fifth_more_than_the_turns() {
        let mut budget = Budget::new();
        let mut requests = 0;
        for turn in 0..100 {
            let now = seconds(6 * turn);
            requests += 1 + (0..2).filter(|_| budget.may_retry(now, false)).count();
        }
        assert!(requests <= 120, "{requests}");
    }

    /// Over any sequence, what was paid for is never more than the bucket, the minutes and the successes.
    #[test]
    fn no_sequence_gets_more_than_was_put_in() {
        for seed in 0..200 {
            let mut rng = Rng::from_seed(seed);
            let (mut budget, mut now, mut income, mut spent) = (Budget::new(), Mono(0), TOKENS_MAX, 0);
            for _ in 0..200 {
                let step = rng.up_to(40_000);
                now = now.after(Duration::from_millis(step));
                income += step;
                let after_timeout = rng.up_to(2) == 0;
                if rng.up_to(3) == 0 {
                    budget.on_success(now);
                    income += SUCCESS;
                } else if budget.may_retry(now, after_timeout) {
                    spent += if after_timeout { RETRY_AFTER_TIMEOUT } else { RETRY };
                }
                assert!(spent + budget.tokens <= income && budget.tokens <= TOKENS_MAX, "seed {seed}");
            }
        }
    }
}
