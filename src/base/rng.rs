//! Seeded randomness: a value that is passed down, so that a run can be repeated. Not for secrets.

use std::time::Duration;

/// A small generator. Its seed is in the first log line of a worker.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// The same seed gives the same sequence.
    pub fn from_seed(seed: u64) -> Rng {
        Rng(fastrand::Rng::with_seed(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A generator of its own for another thread.
    pub fn split(&mut self) -> Rng {
        Rng::from_seed(self.bits())
    }

    /// A whole number in `0..=most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        self.0.u64(0..=most)
    }

    /// Full jitter: a duration anywhere between zero and `most`, in milliseconds.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        if cfg!(rp_break = "no_jitter") {
            return most;
        }
        Duration::from_millis(self.up_to(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
    }
}
