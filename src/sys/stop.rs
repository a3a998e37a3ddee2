//! Shutdown as a closed queue: dropping the [`Stopper`] wakes everyone who waits on a [`Stop`].
//! [`Stop::wait`] is the program's only sleep, so nothing sleeps through a shutdown.

use std::time::Duration;

use crate::sys::queue::{Item, Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// A value that is never sent; the queue only ever closes.
#[derive(Debug)]
pub enum Never {}

/// Held by `main`. Dropping it is the order to stop.
#[derive(Debug)]
pub struct Stopper(#[expect(dead_code, reason = "held only to be dropped")] Sender<Never>);

/// Held by everyone who has to notice.
#[derive(Clone, Debug)]
pub struct Stop(Receiver<Never>);

/// A connected pair.
pub fn pair() -> (Stopper, Stop) {
    let (sender, receiver) = bounded(1);
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    /// Whether the order was given.
    pub fn requested(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Waits for `delay` or the order, whichever comes first. `true` means that we are stopping.
    pub fn wait(&self, delay: Duration) -> bool {
        matches!(self.0.recv_timeout(delay), Err(RecvTimeoutError::Disconnected))
    }

    /// For `select!`: becomes ready when the order is given.
    pub fn receiver(&self) -> &crossbeam_channel::Receiver<Item> {
        self.0.raw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_stopper_ends_a_wait() {
        let (stopper, stop) = pair();
        assert!(!stop.requested());
        assert!(!stop.wait(Duration::from_millis(1)));
        drop(stopper);
        assert!(stop.requested());
        assert!(stop.wait(Duration::from_secs(3600)));
    }
}
