//! [`Note`]: something that is counted or measured and not worth a line. Notes take the way of events, by
//! [`super::event::Log::note`], so whoever can speak can be measured. Nothing here is text from outside.

use std::time::Duration;

use crate::base::clock::Wall;
use crate::base::id::ChannelId;

/// All that is ever counted without being logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named as in the metrics")]
pub enum Note<'a> {
    /// The server answered a poll; so many messages wait there, if that was asked.
    Polled { channel: ChannelId, waiting: Option<u64> },
    /// The link to a bridge is up, or has shown that it lives.
    LinkAlive { channel: ChannelId },
    /// The link to a bridge ended.
    LinkDown { channel: ChannelId },
    /// What became of a received message: `accepted`, `duplicate`, `denied`, `ignored` or `refused`.
    Received { channel: ChannelId, outcome: &'static str },
    /// A commit reached the medium.
    Committed { channel: ChannelId, bytes: u64, flush: Duration },
    /// The journal refused: `write`, `flush` or `too_large`.
    JournalFailed { channel: ChannelId, kind: &'static str },
    /// How many messages are open, and when the oldest of them was received.
    Open { channel: ChannelId, unanswered: usize, undelivered: usize, oldest: Option<Wall> },
    /// A request to a provider is over; `class` is `ok` or the class of its failure.
    Asked { provider: &'a str, class: &'static str, took: Duration },
    /// Tokens that a request cost: as the provider counted them, or estimated where it did not say.
    Spent { provider: &'a str, input: u64, output: u64, estimated: u64 },
    /// Damaged lines met in a session file.
    BadLines { lines: u64 },
    /// A tool was called, by `user` or `model`.
    ToolCalled { tool: &'a str, source: &'static str, ok: bool },
}
