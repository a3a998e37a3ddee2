//! The one integration binary. Everything here sees the program from outside: sockets, files, processes, signals.

/// Fakes, processes under test, and the checker.
mod support;
/// The local server that the real Codex program talks to.
mod support_responses;

/// kill -9 and SIGTERM at random moments under load.
mod campaign;
/// The same turn with independent programs at the other end.
mod counterparts;
/// Many messages, slow chats, prompt stops.
mod load;
/// The Bot API as the worker speaks it.
mod telegram;
/// The architecture is still there.
mod tidy;
