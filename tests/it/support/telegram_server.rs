//! The server's side of the fake Bot API: its queue, its rules, its answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::checker::MARK;
use crate::support::fake_http::{Answer, Shape};
use crate::support::fake_http_request::Request;
use crate::support::fake_telegram::{BOT_ID, Call, Posted, Sent};
use crate::support::telegram_script::{Effect, Script};
use crate::support::waiting::{lock, now};

const TEXT_UNITS_MAX: usize = 4096;
const POLL_SECONDS_MAX: u64 = 50;
const BATCH_MAX: usize = 100;
/// An offset this far beyond the newest id is "in the future" and ignored.
const FUTURE_IDS: i64 = 10;

pub struct Queued {
    pub id: i64,
    pub raw: String,
}

#[derive(Default)]
pub struct Counts {
    pub posted: usize,
    pub sent: usize,
    /// Without marks, so that a repeat adds nothing.
    pub distinct: HashSet<String>,
}

pub struct State {
    pub queue: VecDeque<Queued>,
    pub next_update: i64,
    pub next_message: i64,
    pub delivered_count: usize,
    pub poll_number: u64,
    pub pending_polls: usize,
    pub last_poll: Option<(i64, Instant)>,
    pub webhook: Option<String>,
    pub calls: Vec<Call>,
    pub posted: Vec<Posted>,
    pub sent: Vec<Sent>,
    /// By chat. Asked often, so not counted anew each time.
    pub counts: HashMap<i64, Counts>,
    pub script: Script,
    /// The one that is valid.
    pub token: String,
    /// Bodies are not kept.
    pub is_brief: bool,
}

/// Called, before the answer, with the ids a `getUpdates` made the server forget.
pub type ForgetHook = Box<dyn Fn(&[i64]) + Send + Sync>;

pub struct Shared {
    pub state: Mutex<State>,
    pub changed: Condvar,
    pub closing: AtomicBool,
    pub on_forget: Mutex<Option<ForgetHook>>,
}

/// Seconds since 1970: the server stamps what it gets.
pub fn date() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the server has a clock of its own")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn message_body(chat: i64, message: i64) -> Value {
    let kind = if chat < 0 { "supergroup" } else { "private" };
    json!({ "message_id": message, "date": date(), "chat": { "id": chat, "type": kind } })
}

pub fn merge(body: &mut Value, fields: Value) {
    let (Value::Object(body), Value::Object(fields)) = (body, fields) else { panic!("both are objects") };
    body.extend(fields);
}

impl State {
    pub fn enqueue(&mut self, raw: String) {
        let id = self.next_update;
        self.next_update += 1;
        self.queue.push_back(Queued { id, raw });
    }

    pub fn take_message_number(&mut self) -> i64 {
        self.next_message += 1;
        self.next_message
    }

    /// Forgets what the offset confirms and says which ids that were.
    fn confirm(&mut self, offset: i64) -> Vec<i64> {
        if offset < 0 {
            let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX).min(self.queue.len());
            return self.queue.drain(..self.queue.len() - keep).map(|update| update.id).collect();
        }
        if offset > self.next_update + FUTURE_IDS {
            return Vec::new();
        }
        let below = self.queue.iter().take_while(|update| update.id < offset).count();
        self.queue.drain(..below).map(|update| update.id).collect()
    }
}

