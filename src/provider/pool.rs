//! The accounts of Codex that all turn workers share: one run at a time on each, requests counted over restarts and
//! processes, and an account that is refused left alone until its time has come. The decisions are in `accounts.rs`.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Wall};
use crate::config::codex_accounts::Account;
use crate::config::codex_settings::CodexSettings;
use crate::config::secret::Secret;
use crate::config::settings::Config;
use crate::observe::event::{Event, Log};
use crate::provider::accounts::{Candidate, Choice, Limits, Reason, State, choose};
use crate::provider::accounts_file::{self, States};
use crate::provider::class::Class;
use crate::provider::codex_home::{LOOKS_PATIENCE, Told};
use crate::provider::{Attempt, ProviderError, codex_home};
use crate::sys::queue::bounded;
use crate::sys::thread::spawn;

/// No run begins with less time left.
pub const RUN_TIME_MIN: Duration = Duration::from_secs(5);

/// How often a turn that waits for an account looks at its cancel flag.
const SLICE: Duration = Duration::from_millis(50);

/// What goes on.
struct Runs {
    /// By account: whether a turn runs on it.
    busy: Vec<bool>,
    /// The account of the latest run.
    latest: Option<usize>,
}

/// What is shared. One for all workers of a process.
pub struct Pool {
    settings: CodexSettings,
    limits: Limits,
    file: PathBuf,
    registry: PathBuf,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
    runs: Mutex<Runs>,
    freed: Condvar,
}

/// The right to run on an account; it ends when this is dropped.
pub struct Lease<'a> {
    pool: &'a Pool,
    /// Which account.
    pub index: usize,
    fingerprint: String,
}

impl Lease<'_> {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.pool.settings.accounts[self.index]
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.pool.lock().busy[self.index] = false;
        self.pool.freed.notify_all();
    }
}

impl Pool {
    /// Reads and writes nothing yet.
    pub fn new(config: &Config, clock: Arc<dyn Clock>, log: Arc<dyn Log>) -> Pool {
        let settings = config.codex.clone();
        Pool {
            limits: Limits { window: settings.window, look_interval: settings.look_interval },
            file: file(config),
            registry: config.children_folder(),
            runs: Mutex::new(Runs { busy: vec![false; settings.accounts.len()], latest: None }),
            freed: Condvar::new(),
            settings,
            clock,
            log,
        }
    }

    /// What the operator has decided.
    pub fn settings(&self) -> &CodexSettings {
        &self.settings
    }

    /// Where running programs are noted.
    pub fn registry(&self) -> &PathBuf {
        &self.registry
    }

