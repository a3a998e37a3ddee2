//! Asking a model: the trait [`Provider`], what goes in ([`Prompt`]) and what comes out.
//!
//! A provider makes one attempt; [`caller`] decides about more. Upstream text never leaves this folder except as an
//! answer: errors carry a [`class::Class`] and a phrase of our own.

use std::fmt;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Mono;
use crate::base::id::TurnId;
use crate::base::message::Message;
use crate::provider::class::Class;

// What is known of the accounts of Codex, and which one a turn takes.
pub mod accounts;
// The file that it is kept in.
pub mod accounts_file;
// Whether a provider is asked at all.
pub mod breaker;
// How many further attempts a credential has.
pub mod budget;
// A provider with retries, a deadline and the turn's measurements.
pub mod caller;
// Everyone who may be asked.
pub mod chain;
// What can go wrong, and what each kind of wrong means.
pub mod class;
// From evidence to a class.
pub mod classify;
// The Codex program.
pub mod codex;
// The Codex program's events.
pub mod codex_events;
// What a failed run of the Codex program means.
pub mod codex_failure;
// An account of Codex on this machine.
pub mod codex_home;
// What a request costs.
pub mod cost;
// The table of classes in docs/providers.md.
pub mod document;
// What the questions of a turn took.
pub mod effort;
// What is known of a provider from one process to the next.
pub mod kept;
// An echo.
pub mod local;
// A provider whose requests are counted, up to a limit.
pub mod metered;
// Chat completions over HTTP.
pub mod openai;
// What a chat completions server answers.
pub mod openai_answer;
// What a person may see of the providers.
pub mod overview;
// The accounts of Codex that all workers share.
pub mod pool;
// Whether a key is accepted, for free.
pub mod probe;
// What all callers have in common.
pub mod shared;
// What was asked and spent, and whether more may be.
pub mod spending;
// The file of what was spent, shared by processes.
pub mod spending_file;
// Server-sent events.
pub mod sse;
// What is known of every provider, shared by all turns.
pub mod standing;
// The file of what is known, shared by processes.
pub mod standing_file;

/// What the model is asked.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// The turn, for tracing at the other side.
    pub turn: TurnId,
    /// Instructions.
    pub system: &'a str,
    /// The conversation; the last one is what is asked now.
    pub messages: &'a [Message],
    /// How many of the messages were said before, and may be left out if there are too many.
    pub history: usize,
    /// How many lines the session has.
    pub ordinal: u64,
}

/// Two turns: what is never left out.
const HISTORY_MIN: usize = 4;

impl Prompt<'_> {
    /// With half of what was said before, and the last two turns at least; `None`: there is no more than that.
    pub fn shorter(&self) -> Option<Self> {
        let kept = self.history.div_ceil(2).max(HISTORY_MIN);
        let left_out = self.history.checked_sub(kept).filter(|count| *count > 0)?;
        Some(Prompt { messages: &self.messages[left_out..], history: kept, ..*self })
    }
}

/// What the model answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Never blank.
    pub text: String,
    /// Tokens of the prompt, if the other side counted.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, if the other side counted.
    pub output_tokens: Option<u64>,
    /// The model that answered, as the other side names it: short and printable.
    pub model: Option<String>,
    /// The other side's name of this answer: short and printable.
    pub id: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// Decides everything that follows.
    pub class: Class,
    /// How long the other side asked us to wait.
    pub retry_after: Option<Duration>,
    /// A phrase of our own for the log, such as `status 500`.
    pub detail: String,
    /// Nobody was asked: what was known before decided. So it is no news, and costs nothing.
    pub unasked: bool,
}

impl ProviderError {
    /// An error without a wish for patience.
    pub fn new(class: Class, detail: impl Into<String>) -> ProviderError {
        ProviderError { class, retry_after: None, detail: detail.into(), unasked: false }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.name(), self.detail)
    }
}

/// The bounds of one attempt, and who listens meanwhile.
pub struct Attempt<'a> {
    /// The answer has to be there by then.
    pub deadline: Mono,
    /// Ends the attempt early.
    pub cancel: &'a Cancel,
    /// Requests that it may make besides the first one; each that is made is taken off.
    pub spare: u32,
    /// Nobody else could answer: a provider that is busy is waited for.
    pub may_wait: bool,
    /// Hears the answer's pieces as they arrive, if the provider streams. They are a preview: the attempt may still
    /// fail, and then what was heard is worth nothing. Only the returned [`Completion`] is an answer.
    pub deltas: &'a mut dyn FnMut(&str),
}

/// One attempt. No retry here.
pub trait Provider: Send {
    /// Asks, and waits for the answer until the attempt's deadline at most.
    fn complete(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError>;

    /// Tokens that the last attempt may have used beyond what its outcome says, about: of a program that works by itself.
    fn worked(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_prompt_keeps_two_turns_and_everything_that_is_asked_now() {
        let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
        let role = crate::base::message::Role::User;
        let messages: Vec<Message> = (0..22).map(|at| Message { role, content: at.to_string() }).collect();
        let left = |history: usize| {
            let prompt = Prompt { turn, system: "", messages: &messages[..history + 2], history, ordinal: 0 };
            prompt.shorter().map(|shorter| {
                assert_eq!(shorter.messages.last().map(|last| &last.content), Some(&(history + 1).to_string()));
                assert_eq!(shorter.messages.len(), shorter.history + 2);
                shorter.history
            })
        };
        assert_eq!([left(20), left(9), left(6), left(5)], [Some(10), Some(5), Some(4), Some(4)]);
        assert_eq!([left(4), left(1), left(0)], [None; 3]);
    }
}
