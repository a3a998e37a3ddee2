//! What the program says about itself: events on standard error, counters on disk.

// What is known of the running worker.
pub mod board;
// Whether messages can arrive, as a decision.
pub mod condition;
// The document made from the table of events.
pub mod document;
// Every event, and the fields of each.
pub mod event;
// Every metric, once.
pub mod metrics;
// The document made from the table of metrics.
pub mod metrics_document;
// The text file for node_exporter.
pub mod metrics_file;
// What events and notes mean for the numbers.
pub mod metrics_fold;
// A log that counts what passes through it.
pub mod metrics_log;
// The numbers.
pub mod metrics_registry;
// The numbers as text.
pub mod metrics_text;
// What is counted and not logged.
pub mod note;
// Taking secrets out of text.
pub mod redact;
// How many lines a program in trouble may write.
pub mod repeats;
// Where events go.
pub mod sink;
// What a worker knows about itself, as a document.
pub mod status;
// Where that document is.
pub mod status_file;
// Events folded into the counters of `stats`.
pub mod telemetry;
// The counters' file.
pub mod telemetry_file;
