//! [`Event`]: all that is ever logged, one JSON object per line. Text of a conversation is never in it; ids are.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::clock::Wall;
use crate::base::id::{ChannelId, TurnId};
use crate::base::message::{Outcome, Path, Summary};
use crate::base::sorted::SortedMap;
use crate::base::text;
use crate::observe::note::Note;

/// Longest free text in an event, in characters.
pub const DETAIL_CHARS_MAX: usize = 500;

/// Longest field of a line, in bytes.
pub const FIELD_BYTES_MAX: usize = 2048;

/// The same in characters, of which one takes four bytes, or six if it is escaped.
const FIELD_CHARS_MAX: usize = FIELD_BYTES_MAX / 6;

/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Where events go. Must not fail its caller.
pub trait Log: Send + Sync {
    /// Writes one line.
    fn emit(&self, at: Wall, event: &Event);

    /// Counts or measures something that is not worth a line.
    fn note(&self, _note: Note<'_>) {}

    /// Lines that were dropped since the start.
    fn dropped(&self) -> u64 {
        0
    }

    /// Waits for what is on its way, at most so long.
    fn flush(&self, _patience: Duration) {}
}

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Work as usual.
    Info,
    /// Something that mends itself, or that nobody has to mend at once.
    Warn,
    /// A person should look.
    Error,
}

/// `event=turn`: exactly one per accepted message, when its turn is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// When the turn was closed.
    pub timestamp: String,
    /// The turn's name everywhere.
    pub request_id: String,
    /// The session as the channel names it.
    pub session_id: String,
    /// `provider` or `tool`.
    pub path: Path,
    /// `ok` or `error`.
    pub status: String,
    /// The provider that answered, or failed last.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// The tool of a `/tool` message.
    pub tool_name: Option<String>,
    /// Provider attempts.
    pub attempts: Option<u32>,
    /// Milliseconds in provider calls.
    pub latency_ms: Option<u64>,
    /// Characters of the message.
    pub user_chars: u64,
    /// Characters of the reply.
    pub response_chars: u64,
    /// The error class of a failed turn.
    pub error: Option<String>,
    /// One phrase more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<String>,
    /// The first provider of the chain, if that was not the one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_from: Option<String>,
    /// The channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// How the reply ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Outcome>,
    /// Milliseconds from receipt to the start of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
    /// Milliseconds in provider calls alone, without the waits between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ms: Option<u64>,
    /// Milliseconds from the durable reply to its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_ms: Option<u64>,
    /// Tokens of the prompt.
    #[serde(default, rename = "gen_ai.usage.input_tokens", skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    #[serde(default, rename = "gen_ai.usage.output_tokens", skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The model that answered, as the provider names it.
    #[serde(default, rename = "gen_ai.response.model", skip_serializing_if = "Option::is_none")]
    pub response_model: Option<String>,
    /// The provider's name of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
}

impl TurnRecord {
    /// The record of a turn closed `at`, without the facts only a channel knows.
    pub fn new(turn: TurnId, session: &str, summary: Summary, at: Wall) -> TurnRecord {
        TurnRecord {
            timestamp: at.rfc3339(),
            request_id: turn.to_string(),
            session_id: session.to_owned(),
            path: summary.path.unwrap_or(Path::Provider),
            status: if summary.error.is_none() { "ok" } else { "error" }.to_owned(),
            provider: summary.provider,
            model: summary.model,
            tool_name: summary.tool_name,
            attempts: summary.attempts,
            latency_ms: summary.latency_ms,
            user_chars: summary.user_chars,
            response_chars: summary.response_chars,
            error: summary.error,
            error_detail: summary.error_detail,
            fallback_from: summary.fallback_from,
            channel: None,
            delivery: None,
            queue_ms: summary.queue_ms,
            provider_ms: summary.provider_ms,
            send_ms: None,
            input_tokens: summary.input_tokens,
            output_tokens: summary.output_tokens,
            response_model: summary.response_model,
            upstream_request_id: summary.upstream_id,
        }
    }
}

