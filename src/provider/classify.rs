//! From evidence to a [`Class`], in one pure function. Evidence counts in this order:
//!
//! 1. how far the exchange came;
//! 2. the status: what stands in a body refines it, and never overrides it;
//! 3. codes of the body's error object;
//! 4. texts, only of an error object that was understood as one, and only where status and codes leave it open.
//!
//! Codes and texts are searched for parts of words, in lower case: servers decorate them differently.

use std::io;

use serde_json::Value;

use crate::net::http::Phase;
use crate::provider::class::Class;
use crate::provider::codex_failure;

/// More of a code or a text is not looked at.
const TEXT_CHARS_MAX: usize = 1000;

/// What is known about a failed attempt.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// There is no whole response.
    Transport(Phase),
    /// There is one, and it is no answer.
    Response {
        /// Its status.
        status: u16,
        /// What its body is.
        content: Content<'a>,
    },
    /// How the Codex program ended.
    Codex(Ending<'a>),
    /// The Codex program could not be started.
    Spawn(io::ErrorKind),
}

/// What the body of a response is, or the stream in it.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// An error object, or something with one inside.
    Error(&'a Told),
    /// An answer that was withheld: its `finish_reason` says so.
    Withheld,
    /// A stream that ended without saying that it is complete.
    Unfinished,
    /// Beyond a limit of size or nesting.
    TooLarge,
    /// Something else: no JSON, no choice, no text, another type than expected.
    Other,
}

/// How the Codex program ended without an answer.
#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    /// It reported a failed turn, with this message.
    Failed(&'a str),
    /// It exited without any event: its exit code and its standard error.
    NotBegun(i32, &'a str),
    /// It exited with a failure, or by a signal, and did not say why.
    Exited,
    /// It was stopped at the deadline of the turn.
    Deadline,
    /// It was stopped at the limit of one run, before its first event.
    Silence,
    /// It was stopped at the limit of one run, after events.
    Slow,
    /// It was stopped because we stop.
    Cancelled,
    /// It printed more than we accept.
    Flooded,
    /// It ended well without completing the turn.
    Unfinished,
    /// It completed the turn without a message.
    Silent,
}

/// An error object, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its `code`, if that is a number: some servers answer 200 and put the status here.
    status: Option<u16>,
    /// Its codes, in lower case.
    codes: Vec<String>,
    /// Its message, in lower case. Never shown to anyone.
    text: String,
}

/// Parts of codes, parts of texts, and what they mean.
type Meaning = (&'static [&'static str], &'static [&'static str], Class);

const CONTEXT: Meaning = (
    &["context_length", "context_size", "context_window"],
    &["maximum context length", "context size", "context window", "prompt is too long"],
    Class::ContextLength,
);
const WITHHELD: Meaning = (
    &["content_filter", "content_policy", "cyber_policy", "moderation"],
    // A proxy in between may keep the message and lose the code.
    &["content_filter", "contentpolicyviolation"],
    Class::ContentFilter,
);
const QUOTA: Meaning = (
    &["insufficient_quota", "exceeded_current_quota", "usage_limit", "usage_not_included", "billing"],
    &[],
    Class::Quota,
);
const AUTH: Meaning = (
    &["authentication", "unauthenticated", "unauthorized", "auth_error", "api_key", "token_expired"],
    &["api key not valid"],
    Class::Auth,
);
const MODEL: Meaning = (
    &["model_not", "invalid_model", "model_decommissioned"],
    &["not a valid model", "no endpoints found for"],
    Class::ModelNotFound,
);
const OVERLOADED: Meaning =
    (&["overloaded", "slow_down", "at_capacity"], &["overloaded", "slow down", "at capacity"], Class::Overloaded);
const RATE: Meaning = (&["rate_limit"], &["rate limit"], Class::RateLimited);
const SERVER: Meaning = (
    &["server_error", "internal"],
    &["temporarily", "timeout", "timed out", "try again", "service unavailable"],
    Class::Server,
);

