//! What becomes of a message that a bridge hands over: passed over, with a reason, or a text for the model. Pure; the
//! list of who is answered is in `whatsapp_identity.rs`.
//!
//! Our own messages are passed over: those that say so, and those that a bridge echoes. An echo is a text that we sent to
//! the same chat within [`ECHO_WITHIN`]; short texts are not taken for one, because people repeat short words.

use std::collections::VecDeque;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::base::clock::{Mono, Wall};
use crate::base::id::{ChannelId, TurnId};
use crate::base::message::{Chat, INBOUND_BYTES_MAX, Inbound};
use crate::base::sorted::SortedMap;
use crate::base::text;
use crate::channel::whatsapp_frame::{Dialect, Incoming};
use crate::channel::whatsapp_identity::{Id, Identities, Refusal};

/// So long after we sent a text, the same text in the same chat is an echo.
const ECHO_WITHIN: Duration = Duration::from_secs(60);

/// Shorter texts, in characters, are never taken for an echo.
const ECHO_CHARS_MIN: usize = 24;

/// Texts that are remembered for that; the oldest is forgotten.
const ECHOES_MAX: usize = 64;

/// Stands behind a text that is not all of it.
const CUT: &str = "[the message was longer and is cut here]";

/// Why a message or a frame is passed over. The names are those of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// We wrote it.
    Own,
    /// It is an echo of what we wrote.
    Echo,
    /// It is in a group and not for us.
    NotAddressed,
    /// It has neither text nor files.
    Empty,
    /// Its author is not on the list.
    Denied(Refusal),
    /// It is of another dialect than the link.
    OtherDialect,
    /// It came after the order to stop.
    Stopping,
    /// It came while we are full of messages that are not on disk yet.
    Overflow,
    /// It is a frame that could not be understood.
    Malformed,
    /// It is a frame of a type that we do not know.
    UnknownType,
    /// It is a frame of bytes.
    Binary,
    /// It is an answer to nothing that was asked.
    Unmatched,
}

impl Passed {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Passed::Own => "own",
            Passed::Echo => "echo",
            Passed::NotAddressed => "not_addressed",
            Passed::Empty => "empty",
            Passed::Denied(refusal) => refusal.name(),
            Passed::OtherDialect => "other_dialect",
            Passed::Stopping => "stopping",
            Passed::Overflow => "overflow",
            Passed::Malformed => "malformed",
            Passed::UnknownType => "unknown_type",
            Passed::Binary => "binary",
            Passed::Unmatched => "unmatched",
        }
    }
}

/// Decides about messages.
#[derive(Clone, Debug)]
pub struct Intake {
    identities: Identities,
    media: Option<PathBuf>,
    echoes: VecDeque<(String, String, Mono)>,
    passed: SortedMap<&'static str, u64>,
}

impl Intake {
    /// `media` is the folder that files may lie in.
    pub fn new(identities: Identities, media: Option<PathBuf>) -> Intake {
        Intake { identities, media, echoes: VecDeque::new(), passed: SortedMap::new() }
    }

    /// Who is answered.
    pub fn identities(&mut self) -> &mut Identities {
        &mut self.identities
    }

    /// We are about to send this.
    pub fn on_sending(&mut self, chat: &str, text: &str, now: Mono) {
        if text.chars().count() < ECHO_CHARS_MIN {
            return;
        }
        if self.echoes.len() >= ECHOES_MAX {
            self.echoes.pop_front();
        }
        self.echoes.push_back((chat.to_owned(), text.trim().to_owned(), now));
    }

    /// The text for the model, or why there is none.
    pub fn judge(&mut self, incoming: &Incoming, dialect: Option<Dialect>, now: Mono) -> Result<String, Passed> {
        if dialect != Some(incoming.dialect) {
            return Err(Passed::OtherDialect);
        }
        if incoming.is_own {
            return Err(Passed::Own);
        }
        self.echoes.retain(|(_, _, at)| now < at.after(ECHO_WITHIN));
        // Bridges of N hand over none of our own messages, so there somebody repeats our words.
        let may_echo = incoming.dialect == Dialect::P;
        if may_echo && self.echoes.iter().any(|(chat, text, _)| *chat == incoming.chat && *text == incoming.content) {
            return Err(Passed::Echo);
        }
        // What people of a group say among themselves is no news to the operator.
        if !incoming.is_addressed {
            return Err(Passed::NotAddressed);
        }
        let is_whole_group = incoming.dialect == Dialect::P;
        self.identities
            .check(&incoming.author, &incoming.chat, incoming.is_group, is_whole_group)
            .map_err(Passed::Denied)?;
        let text = self.text(incoming);
        if text.is_empty() { Err(Passed::Empty) } else { Ok(text) }
    }

