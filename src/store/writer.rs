//! The session-writer thread: a loop around [`Ledger`]. Everyone may wait for it; it waits only for the disk.
//!
//! It drains what is waiting, writes one frame, flushes once if anyone waits for durability, and then tells them.
//! What nobody waits for is flushed [`FLUSH_AFTER`] after it was written. Ends when its two queues are closed: first the
//! one of appends (then the outboxes are closed, so that senders finish), then the one of deliveries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono, Wall};
use crate::base::id::ChannelId;
use crate::base::message::{Chat, Delivery, Outbound};
use crate::base::rng::Rng;
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::observe::telemetry_file;
use crate::store::commit_log::LogError;
use crate::store::exchange::{Append, Effect, Input, Notice};
use crate::store::ledger::Ledger;
use crate::sys::heartbeat::Heart;
use crate::sys::queue::{Receiver, RecvTimeoutError, Select, Sender, TryRecvError, push};

/// Longest time a record that nobody waits for stays in the page cache only.
pub const FLUSH_AFTER: Duration = Duration::from_millis(250);

/// Shortest time between two writes of the counters.
const TELEMETRY_EVERY: Duration = Duration::from_secs(10);

/// Shortest time between two tries at what could not be written.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Shortest time between two looks for what was kept aside long ago.
const TIDY_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The same where it could not be done, because a command or another worker held the lock.
const TIDY_AGAIN: Duration = Duration::from_secs(3600);

/// How long a round may take, waiting and writing included.
const ROUND_MAX: Duration = Duration::from_secs(10);

/// Items taken into one frame at most.
const BATCH_MAX: usize = 64;

/// The writer's ends of the queues.
pub struct WriterEnds {
    /// From the dispatcher and the turn workers.
    pub appends: Receiver<Append>,
    /// From the senders.
    pub deliveries: Receiver<Delivery>,
    /// To the dispatcher.
    pub notices: Sender<Notice>,
    /// To the senders; a chat always goes to the same one.
    pub outboxes: Vec<Sender<Outbound>>,
    /// To those who wait for the page cache.
    pub lanes: Vec<Sender<()>>,
    /// How it shows that it lives.
    pub heart: Heart,
}

/// Which sender serves a chat.
pub fn sender_of(chat: &Chat, senders: usize) -> usize {
    let sum = chat.id.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    sum % senders.max(1)
}

/// The thread's state.
pub struct Writer {
    channel: ChannelId,
    ledger: Ledger,
    ends: WriterEnds,
    telemetry_path: PathBuf,
    telemetry_due: Mono,
    retry_due: Mono,
    tidy_due: Mono,
    /// A wish of the spool is with the dispatcher.
    wish_under_way: bool,
    /// That the spool cannot be read was said.
    spool_failed: bool,
    rng: Rng,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
}

impl Writer {
    /// A writer that has done nothing yet.
    pub fn new(
        channel: ChannelId,
        ledger: Ledger,
        ends: WriterEnds,
        telemetry_path: PathBuf,
        rng: Rng,
        clock: Arc<dyn Clock>,
        log: Arc<dyn Log>,
    ) -> Writer {
        let now = clock.mono();
        Writer {
            channel,
            ledger,
            ends,
            telemetry_path,
            telemetry_due: now,
            retry_due: now,
            tidy_due: now,
            wish_under_way: false,
            spool_failed: false,
            rng,
            clock,
            log,
        }
    }

    /// Runs until both queues are closed.
    ///
    /// # Errors
    /// A sentence, when nothing more can be promised.
    pub fn run(mut self) -> Result<(), String> {
        let outcome = self.serve();
        if outcome.is_ok() {
            self.write_telemetry();
        }
        outcome.map_err(|error| {
            let kind = match error {
                LogError::Flush(_) => "flush",
                LogError::TooLarge => "too_large",
                LogError::Io(_) | LogError::Latched => "write",
            };
            self.log.note(Note::JournalFailed { channel: self.channel, kind });
            let reason = format!("journal: {error}");
            self.log.emit(self.clock.wall(), &Event::Fatal { reason: reason.clone() });
            reason
        })
    }

