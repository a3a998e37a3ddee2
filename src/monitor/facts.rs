//! [`Facts`]: what is known of the program and its host at one moment. What nobody could read is `None`. Pure.
//!
//! Text in it comes from files and from other processes: it is escaped where it is shown (`line.rs`), and nowhere else.

use std::path::PathBuf;

use crate::base::clock::Wall;
use crate::observe::status::{Status, WRITTEN_EVERY};
use crate::observe::telemetry::Snapshot;
use crate::sys::machine::Machine;

/// Everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// When this was looked at.
    pub at: Wall,
    /// What the frame says about itself.
    pub asked: Asked,
    /// The program.
    pub application: Application,
    /// What its workers left of themselves, in the order of the channels.
    pub workers: Vec<Worker>,
    /// The process; `None`: there is none that we can see.
    pub process: Option<Process>,
    /// The host.
    pub host: Host,
    /// The disk.
    pub storage: Storage,
}

/// What the operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Milliseconds between two frames.
    pub interval_ms: u64,
    /// This process and no other.
    pub pid: Option<u32>,
    /// What the command line of the process contains.
    pub process_match: String,
}

/// The program, whether a worker runs or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Application {
    /// The first provider.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// Where the counters are.
    pub telemetry_file: PathBuf,
    /// The counters; `None`: there are none, or they are damaged.
    pub counters: Option<Snapshot>,
    /// Tokens spent today; `None`: the file is damaged, or not for us to read.
    pub tokens: Option<u64>,
    /// How many may be; 0 is no limit.
    pub tokens_most: u64,
    /// Providers that are left alone: name, class, and until when.
    pub resting: Vec<(String, &'static str, Wall)>,
}

/// One worker, as it described itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// The document.
    pub status: Status,
}

impl Worker {
    /// Whether the document is so old that nobody may write it any more.
    pub fn is_stale(&self, now: Wall) -> bool {
        Wall(self.status.at).until(now) > WRITTEN_EVERY * 3
    }
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// Processor time since the look before, in hundredths of a core.
    pub cpu_percent: Option<f64>,
    /// Resident bytes.
    pub resident: Option<u64>,
    /// Bytes of its address space.
    pub virtual_size: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<usize>,
    /// Bytes that it had the disk read and write.
    pub io: Option<(u64, u64)>,
}

/// The host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Load of the last minute, five and fifteen, as the kernel writes them.
    pub load: Option<String>,
    /// Processors.
    pub cores: Option<usize>,
    /// Processor time since the look before, in hundredths of all there is.
    pub cpu_percent: Option<f64>,
    /// Memory, temperature, and what the board says of its power.
    pub machine: Machine,
    /// Bytes that the container uses, and may use.
    pub limit: Option<(u64, u64)>,
    /// Whether a time service set the clock.
    pub synchronised: Option<bool>,
    /// Seconds since the boot.
    pub uptime_secs: Option<u64>,
}

/// The disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// The data folder.
    pub data: PathBuf,
    /// The workspace.
    pub workspace: PathBuf,
    /// What is in the data folder.
    pub data_size: Option<FolderSize>,
    /// What is in the workspace.
    pub workspace_size: Option<FolderSize>,
    /// Bytes of the disk of the data folder, and those of them that we may still write.
    pub disk: Option<(u64, u64)>,
    /// Bytes of the journals; `None`: there is none.
    pub journal: Option<u64>,
}

/// The size of what is in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderSize {
    /// Bytes of its files.
    pub bytes: u64,
    /// There was more than could be counted.
    pub is_partial: bool,
}