    /// Files are told to the model as lines behind the text, whole ones. A path is only told if it lies in the configured folder. A text
    /// that does not fit says so: half a text must not look like a whole one.
    fn text(&self, incoming: &Incoming) -> String {
        let files = incoming.media.iter().map(|path| match self.may_be_told(path) {
            true => format!("[file: {}]", text::terminal_safe(path)),
            false => "[a file that is not available]".to_owned(),
        });
        let mut behind: Vec<String> = files.collect();
        let lines_bytes = |lines: &[String]| lines.iter().map(|line| line.len() + 1).sum::<usize>();
        let room = INBOUND_BYTES_MAX.saturating_sub(lines_bytes(&behind));
        if incoming.is_cut || incoming.content.len() > room {
            behind.insert(0, CUT.to_owned());
        }
        let room = INBOUND_BYTES_MAX.saturating_sub(lines_bytes(&behind));
        let content = text::truncate_bytes(&incoming.content, room);
        let content = (!content.is_empty()).then(|| content.to_owned());
        content.into_iter().chain(behind).collect::<Vec<_>>().join("\n")
    }

    fn may_be_told(&self, path: &str) -> bool {
        let Some(folder) = &self.media else { return false };
        let path = Path::new(path);
        let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        path.is_absolute() && is_plain && path.starts_with(folder) && path != folder
    }

    /// Counts what is passed over.
    pub fn count(&mut self, passed: Passed) {
        *self.passed.entry(passed.name()).or_default() += 1;
    }

    /// How much was passed over, by reason.
    pub fn passed(&self) -> &SortedMap<&'static str, u64> {
        &self.passed
    }
}

