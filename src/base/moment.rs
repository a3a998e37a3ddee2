//! [`Moment`]: when something was written, so that another process can tell how much has passed since. Within one boot of the
//! kernel the time since the boot says so, whatever the calendar did meanwhile; across boots the calendar does, if it can be right.
//! Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::{Clock, WALL_FLOOR, Wall};

/// A calendar that went back further has been set, and says nothing about what passed.
const STEP_BACK_MAX: Duration = Duration::from_secs(300);

/// When something was written or read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// The calendar, milliseconds since 1970.
    pub wall: u64,
    /// Which boot of the kernel, and milliseconds since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<(String, u64)>,
    /// Of the reader only: it is not written, so it does not tell two moments apart.
    #[serde(skip)]
    pub trusted: bool,
}

impl PartialEq for Moment {
    fn eq(&self, other: &Moment) -> bool {
        (self.wall, &self.boot) == (other.wall, &other.boot)
    }
}

impl Eq for Moment {}

impl Moment {
    /// Now.
    pub fn now(clock: &dyn Clock) -> Moment {
        Moment { wall: clock.wall().0, boot: clock.since_boot(), trusted: clock.is_trusted() }
    }

    /// The date `left` from here.
    pub fn date(&self, left: Duration) -> Wall {
        Wall(self.wall.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
    }

    /// What has passed since `earlier`; `None`: nobody knows.
    pub fn since(&self, earlier: &Moment) -> Option<Duration> {
        let passed = match (&self.boot, &earlier.boot) {
            (Some((boot, now)), Some((same, then))) if boot == same => now.saturating_sub(*then),
            _ => {
                let went_back = self.wall.saturating_add(STEP_BACK_MAX.as_millis() as u64) < earlier.wall;
                if !self.trusted || went_back || earlier.wall < WALL_FLOOR.0 {
                    return None;
                }
                self.wall.saturating_sub(earlier.wall)
            }
        };
        Some(Duration::from_millis(passed))
    }

    /// Whether less than `limit` has passed until `now`, for what must not be used too late: a calendar that went back says no.
    pub fn is_within(&self, limit: Duration, now: &Moment) -> bool {
        let passed = match (&self.boot, &now.boot) {
            (Some((of, then)), Some((boot, now))) if of == boot => now.checked_sub(*then),
            _ => now.wall.checked_sub(self.wall),
        };
        passed.is_some_and(|passed| u128::from(passed) < limit.as_millis())
    }
}
