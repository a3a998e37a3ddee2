//! [`Caller`]: puts a question to the providers of the chain until one answers, with retries, under one deadline, and keeps
//! the measurements of the turn.
//!
//! Every attempt asks [`Standing`] first and tells it afterwards; nobody else decides whether a provider is asked.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::base::id::TurnId;
use crate::base::retry::{Retry, Times};
use crate::base::rng::Rng;
use crate::config::settings::{Config, ProviderSettings};
use crate::net::backoff::{Made, Next, Policy, TIME_MIN, TURN_ATTEMPTS_MAX};
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::provider::breaker::Pass;
use crate::provider::chain::Link;
use crate::provider::class::{Again, Class};
use crate::provider::effort::Effort;
use crate::provider::pool::Pool;
use crate::provider::spending::Refusal;
use crate::provider::spending_file::{Asker, Spending};
use crate::provider::standing::{Rest, Standing};
use crate::provider::{Attempt, Completion, Prompt, ProviderError};
use crate::sys::stop::Stop;

/// How often a wait between attempts looks at the cancel flag.
const SLICE: Duration = Duration::from_millis(100);

/// A provider that wants to be left alone no longer than this is waited for.
const NAMED_WAIT_MAX: Duration = Duration::from_secs(10);

/// What ends the attempts of a question early.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    deadline: Mono,
    cancel: &'a Cancel,
}

/// Why a provider is not asked any more.
enum Given {
    /// Another one may do better.
    Over(ProviderError),
    /// Nobody would.
    Up(ProviderError),
}

/// What all callers of a process share.
#[derive(Clone)]
pub struct Shared {
    /// What was spent.
    pub spending: Arc<Spending>,
    /// What is known of the providers.
    pub standing: Arc<Standing>,
    /// The accounts that Codex may use.
    pub pool: Arc<Pool>,
}

impl Shared {
    /// For a command that asks once.
    pub fn new(config: &Config, rng: &mut Rng, clock: &Arc<dyn Clock>, log: &Arc<dyn Log>) -> Shared {
        let with = || (Arc::clone(clock), Arc::clone(log));
        let ((clock, log), (spending_clock, spending_log), (pool_clock, pool_log)) = (with(), with(), with());
        Shared {
            spending: Arc::new(Spending::new(config, Duration::ZERO, spending_clock, spending_log)),
            standing: Arc::new(Standing::new(&config.data, rng.split(), clock, log)),
            pool: Arc::new(Pool::new(config, pool_clock, pool_log)),
        }
    }
}

/// The providers, with patience.
pub struct Caller {
    pub(super) links: Vec<Link>,
    pub(super) standing: Arc<Standing>,
    /// `None`: asking costs nothing.
    pub(super) spending: Option<Arc<Spending>>,
    policy: Policy,
    rng: Rng,
    clock: Arc<dyn Clock>,
    stop: Stop,
    log: Arc<dyn Log>,
}

impl Caller {
    /// The configured providers. An echo does not use what is shared.
    pub fn new(
        config: &Config,
        shared: &Shared,
        rng: Rng,
        clock: Arc<dyn Clock>,
        stop: Stop,
        log: Arc<dyn Log>,
    ) -> Caller {
        let links = Link::all(config, shared, &clock);
        let costs = links.iter().any(|link| !link.is_echo());
        let spending = costs.then(|| Arc::clone(&shared.spending));
        let standing = Arc::clone(&shared.standing);
        Caller { spending, ..Caller::over(links, &config.provider, standing, rng, clock, stop, log) }
    }

    /// Any providers, in order, with the patience of `settings`.
    pub fn over(
        links: Vec<Link>,
        settings: &ProviderSettings,
        standing: Arc<Standing>,
        rng: Rng,
        clock: Arc<dyn Clock>,
        stop: Stop,
        log: Arc<dyn Log>,
    ) -> Caller {
        let policy = Policy { attempts_max: settings.attempts, base: settings.backoff, cap: settings.backoff_max };
        Caller { links, standing, spending: None, policy, rng, clock, stop, log }
    }

    /// Whether a turn may begin to ask; it is counted then, once.
    pub fn begin(&self, turn: TurnId, asker: Option<Asker<'_>>) -> Result<(), Refusal> {
        self.spending.as_ref().map_or(Ok(()), |spending| spending.admit(turn, asker))
    }

    /// A turn that asked nobody, because all are left alone, is taken back: what others break costs no person a question.
    pub fn give_back(&self, turn: TurnId, asker: Option<Asker<'_>>) {
        if let (Some(spending), Some(asker)) = (&self.spending, asker) {
            spending.give_back(turn, asker);
        }
    }