/// The message as it goes to the disk.
pub fn inbound(incoming: Incoming, text: String, turn: TurnId, received: Wall, is_trusted: bool) -> Inbound {
    let sender = incoming.author.into_iter().next().unwrap_or_default();
    let waited = Wall(incoming.timestamp.saturating_mul(1000)).until(received);
    Inbound {
        turn,
        channel: ChannelId::WhatsApp,
        account: 0,
        origin: None,
        // Without an id every copy is a message of its own.
        key: match &incoming.id {
            // The author chose it, so in a group it names a message only together with the author.
            Some(id) if incoming.is_group => format!("wa:{}:{}:{id}", incoming.chat, Id::parse(&sender).name()),
            Some(id) => format!("wa:{}:{id}", incoming.chat),
            None => format!("wa:{}::{turn}", incoming.chat),
        },
        chat: Chat { id: incoming.chat, thread: None },
        sender,
        text,
        received,
        waited: (incoming.timestamp > 0 && is_trusted).then_some(waited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::whatsapp_frame::{Frame, parse};

    fn intake(entries: &[&str]) -> Intake {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Intake::new(Identities::new(&entries), Some(PathBuf::from("/media")))
    }

    fn incoming(frame: &str) -> Incoming {
        match parse(frame) {
            Ok(Frame::Message(incoming)) => *incoming,
            other => panic!("{frame}: {other:?}"),
        }
    }

    #[track_caller]
    fn check(entries: &[&str], frame: &str, want: Result<&str, Passed>) {
        let message = incoming(frame);
        let got = intake(entries).judge(&message, Some(message.dialect), Mono(0));
        assert_eq!(got.as_deref().map_err(|passed| *passed), want, "{frame}");
    }

    #[test]
    fn groups_are_answered_when_addressed_and_listed() {
        let group = |flag: &str| {
            format!(
                r#"{{"type":"message","sender":"9@g.us","participant":"7@lid","content":"x","isGroup":true,{flag}}}"#
            )
        };
        check(&["9@g.us"], &group("\"wasMentioned\":true"), Ok("x"));
        check(&["7@lid"], &group("\"isReplyToBot\":true"), Ok("x"));
        check(&["7@lid"], &group("\"wasMentioned\":false"), Err(Passed::NotAddressed));
        check(&["1@lid"], &group("\"wasMentioned\":true"), Err(Passed::Denied(Refusal::NotListed)));
        check(&["*"], &group("\"fromMe\":true"), Err(Passed::Own));
        let plain = r#"{"type":"message","from":"49","chat":"9@g.us","content":"x"}"#;
        check(&["*"], plain, Err(Passed::Denied(Refusal::GroupNotListed)));
        check(&["9@g.us"], plain, Ok("x"));
        check(&[], plain, Err(Passed::Denied(Refusal::EmptyList)));
    }

    #[test]
    fn files_are_told_and_only_those_in_the_folder_by_their_path() {
        let with = |media: &str| format!(r#"{{"type":"message","from":"1","media":[{media}]}}"#);
        check(&["1"], &with(""), Err(Passed::Empty));
        check(&["1"], &with("\"/media/a b.jpg\""), Ok("[file: /media/a b.jpg]"));
        for path in ["/etc/passwd", "/media/../etc/passwd", "/media", "media/a", "/mediaa/x", "https://x/media/a"] {
            check(&["1"], &with(&format!("\"{path}\"")), Ok("[a file that is not available]"));
        }
        let long = "x".repeat(INBOUND_BYTES_MAX);
        for content in [&long, &long[9..], &long[99..]] {
            let both = format!(r#"{{"type":"message","from":"1","content":"{content}","media":["/media/a b.jpg"]}}"#);
            let text = intake(&["1"]).judge(&incoming(&both), Some(Dialect::P), Mono(0)).expect("for us");
            assert!(text.len() <= INBOUND_BYTES_MAX && text.ends_with("\n[file: /media/a b.jpg]"));
            assert_eq!(text.contains(CUT), content.len() > long.len() - 99);
        }
        check(&["1"], r#"{"type":"message","from":"1","content":"x","truncated":true}"#, Ok(&format!("x\n{CUT}")));
        let both = r#"{"type":"message","from":"1","content":"look","media":["/media/a\u001b"]}"#;
        check(&["1"], both, Ok("look\n[file: /media/a\\u{1b}]"));
    }

    #[test]
    fn an_id_of_a_group_is_its_authors() {
        let key = |author: &str, is_group: bool| {
            let chat = if is_group { "9@g.us" } else { author };
            let frame = format!(
                r#"{{"type":"message","id":"A","sender":"{chat}","participant":"{author}","content":"x","isGroup":{is_group}}}"#
            );
            let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
            inbound(incoming(&frame), "x".to_owned(), turn, Wall(0), false).key
        };
        assert_eq!(key("7:2@lid", true), "wa:9@g.us:7@lid:A");
        assert_ne!(key("7@lid", true), key("8@lid", true));
        assert_eq!(key("7:2@lid", true), key("7@lid", true), "a device is nobody else");
        assert_eq!(key("7@lid", false), "wa:7@lid:A");
    }

    #[test]
    fn an_echo_is_passed_over_and_a_short_word_is_not_one() {
        let mut intake = intake(&["*"]);
        let say = |text: &str| incoming(&format!(r#"{{"type":"message","from":"1","content":"{text}"}}"#));
        let long = "this is what we have just said";
        intake.on_sending("1", long, Mono(0));
        intake.on_sending("1", "yes", Mono(0));
        assert_eq!(intake.judge(&say(long), Some(Dialect::P), Mono(5)), Err(Passed::Echo));
        assert_eq!(intake.judge(&say("yes"), Some(Dialect::P), Mono(5)).as_deref(), Ok("yes"));
        assert_eq!(intake.judge(&say(long), Some(Dialect::P), Mono(60_000)).as_deref(), Ok(long));
        assert_eq!(intake.judge(&say("yes"), Some(Dialect::N), Mono(5)), Err(Passed::OtherDialect));
        (0..ECHOES_MAX + 9).for_each(|_| intake.on_sending("1", long, Mono(60_000)));
        assert_eq!(intake.echoes.len(), ECHOES_MAX);
    }
}
