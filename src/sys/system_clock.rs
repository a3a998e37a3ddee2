//! The real clock: the only caller of `now()`.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::clock::{Clock, Mono, WALL_FLOOR, Wall};
use crate::sys::entropy;

/// Where systemd's time service says that the clock was set.
const TIME_SERVICE: &str = "/run/systemd/timesync";

/// Whether the host's clock was set by a time service; `None`: there is none that we know.
pub fn synchronised() -> Option<bool> {
    let folder = Path::new(TIME_SERVICE);
    folder.is_dir().then(|| folder.join("synchronized").exists())
}

/// Counts from its creation.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that stands at zero now.
    #[expect(clippy::new_without_default, reason = "a default that depends on the moment would surprise")]
    pub fn new() -> SystemClock {
        #[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        #[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
        Mono(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Wall {
        #[expect(clippy::disallowed_methods, reason = "the one reader of the calendar clock")]
        let now = SystemTime::now();
        // A host whose clock stands before 1970 is taken to stand at 1970.
        Wall(now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    fn is_trusted(&self) -> bool {
        self.wall() >= WALL_FLOOR && synchronised() != Some(false)
    }

    fn since_boot(&self) -> Option<(String, u64)> {
        let boot = entropy::boot_id();
        let seconds = u64::try_from(rustix::system::sysinfo().uptime).ok()?;
        boot.bytes().any(|digit| digit != b'0').then_some((boot, seconds * 1000))
    }
}
