//! An OpenAI-compatible chat completions server on loopback.
//!
//! It answers `reply #<nonce> to <the user's text>` with a nonce of its own for every call, so that a message for which
//! the provider was asked twice shows by its text. Whoever asks for a stream gets one. A long reply goes on with counted words that carry the nonce, so
//! that every part of it can be told and missing parts are noticed.
//!
//! Every key is good, until `accept` names those that are. `GET /models` is the free question about a key.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cases::Random;
use crate::support::fake_http::{Answer, FakeHttp, Shape, Wait};
use crate::support::fake_http_request::Request;
use crate::support::waiting::{lock, now, until};

pub const API_KEY: &str = "sk-FakeCanaryKey0123456789abcdefghijkl";
/// In every scripted error body: what upstream says must never reach a chat.
pub const UPSTREAM_CANARY: &str = "upstream-canary-5b1f";

#[derive(Clone, Debug)]
pub enum Reply {
    /// `reply #<nonce> to <text>`
    Usual,
    /// The usual reply, then counted words up to about this many characters.
    Long(usize),
    /// Exactly this.
    Text(String),
    Status {
        status: u16,
        retry_after: Option<String>,
    },
    /// A success that is no completion.
    Malformed(String),
    /// A success of this many bytes.
    Oversize(usize),
    /// The usual reply, damaged or lost on the way.
    Spoil(Shape),
}

#[derive(Clone, Debug)]
pub struct Rule {
    contains: String,
    left: Option<usize>,
    per_mille: u64,
    wait: Wait,
    reply: Reply,
}

impl Rule {
    /// For user texts that contain this; the empty text concerns all.
    pub fn when(contains: &str) -> Rule {
        Rule { contains: contains.to_string(), left: None, per_mille: 1000, wait: Wait::No, reply: Reply::Usual }
    }

    pub fn reply(mut self, reply: Reply) -> Rule {
        self.reply = reply;
        self
    }

    pub fn status(self, status: u16) -> Rule {
        self.reply(Reply::Status { status, retry_after: None })
    }

    pub fn after(mut self, wait: Wait) -> Rule {
        self.wait = wait;
        self
    }

    pub fn times(mut self, count: usize) -> Rule {
        self.left = Some(count);
        self
    }

    pub fn per_mille(mut self, per_mille: u64) -> Rule {
        self.per_mille = per_mille;
        self
    }
}

/// One call as the provider saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub text: String,
    pub nonce: usize,
    pub at: Instant,
    pub body: Value,
    pub headers: Vec<(String, String)>,
    pub path: String,
    pub connection: u64,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

struct State {
    rules: Vec<Rule>,
    latency_ms: (u64, u64),
    asked: Vec<Asked>,
    /// By nonce; empty where the call had no usual answer.
    replies: Vec<String>,
    /// None: every one.
    keys: Option<Vec<String>>,
    /// Keys that were asked about for free.
    probed: Vec<String>,
    /// What such a question is answered with, and the key that is excepted.
    probe_status: Option<(u16, Option<String>)>,
    probe_wait: Wait,
    is_brief: bool,
    random: Random,
}

pub struct FakeProvider {
    state: Arc<Mutex<State>>,
    server: FakeHttp,
}

impl FakeProvider {
    pub fn start(random: &mut Random) -> FakeProvider {
        let random = Random::from_seed(random.next());
        let state = State {
            rules: Vec::new(),
            latency_ms: (0, 0),
            asked: Vec::new(),
            replies: Vec::new(),
            keys: None,
            probed: Vec::new(),
            probe_status: None,
            probe_wait: Wait::No,
            is_brief: false,
            random,
        };
        let state = Arc::new(Mutex::new(state));
        let server = {
            let state = Arc::clone(&state);
            FakeHttp::start("fake-provider", move |request| handle(&state, request))
        };
        FakeProvider { state, server }
    }

    /// The API base, with the version that such servers have.
    pub fn url(&self) -> String {
        format!("{}/v1", self.server.url())
    }

    pub fn server(&self) -> &FakeHttp {
        &self.server
    }

    /// The first rule that concerns a text decides; rules are kept in order.
    pub fn rule(&self, rule: Rule) {
        lock(&self.state).rules.push(rule);
    }

    pub fn clear_rules(&self) {
        lock(&self.state).rules.clear();
    }

    /// From here on only these keys are good.
    pub fn accept(&self, keys: &[&str]) {
        lock(&self.state).keys = Some(keys.iter().map(|key| (*key).to_string()).collect());
    }

    /// Free questions are answered like this, whatever the key, but for one.
    pub fn answer_probes(&self, status: u16, except: Option<&str>) {
        lock(&self.state).probe_status = Some((status, except.map(str::to_string)));
    }

    pub fn delay_probes(&self, wait: Wait) {
        lock(&self.state).probe_wait = wait;
    }

    /// The keys that were asked about for free, in order.
    pub fn probed(&self) -> Vec<String> {
        lock(&self.state).probed.clone()
    }

    /// How long an ordinary answer takes, at random between the two.
    pub fn latency(&self, low_ms: u64, high_ms: u64) {
        lock(&self.state).latency_ms = (low_ms, high_ms);
    }

