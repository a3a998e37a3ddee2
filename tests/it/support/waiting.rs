//! The only place where tests wait, read a clock or start a thread.
//!
//! A test waits for a condition with a ceiling, never for a time: `until` says in its message what did not happen.
//! `Gate` is the other way to wait: closed until somebody opens it.
#![allow(clippy::disallowed_methods, reason = "the bans point here: tests come through these functions")]

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long `until` waits before it calls the test failed. Far more than any healthy run needs.
pub const CEILING: Duration = Duration::from_secs(30);
/// How often `until` looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub fn now() -> Instant {
    Instant::now()
}

pub fn since(instant: Instant) -> Duration {
    now().saturating_duration_since(instant)
}

pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_string()).spawn(work).expect("a test may start a thread")
}

/// Locks even after another test thread panicked: the first panic is the one worth reading.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(what, CEILING, condition);
}

#[track_caller]
pub fn until_within(what: &str, ceiling: Duration, condition: impl FnMut() -> bool) {
    assert!(came_true(ceiling, condition), "waited {ceiling:?} in vain: {what}");
}

/// Whether the condition came true in time. The one function that looks, parks and looks again.
pub fn came_true(ceiling: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = now() + ceiling;
    loop {
        if condition() {
            return true;
        }
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return false;
        }
        std::thread::park_timeout(left.min(LOOK_AGAIN));
    }
}

/// Fails as soon as the condition is false within the window.
#[track_caller]
pub fn holds(what: &str, window: Duration, mut condition: impl FnMut() -> bool) {
    assert!(!came_true(window, || !condition()), "did not hold for {window:?}: {what}");
}

/// Closed until opened, then open for good. Clones share the state.
#[derive(Clone, Debug)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn closed() -> Gate {
        Gate(Arc::new((Mutex::new(false), Condvar::new())))
    }

    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *lock(&self.0.0)
    }

    /// Waits at most `ceiling`; says whether the gate is open.
    pub fn wait(&self, ceiling: Duration) -> bool {
        let guard = lock(&self.0.0);
        let (guard, _) =
            self.0.1.wait_timeout_while(guard, ceiling, |open| !*open).unwrap_or_else(|poisoned| poisoned.into_inner());
        *guard
    }
}
