//! SIGHUP: the sources of secrets are read again and what changed is put to use, in two phases. A new secret is checked and
//! the other side is asked, for free, whether it accepts it; only then it replaces the old one. Each secret in use gets a line.
//!
//! Runs on a thread of its own, so that no turn waits for a server that does not answer. Every output knows a new secret
//! before anything else is done with it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::channel::telegram::PollFailure;
use crate::channel::telegram_api as api;
use crate::channel::telegram_client::TelegramClient;
use crate::cli::environment;
use crate::cli::setup::Setup;
use crate::cli::watch::Watch;
use crate::config::live_secret::LiveSecret;
use crate::config::rotation::{self, Receiver, Slot, Step};
use crate::config::secret::Secret;
use crate::config::settings::Config;
use crate::config::surroundings::Surroundings;
use crate::net::http_client::HttpClient;
use crate::observe::event::{Event, Log};
use crate::provider::probe::{self, Answer};
use crate::sys::heartbeat::Heart;
use crate::sys::notify::Notifier;
use crate::sys::queue::{Sender, bounded};
use crate::sys::thread::spawn;

/// How long the other side may take to say whether it accepts a secret.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// How long one secret may take, the sources of all of them before it included.
const SECRET_MAX: Duration = Duration::from_secs(120);

/// What is needed to look again.
struct Reload {
    notifier: Option<Arc<Notifier>>,
    config: Config,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
    heart: Heart,
}

/// Starts the `reload` thread. A message on the returned queue makes it look again; when it is done, each of `then` gets one. A wish that
/// comes while it is at work is kept, and one is as good as several. The thread ends with the queue and reports nothing.
///
/// # Errors
/// When the system has no thread left to give.
pub fn start(setup: &Setup, watch: &Watch, then: Vec<Sender<()>>) -> io::Result<Sender<()>> {
    let (config, clock, log) = (setup.config.clone(), Arc::clone(&setup.clock), Arc::clone(&setup.log));
    let (notifier, heart) = (watch.notifier.clone(), watch.board.heart("reload"));
    let reload = Reload { notifier, config, clock, log, heart };
    let (wishes, wishes_out) = bounded(1);
    let (exits, _) = bounded(1);
    spawn("reload", exits, move || {
        for () in wishes_out.iter() {
            reload.notifier.iter().for_each(|notifier| notifier.reloading());
            reload.heart.within(SECRET_MAX);
            reload.once();
            reload.heart.rests();
            // One that is waiting already is as good as two.
            for reader in &then {
                let _ = reader.try_send(());
            }
            reload.notifier.iter().for_each(|notifier| notifier.ready());
        }
        Ok(())
    })?;
    Ok(wishes)
}

/// What the other side says of a new secret.
enum Asked {
    Accepted,
    Refused(String),
    /// It could not be asked, which says nothing against the secret.
    Failed(String),
}

impl Reload {
    fn once(&self) {
        let used = rotation::slots(&self.config);
        let found = environment::look();
        self.learn(&found, &used);
        let config = match found.problems.first() {
            Some(problem) => Err(problem.sentence.clone()),
            None => found.config().map_err(|error| error.to_string()),
        };
        match config {
            Ok(config) => {
                let found = rotation::slots(&config);
                used.iter().for_each(|slot| self.look(slot, &found));
                for slot in rotation::added(&used, &found) {
                    let reason = "nobody used it when the worker started; restart the worker".to_owned();
                    self.tell("rejected", slot, None, Some(reason));
                }
            }
            // Half of a change is no change: what is wrong may be what this secret was to go with.
            Err(reason) => {
                used.iter().for_each(|slot| self.tell("rejected", slot, None, Some(reason.clone())));
            }
        }
    }

    /// Every output keeps silent about what is set now and what is in use.
    fn learn(&self, found: &Surroundings, used: &[Slot]) {
        let in_use = used.iter().map(|slot| slot.secret.current().as_ref().clone());
        self.config.secrets.learn(found.secrets().into_iter().chain(in_use).collect());
    }

    fn look(&self, slot: &Slot, found: &[Slot]) {
        self.heart.within(SECRET_MAX);
        let new = match rotation::step(slot, found) {
            Step::Unchanged => return self.tell("unchanged", slot, None, None),
            Step::Keep(reason) => return self.tell("rejected", slot, None, Some(reason.to_owned())),
            Step::Try(new) => new,
        };
        let secret = new.secret.current();
        let (probe, reason) = match ask(slot, &secret) {
            Asked::Refused(reason) => return self.tell("rejected", new, Some("refused"), Some(reason)),
            Asked::Accepted => ("ok", None),
            Asked::Failed(reason) => ("failed", Some(reason)),
        };
        slot.secret.replace(secret.as_ref().clone());
        self.tell("ok", new, Some(probe), reason);
    }

    fn tell(&self, status: &'static str, slot: &Slot, probe: Option<&'static str>, reason: Option<String>) {
        let (name, source, fp) = (slot.name.clone(), slot.source.to_string(), slot.secret.current().fingerprint());
        self.log.emit(self.clock.wall(), &Event::Reload { status, name, source, fp, probe, reason });
    }
}

fn ask(slot: &Slot, new: &Secret) -> Asked {
    match &slot.receiver {
        Receiver::Telegram(base) => {
            let transport = Box::new(HttpClient::new(base.is_secure()));
            let token = LiveSecret::new(new.clone());
            let mut client = TelegramClient::new(transport, base.as_str(), token, Cancel::new());
            match client.ask("getMe", PROBE_PATIENCE).map(|body| api::me(&body)) {
                Ok(Some(me)) if new.reveal().starts_with(&format!("{}:", me.id)) => Asked::Accepted,
                Ok(Some(me)) => Asked::Refused(format!("the server says that it belongs to bot {}", me.id)),
                Ok(None) => Asked::Failed("getMe: not a bot".to_owned()),
                Err((PollFailure::Denied, reason)) => Asked::Refused(reason),
                Err((_, reason)) => Asked::Failed(reason),
            }
        }
        Receiver::Codex => Asked::Failed("codex has no free question for a key: the next turn will tell".to_owned()),
        // A second client would throw the first one out.
        Receiver::Bridge(_) => Asked::Failed("the bridge is told at the next connection".to_owned()),
        // Whoever asks us brings it from now on.
        Receiver::Own => Asked::Accepted,
        Receiver::Http(kind, base) => {
            let mut transport = HttpClient::new(base.is_secure());
            let mut ask = |key: &Secret| probe::ask(&mut transport, *kind, base.as_str(), Some(key), PROBE_PATIENCE);
            let answer = ask(new);
            // A key may be good for answers only. Then the one in use may not ask this, either, and nothing is known.
            let with_old = answer.may_be_about_the_key().then(|| ask(&slot.secret.current()));
            match answer {
                Answer::Refused(403) if with_old.as_ref() == Some(&answer) => {
                    Asked::Failed("status 403, as with the one in use".to_owned())
                }
                Answer::Unclear(status) if with_old == Some(Answer::Accepted) => {
                    Asked::Refused(format!("status {status}, and not with the one in use"))
                }
                Answer::Accepted => Asked::Accepted,
                Answer::Refused(status) => Asked::Refused(format!("status {status}")),
                Answer::Unclear(status) => Asked::Failed(format!("status {status}")),
                Answer::Silent(error) => Asked::Failed(error.to_string()),
            }
        }
    }
}
