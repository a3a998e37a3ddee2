//! The counters' file: read, added to and replaced under a lock. A damaged file is kept aside and counting goes on.
//!
//! The earlier runtime writes the file back without the keys that it does not know. What they say is therefore in a second
//! file, `<name>.counted`, as well, and taken from there when the first has lost it: nothing is counted twice on the way back.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::base::sorted::SortedMap;
use crate::observe::telemetry::{Delta, Latencies, Position, Snapshot};
use crate::sys::files;

/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How long another process may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the earlier runtime does not keep.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    latencies: Latencies,
    sources: SortedMap<String, u64>,
}

/// The snapshot on disk. No file is an empty snapshot; a damaged one is an error.
pub fn read(path: &Path) -> io::Result<Snapshot> {
    match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok((bytes, _)) => {
            let mut snapshot: Snapshot =
                serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if snapshot.sources.is_empty() {
                let bytes = files::read_bounded(&kept_beside(path), FILE_BYTES_MAX).map(|(bytes, _)| bytes);
                let kept: Kept = serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default();
                if !kept.sources.is_empty() {
                    (snapshot.sources, snapshot.latencies) = (kept.sources, kept.latencies);
                }
            }
            Ok(snapshot)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Snapshot::default()),
        Err(error) => Err(error),
    }
}

/// Adds `delta` to the file. On an error nothing was added, so the caller keeps the delta.
pub fn add(path: &Path, delta: &Delta, position: Option<&Position>, clock: &dyn Clock) -> io::Result<()> {
    let _held = lock(path, clock)?;
    let mut snapshot = match read(path) {
        Ok(snapshot) => snapshot,
        Err(error) if files::is_damage(&error) => {
            fs::rename(path, beside(path, &format!("damaged-{}", clock.wall().0)))?;
            Snapshot::default()
        }
        Err(error) => return Err(error),
    };
    if snapshot.total_turns == 0 {
        forget_kept(path)?;
    }
    snapshot.add(delta, position, clock.wall());
    files::replace(path, snapshot.to_json().as_bytes())?;
    if position.is_some() {
        let kept = Kept { latencies: snapshot.latencies, sources: snapshot.sources };
        // The counters are written: an error here must not have them written again.
        let _ = files::replace(&kept_beside(path), &serde_json::to_vec(&kept).unwrap_or_default());
    }
    Ok(())
}

/// Keeps others from counting as long as the value lives. The folder is made if it is not there.
///
/// # Errors
/// Of the disk, or `WouldBlock` while another process counts.
pub fn lock(path: &Path, clock: &dyn Clock) -> io::Result<File> {
    files::hold(&beside(path, "lock"), PATIENCE, clock, "another process holds the lock of the telemetry file")
}

/// The counters are about to be others: what is kept beside them is not about those.
pub fn forget_kept(path: &Path) -> io::Result<()> {
    match fs::remove_file(kept_beside(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn kept_beside(path: &Path) -> PathBuf {
    beside(path, "counted")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
