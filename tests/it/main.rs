//! The one integration binary. Everything here sees the program from outside: sockets, files, processes, signals.

/// Fakes, processes under test, and the checker.
mod support;
/// The local server that the real Codex program talks to.
mod support_responses;

/// Everything that is kept, in one archive and back.
mod backup;
/// Bad input through every socket.
mod bad_input;
/// kill -9 and SIGTERM at random moments under load.
mod campaign;
/// Commands as an operator types them.
mod cli;
/// The accounts of Codex, and programs in its place that misbehave.
mod codex;
/// Bad settings, each told in one sentence.
mod configuration;
/// What earlier deployments rely on, row by row.
mod contract;
/// Words in a chat that are for the program, and who may write at all.
mod control;
/// Rules of the product that are broken on purpose.
mod controls;
/// The same turn with independent programs at the other end.
mod counterparts;
/// Nothing makes a worker end again and again.
mod crash_loop;
/// Units and packages fit together.
mod deployment;
/// Disks that are full, read-only or gone.
mod disks;
/// Documents are true.
mod docs;
/// `doctor` on set-ups that lack something.
mod doctor;
/// Kills at system calls, failing calls, power cuts, full disks.
mod faults;
/// Readers of foreign bytes, given what a mutator makes.
mod fuzz;
/// How a worker is, as seen from outside.
mod health;
/// One ledger over real folders, step by step.
mod ledger;
/// Many messages, slow chats, prompt stops.
mod load;
/// What Prometheus is told, and what it is to make of it.
mod metrics;
/// All interleavings of two messages, crashes and network faults.
mod model;
/// `monitor`: screens, frames, JSON, and real terminals.
mod monitor;
/// What is not settled, and what a person can do about it.
mod outbox;
/// What a bug does to the process.
mod panic;
/// The HTTP client and the provider against a server that misbehaves.
mod provider;
/// The storm, watched by ThreadSanitizer.
mod sanitizer;
/// Where secrets come from, how they change, and that nobody sees them.
mod secrets;
/// Lines of docs/security.md that nothing else proves.
mod security;
/// Messages of scripts.
mod send;
/// Session files: those of the earlier runtime, and full ones.
mod sessions;
/// From nothing to a bot that answers.
mod setup;
/// Every signal, at random instants.
mod signals;
/// Many turns with faults, and nothing grows.
mod soak;
/// Limits of spending: who is refused, and what is counted.
mod spending;
/// Recovery from every crash image of a scripted run.
mod storage;
/// The Bot API as the worker speaks it.
mod telegram;
/// The architecture is still there.
mod tidy;
/// The storm: real threads and queues, fake ends.
mod topology;
/// From the earlier runtime, and back.
mod upgrade;
/// The checklist of the WhatsApp channel.
mod validate;
/// The websocket of a bridge as the worker speaks it.
mod whatsapp;
