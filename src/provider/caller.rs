//! [`Caller`]: puts a question to the providers of the chain until one answers, with retries, under one deadline, and keeps
//! the measurements of the turn.
//!
//! Here is the walk through the chain; the attempts at one provider of it are in `attempts.rs`. Every attempt asks
//! [`Standing`] first and tells it afterwards; nobody else decides whether a provider is asked.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::base::id::TurnId;
use crate::base::rng::Rng;
use crate::config::settings::{Config, ProviderSettings};
use crate::net::backoff::{Policy, TIME_MIN, TURN_ATTEMPTS_MAX};
use crate::observe::event::Log;
use crate::provider::breaker::Pass;
use crate::provider::chain::Link;
use crate::provider::class::Class;
use crate::provider::effort::Effort;
use crate::provider::shared::Shared;
use crate::provider::spending::Refusal;
use crate::provider::spending_file::{Asker, Spending};
use crate::provider::standing::{Rest, Standing};
use crate::provider::{Completion, Prompt, ProviderError};
use crate::sys::stop::Stop;

// One provider, asked until it answers or is given up.
mod attempts;

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
