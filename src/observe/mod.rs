//! What the program says about itself: events on standard error, counters on disk.

/// What is known of the running worker.
pub mod board;
/// Whether messages can arrive, as a decision.
pub mod condition;
/// The document made from the table of events.
pub mod document;
/// Every event, and the fields of each.
pub mod event;
/// What is counted and not logged.
pub mod note;
/// Taking secrets out of text.
pub mod redact;
/// How many lines a program in trouble may write.
pub mod repeats;
/// Where events go.
pub mod sink;
/// What a worker knows about itself, as a document.
pub mod status;
/// Where that document is.
pub mod status_file;
/// Events folded into the counters of `stats`.
pub mod telemetry;
/// The counters' file.
pub mod telemetry_file;
