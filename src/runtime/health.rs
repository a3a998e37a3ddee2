//! The `health` thread: shows what the [`Board`] knows. It looks at the disk, writes the document of each channel that is ours
//! every [`WRITTEN_EVERY`] and when something changes, and tells the service manager that every thread lives.
//!
//! It may wait for a disk that stands still. Then it is overdue itself, and whoever asks the board is told so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::id::ChannelId;
use crate::observe::board::Board;
use crate::observe::event::{Event, Log};
use crate::observe::metrics_log::Metrics;
use crate::observe::status::{Status, WRITTEN_EVERY};
use crate::observe::status_file;
use crate::sys::files;
use crate::sys::heartbeat::Heart;
use crate::sys::notify::Notifier;
use crate::sys::queue::{Receiver, bounded, select};
use crate::sys::stop::{self, Stop, Stopper};
use crate::sys::thread::{Exit, spawn};

/// How long a round may take, its wait included.
const ROUND_MAX: Duration = Duration::from_secs(40);

/// How often an overdue thread is looked at, because the service manager waits for word of it.
const OVERDUE_LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long its end is waited for: it may be waiting for the disk.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// What the thread needs.
pub struct Health {
    /// What is known.
    pub board: Arc<Board>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The service manager, if it wants to be told.
    pub notifier: Option<Arc<Notifier>>,
    /// Told on it: something changed.
    pub woken: Receiver<()>,
    /// Folder of the documents.
    pub run: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub log: Arc<dyn Log>,
}

/// The running thread.
pub struct Running {
    stopper: Stopper,
    ended: Receiver<Exit>,
    board: Arc<Board>,
    run: PathBuf,
}

impl Running {
    /// Ends it. Documents of a worker that ends as it should are taken away; one that stays says that it did not.
    pub fn end(self, as_it_should: bool) {
        drop(self.stopper);
        let _ = self.ended.recv_timeout(END_PATIENCE);
        if as_it_should {
            self.board.owned().into_iter().for_each(|channel| status_file::remove(&self.run, channel));
        }
    }
}

impl Health {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left to give.
    pub fn start(self) -> std::io::Result<Running> {
        let (stopper, stop) = stop::pair();
        let (exits, ended) = bounded(1);
        let heart = self.board.heart("health");
        let (board, run) = (Arc::clone(&self.board), self.run.clone());
        spawn("health", exits, move || {
            Shown::new(self, heart).show(&stop);
            Ok(())
        })?;
        Ok(Running { stopper, ended, board, run })
    }
}

/// Of a document, what is worth telling at once: the channel, why it is not ready, what is impaired.
type Essence = Vec<(ChannelId, Vec<String>, Vec<String>)>;

/// The thread's state.
struct Shown {
    health: Health,
    heart: Heart,
    /// When the documents are written next, if nothing changes.
    due: Mono,
    /// When the service manager is told next that every thread lives.
    alive_due: Mono,
    /// What the documents say.
    last: Essence,
    /// The threads that were said to be overdue.
    overdue: Vec<String>,
    /// That the documents cannot be written was said.
    has_failed: bool,
}

impl Shown {
    fn new(health: Health, heart: Heart) -> Shown {
        let (due, last, overdue) = (Mono(0), Vec::new(), Vec::new());
        Shown { health, heart, due, alive_due: Mono(0), last, overdue, has_failed: false }
    }

    fn show(mut self, stop: &Stop) {
        loop {
            self.heart.within(ROUND_MAX);
            self.look();
            self.tell_manager();
            self.write();
            let next = self.due.min(self.alive_due);
            let wait = self.health.clock.mono().until(next);
            select! {
                recv(stop.receiver()) -> _ => return,
                recv(self.health.woken.raw()) -> _ => {}
                default(wait) => {}
            }
        }
    }

    /// What only a look at the world tells.
    fn look(&self) {
        let Health { board, data, clock, .. } = &self.health;
        let is_writable = |id: ChannelId| files::may_change(&data.join("journal").join(id.name())).is_ok();
        let writable: Vec<(ChannelId, bool)> = board.owned().into_iter().map(|id| (id, is_writable(id))).collect();
        board.set_disk(&writable, files::free_bytes(data).ok(), !clock.is_trusted());
    }

    /// That every thread lives, which is said only if it is true.
    fn tell_manager(&mut self) {
        let Health { board, clock, log, notifier, .. } = &self.health;
        let overdue = board.overdue();
        if overdue != self.overdue {
            if !overdue.is_empty() {
                log.emit(clock.wall(), &Event::ThreadsOverdue { threads: overdue.clone() });
            }
            self.overdue = overdue;
        }
        let now = clock.mono();
        let watchdog = notifier.as_ref().and_then(|notifier| Some((notifier, notifier.alive_every()?)));
        let Some((notifier, every)) = watchdog else {
            self.alive_due = now.after(WRITTEN_EVERY);
            return;
        };
        if now < self.alive_due {
            return;
        }
        if self.overdue.is_empty() {
            notifier.alive();
            self.alive_due = now.after(every);
        } else {
            // Whoever comes back is told of at once.
            self.alive_due = now.after(every.min(OVERDUE_LOOK_EVERY));
        }
    }

    fn write(&mut self) {
        let Health { board, metrics, run, clock, log, notifier, .. } = &self.health;
        let mut documents = board.documents();
        documents.iter_mut().for_each(|(id, status)| metrics.fill(*id, status));
        let closed = documents.first().map_or(Vec::new(), |(_, status)| closed_providers(status));
        if board.set_closed_providers(closed) {
            board.degrade(&mut documents);
        }
        let essence = |(id, status): &(ChannelId, Status)| (*id, status.reasons.clone(), status.degraded.clone());
        let new: Essence = documents.iter().map(essence).collect();
        let now = clock.mono();
        if now < self.due && new == self.last {
            return;
        }
        self.due = now.after(WRITTEN_EVERY);
        if new != self.last {
            notifier.iter().for_each(|notifier| notifier.status(&sentence(&new)));
        }
        self.last = new;
        match documents.iter().try_for_each(|(id, status)| status_file::write(run, *id, status)) {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    let what = format!("the status document in {}", run.display());
                    log.emit(clock.wall(), &Event::StorageError { what, error: error.to_string() });
                }
            }
        }
    }
}

fn closed_providers(status: &Status) -> Vec<String> {
    let closed = status.providers.iter().filter(|provider| provider.breaker != "closed");
    closed.map(|provider| provider.name.clone()).collect()
}

/// For `systemctl status`.
fn sentence(essence: &Essence) -> String {
    let of_channel = |(id, reasons, degraded): &(ChannelId, Vec<String>, Vec<String>)| {
        let how = if reasons.is_empty() { "ready".to_owned() } else { format!("not ready: {}", reasons.join(", ")) };
        let impaired = if degraded.is_empty() { String::new() } else { format!(" ({})", degraded.join(", ")) };
        format!("{}: {how}{impaired}", id.name())
    };
    essence.iter().map(of_channel).collect::<Vec<String>>().join("; ")
}
