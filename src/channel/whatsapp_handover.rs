//! [`Handover`]: messages of a bridge on their way to the disk. What does not fit into the inbox waits here. From
//! [`WAITING_MAX`] messages on the link is not read, so that they wait at the bridge and in the network, unless a reply waits for its
//! answer there: a turn is over only with it, so without it there would never be room again. What comes beside that answer is kept up to
//! [`BESIDE_MAX`] messages or [`BESIDE_BYTES_MAX`]. What is more ends a link with v2, whose bridge sends it again on the next; from
//! others it is lost, counted, and told at once.

use std::collections::{HashMap, VecDeque};

use crate::base::message::Inbound;
use crate::sys::queue::{Receiver, Sender, TrySendError};

/// Messages that wait for room in the inbox.
pub const WAITING_MAX: usize = 64;

/// Messages that are kept while an answer is waited for.
pub const BESIDE_MAX: usize = 1024;
/// Bytes of their texts.
pub const BESIDE_BYTES_MAX: usize = 8 << 20;

/// Messages in the inbox or on their way to the disk; fewer than the queue of receipts holds.
const HANDED_OVER_MAX: usize = 64;

/// Messages between a link and the disk, each with the id to acknowledge, if its bridge wants that.
pub struct Handover {
    inbox: Sender<Inbound>,
    receipts: Receiver<u64>,
    waiting: VecDeque<(Inbound, Option<String>)>,
    waiting_bytes: usize,
    handed_over: HashMap<u64, Option<String>>,
}

impl Handover {
    /// Nothing is on its way.
    pub fn new(inbox: Sender<Inbound>, receipts: Receiver<u64>) -> Handover {
        Handover { inbox, receipts, waiting: VecDeque::new(), waiting_bytes: 0, handed_over: HashMap::new() }
    }

    /// A message was read.
    pub fn push(&mut self, inbound: Inbound, id: Option<String>) {
        self.waiting_bytes += inbound.text.len();
        self.waiting.push_back((inbound, id));
    }

    /// Whether the link is not to be read, unless an answer is waited for.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Whether another message would be one too many in any case.
    pub fn is_over(&self) -> bool {
        self.waiting.len() >= BESIDE_MAX || self.waiting_bytes >= BESIDE_BYTES_MAX
    }

    /// Whether a receipt may come any moment.
    pub fn is_busy(&self) -> bool {
        !self.handed_over.is_empty()
    }

    /// Hands over what there is room for, without waiting.
    pub fn pump(&mut self) {
        while self.handed_over.len() < HANDED_OVER_MAX {
            let Some((inbound, id)) = self.waiting.pop_front() else { return };
            let (origin, bytes) = (inbound.origin.unwrap_or_default(), inbound.text.len());
            match self.inbox.try_send(inbound) {
                Ok(()) => {
                    self.waiting_bytes -= bytes;
                    self.handed_over.insert(origin, id);
                }
                Err(TrySendError::Full(inbound) | TrySendError::Disconnected(inbound)) => {
                    self.waiting.push_front((inbound, id));
                    return;
                }
            }
        }
    }

    /// The ids of messages that are on disk since this was last asked.
    pub fn on_disk(&mut self) -> Vec<String> {
        self.receipts.try_iter().filter_map(|origin| self.handed_over.remove(&origin).flatten()).collect()
    }

    /// The link is gone over which they would be acknowledged.
    pub fn forget_ids(&mut self) {
        self.handed_over.values_mut().chain(self.waiting.iter_mut().map(|(_, id)| id)).for_each(|id| *id = None);
    }
}
