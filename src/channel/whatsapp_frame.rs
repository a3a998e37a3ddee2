//! The frames of WhatsApp bridges to and from our values: dialect P, dialect N and their extension v2. Reading is
//! tolerant: unknown fields are passed over, unknown types are named as such, and what cannot be read is an error that
//! ends nothing. Writing is strict.
//!
//! Limits of what is read: [`ID_BYTES_MAX`] of a name or an id, [`MEDIA_MAX`] files of a message, the bytes of a text as
//! for every channel; a frame beyond the limits of `base::json_limits` is not looked into. The id of a message that is beyond
//! them is given back as it came, so that its bridge can be told to forget it.

use serde::Serialize;
use serde_json::Value;

use crate::base::json_limits;
use crate::base::message::INBOUND_BYTES_MAX;
use crate::base::text;
use crate::channel::whatsapp_identity::{Id, Kind};

/// Longest name of a chat or person, and longest id of a message, in bytes.
pub const ID_BYTES_MAX: usize = 200;

/// Files of one message that are listed to the model.
pub const MEDIA_MAX: usize = 16;

/// Longest path of a file that is listed, in bytes.
const PATH_BYTES_MAX: usize = 1024;

type Raw = serde_json::Map<String, Value>;

/// What a bridge speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// picoclaw's.
    P,
    /// nanobot's.
    N,
}

impl Dialect {
    /// The name in logs and settings.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::P => "p",
            Dialect::N => "n",
        }
    }
}

/// How the bridge's link to WhatsApp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Connected,
    /// It does not, and the bridge tries.
    Disconnected,
    /// The phone ended it.
    LoggedOut,
    /// Another session took its place.
    Replaced,
}

/// What somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// As which dialect it was written.
    pub dialect: Dialect,
    /// The message's id; `None`: copies of it cannot be told apart.
    pub id: Option<String>,
    /// Where, as the bridge names it.
    pub chat: String,
    /// Who, by every name the bridge gave; the first one is used in logs and limits. Never empty.
    pub author: Vec<String>,
    /// Whether the chat is a group.
    pub is_group: bool,
    /// Whether a message in a group is for us: it mentions us, or answers what we said.
    pub is_addressed: bool,
    /// Whether we wrote it ourselves.
    pub is_own: bool,
    /// When, in seconds since 1970; 0: unknown.
    pub timestamp: u64,
    /// The text, trimmed, of at most [`INBOUND_BYTES_MAX`] bytes. May be blank if there are files.
    pub content: String,
    /// Whether the text was longer, here or at the bridge.
    pub is_cut: bool,
    /// Files, as the bridge names them.
    pub media: Vec<String>,
}

/// What a bridge said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Somebody wrote something.
    Message(Box<Incoming>),
    /// How its link is; `None`: a word that we do not know.
    Status(Option<Status>),
    /// A phone has to be linked. The code is for the phone, not for us.
    Qr,
    /// A send worked.
    Sent {
        /// Which one; only v2 says.
        id: Option<String>,
    },
    /// A send failed, or something else.
    Error {
        /// Which one; only v2 says.
        id: Option<String>,
        /// What that means for the send.
        failure: Failure,
    },
    /// The extension is offered.
    Hello {
        /// In which version.
        version: u64,
    },
    /// Something else.
    Unknown,
}

/// What a bridge's error means for the message that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was not sent, and may be later.
    NotSent,
    /// It may have been sent.
    Unconfirmed,
    /// It will never be sent.
    Refused,
}

/// Why a frame was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No JSON object with a type, or beyond the limits.
    NotAFrame,
    /// A message without its sender, or with a name or id that is too long.
    BadMessage {
        /// Exactly as it came; `None`: it has none that could be acknowledged.
        id: Option<String>,
    },
}

impl Malformed {
    /// The phrase for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Malformed::NotAFrame => "not a frame",
            Malformed::BadMessage { .. } => "a message without a usable sender or id",
        }
    }
}

