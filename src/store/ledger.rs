//! [`Ledger`]: a batch of work made durable, and what follows from it. Owns the commit log, the sessions and the state
//! folded from them; the writer thread is a loop around it.
//!
//! Two steps, so that nobody waits for a flush who need not: [`Ledger::write`] puts the batch into the page cache and
//! releases those who only need that; [`Ledger::sync`] flushes once for all the others (group commit). Session lines
//! are appended after the flush of their answer and before anyone is told of it.

use std::collections::HashSet;
use std::io;

use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::base::message::{EXPIRED, Outcome};
use crate::base::rng::Rng;
use crate::observe::telemetry::{Delta, Position};
use crate::store::commit_log::{CommitLog, LogError};
use crate::store::dead::DeadLetters;
use crate::store::exchange::{Effect, Folders, Input, Notice, Opening, Readmission, Sizes};
use crate::store::journal::{Counting, Journal};
use crate::store::owed::OwedLines;
use crate::store::record::{Record, Start};
use crate::store::recover::{self, Owed};
use crate::store::retention::Retention;
use crate::store::sessions::Sessions;
use crate::store::spool::Spool;

// Giving up, closing, and what comes after it.
mod closing;

// What a batch is made of, as records.
mod staging;

/// The state and the means to change it. (A copy writes to the same files, which only a model of them can keep apart.)
#[derive(Clone)]
pub struct Ledger {
    log: CommitLog,
    journal: Journal,
    lines: OwedLines,
    dead: DeadLetters,
    spool: Spool,
    boot: String,
    /// Somebody waits for a flush.
    sync_wanted: bool,
    /// Answers written since the last flush.
    replied: Vec<TurnId>,
    /// Effects that wait for the flush.
    after_sync: Vec<Effect>,
    /// Turns closed by the batch under way.
    closed: Vec<TurnId>,
    /// Closed turns whose session lines are not written yet.
    held: Vec<TurnId>,
    /// Chats that this process told that their messages are too old.
    expired_chats: HashSet<String>,
}

impl Ledger {
    /// Opens the journal, repairs and completes the session files, and says what is to be gone on with.
    pub fn open(folders: Folders, boot: &str, counting: Counting, now: Wall) -> Result<(Ledger, Opening), LogError> {
        Ledger::open_sized(folders, Sizes::default(), boot, counting, now)
    }