/// All that is ever logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "field names are the documented names of the log lines")]
pub enum Event {
    /// A turn was closed.
    Turn(Box<TurnRecord>),
    /// A worker begins.
    ChannelStart {
        channel: ChannelId,
        allow_from_count: usize,
        max_messages: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        poll_timeout_secs: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bridge_url: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reconnect_ms: Option<u64>,
        workers: usize,
        seed: u64,
        version: &'static str,
    },
    /// The channel's account is known, the bot's id and name; or the link to a bridge stands.
    ChannelConnected {
        channel: ChannelId,
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// There is no link to a bridge yet; it is tried again after `retry_ms`.
    ChannelConnectError { channel: ChannelId, error: String, failures: u32, retry_ms: u64 },
    /// The link to a bridge ended; there will be another after `retry_ms`.
    ChannelReadError { channel: ChannelId, error: String, failures: u32, retry_ms: u64 },
    /// Frames of a bridge could not be understood, so many since this was last said.
    ChannelParseError { channel: ChannelId, error: &'static str, count: u64 },
    /// What a bridge says about itself changed.
    ChannelState { channel: ChannelId, state: &'static str },
    /// Messages and frames that were passed over since the worker began, by reason.
    ChannelTally { channel: ChannelId, passed: SortedMap<&'static str, u64> },
    /// A worker ends as it was asked to.
    ChannelStop { channel: ChannelId, reason: &'static str },
    /// A signal was taken.
    ChannelSignal { signal: &'static str, action: &'static str },
    /// Reading messages failed; it is tried again after `retry_ms`.
    ChannelPollError { channel: ChannelId, error: String, failures: u32, retry_ms: u64 },
    /// A reply, or a part of it, was not delivered by this attempt.
    ChannelSendError { channel: ChannelId, chat_id: String, request_id: String, error: String, action: &'static str },
    /// Only a person can mend this; said again once a minute while it lasts.
    ChannelParked { channel: ChannelId, reason: String, remedy: String, retry_ms: u64 },
    /// Another worker of the channel still runs, and is waited for.
    ChannelWait { channel: ChannelId, holder: String },
    /// What parked the channel is over.
    ChannelResumed { channel: ChannelId },
    /// Somebody who is not on the allowlist wrote; at most once an hour for each.
    ChannelDenied { channel: ChannelId, sender_id: String, chat_id: String, reason: &'static str },
    /// Updates that are no messages to answer, by reason.
    ChannelIgnored { channel: ChannelId, update_id: u64, reason: &'static str },
    /// A provider attempt failed and another one follows.
    ProviderRetry { request_id: String, provider: String, attempt: u32, error: String, retry_ms: u64 },
    /// A provider is left alone from now on, tried, or asked again.
    ProviderState {
        provider: String,
        from: &'static str,
        to: &'static str,
        class: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    },
    /// A limit of spending was reached: of one sender, or of all. Once for a sender and window.
    LimitReached {
        limit: &'static str,
        most: u64,
        channel: Option<ChannelId>,
        sender_id: Option<String>,
        retry_ms: u64,
    },
    /// An account of Codex begins to be refused for another reason than before, or is used again.
    CodexAccount { account: String, state: &'static str, remedy: String },
    /// What a start found on disk.
    Recovered { channel: ChannelId, open: usize, replied: usize, lines_restored: usize, frames: u64, took_ms: u64 },
    /// The journal was damaged; the files were kept.
    JournalDamage { channel: ChannelId, detail: String },
    /// Programs that a killed process had left running were ended.
    OrphansEnded { processes: usize },
    /// A session file had a damaged end, which was kept aside.
    SessionRepaired { session: String, bytes: u64 },
    /// A session line could not be written yet; it stays owed.
    SessionAppendError { session: String, error: String },
    /// Something that nothing depends on could not be read or removed; it is tried again.
    StorageError { what: String, error: String },
    /// A session could not be read, so a message was answered without what was said before.
    SessionReadError { session: String, error: String },
    /// Counters could not be written; they are kept and tried again.
    TelemetryError { message: String },
    /// The program cannot keep its promises and ends.
    Fatal { reason: String },
    /// A secret in use was looked at again, because of SIGHUP.
    Reload {
        status: &'static str,
        name: String,
        source: String,
        fp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        probe: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Lines were dropped: nobody read standard error, or there were too many.
    LogDropped { lines: u64, reason: &'static str },
    /// Lines that said the same as one before were left out, and no more of them came.
    LogSuppressed { of: String, class: String, lines: u64 },
    /// A line of the `log` crate.
    Log { target: String, message: String },
    /// Somebody was paired, tried to be, or is not any more.
    ChannelPairing { channel: ChannelId, sender_id: String, status: &'static str },
    /// These threads have not shown for too long that they live; a watchdog ends the process if that lasts.
    ThreadsOverdue { threads: Vec<String> },
    /// What `send` wrote, or a reply that was taken up again, is delivered or given up: no turn of its own.
    Delivered { channel: ChannelId, request_id: String, delivery: Outcome },
}

impl Event {
    /// How serious it is.
    pub fn level(&self) -> Level {
        match self {
            Event::ThreadsOverdue { .. }
            | Event::Fatal { .. }
            | Event::JournalDamage { .. }
            | Event::ChannelParked { .. } => Level::Error,
            Event::ChannelPollError { .. }
            | Event::ChannelConnectError { .. }
            | Event::ChannelReadError { .. }
            | Event::ChannelParseError { .. }
            | Event::ChannelSendError { .. }
            | Event::ChannelDenied { .. }
            | Event::ChannelPairing { .. }
            | Event::ChannelWait { .. }
            | Event::ProviderRetry { .. }
            | Event::ProviderState { .. }
            | Event::LimitReached { .. }
            | Event::SessionRepaired { .. }
            | Event::CodexAccount { .. }
            | Event::OrphansEnded { .. }
            | Event::SessionAppendError { .. }
            | Event::SessionReadError { .. }
            | Event::StorageError { .. }
            | Event::LogDropped { .. }
            | Event::LogSuppressed { .. }
            | Event::TelemetryError { .. } => Level::Warn,
            Event::Reload { status: "rejected", .. } => Level::Error,
            Event::Turn(record) if record.delivery == Some(Outcome::Dead) => Level::Error,
            Event::Delivered { delivery: Outcome::Dead, .. } => Level::Error,
            Event::Turn(record) if record.error.is_some() => Level::Warn,
            _ => Level::Info,
        }
    }

    /// The line, without its newline.
    pub fn to_line(&self, at: Wall) -> String {
        line(self, self.level(), at, 0)
    }
}

/// Any event as a line, with the number of lines that said the same and were left out before it. A turn has its own
/// timestamp; every other event gets one.
pub fn line(event: &Event, level: Level, at: Wall, suppressed: u64) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        v: u8,
        level: Level,
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<String>,
        #[serde(flatten)]
        event: &'a Event,
        #[serde(skip_serializing_if = "is_zero")]
        suppressed: u64,
    }
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    fn is_zero(count: &u64) -> bool {
        *count == 0
    }
    let timestamp = (!matches!(event, Event::Turn(_))).then(|| at.rfc3339());
    let line = serde_json::to_string(&Line { v: 1, level, timestamp, event, suppressed });
    bounded(line.expect("events hold only text and numbers"))
}

/// Nearly every line is short. Of a long one the texts are cut, and what is still too long keeps only what says which it
/// was: no field is beyond [`FIELD_BYTES_MAX`], and no line beyond [`LINE_BYTES_MAX`].
fn bounded(line: String) -> String {
    if line.len() <= FIELD_BYTES_MAX {
        return line;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(line.as_bytes()) else { return line };
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            *text = text::shorten(text, FIELD_CHARS_MAX);
        }
    }
    let line = Value::Object(fields.clone()).to_string();
    if line.len() <= LINE_BYTES_MAX {
        return line;
    }
    fields.retain(|name, _| ["v", "level", "event", "timestamp", "request_id"].contains(&name.as_str()));
    Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_in_a_field_does_not_make_a_second_record() {
        let event = Event::Log { target: "x".into(), message: "one\n{\"event\":\"turn\"}".into() };
        let line = event.to_line(Wall(0));
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON")["event"], "log");
    }

    /// S24, with texts that grow when they are escaped.
    #[test]
    fn no_field_and_no_line_is_longer_than_its_limit() {
        for part in ["x", "\u{1b}", "\u{1f600}", "\"", "\n"] {
            for count in [100, 2000, 20_000] {
                let (text, channel) = (part.repeat(count), ChannelId::Telegram);
                let event = Event::ChannelSendError {
                    channel,
                    chat_id: text.clone(),
                    request_id: text.clone(),
                    error: text.clone(),
                    action: "x",
                };
                let line = event.to_line(Wall(0));
                assert!(line.len() <= LINE_BYTES_MAX, "{count} times {part:?}: {}", line.len());
                let fields: Value = serde_json::from_str(&line).expect("JSON");
                let is_short = |value: &Value| value.to_string().len() <= FIELD_BYTES_MAX + 2;
                assert!(fields.as_object().expect("an object").values().all(is_short), "{count} times {part:?}");
                assert_eq!((&fields["event"], &fields["level"]), (&"channel_send_error".into(), &"warn".into()));
            }
        }
    }

    #[test]
    fn a_turn_line_has_every_field_of_the_contract_also_when_it_is_null() {
        let summary = Summary { path: Some(Path::Tool), error: Some("tool".into()), ..Summary::default() };
        let record =
            TurnRecord::new(TurnId::parse("rp-00000000000000000000000001").expect("an id"), "s", summary, Wall(0));
        let line: serde_json::Value =
            serde_json::from_str(&Event::Turn(Box::new(record)).to_line(Wall(5))).expect("JSON");
        for field in [
            "timestamp",
            "request_id",
            "session_id",
            "path",
            "status",
            "provider",
            "model",
            "tool_name",
            "attempts",
            "latency_ms",
            "user_chars",
            "response_chars",
            "error",
            "event",
        ] {
            assert!(line.get(field).is_some(), "{field} is missing in {line}");
        }
        assert_eq!(
            (&line["status"], &line["event"], &line["attempts"]),
            (&"error".into(), &"turn".into(), &serde_json::Value::Null)
        );
    }
}