    fn serve(&mut self) -> Result<(), LogError> {
        let mut flush_due: Option<Mono> = None;
        self.ends.heart.within(ROUND_MAX);
        while let Some(batch) = self.next_batch(flush_due)? {
            let begun = self.clock.mono();
            let effects = self.ledger.write(batch, self.clock.wall())?;
            self.perform(effects);
            let now = self.committed(begun);
            if self.ledger.is_dirty() && flush_due.is_none() {
                flush_due = Some(now.after(FLUSH_AFTER));
            }
            if self.ledger.sync_wanted() || flush_due.is_some_and(|due| now >= due) {
                flush_due = None;
                self.sync(now)?;
            }
            self.periodic(now)?;
            self.ends.heart.within(ROUND_MAX);
        }
        self.sync(self.clock.mono())?;
        self.note_open();
        Ok(())
    }

    fn sync(&mut self, begun: Mono) -> Result<(), LogError> {
        let effects = self.ledger.sync(self.clock.wall())?;
        self.committed(begun);
        self.perform(effects);
        Ok(())
    }

    /// Measures what was done since `begun`, if there was a flush in it. What time it is now.
    fn committed(&mut self, begun: Mono) -> Mono {
        let now = self.clock.mono();
        if let Some(bytes) = self.ledger.take_flushed() {
            self.log.note(Note::Committed { channel: self.channel, bytes, flush: begun.until(now) });
        }
        now
    }

