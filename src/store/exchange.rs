//! What goes into the ledger and what comes out: folders in and what was found in them out, then [`Append`]s and
//! deliveries in, [`Effect`]s out.

use crate::base::id::TurnId;
use crate::base::message::{Delivery, Inbound, Job, Outbound, Reply};
use crate::base::sorted::SortedMap;
use crate::observe::event::{Event, TurnRecord};
use crate::store::record::OpenRecord;
use crate::store::recover::Reopened;
use crate::store::storage::Storage;
use crate::store::{journal_files, sessions};

/// What opening found.
#[derive(Debug, Default)]
pub struct Opening {
    /// Turns to go on with, oldest first.
    pub reopened: Vec<Reopened>,
    /// Turns that are closed and keep their credit, because their session lines are owed.
    pub held: Vec<Held>,
    /// By account, the position behind the last message received for it.
    pub next_positions: SortedMap<u64, u64>,
    /// Frames read.
    pub frames: u64,
    /// Turns whose session lines had to be appended again.
    pub lines_restored: usize,
    /// Damage, for a person.
    pub damage: Option<String>,
    /// What is to be said of the sessions.
    pub events: Vec<Event>,
}

/// A closed turn whose session lines are owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub inbound: Inbound,
    /// Bytes its answer holds until the lines are written.
    pub weight: usize,
}

/// What an earlier process left to the threads of this one.
#[derive(Debug, Default)]
pub struct Left {
    /// Turns to go on with, oldest first.
    pub reopened: Vec<Reopened>,
    /// Turns that are closed and keep their credit.
    pub held: Vec<Held>,
}

/// The folders of a channel.
pub struct Folders {
    /// `journal/<channel>`.
    pub journal: Box<dyn Storage>,
    /// `sessions`.
    pub sessions: Box<dyn Storage>,
    /// `dead`.
    pub dead: Box<dyn Storage>,
    /// `spool/<channel>`.
    pub spool: Box<dyn Storage>,
}

/// How large files become, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// A journal file; a multiple of its blocks.
    pub journal: u64,
    /// A session file, before it is put away.
    pub session: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { journal: journal_files::FILE_BYTES, session: sessions::FILE_BYTES_MAX }
    }
}

/// What is asked of the writer by the dispatcher and the turn workers.
#[derive(Debug)]
pub enum Append {
    /// A message to make durable.
    Accept(Inbound),
    /// A message to make durable with its refusal: too many of its chat are open.
    Refuse {
        /// The message.
        inbound: Inbound,
        /// The refusal.
        reply: Box<Reply>,
        /// Whether it is sent; else the turn is closed at once.
        told: bool,
    },
    /// An attempt at an answer begins; `lane` is released when that is in the page cache, from the second attempt on when it is
    /// flushed.
    Begin {
        /// The turn.
        turn: TurnId,
        /// Who waits.
        lane: usize,
    },
    /// The attempt was given up because we are stopping; it does not count.
    Abandon {
        /// The turn.
        turn: TurnId,
    },
    /// An answer to make durable, then to send.
    Reply(Box<Reply>),
    /// A turn that was given up is taken up again.
    Readmit(Box<Readmission>),
}

/// A turn that a person wants to be taken up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readmission {
    /// Its file in the spool, which also tells copies of this wish apart.
    pub file: String,
    /// The message. Of a turn without an answer a new one begins, which is why it has a new name.
    pub inbound: Inbound,
    /// A turn with an answer, of which the rest is to be sent.
    pub answered: Option<Box<OpenRecord>>,
}

/// One item of a batch.
#[derive(Debug)]
pub enum Input {
    /// From the dispatcher or a turn worker.
    Append(Append),
    /// From a sender.
    Delivery(Delivery),
}

/// "That is durable", to the dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The message is on disk and may be worked on.
    Accepted(Job),
    /// The message and its refusal are on disk.
    Refused(Inbound),
    /// A copy of a message received before.
    Duplicate(Inbound),
    /// The answer is on disk, so the next message of its session may be worked on.
    Replied {
        /// The turn.
        turn: TurnId,
        /// Bytes the reply holds until it is delivered.
        weight: usize,
    },
    /// The turn is closed, perhaps not on the medium yet: its chat may go on, its credit is not back.
    Closed(TurnId),
    /// The turn is closed on disk, and its session lines are written.
    Delivered(TurnId),
    /// Somebody wants this turn to be taken up again. Answered by exactly one `Append::Readmit`.
    Readmission(Box<Readmission>),
}

/// What follows from a batch.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell the dispatcher.
    Notice(Notice),
    /// Hand to a sender.
    Outbound(Outbound),
    /// Release a lane.
    Answer(usize),
    /// A turn is closed: log and count it.
    Closed(Box<TurnRecord>),
    /// Log this.
    Event(Event),
}

impl Effect {
    /// What is to be logged, if that is all.
    pub fn event(self) -> Option<Event> {
        match self {
            Effect::Event(event) => Some(event),
            _ => None,
        }
    }
}
