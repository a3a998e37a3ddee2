//! What a request costs in tokens: what the other side says, or an estimate where it says nothing and may have worked for us.

use serde::{Deserialize, Serialize};

use crate::provider::class::Class;
use crate::provider::{Completion, Prompt, ProviderError};

/// What requests cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Requests that left.
    pub requests: u64,
    /// Tokens of prompts, as the other side counted them.
    pub input_tokens: u64,
    /// Tokens of answers, as the other side counted them.
    pub output_tokens: u64,
    /// Tokens of requests that may have been billed and of which the other side said nothing.
    pub estimated_tokens: u64,
}

impl Tokens {
    /// Adds; saturates.
    pub fn add(&mut self, more: &Tokens) {
        // A damaged file may hold any number.
        self.requests = self.requests.saturating_add(more.requests);
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.estimated_tokens = self.estimated_tokens.saturating_add(more.estimated_tokens);
    }

    /// All tokens together.
    pub fn sum(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens).saturating_add(self.estimated_tokens)
    }
}

/// What a request cost; `None`: nothing left this host. `worked`: what is known beside the outcome, in tokens
/// ([`crate::provider::Provider::worked`]).
pub fn cost(
    prompt: &Prompt<'_>,
    came_bytes: usize,
    worked: u64,
    outcome: &Result<Completion, ProviderError>,
) -> Option<Tokens> {
    let prompt_bytes = prompt.system.len() + prompt.messages.iter().map(|message| message.content.len()).sum::<usize>();
    // Four bytes are about one token, and nobody who says nothing can expect more precision.
    let estimate = |bytes: usize| (bytes as u64).div_ceil(4);
    let mut tokens = Tokens { requests: 1, ..Tokens::default() };
    match outcome {
        Ok(Completion { text, input_tokens, output_tokens, .. }) => {
            let (input, output) = (input_tokens.unwrap_or(0), output_tokens.unwrap_or(0));
            (tokens.input_tokens, tokens.output_tokens) = (input, output);
            let unsaid = |said: &Option<u64>, bytes| if said.is_none() { estimate(bytes) } else { 0 };
            tokens.estimated_tokens = unsaid(input_tokens, prompt_bytes) + unsaid(output_tokens, text.len());
        }
        Err(error) if error.unasked && worked == 0 => return None,
        Err(error) => match bill(error.class) {
            Bill::NotSent if worked == 0 => return None,
            Bill::NotSent | Bill::Refused => {}
            Bill::Perhaps => tokens.estimated_tokens = estimate(prompt_bytes) + estimate(came_bytes),
        },
    }
    tokens.estimated_tokens = tokens.estimated_tokens.saturating_add(worked);
    Some(tokens)
}

/// Whether a failure of this class says that the other side did nothing for us.
pub fn is_free(class: Class) -> bool {
    !matches!(bill(class), Bill::Perhaps)
}

enum Bill {
    /// Nothing left.
    NotSent,
    /// The other side said that it did nothing for us.
    Refused,
    /// Work may have been done before it failed.
    Perhaps,
}

fn bill(class: Class) -> Bill {
    match class {
        Class::Dns | Class::Connect | Class::Tls | Class::Spawn | Class::SpawnTransient => Bill::NotSent,
        Class::NotConfigured | Class::SenderLimit | Class::TokenLimit => Bill::NotSent,
        Class::Overloaded | Class::RateLimited | Class::Quota | Class::Auth | Class::Forbidden => Bill::Refused,
        Class::ModelNotFound | Class::ContextLength | Class::InvalidRequest => Bill::Refused,
        Class::TimeoutFirstByte | Class::TimeoutIdle | Class::Deadline | Class::StreamCut => Bill::Perhaps,
        Class::Server | Class::ContentFilter | Class::Malformed | Class::TooLarge => Bill::Perhaps,
        Class::Exit | Class::Cancelled => Bill::Perhaps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::TurnId;
    use crate::base::message::{Message, Role};

    #[track_caller]
    fn costs(outcome: Result<(Option<u64>, Option<u64>), Class>, want: Option<[u64; 4]>) {
        costs_with(0, outcome, want);
    }

    #[track_caller]
    fn costs_with(worked: u64, outcome: Result<(Option<u64>, Option<u64>), Class>, want: Option<[u64; 4]>) {
        let messages = [Message { role: Role::User, content: "12345678".into() }];
        let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
        let prompt = Prompt { turn, system: "1234", messages: &messages, history: 0, ordinal: 0 };
        let outcome = match outcome {
            Ok((input_tokens, output_tokens)) => {
                Ok(Completion { text: "12345".into(), input_tokens, output_tokens, ..Completion::default() })
            }
            Err(class) => Err(ProviderError::new(class, "x")),
        };
        let cost = cost(&prompt, 4, worked, &outcome);
        let numbers = |t: Tokens| [t.requests, t.input_tokens, t.output_tokens, t.estimated_tokens];
        assert_eq!(cost.map(numbers), want, "{outcome:?}");
    }

    #[test]
    fn what_was_said_counts_and_what_may_have_been_billed_is_estimated() {
        costs(Ok((Some(7), Some(9))), Some([1, 7, 9, 0]));
        costs(Ok((Some(7), None)), Some([1, 7, 0, 2]));
        costs(Ok((None, None)), Some([1, 0, 0, 5]));
        costs(Err(Class::Connect), None);
        costs(Err(Class::TokenLimit), None);
        costs(Err(Class::Auth), Some([1, 0, 0, 0]));
        costs(Err(Class::RateLimited), Some([1, 0, 0, 0]));
        costs(Err(Class::StreamCut), Some([1, 0, 0, 4]));
        costs(Err(Class::Deadline), Some([1, 0, 0, 4]));
        costs_with(100, Err(Class::Deadline), Some([1, 0, 0, 104]));
        costs_with(100, Err(Class::RateLimited), Some([1, 0, 0, 100]));
        costs_with(100, Err(Class::Connect), Some([1, 0, 0, 100]));
        // What an account used that gave way to another one.
        costs_with(100, Ok((Some(7), Some(9))), Some([1, 7, 9, 100]));
    }
}
