//! Durability: the commit journal, the session transcripts, and their one writer.
//!
//! ```text
//!  Append, Delivery ─▶ writer ─▶ ledger ─▶ journal (what is open)  ─▶ commit_log ─▶ frame ─▶ storage
//!                                   └────▶ sessions ─▶ transcript  ──────────────────────────▶ storage
//! ```
//! The journal is the only thing that must be durable; everything else can be derived from it.

// All of a data folder in one file.
pub mod archive;
// Writes the two recycled files of frames.
pub mod commit_log;
// How long a worker rests that was started too often.
pub mod crash_loop;
// Turns that were given up, as files, and the way back.
pub mod dead;
// Storage over real files.
pub mod directory;
// What goes into the ledger and what comes out.
pub mod exchange;
// One commit frame: encode, check, scan.
pub mod frame;
// What is damaged, found by looking only.
pub mod inspect;
// Records folded into what is open.
pub mod journal;
// What is in those two files, and which one counts.
pub mod journal_files;
// One batch of work made durable, and what follows from it.
pub mod ledger;
// What is not settled, for a person.
pub mod outbox;
// The session lines of answers.
pub mod owed;
// The files of one session.
pub mod parts;
// The records inside frames.
pub mod record;
// What a restart owes.
pub mod recover;
// How long conversations are kept.
pub mod retention;
// Which messages were seen.
pub mod ring;
// Session files: appending, repairing, reading from the end.
pub mod sessions;
// Recovery without a worker.
pub mod settle;
// What a person wants to be taken up again.
pub mod spool;
// What we ask of a disk.
pub mod storage;
// One line of a session file.
pub mod transcript;
// The session-writer thread.
pub mod writer;
