//! Heartbeats: each thread says from time to time that it lives, and until when it will say so again; others look. Two
//! numbers per thread, no lock, so saying so costs nothing and nobody who looks can hold a thread up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::clock::{Clock, Mono};

#[derive(Debug, Default)]
struct Slot {
    /// When it last said that it lives.
    seen: AtomicU64,
    /// Milliseconds within which it says so again; 0 while it may rest for ever.
    limit: AtomicU64,
}

/// A thread's end. Dropped with its thread: one that has left is the supervisor's business and owes nothing any more.
pub struct Heart {
    slot: Arc<Slot>,
    clock: Arc<dyn Clock>,
}

/// The end of those who look.
#[derive(Clone, Debug)]
pub struct Pulse {
    name: Arc<str>,
    slot: Arc<Slot>,
}

/// A connected pair, resting.
pub fn pair(name: &str, clock: Arc<dyn Clock>) -> (Heart, Pulse) {
    let slot = Arc::new(Slot::default());
    let heart = Heart { slot: Arc::clone(&slot), clock };
    heart.rests();
    (heart, Pulse { name: name.into(), slot })
}

impl Heart {
    /// Lives, and will say so again within `limit`.
    pub fn within(&self, limit: Duration) {
        // Whoever looks reads the limit first: a new limit is never seen with an old time.
        self.slot.seen.store(self.clock.mono().0, Ordering::SeqCst);
        self.slot.limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::SeqCst);
    }

    /// Lives, and waits for something that may never come.
    pub fn rests(&self) {
        self.slot.seen.store(self.clock.mono().0, Ordering::SeqCst);
        self.slot.limit.store(0, Ordering::SeqCst);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.slot.limit.store(0, Ordering::SeqCst);
    }
}

/// What is seen of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Since it last said that it lives.
    pub age: Duration,
    /// How old that may become; `None` while it may rest for ever.
    pub limit: Option<Duration>,
}

impl Pulse {
    /// The thread.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A look at `now`.
    pub fn look(&self, now: Mono) -> Seen {
        let limit = self.slot.limit.load(Ordering::SeqCst);
        let age = Mono(self.slot.seen.load(Ordering::SeqCst)).until(now);
        Seen { age, limit: (limit > 0).then(|| Duration::from_millis(limit)) }
    }
}

impl Seen {
    /// Whether it should have said that it lives, and has not.
    pub fn is_overdue(self) -> bool {
        self.limit.is_some_and(|limit| self.age > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Wall};

    #[test]
    fn only_who_promised_to_come_back_is_missed() {
        let clock = Arc::new(ManualClock::starting_at(Wall(0)));
        let (heart, pulse) = pair("writer", Arc::<ManualClock>::clone(&clock));
        let is_overdue = || pulse.look(clock.mono()).is_overdue();
        let day = Duration::from_secs(86_400);
        clock.advance(day);
        assert!(!is_overdue(), "it rests");
        heart.within(Duration::from_secs(10));
        clock.advance(Duration::from_secs(10));
        assert!(!is_overdue());
        clock.advance(Duration::from_millis(1));
        assert!(is_overdue());
        heart.within(Duration::from_secs(10));
        assert!(!is_overdue(), "it came back");
        heart.rests();
        clock.advance(day);
        assert!(!is_overdue());
        heart.within(Duration::ZERO);
        clock.advance(Duration::from_secs(1));
        assert!(is_overdue(), "no time at all is not for ever");
        drop(heart);
        assert!(!is_overdue(), "it has left");
    }
}
