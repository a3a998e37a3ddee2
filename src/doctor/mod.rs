//! `doctor` without its command: facts are gathered by one shell (`gather.rs`), judged by pure checks, and shown by a
//! report. Each check has an id, a level, a sentence and a remedy; [`report::CHECKS`] lists them all.

// Whether channels can start, and whom they answer.
pub mod channels;
// All checks: facts and settings to verdicts.
pub mod checks;
// What is on disk.
pub mod data;
// The document of the checks.
pub mod document;
// What was found on this machine, as values.
pub mod facts;
// Looks at files, programs and the clock.
pub mod gather;
// The machine: memory, power, heat, a medium that failed.
pub mod host;
// Whether a model can be asked.
pub mod models;
// Variables that do nothing, or not what was meant.
pub mod names;
// Live questions to the servers.
pub mod probe;
// Checks to text and JSON.
pub mod report;
// Where each secret comes from, and what to do after a change.
pub mod secret_table;
// Where secrets came from, and who can read them.
pub mod secrets;
// The units of systemd.
pub mod service;
// The settings as `key: value` lines.
pub mod settings;
// Workers that run.
pub mod workers;
