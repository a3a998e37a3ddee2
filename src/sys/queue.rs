//! [`push`]: for queues that point backwards and therefore must never make anyone wait.

use crossbeam_channel::{Sender, TrySendError};

/// Puts an item into a queue that is long enough by construction. A receiver that has left does not want it any more.
///
/// # Panics
/// When the queue is full: its bound is wrong, which is a bug, and a restart recovers from it.
pub fn push<T>(queue: &Sender<T>, item: T) {
    match queue.try_send(item) {
        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        Err(TrySendError::Full(_)) => panic!("a queue that cannot be full is full ({} items)", queue.len()),
    }
}
