//! What every command starts with: the configuration, a clock, and a log that knows the secrets.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::id::ChannelId;
use crate::base::rng::Rng;
use crate::cli::{Failure, environment, replacing};
use crate::config::live_secret::KnownSecrets;
use crate::config::settings::Config;
use crate::config::surroundings::Surroundings;
use crate::observe::event::{Event, Log};
use crate::observe::metrics_log::Metrics;
use crate::observe::redact::Redactor;
use crate::observe::sink::{Sink, Way};
use crate::sys::system_clock::SystemClock;
use crate::sys::{children, entropy, files, users};

/// The common parts of a running command.
pub struct Setup {
    /// The variables, and how they were found.
    pub surroundings: Surroundings,
    /// The checked configuration.
    pub config: Config,
    /// The real clock.
    pub clock: Arc<dyn Clock>,
    /// Standard error.
    pub log: Arc<dyn Log>,
    /// Seeded by the system, or by the operator.
    pub rng: Rng,
    /// What it was seeded with.
    pub seed: u64,
}

/// Reads and checks everything, for a command that ends soon. Files created from here on are private.
pub fn load() -> Result<Setup, Failure> {
    let setup = load_for(Way::Direct)?;
    replacing::unfinished(&setup.config.data).map_or(Ok(setup), |sentence| Err(Failure::Configuration(sentence)))
}

/// The same, with the way that log lines take, also while an archive is only half in place.
pub fn load_for(way: Way) -> Result<Setup, Failure> {
    files::private_by_default();
    let surroundings = environment::read()?;
    let config = surroundings.config().map_err(|error| Failure::Configuration(error.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let redactor = Redactor::new(&config.secrets);
    let rust_log = surroundings.variables.get("RUST_LOG").map_or("", |(value, _)| value);
    let log: Arc<dyn Log> = Arc::new(Sink::install(redactor, Arc::clone(&clock), way, rust_log));
    let seed = config.seed.unwrap_or_else(entropy::seed);
    Ok(Setup { surroundings, config, clock, log, rng: Rng::from_seed(seed), seed })
}

impl Setup {
    /// From here on the log counts, for a worker of these channels.
    pub fn count(&mut self, channels: &[ChannelId]) -> Arc<Metrics> {
        let providers: Vec<&str> = self.config.chain().map(|settings| settings.name.as_str()).collect();
        let metrics = Metrics::new(Arc::clone(&self.log), Arc::clone(&self.clock), channels, &providers);
        let metrics = Arc::new(metrics);
        self.log = Arc::clone(&metrics) as Arc<dyn Log>;
        metrics
    }

    /// For commands that write: what another user than the worker's leaves behind, the worker cannot write to.
    pub fn refuse_strangers(&self) -> Result<(), Failure> {
        let data = &self.config.data;
        users::stranger_to(data).map(users::name).map_or(Ok(()), |owner| {
            let data = data.display();
            let remedy = format!("use 'sudo -u {owner} rusty-pinch …'");
            Err(Failure::Configuration(format!("the conversations in {data} belong to {owner}: {remedy}")))
        })
    }

    /// What went wrong with a file of the data folder, with the remedy if somebody else is needed for it.
    pub fn about(&self, path: &Path, error: &io::Error) -> String {
        let owner = users::stranger_to(&self.config.data).filter(|_| error.kind() == io::ErrorKind::PermissionDenied);
        let remedy = owner.map(|owner| format!("; use 'sudo -u {} rusty-pinch …'", users::name(owner)));
        format!("{}: {error}{}", path.display(), remedy.unwrap_or_default())
    }

    /// Ends what a killed process left running. Only Codex starts programs.
    pub fn end_orphans(&self) {
        if !self.config.uses_codex() {
            return;
        }
        let processes = children::end_orphans(&self.config.children_folder());
        if processes > 0 {
            self.log.emit(self.clock.wall(), &Event::OrphansEnded { processes });
        }
    }
}

/// A fatal event as a line, for errors that come before there is a log. The secrets are looked for once more.
pub fn fatal_line(reason: &str) -> String {
    Redactor::new(&KnownSecrets::new(environment::look().secrets()))
        .clean(&Event::Fatal { reason: reason.to_owned() }.to_line(SystemClock::new().wall()))
}
