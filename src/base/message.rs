//! What flows through the program: [`Inbound`] messages, [`Job`]s, [`Reply`]s made durable, [`Outbound`] deliveries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::{ChannelId, SessionId, TurnId};
use crate::base::text;

/// Longest text accepted from a person, in bytes. Longer messages are answered with a notice.
pub const INBOUND_BYTES_MAX: usize = 32 * 1024;

/// Longest reply, in bytes of its JSON encoding. Longer ones are cut with a notice.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A message of WhatsApp that waited longer than this is history: a bridge hands over what it has after an outage.
pub const HISTORY_AFTER: Duration = Duration::from_secs(600);

/// The error class of history.
pub const HISTORY: &str = "history";

/// The error class of a message that was too old to be answered.
pub const EXPIRED: &str = "expired";

/// The error class of a message whose answering the end of the process cut off too often.
pub const INTERRUPTED: &str = "interrupted";

/// The error class of a message whose answering a person ended. Its chat is told by the reply to that wish.
pub const STOPPED: &str = "stopped";

/// Classes of messages that were given up without an answer. Each has a dead letter, beside what its chat is told.
pub const GIVEN_UP: [&str; 2] = [EXPIRED, INTERRUPTED];

/// Bytes of a checkpoint that one open turn takes beside its texts: ids, times, the facts of the turn.
pub const RECORD_BYTES: usize = 2048;

/// Bytes of a checkpoint that a reply may take: its text, and once more where it is sent in parts.
pub const REPLY_WEIGHT_MAX: usize = 2 * REPLY_BYTES_MAX + 16 * 1024;

/// Bytes of a checkpoint that a reply of these parts takes.
pub fn reply_weight(text: &str, parts: &[String]) -> usize {
    text::json_len(text) + parts.iter().map(|part| text::json_len(part)).sum::<usize>()
}

/// Who said a line of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person.
    User,
    /// The program or its model.
    Assistant,
    /// Instructions and tool results; only ever for the model.
    System,
}

/// One line of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
}

/// Where a reply goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chat {
    /// The channel's own name for the chat.
    pub id: String,
    /// The topic inside it, where the channel has topics.
    pub thread: Option<i64>,
}

/// A message as a channel read it, before it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The turn it becomes if it is not a duplicate.
    pub turn: TurnId,
    /// The channel it came through.
    pub channel: ChannelId,
    /// Which account of ours received it; Telegram's bot id.
    pub account: u64,
    /// The channel's position of this message; Telegram's update id. What a receipt names. `None`: nobody waits for one,
    /// because a person took the message up again.
    pub origin: Option<u64>,
    /// The same for every copy of the same message, whatever its position.
    pub key: String,
    /// Where to answer.
    pub chat: Chat,
    /// Who wrote it, as the channel names people.
    pub sender: String,
    /// What was written.
    pub text: String,
    /// When we read it.
    pub received: Wall,
    /// How long it had waited for us by then; `None`: our clock was not to be trusted.
    pub waited: Option<Duration>,
}

impl Inbound {
    /// The conversation it belongs to.
    pub fn session(&self) -> SessionId {
        SessionId::of_chat(self.channel, &self.chat.id)
    }

    /// Whether it is only recorded, because it waited for us too long.
    pub fn is_history(&self) -> bool {
        self.channel == ChannelId::WhatsApp && self.waited.is_some_and(|waited| waited > HISTORY_AFTER)
    }

    /// Bytes this message takes in a checkpoint while it is open, [`RECORD_BYTES`] for all but its text included.
    pub fn weight(&self) -> usize {
        text::json_len(&self.text) + RECORD_BYTES
    }
}

/// An accepted message that waits for, or gets, its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The message.
    pub inbound: Inbound,
    /// How often an answer was begun before and cut off by the end of the process.
    pub interrupted: u32,
    /// Whether it was accepted by an earlier process.
    pub carried_over: bool,
}

/// How a turn was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// A model answered.
    Provider,
    /// A `/tool` message, answered here.
    Tool,
}

