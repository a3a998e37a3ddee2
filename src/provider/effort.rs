//! [`Effort`]: what the questions of a turn took, for its line in the log.

use crate::provider::Completion;
use crate::provider::chain::PROVIDERS_MAX;
use crate::provider::class::Class;

/// Counted over all calls of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Attempts made.
    pub attempts: u32,
    /// Milliseconds in calls and the waits between them.
    pub latency_ms: u64,
    /// Milliseconds in calls alone.
    pub provider_ms: u64,
    /// The model of the last answer, as the other side names it.
    pub response_model: Option<String>,
    /// The other side's name of the last answer.
    pub upstream_id: Option<String>,
    /// Tokens of all prompts that were counted.
    pub input_tokens: Option<u64>,
    /// Tokens of all answers that were counted.
    pub output_tokens: Option<u64>,
    /// Name and model of the provider that answered the last question, or failed last.
    pub by: Option<(String, String)>,
    /// The first provider, if that was another one.
    pub fallback_from: Option<String>,
    /// Places in the chain of those who were asked, at most [`PROVIDERS_MAX`].
    pub(super) asked: Vec<usize>,
    /// The failure that came last.
    pub(super) failed: Option<Class>,
}

impl Effort {
    /// Whether one more provider may be asked, or this one again.
    pub(super) fn may_ask(&self, at: usize) -> bool {
        self.asked.len() < PROVIDERS_MAX || self.asked.contains(&at)
    }

    /// The provider at this place is asked, by its name and model; `first` is the name of the one at the first place.
    pub(super) fn begin(&mut self, at: usize, (name, model): (&str, &str), first: &str) {
        if !self.asked.contains(&at) {
            self.asked.push(at);
        }
        self.by = Some((name.to_owned(), model.to_owned()));
        self.fallback_from = (at > 0).then(|| first.to_owned());
    }

    /// An answer is there.
    pub(super) fn add(&mut self, completion: &Completion) {
        add(&mut self.input_tokens, completion.input_tokens);
        add(&mut self.output_tokens, completion.output_tokens);
        (self.response_model, self.upstream_id) = (completion.model.clone(), completion.id.clone());
    }
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0) + more);
    }
}
