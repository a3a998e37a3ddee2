//! [`settle`]: recovery without a worker, for commands that need a journal with nothing owed: one that is about to delete a
//! session, one that closes turns for good, one that puts an archive in place.
//!
//! Recovery appends the lines of every answer in the journal that its session does not have: what is deleted would come
//! back. So everything is written where it belongs, as a start would, and the journal goes on without it.

use std::io;
use std::path::Path;

use crate::base::clock::{Clock, Wall};
use crate::base::id::TurnId;
use crate::base::message::{Outcome, Path as Way, Summary};
use crate::observe::event::TurnRecord;
use crate::observe::telemetry_file;
use crate::store::commit_log::{CommitLog, LogError};
use crate::store::dead::{self, Letter};
use crate::store::journal::{Counting, Journal, Open};
use crate::store::journal_files;
use crate::store::owed::OwedLines;
use crate::store::record::{Answer, Closed, OpenRecord, Record};
use crate::store::recover;
use crate::store::sessions::Sessions;
use crate::store::storage::{Storage, read_all};

/// What is settled, and how.
pub struct Settling<'a> {
    /// `journal/<channel>`, whose lock the caller holds.
    pub journal: Box<dyn Storage>,
    /// `sessions`.
    pub sessions: Box<dyn Storage>,
    /// The counters.
    pub telemetry: &'a Path,
    /// The boot of the kernel.
    pub boot: &'a str,
    /// The name of a journal that is new.
    pub name: String,
    /// Which open turns are closed for good, with the error class that says why.
    pub close: &'a dyn Fn(TurnId) -> Option<&'static str>,
    /// `dead`, for the journal of an archive: what is closed goes there first, so that a person can take it up again, and
    /// damage is no obstacle, because the next start would go on in the same way.
    pub letters: Option<Box<dyn Storage>>,
}

/// Settles a journal; returns the turns that were closed.
///
/// # Errors
/// Of the disk, or the damage that keeps from doing so: a start of the worker mends it.
pub fn settle(settling: Settling<'_>, clock: &dyn Clock) -> Result<Result<Vec<TurnRecord>, String>, LogError> {
    let Settling { journal, sessions, telemetry, boot, name, close, mut letters } = settling;
    let now = clock.wall();
    // Before anything is kept aside or written: who only wants to settle leaves damage to the worker, which tells of it.
    if letters.is_none()
        && let Some(damage) = journal_files::look(journal.as_ref())?.damage
    {
        return Ok(Err(damage));
    }
    let (mut log, found) = CommitLog::open(journal, boot, &name)?;
    if let (Some(damage), None) = (&found.damage, &letters) {
        return Ok(Err(damage.clone()));
    }
    let counted = telemetry_file::read(telemetry).unwrap_or_default().sources;
    let mut replay = recover::replay(&found.records, Counting { name, counted });
    let mut lines = OwedLines::new(Sessions::new(sessions));
    lines.restore(&mut replay.journal, &replay.answered, now);
    if found.flush_failed || found.damage.is_some() {
        replay.journal.doubt_notes();
    }
    let open = replay.journal.open().filter(|open| open.closed.is_none()).map(|open| open.received.id);
    let chosen: Vec<(TurnId, &str)> = open.filter_map(|turn| Some((turn, close(turn)?))).collect();
    let mut closed = Vec::new();
    for (turn, class) in chosen {
        let outcome = match &mut letters {
            None => Outcome::Refused,
            Some(letters) => write_letter(letters.as_mut(), &replay.journal, (turn, class), now)?,
        };
        closed.extend(close_turn(&mut replay.journal, &mut lines, (turn, class), boot, outcome, now));
    }
    lines.sync().map_err(LogError::Flush)?;
    if let Some((delta, position)) = replay.journal.uncounted() {
        telemetry_file::add(telemetry, delta, Some(&position), clock)?;
        replay.journal.counted();
    }
    log.switch(&replay.journal.checkpoint())?;
    Ok(Ok(closed))
}

/// Copies the letters of an archive. One that cannot be read is copied as it is; `outbox list` shows it.
pub fn hold_letters(from: &dyn Storage, into: &mut dyn Storage) -> io::Result<()> {
    for name in dead::names(from)? {
        match dead::read(from, &name) {
            Ok(mut letter) => {
                doubt(&mut letter.open);
                dead::write(into, &letter)?;
            }
            Err(_) => {
                let bytes = read_all(from, &name, dead::LETTER_BYTES_MAX)?;
                into.write_at(&name, 0, &bytes)?;
                into.sync(&name)?;
            }
        }
    }
    into.sync_dir()
}

/// Workers and people went on after the archive was made, so that any part of an answer may have arrived.
fn doubt(open: &mut OpenRecord) {
    open.snd = open.snd.max(open.ack + u16::from(open.rep.is_some()));
    open.rep.iter_mut().for_each(Answer::doubt_notes);
}

fn write_letter(
    letters: &mut dyn Storage,
    journal: &Journal,
    (turn, why): (TurnId, &str),
    now: Wall,
) -> io::Result<Outcome> {
    let Some(mut open) = journal.get(turn).map(Open::record) else { return Ok(Outcome::Dead) };
    if open.rep.as_ref().is_some_and(|answer| usize::from(open.ack) >= answer.parts().len()) {
        return Ok(Outcome::Sent);
    }
    doubt(&mut open);
    dead::write(letters, &Letter { why: why.to_owned(), ts: now.0, open })?;
    Ok(Outcome::Dead)
}

/// A message without an answer gets one that says so, because every accepted message is in its session.
fn close_turn(
    journal: &mut Journal,
    lines: &mut OwedLines,
    (turn, class): (TurnId, &str),
    boot: &str,
    outcome: Outcome,
    now: Wall,
) -> Option<TurnRecord> {
    let open = journal.get(turn)?;
    if open.answer.is_none() {
        let summary = Summary {
            path: Some(Way::Provider),
            user_chars: open.received.text.chars().count() as u64,
            error: Some(class.to_owned()),
            ..Summary::default()
        };
        let (boot, asst) = (boot.to_owned(), format!("(not answered: {class})"));
        journal.apply(&Record::Rep(Answer {
            id: turn,
            boot,
            user: None,
            asst,
            parts: Vec::new(),
            sum: summary,
            ts: now.0,
            // Only saves reading.
            n: lines.last_ordinal(&open.received).unwrap_or(None),
        }));
        lines.write(journal, turn, now);
    }
    let closed = Closed { id: turn, outcome, ts: now.0 };
    let record = journal.get(turn)?.turn_record(&closed);
    journal.apply(&Record::Fin(closed));
    record
}
