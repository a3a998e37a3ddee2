//! `docs/logs.md`, made from a table of every event. Only tests ask for it. A test beside it serialises one of every
//! [`Event`](crate::observe::event::Event) and compares names and levels, so that the table stays true.

use std::fmt::Write;

use crate::observe::event::{FIELD_BYTES_MAX, LINE_BYTES_MAX};
use crate::observe::repeats;

/// An event as a reader of logs sees it.
#[derive(Debug)]
pub struct Entry {
    /// The value of `event`.
    pub event: &'static str,
    /// How serious it is.
    pub level: &'static str,
    /// One sentence.
    pub meaning: &'static str,
    /// Its fields, in their order, each with its meaning; those of [`EVERYWHERE`] are not repeated.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Fields of every line.
pub const EVERYWHERE: &[(&str, &str)] = &[
    ("v", "version of the format: 1"),
    ("level", "`info`, `warn` or `error`"),
    ("event", "which of the events below"),
    ("timestamp", "when, RFC 3339 in UTC"),
];

const CHANNEL: (&str, &str) = ("channel", "`telegram`, `whatsapp` or `console`");
const REQUEST: (&str, &str) = ("request_id", "the turn's name, the same in journal, session and reply");

/// Every event, in the order of its declaration.
#[rustfmt::skip]
pub const EVENTS: &[Entry] = &[
    Entry { event: "turn", level: "info", meaning: "A turn was closed: one line for each accepted message. `warn` if it failed, `error` if its reply was given up.", fields: &[
        REQUEST,
        ("session_id", "the conversation, as the channel names it"),
        ("path", "`provider` or `tool`: who answered"),
        ("status", "`ok` or `error`"),
        ("provider", "the provider that answered, or failed last; the first one if none was asked"),
        ("model", "its model"),
        ("tool_name", "the tool of a `/tool` message, the word of a control message such as `/status`, or null"),
        ("attempts", "calls of the provider, or null"),
        ("latency_ms", "milliseconds in those calls, or null"),
        ("user_chars", "characters of the message"),
        ("response_chars", "characters of the reply; 0 if the turn failed"),
        ("error", "the class of the failure, or null"),
        ("error_detail", "one phrase more about it"),
        ("fallback_from", "the first provider, if that was another one"),
        CHANNEL,
        ("delivery", "how the reply ended: `sent`, `sent_after_retry`, `ambiguous_resent`, `refused` (closed without being told) or `dead`"),
        ("queue_ms", "milliseconds from receipt to the start of work"),
        ("provider_ms", "milliseconds in calls of the provider, without the waits between them"),
        ("send_ms", "milliseconds from the durable reply to its confirmation"),
        ("gen_ai.usage.input_tokens", "tokens of the prompt"),
        ("gen_ai.usage.output_tokens", "tokens of the answer"),
        ("gen_ai.response.model", "the model that answered, as the provider names it"),
        ("upstream_request_id", "the provider's name of the answer, for its support"),
    ] },
    Entry { event: "channel_start", level: "info", meaning: "A worker begins.", fields: &[
        CHANNEL,
        ("allow_from_count", "entries of the allowlist"),
        ("max_messages", "where a bounded run ends, or null"),
        ("poll_timeout_secs", "Telegram: how long the server may hold a poll"),
        ("bridge_url", "WhatsApp: scheme, host and port of the bridge"),
        ("reconnect_ms", "WhatsApp: the largest first delay before the bridge is dialled again"),
        ("workers", "turns at the same time"),
        ("seed", "what jitter was seeded with; RUSTY_PINCH_SEED repeats it"),
        ("version", "the version of the program"),
    ] },
    Entry { event: "channel_connected", level: "info", meaning: "The account of the channel is known, or the link to the bridge stands.", fields: &[
        CHANNEL, ("account", "Telegram: the bot's id"), ("name", "Telegram: the bot's name"),
    ] },
    Entry { event: "channel_stop", level: "info", meaning: "A worker ends as it was asked to.", fields: &[
        CHANNEL, ("reason", "`signal` or `max_messages`"),
    ] },
    Entry { event: "channel_signal", level: "info", meaning: "A signal was taken.", fields: &[
        ("signal", "which one"), ("action", "what follows"),
    ] },
    Entry { event: "channel_poll_error", level: "warn", meaning: "Reading messages failed and is tried again.", fields: &[
        CHANNEL, ("error", "what went wrong"), ("failures", "how often in a row"), ("retry_ms", "milliseconds until the next attempt"),
    ] },
    Entry { event: "channel_connect_error", level: "warn", meaning: "There is no link to the bridge yet; it is dialled again.", fields: &[
        CHANNEL, ("error", "what went wrong"), ("failures", "how often in a row"), ("retry_ms", "milliseconds until the next attempt"),
    ] },
    Entry { event: "channel_read_error", level: "warn", meaning: "The link to the bridge ended; it is dialled again.", fields: &[
        CHANNEL, ("error", "what ended it"), ("failures", "how often in a row"), ("retry_ms", "milliseconds until the next attempt"),
    ] },
    Entry { event: "channel_parse_error", level: "warn", meaning: "Frames of the bridge were not understood. At most every ten seconds.", fields: &[
        CHANNEL, ("error", "what is wrong with the last one"), ("count", "how many since this was last said"),
    ] },
    Entry { event: "channel_state", level: "info", meaning: "What the bridge says about itself changed.", fields: &[
        CHANNEL, ("state", "`dialect_p`, `dialect_n`, `v2`, `online`, `offline`, or `overflow`: messages came for which there is no room; every 10 s while it lasts"),
    ] },
    Entry { event: "channel_tally", level: "info", meaning: "What was passed over since the worker began. Once an hour if it changed, and at the end.", fields: &[
        CHANNEL, ("passed", "how many, by reason"),
    ] },
    Entry { event: "channel_send_error", level: "warn", meaning: "A reply, or a part of it, was not delivered by this attempt.", fields: &[
        CHANNEL, ("chat_id", "to whom"), REQUEST, ("error", "what went wrong"), ("action", "what follows"),
    ] },
    Entry { event: "channel_parked", level: "error", meaning: "Only a person can mend this. Said again once a minute while it lasts.", fields: &[
        CHANNEL, ("reason", "what is wrong"), ("remedy", "what to do about it"), ("retry_ms", "milliseconds until the program looks again; SIGHUP makes it look at once"),
    ] },
    Entry { event: "channel_wait", level: "warn", meaning: "Another worker of the channel still runs, and is waited for.", fields: &[
        CHANNEL, ("holder", "who it is, as its lock says"),
    ] },
    Entry { event: "channel_resumed", level: "info", meaning: "What parked the channel is over.", fields: &[CHANNEL] },
    Entry { event: "channel_denied", level: "warn", meaning: "Somebody who is not on the allowlist wrote. At most once an hour for each.", fields: &[
        CHANNEL, ("sender_id", "the id to put on the list"), ("chat_id", "where"), ("reason", "`not_on_allowlist`, `group_not_on_allowlist` or `allowlist_empty`"),
    ] },
    Entry { event: "channel_ignored", level: "info", meaning: "An update is no message to answer.", fields: &[
        CHANNEL, ("update_id", "its id"), ("reason", "why"),
    ] },
    Entry { event: "provider_retry", level: "warn", meaning: "A call of a provider failed and another one follows, of the same one or of the next.", fields: &[
        REQUEST, ("provider", "which one"), ("attempt", "which call of it failed, from 1"), ("error", "the class of the failure"), ("retry_ms", "milliseconds until the next attempt"),
    ] },
    Entry { event: "provider_state", level: "warn", meaning: "A provider is left alone from now on, tried with one question, or asked as usual again.", fields: &[
        ("provider", "which one"), ("from", "`closed`, `open` or `half_open`"), ("to", "the same"), ("class", "the class of the failure that it is about"), ("until", "when it is tried again, if it is left alone"),
    ] },
    Entry { event: "limit_reached", level: "warn", meaning: "A limit of spending was reached, and a model is not asked until it is over. Once for a sender and window.", fields: &[
        ("limit", "`turns_per_minute`, `turns_per_day` or `tokens_per_day`"), ("most", "what the limit is"), ("channel", "of the sender, or null"), ("sender_id", "whose limit it is; null: of all"), ("retry_ms", "milliseconds until it is over"),
    ] },
    Entry { event: "codex_account", level: "warn", meaning: "An account of Codex is refused for another reason than before, or is used again. Said once, also over restarts.", fields: &[
        ("account", "its id"), ("state", "`ready`, or the class of the failure"), ("remedy", "what to do about it: the exact command where there is one; blank if nothing"),
    ] },
    Entry { event: "recovered", level: "info", meaning: "What a start found on disk.", fields: &[
        CHANNEL,
        ("open", "messages without a reply"),
        ("replied", "replies not confirmed yet"),
        ("lines_restored", "session lines that were missing"),
        ("frames", "frames of the journal that were read"),
        ("took_ms", "milliseconds it took"),
    ] },
    Entry { event: "journal_damage", level: "error", meaning: "The journal was damaged; its files were kept.", fields: &[
        CHANNEL, ("detail", "what is wrong with it"),
    ] },
    Entry { event: "orphans_ended", level: "warn", meaning: "Programs that a killed process had left running were ended.", fields: &[("processes", "how many")] },
    Entry { event: "session_repaired", level: "warn", meaning: "A session file had a torn end, which was kept aside.", fields: &[
        ("session", "which one"), ("bytes", "how long the end was"),
    ] },
    Entry { event: "session_append_error", level: "warn", meaning: "A session line could not be written yet; it stays owed.", fields: &[
        ("session", "which one"), ("error", "what went wrong"),
    ] },
    Entry { event: "storage_error", level: "warn", meaning: "Something that nothing depends on could not be read or removed; it is tried again.", fields: &[
        ("what", "what it was"), ("error", "what went wrong"),
    ] },
    Entry { event: "session_read_error", level: "warn", meaning: "A session could not be read, so a message was answered without what was said before.", fields: &[
        ("session", "which one"), ("error", "what went wrong"),
    ] },
    Entry { event: "telemetry_error", level: "warn", meaning: "The counters could not be written; they are kept and tried again.", fields: &[("message", "what went wrong")] },
    Entry { event: "fatal", level: "error", meaning: "The program cannot go on. It ends, and the exit code says which kind of fault it was.", fields: &[("reason", "why, and what to do about it")] },
    Entry { event: "reload", level: "info", meaning: "A secret in use was looked at again, because of SIGHUP. `error` if it was rejected.", fields: &[
        ("status", "`ok`: the new one is used from here on; `rejected`: the old one is kept; `unchanged`"),
        ("name", "its variable"),
        ("source", "where its value comes from"),
        ("fp", "the fingerprint of the value that is looked at; never a part of the value"),
        ("probe", "what the other side says about it: `ok`, `refused`, or `failed` if it could not be asked"),
        ("reason", "what is behind `rejected` or `failed`, and what to do about it"),
    ] },
    Entry { event: "log_dropped", level: "warn", meaning: "Lines were dropped. Those of turns only when a thousand lines wait for a reader.", fields: &[
        ("lines", "how many"), ("reason", "`unread`: nobody read standard error; `too_many`: more than 20 in a second"),
    ] },
    Entry { event: "log_suppressed", level: "warn", meaning: "Lines that said the same as one before them were left out, and none of them came for ten seconds.", fields: &[
        ("of", "their event"), ("class", "what they had in common"), ("lines", "how many"),
    ] },
    Entry { event: "log", level: "info", meaning: "A line of a library, filtered by RUST_LOG, or a remark of a command.", fields: &[
        ("target", "who speaks"), ("message", "what is said"),
    ] },
    Entry { event: "channel_pairing", level: "warn", meaning: "Who may write to the bot was changed by pairing, or somebody tried a wrong code.", fields: &[
        CHANNEL, ("sender_id", "who it is about"), ("status", "`paired`, `removed`, `wrong_code`, `spent`: somebody who may write already sent the code, which ended it, or `locked`: the fifth wrong code, and pairing is closed for an hour"),
    ] },
    Entry { event: "threads_overdue", level: "error", meaning: "Threads have not shown for too long that they live. A watchdog ends the process if that lasts; the next start recovers.", fields: &[
        ("threads", "which ones, as in docs/architecture.md"),
    ] },
    Entry { event: "delivered", level: "info", meaning: "What `send` wrote, or a reply that was taken up again, reached its chat, or was given up (then the level is error).", fields: &[
        CHANNEL, ("request_id", "of the message, as in `outbox list`"), ("delivery", "as of a turn"),
    ] },
];

/// Fields of other schemas that say the same, for who collects logs of many programs: ours, ECS, OpenTelemetry. The names of the
/// latter for models are not final there; ours stay.
#[rustfmt::skip]
pub const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("timestamp", "@timestamp", "Timestamp"),
    ("level", "log.level", "SeverityText"),
    ("event", "event.action", "EventName"),
    ("request_id", "trace.id, transaction.id", "TraceId, as an attribute"),
    ("session_id", "labels.session_id", "gen_ai.conversation.id"),
    ("status", "event.outcome (`ok` is `success`, `error` is `failure`)", "otel.status_code"),
    ("error", "error.type", "error.type"),
    ("error_detail", "error.message", "exception.message"),
    ("latency_ms", "event.duration, in nanoseconds", "gen_ai.client.operation.duration, in seconds"),
    ("provider", "service.target.name", "gen_ai.provider.name"),
    ("model", "labels.model", "gen_ai.request.model"),
    ("gen_ai.response.model", "labels.response_model", "gen_ai.response.model"),
    ("gen_ai.usage.input_tokens", "labels.input_tokens", "gen_ai.usage.input_tokens"),
    ("gen_ai.usage.output_tokens", "labels.output_tokens", "gen_ai.usage.output_tokens"),
    ("upstream_request_id", "http.request.id", "gen_ai.response.id"),
    ("tool_name", "labels.tool_name", "gen_ai.tool.name"),
    ("target", "log.logger", "InstrumentationScope"),
    ("message", "message", "Body"),
];