    /// Asks until there is an answer, or no more sense in asking. Counts into `effort` either way.
    pub fn ask(
        &mut self,
        prompt: &Prompt<'_>,
        deadline: Mono,
        cancel: &Cancel,
        effort: &mut Effort,
    ) -> Result<Completion, ProviderError> {
        let start = self.clock.mono();
        let outcome = self.walk(prompt, Bounds { deadline, cancel }, effort);
        effort.latency_ms += u64::try_from(start.until(self.clock.mono()).as_millis()).unwrap_or(u64::MAX);
        if let Ok(completion) = &outcome {
            effort.add(completion);
        }
        outcome
    }

    /// One after the other, always from the first: as soon as it may be asked again, it is.
    fn walk(
        &mut self,
        prompt: &Prompt<'_>,
        bounds: Bounds<'_>,
        effort: &mut Effort,
    ) -> Result<Completion, ProviderError> {
        // The first attempt of a turn is made however little time there is.
        if effort.attempts > 0 && self.clock.mono().until(bounds.deadline) < TIME_MIN {
            return Err(ProviderError::new(Class::Deadline, "no time for another question"));
        }
        if effort.attempts >= TURN_ATTEMPTS_MAX {
            let class = effort.failed.unwrap_or(Class::Deadline);
            return Err(ProviderError::new(class, "no attempt is left for another question"));
        }
        self.links.iter_mut().for_each(Link::look);
        if self.links.iter().any(|link| !link.is_echo()) {
            self.standing.refresh();
        }
        let (mut failure, mut soonest) = (None, None::<Rest>);
        for at in 0..self.links.len() {
            if !effort.may_ask(at) {
                continue;
            }
            let pass = match self.admit(at, bounds, effort) {
                Ok(pass) => pass,
                Err(rest) => {
                    soonest = Some(soonest.filter(|other| other.wait <= rest.wait).unwrap_or(rest));
                    continue;
                }
            };
            if !effort.asked.contains(&at) {
                effort.asked.push(at);
            }
            effort.by = Some((self.links[at].name.clone(), self.links[at].model.clone()));
            effort.fallback_from = (at > 0).then(|| self.links[0].name.clone());
            match self.attempts(at, pass, prompt, bounds, effort) {
                Ok(completion) => return Ok(completion),
                Err(Given::Up(error)) => return Err(error),
                Err(Given::Over(error)) => failure = Some(error),
            }
        }
        if failure.is_none() && (bounds.cancel.requested() || self.stop.requested()) {
            return Err(stopped());
        }
        let resting = soonest.map(|rest| ProviderError {
            retry_after: Some(rest.wait),
            unasked: true,
            ..ProviderError::new(rest.class, "not asked: it is left alone for a while")
        });
        Err(failure.or(resting).expect("somebody was asked or is left alone"))
    }

    /// `None`: an echo needs no permission.
    fn admit(&self, at: usize, bounds: Bounds<'_>, effort: &Effort) -> Result<Option<Pass>, Rest> {
        let link = &self.links[at];
        if link.is_echo() {
            return Ok(None);
        }
        loop {
            let rest = match self.standing.admit(link.who()) {
                Ok(pass) => return Ok(Some(pass)),
                Err(rest) => rest,
            };
            let is_short = rest.is_named && rest.wait <= NAMED_WAIT_MAX;
            let is_in_time = rest.wait + TIME_MIN <= self.clock.mono().until(bounds.deadline);
            if !is_short || !is_in_time || self.has_free_after(at, effort) || !self.wait(rest.wait, bounds.cancel) {
                return Err(rest);
            }
        }
    }

    /// Whether another one that this turn may still ask would be asked.
    fn has_free_after(&self, at: usize, effort: &Effort) -> bool {
        let is_free = |link: &Link| self.standing.is_free(link.who(), Duration::ZERO);
        (at + 1..self.links.len()).any(|later| effort.may_ask(later) && is_free(&self.links[later]))
    }

    /// The attempts at one provider.
    fn attempts(
        &mut self,
        at: usize,
        first: Option<Pass>,
        prompt: &Prompt<'_>,
        bounds: Bounds<'_>,
        effort: &mut Effort,
    ) -> Result<Completion, Given> {
        let (mut prompt, mut pass, mut here) = (*prompt, first, 0);
        loop {
            here += 1;
            let error = match self.attempt(at, pass, &prompt, bounds, effort) {
                Ok(completion) => return Ok(completion),
                Err(error) if bounds.cancel.requested() => return Err(Given::Up(error)),
                Err(error) => error,
            };
            effort.failed = Some(error.class);
            let Some(after) = self.next(at, here, bounds, &error, &mut prompt, effort) else {
                if !error.class.falls_back(None) || !self.may_go_on(at, bounds, effort) {
                    return Err(Given::Up(error));
                }
                if self.stop.requested() {
                    return Err(Given::Up(stopped()));
                }
                self.tell(at, &prompt, here, &error, Duration::ZERO);
                return Err(Given::Over(error));
            };
            // A stop between attempts is no answer: the turn stays open, and the next process asks again.
            if self.stop.requested() {
                return Err(Given::Up(stopped()));
            }
            self.tell(at, &prompt, here, &error, after);
            if !self.wait(after, bounds.cancel) {
                return Err(Given::Up(stopped()));
            }
            // Meanwhile another turn may have closed the door.
            pass = match self.admit(at, bounds, effort) {
                Ok(pass) => pass,
                Err(_) => return Err(Given::Over(error)),
            };
        }
    }

