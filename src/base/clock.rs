//! Time as values: cores are handed `now`, shells ask a [`Clock`]. Nothing here reads the real time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// Milliseconds since the process started. Never goes back; use it for deadlines and delays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

/// Milliseconds since 1970 UTC, as the host believes. May jump; use it for records and logs only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Wall(pub u64);

/// 2026-01-01: an earlier date has not been set since the host was switched on.
pub const WALL_FLOOR: Wall = Wall(1_767_225_600_000);

/// Whole milliseconds of a time; more than fit count as all that fit.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Mono {
    /// The instant `delay` later; saturates instead of wrapping.
    pub fn after(self, delay: Duration) -> Mono {
        Mono(self.0.saturating_add(millis(delay)))
    }

    /// How long it is from here until `later`; zero when that has passed.
    pub fn until(self, later: Mono) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

impl Wall {
    /// RFC 3339 in UTC with milliseconds, written `+00:00` as the session files always were.
    pub fn rfc3339(self) -> String {
        // Year 9999 is the last one the format has room for.
        let millis = self.0.min(253_402_300_799_999);
        let mut text = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        text.truncate(text.len() - 1);
        text.push_str("+00:00");
        text
    }

    /// How long it is from here until `later`; zero when that has passed.
    pub fn until(self, later: Wall) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// The only source of time for shells.
pub trait Clock: Send + Sync {
    /// Time since the process started.
    fn mono(&self) -> Mono;
    /// The date, as the host believes it.
    fn wall(&self) -> Wall;
    /// Whether the host has reason to believe it. Decisions about the age of something need that.
    fn is_trusted(&self) -> bool {
        self.wall() >= WALL_FLOOR
    }
    /// Which boot of the kernel this is, and milliseconds since then, sleep included; no setting of the date changes them.
    /// `None` where the host does not say.
    fn since_boot(&self) -> Option<(String, u64)> {
        None
    }
}

/// A clock that moves when a test says so. Both readings advance together.
#[derive(Debug, Default)]
pub struct ManualClock {
    mono: AtomicU64,
    wall_at_start: u64,
}

impl ManualClock {
    /// A clock standing at zero on its monotonic side and at `wall` on the other.
    pub fn starting_at(wall: Wall) -> ManualClock {
        ManualClock { mono: AtomicU64::new(0), wall_at_start: wall.0 }
    }

    /// Moves both readings forward.
    pub fn advance(&self, delay: Duration) {
        self.mono.fetch_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn mono(&self) -> Mono {
        Mono(self.mono.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        Wall(self.wall_at_start + self.mono.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_carry_milliseconds_and_an_offset() {
        assert_eq!(Wall(0).rfc3339(), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(Wall(1_795_562_271_042).rfc3339(), "2026-11-24T23:17:51.042+00:00");
    }

    #[test]
    fn dates_beyond_the_format_do_not_panic() {
        assert_eq!(Wall(u64::MAX).rfc3339(), "9999-12-31T23:59:59.999+00:00");
    }

    #[test]
    fn a_deadline_in_the_past_leaves_no_time() {
        assert_eq!(Mono(10).until(Mono(4)), Duration::ZERO);
        assert_eq!(Mono(u64::MAX).after(Duration::from_secs(1)), Mono(u64::MAX));
    }
}
