//! Parking: a worker that cannot start because of its configuration stays up and says so, if the operator wants that. In
//! a container an exit would be a restart loop.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Wall};
use crate::base::id::ChannelId;
use crate::cli::flags::Parsed;
use crate::cli::health::is_enabled;
use crate::cli::{Failure, channels, environment, setup, watch};
use crate::config::health_settings::HealthSettings;
use crate::config::keys::Reader;
use crate::config::settings;
use crate::observe::board::{Board, Identity};
use crate::observe::event::{Event, Log};
use crate::observe::metrics_log::Metrics;
use crate::observe::status::WRITTEN_EVERY;
use crate::observe::status_file;
use crate::runtime::endpoint;
use crate::sys::files;
use crate::sys::notify::Notifier;
use crate::sys::queue::{Receiver, RecvTimeoutError, bounded};
use crate::sys::signal::{self, Signal};
use crate::sys::system_clock::SystemClock;

/// How often a parked process says so.
const PARKED_EVERY: Duration = Duration::from_secs(60);

/// How often it looks whether the configuration was mended, without being told.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);

/// Runs a worker. A fault of its configuration is waited out, if the operator wants those parked.
pub fn or_park(parsed: &Parsed, only: Option<ChannelId>) -> Result<(), Failure> {
    // Once, because the thread lives as long as the process; it reports nothing. And before anything else, so that an order to
    // end is never the end of a process that had not got that far.
    let (exits, _) = bounded(1);
    let signals = signal::listen(exits).map_err(|error| Failure::Storage(format!("signals: {error}")))?;
    loop {
        match channels::run(parsed, &signals, only) {
            Err(Failure::Configuration(reason)) if wanted() => {
                let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
                let sign = Sign::put_up(only, &clock);
                let then = park(&reason, &sign, clock.as_ref(), &signals);
                sign.take_down();
                if then == Then::End {
                    return Ok(());
                }
            }
            outcome => return outcome,
        }
    }
}

/// What is seen from outside: a worker that lives and is not ready. Whoever restarts what does not live would make the loop
/// that parking is there to avoid.
struct Sign {
    board: Arc<Board>,
    run: PathBuf,
    _endpoint: Option<endpoint::Running>,
}

impl Sign {
    /// As far as it can be known while something does not fit.
    fn put_up(only: Option<ChannelId>, clock: &Arc<dyn Clock>) -> Sign {
        let found = environment::look();
        let reader = Reader(&found.variables);
        let (data, run) = settings::folders(&reader);
        let is_meant =
            |channel: &ChannelId| only.map_or_else(|| is_enabled(&reader, *channel), |only| only == *channel);
        let channels: Vec<ChannelId> = ChannelId::WITH_WORKER.into_iter().filter(is_meant).collect();
        let boot = clock.since_boot().map(|(boot, _)| boot);
        let identity = Identity { pid: std::process::id(), boot, data: status_file::absolute(&data) };
        let board = Arc::new(Board::new(&channels, identity, bounded(1).0, Arc::clone(clock)));
        board.enter(Some("configuration"));
        // Where another worker is at work, the documents are its own.
        let is_free = |channel: &&ChannelId| {
            !files::is_locked(&data.join("journal").join(channel.name()).join("LOCK")).unwrap_or(false)
        };
        for channel in channels.iter().filter(is_free) {
            board.own(*channel);
        }
        let metrics = Arc::new(Metrics::new(Arc::new(Nobody), Arc::clone(clock), &channels, &[]));
        let endpoint = HealthSettings::load(&reader).ok();
        let endpoint = endpoint.and_then(|settings| watch::endpoint(&settings, &board, &metrics, clock));
        Sign { board, run, _endpoint: endpoint }
    }

    /// What cannot be written is missed by whoever reads it.
    fn renew(&self) {
        for (channel, status) in self.board.documents() {
            let _ = status_file::write(&self.run, channel, &status);
        }
    }

    fn take_down(self) {
        self.board.owned().into_iter().for_each(|channel| status_file::remove(&self.run, channel));
    }
}

/// What is said while it is parked goes straight to standard error.
struct Nobody;

impl Log for Nobody {
    fn emit(&self, _at: Wall, _event: &Event) {}
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
fn park(reason: &str, sign: &Sign, clock: &dyn Clock, signals: &Receiver<Signal>) -> Then {
    let notifier = watch::notifier(&environment::process_variables());
    // The start is over for a service manager, too: it would end a start that takes so long.
    notifier.iter().for_each(|notifier| notifier.ready());
    notifier.iter().for_each(|notifier| notifier.status("parked: the configuration does not fit"));
    let alive_every = notifier.as_ref().and_then(Notifier::alive_every).unwrap_or(WRITTEN_EVERY).min(WRITTEN_EVERY);
    let (end, mut said_due) = (clock.mono().after(LOOK_EVERY), clock.mono());
    while clock.mono() < end {
        sign.renew();
        if clock.mono() >= said_due {
            said_due = clock.mono().after(PARKED_EVERY);
            let line = setup::fatal_line(&format!("parked: {reason}; mend it, then send SIGHUP or restart"));
            let _ = io::stderr().write_all((line + "\n").as_bytes());
        }
        notifier.iter().for_each(|notifier| notifier.alive());
        match signals.recv_timeout(alive_every) {
            Ok(Signal::Terminate { .. }) | Err(RecvTimeoutError::Disconnected) => return Then::End,
            Ok(Signal::Reload) => return Then::LookAgain,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Then::LookAgain
}