    fn attempt(
        &mut self,
        at: usize,
        pass: Option<Pass>,
        prompt: &Prompt<'_>,
        bounds: Bounds<'_>,
        effort: &mut Effort,
    ) -> Result<Completion, ProviderError> {
        let may_wait = !self.has_free_after(at, effort);
        let link = &mut self.links[at];
        let spare = TURN_ATTEMPTS_MAX.saturating_sub(effort.attempts + 1);
        // No channel shows an answer before it is whole.
        let (deadline, cancel) = (bounds.deadline, bounds.cancel);
        let mut attempt = Attempt { deadline, cancel, spare, may_wait, deltas: &mut |_| () };
        let begun = self.clock.mono();
        let outcome = link.provider.complete(prompt, &mut attempt);
        let took = begun.until(self.clock.mono());
        effort.provider_ms += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let is_unasked = |error: &ProviderError| error.unasked || error.class == Class::NotConfigured;
        let counted = !outcome.as_ref().is_err_and(is_unasked);
        if counted {
            let class = outcome.as_ref().map_or_else(|error| error.class.name(), |_| "ok");
            self.log.note(Note::Asked { provider: &self.links[at].name, class, took });
        }
        let link = &self.links[at];
        effort.attempts += u32::from(counted && !link.is_echo()) + (spare - attempt.spare);
        if let Some(pass) = pass {
            // What fails while it is cancelled says nothing about the provider, nor does what it was not asked.
            let nothing = stopped();
            let says_nothing = |error: &ProviderError| error.unasked || bounds.cancel.requested();
            let error = outcome.as_ref().err().map(|error| if says_nothing(error) { &nothing } else { error });
            self.standing.settle(self.links[at].who(), pass, error);
        }
        outcome
    }

    /// When the same provider is asked again; `None`: it is not.
    fn next(
        &mut self,
        at: usize,
        here: u32,
        bounds: Bounds<'_>,
        error: &ProviderError,
        prompt: &mut Prompt<'_>,
        effort: &Effort,
    ) -> Option<Duration> {
        let retry = self.retry(at, error);
        let left = self.clock.mono().until(bounds.deadline);
        let made = Made { here, in_turn: effort.attempts };
        let Next::Retry { after } = self.policy.decide(made, left, retry, &mut self.rng) else { return None };
        let who = self.links[at].who();
        // Its own failures may have closed the door for longer than that.
        let is_closed = !self.links[at].is_echo() && !self.standing.is_free(who, after);
        if is_closed || error.class.falls_back(Some(after)) && self.has_free_after(at, effort) {
            return None;
        }
        if retry.times == Times::OnceShorter {
            *prompt = prompt.shorter()?;
        }
        let after_timeout = error.class.row().again == Again::OnceSlow;
        self.standing.may_retry(who, after_timeout).then_some(after)
    }

    fn retry(&self, at: usize, error: &ProviderError) -> Retry {
        if self.links[at].tries_by_itself() && error.class != Class::SpawnTransient {
            return Retry::NO;
        }
        error.class.retry(error.retry_after, self.clock.is_trusted())
    }

    fn may_go_on(&self, at: usize, bounds: Bounds<'_>, effort: &Effort) -> bool {
        let left = self.clock.mono().until(bounds.deadline);
        left >= TIME_MIN && effort.attempts < TURN_ATTEMPTS_MAX && self.has_free_after(at, effort)
    }

    fn tell(&self, at: usize, prompt: &Prompt<'_>, attempt: u32, error: &ProviderError, after: Duration) {
        let event = Event::ProviderRetry {
            request_id: prompt.turn.to_string(),
            provider: self.links[at].name.clone(),
            attempt,
            error: error.to_string(),
            retry_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        };
        self.log.emit(self.clock.wall(), &event);
    }

    /// `false`: the wait was ended early.
    fn wait(&self, delay: Duration, cancel: &Cancel) -> bool {
        let end = self.clock.mono().after(delay);
        loop {
            let left = self.clock.mono().until(end);
            if left.is_zero() {
                return true;
            }
            if cancel.requested() || self.stop.wait(left.min(SLICE)) {
                return false;
            }
        }
    }
}

fn stopped() -> ProviderError {
    ProviderError::new(Class::Cancelled, "stopped between two attempts")
}
