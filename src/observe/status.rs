//! [`Status`]: what a worker knows about itself, as the document `<channel>.status.json` that it leaves in the run folder
//! every [`WRITTEN_EVERY`] and that `monitor`, `health` and `doctor` read. Pure: reading and writing are shells' work.
//!
//! Every field may be missing when an older worker wrote the document, and readers pass over fields they do not know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a worker writes the document; a reader believes one for three times as long.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(10);

/// Most recent problems that are kept.
pub const PROBLEMS_MAX: usize = 8;

/// Largest document a reader takes, in bytes; a larger one counts as damaged.
pub const BYTES_MAX: u64 = 64 * 1024;

/// The whole document. Times named `at` are milliseconds since 1970 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of this format: 1.
    pub version: u32,
    /// The program's version.
    pub program: String,
    /// The worker's process.
    pub pid: u32,
    /// The kernel's boot, where it is known.
    pub boot: Option<String>,
    /// The data folder, absolute.
    pub data: String,
    /// When the process started.
    pub started_at: u64,
    /// When this was written.
    pub at: u64,
    /// Whether messages can arrive and be kept.
    pub ready: bool,
    /// Why not; names from the table of reasons.
    pub reasons: Vec<String>,
    /// What is impaired without being a reason, for example `provider_open:codex`.
    pub degraded: Vec<String>,
    /// Where the health endpoint listens; none where there is none, or where somebody else has its address.
    pub endpoint: Option<String>,
    /// The channel.
    pub channel: ChannelStatus,
    /// Threads and their heartbeats.
    pub threads: Vec<Beat>,
    /// Queues and how full they are.
    pub queues: Vec<Queue>,
    /// Turns closed since the start.
    pub turns: Turns,
    /// Messages that are not closed.
    pub open: Open,
    /// Providers of the chain, in its order.
    pub providers: Vec<ProviderStatus>,
    /// Tokens spent today.
    pub tokens: Tokens,
    /// The journal.
    pub journal: Journal,
    /// Recent problems, oldest first, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
}

/// One channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelStatus {
    /// `telegram` or `whatsapp`.
    pub id: String,
    /// Whether the last exchange with the other end was good.
    pub up: bool,
    /// When the last poll was answered, or the link last showed that it lives.
    pub last_ok_at: Option<u64>,
    /// What parks it: `conflict`, `auth`, `webhook_set`, `allowlist_empty`, `logged_out`, `replaced`, `storage`, …
    pub parked: Option<String>,
    /// Links made again.
    pub reconnects: u64,
    /// Polls or links that failed.
    pub errors: u64,
    /// Messages that wait at the server, where it says so.
    pub waiting: Option<u64>,
}

/// One thread's heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beat {
    /// The thread.
    pub thread: String,
    /// Milliseconds since it last showed that it lives.
    pub age_ms: u64,
    /// How many of them are too many; 0 while it may rest for ever.
    pub limit_ms: u64,
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Its name in docs/architecture.md.
    pub name: String,
    /// How much is in it.
    pub length: usize,
    /// How much fits in.
    pub bound: usize,
}

/// Turns since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Turns {
    /// Answered by a provider.
    pub provider_ok: u64,
    /// A provider failed.
    pub provider_error: u64,
    /// Answered by a tool.
    pub tool_ok: u64,
    /// A tool failed.
    pub tool_error: u64,
    /// Provider latencies, counted as in [`super::telemetry::Latencies`].
    pub latencies: super::telemetry::Latencies,
    /// `request_id` of the last.
    pub last: Option<String>,
    /// When the last was closed.
    pub last_at: Option<u64>,
}

/// Messages that are not closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Open {
    /// Accepted and not answered.
    pub unanswered: usize,
    /// Answered and not delivered.
    pub undelivered: usize,
    /// When the oldest was received.
    pub oldest_at: Option<u64>,
    /// Deliveries that may have arrived, since the start.
    pub ambiguous: u64,
    /// Replies that were given up, since the start.
    pub dead: u64,
}

/// One provider of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// The class that opened it.
    pub class: Option<String>,
    /// It is not asked before.
    pub until_at: Option<u64>,
}

/// Tokens of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Spent.
    pub used: u64,
    /// May be spent; 0 is no limit.
    pub most: u64,
}

/// The journal since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// Commits that reached the medium.
    pub commits: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The flush that 99 of 100 do not exceed, in milliseconds.
    pub flush_p99_ms: u64,
    /// Flushes and writes that failed.
    pub errors: u64,
}

/// Something that went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// When it was last seen.
    pub at: u64,
    /// The event's name.
    pub event: String,
    /// Its class, reason or error, one phrase of our own.
    pub detail: String,
    /// How often since it was first seen.
    pub count: u64,
}