    /// An account for a run of `attempt`; waits for one that is busy, if it may. `None`: all have been `tried`.
    ///
    /// # Errors
    /// No account can be used, or none is free, or became so in time.
    pub fn take(&self, tried: &[usize], attempt: &Attempt<'_>) -> Result<Option<Lease<'_>>, ProviderError> {
        let (mut tried, mut unusable) = (tried.to_vec(), None);
        loop {
            let mut runs = self.lock();
            let states = self.states();
            match choose(&self.candidates(&states, &runs.busy, &tried), self.settings.reserve_percent) {
                Choice::Take(index) => {
                    (runs.busy[index], runs.latest) = (true, Some(index));
                    drop(runs);
                    let fingerprint = self.account_fingerprint(index);
                    let lease = Lease { pool: self, index, fingerprint };
                    match self.check(&lease, &states, attempt) {
                        Ok(()) => return Ok(Some(lease)),
                        Err(reason) => unusable = Some((reason, self.limits.look_interval)),
                    }
                    tried.push(index);
                }
                Choice::Wait if attempt.cancel.requested() => {
                    return Err(ProviderError::new(Class::Cancelled, "stopped while waiting for an account of codex"));
                }
                Choice::Wait if !attempt.may_wait || self.time_for_a_look(attempt).is_zero() => {
                    let error = ProviderError::new(Class::Overloaded, "every account of codex is busy");
                    return Err(ProviderError { unasked: true, ..error });
                }
                Choice::Wait => drop(self.freed.wait_timeout(runs, SLICE).unwrap_or_else(PoisonError::into_inner)),
                Choice::Fail(found) => {
                    let Some((reason, left)) = found.or(unusable) else { return Ok(None) };
                    let class = reason.class();
                    let detail = format!("no account of codex can be used ({})", class.name());
                    return Err(ProviderError { class, retry_after: Some(left), detail, unasked: true });
                }
            }
        }
    }

    /// Changes when the credentials of an account do: whoever logs in again is asked again at once.
    pub fn fingerprint(&self) -> String {
        let all: Vec<String> = (0..self.settings.accounts.len()).map(|index| self.account_fingerprint(index)).collect();
        Secret::new(all.join(" ")).fingerprint()
    }

    /// The id of the account that was taken last.
    pub fn latest(&self) -> Option<&str> {
        let latest = self.lock().latest?;
        Some(&self.settings.accounts[latest].id)
    }

    /// Notes how a run has ended.
    pub fn settle(&self, lease: &Lease<'_>, failure: Option<&ProviderError>) {
        let now = self.clock.wall();
        self.change(lease.index, &mut |state| state.on_run(failure, &lease.fingerprint, now, &self.limits));
    }

    /// Looks at every account, without a request: its id, and what speaks against it. Turns do not wait for that.
    pub fn look_at_all(&self, cancel: &Cancel) -> Vec<(String, Result<(), String>)> {
        let look = |index: usize| {
            let found = self.look(index, &self.account_fingerprint(index), LOOKS_PATIENCE, cancel);
            let found = match found {
                Ok(Told::Sound) => Ok(()),
                Ok(Told::Nothing) => Err("codex did not answer in time".to_owned()),
                Err((_, error)) => Err(error),
            };
            (self.settings.accounts[index].id.clone(), found)
        };
        (0..self.settings.accounts.len()).take_while(|_| !cancel.requested()).map(look).collect()
    }

    /// What is known of each account, how it stands, and its candidate for a turn.
    pub fn report(&self) -> Vec<(&Account, State, Candidate)> {
        let states = self.states();
        let candidates = self.candidates(&states, &self.lock().busy, &[]);
        let state = |account: &Account| states.get(&account.id).cloned().unwrap_or_default();
        let accounts = self.settings.accounts.iter().zip(candidates);
        accounts.map(|(account, candidate)| (account, state(account), candidate)).collect()
    }

    /// Whether an account that was chosen may really be used.
    fn check(&self, lease: &Lease<'_>, states: &States, attempt: &Attempt<'_>) -> Result<(), Reason> {
        let now = self.clock.wall();
        let refusal = states.get(&lease.account().id).and_then(|state| state.doubt(&lease.fingerprint, now));
        if let Some(reason) = refusal {
            let patience = self.time_for_a_look(attempt);
            if patience.is_zero() {
                return Err(reason);
            }
            let found = self.look(lease.index, &lease.fingerprint, patience, attempt.cancel);
            return found.map(drop).map_err(|(reason, _)| reason);
        }
        codex_home::prepare(&self.settings, lease.account()).map_err(|(reason, error)| {
            self.note_look(lease.index, &lease.fingerprint, Err((reason, &error)));
            reason
        })
    }

    /// What is left of an attempt beside the shortest run.
    fn time_for_a_look(&self, attempt: &Attempt<'_>) -> Duration {
        self.clock.mono().until(attempt.deadline).saturating_sub(RUN_TIME_MIN)
    }

    fn look(
        &self,
        index: usize,
        fingerprint: &str,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Told, (Reason, String)> {
        let account = &self.settings.accounts[index];
        let bounds = (self.clock.as_ref(), self.clock.mono().after(patience), cancel);
        let found = codex_home::look(&self.settings, account, &self.registry, bounds);
        if !cancel.requested() {
            let told = found.as_ref().map(|_| ()).map_err(|(reason, error)| (*reason, error.as_str()));
            self.note_look(index, fingerprint, told);
        }
        found
    }

    fn note_look(&self, index: usize, fingerprint: &str, found: Result<(), (Reason, &str)>) {
        let now = self.clock.wall();
        self.change(index, &mut |state| state.on_look(found, fingerprint, now, &self.limits));
    }

    /// Changes what is known of an account; tells when it begins to be refused, and when that is over. Once, because what
    /// was told is in the file.
    fn change(&self, index: usize, change: &mut dyn FnMut(&mut State)) {
        let account = &self.settings.accounts[index];
        let (mut before, mut after) = (None, None);
        let reason = |state: &State| state.refusal.as_ref().map(|refusal| refusal.reason);
        let changed = accounts_file::change(&self.file, self.clock.as_ref(), &mut |states| {
            let state = states.entry(account.id.clone()).or_default();
            before = reason(state);
            change(state);
            after = reason(state);
            accounts_file::forget(states, &|id| self.settings.accounts.iter().any(|account| account.id == id));
        });
        match changed {
            Ok(None) => {}
            Ok(Some(aside)) => self.emit(&self.trouble(&format!("damaged; kept as {}", aside.display()))),
            Err(error) => self.emit(&self.trouble(&error.to_string())),
        }
        if before != after {
            let state = after.map_or("ready", |reason| reason.class().name());
            let remedy = after.map(|reason| codex_home::remedy(&self.settings, account, reason));
            self.emit(&Event::CodexAccount { account: account.id.clone(), state, remedy: remedy.unwrap_or_default() });
        }
    }

    fn trouble(&self, error: &str) -> Event {
        Event::StorageError { what: self.file.display().to_string(), error: error.to_owned() }
    }

    /// A file that cannot be read is told when it is next written; nothing known is the better guess until then.
    fn states(&self) -> States {
        accounts_file::read(&self.file).unwrap_or_default()
    }

    fn candidates(&self, states: &States, busy: &[bool], tried: &[usize]) -> Vec<Candidate> {
        let now = self.clock.wall();
        let unknown = State::default();
        let candidate = |(index, account): (usize, &Account)| {
            let state = states.get(&account.id).unwrap_or(&unknown);
            let window_end = Wall(state.window_start).until(now);
            Candidate {
                standing: state.standing(&self.account_fingerprint(index), now),
                left: account.requests_max.saturating_sub(state.used(now, self.limits.window)),
                max: account.requests_max,
                window_left: self.limits.window.saturating_sub(window_end),
                busy: busy[index],
                tried: tried.contains(&index),
            }
        };
        self.settings.accounts.iter().enumerate().map(candidate).collect()
    }

    fn account_fingerprint(&self, index: usize) -> String {
        codex_home::fingerprint(&self.settings, &self.settings.accounts[index])
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: &Event) {
        self.log.emit(self.clock.wall(), event);
    }
}

/// Looks that go on beside the turns; ended, and waited for, when this is dropped.
pub struct Looks {
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Looks {
    /// One look at every account.
    pub fn start(pool: &Arc<Pool>) -> Looks {
        let (pool, cancel) = (Arc::clone(pool), Cancel::new());
        let ended = cancel.clone();
        // Nobody depends on how it ends.
        let (exits, _) = bounded(1);
        let thread = spawn("codex-look", exits, move || {
            pool.look_at_all(&ended);
            Ok(())
        });
        // Without a thread the first refusal tells instead.
        Looks { cancel, thread: thread.ok() }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.cancel.cancel();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where the accounts are kept.
pub fn file(config: &Config) -> PathBuf {
    config.data.join("provider").join("codex.json")
}
