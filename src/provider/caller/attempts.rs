//! The attempts at one provider of the chain: each is measured and told to the breaker, and then it is asked again, or another
//! one is, or nobody.

use std::time::Duration;

use crate::base::retry::{Retry, Times};
use crate::net::backoff::{Made, Next, TIME_MIN, TURN_ATTEMPTS_MAX};
use crate::observe::event::Event;
use crate::observe::note::Note;
use crate::provider::caller::{Caller, Given, Part, Question, stopped};
use crate::provider::class::{Again, Class};
use crate::provider::effort::Effort;
use crate::provider::{Attempt, Completion, ProviderError};

impl Caller {
    /// Asks one provider until it answers, or does not do so in time.
    pub(super) fn attempts(&mut self, mut part: Part<'_>, question: &mut Question<'_>) -> Result<Completion, Given> {
        loop {
            part.attempts += 1;
            let error = match self.attempt(&part, question) {
                Ok(completion) => return Ok(completion),
                Err(error) if question.cancel.requested() => return Err(Given::Up(error)),
                Err(error) => error,
            };
            question.effort.failed = Some(error.class);
            let again = self.next(&mut part, question, &error);
            if again.is_none() && !self.may_go_on(part.at, question, &error) {
                return Err(Given::Up(error));
            }
            // A stop between attempts is no answer: the turn stays open, and the next process asks again.
            if self.stop.requested() {
                return Err(Given::Up(stopped()));
            }
            self.tell(&part, &error, again.unwrap_or_default());
            let Some(after) = again else { return Err(Given::Over(error)) };
            if !self.wait(after, question.cancel) {
                return Err(Given::Up(stopped()));
            }
            // Meanwhile another turn may have closed the door.
            part.pass = match self.admit(part.at, question) {
                Ok(pass) => pass,
                Err(_) => return Err(Given::Over(error)),
            };
        }
    }

    fn attempt(&mut self, part: &Part<'_>, question: &mut Question<'_>) -> Result<Completion, ProviderError> {
        let may_wait = !self.has_free_after(part.at, question.effort);
        let spare = TURN_ATTEMPTS_MAX.saturating_sub(question.effort.attempts + 1);
        // No channel shows an answer before it is whole.
        let (deadline, cancel) = (question.deadline, question.cancel);
        let mut attempt = Attempt { deadline, cancel, spare, may_wait, deltas: &mut |_| () };
        let begun = self.clock.mono();
        let outcome = self.links[part.at].provider.complete(&part.prompt, &mut attempt);
        let took = begun.until(self.clock.mono());
        let by_itself = spare - attempt.spare;
        self.count(part.at, outcome.as_ref().err(), took, question.effort);
        question.effort.attempts += by_itself;
        if let Some(pass) = part.pass {
            // What fails while it is cancelled says nothing about the provider, nor does what it was not asked.
            let nothing = stopped();
            let says_nothing = |error: &ProviderError| error.unasked || cancel.requested();
            let error = outcome.as_ref().err().map(|error| if says_nothing(error) { &nothing } else { error });
            self.standing.settle(self.links[part.at].who(), pass, error);
        }
        outcome
    }

    /// Measures an attempt. One that asked nobody is none.
    fn count(&self, at: usize, error: Option<&ProviderError>, took: Duration, effort: &mut Effort) {
        let link = &self.links[at];
        effort.provider_ms += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if !error.is_some_and(|error| error.unasked || error.class == Class::NotConfigured) {
            let class = error.map_or("ok", |error| error.class.name());
            self.log.note(Note::Asked { provider: &link.name, class, took });
            effort.attempts += u32::from(!link.is_echo());
        }
    }

    /// When the same provider is asked again; `None`: it is not.
    fn next(&mut self, part: &mut Part<'_>, question: &Question<'_>, error: &ProviderError) -> Option<Duration> {
        let (at, retry) = (part.at, self.retry(part.at, error));
        let left = self.clock.mono().until(question.deadline);
        let made = Made { here: part.attempts, in_turn: question.effort.attempts };
        let Next::Retry { after } = self.policy.decide(made, left, retry, &mut self.rng) else { return None };
        let who = self.links[at].who();
        // Its own failures may have closed the door for longer than that.
        let is_closed = !self.links[at].is_echo() && !self.standing.is_free(who, after);
        if is_closed || error.class.falls_back(Some(after)) && self.has_free_after(at, question.effort) {
            return None;
        }
        if retry.times == Times::OnceShorter {
            part.prompt = part.prompt.shorter()?;
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

    /// Whether another provider may do better, and is asked.
    fn may_go_on(&self, at: usize, question: &Question<'_>, error: &ProviderError) -> bool {
        let is_in_time = self.clock.mono().until(question.deadline) >= TIME_MIN;
        let is_left = is_in_time && question.effort.attempts < TURN_ATTEMPTS_MAX;
        is_left && error.class.falls_back(None) && self.has_free_after(at, question.effort)
    }

    fn tell(&self, part: &Part<'_>, error: &ProviderError, after: Duration) {
        let event = Event::ProviderRetry {
            request_id: part.prompt.turn.to_string(),
            provider: self.links[part.at].name.clone(),
            attempt: part.attempts,
            error: error.to_string(),
            retry_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        };
        self.log.emit(self.clock.wall(), &event);
    }
}
