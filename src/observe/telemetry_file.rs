//! The counters' file: read, added to and replaced under a lock. A damaged file is kept aside and counting goes on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::observe::telemetry::{Delta, Position, Snapshot};
use crate::sys::files;

/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How long another process may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// The snapshot on disk. No file is an empty snapshot; a damaged one is an error.
pub fn read(path: &Path) -> io::Result<Snapshot> {
    match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok((bytes, _)) => {
            serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Snapshot::default()),
        Err(error) => Err(error),
    }
}

/// Adds `delta` to the file. On an error nothing was added, so the caller keeps the delta.
pub fn add(path: &Path, delta: &Delta, position: Option<&Position>, clock: &dyn Clock) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        files::make_folder(folder)?;
    }
    let held = files::lock(&beside(path, "lock"), PATIENCE, clock)?;
    if held.is_none() {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds the lock of the telemetry file"));
    }
    let mut snapshot = match read(path) {
        Ok(snapshot) => snapshot,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            fs::rename(path, beside(path, &format!("damaged-{}", clock.wall().0)))?;
            Snapshot::default()
        }
        Err(error) => return Err(error),
    };
    snapshot.add(delta, position, clock.wall());
    files::replace(path, snapshot.to_json().as_bytes())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
