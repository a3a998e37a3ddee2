//! [`Facts`]: what was found on this machine, as values. Only `gather.rs` makes them; tests write them down.

use std::path::PathBuf;

use crate::base::clock::Wall;
use crate::doctor::service::Unit;
use crate::observe::status::Status;
use crate::sys::machine::Machine;

/// Who may do what with a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The file or folder.
    pub path: PathBuf,
    /// User id of the owner.
    pub owner: u32,
    /// The permission bits.
    pub mode: u32,
}

/// A folder that the program writes to.
#[derive(Clone, Debug)]
pub struct Folder {
    /// As configured.
    pub path: PathBuf,
    /// The variable that names it.
    pub variable: &'static str,
    /// Why nothing can be created in it, or in the nearest parent that exists.
    pub refusal: Option<String>,
}

/// What the Codex program says of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It has one, or a key is handed to it.
    Yes,
    /// It has none.
    No,
    /// It could not say in time, or is not asked, because it is not the Codex program.
    Unknown,
}

/// The Codex program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodexFacts {
    /// An executable file of its name is in PATH.
    pub found: bool,
    /// Its accounts.
    pub accounts: Vec<AccountFacts>,
    /// Why what is kept of them cannot be read.
    pub file_error: Option<String>,
}

/// An account of the Codex program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// Its id.
    pub id: String,
    /// What the program says of it.
    pub login: Login,
    /// Why turns do not use it.
    pub refused: Option<String>,
    /// What to do about a missing login, or about the refusal.
    pub remedy: String,
}

/// The journal of a channel.
#[derive(Clone, Debug, Default)]
pub struct JournalFacts {
    /// The channel.
    pub channel: &'static str,
    /// Whether a process holds its lock.
    pub running: bool,
    /// Files kept aside because they were damaged.
    pub kept_aside: usize,
    /// What is damaged now.
    pub damage: Option<String>,
    /// When workers started, the last ones.
    pub starts: Vec<Wall>,
}

/// A worker that left a document of itself.
#[derive(Clone, Debug, Default)]
pub struct WorkerFacts {
    /// The document.
    pub status: Status,
    /// Its program was replaced on disk since it started.
    pub is_replaced: bool,
}

/// Where metrics are written.
#[derive(Clone, Debug)]
pub struct MetricsFile {
    /// As configured.
    pub path: PathBuf,
    /// Why nothing can be written there.
    pub refusal: Option<String>,
    /// When it was last written, by the worker that did so last.
    pub written: Option<Wall>,
}

/// A provider that is left alone.
#[derive(Clone, Debug)]
pub struct Resting {
    /// Kind, place and fingerprint of the credential.
    pub who: String,
    /// Why.
    pub class: &'static str,
    /// Until when; in the past, if it is tried with the next question.
    pub until: Wall,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// People who were paired on Telegram.
    pub paired: usize,
    /// Why it cannot be read.
    pub pairing_error: Option<String>,
    /// Our user.
    pub user: u32,
    /// The clock.
    pub now: Wall,
    /// Whether a time service says that the clock is right; `None`: there is none that we know.
    pub synchronised: Option<bool>,
    /// The data folder, if it exists.
    pub data: Option<Access>,
    /// The user whose conversations are in it, if that is somebody else than us.
    pub stranger_to: Option<String>,
    /// An archive is only half in place.
    pub restoring: bool,
    /// Folders that must be writable.
    pub folders: Vec<Folder>,
    /// Memory, power and heat.
    pub machine: Machine,
    /// Nothing can be written where the data folder is; `None`: not known.
    pub read_only: Option<bool>,
    /// Units that systemd knows; `None`: it did not say in time.
    pub units: Option<Vec<Unit>>,
    /// Workers by their documents.
    pub workers: Vec<WorkerFacts>,
    /// Whether somebody listens where the health endpoint is to be; `None`: there is to be none.
    pub endpoint_answers: Option<bool>,
    /// If metrics are to be written to a file.
    pub metrics_file: Option<MetricsFile>,
    /// Bytes free for us where the data folder is.
    pub disk_free: Option<u64>,
    /// Only if Codex is the provider.
    pub codex: Option<CodexFacts>,
    /// Providers that are left alone.
    pub resting: Vec<Resting>,
    /// Channels that have a journal.
    pub journals: Vec<JournalFacts>,
    /// Damaged lines near the ends of the session files.
    pub session_bad_lines: u64,
    /// Session files that cannot be read.
    pub session_unreadable: usize,
    /// Why the sessions cannot be listed.
    pub session_error: Option<String>,
    /// Ends of sessions kept aside.
    pub session_torn_files: usize,
    /// Replies given up.
    pub dead_letters: usize,
    /// Files that we have to write to and cannot, with the reason.
    pub locked_out: Vec<String>,
    /// Tokens that were spent today.
    pub spent_tokens: u64,
    /// Why that cannot be read, and whether the next request mends that.
    pub spending_error: Option<(String, bool)>,
    /// Why the counters cannot be read, and whether the next turn mends that.
    pub telemetry_error: Option<(String, bool)>,
}
