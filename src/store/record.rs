//! The records inside frames. Each is one JSON object with its kind in `t`; applying a record twice is the same as
//! applying it once, so recovery may always be repeated.

use serde::{Deserialize, Serialize};

use crate::base::id::{ChannelId, TurnId};
use crate::base::message::{Outcome, Summary};
use crate::observe::telemetry::Delta;

/// What happened. Short names, because every turn writes six of these to an SD card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Record {
    /// A message was received. Also says that the channel may forget everything up to it.
    Rx(Received),
    /// An attempt at an answer begins, or a stop took the last one back.
    Try(Attempts),
    /// The answer: the commit point. From here on the provider is not asked again.
    Rep(Answer),
    /// A part is about to be sent.
    Snd(Sending),
    /// The part was certainly not sent.
    Uns(Unsent),
    /// The part was confirmed.
    Ack(Confirmed),
    /// The turn is closed.
    Fin(Closed),
    /// A process started.
    Boot(Start),
    /// A turn that was given up is open again.
    Opn(Box<Readmitted>),
    /// Everything that was open when the journal changed files; always the first record of a file.
    Ckp(Box<Checkpoint>),
}

/// A turn that is open again, because a person wants its answer to be sent after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readmitted {
    /// The same for every copy of this wish.
    pub key: String,
    /// The turn.
    pub open: OpenRecord,
}

/// How often an answer was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The turn.
    pub id: TurnId,
    /// Attempts so far.
    pub n: u32,
}

/// A part that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// The turn.
    pub id: TurnId,
    /// The part.
    pub i: u16,
    /// How often this part is sent again after an ambiguous end.
    pub k: u8,
}

/// A part that was certainly not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// The turn.
    pub id: TurnId,
    /// The part.
    pub i: u16,
}

/// A part that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The turn.
    pub id: TurnId,
    /// The part.
    pub i: u16,
    /// The channel's id of the sent message.
    pub mid: i64,
}

/// A turn that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The turn.
    pub id: TurnId,
    /// How.
    pub outcome: Outcome,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub ts: u64,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The turn.
    pub id: TurnId,
    /// The same for every copy of the message.
    pub key: String,
    /// Our account; Telegram's bot id.
    pub acct: u64,
    /// The channel's position; Telegram's update id. Missing: it did not come through the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upd: Option<u64>,
    /// The channel.
    pub ch: ChannelId,
    /// The chat.
    pub chat: String,
    /// The topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<i64>,
    /// The person.
    pub from: String,
    /// The text.
    pub text: String,
    /// Milliseconds since 1970.
    pub ts: u64,
    /// Seconds it had waited before we read it; missing: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<u64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The turn.
    pub id: TurnId,
    /// The boot of the kernel it was written in.
    pub boot: String,
    /// The user's line, if it is not the received text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The assistant's line.
    pub asst: String,
    /// What is sent, if it is more than one part or not the assistant's line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Facts for log and telemetry.
    pub sum: Summary,
    /// Milliseconds since 1970.
    pub ts: u64,
    /// The last ordinal of its session then: its lines have higher ones. Missing: unknown, or from an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// One start of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Milliseconds since 1970.
    pub ts: u64,
    /// The boot of the kernel.
    pub boot: String,
}

/// A message that was open at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    /// The message.
    pub rx: Received,
    /// Attempts begun.
    pub n: u32,
    /// The answer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rep: Option<Answer>,
    /// Whether the session lines of the answer may not be on disk.
    pub owed: bool,
    /// Parts begun.
    pub snd: u16,
    /// Parts confirmed.
    pub ack: u16,
    /// Resends of the current part.
    pub k: u8,
    /// How it was closed, if only the session lines are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fin: Option<Outcome>,
    /// Whether it was given up before, and told and counted then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Everything that was open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Next position by account.
    pub next: Vec<(u64, u64)>,
    /// Open messages, oldest first.
    pub open: Vec<OpenRecord>,
    /// The dedupe ring, oldest first: 16 hexadecimal digits a key.
    pub ring: String,
    /// The last starts.
    pub starts: Vec<Start>,
    /// The name of this journal, for counters.
    #[serde(default)]
    pub name: String,
    /// Turns closed since the journal was made.
    #[serde(default)]
    pub closed: u64,
    /// What was counted of them and is not in the counters' file.
    #[serde(default)]
    pub uncounted: Delta,
}

