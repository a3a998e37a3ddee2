//! Signals as a queue: SIGINT, SIGTERM and SIGHUP arrive one at a time on a [`Receiver`].
//! A second SIGINT or SIGTERM ends the process at once with 128 + the signal's number.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::cancel::Cancel;
use crate::sys::thread::{Exit, spawn};

/// Signals that may wait to be handled; more of the same say nothing new and are dropped.
const SIGNALS_WAITING_MAX: usize = 8;

/// What the operator or the system asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Finish what is under way and end.
    Terminate {
        /// `interrupt` or `terminate`, for the log.
        name: &'static str,
    },
    /// Look again at what a person may have mended.
    Reload,
}

/// For one-shot commands that run a program: the first SIGINT, SIGTERM or SIGHUP cancels, the second ends the process at once.
/// Returns where the signal's number stands afterwards; 0 while there was none.
pub fn cancel_on_terminate(cancel: Cancel) -> io::Result<Arc<AtomicI32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let taken = Arc::new(AtomicI32::new(0));
    let noted = Arc::clone(&taken);
    let (exits, _) = bounded(1);
    spawn("signal", exits, move || {
        for number in signals.forever() {
            if noted.swap(number, Ordering::SeqCst) != 0 {
                #[expect(clippy::disallowed_methods, reason = "a second signal means now")]
                std::process::exit(128 + number);
            }
            cancel.cancel();
        }
        Ok(())
    })?;
    Ok(taken)
}

/// Starts the signal thread. It lives as long as the process.
pub fn listen(exits: Sender<Exit>) -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = bounded(SIGNALS_WAITING_MAX);
    spawn("signal", exits, move || {
        let mut terminating = false;
        for number in signals.forever() {
            if number == SIGHUP {
                let _ = sender.try_send(Signal::Reload);
                continue;
            }
            if terminating {
                #[expect(clippy::disallowed_methods, reason = "a second signal means now")]
                std::process::exit(128 + number);
            }
            terminating = true;
            let name = if number == SIGINT { "interrupt" } else { "terminate" };
            let _ = sender.try_send(Signal::Terminate { name });
        }
        Ok(())
    })?;
    Ok(receiver)
}
