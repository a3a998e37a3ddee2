//! [`settle`]: recovery without a worker, for a command that is about to delete a session.
//!
//! Recovery appends the lines of every answer in the journal that its session does not have: what is deleted would come
//! back. So everything is written where it belongs, as a start would, and the journal goes on without it.

use std::path::Path;

use crate::base::clock::Clock;
use crate::observe::telemetry_file;
use crate::store::commit_log::{CommitLog, LogError};
use crate::store::journal::Counting;
use crate::store::owed::OwedLines;
use crate::store::recover;
use crate::store::sessions::Sessions;
use crate::store::storage::Storage;

/// Settles the journal of a channel whose lock the caller holds: session lines, and the counters in `telemetry`. A new
/// journal would be called `name`. Returns the damage that keeps from doing so.
pub fn settle(
    journal: Box<dyn Storage>,
    sessions: Box<dyn Storage>,
    telemetry: &Path,
    (boot, name): (&str, String),
    clock: &dyn Clock,
) -> Result<Option<String>, LogError> {
    let now = clock.wall();
    let (mut log, found) = CommitLog::open(journal, boot, &name, now.0 / 1000)?;
    if found.damage.is_some() {
        return Ok(found.damage);
    }
    let counted = telemetry_file::read(telemetry).unwrap_or_default().sources;
    let mut replay = recover::replay(&found.records, Counting { name, counted });
    let mut lines = OwedLines::new(Sessions::new(sessions));
    lines.restore(&mut replay.journal, &replay.answered, now);
    lines.sync()?;
    if let Some((delta, position)) = replay.journal.uncounted() {
        telemetry_file::add(telemetry, delta, Some(&position), clock)?;
        replay.journal.counted();
    }
    log.switch(&replay.journal.checkpoint())?;
    Ok(None)
}
