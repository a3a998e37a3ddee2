//! What a channel is given: the ends of the queues that its reader and its senders hold. What it owes in return: it
//! acknowledges a message upstream only after its receipt, and says before and after every send that it happens.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossbeam_channel::{Receiver, Sender};

use crate::base::id::TurnId;
use crate::base::message::{Chat, Delivery, Inbound, Outbound};
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
}

/// A sender's ends of the queues.
pub struct SenderEnds {
    /// From the writer: replies that are on disk.
    pub outbox: Receiver<Outbound>,
    /// From the dispatcher: somebody is being answered.
    pub typing: Receiver<(TurnId, Chat)>,
    /// To the writer.
    pub deliveries: Sender<Delivery>,
    /// The writer's answer to a `Sending`.
    pub lane: Receiver<()>,
    /// Which lane that is.
    pub lane_number: usize,
}
