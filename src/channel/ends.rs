//! What a channel is given: the ends of the queues that its reader and its senders hold. What it owes in return: it
//! acknowledges a message upstream only after its receipt, and says before and after every send that it happens.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::base::id::TurnId;
use crate::base::message::{Delivery, Inbound, Outbound, Typing};
use crate::channel::outbound::{Attempt, Report};
use crate::sys::heartbeat::Heart;
use crate::sys::queue::{Receiver, Sender};
use crate::sys::stop::Stop;

/// The reader's ends of the queues.
pub struct ReaderEnds {
    /// To the dispatcher.
    pub inbox: Sender<Inbound>,
    /// From the dispatcher: this message is on disk.
    pub receipts: Receiver<u64>,
    /// How many messages there is room for.
    pub room: Arc<AtomicUsize>,
    /// Look again at what may have been mended.
    pub reload: Receiver<()>,
    /// The order to stop.
    pub stop: Stop,
    /// How it shows that it lives.
    pub heart: Heart,
}

/// A sender's ends of the queues.
pub struct SenderEnds {
    /// From the writer: replies that are on disk.
    pub outbox: Receiver<Outbound>,
    /// From the dispatcher: somebody is being answered, or is not any more.
    pub typing: Receiver<Typing>,
    /// To the writer.
    pub deliveries: Sender<Delivery>,
    /// The writer's answer to a `Sending`.
    pub lane: Receiver<()>,
    /// Which lane that is.
    pub lane_number: usize,
    /// How it shows that it lives.
    pub heart: Heart,
}

/// The writer has left; there is nobody to promise anything to.
#[derive(Clone, Copy, Debug)]
pub struct WriterGone;

impl SenderEnds {
    /// Says that an attempt begins, and waits until that is in the page cache: a process that dies within the send leaves
    /// a trace.
    ///
    /// # Errors
    /// When the writer has left.
    pub fn announce(&self, attempt: &Attempt) -> Result<(), WriterGone> {
        let Attempt { turn, part, resends, .. } = *attempt;
        self.tell(Delivery::Sending { turn, part, resends, lane: self.lane_number })?;
        self.lane.recv().map_err(|_| WriterGone)
    }

    /// Says what came of a turn's attempt.
    ///
    /// # Errors
    /// When the writer has left.
    pub fn record(&self, turn: TurnId, reports: impl IntoIterator<Item = Report>) -> Result<(), WriterGone> {
        reports.into_iter().try_for_each(|report| {
            self.tell(match report {
                Report::Sent { part, message_id } => Delivery::Sent { turn, part, message_id },
                Report::Unsent { part, ambiguous, resends } => Delivery::Unsent { turn, part, ambiguous, resends },
                Report::Close { outcome, why } => Delivery::Close { turn, outcome, why },
            })
        })
    }

    fn tell(&self, delivery: Delivery) -> Result<(), WriterGone> {
        self.deliveries.send(delivery).map_err(|_| WriterGone)
    }
}