    /// Waits for the first item, then takes what else is there. `None`: both queues are closed.
    fn next_batch(&mut self, flush_due: Option<Mono>) -> Result<Option<Vec<Input>>, LogError> {
        let appends_open = !self.ends.outboxes.is_empty();
        let patience = flush_due.map_or(RETRY_EVERY, |due| self.clock.mono().until(due));
        let mut batch = Vec::new();
        if appends_open {
            let mut select = Select::new();
            select.recv(self.ends.appends.raw());
            select.recv(self.ends.deliveries.raw());
            // Timing out is no news: the caller looks at what is due.
            let _ = select.ready_timeout(patience);
            self.drain(&mut batch)?;
        } else {
            match self.ends.deliveries.recv_timeout(patience) {
                Ok(delivery) => batch.push(Input::Delivery(delivery)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
            batch.extend(self.ends.deliveries.try_iter().take(BATCH_MAX).map(Input::Delivery));
        }
        Ok(Some(batch))
    }

    fn drain(&mut self, batch: &mut Vec<Input>) -> Result<(), LogError> {
        batch.extend(self.ends.deliveries.try_iter().take(BATCH_MAX).map(Input::Delivery));
        for _ in 0..BATCH_MAX {
            match self.ends.appends.try_recv() {
                Ok(append) => {
                    self.wish_under_way &= !matches!(append, Append::Readmit(_));
                    batch.push(Input::Append(append));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return self.close_outboxes_after(batch),
            }
        }
        Ok(())
    }

    /// Appends are over. What they held goes out first, then the senders may end.
    fn close_outboxes_after(&mut self, batch: &mut Vec<Input>) -> Result<(), LogError> {
        let now = self.clock.wall();
        let effects = self.ledger.write(std::mem::take(batch), now)?;
        self.perform(effects);
        self.sync(self.clock.mono())?;
        self.ends.outboxes.clear();
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Notice(notice) => {
                    self.count(&notice);
                    push(&self.ends.notices, notice);
                }
                Effect::Answer(lane) => push(&self.ends.lanes[lane], ()),
                Effect::Outbound(outbound) => {
                    let sender = sender_of(&outbound.chat, self.ends.outboxes.len());
                    if let Some(outbox) = self.ends.outboxes.get(sender) {
                        push(outbox, outbound);
                    }
                }
                Effect::Closed(record) => self.log.emit(self.clock.wall(), &Event::Turn(record)),
                Effect::Event(event) => self.log.emit(self.clock.wall(), &event),
            }
        }
    }

    /// What was taken up again, at a start or by a wish, was counted when it was received.
    fn count(&self, notice: &Notice) {
        let outcome = match notice {
            Notice::Accepted(job) if job.inbound.origin.is_some() => "accepted",
            Notice::Refused(_) => "refused",
            Notice::Duplicate(inbound) if inbound.origin.is_some() => "duplicate",
            _ => return,
        };
        self.log.note(Note::Received { channel: self.channel, outcome });
    }

    fn periodic(&mut self, now: Mono) -> Result<(), LogError> {
        if now >= self.telemetry_due && self.ledger.uncounted().is_some() {
            self.telemetry_due = now.after(TELEMETRY_EVERY);
            self.sync(now)?;
            self.write_telemetry();
        }
        if now >= self.retry_due {
            self.retry_due = now.after(RETRY_EVERY);
            let effects = self.ledger.retry_owed(self.clock.wall())?;
            self.perform(effects);
            self.look_into_spool();
            self.tidy(now);
            self.note_open();
        }
        Ok(())
    }

    fn note_open(&self) {
        let (mut unanswered, mut undelivered, mut oldest) = (0, 0, None);
        for open in self.ledger.journal().open().filter(|open| open.closed.is_none()) {
            oldest.get_or_insert(Wall(open.received.ts));
            *(if open.answer.is_some() { &mut undelivered } else { &mut unanswered }) += 1;
        }
        self.log.note(Note::Open { channel: self.channel, unanswered, undelivered, oldest });
    }

    /// What is old is only known by a clock that can be trusted.
    fn tidy(&mut self, now: Mono) {
        if now < self.tidy_due || !self.clock.is_trusted() {
            return;
        }
        self.tidy_due = now.after(TIDY_EVERY);
        if let Err(error) = self.ledger.tidy(self.clock.wall()) {
            self.tidy_due = now.after(TIDY_AGAIN);
            let event = Event::StorageError { what: "what was kept aside".to_owned(), error: error.to_string() };
            self.log.emit(self.clock.wall(), &event);
        }
    }

    /// What a person wants to be taken up again goes through the dispatcher, who knows whether there is room.
    fn look_into_spool(&mut self) {
        if self.wish_under_way || self.ends.outboxes.is_empty() {
            return;
        }
        let wish = self.ledger.next_readmission(self.clock.wall(), &mut self.rng);
        if let Err(error) = &wish
            && !self.spool_failed
        {
            let event = Event::StorageError { what: "spool".to_owned(), error: error.to_string() };
            self.log.emit(self.clock.wall(), &event);
        }
        self.spool_failed = wish.is_err();
        if let Ok(Some(readmission)) = wish {
            self.wish_under_way = true;
            push(&self.ends.notices, Notice::Readmission(Box::new(readmission)));
        }
    }

    fn write_telemetry(&mut self) {
        let Some((delta, position)) = self.ledger.uncounted() else { return };
        match telemetry_file::add(&self.telemetry_path, delta, Some(&position), self.clock.as_ref()) {
            Ok(()) => self.ledger.counted(),
            Err(error) => self.log.emit(self.clock.wall(), &Event::TelemetryError { message: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::store::directory::Directory;
    use crate::store::exchange::Folders;
    use crate::store::journal::Counting;
    use crate::store::retention::Retention;
    use crate::store::storage::Storage;
    use crate::sys::heartbeat;
    use crate::sys::queue::bounded;

    struct Nobody;

    impl Log for Nobody {
        fn emit(&self, _at: Wall, _event: &Event) {}
    }

    /// Seen to fail with a look that counts although it was not had.
    #[test]
    fn a_lock_that_was_busy_costs_an_hour_and_no_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |name: &str| Directory::open(&folder.path().join(name)).expect("a folder");
        let boxed = |name: &str| -> Box<dyn Storage> { Box::new(open(name).patient_for(Duration::ZERO)) };
        let folders = Folders {
            journal: boxed("journal"),
            sessions: boxed("sessions"),
            dead: boxed("dead"),
            spool: boxed("spool"),
        };
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::starting_at(Wall(1_800_000_000_000)));
        let counting = Counting { name: "test".to_owned(), counted: [].into() };
        let (mut ledger, _) = Ledger::open(folders, "boot", counting, clock.wall()).expect("opened");
        ledger.keep_sessions_for(Retention(30));
        let (notices, _notices) = bounded(1);
        let ((_appending, appends), (_delivering, deliveries)) = (bounded(1), bounded(1));
        let ends = WriterEnds {
            appends,
            deliveries,
            notices,
            outboxes: Vec::new(),
            lanes: Vec::new(),
            heart: heartbeat::pair("writer", Arc::clone(&clock)).0,
        };
        let telemetry = folder.path().join("telemetry.json");
        let (rng, log) = (Rng::from_seed(1), Arc::new(Nobody));
        let mut writer = Writer::new(ChannelId::Telegram, ledger, ends, telemetry, rng, Arc::clone(&clock), log);
        let mut other = open("sessions");
        assert!(other.lock().expect("locked"));
        let now = clock.mono();
        writer.tidy(now);
        assert_eq!(writer.tidy_due, now.after(TIDY_AGAIN));
        other.unlock();
        let now = writer.tidy_due;
        writer.tidy(now);
        assert_eq!(writer.tidy_due, now.after(TIDY_EVERY));
    }
}