    /// The same with files of other sizes.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_sized(
        folders: Folders,
        sizes: Sizes,
        boot: &str,
        counting: Counting,
        now: Wall,
    ) -> Result<(Ledger, Opening), LogError> {
        let (log, found) = CommitLog::open_sized(folders.journal, sizes.journal, boot, &counting.name)?;
        let replay = recover::replay(&found.records, counting);
        let mut ledger = Ledger {
            log,
            journal: replay.journal,
            lines: OwedLines::new(Sessions::with_files_of(folders.sessions, sizes.session)),
            dead: DeadLetters::new(folders.dead),
            spool: Spool::new(folders.spool),
            boot: boot.to_owned(),
            sync_wanted: false,
            replied: Vec::new(),
            after_sync: Vec::new(),
            closed: Vec::new(),
            held: Vec::new(),
            expired_chats: HashSet::new(),
        };
        let mut opening = Opening { frames: found.frames, damage: found.damage, ..Opening::default() };
        (opening.lines_restored, opening.events) = ledger.lines.restore(&mut ledger.journal, &replay.answered, now);
        ledger.lines.check().map_err(LogError::Flush)?;
        if opening.damage.is_some() || found.flush_failed {
            // Nobody knows which notes about parts are lost, as after a power cut.
            ledger.journal.doubt_notes();
        }
        let mut records = Vec::new();
        ledger.stage(Record::Boot(Start { ts: now.0, boot: boot.to_owned() }), &mut records);
        let mut effects = Vec::new();
        for owed in recover::owed(&ledger.journal, boot) {
            let turn = owed.turn();
            match owed {
                Owed::Close(_) => effects.extend(ledger.finish(turn, Outcome::Sent, "", now, &mut records)),
                Owed::Resume(_) if ledger.is_expired(turn) && !ledger.is_first_expired_of_chat(turn) => {
                    effects.extend(ledger.finish(turn, Outcome::Refused, EXPIRED, now, &mut records));
                }
                Owed::Resume(reopened) => opening.reopened.push(reopened),
            }
        }
        opening.events.extend(effects.into_iter().filter_map(Effect::event));
        opening.held = ledger.hold_unsettled();
        opening.next_positions = ledger.journal.next_positions().clone();
        // A change of files, in which all that is open is written anew.
        ledger.commit_records(&records)?;
        ledger.log.sync()?;
        // Nobody has counted them yet.
        ledger.closed.clear();
        Ok((ledger, opening))
    }

    /// Session lines are kept for so long from here on.
    pub fn keep_sessions_for(&mut self, retention: Retention) {
        self.lines.keep_for(retention);
    }

    /// Removes dead letters, torn ends and session lines of long ago. To be called once a day, with a clock that can be trusted; what
    /// cannot be removed waits for the next time.
    pub fn tidy(&mut self, now: Wall) -> io::Result<()> {
        let (dead, torn) = (self.dead.tidy(now), self.lines.tidy(now));
        dead.and(torn)
    }

    /// What is open, as it will be read again from what was written so far.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Puts a batch into the page cache.
    ///
    /// # Errors
    /// Any error means that nothing more can be promised: the caller ends the process.
    pub fn write(&mut self, batch: impl IntoIterator<Item = Input>, now: Wall) -> Result<Vec<Effect>, LogError> {
        let mut records = Vec::new();
        let mut effects = Vec::new();
        for input in batch {
            match input {
                Input::Append(append) => self.stage_append(append, now, &mut records, &mut effects),
                Input::Delivery(delivery) => self.stage_delivery(delivery, now, &mut records, &mut effects),
            }
        }
        self.dead.check()?;
        self.commit_records(&records)?;
        effects.extend(self.say_closed());
        Ok(effects)
    }

    /// The oldest wish in the spool. One for a turn that was closed waits until that is settled.
    pub fn next_readmission(&self, now: Wall, rng: &mut Rng) -> io::Result<Option<Readmission>> {
        self.spool.next(now, rng, &|turn| self.is_held(turn))
    }

    /// Closed, while its session lines are owed or its end is not flushed: its credit was not given back.
    fn is_held(&self, turn: TurnId) -> bool {
        let gives_back = |effect: &Effect| matches!(effect, Effect::Notice(Notice::Delivered(of)) if *of == turn);
        self.journal.get(turn).is_some_and(|open| open.closed.is_some()) || self.after_sync.iter().any(gives_back)
    }

    fn stage(&mut self, record: Record, records: &mut Vec<Record>) {
        self.journal.apply(&record);
        records.extend((!cfg!(rp_break = "snd_in_memory") || !matches!(record, Record::Snd(_))).then_some(record));
    }

    fn commit_records(&mut self, records: &[Record]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = records.iter().map(Record::to_line).collect();
        if self.log.fits(lines.iter().map(String::len).sum()) {
            return self.log.append(&lines);
        }
        // The other file begins with everything open, these records included. The session lines of what is closed
        // must be on the medium before the records that could restore them are given up.
        self.lines.sync().map_err(LogError::Flush)?;
        self.log.switch(&self.journal.checkpoint())
    }

    /// Whether somebody waits for a flush.
    pub fn sync_wanted(&self) -> bool {
        self.sync_wanted
    }

    /// Whether a flush would change anything.
    pub fn is_dirty(&self) -> bool {
        self.log.is_dirty() || !self.after_sync.is_empty() || !self.replied.is_empty() || self.spool.has_taken()
    }

    /// Flushes once for everything written so far.
    ///
    /// # Errors
    /// As [`Ledger::write`]. A flush is never tried again.
    pub fn sync(&mut self, now: Wall) -> Result<Vec<Effect>, LogError> {
        self.log.sync()?;
        self.sync_wanted = false;
        let mut effects = Vec::new();
        for turn in std::mem::take(&mut self.replied) {
            let Some(open) = self.journal.get(turn) else { continue };
            // What is closed already, or only waits for its letter, was never to be sent.
            let is_over = open.closed.is_some() || self.dead.owes(turn);
            let outbound = open.outbound(&self.boot).filter(|_| !is_over && !cfg!(rp_break = "no_f2"));
            let weight = open.weight();
            effects.extend(self.write_lines(turn, now));
            effects.push(Effect::Notice(Notice::Replied { turn, weight }));
            effects.extend(outbound.map(Effect::Outbound));
        }
        self.lines.check().map_err(LogError::Flush)?;
        effects.append(&mut self.after_sync);
        self.spool.remove_taken();
        Ok(self.hold_back(effects))
    }

    /// Bytes of the journal that reached the medium since this was last asked; `None` if there was no flush.
    pub fn take_flushed(&mut self) -> Option<u64> {
        self.log.take_flushed()
    }

    /// What is to be added to the counters' file. Only after a flush: what a power cut takes back must not be counted.
    pub fn uncounted(&self) -> Option<(&Delta, Position)> {
        self.journal.uncounted()
    }

    /// It was added.
    pub fn counted(&mut self) {
        self.journal.counted();
    }

    /// Tries again what could not be appended to a session file.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub fn retry_owed(&mut self, now: Wall) -> Result<Vec<Effect>, LogError> {
        let events = self.lines.retry(&mut self.journal, now);
        self.lines.check().map_err(LogError::Flush)?;
        let mut records = Vec::new();
        for (turn, outcome) in self.dead.retry() {
            self.close(turn, outcome, now, &mut records);
        }
        self.dead.check()?;
        self.commit_records(&records)?;
        let events = events.into_iter().map(Effect::Event);
        Ok(events.chain(self.say_closed()).chain(self.release_held()).collect())
    }

    fn write_lines(&mut self, turn: TurnId, now: Wall) -> impl Iterator<Item = Effect> {
        self.lines.write(&mut self.journal, turn, now).into_iter().map(Effect::Event)
    }
}
