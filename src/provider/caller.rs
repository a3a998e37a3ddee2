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

/// A question on its way through the chain.
struct Question<'a> {
    prompt: &'a Prompt<'a>,
    deadline: Mono,
    cancel: &'a Cancel,
    effort: &'a mut Effort,
}

/// The part of a question that one provider has.
struct Part<'a> {
    /// Its place in the chain.
    at: usize,
    /// `None`: an echo needs no permission.
    pass: Option<Pass>,
    /// The question, perhaps with less of the history.
    prompt: Prompt<'a>,
    /// Attempts made here.
    attempts: u32,
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
        let outcome = self.walk(&mut Question { prompt, deadline, cancel, effort });
        effort.latency_ms += u64::try_from(start.until(self.clock.mono()).as_millis()).unwrap_or(u64::MAX);
        if let Ok(completion) = &outcome {
            effort.add(completion);
        }
        outcome
    }

    /// One after the other, always from the first: as soon as it may be asked again, it is.
    fn walk(&mut self, question: &mut Question<'_>) -> Result<Completion, ProviderError> {
        self.check(question)?;
        self.links.iter_mut().for_each(Link::look);
        if self.links.iter().any(|link| !link.is_echo()) {
            self.standing.refresh();
        }
        let (mut failure, mut soonest) = (None, None::<Rest>);
        for at in 0..self.links.len() {
            if !question.effort.may_ask(at) {
                continue;
            }
            let pass = match self.admit(at, question) {
                Ok(pass) => pass,
                Err(rest) => {
                    soonest = Some(soonest.filter(|other| other.wait <= rest.wait).unwrap_or(rest));
                    continue;
                }
            };
            let (link, first) = (&self.links[at], &self.links[0]);
            question.effort.begin(at, (&link.name, &link.model), &first.name);
            match self.attempts(Part { at, pass, prompt: *question.prompt, attempts: 0 }, question) {
                Ok(completion) => return Ok(completion),
                Err(Given::Up(error)) => return Err(error),
                Err(Given::Over(error)) => failure = Some(error),
            }
        }
        if failure.is_none() && (question.cancel.requested() || self.stop.requested()) {
            return Err(stopped());
        }
        Err(failure.or(soonest.map(left_alone)).expect("somebody was asked or is left alone"))
    }

    /// Whether there is room for a question at all. The first attempt of a turn is made however little time there is.
    fn check(&self, question: &Question<'_>) -> Result<(), ProviderError> {
        let effort = &question.effort;
        if effort.attempts > 0 && self.clock.mono().until(question.deadline) < TIME_MIN {
            return Err(ProviderError::new(Class::Deadline, "no time for another question"));
        }
        if effort.attempts >= TURN_ATTEMPTS_MAX {
            let class = effort.failed.unwrap_or(Class::Deadline);
            return Err(ProviderError::new(class, "no attempt is left for another question"));
        }
        Ok(())
    }

    /// `None`: an echo needs no permission.
    fn admit(&self, at: usize, question: &Question<'_>) -> Result<Option<Pass>, Rest> {
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
            let is_in_time = rest.wait + TIME_MIN <= self.clock.mono().until(question.deadline);
            let is_worth_it = is_short && is_in_time && !self.has_free_after(at, question.effort);
            if !is_worth_it || !self.wait(rest.wait, question.cancel) {
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

fn left_alone(rest: Rest) -> ProviderError {
    let error = ProviderError::new(rest.class, "not asked: it is left alone for a while");
    ProviderError { retry_after: Some(rest.wait), unasked: true, ..error }
}

fn stopped() -> ProviderError {
    ProviderError::new(Class::Cancelled, "stopped between two attempts")
}
