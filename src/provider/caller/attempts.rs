//! The attempts at one provider of the chain: each is measured and told to the breaker, and then it is asked again, or another
//! one is, or nobody.

use std::time::Duration;

use crate::base::retry::{Retry, Times};
use crate::net::backoff::{Made, Next, TIME_MIN, TURN_ATTEMPTS_MAX};
use crate::observe::event::Event;
use crate::observe::note::Note;
use crate::provider::breaker::Pass;
use crate::provider::caller::{Bounds, Caller, Given, stopped};
use crate::provider::class::{Again, Class};
use crate::provider::effort::Effort;
use crate::provider::{Attempt, Completion, Prompt, ProviderError};

impl Caller {
    /// The attempts at one provider.
    pub(super) fn attempts(
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
}
