//! [`Handover`]: messages of a bridge on their way to the disk. What does not fit into the inbox waits in [`WAITING_MAX`]
//! places. When those are taken, the link is not read, unless a reply waits for its answer there: then what comes beside
//! it is passed over, and a v2 bridge will send it again.

use std::collections::{HashMap, VecDeque};

use crate::base::message::Inbound;
use crate::sys::queue::{Receiver, Sender, TrySendError};

/// Messages that wait for room in the inbox.
pub const WAITING_MAX: usize = 64;

/// Messages in the inbox or on their way to the disk; fewer than the queue of receipts holds.
const HANDED_OVER_MAX: usize = 64;

/// Messages between a link and the disk, each with the id to acknowledge, if its bridge wants that.
pub struct Handover {
    inbox: Sender<Inbound>,
    receipts: Receiver<u64>,
    waiting: VecDeque<(Inbound, Option<String>)>,
    handed_over: HashMap<u64, Option<String>>,
}

impl Handover {
    /// Nothing is on its way.
    pub fn new(inbox: Sender<Inbound>, receipts: Receiver<u64>) -> Handover {
        Handover { inbox, receipts, waiting: VecDeque::new(), handed_over: HashMap::new() }
    }

    /// A message was read.
    pub fn push(&mut self, inbound: Inbound, id: Option<String>) {
        self.waiting.push_back((inbound, id));
    }

    /// Whether another message would be one too many.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Whether a receipt may come any moment.
    pub fn is_busy(&self) -> bool {
        !self.handed_over.is_empty()
    }

    /// Hands over what there is room for, without waiting.
    pub fn pump(&mut self) {
        while self.handed_over.len() < HANDED_OVER_MAX {
            let Some((inbound, id)) = self.waiting.pop_front() else { return };
            let origin = inbound.origin.unwrap_or_default();
            match self.inbox.try_send(inbound) {
                Ok(()) => drop(self.handed_over.insert(origin, id)),
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