/// `docs/logs.md`.
pub fn markdown() -> String {
    let mut text = "# Log lines\n\nFor operators: every line on standard error, made from the table in `src/observe/document.rs`.\n\n\
                    Standard error carries one JSON object a line. Text of a conversation is never in it; ids are. Fields of a turn that are not \
                    known are left out, but for those that say \"or null\".\n\n\
                    ## In every line\n\n| field | meaning |\n|---|---|\n"
        .to_owned();
    push_fields(&mut text, EVERYWHERE);
    let _ = writeln!(
        text,
        "| `suppressed` | left out before this one because they said the same; missing if none |\n\n\
         ## How many lines\n\n\
         A worker writes the same trouble once in {} s: the same event of the same class, whatever its numbers. The next line of it says in \
         `suppressed` how many were left out; if none comes, `log_suppressed` does. All lines together are {} in a second at most, and \
         `log_dropped` counts the others. Lines of turns, `fatal`, damage, and answers to what an operator did are always written, and with RUST_LOG set all \
         lines are. No field is longer than {} bytes, \
         and no line longer than {}. Commands write every line.\n\n\
         A busy worker writes about 500 bytes a turn. For journald 64 MB are plenty: `SystemMaxUse=64M` in `/etc/systemd/journald.conf`. For \
         Compose: `max-size: 10m` and `max-file: 5` of the `json-file` driver.\n\n\
         ```bash\n\
         journalctl -u rusty-pinch-telegram -o cat | jq -c 'select(.level != \"info\")'\n\
         ```",
        repeats::EVERY.as_secs(),
        repeats::LINES_PER_SECOND,
        FIELD_BYTES_MAX,
        LINE_BYTES_MAX,
    );
    for Entry { event, level, meaning, fields } in EVENTS {
        let _ = write!(text, "\n## {event}\n\n{meaning} Level: `{level}`.\n\n| field | meaning |\n|---|---|\n");
        push_fields(&mut text, fields);
    }
    text.push_str("\n## In other schemas\n\n| field | ECS | OpenTelemetry |\n|---|---|---|\n");
    for (ours, ecs, open_telemetry) in ELSEWHERE {
        let _ = writeln!(text, "| `{ours}` | {ecs} | {open_telemetry} |");
    }
    text
}

