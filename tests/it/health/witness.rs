//! The second witness: polls are answered with nothing while more and more messages wait at the server. The real reader
//! against the real fake, with a clock that runs a thousand times as fast.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::{Clock, Mono, Wall};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::allowlist::Allowlist;
use rusty_pinch::channel::ends::ReaderEnds;
use rusty_pinch::channel::telegram_client::TelegramClient;
use rusty_pinch::channel::telegram_people::People;
use rusty_pinch::channel::telegram_worker::{Reader, ReaderSettings};
use rusty_pinch::config::live_secret::LiveSecret;
use rusty_pinch::config::secret::Secret;
use rusty_pinch::net::http_client::HttpClient;
use rusty_pinch::observe::event::{Event, Log};
use rusty_pinch::observe::note::Note;
use rusty_pinch::sys::queue::bounded;
use rusty_pinch::sys::system_clock::SystemClock;
use rusty_pinch::sys::{heartbeat, stop};
use serde_json::json;

use crate::support::cases::Random;
use crate::support::fake_telegram::{FakeTelegram, TOKEN};
use crate::support::telegram_script::Fault;
use crate::support::waiting::{lock, spawn, until};

/// A second is a quarter of an hour.
struct Hurried(SystemClock);

impl Clock for Hurried {
    fn mono(&self) -> Mono {
        Mono(self.0.mono().0 * 1000)
    }

    fn wall(&self) -> Wall {
        self.0.wall()
    }
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<String>>,
    waiting: Mutex<Vec<u64>>,
}

impl Log for Ear {
    fn emit(&self, _at: Wall, event: &Event) {
        lock(&self.heard).push(match event {
            Event::ChannelParked { reason, .. } => reason.clone(),
            Event::ChannelResumed { .. } => "resumed".to_string(),
            _ => return,
        });
    }

    fn note(&self, note: Note<'_>) {
        if let Note::Polled { waiting: Some(waiting), .. } = note {
            lock(&self.waiting).push(waiting);
        }
    }
}

#[test]
fn messages_that_wait_although_polls_bring_none_are_told_until_they_arrive() {
    let mut random = Random::for_test("witness");
    let telegram = FakeTelegram::start(&mut random);
    let answer = |pending: u64| json!({ "ok": true, "result": { "url": "", "pending_update_count": pending } });
    // The start asks first; then three looks, each of which shows more.
    for pending in [0, 3, 4, 7] {
        telegram.fault(Fault::instead(200, &answer(pending)).on("getWebhookInfo").times(1));
    }
    let clock: Arc<dyn Clock> = Arc::new(Hurried(SystemClock::new()));
    let (heart, _pulse) = heartbeat::pair("poll", Arc::clone(&clock));
    let (inbox, _inbox) = bounded(16);
    let (_receipts, receipts) = bounded(100);
    let (_reload, reload) = bounded(1);
    let (stopper, stop) = stop::pair();
    let ends = ReaderEnds { inbox, receipts, room: Arc::new(100.into()), reload, stop, heart };
    let token = LiveSecret::new(Secret::new(TOKEN.to_string()));
    let cancel = Cancel::new();
    let client = TelegramClient::new(Box::new(HttpClient::new(false)), &telegram.url(), token, cancel.clone());
    let ear = Arc::new(Ear::default());
    let folder = tempfile::tempdir().expect("a folder");
    let settings = ReaderSettings {
        // Nobody who writes here may, so that nobody has to acknowledge it.
        people: People::new(
            Allowlist::new(&["7".to_string()]),
            folder.path().to_owned(),
            Arc::clone(&clock),
            Arc::<Ear>::clone(&ear) as Arc<dyn Log>,
        ),
        poll_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(10),
        next_positions: [].into(),
    };
    let log: Arc<dyn Log> = Arc::<Ear>::clone(&ear);
    let thread = spawn("poll", move || {
        let ended = Reader::new(client, settings, ends, clock, log, Rng::from_seed(1)).run();
        assert_eq!(ended, Ok(()));
    });
    until("messages are missed", || lock(&ear.heard).iter().filter(|heard| *heard == "pending_grows").count() == 2);
    assert_eq!(lock(&ear.waiting)[..4], [0, 3, 4, 7], "what the metrics show");
    telegram.say(42, "one that arrives");
    until("they arrive", || lock(&ear.heard).last().is_some_and(|heard| heard == "resumed"));
    drop(stopper);
    cancel.cancel();
    thread.join().expect("it ends");
}
