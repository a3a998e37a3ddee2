//! Telegram's JSON to and from our values (Bot API 10.3). Reading is tolerant: an update that we cannot read is dropped
//! by its id and says why, so that it never blocks the others. Writing is strict.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::base::control::{WORDS, Word};
use crate::base::message::{Chat, INBOUND_BYTES_MAX};
use crate::base::text;
use crate::channel::outbound::Sent;
use crate::channel::telegram::PollFailure;
use crate::net::http::{Head, TransportError};
use crate::net::retry_after;

/// The sender id that Telegram gives to anonymous administrators of a group.
const ANONYMOUS_ADMIN: i64 = 1_087_968_824;

/// The topic that must be left out of sends.
const GENERAL_TOPIC: i64 = 1;

/// One update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Somebody wrote something.
    Text(Incoming),
    /// Not a message to answer.
    Ignored {
        /// Its id.
        id: u64,
        /// Why.
        why: &'static str,
    },
}

impl Update {
    /// Its id.
    pub fn id(&self) -> u64 {
        match self {
            Update::Text(incoming) => incoming.id,
            Update::Ignored { id, .. } => *id,
        }
    }
}

/// What somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The update's id.
    pub id: u64,
    /// The message's id, unique in its chat.
    pub message_id: i64,
    /// Where.
    pub chat: Chat,
    /// Who.
    pub sender: String,
    /// When, in seconds since 1970 by the server's clock.
    pub date: u64,
    /// The text or caption, trimmed, of at most [`INBOUND_BYTES_MAX`] bytes.
    pub text: String,
}

/// The bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    ok: bool,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    ok: bool,
    error_code: u16,
    description: String,
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

#[derive(Deserialize)]
struct RawUpdate {
    update_id: u64,
    message: Option<RawMessage>,
}

#[derive(Deserialize)]
struct UpdateId {
    update_id: u64,
}

#[derive(Deserialize)]
struct RawMessage {
    message_id: i64,
    #[serde(default)]
    date: i64,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    from: Option<RawUser>,
    sender_chat: Option<serde::de::IgnoredAny>,
    via_bot: Option<serde::de::IgnoredAny>,
    chat: RawChat,
    text: Option<String>,
    caption: Option<String>,
}

#[derive(Deserialize)]
struct RawUser {
    id: i64,
    #[serde(default)]
    is_bot: bool,
}

#[derive(Deserialize)]
struct RawChat {
    id: i64,
}

/// The updates of a `getUpdates` response, in order, and how many had no readable id.
pub fn updates(body: &[u8]) -> Option<(Vec<Update>, usize)> {
    let text = String::from_utf8_lossy(body);
    let envelope: Envelope<'_> = serde_json::from_slice(text.as_bytes()).ok()?;
    let items: Vec<&RawValue> =
        serde_json::from_slice(envelope.result.filter(|_| envelope.ok)?.get().as_bytes()).ok()?;
    let read: Vec<Update> = items.iter().filter_map(|item| update(item.get().as_bytes())).collect();
    let unnamed = items.len() - read.len();
    Some((read, unnamed))
}

fn update(item: &[u8]) -> Option<Update> {
    // Strings that are passed over are not decoded, so the id is found even beside broken text.
    let id = serde_json::from_slice::<UpdateId>(item).ok()?.update_id;
    // Ids are positive and fit 32 bits today; one that cannot be followed by another is none.
    let _ = i64::try_from(id).ok()?;
    let read = serde_json::from_slice::<RawUpdate>(item).map(of_raw);
    Some(read.unwrap_or(Update::Ignored { id, why: "undecodable" }))
}

fn of_raw(raw: RawUpdate) -> Update {
    let ignored = |why| Update::Ignored { id: raw.update_id, why };
    let Some(message) = raw.message else { return ignored("not_a_message") };
    let Some(from) = message.from else { return ignored("no_sender") };
    if from.is_bot || message.via_bot.is_some() {
        return ignored("bot");
    }
    if message.sender_chat.is_some() || from.id == ANONYMOUS_ADMIN {
        return ignored("anonymous");
    }
    let words = message.text.or(message.caption).unwrap_or_default();
    let words = words.trim();
    if words.is_empty() {
        return ignored("no_text");
    }
    let thread = message.message_thread_id.filter(|id| message.is_topic_message && *id != GENERAL_TOPIC);
    Update::Text(Incoming {
        id: raw.update_id,
        message_id: message.message_id,
        chat: Chat { id: message.chat.id.to_string(), thread },
        sender: from.id.to_string(),
        date: u64::try_from(message.date).unwrap_or(0),
        text: text::truncate_bytes(words, INBOUND_BYTES_MAX).to_owned(),
    })
}