impl Shared {
    pub fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn handle(&self, request: &Request) -> Answer {
        let method = request.path.strip_prefix(&format!("/bot{}/", self.lock().token)).map(str::to_string);
        let Some(method) = method else {
            return refusal(401, "Unauthorized");
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let mut state = self.lock();
        let number = state.calls.len();
        let kept = if state.is_brief { Value::Null } else { body.clone() };
        let call = Call { method: method.clone(), body: kept, at: now(), connection: request.connection, status: 0 };
        state.calls.push(call);
        let effect = state.script.next_for(&method, body["chat_id"].as_i64());
        drop(state);
        let answer = self.answer(&method, &body, effect);
        self.lock().calls[number].status = answer.status;
        answer
    }

    fn answer(&self, method: &str, body: &Value, effect: Option<Effect>) -> Answer {
        match effect {
            None => self.perform(method, body, false),
            Some(Effect::Refuse { status, description, retry_after }) => {
                let mut answer = json!({ "ok": false, "error_code": status, "description": description });
                if let Some(seconds) = retry_after {
                    answer["parameters"] = json!({ "retry_after": seconds });
                }
                Answer::json(status, &answer)
            }
            Some(Effect::Instead(answer)) => answer,
            Some(Effect::Spoil(shape)) => {
                let is_lost = !matches!(shape, Shape::Whole | Shape::Chunked(_) | Shape::Closed | Shape::ResetAfter);
                self.perform(method, body, is_lost).shaped(shape)
            }
            Some(Effect::Delay(wait)) => self.perform(method, body, false).after(wait),
        }
    }

    fn perform(&self, method: &str, body: &Value, is_answer_lost: bool) -> Answer {
        match method {
            "getMe" => success(json!({ "id": BOT_ID, "is_bot": true, "first_name": "Pinch", "username": "pinch_bot" })),
            "getWebhookInfo" => {
                let state = self.lock();
                let (url, pending) = (state.webhook.clone().unwrap_or_default(), state.queue.len());
                success(json!({ "url": url, "has_custom_certificate": false, "pending_update_count": pending }))
            }
            "getUpdates" => self.get_updates(body),
            "sendMessage" => self.send_message(body, is_answer_lost),
            "sendChatAction" if body["chat_id"].is_i64() && body["action"].is_string() => success(json!(true)),
            "sendChatAction" => refusal(400, "Bad Request: wrong parameter action in request"),
            "setMyCommands" if body["commands"].is_array() => success(json!(true)),
            "deleteWebhook" => {
                self.lock().webhook = None;
                success(json!(true))
            }
            _ => refusal(404, "Not Found"),
        }
    }

    fn send_message(&self, body: &Value, is_answer_lost: bool) -> Answer {
        let Some(chat) = body["chat_id"].as_i64() else {
            return refusal(400, "Bad Request: chat_id is empty");
        };
        let text = body["text"].as_str().unwrap_or_default();
        if text.trim().is_empty() {
            return refusal(400, "Bad Request: message text is empty");
        }
        if text.encode_utf16().count() > TEXT_UNITS_MAX {
            return refusal(400, "Bad Request: message is too long");
        }
        let mut state = self.lock();
        let message = state.take_message_number();
        let kept = if state.is_brief { Value::Null } else { body.clone() };
        let sent = Sent { chat, text: text.to_string(), message, at: now(), body: kept, is_answer_lost };
        let counts = state.counts.entry(chat).or_default();
        counts.sent += 1;
        counts.distinct.insert(text.strip_prefix(MARK).unwrap_or(text).to_string());
        state.sent.push(sent);
        drop(state);
        let mut result = message_body(chat, message);
        merge(&mut result, json!({ "text": text, "from": { "id": BOT_ID, "is_bot": true, "first_name": "Pinch" } }));
        success(result)
    }

    fn get_updates(&self, body: &Value) -> Answer {
        let offset = body["offset"].as_i64().unwrap_or(0);
        let mut limit = body["limit"].as_u64().unwrap_or(100).clamp(1, BATCH_MAX as u64) as usize;
        let mut seconds = body["timeout"].as_u64().unwrap_or(0).min(POLL_SECONDS_MAX);
        let mut state = self.lock();
        if state.webhook.is_some() {
            return refusal(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
            );
        }
        let since = state.last_poll.filter(|(last, _)| *last == offset).map(|(_, at)| now() - at);
        if since.is_some_and(|since| since < Duration::from_millis(500)) {
            limit = 1;
        }
        if seconds < 3 && since.is_some_and(|since| since < Duration::from_secs(3)) {
            seconds = 3;
        }
        state.last_poll = Some((offset, now()));
        state.poll_number += 1;
        let number = state.poll_number;
        self.changed.notify_all();
        let forgotten = state.confirm(offset);
        drop(state);
        if let Some(hook) = lock(&self.on_forget).as_ref() {
            hook(&forgotten);
        }
        self.wait_for_updates(number, limit, now() + Duration::from_secs(seconds))
    }

    fn wait_for_updates(&self, number: u64, limit: usize, end: Instant) -> Answer {
        let mut state = self.lock();
        state.pending_polls += 1;
        let answer = loop {
            if self.closing.load(Ordering::SeqCst) {
                break refusal(502, "Bad Gateway");
            }
            if state.poll_number != number {
                break refusal(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                );
            }
            let left = end.saturating_duration_since(now());
            if !state.queue.is_empty() || left.is_zero() {
                let batch: Vec<&str> = state.queue.iter().take(limit).map(|update| update.raw.as_str()).collect();
                let answer = Answer::new(200, format!("{{\"ok\":true,\"result\":[{}]}}", batch.join(",")));
                let count = batch.len();
                state.delivered_count += count;
                break answer.header("Content-Type", "application/json");
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        };
        state.pending_polls -= 1;
        answer
    }
}

fn success(result: Value) -> Answer {
    Answer::json(200, &json!({ "ok": true, "result": result }))
}

fn refusal(status: u16, description: &str) -> Answer {
    Answer::json(status, &json!({ "ok": false, "error_code": status, "description": description }))
}
