//! A turn outside a worker. There is no journal: the two session lines, appended together under the folder's lock and
//! flushed, are its commit. A process killed before that leaves nothing.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::id::{ChannelId, SessionId, TurnId};
use crate::base::message::{INBOUND_BYTES_MAX, Reply};
use crate::base::rng::Rng;
use crate::cli::Failure;
use crate::cli::setup::Setup;
use crate::observe::event::{Event, Log, TurnRecord};
use crate::observe::telemetry::Delta;
use crate::observe::telemetry_file;
use crate::provider::caller::Caller;
use crate::provider::shared::Shared;
use crate::store::directory::Directory;
use crate::store::retention::Retention;
use crate::store::sessions::Sessions;
use crate::store::transcript::Line;
use crate::sys::signal;
use crate::sys::stop::{self, Stopper};
use crate::turn::answer::{Answerer, Question};

/// How long an answer that was paid for waits for whoever holds the lock of the sessions: a backup, as a rule. The first
/// two seconds are not worth a word.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers messages one after another.
pub struct OneShot {
    answerer: Answerer,
    sessions: Sessions,
    telemetry_file: std::path::PathBuf,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
    rng: Rng,
    cancel: Cancel,
    /// The signal that told us to end, if programs are run.
    signal: Option<Arc<AtomicI32>>,
    /// Never dropped before the end: nobody asks a one-shot command to stop but by a signal.
    _stopper: Stopper,
}

impl OneShot {
    /// Opens the sessions.
    pub fn new(setup: Setup) -> Result<OneShot, Failure> {
        setup.refuse_strangers()?;
        setup.end_orphans();
        let Setup { config, clock, log, mut rng, .. } = setup;
        let (stopper, stop) = stop::pair();
        let cancel = Cancel::new();
        // A program of ours must not outlive a Ctrl-C; without one, the signal may end us as it always does.
        let runs_programs = config.uses_codex();
        let signal = runs_programs.then(|| signal::cancel_on_terminate(cancel.clone())).transpose();
        let signal = signal.map_err(|error| Failure::Storage(format!("signals: {error}")))?;
        let folder = config.data.join("sessions");
        let storage =
            Directory::open(&folder).map_err(|error| Failure::Storage(format!("{}: {error}", folder.display())))?;
        let shared = Shared::new(&config, Duration::ZERO, &mut rng, &clock, &log);
        let caller = Caller::new(&config, &shared, rng.split(), Arc::clone(&clock), stop, Arc::clone(&log));
        let reading = Box::new(Directory::reading(&folder));
        let answerer = Answerer::new(&config, caller, reading, Arc::clone(&clock), Arc::clone(&log));
        let mut sessions = Sessions::new(Box::new(storage));
        sessions.keep_for(Retention(config.retention_days));
        Ok(OneShot {
            answerer,
            sessions,
            telemetry_file: config.telemetry_file,
            clock,
            log,
            rng,
            cancel,
            signal,
            _stopper: stopper,
        })
    }

    /// Whether a signal cancels a turn instead of ending the process.
    pub fn takes_signals(&self) -> bool {
        self.signal.is_some()
    }

    /// Answers `text`. The reply of a failed turn says so in its summary. Beside the reply: why it could not be kept.
    pub fn turn(&mut self, session: &SessionId, text: &str) -> Result<(Reply, Result<(), Failure>), Failure> {
        if text.len() > INBOUND_BYTES_MAX {
            return Err(Failure::Usage(format!(
                "the message is longer than {INBOUND_BYTES_MAX} bytes: send it in parts"
            )));
        }
        let failed = |error| Failure::Storage(format!("session {}: {error}", session.stem()));
        self.sessions.check_readable(session).map_err(failed)?;
        let received = self.clock.wall();
        let turn = TurnId::mint(received, &mut self.rng);
        let question =
            Question { turn, session, text, received, waited: None, interrupted: 0, asker: None, order: None };
        let Ok(reply) = self.answerer.answer(&question, &self.cancel) else {
            let number = self.signal.as_ref().map_or(0, |signal| signal.load(Ordering::SeqCst));
            return Err(Failure::Stopped(u8::try_from(number).unwrap_or(0)));
        };
        let kept = self.keep(session, &question, &reply);
        self.record(turn, session, &reply);
        Ok((*reply, kept))
    }

    fn keep(&mut self, session: &SessionId, question: &Question<'_>, reply: &Reply) -> Result<(), Failure> {
        let answered = self.clock.wall();
        let (asked, error) = ((reply.user_text.as_str(), question.received), reply.summary.error.as_deref());
        let mut lines = Line::pair(&question.turn.to_string(), asked, (&reply.text, answered), error);
        let last = self.clock.mono().after(PATIENCE);
        let mut append = |sessions: &mut Sessions| sessions.append(session, &mut lines, answered.0 / 1000);
        let mut appended = append(&mut self.sessions);
        let is_locked = |outcome: &io::Result<_>| {
            outcome.as_ref().is_err_and(|error: &io::Error| error.kind() == ErrorKind::WouldBlock)
        };
        if is_locked(&appended) {
            let message =
                "another process, perhaps a backup, holds the lock of the sessions: waiting for it".to_owned();
            self.log.emit(self.clock.wall(), &Event::Log { target: "session".to_owned(), message });
        }
        while is_locked(&appended) && self.clock.mono() < last {
            appended = append(&mut self.sessions);
        }
        let written = appended.and_then(|repaired| {
            self.sessions.sync()?;
            Ok(repaired)
        });
        let failed = |error| Failure::Storage(format!("session {}: the turn is not kept: {error}", session.stem()));
        if let Some(repaired) = written.map_err(failed)? {
            self.emit(&Event::SessionRepaired { session: repaired.session, bytes: repaired.bytes });
        }
        Ok(())
    }

    fn record(&self, turn: TurnId, session: &SessionId, reply: &Reply) {
        let mut record = TurnRecord::new(turn, session.name(), reply.summary.clone(), self.clock.wall());
        record.channel = Some(ChannelId::Console);
        let mut delta = Delta::default();
        delta.add(&record);
        self.emit(&Event::Turn(Box::new(record)));
        if let Err(error) = telemetry_file::add(&self.telemetry_file, &delta, None, self.clock.as_ref()) {
            self.emit(&Event::TelemetryError { message: error.to_string() });
        }
    }

    fn emit(&self, event: &Event) {
        self.log.emit(self.clock.wall(), event);
    }
}