/// The bot of a `getMe` response.
pub fn me(body: &[u8]) -> Option<Me> {
    #[derive(Deserialize)]
    struct RawMe {
        id: u64,
        #[serde(default)]
        username: String,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let raw: RawMe = serde_json::from_slice(envelope.result.filter(|_| envelope.ok)?.get().as_bytes()).ok()?;
    Some(Me { id: raw.id, name: text::shorten(&raw.username, 64) })
}

/// What a `getWebhookInfo` response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Whether one is set.
    pub is_set: bool,
    /// Updates that wait for whoever asks.
    pub pending: u64,
}

/// The answer of `getWebhookInfo`.
pub fn webhook(body: &[u8]) -> Option<Webhook> {
    #[derive(Deserialize)]
    struct RawInfo {
        #[serde(default)]
        url: String,
        #[serde(default)]
        pending_update_count: u64,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let raw: RawInfo = serde_json::from_slice(envelope.result.filter(|_| envelope.ok)?.get().as_bytes()).ok()?;
    Some(Webhook { is_set: !raw.url.is_empty(), pending: raw.pending_update_count })
}

/// Why a call that is not a send failed. `None`: it succeeded, if its body can be read.
pub fn poll_failure(head: &Head, body: &[u8]) -> Option<PollFailure> {
    let failure: Failure = serde_json::from_slice(body).unwrap_or_default();
    match status(head, &failure) {
        200 if failure.ok => None,
        401 | 403 | 404 => Some(PollFailure::Denied),
        409 if failure.description.contains("webhook") => Some(PollFailure::Webhook),
        409 => Some(PollFailure::Conflict),
        429 => Some(PollFailure::Throttled { after: retry_after(head, &failure).unwrap_or(Duration::from_secs(1)) }),
        _ => Some(PollFailure::Transient),
    }
}

/// What came of a `sendMessage`.
pub fn send_outcome(outcome: &Result<(Head, Vec<u8>), TransportError>) -> Sent {
    let (head, body) = match outcome {
        Ok(response) => response,
        Err(error) if error.sent => return Sent::Unknown,
        Err(_) => return Sent::Nothing { after: None },
    };
    if head.status == 200
        && let Some(message_id) = sent_message(body)
    {
        return Sent::Confirmed { message_id };
    }
    let failure: Failure = serde_json::from_slice(body).unwrap_or_default();
    if let Some(chat) = failure.parameters.migrate_to_chat_id {
        return Sent::Moved { chat: chat.to_string() };
    }
    match status(head, &failure) {
        // The server says that it did not do it, and that it might later.
        408 | 429 => Sent::Nothing { after: retry_after(head, &failure) },
        // Telegram itself says that this can never work.
        code @ (400 | 403 | 413) if failure.error_code == code => {
            Sent::Refused { why: refusal(code, &failure.description) }
        }
        // A wrong token (401, 404), or a proxy in between: nothing was done, and a person may mend it.
        400..=499 => Sent::Nothing { after: None },
        // It may have been done before it went wrong.
        _ => Sent::Unknown,
    }
}

fn sent_message(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct RawSent {
        message_id: i64,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let raw: RawSent = serde_json::from_slice(envelope.result.filter(|_| envelope.ok)?.get().as_bytes()).ok()?;
    Some(raw.message_id)
}

/// Our words for a refusal: the server's description is only looked at, because it may quote the message.
fn refusal(code: u16, description: &str) -> String {
    const KNOWN: &[&str] = &[
        "chat not found",
        "bot was blocked by the user",
        "bot was kicked",
        "user is deactivated",
        "message text is empty",
        "message is too long",
        "not enough rights",
        "topic closed",
        "message thread not found",
    ];
    let reason = KNOWN.iter().find(|known| description.contains(**known)).unwrap_or(&"refused by the server");
    format!("{reason} ({code})")
}

/// A response may say 200 and still carry an error, or the other way round: the worse of the two counts.
fn status(head: &Head, failure: &Failure) -> u16 {
    if failure.ok || failure.error_code == 0 { head.status } else { failure.error_code }
}

fn retry_after(head: &Head, failure: &Failure) -> Option<Duration> {
    failure.parameters.retry_after.map(Duration::from_secs).or_else(|| retry_after::retry_after(head, None))
}

/// The body of `getUpdates`. The kinds of updates are always named: left out, the server keeps what it was told before.
pub fn get_updates(offset: Option<u64>, timeout: Duration, limit: usize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body {
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        timeout: u64,
        limit: usize,
        allowed_updates: [&'static str; 1],
    }
    encode(&Body { offset, timeout: timeout.as_secs(), limit, allowed_updates: ["message"] })
}

/// The body of `setMyCommands`: the words of the control lane.
pub fn set_commands() -> Vec<u8> {
    #[derive(Serialize)]
    struct Command {
        command: &'static str,
        description: &'static str,
    }
    #[derive(Serialize)]
    struct Body {
        commands: Vec<Command>,
    }
    let command = |word: &Word| Command { command: word.word, description: word.about };
    encode(&Body { commands: WORDS.iter().map(command).collect() })
}

/// The body of `sendMessage`: plain text, no previews.
pub fn send_message(chat: &Chat, text: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Preview {
        is_disabled: bool,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        chat_id: serde_json::Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_thread_id: Option<i64>,
        text: &'a str,
        link_preview_options: Preview,
    }
    let preview = Preview { is_disabled: true };
    encode(&Body { chat_id: chat_id(chat), message_thread_id: chat.thread, text, link_preview_options: preview })
}

/// The body of `sendChatAction`: shows "typing" for five seconds.
pub fn typing(chat: &Chat) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body {
        chat_id: serde_json::Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_thread_id: Option<i64>,
        action: &'static str,
    }
    encode(&Body { chat_id: chat_id(chat), message_thread_id: chat.thread, action: "typing" })
}

fn chat_id(chat: &Chat) -> serde_json::Value {
    chat.id.parse::<i64>().map_or_else(|_| chat.id.clone().into(), Into::into)
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a request is text and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http::Phase;

    #[track_caller]
    fn read(items: &str) -> Vec<Update> {
        updates(format!("{{\"ok\":true,\"result\":[{items}]}}").as_bytes()).expect("readable").0
    }

    #[track_caller]
    fn ignored(item: &str, want: &'static str) {
        assert!(matches!(read(item)[..], [Update::Ignored { id: 5, why }] if why == want), "{:?}", read(item));
    }

    const GOOD: &str = r#"{"update_id":5,"message":{"message_id":7,"from":{"id":42},"chat":{"id":-100},"text":" hi ","date":3,
        "message_thread_id":9,"is_topic_message":true,"unknown":[1]}}"#;

    #[test]
    fn a_message_is_read_with_its_topic() {
        let chat = Chat { id: "-100".into(), thread: Some(9) };
        let incoming = Incoming { id: 5, message_id: 7, chat, sender: "42".into(), date: 3, text: "hi".into() };
        assert_eq!(read(GOOD), [Update::Text(incoming)]);
        let general = GOOD.replace("\"message_thread_id\":9", "\"message_thread_id\":1");
        assert!(matches!(&read(&general)[..], [Update::Text(incoming)] if incoming.chat.thread.is_none()));
    }

    #[test]
    fn what_is_not_to_be_answered_says_why() {
        ignored(r#"{"update_id":5,"edited_message":{}}"#, "not_a_message");
        ignored(r#"{"update_id":5,"message":{"message_id":7,"chat":{"id":1},"text":"x"}}"#, "no_sender");
        ignored(
            r#"{"update_id":5,"message":{"message_id":7,"from":{"id":4,"is_bot":true},"chat":{"id":1},"text":"x"}}"#,
            "bot",
        );
        ignored(
            r#"{"update_id":5,"message":{"message_id":7,"from":{"id":1087968824},"chat":{"id":1},"text":"x"}}"#,
            "anonymous",
        );
        ignored(
            r#"{"update_id":5,"message":{"message_id":7,"from":{"id":4},"sender_chat":{"id":-1},"chat":{"id":1},"text":"x"}}"#,
            "anonymous",
        );
        ignored(
            r#"{"update_id":5,"message":{"message_id":7,"from":{"id":4},"chat":{"id":1},"sticker":{}}}"#,
            "no_text",
        );
        ignored(
            r#"{"update_id":5,"message":{"message_id":7,"from":{"id":4},"chat":{"id":1},"text":"\ud800"}}"#,
            "undecodable",
        );
        ignored(
            r#"{"update_id":5,"message":{"message_id":"7","from":{"id":4},"chat":{"id":1},"text":6}}"#,
            "undecodable",
        );
    }

    #[test]
    fn a_bad_update_does_not_hide_the_good_one_behind_it() {
        let body = [
            b"{\"ok\":true,\"result\":[{\"update_id\":4,\"message\":{\"text\":\"\xff\\ud83d\"}},7,".as_slice(),
            GOOD.as_bytes(),
            b"]}",
        ]
        .concat();
        let (read, unnamed) = updates(&body).expect("readable");
        assert_eq!(unnamed, 1);
        let (read_none, unnamed) =
            updates(br#"{"ok":true,"result":[{"update_id":18446744073709551615}]}"#).expect("readable");
        assert_eq!((read_none, unnamed), (vec![], 1), "an id that nothing can follow");
        assert!(matches!(&read[..], [Update::Ignored { id: 4, .. }, Update::Text(_)]), "{read:?}");
    }

    #[test]
    fn responses_that_are_not_ours_are_no_updates() {
        for body in [
            &b""[..],
            b"<html>",
            b"{\"ok\":false}",
            b"{\"ok\":true}",
            b"{\"ok\":true,\"result\":{}}",
            b"{\"ok\":true,\"result\":[{",
        ] {
            assert_eq!(updates(body), None);
        }
    }

    #[track_caller]
    fn sent(status: u16, body: &str, want: &Sent) {
        let head = Head { status, ..Head::default() };
        assert_eq!(&send_outcome(&Ok((head, body.as_bytes().to_vec()))), want, "{status} {body}");
    }

    #[test]
    fn a_send_is_unknown_only_if_it_may_have_been_done() {
        sent(200, r#"{"ok":true,"result":{"message_id":3}}"#, &Sent::Confirmed { message_id: 3 });
        sent(200, "<html>", &Sent::Unknown);
        sent(502, "", &Sent::Unknown);
        let after = Some(Duration::from_secs(3));
        sent(429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":3}}"#, &Sent::Nothing { after });
        sent(
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            &Sent::Refused { why: "chat not found (400)".into() },
        );
        sent(
            400,
            r#"{"ok":false,"error_code":400,"parameters":{"migrate_to_chat_id":-1009}}"#,
            &Sent::Moved { chat: "-1009".into() },
        );
        sent(
            403,
            r#"{"ok":false,"error_code":403,"description":"secret words"}"#,
            &Sent::Refused { why: "refused by the server (403)".into() },
        );
        let mending = Sent::Nothing { after: None };
        sent(404, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#, &mending);
        sent(403, "<html>a proxy</html>", &mending);
        sent(401, "", &mending);
        let failed = |phase, sent| send_outcome(&Err(TransportError { phase, sent }));
        assert_eq!(failed(Phase::Connect, false), Sent::Nothing { after: None });
        assert_eq!(failed(Phase::FirstByte, true), Sent::Unknown);
    }

    #[test]
    fn failures_of_a_poll_are_told_apart() {
        let failure = |status, body: &str| poll_failure(&Head { status, ..Head::default() }, body.as_bytes());
        assert_eq!(failure(200, r#"{"ok":true,"result":[]}"#), None);
        assert_eq!(failure(200, r#"{"ok":false,"error_code":401}"#), Some(PollFailure::Denied));
        assert_eq!(
            failure(409, r#"{"ok":false,"description":"can't use getUpdates method while webhook is active"}"#),
            Some(PollFailure::Webhook)
        );
        assert_eq!(failure(409, ""), Some(PollFailure::Conflict));
        assert_eq!(
            failure(429, r#"{"parameters":{"retry_after":30}}"#),
            Some(PollFailure::Throttled { after: Duration::from_secs(30) })
        );
        assert_eq!((failure(502, ""), failure(200, "x")), (Some(PollFailure::Transient), Some(PollFailure::Transient)));
    }

    #[test]
    fn requests_name_what_they_must() {
        assert_eq!(
            get_updates(Some(5), Duration::from_secs(30), 7),
            br#"{"offset":5,"timeout":30,"limit":7,"allowed_updates":["message"]}"#
        );
        let chat = Chat { id: "-100".into(), thread: Some(4) };
        assert_eq!(
            send_message(&chat, "x"),
            br#"{"chat_id":-100,"message_thread_id":4,"text":"x","link_preview_options":{"is_disabled":true}}"#
        );
    }
}
