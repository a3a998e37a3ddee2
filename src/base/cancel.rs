//! [`Cancel`]: one flag, and the way to wake whatever waits while it is set.
//!
//! A provider call, a long poll and a child process all wait on something that a flag cannot interrupt. Whoever
//! starts such a wait leaves a wake-up here for as long as it lasts; cancelling sets the flag, then calls it. So
//! `/stop`, deadlines and shutdown share one path. Names no thread, clock or socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Wake = Box<dyn Fn() + Send>;

/// Shared between the one who works and the one who may end it. Cloning shares.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    wake: Mutex<Option<Wake>>,
}

impl Cancel {
    /// Not cancelled, nothing to wake.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Whether the work should end.
    pub fn requested(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Ends the work, now and for every later wait until [`Cancel::reset`].
    pub fn cancel(&self) {
        let wake = self.0.wake.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.cancelled.store(true, Ordering::SeqCst);
        if let Some(wake) = wake.as_ref() {
            wake();
        }
    }

    /// Makes the flag usable for the next piece of work.
    pub fn reset(&self) {
        self.0.cancelled.store(false, Ordering::SeqCst);
    }

    /// Runs `work` with `wake` in place. A cancel that came before is noticed: `wake` is then called at once, so
    /// `work` finds its wait already ended.
    pub fn while_waiting<T>(&self, wake: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
        {
            let mut slot = self.0.wake.lock().unwrap_or_else(PoisonError::into_inner);
            if self.requested() {
                wake();
            }
            *slot = Some(Box::new(wake));
        }
        let result = work();
        *self.0.wake.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counter() -> (Arc<AtomicU32>, impl Fn() + Send + 'static) {
        let count = Arc::new(AtomicU32::new(0));
        let inner = Arc::clone(&count);
        (count, move || {
            inner.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn cancelling_wakes_the_wait_under_way() {
        let cancel = Cancel::new();
        let (count, wake) = counter();
        cancel.while_waiting(wake, || cancel.clone().cancel());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(cancel.requested());
    }

    #[test]
    fn a_cancel_before_the_wait_is_not_missed() {
        let cancel = Cancel::new();
        cancel.cancel();
        let (count, wake) = counter();
        cancel.while_waiting(wake, || ());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wait_that_is_over_is_not_woken() {
        let cancel = Cancel::new();
        let (count, wake) = counter();
        cancel.while_waiting(wake, || ());
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 0);
        cancel.reset();
        assert!(!cancel.requested());
    }
}
