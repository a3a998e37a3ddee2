//! The one integration binary. Everything here sees the program from outside: sockets, files, processes, signals.

/// Fakes, processes under test, and the checker.
mod support;
/// The local server that the real Codex program talks to.
mod support_responses;

/// kill -9 and SIGTERM at random moments under load.
mod campaign;
/// Commands as an operator types them.
mod cli;
/// The same turn with independent programs at the other end.
mod counterparts;
/// Documents are true.
mod docs;
/// Many messages, slow chats, prompt stops.
mod load;
/// All interleavings of two messages, crashes and network faults.
mod model;
/// The HTTP client and the provider against a server that misbehaves.
mod provider;
/// Recovery from every crash image of a scripted run.
mod storage;
/// The Bot API as the worker speaks it.
mod telegram;
/// The architecture is still there.
mod tidy;
/// The storm: real threads and queues, fake ends.
mod topology;
