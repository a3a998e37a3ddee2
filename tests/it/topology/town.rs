//! The world around a process: the server that keeps messages until they are confirmed, the chats and their network, and
//! everything that was seen. It outlives processes; what belongs to one that is gone is not listened to any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rusty_pinch::base::id::TurnId;
use tempfile::TempDir;

use super::plan::Plan;
use crate::support::cases::Random;
use crate::support::torn_disk::TornDisk;
use crate::support::waiting::{Gate, lock};

/// What stands before a text that may have been delivered before.
pub const MARK: &str = "↻ (may be a repeat)\n";

const SHORT_STALL: Duration = Duration::from_millis(40);
/// Longer than a stop may take. It ends with the process.
pub const LONG_STALL_MILLIS: u64 = 20_000;

/// A message at the server.
#[derive(Clone, Debug)]
pub struct Letter {
    pub update: u64,
    pub chat: String,
    pub text: String,
}

impl Letter {
    /// Whether it is for the program, which then ends what was asked before.
    pub fn is_stop(&self) -> bool {
        self.text.starts_with("/stop")
    }
}

/// One arrival in a chat.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// What it answers, as the product says.
    pub update: u64,
    pub chat: String,
    pub text: String,
    pub marked: bool,
}

/// One part of one reply: the turn and the number.
pub type Part = (TurnId, u16);

#[derive(Debug, Default)]
pub struct Seen {
    pub confirmed: u64,
    pub arrived: Vec<Arrived>,
    pub turns: HashMap<TurnId, u64>,
    /// Questions that a process put to the model, by message.
    pub asked: BTreeMap<u64, usize>,
    /// Attempts to send, and those whose outcome was known.
    pub begun: BTreeMap<Part, usize>,
    pub known: BTreeMap<Part, usize>,
    /// The last part of these was confirmed, or they were given up.
    pub done: BTreeSet<u64>,
    /// How often a turn was reported closed, over all processes.
    pub closed: BTreeMap<TurnId, usize>,
    /// The chats in which a question is under way now.
    pub busy: BTreeSet<String>,
    /// What went wrong, in the order it was seen.
    pub wrong: Vec<String>,
    pub fatal: Vec<String>,
    /// Threads that the poison message ended and that have not reported it.
    pub poisoned: usize,
    pub nonces: u64,
    /// No reply gets into this chat before the others are done.
    pub throttled: Option<String>,
    random: Option<Random>,
}

/// Shared by everyone outside the process.
#[derive(Clone)]
pub struct Town {
    pub plan: Arc<Plan>,
    seen: Arc<Mutex<Seen>>,
    progress: Arc<AtomicU64>,
    /// Where the counters are kept, on a disk that nothing happens to.
    counters: Arc<TempDir>,
}

/// What a process knows of the town. Once it is gone, nobody listens to it.
#[derive(Clone)]
pub struct Citizen {
    pub town: Town,
    pub disk: TornDisk,
    /// Opens when the process is told to stop, and when it is gone.
    pub stopping: Gate,
    pub over: Gate,
}

impl Town {
    pub fn new(plan: Plan) -> Town {
        let seen = Seen {
            random: Some(Random::from_seed(plan.seed ^ 0x5eed)),
            throttled: plan.throttled.clone(),
            ..Seen::default()
        };
        Town {
            plan: Arc::new(plan),
            seen: Arc::new(Mutex::new(seen)),
            progress: Arc::new(AtomicU64::new(0)),
            counters: Arc::new(tempfile::tempdir().expect("a folder")),
        }
    }

    pub fn counters(&self) -> PathBuf {
        self.counters.path().join("latest.json")
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Counts everything that goes on: when it stands still for long, somebody waits for somebody.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::SeqCst)
    }

    pub fn went_on(&self) {
        self.progress.fetch_add(1, Ordering::SeqCst);
    }

    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.seen().random.as_mut().expect("set at the start").between(low, high)
    }

    pub fn chance(&self, per_mille: u64) -> bool {
        self.between(0, 999) < per_mille
    }

    pub fn all_done(&self) -> bool {
        let seen = self.seen();
        let last = self.plan.letters.last().map_or(0, |letter| letter.update);
        // What was stopped reaches nobody but its session.
        let is_done = |letter: &Letter| seen.done.contains(&letter.update) || self.plan.may_be_stopped(letter);
        seen.confirmed > last && self.plan.letters.iter().all(is_done)
    }

    pub fn say_wrong(&self, what: String) {
        self.seen().wrong.push(what);
    }
}

impl Citizen {
    /// The process is gone, as after SIGKILL: nothing it does from here on has an effect.
    pub fn kill(&self) {
        self.disk.kill();
        self.stopping.open();
        self.over.open();
    }

    pub fn is_gone(&self) -> bool {
        self.disk.is_gone()
    }

    /// Takes a while, but not after the process is gone.
    pub fn stall(&self, millis: u64) {
        if millis > 0 {
            self.over.wait(Duration::from_millis(millis));
        }
    }

    /// Takes a moment; if the process is told to stop meanwhile, longer than that may take.
    pub fn stall_at_stop(&self) -> bool {
        self.stopping.wait(SHORT_STALL)
    }

    /// A poll: everything below `position` is forgotten.
    pub fn poll(&self, position: Option<u64>, limit: usize) -> Vec<Letter> {
        let mut seen = self.town.seen();
        if self.is_gone() {
            return Vec::new();
        }
        let confirmed = position.unwrap_or(0).max(seen.confirmed);
        if confirmed > seen.confirmed {
            seen.confirmed = confirmed;
            self.town.went_on();
        }
        self.town.plan.letters.iter().filter(|letter| letter.update >= confirmed).take(limit).cloned().collect()
    }
}