    /// From here on bodies and headers of calls are not kept: a long run would fill the memory with them.
    pub fn be_brief(&self) {
        lock(&self.state).is_brief = true;
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    pub fn asked_count(&self) -> usize {
        lock(&self.state).asked.len()
    }

    /// How often the provider was asked about a text.
    pub fn asked_about(&self, text: &str) -> usize {
        lock(&self.state).asked.iter().filter(|asked| asked.text == text).count()
    }

    /// Every full reply, by nonce.
    pub fn replies(&self) -> Vec<String> {
        lock(&self.state).replies.clone()
    }

    #[track_caller]
    pub fn until_asked_about(&self, text: &str) {
        until(&format!("the provider is asked about {text}"), || self.asked_about(text) > 0);
    }
}

fn handle(state: &Mutex<State>, request: &Request) -> Answer {
    let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let is_good = lock(state).keys.as_ref().is_none_or(|keys| keys.iter().any(|good| good == key));
    if request.method == "GET" {
        return probed(&mut lock(state), key, is_good, request.path.ends_with("/models"));
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let text = last_user_text(&body);
    let mut state = lock(state);
    let nonce = state.asked.len();
    let streams = body["stream"] == true;
    let (body, headers) = if state.is_brief { Default::default() } else { (body, request.headers.clone()) };
    state.asked.push(Asked {
        text: text.clone(),
        nonce,
        at: now(),
        body,
        headers,
        path: request.path.clone(),
        connection: request.connection,
    });
    let (reply, wait) = state.decide(&text);
    let full = match &reply {
        Reply::Usual | Reply::Spoil(_) => usual(nonce, &text),
        Reply::Long(length) => long(nonce, &text, *length),
        Reply::Text(text) => text.clone(),
        _ => String::new(),
    };
    state.replies.push(full.clone());
    drop(state);
    if !is_good {
        return refused(key);
    }
    if request.method != "POST" || !request.path.ends_with("/chat/completions") {
        return Answer::new(404, "no such path");
    }
    shaped(&reply, &full, key, streams).after(wait)
}

impl State {
    fn decide(&mut self, text: &str) -> (Reply, Wait) {
        for rule in &mut self.rules {
            if rule.left != Some(0) && text.contains(&rule.contains) && self.random.chance(rule.per_mille) {
                rule.left = rule.left.map(|left| left - 1);
                if !matches!(rule.wait, Wait::No) {
                    return (rule.reply.clone(), rule.wait.clone());
                }
                let reply = rule.reply.clone();
                return (reply, self.usual_wait());
            }
        }
        (Reply::Usual, self.usual_wait())
    }

    fn usual_wait(&mut self) -> Wait {
        let (low, high) = self.latency_ms;
        match self.random.between(low, high) {
            0 => Wait::No,
            milliseconds => Wait::For(Duration::from_millis(milliseconds)),
        }
    }
}

fn shaped(reply: &Reply, full: &str, key: &str, streams: bool) -> Answer {
    match reply {
        Reply::Usual | Reply::Long(_) | Reply::Text(_) => answer(full, streams),
        Reply::Spoil(shape) => answer(full, streams).shaped(*shape),
        Reply::Malformed(body) => Answer::new(200, body.as_str()).header("Content-Type", "application/json"),
        Reply::Oversize(bytes) => Answer::json(200, &completion(&"x".repeat(*bytes))),
        Reply::Status { status, retry_after } => {
            let message = format!("{UPSTREAM_CANARY} {key}");
            let error = json!({ "error": { "message": message, "type": "scripted", "code": null } });
            let answer = Answer::json(*status, &error);
            match retry_after {
                Some(value) => answer.header("Retry-After", value),
                None => answer,
            }
        }
    }
}

fn probed(state: &mut State, key: &str, is_good: bool, is_known: bool) -> Answer {
    state.probed.push(key.to_string());
    let scripted = state.probe_status.as_ref().filter(|(_, except)| except.as_deref() != Some(key));
    let answer = match scripted {
        Some((status, _)) => Answer::json(*status, &json!({ "error": { "message": key } })),
        None if !is_good => refused(key),
        None => Answer::json(if is_known { 200 } else { 404 }, &json!({ "data": [] })),
    };
    answer.after(state.probe_wait.clone())
}

/// Real servers repeat the key, or a part of it.
fn refused(key: &str) -> Answer {
    let message = format!("Incorrect API key provided: {key}. {UPSTREAM_CANARY}");
    let error = json!({ "error": { "message": message, "type": "invalid_request_error", "code": "invalid_api_key" } });
    Answer::json(401, &error)
}

fn answer(text: &str, streams: bool) -> Answer {
    match streams {
        true => Answer::new(200, stream(text)).header("Content-Type", "text/event-stream; charset=utf-8"),
        false => Answer::json(200, &completion(text)),
    }
}

/// As `stream` and `include_usage` have it: pieces, a reason to end, the usage, and the word that ends it.
pub fn stream(text: &str) -> String {
    const PIECE_CHARS: usize = 40;
    let chunk = |delta: Value, reason: Value| {
        json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "fake-model",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }], "usage": null,
        })
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(PIECE_CHARS).map(|piece| piece.iter().collect::<String>());
    events.extend(pieces.map(|piece| chunk(json!({ "content": piece }), Value::Null)));
    events.push(chunk(json!({}), json!("stop")));
    events.push(json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12 } }));
    let lines: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    lines + "data: [DONE]\n\n"
}

pub fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-fake", "object": "chat.completion", "created": 1_790_000_000, "model": "fake-model",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12 },
    })
}

fn usual(nonce: usize, text: &str) -> String {
    format!("reply #{nonce} to {text}")
}

/// The usual reply, then words `~<nonce>.<count>`.
fn long(nonce: usize, text: &str, length: usize) -> String {
    let mut reply = usual(nonce, text);
    let mut count = 0;
    while reply.len() < length {
        reply.push_str(&format!(" ~{nonce}.{count}"));
        count += 1;
    }
    reply
}

/// The last message of role `user`; its content may be a string or parts.
fn last_user_text(body: &Value) -> String {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    match last.map(|message| &message["content"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}
