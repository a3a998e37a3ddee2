//! Chat completions (<https://platform.openai.com/docs/api-reference/chat>): one request, one JSON answer. Servers
//! differ in what they leave out, so the answer is read tolerantly and the request is written strictly.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::clock::{Clock, Wall};
use crate::base::message::Role;
use crate::config::live_secret::LiveSecret;
use crate::net::http::{BODY_BYTES_MAX, Head, Method, Request, Transport, collect};
use crate::net::retry_after::retry_after;
use crate::provider::classify::{Content, Evidence, Told, classify};
use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError};

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
}

#[derive(Serialize)]
struct BodyMessage<'a> {
    role: Role,
    content: &'a str,
}

impl Provider for OpenAi {
    fn complete(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
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
        let (head, body) = collect(self.transport.as_mut(), &request, attempt.cancel, BODY_BYTES_MAX)
            .map_err(|error| ProviderError::new(classify(Evidence::Transport(error.phase)), error.to_string()))?;
        read(&head, &body, self.clock.is_trusted().then(|| self.clock.wall()))
    }
}

impl OpenAi {
    fn body(&self, prompt: &Prompt<'_>) -> Vec<u8> {
        let system = BodyMessage { role: Role::System, content: prompt.system };
        let rest = prompt.messages.iter().map(|message| BodyMessage { role: message.role, content: &message.content });
        let messages = std::iter::once(system).chain(rest).collect();
        let body = Body { model: &self.model, messages, temperature: self.temperature };
        serde_json::to_vec(&body).expect("a prompt is text")
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    choices: Vec<Choice>,
    usage: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Choice {
    message: Option<AnswerMessage>,
    finish_reason: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AnswerMessage {
    content: Option<Value>,
}

fn read(head: &Head, body: &[u8], now: Option<Wall>) -> Result<Completion, ProviderError> {
    let detail = format!("status {}", head.status);
    let failed = |content: Content<'_>, what: &str| ProviderError {
        class: classify(Evidence::Response { status: head.status, content }),
        retry_after: retry_after(head, now),
        detail: format!("{detail}{what}"),
        unasked: false,
    };
    let malformed = |what: &str| failed(Content::Other, what);
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = Told::of(&value);
    let content = told.as_ref().map_or(Content::Other, Content::Error);
    if !(200..300).contains(&head.status) {
        return Err(failed(content, ""));
    }
    if told.is_some() {
        return Err(failed(content, ", an error object inside"));
    }
    let answer: Answer = serde_json::from_value(value).map_err(|_| malformed(", not a JSON object as we know it"))?;
    let choice = answer.choices.into_iter().next().ok_or_else(|| malformed(", no choice"))?;
    if choice.finish_reason.as_ref().and_then(Value::as_str) == Some("content_filter") {
        return Err(failed(Content::Withheld, ", the answer was withheld"));
    }
    let text = choice.message.and_then(|message| message.content).map(|content| text_of(&content)).unwrap_or_default();
    if text.is_empty() {
        return Err(malformed(", no text in the answer"));
    }
    let tokens = |name: &str| answer.usage.as_ref().and_then(|usage| usage.get(name)?.as_u64());
    Ok(Completion { text, input_tokens: tokens("prompt_tokens"), output_tokens: tokens("completion_tokens") })
}

/// A string, or parts whose texts are joined.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).map(str::trim).collect();
            texts.join("\n").trim().to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::provider::class::Class;

    fn head(status: u16) -> Head {
        Head { status, ..Head::default() }
    }

    #[track_caller]
    fn check(status: u16, body: &str, want: Result<&str, Class>) {
        let got = read(&head(status), body.as_bytes(), None);
        assert_eq!(got.as_ref().map(|done| done.text.as_str()).map_err(|error| error.class), want, "{body}");
    }

    #[test]
    fn answers_are_read_tolerantly() {
        check(200, r#"{"choices":[{"message":{"content":" hi "}}]}"#, Ok("hi"));
        check(
            200,
            r#"{"error":null,"choices":[{"message":{"content":[{"text":"a"},{"x":1},{"text":"b"}]}}],"usage":null}"#,
            Ok("a\nb"),
        );
        check(
            200,
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":7}],"usage":{"prompt_tokens":1.5}}"#,
            Ok("x"),
        );
        check(201, r#"{"choices":[{"message":{"content":"x"},"finish_reason":null}]}"#, Ok("x"));
    }

    #[test]
    fn everything_else_is_classified() {
        check(200, "<html>login</html>", Err(Class::Malformed));
        check(200, "{}", Err(Class::Malformed));
        check(200, r#"{"choices":[{"message":{"content":null,"tool_calls":[]}}]}"#, Err(Class::Malformed));
        check(
            200,
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}]}"#,
            Err(Class::ContentFilter),
        );
        check(200, r#"{"error":{"code":"rate_limit_exceeded"}}"#, Err(Class::RateLimited));
        check(200, r#"{"error":"something"}"#, Err(Class::Malformed));
        check(429, r#"{"error":{"type":"insufficient_quota"}}"#, Err(Class::Quota));
        check(429, "try again", Err(Class::RateLimited));
        check(500, "", Err(Class::Server));
    }

    #[test]
    fn upstream_text_is_not_part_of_an_error() {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-canary","code":"invalid_api_key"}}"#;
        let error = read(&head(401), body.as_bytes(), None).expect_err("an error");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
