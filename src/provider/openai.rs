//! Chat completions (<https://platform.openai.com/docs/api-reference/chat>): one request, one answer. The request is
//! written strictly; [`super::openai_answer`] reads what comes back.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Clock;
use crate::base::message::Role;
use crate::config::live_secret::LiveSecret;
use crate::net::http::{Head, Method, Request, Transport, TransportError};
use crate::provider::class::Class;
use crate::provider::openai_answer::Answer;
use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError};

/// The field that some servers refuse.
const OPTIONS: &str = "stream_options";

/// What kind of answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// A page.
    No,
    /// A stream.
    Plain,
    /// A stream that ends with a count of tokens.
    Counted,
}

/// A server that speaks chat completions.
pub struct OpenAi {
    /// `<base>/chat/completions`.
    pub url: String,
    /// The model.
    pub model: String,
    /// The key, if the server wants one; that of the moment is read for each call.
    pub key: Option<LiveSecret>,
    /// Headers that this vendor asks for.
    pub vendor_headers: Vec<(&'static str, String)>,
    /// Longest silence.
    pub silence: Option<Duration>,
    /// Sent only if set.
    pub temperature: Option<f64>,
    /// Whether a stream is asked for. A server may answer with a page all the same.
    pub streams: Streams,
    /// How bytes travel.
    pub transport: Box<dyn Transport>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<BodyMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct BodyMessage<'a> {
    role: Role,
    content: &'a str,
}

impl Provider for OpenAi {
    fn complete(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        let (mut answer, mut outcome) = self.ask(prompt, attempt);
        // Without this field a stream has no count of tokens, so it is asked for; but some servers refuse what they do
        // not know. Such a refusal is remembered, and asking again at once is one request more.
        let is_refused = matches!(&outcome, Ok(head) if matches!(head.status, 400 | 422)) && answer.names(OPTIONS);
        if is_refused && self.streams == Streams::Counted {
            self.streams = Streams::Plain;
            if let Some(spare) = attempt.spare.checked_sub(1) {
                attempt.spare = spare;
                (answer, outcome) = self.ask(prompt, attempt);
            }
        }
        let now = self.clock.is_trusted().then(|| self.clock.wall());
        answer.finish(outcome, now).map_err(|error| match attempt.cancel.requested() {
            // Whatever the end of a connection that we ended ourselves looks like.
            true => ProviderError::new(Class::Cancelled, "stopped while waiting for the answer"),
            false => error,
        })
    }
}

impl OpenAi {
    fn ask(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> (Answer, Result<Head, TransportError>) {
        let body = self.body(prompt);
        let mut headers = self.vendor_headers.clone();
        headers.push(("x-client-request-id", prompt.turn.to_string()));
        if let Some(key) = &self.key {
            headers.push(("authorization", format!("Bearer {}", key.current().reveal())));
        }
        let request = Request {
            method: Method::Post,
            url: &self.url,
            headers: &headers,
            body: &body,
            silence: self.silence,
            total: self.clock.mono().until(attempt.deadline),
        };
        let mut answer = Answer::default();
        let mut sink = |head: &Head, bytes: &[u8]| answer.push(head, bytes, attempt.deltas);
        let outcome = self.transport.exchange(&request, attempt.cancel, &mut sink);
        (answer, outcome)
    }

    fn body(&self, prompt: &Prompt<'_>) -> Vec<u8> {
        let system = BodyMessage { role: Role::System, content: prompt.system };
        let rest = prompt.messages.iter().map(|message| BodyMessage { role: message.role, content: &message.content });
        let body = Body {
            model: &self.model,
            messages: std::iter::once(system).chain(rest).collect(),
            temperature: self.temperature,
            stream: (self.streams != Streams::No).then_some(true),
            stream_options: (self.streams == Streams::Counted).then_some(StreamOptions { include_usage: true }),
        };
        serde_json::to_vec(&body).expect("a prompt is text")
    }
}
