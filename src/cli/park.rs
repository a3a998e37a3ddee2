//! Parking: a worker that cannot start because of its configuration stays up and says so, if the operator wants that. In
//! a container an exit would be a restart loop.

use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::cli::{Failure, environment, setup};
use crate::config::keys::Reader;
use crate::config::surroundings::Surroundings;
use crate::sys::signal::{self, Signal};

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
    let of_process = || Surroundings { variables: environment::process_variables(), ..Surroundings::default() };
    let surroundings = environment::read().unwrap_or_else(|_| of_process());
    Reader(&surroundings.variables).choice("RUSTY_PINCH_ON_FATAL").is_ok_and(|choice| choice == "park")
}

/// Stays up and says why once a minute.
fn park(reason: &str) -> Result<Then, Failure> {
    let (exits, _reports): (_, Receiver<_>) = bounded(1);
    let signals = signal::listen(exits).map_err(|error| Failure::Storage(format!("signals: {error}")))?;
    for _ in 0..LOOK_EVERY.as_secs() / PARKED_EVERY.as_secs() {
        let line = setup::fatal_line(&format!("parked: {reason}; mend it, then send SIGHUP or restart"));
        let _ = io::stderr().write_all((line + "\n").as_bytes());
        match signals.recv_timeout(PARKED_EVERY) {
            Ok(Signal::Terminate { .. }) | Err(RecvTimeoutError::Disconnected) => return Ok(Then::End),
            Ok(Signal::Reload) => return Ok(Then::LookAgain),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(Then::LookAgain)
}
