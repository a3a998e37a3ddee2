//! What goes into the ledger and what comes out: [`Append`]s and deliveries in, [`Effect`]s out.

use crate::base::id::TurnId;
use crate::base::message::{Delivery, Inbound, Job, Outbound, Reply};
use crate::observe::event::{Event, TurnRecord};

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
    /// An attempt at an answer begins; `lane` is released when that is in the page cache.
    Begin {
        /// The turn.
        turn: TurnId,
        /// Who waits, if anyone does.
        lane: Option<usize>,
    },
    /// The attempt was given up because we are stopping; it does not count.
    Abandon {
        /// The turn.
        turn: TurnId,
    },
    /// An answer to make durable, then to send.
    Reply(Box<Reply>),
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
    /// The turn is closed on disk.
    Delivered(TurnId),
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
