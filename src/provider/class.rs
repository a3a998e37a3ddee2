//! [`Class`]: every way an attempt can fail, decided from structured evidence (how far the exchange came, the status,
//! error codes), never from body text. The table says whether to try again and what the person is told.

use std::time::Duration;

use crate::base::retry::Retry;
use crate::net::http::{Phase, TransportError};

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each one means")]
pub enum Class {
    Dns,
    Connect,
    Tls,
    TimeoutFirstByte,
    TimeoutIdle,
    Deadline,
    StreamCut,
    Server,
    Overloaded,
    RateLimited,
    Quota,
    Auth,
    Forbidden,
    ModelNotFound,
    ContextLength,
    ContentFilter,
    InvalidRequest,
    Malformed,
    TooLarge,
    Spawn,
    SpawnTransient,
    Exit,
    NotConfigured,
    SenderLimit,
    TokenLimit,
    Cancelled,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Once,
    Yes,
    /// Not before the delay the server named, or this one.
    Patiently(Duration),
}

impl Class {
    /// The name in logs and session files.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What the person is told; completes "Sorry, …".
    pub fn sentence(self) -> &'static str {
        self.row().2
    }

    /// Name, another attempt, sentence.
    #[rustfmt::skip]
    fn row(self) -> (&'static str, Again, &'static str) {
        const NETWORK: &str = "I cannot reach the model right now because of a network problem. Please try again in a minute.";
        const TROUBLE: &str = "the model's provider has a problem right now. Please try again in a minute.";
        const SLOW: &str = "the model is too slow to answer right now. Please try again in a minute.";
        const SETUP: &str = "I cannot use the model as I am set up. My operator has to look at it.";
        match self {
            Class::Dns => ("dns", Again::Patiently(Duration::from_secs(1)), NETWORK),
            Class::Connect => ("connect", Again::Yes, NETWORK),
            Class::Tls => ("tls", Again::No, "I cannot reach the model safely (TLS problem). My operator has to look at it."),
            Class::TimeoutFirstByte => ("timeout_first_byte", Again::Once, SLOW),
            Class::TimeoutIdle => ("timeout_idle", Again::Once, SLOW),
            Class::Deadline => ("deadline", Again::No, "that took too long, so I stopped. Please try again, perhaps with a smaller question."),
            Class::StreamCut => ("stream_cut", Again::Yes, TROUBLE),
            Class::Server => ("server", Again::Yes, TROUBLE),
            Class::Overloaded => ("overloaded", Again::Patiently(Duration::from_secs(1)), "the model is busy right now. Please try again in a few minutes."),
            Class::RateLimited => ("rate_limited", Again::Patiently(Duration::from_secs(1)), "I have asked the model too often for now. Please try again in a few minutes."),
            Class::Quota => ("quota", Again::No, "the model's quota is used up. My operator has to look at it."),
            Class::Auth => ("auth", Again::No, "the model's provider rejects my credentials. My operator has to look at it."),
            Class::Forbidden => ("forbidden", Again::No, "the model's provider does not let me in. My operator has to look at it."),
            Class::ModelNotFound => ("model_not_found", Again::No, "the configured model does not exist. My operator has to look at it."),
            Class::ContextLength => ("context_length", Again::No, "this conversation has become too long for the model. Please send a shorter message."),
            Class::ContentFilter => ("content_filter", Again::No, "the model declined to answer that."),
            Class::InvalidRequest => ("invalid_request", Again::No, "the model's provider did not understand my request. My operator has to look at it."),
            Class::Malformed => ("malformed", Again::Once, TROUBLE),
            Class::TooLarge => ("too_large", Again::No, "the model's answer was too large."),
            Class::Spawn => ("spawn", Again::No, SETUP),
            Class::SpawnTransient => ("spawn", Again::Once, TROUBLE),
            Class::Exit => ("exit", Again::No, TROUBLE),
            Class::NotConfigured => ("not_configured", Again::No, SETUP),
            Class::SenderLimit => ("sender_limit", Again::No, "you have asked as many questions as you may for now. Please try again later."),
            Class::TokenLimit => ("token_limit", Again::No, "all tokens that I may use in a day are used up. Please try again tomorrow."),
            Class::Cancelled => ("cancelled", Again::No, "I was stopped before I could answer."),
        }
    }

    /// What a failed attempt allows, given what the server asked for.
    pub fn retry(self, retry_after: Option<Duration>) -> Retry {
        match (self.row().1, retry_after) {
            (Again::No, _) => Retry::No,
            (Again::Once, _) => Retry::Once,
            (Again::Patiently(floor), asked) => Retry::After(asked.unwrap_or(floor).max(floor)),
            (Again::Yes, Some(asked)) => Retry::After(asked),
            (Again::Yes, None) => Retry::Yes,
        }
    }

    /// From how far an exchange came. The body of a response is not streamed, so a cut or a stop in it is the same as
    /// at its beginning: nothing of it is used.
    pub fn of_transport(error: &TransportError) -> Class {
        match error.phase {
            Phase::Resolve => Class::Dns,
            Phase::Connect => Class::Connect,
            Phase::Tls => Class::Tls,
            Phase::FirstByte => Class::TimeoutFirstByte,
            Phase::Idle => Class::TimeoutIdle,
            Phase::Total => Class::Deadline,
            Phase::Cut => Class::StreamCut,
            Phase::Malformed => Class::Malformed,
            Phase::TooLarge | Phase::Refused => Class::TooLarge,
            Phase::Cancelled => Class::Cancelled,
        }
    }

    /// From a status that is not 2xx and the error codes of the body's error object, if it has one.
    pub fn of_status(status: u16, codes: &[&str]) -> Class {
        let says = |words: &[&str]| codes.iter().any(|code| words.iter().any(|word| code.contains(word)));
        match status {
            401 => Class::Auth,
            402 => Class::Quota,
            403 if says(&["authentication", "api_key"]) => Class::Auth,
            403 => Class::Forbidden,
            404 if says(&["model"]) => Class::ModelNotFound,
            408 | 409 | 425 => Class::Server,
            413 if says(&["context_length"]) => Class::ContextLength,
            429 if says(&["insufficient_quota", "usage_limit_reached", "usage_not_included", "billing"]) => {
                Class::Quota
            }
            429 => Class::RateLimited,
            503 | 529 if says(&["overloaded", "slow_down"]) => Class::Overloaded,
            500.. => Class::Server,
            _ => Class::of_codes(codes).unwrap_or(Class::InvalidRequest),
        }
    }

    /// From error codes alone: an error object inside a 2xx response, or a 400.
    pub fn of_codes(codes: &[&str]) -> Option<Class> {
        let says = |words: &[&str]| codes.iter().any(|code| words.iter().any(|word| code.contains(word)));
        let table: [(&[&str], Class); 8] = [
            (&["context_length"], Class::ContextLength),
            (&["content_filter", "cyber_policy", "content_policy"], Class::ContentFilter),
            (&["insufficient_quota", "usage_limit", "billing"], Class::Quota),
            (&["rate_limit"], Class::RateLimited),
            (&["overloaded", "slow_down"], Class::Overloaded),
            (&["server_error", "internal"], Class::Server),
            (&["invalid_api_key", "authentication"], Class::Auth),
            (&["model_not_found"], Class::ModelNotFound),
        ];
        table.into_iter().find(|(words, _)| says(words)).map(|(_, class)| class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, codes: &[&str], want: Class) {
        assert_eq!(Class::of_status(status, codes), want, "{status} {codes:?}");
    }

    #[test]
    fn statuses_map_to_classes() {
        check(400, &[], Class::InvalidRequest);
        check(400, &["context_length_exceeded"], Class::ContextLength);
        check(400, &["content_filter"], Class::ContentFilter);
        check(401, &["insufficient_quota"], Class::Auth);
        check(402, &[], Class::Quota);
        check(403, &[], Class::Forbidden);
        check(403, &["invalid_api_key"], Class::Auth);
        check(404, &[], Class::InvalidRequest);
        check(404, &["model_not_found"], Class::ModelNotFound);
        check(405, &[], Class::InvalidRequest);
        check(408, &[], Class::Server);
        check(413, &["context_length_exceeded"], Class::ContextLength);
        check(422, &[], Class::InvalidRequest);
        check(429, &[], Class::RateLimited);
        check(429, &["insufficient_quota"], Class::Quota);
        check(500, &[], Class::Server);
        check(503, &[], Class::Server);
        check(503, &["overloaded_error"], Class::Overloaded);
        check(529, &["overloaded"], Class::Overloaded);
        check(302, &[], Class::InvalidRequest);
        check(599, &[], Class::Server);
    }

    #[test]
    fn a_servers_wish_is_kept_and_a_hopeless_case_is_not_repeated() {
        let (two, ten) = (Duration::from_secs(2), Duration::from_secs(10));
        assert_eq!(Class::RateLimited.retry(Some(ten)), Retry::After(ten));
        assert_eq!(Class::RateLimited.retry(None), Retry::After(Duration::from_secs(1)));
        assert_eq!(Class::Server.retry(Some(two)), Retry::After(two));
        assert_eq!(Class::Auth.retry(Some(two)), Retry::No);
        assert_eq!(Class::TimeoutIdle.retry(None), Retry::Once);
    }
}
