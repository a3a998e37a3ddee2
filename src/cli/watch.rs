//! Whoever looks at a worker from outside: the `health` thread with its documents, the health endpoint, the service manager.
//! All are there before the worker takes its lock, so that one that waits or rests is seen doing so.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::id::ChannelId;
use crate::cli::Failure;
use crate::cli::setup::Setup;
use crate::config::health_settings::HealthSettings;
use crate::config::keys::Environment;
use crate::observe::board::{Board, Identity, Noticed};
use crate::observe::metrics_log::Metrics;
use crate::observe::status_file;
use crate::runtime::endpoint::{self, Endpoint};
use crate::runtime::health::{self, Health};
use crate::sys::notify::Notifier;
use crate::sys::queue::bounded;

/// All of them.
pub struct Watch {
    /// What is known.
    pub board: Arc<Board>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The service manager, if it wants to be told.
    pub notifier: Option<Arc<Notifier>>,
    health: health::Running,
    _endpoint: Option<endpoint::Running>,
}

impl Watch {
    /// From here on whatever is said is counted and heard.
    pub fn begin(setup: &mut Setup, channels: &[ChannelId]) -> Result<Watch, Failure> {
        let (wake, woken) = bounded(1);
        let boot = setup.clock.since_boot().map(|(boot, _)| boot);
        let data = status_file::absolute(&setup.config.data);
        let identity = Identity { pid: std::process::id(), boot, data };
        let board = Arc::new(Board::new(channels, identity, wake, Arc::clone(&setup.clock)));
        let metrics = setup.count(channels);
        setup.log = Arc::new(Noticed { inner: Arc::clone(&setup.log), board: Arc::clone(&board) });
        let notifier = notifier(&setup.surroundings.variables).map(Arc::new);
        let health = Health {
            board: Arc::clone(&board),
            metrics: Arc::clone(&metrics),
            notifier: notifier.clone(),
            woken,
            run: setup.config.run.clone(),
            data: setup.config.data.clone(),
            clock: Arc::clone(&setup.clock),
            log: Arc::clone(&setup.log),
        };
        let health = health.start().map_err(Failure::no_thread)?;
        let endpoint = endpoint(&setup.config.health, &board, &metrics, &setup.clock);
        Ok(Watch { board, metrics, notifier, health, _endpoint: endpoint })
    }

    /// The start is over: the worker works, or waits for what it cannot mend.
    pub fn ready(&self) {
        self.notifier.iter().for_each(|notifier| notifier.ready());
    }

    /// Done when the order to stop is given. A service manager is told only where somebody wanted the end: it would not
    /// let a worker rest whose disk failed.
    pub fn on_stop(&self) -> Box<dyn FnOnce(bool) + Send> {
        let (board, notifier) = (Arc::clone(&self.board), self.notifier.clone());
        Box::new(move |was_told| {
            board.let_go();
            board.enter(Some("stopping"));
            notifier.iter().filter(|_| was_told).for_each(|notifier| notifier.stopping());
        })
    }

    /// The worker ends. To be called while its lock is held: the documents are the next one's afterwards.
    pub fn end(self, as_it_should: bool) {
        self.notifier.iter().for_each(|notifier| notifier.stopping());
        self.health.end(as_it_should);
    }
}

/// As the service manager wants it.
pub fn notifier(variables: &Environment) -> Option<Notifier> {
    let variable = |name: &str| variables.get(name).map(|(value, _)| value.as_str());
    Notifier::new(variable("NOTIFY_SOCKET"), variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"))
}

/// A worker without it is better than none.
pub fn endpoint(
    health: &HealthSettings,
    board: &Arc<Board>,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> Option<endpoint::Running> {
    let address = health.address.as_deref()?;
    let endpoint = Endpoint {
        token: health.token.as_ref().map(|token| token.secret.clone()),
        board: Arc::clone(board),
        metrics: Arc::clone(metrics),
        clock: Arc::clone(clock),
    };
    match endpoint.start(address) {
        Ok(running) => Some(running),
        Err(error) => {
            log::warn!("RUSTY_PINCH_HEALTH_ADDR: {address}: {error}; the worker goes on without the health endpoint");
            None
        }
    }
}