/// What can be wrong with a request.
const REFUSALS: [Meaning; 5] = [CONTEXT, WITHHELD, QUOTA, AUTH, MODEL];
/// What can be wrong with anything.
const ANYTHING: [Meaning; 8] = [CONTEXT, WITHHELD, QUOTA, AUTH, MODEL, RATE, OVERLOADED, SERVER];

/// The class of a failed attempt.
pub fn classify(evidence: Evidence<'_>) -> Class {
    match evidence {
        Evidence::Transport(phase) => of_phase(phase),
        Evidence::Response { status, content } => of_response(status, content),
        Evidence::Codex(ending) => of_ending(ending),
        Evidence::Spawn(kind) => match kind {
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::ExecutableFileBusy => {
                Class::SpawnTransient
            }
            _ => Class::Spawn,
        },
    }
}

fn of_phase(phase: Phase) -> Class {
    match phase {
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

fn of_ending(ending: Ending<'_>) -> Class {
    match ending {
        Ending::Failed(message) => codex_failure::class_of(message),
        Ending::NotBegun(code, stderr) => codex_failure::class_of_stderr(code, stderr),
        Ending::Exited => Class::Exit,
        Ending::Deadline => Class::Deadline,
        Ending::Silence => Class::TimeoutFirstByte,
        Ending::Slow => Class::TimeoutIdle,
        Ending::Cancelled => Class::Cancelled,
        Ending::Flooded => Class::TooLarge,
        Ending::Unfinished => Class::StreamCut,
        Ending::Silent => Class::Malformed,
    }
}

fn of_response(status: u16, content: Content<'_>) -> Class {
    let nothing = Told::default();
    let is_success = (200..300).contains(&status);
    match content {
        Content::Error(told) if is_success => of_success(told),
        Content::Error(told) => of_status(status, told),
        Content::Withheld if is_success => Class::ContentFilter,
        Content::Unfinished if is_success => Class::StreamCut,
        Content::TooLarge if is_success => Class::TooLarge,
        Content::Other if is_success => Class::Malformed,
        Content::Withheld | Content::Unfinished | Content::TooLarge | Content::Other => of_status(status, &nothing),
    }
}

/// A status other than 2xx.
fn of_status(status: u16, told: &Told) -> Class {
    match status {
        401 => Class::Auth,
        402 => Class::Quota,
        // A flagged message is not the provider locking us out.
        403 => told.by_code(&[AUTH, WITHHELD]).unwrap_or(Class::Forbidden),
        404 if told.names_no_model() => Class::ModelNotFound,
        408 | 409 | 425 => Class::Server,
        429 => told.by_code(&[QUOTA]).unwrap_or(Class::RateLimited),
        503 | 529 => told.meaning(&[OVERLOADED]).unwrap_or(Class::Server),
        300..=399 => Class::InvalidRequest,
        // What is told may say why a request is refused, but not that the same request will do later.
        400..=499 => told.meaning(&REFUSALS).unwrap_or(Class::InvalidRequest),
        500..=599 => Class::Server,
        _ => Class::Malformed,
    }
}

/// An error object in a response that calls itself a success, or in its stream.
fn of_success(told: &Told) -> Class {
    match told.status {
        Some(status @ 300..=599) => of_status(status, told),
        _ => told.meaning(&ANYTHING).unwrap_or(Class::Malformed),
    }
}

impl Told {
    /// The error object of a JSON body: its `error`, or the body itself where that says that it is one. Some servers put
    /// either into a list of one.
    pub fn of(body: &Value) -> Option<Told> {
        let body = body.get(0).unwrap_or(body);
        match body.get("error") {
            None | Some(Value::Null) => (body.get("object")? == "error").then(|| Told::read(body)),
            Some(error) => Some(Told::read(error)),
        }
    }

    fn read(error: &Value) -> Told {
        let lower = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>().to_ascii_lowercase();
        let metadata = error.get("metadata");
        let code = error.get("code");
        let places = [code, error.get("type"), error.get("status"), metadata.and_then(|it| it.get("error_type"))];
        let mut codes: Vec<String> = places.into_iter().flatten().filter_map(Value::as_str).map(lower).collect();
        // OpenRouter says by a field of its own that a message was flagged.
        if metadata.is_some_and(|metadata| metadata.get("flagged_input").is_some()) {
            codes.push("moderation".to_owned());
        }
        let number = |code: &Value| code.as_u64().or_else(|| code.as_str()?.parse().ok());
        Told {
            status: code.and_then(number).and_then(|number| u16::try_from(number).ok()),
            codes,
            text: error.as_str().or_else(|| error.get("message")?.as_str()).map(lower).unwrap_or_default(),
        }
    }

    /// By codes, then by the text.
    fn meaning(&self, meanings: &[Meaning]) -> Option<Class> {
        let by_text = || meanings.iter().find(|(_, texts, _)| self.says(texts)).map(|(_, _, class)| *class);
        self.by_code(meanings).or_else(by_text)
    }

    fn by_code(&self, meanings: &[Meaning]) -> Option<Class> {
        let has = |words: &[&str]| self.codes.iter().any(|code| words.iter().any(|word| code.contains(word)));
        meanings.iter().find(|(words, _, _)| has(words)).map(|(_, _, class)| *class)
    }

    fn says(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.text.contains(text))
    }

    /// Of a 404, which is said of an address, too.
    fn names_no_model(&self) -> bool {
        let by_code = self.codes.iter().any(|code| code.contains("model"));
        let by_text = self.text.contains("model") && self.says(&["not found", "does not exist"]);
        by_code || by_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{
        Auth, Cancelled, Connect, ContentFilter, ContextLength, Deadline, Dns, Exit, Forbidden, InvalidRequest,
        Malformed, ModelNotFound, NotConfigured, Overloaded, Quota, RateLimited, Server, Spawn, SpawnTransient,
        StreamCut, TimeoutFirstByte, TimeoutIdle, TooLarge,
    };

    fn class(status: u16, body: &str) -> Class {
        let told = serde_json::from_str(body).ok().and_then(|body| Told::of(&body));
        let content = told.as_ref().map_or(Content::Other, Content::Error);
        classify(Evidence::Response { status, content })
    }

    /// A status alone: no body, a page, JSON that is no error object, or an error object that says nothing we know.
    #[rustfmt::skip]
    const BY_STATUS: [(u16, Class); 62] = [
        (0, Malformed), (100, Malformed), (101, Malformed), (199, Malformed), (200, Malformed), (201, Malformed), (202, Malformed), (204, Malformed),
        (206, Malformed), (299, Malformed), (300, InvalidRequest), (301, InvalidRequest), (302, InvalidRequest), (303, InvalidRequest),
        (304, InvalidRequest), (307, InvalidRequest), (308, InvalidRequest), (399, InvalidRequest),
        (400, InvalidRequest), (401, Auth), (402, Quota), (403, Forbidden), (404, InvalidRequest), (405, InvalidRequest), (406, InvalidRequest),
        (407, InvalidRequest), (408, Server), (409, Server), (410, InvalidRequest), (411, InvalidRequest), (413, InvalidRequest), (414, InvalidRequest),
        (415, InvalidRequest), (416, InvalidRequest), (418, InvalidRequest), (421, InvalidRequest), (422, InvalidRequest), (424, InvalidRequest),
        (425, Server), (426, InvalidRequest), (429, RateLimited), (431, InvalidRequest), (451, InvalidRequest), (498, InvalidRequest),
        (499, InvalidRequest), (500, Server), (501, Server), (502, Server), (503, Server), (504, Server), (505, Server), (507, Server),
        (511, Server), (520, Server), (521, Server), (522, Server), (524, Server), (526, Server), (529, Server), (530, Server), (599, Server),
        (600, Malformed),
    ];

    #[test]
    fn a_status_has_a_class_whatever_the_body_is() {
        for (status, want) in BY_STATUS {
            for body in
                ["", "<html>Sign in</html>", "{}", "[]", "7", r#"{"error":null}"#, r#"{"error":{"code":"odd"}}"#]
            {
                assert_eq!(class(status, body), want, "{status} {body}");
            }
        }
    }

    /// Status, code, class.
    #[rustfmt::skip]
    const BY_CODE: &[(u16, &str, Class)] = &[
        (400, "context_length_exceeded", ContextLength), (400, "exceed_context_size_error", ContextLength), (413, "context_length_exceeded", ContextLength),
        (422, "context_length_exceeded", ContextLength), (500, "context_length_exceeded", Server), (401, "context_length_exceeded", Auth),
        (429, "context_length_exceeded", RateLimited), (200, "context_length_exceeded", ContextLength), (302, "context_length_exceeded", InvalidRequest),
        (400, "content_filter", ContentFilter), (400, "content_policy_violation", ContentFilter), (400, "cyber_policy", ContentFilter),
        (403, "content_filter", ContentFilter), (451, "content_filter", ContentFilter), (500, "content_filter", Server), (200, "content_filter", ContentFilter),
        (400, "invalid_api_key", Auth), (400, "auth_error", Auth), (400, "authentication_error", Auth), (403, "invalid_api_key", Auth),
        (403, "authentication_error", Auth), (403, "unauthorized", Auth), (404, "authentication_error", Auth), (500, "invalid_api_key", Server),
        (429, "invalid_api_key", RateLimited), (200, "invalid_api_key", Auth), (200, "UNAUTHENTICATED", Auth),
        (403, "unsupported_country_region_territory", Forbidden), (403, "permission_error", Forbidden), (403, "insufficient_quota", Forbidden),
        (401, "insufficient_quota", Auth), (402, "insufficient_quota", Quota), (402, "rate_limit_exceeded", Quota), (400, "billing_hard_limit_reached", Quota),
        (429, "insufficient_quota", Quota), (429, "usage_limit_reached", Quota), (429, "usage_not_included", Quota), (429, "billing_not_active", Quota),
        (429, "exceeded_current_quota_error", Quota), (429, "rate_limit_exceeded", RateLimited), (429, "tokens", RateLimited),
        (429, "engine_overloaded_error", RateLimited), (503, "insufficient_quota", Server), (200, "insufficient_quota", Quota),
        (404, "model_not_found", ModelNotFound), (404, "model_decommissioned", ModelNotFound), (404, "not_found_error", InvalidRequest),
        (404, "unknown_url", InvalidRequest), (400, "model_not_found", ModelNotFound), (400, "invalid_model", ModelNotFound),
        (500, "model_not_found", Server), (200, "model_not_found", ModelNotFound),
        (503, "overloaded_error", Overloaded), (529, "overloaded_error", Overloaded), (503, "slow_down", Overloaded), (503, "server_is_overloaded", Overloaded),
        (500, "overloaded_error", Server), (502, "server_is_overloaded", Server), (400, "overloaded_error", InvalidRequest), (200, "overloaded_error", Overloaded),
        (400, "rate_limit_exceeded", InvalidRequest), (200, "rate_limit_exceeded", RateLimited), (400, "server_error", InvalidRequest),
        (200, "server_error", Server), (200, "internal_error", Server), (600, "server_error", Malformed),
    ];

    #[test]
    fn a_code_refines_a_status_wherever_it_stands() {
        for (status, code, want) in BY_CODE {
            for body in [
                format!(r#"{{"error":{{"code":"{code}","message":null}}}}"#),
                format!(r#"{{"error":{{"code":null,"type":"{code}","message":"x"}}}}"#),
                format!(r#"{{"error":{{"status":"{code}"}},"choices":[]}}"#),
                format!(r#"{{"error":{{"metadata":{{"error_type":"{code}"}}}}}}"#),
                format!(r#"{{"object":"error","type":"{code}","param":null}}"#),
                format!(r#"[{{"error":{{"code":"{}"}}}}]"#, code.to_uppercase()),
            ] {
                assert_eq!(class(*status, &body), *want, "{status} {body}");
            }
        }
    }

    /// Status, error object, class: numbers as codes, and texts.
    #[rustfmt::skip]
    const BY_OBJECT: &[(u16, &str, Class)] = &[
        (200, r#"{"code":429,"message":"x"}"#, RateLimited), (200, r#"{"code":"429"}"#, RateLimited), (200, r#"{"code":502,"message":"Provider disconnected"}"#, Server),
        (200, r#"{"code":401}"#, Auth), (200, r#"{"code":402}"#, Quota), (200, r#"{"code":403}"#, Forbidden), (200, r#"{"code":400}"#, InvalidRequest),
        (200, r#"{"code":429,"type":"insufficient_quota"}"#, Quota), (200, r#"{"code":503,"message":"Overloaded"}"#, Overloaded),
        (200, r#"{"code":70000}"#, Malformed), (200, r#"{"code":-1}"#, Malformed), (200, r#"{"code":1.5}"#, Malformed), (200, r#"{"code":200}"#, Malformed),
        (200, r#"{"code":429,"message":"maximum context length"}"#, RateLimited), (500, r#"{"code":429}"#, Server), (400, r#"{"code":"401"}"#, InvalidRequest),
        (200, r#""Rate limit reached""#, RateLimited), (200, r#"{"message":"The server is overloaded"}"#, Overloaded), (200, r#""request timed out""#, Server),
        (200, r#"{"message":"Please try again later"}"#, Server), (200, r#"{"message":"temporarily unavailable"}"#, Server), (200, r#""something""#, Malformed), (200, "{}", Malformed), (200, "7", Malformed),
        (200, r#"{"type":"server_error","message":"the context window is full"}"#, Server),
        (400, r#"{"message":"This model's maximum context length is 8192 tokens.","type":"BadRequestError","code":400}"#, ContextLength),
        (400, r#"{"message":"the request exceeds the available context size, try increasing it","code":400}"#, ContextLength),
        (413, r#"{"message":"prompt is too long: 300000 tokens"}"#, ContextLength), (500, r#"{"message":"maximum context length"}"#, Server),
        (400, r#"{"message":"Please try again later"}"#, InvalidRequest), (400, r#"{"message":"rate limit"}"#, InvalidRequest), (401, r#"{"message":"try again"}"#, Auth),
        (400, r#"{"status":"INVALID_ARGUMENT","message":"API key not valid. Please pass a valid API key."}"#, Auth), (500, r#"{"message":"API key not valid"}"#, Server),
        (404, r#""model 'x' not found""#, ModelNotFound), (404, r#"{"message":"The model `x` does not exist"}"#, ModelNotFound), (404, r#"{"message":"Not Found"}"#, InvalidRequest),
        (404, r#"{"message":"No endpoints found for x/y."}"#, ModelNotFound), (400, r#"{"message":"x is not a valid model ID"}"#, ModelNotFound), (500, r#""model 'x' not found""#, Server),
        (403, r#"{"code":403,"metadata":{"flagged_input":"…","reasons":["x"]}}"#, ContentFilter), (403, r#"{"message":"the API key not valid"}"#, Forbidden),
        (429, r#"{"message":"You exceeded your current quota, billing"}"#, RateLimited), (503, r#"{"message":"The engine is currently overloaded"}"#, Overloaded),
        (503, r#"{"message":"Loading model","type":"unavailable_error","code":503}"#, Server), (529, r#"{"message":"x"}"#, Server),
    ];

    #[test]
    fn a_text_counts_last_and_only_in_an_error_object() {
        for (status, error, want) in BY_OBJECT {
            assert_eq!(class(*status, &format!(r#"{{"error":{error}}}"#)), *want, "{status} {error}");
        }
        let no_objects = [
            "maximum context length",
            r#""model not found""#,
            r#"{"message":"model not found"}"#,
            r#"{"detail":"api key not valid"}"#,
        ];
        for body in no_objects {
            assert_eq!((class(404, body), class(400, body)), (InvalidRequest, InvalidRequest), "{body}");
        }
    }

    #[test]
    fn what_follows_very_much_text_is_not_looked_at() {
        let object = |text: &str| format!(r#"{{"error":{{"message":"{text} maximum context length"}}}}"#);
        assert_eq!(class(400, &object("\u{e9}")), ContextLength);
        assert_eq!(class(400, &object(&"\u{e9}".repeat(TEXT_CHARS_MAX))), InvalidRequest);
    }

    /// Evidence besides error objects.
    #[rustfmt::skip]
    const OTHERS: &[(Evidence<'_>, Class)] = &[
        (Evidence::Transport(Phase::Resolve), Dns), (Evidence::Transport(Phase::Connect), Connect), (Evidence::Transport(Phase::Tls), Class::Tls),
        (Evidence::Transport(Phase::FirstByte), TimeoutFirstByte), (Evidence::Transport(Phase::Idle), TimeoutIdle), (Evidence::Transport(Phase::Total), Deadline),
        (Evidence::Transport(Phase::Cut), StreamCut), (Evidence::Transport(Phase::Malformed), Malformed), (Evidence::Transport(Phase::TooLarge), TooLarge),
        (Evidence::Transport(Phase::Refused), TooLarge), (Evidence::Transport(Phase::Cancelled), Cancelled),
        (Evidence::Response { status: 200, content: Content::Withheld }, ContentFilter), (Evidence::Response { status: 200, content: Content::Unfinished }, StreamCut),
        (Evidence::Response { status: 200, content: Content::TooLarge }, TooLarge), (Evidence::Response { status: 200, content: Content::Other }, Malformed),
        (Evidence::Response { status: 500, content: Content::Withheld }, Server), (Evidence::Response { status: 401, content: Content::Unfinished }, Auth),
        (Evidence::Response { status: 429, content: Content::TooLarge }, RateLimited),
        (Evidence::Codex(Ending::Failed("unexpected status 401 Unauthorized")), Auth), (Evidence::Codex(Ending::NotBegun(1, "Error finding codex home")), NotConfigured),
        (Evidence::Codex(Ending::Exited), Exit), (Evidence::Codex(Ending::Deadline), Deadline), (Evidence::Codex(Ending::Cancelled), Cancelled),
        (Evidence::Codex(Ending::Silence), TimeoutFirstByte), (Evidence::Codex(Ending::Slow), TimeoutIdle),
        (Evidence::Codex(Ending::Flooded), TooLarge), (Evidence::Codex(Ending::Unfinished), StreamCut), (Evidence::Codex(Ending::Silent), Malformed),
        (Evidence::Spawn(io::ErrorKind::NotFound), Spawn), (Evidence::Spawn(io::ErrorKind::PermissionDenied), Spawn), (Evidence::Spawn(io::ErrorKind::ArgumentListTooLong), Spawn),
        (Evidence::Spawn(io::ErrorKind::WouldBlock), SpawnTransient), (Evidence::Spawn(io::ErrorKind::OutOfMemory), SpawnTransient),
        (Evidence::Spawn(io::ErrorKind::ExecutableFileBusy), SpawnTransient),
    ];

    #[test]
    fn everything_else_has_a_class_and_no_class_is_without_evidence() {
        for (evidence, want) in OTHERS {
            assert_eq!(classify(*evidence), *want, "{evidence:?}");
        }
        let from_status = BY_STATUS.iter().map(|(_, class)| *class).chain(BY_CODE.iter().map(|(_, _, class)| *class));
        let named: Vec<Class> = from_status.chain(OTHERS.iter().map(|(_, class)| *class)).collect();
        let is_ours = |class: Class| matches!(class, Class::SenderLimit | Class::TokenLimit);
        assert!(Class::ALL.iter().all(|class| named.contains(class) != is_ours(*class)), "{named:?}");
        assert!(named.len() + BY_OBJECT.len() >= 120);
    }
}
