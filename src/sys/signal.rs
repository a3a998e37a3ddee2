//! Signals as a queue: SIGINT, SIGTERM and SIGHUP arrive one at a time on a [`Receiver`].
//! A second SIGINT or SIGTERM ends the process at once with 128 + the signal's number.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use std::time::Duration;

use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::base::cancel::Cancel;
use crate::sys::queue::{Receiver, Sender, bounded};
use crate::sys::thread::{Exit, spawn};
use crate::sys::{files, terminal};

/// Signals that may wait to be handled; more of the same say nothing new and are dropped.
const SIGNALS_WAITING_MAX: usize = 8;

/// How long a screen has for its own way of ending; one that writes to a terminal that takes nothing never comes to it.
const SCREEN_PATIENCE: Duration = Duration::from_secs(1);

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

/// What a screen is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenSignal {
    /// End.
    End,
    /// The terminal has another size.
    Resized,
}

/// For screens: SIGINT, SIGTERM, SIGQUIT, SIGHUP and SIGABRT are the order to end, SIGTSTP is not heeded (it would leave the terminal as it is), and what has not ended a second later is ended, with
/// the terminal as it was.
pub fn watch_screen() -> io::Result<Receiver<ScreenSignal>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGABRT, SIGTSTP, SIGWINCH])?;
    let (sender, receiver) = bounded(SIGNALS_WAITING_MAX);
    let (exits, _) = bounded(1);
    spawn("signal", exits, move || {
        for number in signals.forever() {
            if matches!(number, SIGWINCH | SIGTSTP) {
                let _ = sender.try_send(ScreenSignal::Resized);
                continue;
            }
            let _ = sender.try_send(ScreenSignal::End);
            files::pause(SCREEN_PATIENCE);
            terminal::restore();
            #[expect(clippy::disallowed_methods, reason = "whoever should have ended did not")]
            std::process::exit(128 + number);
        }
        Ok(())
    })?;
    Ok(receiver)
}

/// For a line that is typed: a signal that ends the process at the prompt gives the terminal back first. With
/// `always_ends`, it ends the process anywhere else, too, as if nobody had asked for it; without, somebody else sees to that.
pub fn restore_on_terminate(always_ends: bool) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (exits, _) = bounded(1);
    spawn("prompt", exits, move || {
        for number in signals.forever() {
            if terminal::restore() || always_ends {
                let _ = emulate_default_handler(number);
            }
        }
        Ok(())
    })?;
    Ok(())
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
