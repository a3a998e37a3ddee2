//! A Bot API server on loopback that behaves like the real one where it matters (design/durability.md, "Telegram facts").
//!
//! One bot. Its queue has ascending ids from a random start. `getUpdates` forgets what is below `offset`, ignores an
//! offset far in the future, waits on a condition, and a newer call ends an older one with 409. Re-polling the same
//! offset at once is punished with `limit=1`. Everything called and everything sent is recorded with its time.
//!
//! Not imitated: the 24 h life of updates, the 3 s delay after repeated conflicts, the 4 MiB limit of a batch.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::cases::Random;
use crate::support::fake_http::FakeHttp;
use crate::support::telegram_script::{Fault, Script};
use crate::support::telegram_server::{Shared, State, merge, message_body};
use crate::support::waiting::{lock, now, until};

pub const BOT_ID: i64 = 7_000_000_001;
/// Looks like a real token, so that redaction by shape has something to find, and is a canary to search for.
pub const TOKEN: &str = "7000000001:AAFakeCanaryToken-0123456789_abcdefgh";

/// A message somebody wrote to the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub chat: i64,
    pub text: String,
    pub update: i64,
    pub message: i64,
    pub at: Instant,
}

/// A message the bot sent and the server took, whether or not the bot got to know.
#[derive(Clone, Debug)]
pub struct Sent {
    pub chat: i64,
    pub text: String,
    pub message: i64,
    pub at: Instant,
    pub body: Value,
    pub is_answer_lost: bool,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub body: Value,
    pub at: Instant,
    pub connection: u64,
    /// 0 while the call is pending.
    pub status: u16,
}

pub struct FakeTelegram {
    shared: Arc<Shared>,
    server: FakeHttp,
}

impl FakeTelegram {
    pub fn start(random: &mut Random) -> FakeTelegram {
        let state = State {
            queue: VecDeque::new(),
            next_update: random.between(100_000_000, 900_000_000) as i64,
            next_message: random.between(1, 1_000_000) as i64,
            delivered_count: 0,
            poll_number: 0,
            pending_polls: 0,
            last_poll: None,
            webhook: None,
            calls: Vec::new(),
            posted: Vec::new(),
            sent: Vec::new(),
            counts: HashMap::new(),
            script: Script::new(random.next()),
            token: TOKEN.to_string(),
            is_brief: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
            on_forget: Mutex::new(None),
        });
        let server = {
            let shared = Arc::clone(&shared);
            FakeHttp::start("fake-telegram", move |request| shared.handle(request))
        };
        FakeTelegram { shared, server }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn server(&self) -> &FakeHttp {
        &self.server
    }

    /// A person writes in a private chat, whose id is the person's.
    pub fn say(&self, chat: i64, text: &str) -> Posted {
        self.say_as(chat, chat, text)
    }

    pub fn say_as(&self, chat: i64, sender: i64, text: &str) -> Posted {
        self.post(chat, json!({ "from": { "id": sender, "is_bot": false, "first_name": "Ada" }, "text": text }))
    }

    /// An ordinary message with these fields besides the id, date and chat that every message has.
    pub fn post(&self, chat: i64, fields: Value) -> Posted {
        let mut state = self.shared.lock();
        let message = state.take_message_number();
        let update = state.next_update;
        let text = fields["text"].as_str().or(fields["caption"].as_str()).unwrap_or_default().to_string();
        let mut body = message_body(chat, message);
        merge(&mut body, fields);
        state.enqueue(json!({ "update_id": update, "message": body }).to_string());
        let posted = Posted { chat, text, update, message, at: now() };
        state.counts.entry(chat).or_default().posted += 1;
        state.posted.push(posted.clone());
        drop(state);
        self.shared.changed.notify_all();
        posted
    }

    /// An update whose text is made from its id; it may be anything, even undecodable. Not listed in `posted`.
    pub fn push_raw(&self, raw: impl FnOnce(i64) -> String) -> i64 {
        let mut state = self.shared.lock();
        let id = state.next_update;
        state.enqueue(raw(id));
        drop(state);
        self.shared.changed.notify_all();
        id
    }