impl Record {
    /// The kind of the record on a line, also of one that this version does not know.
    pub fn kind(line: &[u8]) -> Option<&str> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            t: &'a str,
        }
        serde_json::from_slice::<Kind<'_>>(line).ok().map(|kind| kind.t)
    }

    /// Whether a line that cannot be read need not be: its kind is none of ours.
    pub fn is_of_newer_version(line: &[u8]) -> bool {
        const KINDS: [&str; 10] = ["rx", "try", "rep", "snd", "uns", "ack", "fin", "boot", "opn", "ckp"];
        Record::kind(line).is_some_and(|kind| !KINDS.contains(&kind))
    }

    /// The line, with its newline.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("records are text and numbers");
        line.push('\n');
        line
    }

    /// The record of a line without its newline; `None` for a kind that this version does not know. (By hand, because
    /// what is derived for a tagged enum keeps every record in memory twice and makes the program larger by a fiftieth.)
    pub fn parse(line: &[u8]) -> Option<Record> {
        fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
            serde_json::from_slice(line).ok()
        }
        match Record::kind(line)? {
            "rx" => read(line).map(Record::Rx),
            "try" => read(line).map(Record::Try),
            "rep" => read(line).map(Record::Rep),
            "snd" => read(line).map(Record::Snd),
            "uns" => read(line).map(Record::Uns),
            "ack" => read(line).map(Record::Ack),
            "fin" => read(line).map(Record::Fin),
            "boot" => read(line).map(Record::Boot),
            "opn" => read(line).map(Record::Opn),
            "ckp" => read(line).map(Record::Ckp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_through_their_lines() {
        let id = TurnId::parse("rp-00000000000000000000000009").expect("an id");
        let rx = Received {
            id,
            key: "tg:1:2:3".into(),
            acct: 1,
            upd: Some(7),
            ch: ChannelId::Telegram,
            chat: "2".into(),
            thread: None,
            from: "5".into(),
            text: "line\nbreak \u{1f600}".into(),
            ts: 9,
            w: Some(7),
        };
        let rep = Answer {
            id,
            boot: "b".into(),
            user: None,
            asst: "a".into(),
            parts: vec![],
            sum: Summary::default(),
            ts: 1,
            n: Some(4),
        };
        let open = OpenRecord {
            rx: rx.clone(),
            n: 1,
            rep: Some(rep.clone()),
            owed: true,
            snd: 1,
            ack: 0,
            k: 0,
            fin: None,
            again: false,
        };
        let records = [
            Record::Rx(rx),
            Record::Try(Attempts { id, n: 2 }),
            Record::Rep(rep),
            Record::Snd(Sending { id, i: 0, k: 1 }),
            Record::Ack(Confirmed { id, i: 0, mid: -4 }),
            Record::Fin(Closed { id, outcome: Outcome::SentAfterRetry, ts: 3 }),
            Record::Opn(Box::new(Readmitted { key: "k".into(), open: open.clone() })),
            Record::Ckp(Box::new(Checkpoint {
                next: vec![(1, 8)],
                open: vec![open],
                ring: "00".into(),
                ..Checkpoint::default()
            })),
        ];
        for record in records {
            let line = record.to_line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Record::parse(line.trim_end().as_bytes()), Some(record));
        }
    }

    #[test]
    fn only_a_kind_of_a_newer_version_need_not_be_read() {
        for (line, newer) in
            [(r#"{"t":"x","more":1}"#, true), (r#"{"t":"ack","id":7}"#, false), ("{", false), ("{}", false)]
        {
            assert_eq!(
                (Record::parse(line.as_bytes()), Record::is_of_newer_version(line.as_bytes())),
                (None, newer),
                "{line}"
            );
        }
    }
}
