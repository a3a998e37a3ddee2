//! What the program says about itself: events on standard error, counters on disk.

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
/// Events folded into the counters of `stats`.
pub mod telemetry;
/// The counters' file.
pub mod telemetry_file;