    /// The same message once more, as a new update.
    pub fn redeliver(&self, posted: &Posted) {
        let mut body = message_body(posted.chat, posted.message);
        merge(
            &mut body,
            json!({ "from": { "id": posted.chat, "is_bot": false, "first_name": "Ada" }, "text": posted.text }),
        );
        self.push_raw(|id| json!({ "update_id": id, "message": body }).to_string());
    }

    /// The next update gets this id, as after a week without updates. The real server does this with an empty queue.
    pub fn jump_to(&self, id: i64) {
        let mut state = self.shared.lock();
        assert!(state.queue.is_empty(), "ids are reset only while the queue is empty");
        state.next_update = id;
    }

    /// From here on bodies of calls are not kept: a long run would fill the memory with them.
    pub fn be_brief(&self) {
        self.shared.lock().is_brief = true;
    }

    pub fn fault(&self, fault: Fault) {
        self.shared.lock().script.add(fault);
        self.shared.changed.notify_all();
    }

    pub fn clear_faults(&self) {
        self.shared.lock().script.clear();
    }

    /// As BotFather's /revoke: from here on this is the token, and no other.
    pub fn revoke(&self, token: &str) {
        self.shared.lock().token = token.to_string();
    }

    pub fn set_webhook(&self, url: Option<&str>) {
        self.shared.lock().webhook = url.map(str::to_string);
        self.shared.changed.notify_all();
    }

    pub fn on_forget(&self, hook: impl Fn(&[i64]) + Send + Sync + 'static) {
        *lock(&self.shared.on_forget) = Some(Box::new(hook));
    }

    /// Ends a pending poll with 409, as another poller would.
    pub fn interrupt_polls(&self) {
        self.shared.lock().poll_number += 1;
        self.shared.changed.notify_all();
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.shared.lock().posted.clone()
    }

    pub fn posted_count(&self, chat: i64) -> usize {
        self.shared.lock().counts.get(&chat).map_or(0, |counts| counts.posted)
    }

    pub fn sent_count_to(&self, chat: i64) -> usize {
        self.shared.lock().counts.get(&chat).map_or(0, |counts| counts.sent)
    }

    /// Marked repeats count as what they repeat.
    pub fn distinct_count_to(&self, chat: i64) -> usize {
        self.shared.lock().counts.get(&chat).map_or(0, |counts| counts.distinct.len())
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.shared.lock().sent.clone()
    }

    pub fn sent_count(&self) -> usize {
        self.shared.lock().sent.len()
    }

    pub fn sent_to(&self, chat: i64) -> Vec<Sent> {
        self.shared.lock().sent.iter().filter(|sent| sent.chat == chat).cloned().collect()
    }

    pub fn calls(&self, method: &str) -> Vec<Call> {
        self.shared.lock().calls.iter().filter(|call| call.method == method).cloned().collect()
    }

    pub fn count_of(&self, method: &str) -> usize {
        self.shared.lock().calls.iter().filter(|call| call.method == method).count()
    }

    pub fn all_calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    pub fn call_count(&self) -> usize {
        self.shared.lock().calls.len()
    }

    pub fn pending_polls(&self) -> usize {
        self.shared.lock().pending_polls
    }

    /// Updates handed out, repeats counted again.
    pub fn delivered_count(&self) -> usize {
        self.shared.lock().delivered_count
    }

    /// Updates the bot has not confirmed yet.
    pub fn unconfirmed_count(&self) -> usize {
        self.shared.lock().queue.len()
    }

    #[track_caller]
    pub fn until_sent(&self, count: usize) {
        until(&format!("{count} messages sent"), || self.sent_count() >= count);
    }

    #[track_caller]
    pub fn until_sent_to(&self, chat: i64, count: usize) {
        until(&format!("{count} messages sent to {chat}"), || self.sent_count_to(chat) >= count);
    }

    #[track_caller]
    pub fn until_polling(&self) {
        until("a pending getUpdates", || self.pending_polls() > 0);
    }

    #[track_caller]
    pub fn until_confirmed(&self) {
        until("every update is confirmed", || self.unconfirmed_count() == 0);
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Taken and given back so that no poll is between its look at `closing` and its wait.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
    }
}