fn push_fields(text: &mut String, fields: &[(&str, &str)]) {
    for (name, meaning) in fields {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::id::{ChannelId, TurnId};
    use crate::base::message::{Outcome, Path, Summary};
    use crate::observe::event::{Event, TurnRecord};
    use serde_json::Value;

    const CHANNEL: ChannelId = ChannelId::Telegram;

    fn turn() -> Event {
        let summary = Summary {
            path: Some(Path::Provider),
            error_detail: Some("x".into()),
            fallback_from: Some("x".into()),
            queue_ms: Some(1),
            input_tokens: Some(1),
            output_tokens: Some(1),
            provider_ms: Some(1),
            response_model: Some("x".into()),
            upstream_id: Some("x".into()),
            ..Summary::default()
        };
        let id = TurnId::parse("rp-00000000000000000000000001").expect("an id");
        let mut record = TurnRecord::new(id, "s", summary, Wall(0));
        (record.channel, record.delivery, record.send_ms) = (Some(CHANNEL), Some(Outcome::Sent), Some(1));
        Event::Turn(Box::new(record))
    }

    /// One of every event. A new one does not compile without its line in `place`.
    #[rustfmt::skip]
    fn samples() -> Vec<Event> {
        let (channel, text) = (CHANNEL, || "x".to_owned());
        vec![
            turn(),
            Event::ChannelStart { channel, allow_from_count: 1, max_messages: None, poll_timeout_secs: Some(1), bridge_url: Some(text()), reconnect_ms: Some(1), workers: 1, seed: 1, version: "x" },
            Event::ChannelConnected { channel, account: Some(1), name: Some(text()) },
            Event::ChannelStop { channel, reason: "x" },
            Event::ChannelSignal { signal: "x", action: "x" },
            Event::ChannelPollError { channel, error: text(), failures: 1, retry_ms: 1 },
            Event::ChannelConnectError { channel, error: text(), failures: 1, retry_ms: 1 },
            Event::ChannelReadError { channel, error: text(), failures: 1, retry_ms: 1 },
            Event::ChannelParseError { channel, error: "x", count: 1 },
            Event::ChannelState { channel, state: "x" },
            Event::ChannelTally { channel, passed: [("x", 1)].into() },
            Event::ChannelSendError { channel, chat_id: text(), request_id: text(), error: text(), action: "x" },
            Event::ChannelParked { channel, reason: text(), remedy: text(), retry_ms: 1 },
            Event::ChannelWait { channel, holder: text() },
            Event::ChannelResumed { channel },
            Event::ChannelDenied { channel, sender_id: text(), chat_id: text(), reason: "x" },
            Event::ChannelIgnored { channel, update_id: 1, reason: "x" },
            Event::ProviderRetry { request_id: text(), provider: text(), attempt: 1, error: text(), retry_ms: 1 },
            Event::ProviderState { provider: text(), from: "x", to: "x", class: "x", until: Some(text()) },
            Event::LimitReached { limit: "x", most: 1, channel: None, sender_id: None, retry_ms: 1 },
            Event::CodexAccount { account: text(), state: "x", remedy: text() },
            Event::Recovered { channel, open: 1, replied: 1, lines_restored: 1, frames: 1, took_ms: 1 },
            Event::JournalDamage { channel, detail: text() },
            Event::OrphansEnded { processes: 1 },
            Event::SessionRepaired { session: text(), bytes: 1 },
            Event::SessionAppendError { session: text(), error: text() },
            Event::StorageError { what: text(), error: text() },
            Event::SessionReadError { session: text(), error: text() },
            Event::TelemetryError { message: text() },
            Event::Fatal { reason: text() },
            Event::Reload { status: "ok", name: text(), source: text(), fp: text(), probe: Some("ok"), reason: Some(text()) },
            Event::LogDropped { lines: 1, reason: "unread" },
            Event::LogSuppressed { of: text(), class: text(), lines: 1 },
            Event::Log { target: text(), message: text() },
            Event::ChannelPairing { channel, sender_id: text(), status: "x" },
            Event::ThreadsOverdue { threads: vec![text()] },
            Event::Delivered { channel, request_id: text(), delivery: Outcome::Sent },
        ]
    }

    fn place(event: &Event) -> usize {
        match event {
            Event::Turn(_) => 0,
            Event::ChannelStart { .. } => 1,
            Event::ChannelConnected { .. } => 2,
            Event::ChannelStop { .. } => 3,
            Event::ChannelSignal { .. } => 4,
            Event::ChannelPollError { .. } => 5,
            Event::ChannelConnectError { .. } => 6,
            Event::ChannelReadError { .. } => 7,
            Event::ChannelParseError { .. } => 8,
            Event::ChannelState { .. } => 9,
            Event::ChannelTally { .. } => 10,
            Event::ChannelSendError { .. } => 11,
            Event::ChannelParked { .. } => 12,
            Event::ChannelWait { .. } => 13,
            Event::ChannelResumed { .. } => 14,
            Event::ChannelDenied { .. } => 15,
            Event::ChannelIgnored { .. } => 16,
            Event::ProviderRetry { .. } => 17,
            Event::ProviderState { .. } => 18,
            Event::LimitReached { .. } => 19,
            Event::CodexAccount { .. } => 20,
            Event::Recovered { .. } => 21,
            Event::JournalDamage { .. } => 22,
            Event::OrphansEnded { .. } => 23,
            Event::SessionRepaired { .. } => 24,
            Event::SessionAppendError { .. } => 25,
            Event::StorageError { .. } => 26,
            Event::SessionReadError { .. } => 27,
            Event::TelemetryError { .. } => 28,
            Event::Fatal { .. } => 29,
            Event::Reload { .. } => 30,
            Event::LogDropped { .. } => 31,
            Event::LogSuppressed { .. } => 32,
            Event::Log { .. } => 33,
            Event::ChannelPairing { .. } => 34,
            Event::ThreadsOverdue { .. } => 35,
            Event::Delivered { .. } => 36,
        }
    }

    #[test]
    fn the_table_of_events_has_their_names_levels_and_fields() {
        let samples = samples();
        assert_eq!(samples.iter().map(place).collect::<Vec<_>>(), (0..EVENTS.len()).collect::<Vec<_>>());
        for (event, entry) in samples.iter().zip(EVENTS) {
            let line: Value = serde_json::from_str(&event.to_line(Wall(0))).expect("JSON");
            assert_eq!((&line["event"], &line["level"]), (&entry.event.into(), &entry.level.into()));
            let mut told: Vec<&str> = EVERYWHERE.iter().chain(entry.fields).map(|(name, _)| *name).collect();
            let mut found: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
            told.sort_unstable();
            found.sort_unstable();
            assert_eq!(told, found, "{}", entry.event);
            assert!(entry.meaning.ends_with('.'), "{}", entry.event);
        }
        let fields = || EVERYWHERE.iter().chain(EVENTS.iter().flat_map(|entry| entry.fields)).map(|(name, _)| *name);
        assert!(ELSEWHERE.iter().all(|(ours, ..)| fields().any(|name| name == *ours)));
    }
}
