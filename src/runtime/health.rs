//! The `health` thread: shows what the [`Board`] knows. It looks at the disk, writes the document of each channel that is ours
//! every [`WRITTEN_EVERY`] and when something changes, and tells the service manager that every thread lives.
//!
//! It may wait for a disk that stands still. Then it is overdue itself, and whoever asks the board is told so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};

use crate::base::clock::{Clock, Mono};
use crate::base::id::ChannelId;
use crate::observe::board::Board;
use crate::observe::event::{Event, Log};
use crate::observe::status::{Status, WRITTEN_EVERY};
use crate::observe::status_file;
use crate::sys::files;
use crate::sys::heartbeat::{self, Heart};
use crate::sys::stop::{self, Stop, Stopper};
use crate::sys::thread::{Exit, spawn};

/// How long a round may take, its wait included.
const ROUND_MAX: Duration = Duration::from_secs(40);

/// How long its end is waited for: it may be waiting for the disk.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// What the thread needs.
pub struct Health {
    /// What is known.
    pub board: Arc<Board>,
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
        let (heart, pulse) = heartbeat::pair("health", Arc::clone(&self.clock));
        self.board.watch_one(pulse);
        let (board, run) = (Arc::clone(&self.board), self.run.clone());
        spawn("health", exits, move || {
            Shown { health: self, heart, due: Mono(0), last: Vec::new(), has_failed: false }.show(&stop);
            Ok(())
        })?;
        Ok(Running { stopper, ended, board, run })
    }
}

/// Of a document, what is worth telling at once: the channel, whether it is ready, why not, what is impaired.
type Essence = Vec<(String, Vec<String>, Vec<String>)>;

/// The thread's state.
struct Shown {
    health: Health,
    heart: Heart,
    /// When the documents are written next, if nothing changes.
    due: Mono,
    /// What they say.
    last: Essence,
    /// That they cannot be written was said.
    has_failed: bool,
}

impl Shown {
    fn show(mut self, stop: &Stop) {
        loop {
            self.heart.within(ROUND_MAX);
            self.look();
            self.write();
            let wait = self.health.clock.mono().until(self.due);
            select! {
                recv(stop.receiver()) -> _ => return,
                recv(self.health.woken) -> _ => {}
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

    fn write(&mut self) {
        let Health { board, run, clock, log, .. } = &self.health;
        let owned = board.owned();
        let mut statuses = board.statuses();
        statuses.retain(|status| owned.iter().any(|channel| channel.name() == status.channel.id));
        let essence = |status: &Status| (status.channel.id.clone(), status.reasons.clone(), status.degraded.clone());
        let new: Essence = statuses.iter().map(essence).collect();
        let now = clock.mono();
        if now < self.due && new == self.last {
            return;
        }
        self.due = now.after(WRITTEN_EVERY);
        self.last = new;
        let written = owned.iter().zip(&statuses).try_for_each(|(id, status)| status_file::write(run, *id, status));
        match written {
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
