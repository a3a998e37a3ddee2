//! Parking: a worker that cannot start because of its configuration stays up and says so, if the operator wants that. In
//! a container an exit would be a restart loop.

use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::cli::{Failure, environment, setup};
use crate::config::keys::Reader;
use crate::sys::signal::{self, Signal};

/// How often a parked process says so.
const PARKED_EVERY: Duration = Duration::from_secs(60);

/// The outcome of a worker, unless it is a fault of the configuration and the operator wants those parked.
pub fn or_park(outcome: Result<(), Failure>) -> Result<(), Failure> {
    match outcome {
        Err(Failure::Configuration(reason)) if wanted() => park(&reason),
        outcome => outcome,
    }
}

/// Asked apart from the rest of the configuration, which may be what is at fault.
fn wanted() -> bool {
    Reader(&environment::look().variables).choice("RUSTY_PINCH_ON_FATAL").is_ok_and(|choice| choice == "park")
}

/// Stays up, says why once a minute, and ends when told to.
fn park(reason: &str) -> Result<(), Failure> {
    let (exits, _reports): (_, Receiver<_>) = bounded(1);
    let signals = signal::listen(exits).map_err(|error| Failure::Storage(format!("signals: {error}")))?;
    loop {
        let _ = io::stderr().write_all((setup::fatal_line(&format!("parked: {reason}")) + "\n").as_bytes());
        match signals.recv_timeout(PARKED_EVERY) {
            Ok(Signal::Terminate { .. }) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Signal::Reload) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