/// The facts of a turn, fixed when its reply is known. Field names are those of `event=turn`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Provider or tool; `None` only in a default value.
    pub path: Option<Path>,
    /// The provider that answered, or failed last; the first one if none was asked.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// The first provider, if another one answered or failed last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_from: Option<String>,
    /// The tool of a `/tool` message; the word of a control message, with its slash.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool_name: Option<String>,
    /// Provider attempts, over all calls of the turn.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<u32>,
    /// Milliseconds spent in provider calls, waits between attempts included.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_ms: Option<u64>,
    /// Characters (Unicode scalar values) of the message.
    pub user_chars: u64,
    /// Characters of the reply; 0 for a failed turn.
    pub response_chars: u64,
    /// The error class of a failed turn.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// One phrase more about the error, never upstream text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_detail: Option<String>,
    /// Milliseconds from receipt to the start of work.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue_ms: Option<u64>,
    /// Tokens the provider counted for the prompt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_tokens: Option<u64>,
    /// Tokens the provider counted for the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_tokens: Option<u64>,
    /// Milliseconds spent in provider calls alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider_ms: Option<u64>,
    /// The model that answered, as the provider names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response_model: Option<String>,
    /// The provider's name of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_id: Option<String>,
}

impl Summary {
    /// The word of a control message, which is not part of the conversation.
    pub fn control(&self) -> Option<&str> {
        self.tool_name.as_deref().filter(|name| name.starts_with('/'))
    }
}

/// The answer of a turn, as it is made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The turn.
    pub turn: TurnId,
    /// The user's line of the transcript (a `/tool` line is stored in its normalised form).
    pub user_text: String,
    /// The assistant's line of the transcript.
    pub text: String,
    /// What is sent, part by part; never empty.
    pub parts: Vec<String>,
    /// The facts for log and telemetry.
    pub summary: Summary,
}

/// A turn that is being answered in a chat; without a chat: not any more.
pub type Typing = (TurnId, Option<Chat>);

/// A durable reply on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// The turn it answers.
    pub turn: TurnId,
    /// The channel.
    pub channel: ChannelId,
    /// Where to.
    pub chat: Chat,
    /// Every part of the reply.
    pub parts: Vec<String>,
    /// The first part that has not been confirmed.
    pub next: u16,
    /// Whether the part at `next` may already have been sent by an earlier process.
    pub ambiguous: bool,
    /// Whether the answer was written in another boot of the kernel. The notes about its parts may then be lost, so
    /// every part that is not confirmed may have been sent.
    pub other_boot: bool,
    /// How often the part at `next` was sent again after an ambiguous end.
    pub resends: u8,
}

/// What is done about a send whose outcome is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The part is sent again, marked: it always arrives, and may arrive twice.
    #[default]
    AtLeastOnce,
    /// A short notice is sent in its place: it never arrives twice, and may not arrive.
    AtMostOnce,
}

/// How a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every part was confirmed at its first attempt.
    Sent,
    /// Every part was confirmed, some after a failure that certainly sent nothing.
    SentAfterRetry,
    /// A part was sent again with a mark, because its first sending may have arrived.
    AmbiguousResent,
    /// A notice was sent in place of a part that may have arrived.
    AmbiguousNotice,
    /// Closed without being told: another refusal was told just before, or its chat is told by another reply.
    Refused,
    /// Given up; what is left is kept in a dead letter.
    Dead,
}

/// What senders report.
#[derive(Debug)]
pub enum Delivery {
    /// Part `part` is about to be sent; `lane` is released when that is in the page cache.
    Sending {
        /// The turn.
        turn: TurnId,
        /// The part.
        part: u16,
        /// How often this part is sent again after an ambiguous end.
        resends: u8,
        /// Who waits.
        lane: usize,
    },
    /// The attempt at the part certainly did nothing.
    Unsent {
        /// The turn.
        turn: TurnId,
        /// The part.
        part: u16,
        /// Whether an earlier attempt may have arrived.
        ambiguous: bool,
        /// Repeats that count.
        resends: u8,
    },
    /// The part was confirmed.
    Sent {
        /// The turn.
        turn: TurnId,
        /// The part.
        part: u16,
        /// The channel's id of the sent message.
        message_id: i64,
    },
    /// The reply is done with.
    Close {
        /// The turn.
        turn: TurnId,
        /// How it ended.
        outcome: Outcome,
        /// Why, for a dead letter.
        why: String,
    },
}
