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
use crate::base::message::{Delivery, EXPIRED, Inbound, Job, Outcome, Reply};
use crate::base::rng::Rng;
use crate::observe::event::Event;
use crate::observe::telemetry::{Delta, Position};
use crate::store::commit_log::{CommitLog, LogError};
use crate::store::dead::DeadLetters;
use crate::store::exchange::{Append, Effect, Folders, Input, Notice, Opening, Readmission, Sizes};
use crate::store::journal::{Counting, Journal, Open};
use crate::store::owed::OwedLines;
use crate::store::record::{
    Answer, Attempts, Confirmed, OpenRecord, Readmitted, Received, Record, Sending, Start, Unsent,
};
use crate::store::recover::{self, Owed};
use crate::store::retention::Retention;
use crate::store::sessions::Sessions;
use crate::store::spool::{SENT_BY_COMMAND, Spool};

/// Giving up, closing, and what comes after it.
mod closing;

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

    fn stage_append(&mut self, append: Append, now: Wall, records: &mut Vec<Record>, effects: &mut Vec<Effect>) {
        match append {
            Append::Accept(inbound) | Append::Refuse { inbound, .. } if self.journal.has_seen(&inbound.key) => {
                // The first copy may have come in this very batch, so this too is only said after the flush.
                self.sync_wanted = true;
                self.after_sync.push(Effect::Notice(Notice::Duplicate(inbound)));
            }
            Append::Accept(inbound) => {
                self.stage(Record::Rx(Received::new(&inbound)), records);
                self.sync_wanted = true;
                let accepted = Effect::Notice(Notice::Accepted(Job { inbound, interrupted: 0, carried_over: false }));
                if cfg!(rp_break = "no_f1") { effects.push(accepted) } else { self.after_sync.push(accepted) }
            }
            Append::Refuse { inbound, reply, told } => self.stage_refusal(inbound, *reply, told, now, records),
            Append::Begin { turn, lane } => {
                let n = self.journal.get(turn).map_or(1, |open| open.tries + 1);
                self.stage(Record::Try(Attempts { id: turn, n }), records);
                // From the second attempt on the count decides about giving up, so it must survive a power cut.
                self.sync_wanted |= n > 1;
                let waiting = if n > 1 { &mut self.after_sync } else { &mut *effects };
                waiting.push(Effect::Answer(lane));
            }
            Append::Abandon { turn } => {
                let n = self.journal.get(turn).map_or(0, |open| open.tries.saturating_sub(1));
                self.stage(Record::Try(Attempts { id: turn, n }), records);
            }
            Append::Reply(reply) => self.stage_reply(*reply, now, records, effects),
            Append::Readmit(readmission) => self.stage_readmission(*readmission, records),
        }
    }

    fn stage_reply(&mut self, reply: Reply, now: Wall, records: &mut Vec<Record>, effects: &mut Vec<Effect>) {
        let turn = reply.turn;
        self.replied.push(turn);
        let answer = self.answer(reply, now);
        self.stage(Record::Rep(answer), records);
        self.sync_wanted = true;
        if self.journal.get(turn).is_some_and(Open::is_stopped) {
            // Whoever stopped it hears so in another reply.
            self.close(turn, Outcome::Refused, now, records);
        }
        let early = self.journal.get(turn).filter(|_| cfg!(rp_break = "no_f2"));
        effects.extend(early.and_then(|open| open.outbound(&self.boot)).map(Effect::Outbound));
        if self.is_expired(turn) && !self.is_first_expired_of_chat(turn) {
            effects.extend(self.finish(turn, Outcome::Refused, EXPIRED, now, records));
        }
    }

    /// The wish may come twice, if a process ended before its file was removed.
    fn stage_readmission(&mut self, readmission: Readmission, records: &mut Vec<Record>) {
        let Readmission { file, inbound, answered } = readmission;
        let turn = inbound.turn;
        if self.is_held(turn) {
            // Its credit was never given back, so none was taken for the wish, which comes again.
            return;
        }
        self.sync_wanted = true;
        if !self.spool.has(&file) {
            // A person dropped it meanwhile. It gives its credit back as a copy does.
            self.after_sync.push(Effect::Notice(Notice::Duplicate(inbound)));
            return;
        }
        self.spool.take(file.clone());
        if self.journal.get(turn).is_some() {
            return;
        }
        let is_copy = self.journal.has_seen(&file);
        let effect = match answered {
            None if is_copy => Effect::Notice(Notice::Duplicate(inbound)),
            Some(_) if is_copy => Effect::Notice(Notice::Delivered(turn)),
            None => {
                self.stage(Record::Rx(Received::new(&inbound)), records);
                Effect::Notice(Notice::Accepted(Job { inbound, interrupted: 0, carried_over: false }))
            }
            Some(open) => {
                let mut open = OpenRecord { owed: false, k: 0, fin: None, ..*open };
                if open.rx.key.starts_with(SENT_BY_COMMAND) && open.snd == 0 {
                    // Nobody has begun to send it, whatever was booted since it was written.
                    open.rep.iter_mut().for_each(|answer| answer.boot.clone_from(&self.boot));
                }
                self.stage(Record::Opn(Box::new(Readmitted { key: file, open })), records);
                let outbound = self.journal.get(turn).and_then(|open| open.outbound(&self.boot));
                outbound.map_or(Effect::Notice(Notice::Delivered(turn)), Effect::Outbound)
            }
        };
        self.after_sync.push(effect);
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

    fn stage_refusal(&mut self, inbound: Inbound, reply: Reply, told: bool, now: Wall, records: &mut Vec<Record>) {
        let turn = inbound.turn;
        self.stage(Record::Rx(Received::new(&inbound)), records);
        let answer = self.answer(reply, now);
        self.stage(Record::Rep(answer), records);
        self.sync_wanted = true;
        self.replied.push(turn);
        self.after_sync.push(Effect::Notice(Notice::Refused(inbound)));
        if !told {
            self.close(turn, Outcome::Refused, now, records);
        }
    }

    fn answer(&mut self, reply: Reply, now: Wall) -> Answer {
        let received = self.journal.get(reply.turn).map(|open| &open.received);
        // It only saves reading; but who looks after the disk should hear of it.
        let last = received.map_or(Ok(None), |received| self.lines.last_ordinal(received));
        let n = last.unwrap_or_else(|error| {
            let what = "the end of a session".to_owned();
            self.after_sync.push(Effect::Event(Event::StorageError { what, error: error.to_string() }));
            None
        });
        let received = received.map(|received| received.text.as_str());
        Answer {
            id: reply.turn,
            boot: self.boot.clone(),
            user: (received != Some(reply.user_text.as_str())).then_some(reply.user_text),
            parts: if reply.parts.len() == 1 && reply.parts[0] == reply.text { Vec::new() } else { reply.parts },
            asst: reply.text,
            sum: reply.summary,
            ts: now.0,
            n,
        }
    }

    fn stage_delivery(&mut self, delivery: Delivery, now: Wall, records: &mut Vec<Record>, effects: &mut Vec<Effect>) {
        match delivery {
            Delivery::Sending { turn, part, resends, lane } => {
                self.stage(Record::Snd(Sending { id: turn, i: part, k: resends }), records);
                effects.push(Effect::Answer(lane));
            }
            Delivery::Unsent { turn, part, ambiguous: true, resends } => {
                self.stage(Record::Snd(Sending { id: turn, i: part, k: resends }), records);
            }
            Delivery::Unsent { turn, part, .. } => self.stage(Record::Uns(Unsent { id: turn, i: part }), records),
            Delivery::Sent { turn, part, message_id } => {
                self.stage(Record::Ack(Confirmed { id: turn, i: part, mid: message_id }), records);
            }
            Delivery::Close { turn, outcome, why } => effects.extend(self.finish(turn, outcome, &why, now, records)),
        }
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
