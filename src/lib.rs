//! The assistant runtime, as a library for its one binary and its tests.
//!
//! Which module may import which, and in which order to read them, is in docs/architecture.md, "Folders".

// Words that everyone speaks.
pub mod base;
// Ways in and out.
pub mod channel;
// The operator's side of the conversation.
pub mod cli;
// What the operator decided.
pub mod config;
// What is wrong with a set-up.
pub mod doctor;
// What goes on, for a person who looks.
pub mod monitor;
// Protocol parts shared by channels and providers.
pub mod net;
// What the program says about itself.
pub mod observe;
// Asking a model.
pub mod provider;
// Every thread, every queue, and the order of ending.
pub mod runtime;
// The commit journal, the session transcripts, and their one writer.
pub mod store;
// The operating system, wrapped.
pub mod sys;
// Local deterministic tools.
pub mod tool;
// From accepted message to reply.
pub mod turn;
// The checklist of the WhatsApp channel.
pub mod validate;