/// The text of a field, where other bridges may write a number; blank is none.
fn word(raw: &Raw, field: &str) -> Option<String> {
    plain(raw.get(field)?)
}

fn plain(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Nothing that names anybody or anything.
struct Unusable;

/// What is too long, or holds what no name does, is no name.
fn usable(name: Option<String>) -> Result<Option<String>, Unusable> {
    let is_good = |name: &String| name.len() <= ID_BYTES_MAX && !name.chars().any(char::is_control);
    if name.as_ref().is_none_or(is_good) { Ok(name) } else { Err(Unusable) }
}

fn name(raw: &Raw, field: &str) -> Result<Option<String>, Unusable> {
    usable(word(raw, field))
}

/// The id of a message. With the blanks around it: its bridge knows an ack only by the very same id.
fn id_of(raw: &Raw) -> Option<String> {
    match raw.get("id") {
        Some(Value::String(id)) if !id.trim().is_empty() => Some(id.clone()),
        _ => word(raw, "id"),
    }
}

/// What an answer belongs to; an id that cannot be ours is none.
fn answered(raw: &Raw) -> Option<String> {
    name(raw, "id").ok().flatten()
}

fn flag(raw: &Raw, field: &str) -> bool {
    raw.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// Milliseconds are taken for seconds where they must be meant.
fn seconds(raw: &Raw, field: &str) -> u64 {
    const MILLIS_FROM: u64 = 100_000_000_000;
    let value = raw.get(field);
    let text = || value.and_then(Value::as_str).and_then(|text| text.parse().ok());
    match value.and_then(Value::as_u64).or_else(text).unwrap_or(0) {
        millis if millis >= MILLIS_FROM => millis / 1000,
        seconds => seconds,
    }
}

/// Reads a text frame.
///
/// # Errors
/// When it is none of a bridge's.
pub fn parse(frame: &str) -> Result<Frame, Malformed> {
    if !json_limits::holds(frame.as_bytes()) {
        return Err(Malformed::NotAFrame);
    }
    let raw: Raw = serde_json::from_slice(frame.as_bytes()).map_err(|_| Malformed::NotAFrame)?;
    Ok(match raw.get("type").and_then(Value::as_str).unwrap_or_default() {
        "" => return Err(Malformed::NotAFrame),
        "message" => {
            Frame::Message(Box::new(message(&raw).map_err(|Unusable| Malformed::BadMessage { id: id_of(&raw) })?))
        }
        "status" => Frame::Status(word(&raw, "status").and_then(|word| status(&word))),
        "qr" => Frame::Qr,
        "sent" => Frame::Sent { id: answered(&raw) },
        "error" => Frame::Error { id: answered(&raw), failure: failure(&word(&raw, "error").unwrap_or_default()) },
        "hello" => Frame::Hello { version: raw.get("v").and_then(Value::as_u64).unwrap_or(0) },
        _ => Frame::Unknown,
    })
}

fn status(word: &str) -> Option<Status> {
    let plain: String = word.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    match plain.as_str() {
        "connected" => Some(Status::Connected),
        "disconnected" => Some(Status::Disconnected),
        "loggedout" => Some(Status::LoggedOut),
        "replaced" | "connectionreplaced" => Some(Status::Replaced),
        _ => None,
    }
}

/// The words of the v2 specification (docs/whatsapp-bridge.md, "Answers"); plain N has words of its own, all of which mean that
/// nothing was sent.
fn failure(word: &str) -> Failure {
    match word {
        "unconfirmed" | "send_failed" => Failure::Unconfirmed,
        "refused" | "bad_frame" | "unknown_type" | "bad_id" | "bad_to" | "bad_text" | "bad_media" => Failure::Refused,
        _ => Failure::NotSent,
    }
}

fn message(raw: &Raw) -> Result<Incoming, Unusable> {
    let id = usable(id_of(raw))?;
    let whole = word(raw, "content").unwrap_or_default();
    let content = text::truncate_bytes(&whole, INBOUND_BYTES_MAX).to_owned();
    let is_cut = content.len() < whole.len() || flag(raw, "truncated");
    let media = raw.get("media").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let media = media.iter().filter_map(plain).filter(|path| path.len() <= PATH_BYTES_MAX).take(MEDIA_MAX).collect();
    let timestamp = seconds(raw, "timestamp");
    let is_own = flag(raw, "fromMe") || flag(raw, "from_me");
    if let Some(from) = name(raw, "from")? {
        let chat = name(raw, "chat")?.unwrap_or_else(|| from.clone());
        let id_of_chat = Id::parse(&chat);
        let is_group = id_of_chat.kind == Kind::Group || id_of_chat != Id::parse(&from);
        let (dialect, author) = (Dialect::P, vec![from]);
        // There is no mention in this dialect: in a group that is served, everything is for us.
        return Ok(Incoming {
            dialect,
            id,
            chat,
            author,
            is_group,
            is_addressed: true,
            is_own,
            timestamp,
            content,
            is_cut,
            media,
        });
    }
    let chat = name(raw, "sender")?.ok_or(Unusable)?;
    let is_group = flag(raw, "isGroup") || chat.ends_with("@g.us");
    let (phone, participant) = (name(raw, "pn")?, name(raw, "participant")?);
    let author: Vec<String> = match is_group {
        true => participant.into_iter().chain(phone).collect(),
        false => [chat.clone()].into_iter().chain(phone).collect(),
    };
    if author.is_empty() {
        return Err(Unusable);
    }
    let is_addressed = !is_group || flag(raw, "wasMentioned") || flag(raw, "isReplyToBot");
    let dialect = Dialect::N;
    Ok(Incoming { dialect, id, chat, author, is_group, is_addressed, is_own, timestamp, content, is_cut, media })
}

/// Which dialect a frame belongs to, if only one has it.
pub fn dialect_of(frame: &Frame) -> Option<Dialect> {
    match frame {
        Frame::Message(incoming) => Some(incoming.dialect),
        Frame::Status(_) | Frame::Qr => Some(Dialect::N),
        _ => None,
    }
}

/// The first frame of dialect N.
pub fn auth(token: &str) -> String {
    encode(&Auth { r#type: "auth", token })
}

/// The answer to `hello`.
pub fn hello() -> String {
    encode(&Hello { r#type: "hello", v: 2 })
}

/// Says that a message is on our disk.
pub fn ack(id: &str) -> String {
    encode(&Ack { r#type: "ack", id })
}

/// A message to a chat; `id` only where v2 was agreed upon.
pub fn send(dialect: Dialect, chat: &str, text: &str, id: Option<&str>) -> String {
    match dialect {
        Dialect::P => encode(&SendP { r#type: "message", to: chat, content: text, id }),
        Dialect::N => encode(&SendN { r#type: "send", to: chat, text, id }),
    }
}

#[derive(Serialize)]
struct Auth<'a> {
    r#type: &'a str,
    token: &'a str,
}

#[derive(Serialize)]
struct Hello<'a> {
    r#type: &'a str,
    v: u64,
}

#[derive(Serialize)]
struct Ack<'a> {
    r#type: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
struct SendP<'a> {
    r#type: &'a str,
    to: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

#[derive(Serialize)]
struct SendN<'a> {
    r#type: &'a str,
    to: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

fn encode(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("texts are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(frame: &str) -> Incoming {
        match parse(frame) {
            Ok(Frame::Message(incoming)) => *incoming,
            other => panic!("{frame}: {other:?}"),
        }
    }

    #[test]
    fn a_message_of_dialect_p_may_leave_out_almost_everything() {
        let read = message_of(r#"{"type":"message","from":"49151@s.whatsapp.net","content":" hi ","x":[1]}"#);
        assert_eq!((read.chat.as_str(), read.content.as_str(), read.is_group), ("49151@s.whatsapp.net", "hi", false));
        assert_eq!((read.dialect, read.id, read.timestamp), (Dialect::P, None, 0));
        let read = message_of(r#"{"type":"message","from":"1","chat":"2-3@g.us","id":77,"media":["/a",null,7]}"#);
        assert!(read.is_group && read.is_addressed);
        assert_eq!((read.id.as_deref(), read.content.as_str()), (Some("77"), ""));
        assert_eq!(read.media, ["/a", "7"]);
        assert!(message_of(r#"{"type":"message","from":"120363@g.us","content":"of a group alone"}"#).is_group);
    }

    #[test]
    fn a_message_of_dialect_n_names_its_author_in_every_way_it_knows() {
        let direct = r#"{"type":"message","id":"A","sender":"9@lid","pn":"49@s.whatsapp.net","content":"x","timestamp":1764000000,"isGroup":false}"#;
        let read = message_of(direct);
        assert_eq!((read.author.len(), read.is_addressed, read.timestamp), (2, true, 1_764_000_000));
        let group = r#"{"type":"message","id":"A","sender":"1@g.us","pn":"","participant":"7@lid","content":"x","isGroup":true,"wasMentioned":false}"#;
        let read = message_of(group);
        assert_eq!((read.author, read.is_group, read.is_addressed), (vec!["7@lid".to_owned()], true, false));
        assert!(message_of(&group.replace("\"wasMentioned\":false", "\"isReplyToBot\":true")).is_addressed);
        assert!(message_of(&group.replace("\"wasMentioned\":false", "\"fromMe\":true")).is_own);
        assert_eq!(message_of(&direct.replace("1764000000", "1764000000123")).timestamp, 1_764_000_000);
    }

    #[test]
    fn other_frames_are_told_by_their_type() {
        let cases = [
            (r#"{"type":"status","status":"connected"}"#, Frame::Status(Some(Status::Connected))),
            (r#"{"type":"status","status":"logged_out"}"#, Frame::Status(Some(Status::LoggedOut))),
            (r#"{"type":"status","status":"loggedOut"}"#, Frame::Status(Some(Status::LoggedOut))),
            (r#"{"type":"status","status":"replaced","at":1}"#, Frame::Status(Some(Status::Replaced))),
            (r#"{"type":"status","status":"pairing"}"#, Frame::Status(None)),
            (r#"{"type":"qr","qr":"2@x"}"#, Frame::Qr),
            (r#"{"type":"sent","to":"1@lid"}"#, Frame::Sent { id: None }),
            (r#"{"type":"sent","id":"rp-1/0","wa_id":"B"}"#, Frame::Sent { id: Some("rp-1/0".into()) }),
            (r#"{"type":"sent","id":"a\nb"}"#, Frame::Sent { id: None }),
            (r#"{"type":"error","error":"boom"}"#, Frame::Error { id: None, failure: Failure::NotSent }),
            (
                r#"{"type":"error","id":"a","error":"unconfirmed"}"#,
                Frame::Error { id: Some("a".into()), failure: Failure::Unconfirmed },
            ),
            (r#"{"type":"error","error":"bad_to"}"#, Frame::Error { id: None, failure: Failure::Refused }),
            (r#"{"type":"hello","v":2,"dropped":0}"#, Frame::Hello { version: 2 }),
            (r#"{"type":"presence","chat":{"a":[]}}"#, Frame::Unknown),
        ];
        for (frame, want) in cases {
            assert_eq!(parse(frame), Ok(want), "{frame}");
        }
    }

    #[test]
    fn what_is_no_frame_says_so_and_nothing_panics() {
        let long = "9".repeat(ID_BYTES_MAX + 1);
        let deep = format!("{{\"type\":\"message\",\"from\":\"1\",\"x\":{}1{}}}", "[".repeat(80), "]".repeat(80));
        for frame in ["", "7", "[]", "null", "{", "{\"type\":7}", "{}", "{\"type\":\"\"}", &deep] {
            assert_eq!(parse(frame), Err(Malformed::NotAFrame), "{frame:.60}");
        }
        for frame in [
            r#"{"type":"message"}"#.to_owned(),
            r#"{"type":"message","from":" "}"#.to_owned(),
            r#"{"type":"message","sender":"1@g.us","isGroup":true}"#.to_owned(),
            r#"{"type":"message","from":"a\nb","content":"x"}"#.to_owned(),
            format!(r#"{{"type":"message","from":"{long}","content":"x"}}"#),
            format!(r#"{{"type":"message","from":"1","id":"{long}"}}"#),
        ] {
            assert!(matches!(parse(&frame), Err(Malformed::BadMessage { .. })), "{frame:.60}");
        }
    }

    #[test]
    fn the_id_of_a_message_is_what_its_bridge_wrote_even_where_the_message_cannot_be_read() {
        assert_eq!(message_of(r#"{"type":"message","from":"1","id":" A "}"#).id.as_deref(), Some(" A "));
        let long = "9".repeat(ID_BYTES_MAX + 1);
        for (id, want) in [
            (r#"" A ""#, Some(" A ")),
            (r#""a\nb""#, Some("a\nb")),
            (&format!("\"{long}\""), Some(long.as_str())),
            ("77", Some("77")),
            (r#"" ""#, None),
            ("null", None),
            ("{}", None),
        ] {
            let id_of = parse(&format!(r#"{{"type":"message","id":{id},"sender":"\u0007"}}"#));
            assert_eq!(id_of, Err(Malformed::BadMessage { id: want.map(str::to_owned) }), "{id}");
        }
    }

    #[test]
    fn what_we_say_is_exactly_this() {
        assert_eq!(auth("t\"k"), r#"{"type":"auth","token":"t\"k"}"#);
        assert_eq!(hello(), r#"{"type":"hello","v":2}"#);
        assert_eq!(ack("3E"), r#"{"type":"ack","id":"3E"}"#);
        assert_eq!(send(Dialect::P, "1", "a\nb", None), r#"{"type":"message","to":"1","content":"a\nb"}"#);
        assert_eq!(send(Dialect::N, "1@lid", "a", None), r#"{"type":"send","to":"1@lid","text":"a"}"#);
        assert_eq!(send(Dialect::N, "1", "a", Some("r/0")), r#"{"type":"send","to":"1","text":"a","id":"r/0"}"#);
    }

    #[test]
    fn every_error_of_the_specification_means_what_is_written_there() {
        let words = [
            ("not_connected", Failure::NotSent),
            ("busy", Failure::NotSent),
            ("a word of an older bridge", Failure::NotSent),
            ("unconfirmed", Failure::Unconfirmed),
            ("send_failed", Failure::Unconfirmed),
            ("refused", Failure::Refused),
            ("bad_frame", Failure::Refused),
            ("unknown_type", Failure::Refused),
            ("bad_id", Failure::Refused),
            ("bad_to", Failure::Refused),
            ("bad_text", Failure::Refused),
            ("bad_media", Failure::Refused),
        ];
        let page = include_str!("../../docs/whatsapp-bridge.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Answers")).expect("the section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let page: Vec<&str> = rows.flat_map(|cell| cell.split("`, `")).map(|word| word.trim_end_matches('`')).collect();
        assert_eq!(page.len(), words.len() - 1, "{page:?}");
        for word in &page {
            assert!(words.iter().any(|(known, _)| known == word), "{word}");
        }
        for (word, want) in words {
            let frame = format!(r#"{{"type":"error","error":"{word}"}}"#);
            assert_eq!(parse(&frame), Ok(Frame::Error { id: None, failure: want }), "{word}");
        }
    }

    #[test]
    fn long_texts_and_many_files_are_cut() {
        let text = "ü".repeat(INBOUND_BYTES_MAX);
        let media = vec!["\"/a\""; 100].join(",");
        let read = message_of(&format!(r#"{{"type":"message","from":"1","content":"{text}","media":[{media}]}}"#));
        assert!(read.is_cut && read.content.len() <= INBOUND_BYTES_MAX && read.media.len() == MEDIA_MAX);
        assert!(message_of(r#"{"type":"message","from":"1","content":"x","truncated":true}"#).is_cut);
    }
}
