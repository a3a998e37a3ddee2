//! Parking: a worker that cannot start because of its configuration stays up and says so, if the operator wants that. In
//! a container an exit would be a restart loop.

use std::io::{self, Write};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::cli::{Failure, environment, setup, watch};
use crate::config::keys::Reader;
use crate::sys::notify::Notifier;
use crate::sys::queue::{Receiver, RecvTimeoutError, bounded};
use crate::sys::signal::{self, Signal};
use crate::sys::system_clock::SystemClock;

/// How often a parked process says so.
const PARKED_EVERY: Duration = Duration::from_secs(60);

/// How often it looks whether the configuration was mended, without being told.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);

/// Runs a worker. A fault of its configuration is waited out, if the operator wants those parked.
pub fn or_park(worker: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
    loop {
        match worker() {
            Err(Failure::Configuration(reason)) if wanted() => {
                if park(&reason)? == Then::End {
                    return Ok(());
                }
            }
            outcome => return outcome,
        }
    }
}

/// What ended the waiting.
#[derive(PartialEq, Eq)]
enum Then {
    /// The order to end.
    End,
    /// SIGHUP, or that it was long: files may say something else now. Variables of the process cannot.
    LookAgain,
}

/// Asked apart from the rest of the configuration, which may be what is at fault.
fn wanted() -> bool {
    Reader(&environment::look().variables).choice("RUSTY_PINCH_ON_FATAL").is_ok_and(|choice| choice == "park")
}

/// Stays up and says why once a minute.
fn park(reason: &str) -> Result<Then, Failure> {
    let (exits, _reports): (_, Receiver<_>) = bounded(1);
    let signals = signal::listen(exits).map_err(|error| Failure::Storage(format!("signals: {error}")))?;
    let notifier = watch::notifier(&environment::process_variables());
    // The start is over for a service manager, too: it would end a start that takes so long.
    notifier.iter().for_each(|notifier| notifier.ready());
    notifier.iter().for_each(|notifier| notifier.status("parked: the configuration does not fit"));
    let alive_every = notifier.as_ref().and_then(Notifier::alive_every).unwrap_or(PARKED_EVERY).min(PARKED_EVERY);
    let clock = SystemClock::new();
    let (end, mut said_due) = (clock.mono().after(LOOK_EVERY), clock.mono());
    while clock.mono() < end {
        if clock.mono() >= said_due {
            said_due = clock.mono().after(PARKED_EVERY);
            let line = setup::fatal_line(&format!("parked: {reason}; mend it, then send SIGHUP or restart"));
            let _ = io::stderr().write_all((line + "\n").as_bytes());
        }
        notifier.iter().for_each(|notifier| notifier.alive());
        match signals.recv_timeout(alive_every) {
            Ok(Signal::Terminate { .. }) | Err(RecvTimeoutError::Disconnected) => return Ok(Then::End),
            Ok(Signal::Reload) => return Ok(Then::LookAgain),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(Then::LookAgain)
}
