//! The worker's thread alone, with short times and the other ends of its queues in our hands.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusty_pinch::sys::queue::{Receiver, Sender, bounded};
use serde_json::Value;
use tempfile::TempDir;

use rusty_pinch::base::clock::{Clock, Mono, Wall};
use rusty_pinch::base::id::{ChannelId, TurnId};
use rusty_pinch::base::message::{Chat, Delivery, Inbound, Mode, Outbound, Typing};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::ends::{ReaderEnds, SenderEnds};
use rusty_pinch::channel::outbound::Lanes;
use rusty_pinch::channel::whatsapp_frame::Dialect;
use rusty_pinch::channel::whatsapp_identity::Identities;
use rusty_pinch::channel::whatsapp_incoming::Intake;
use rusty_pinch::channel::whatsapp_limits::{LIMITS, LinkLimits};
use rusty_pinch::channel::whatsapp_outgoing::Outgoing;
use rusty_pinch::channel::whatsapp_worker::{Worker, WorkerSettings};
use rusty_pinch::net::websocket::Dialer;
use rusty_pinch::observe::event::{Event, Log};
use rusty_pinch::observe::note::Note;
use rusty_pinch::sys::heartbeat::{self, Pulse};
use rusty_pinch::sys::stop::{self, Stopper};
use rusty_pinch::sys::system_clock::SystemClock;

use crate::support::fake_bridge::FakeBridge;
use crate::support::waiting::{came_true, lock, now, since, spawn, until, until_within};

/// A hundredth of the product's, so that a minute is 600 ms.
pub const SHORT: LinkLimits = LinkLimits {
    connect: Duration::from_millis(500),
    handshake: Duration::from_millis(300),
    introduction: Duration::from_millis(20),
    admission: Duration::from_millis(100),
    slice: Duration::from_millis(5),
    ping_every: Duration::from_millis(250),
    ping_jitter: Duration::from_millis(50),
    silence: Duration::from_millis(600),
    write: Duration::from_millis(300),
    answer: Duration::from_millis(400),
    backoff_max: Duration::from_millis(5),
    stable: Duration::from_millis(600),
};

/// The real time, which a test can push on: what the worker waits a minute for comes at once.
struct Pushed {
    clock: SystemClock,
    ahead: AtomicU64,
}

impl Clock for Pushed {
    fn mono(&self) -> Mono {
        Mono(self.clock.mono().0 + self.ahead.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        Wall(self.clock.wall().0 + self.ahead.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
struct Ear {
    events: Mutex<Vec<Value>>,
    /// How often something was heard of the bridge.
    alive: AtomicU64,
}

impl Log for Ear {
    fn emit(&self, at: Wall, event: &Event) {
        lock(&self.events).push(serde_json::from_str(&event.to_line(at)).expect("JSON"));
    }

    fn note(&self, note: Note<'_>) {
        if matches!(note, Note::LinkAlive { .. }) {
            self.alive.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub struct Lab {
    pub inbox: Receiver<Inbound>,
    pub receipts: Sender<u64>,
    outbox: Option<Sender<Outbound>>,
    deliveries: Arc<Mutex<Vec<String>>>,
    pub reload: Sender<()>,
    stopper: Option<Stopper>,
    ear: Arc<Ear>,
    clock: Arc<Pushed>,
    pulse: Pulse,
    thread: Option<JoinHandle<()>>,
    clerk: Option<JoinHandle<()>>,
    _dispatcher: Sender<Typing>,
    _folder: TempDir,
    turns: u64,
}

impl Lab {
    pub fn start(bridge: &FakeBridge, dialect: Option<Dialect>, limits: LinkLimits) -> Lab {
        Lab::to(&bridge.url(), dialect, limits)
    }

    pub fn to(url: &str, dialect: Option<Dialect>, limits: LinkLimits) -> Lab {
        let folder = tempfile::tempdir().expect("a folder");
        let pushed = Arc::new(Pushed { clock: SystemClock::new(), ahead: AtomicU64::new(0) });
        let clock: Arc<dyn Clock> = Arc::<Pushed>::clone(&pushed);
        let (inbox_in, inbox) = bounded(16);
        let (receipts, receipts_out) = bounded(100);
        let (outbox, outbox_out) = bounded(64);
        let (dispatcher, typing) = bounded(64);
        let (deliveries_in, deliveries_out) = bounded(64);
        let (lane_in, lane) = bounded(1);
        let (reload, reload_out) = bounded(1);
        let (stopper, stop) = stop::pair();
        let heart = || heartbeat::pair("bridge", Arc::clone(&clock));
        let (of_reader, pulse) = heart();
        let reader = ReaderEnds {
            inbox: inbox_in,
            receipts: receipts_out,
            room: Arc::default(),
            reload: reload_out,
            stop,
            heart: of_reader,
        };
        let deliveries = deliveries_in;
        let sender = SenderEnds { outbox: outbox_out, typing, deliveries, lane, lane_number: 0, heart: heart().0 };
        let settings = WorkerSettings {
            dialer: Dialer::new(url, Arc::clone(&clock)).expect("a URL"),
            token: None,
            dialect,
            reconnect: Duration::from_millis(1),
            limits,
            intake: Intake::new(Identities::new(&["*".to_string()]), None),
            identities: folder.path().join("identities.json"),
        };
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let clerk = {
            let deliveries = Arc::clone(&deliveries);
            spawn("clerk", move || {
                for delivery in deliveries_out.iter() {
                    lock(&deliveries).push(match &delivery {
                        Delivery::Sending { part, resends, .. } => format!("sending {part} {resends}"),
                        Delivery::Unsent { part, ambiguous, .. } => format!("unsent {part} {ambiguous}"),
                        Delivery::Sent { part, .. } => format!("sent {part}"),
                        Delivery::Close { outcome, .. } => format!("close {outcome:?}"),
                    });
                    if matches!(delivery, Delivery::Sending { .. }) && lane_in.send(()).is_err() {
                        return;
                    }
                }
            })
        };
        let ear = Arc::new(Ear::default());
        let log: Arc<dyn Log> = Arc::<Ear>::clone(&ear);
        let thread = spawn("bridge worker", move || {
            let outgoing = Outgoing::new(Lanes::new(Mode::AtLeastOnce, Rng::from_seed(2)));
            let worker = Worker::new(settings, outgoing, (reader, sender), clock, log, Rng::from_seed(3));
            worker.run().expect("it ends well");
        });
        Lab {
            inbox,
            receipts,
            outbox: Some(outbox),
            deliveries,
            reload,
            stopper: Some(stopper),
            ear,
            clock: pushed,
            pulse,
            thread: Some(thread),
            clerk: Some(clerk),
            _dispatcher: dispatcher,
            _folder: folder,
            turns: 0,
        }
    }

    /// A durable reply.
    pub fn reply(&mut self, chat: &str, text: &str) {
        self.turns += 1;
        let outbound = Outbound {
            turn: TurnId::mint(Wall(self.turns), &mut Rng::from_seed(self.turns)),
            channel: ChannelId::WhatsApp,
            chat: Chat { id: chat.to_string(), thread: None },
            parts: vec![text.to_string()],
            next: 0,
            ambiguous: false,
            other_boot: false,
            resends: 0,
        };
        self.outbox.as_ref().expect("it is open").send(outbound).expect("the worker is there");
    }

    /// It is so much later at once, and the worker has seen that.
    #[track_caller]
    pub fn push_on(&self, time: Duration) {
        self.clock.ahead.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
        let pushed = self.clock.mono();
        let is_seen = || self.pulse.look(Mono(u64::MAX)).age <= pushed.until(Mono(u64::MAX));
        until("the worker looks at the clock", is_seen);
    }

    /// What the worker's clock says.
    pub fn time(&self) -> Mono {
        self.clock.mono()
    }

    /// How often something was heard of the bridge.
    pub fn heard(&self) -> u64 {
        self.ear.alive.load(Ordering::SeqCst)
    }

    /// Nothing came for a while.
    pub fn is_quiet(&self) -> bool {
        !came_true(Duration::from_millis(100), || !self.inbox.is_empty())
    }

    pub fn deliveries(&self) -> Vec<String> {
        lock(&self.deliveries).clone()
    }

    pub fn events(&self, name: &str) -> Vec<Value> {
        lock(&self.ear.events).iter().filter(|event| event["event"] == name).cloned().collect()
    }

    #[track_caller]
    pub fn until_event(&self, name: &str) -> Value {
        until(&format!("event {name}"), || !self.events(name).is_empty());
        self.events(name).swap_remove(0)
    }

    #[track_caller]
    pub fn until_error(&self, part: &str, ceiling: Duration) {
        let errors = || [self.events("channel_read_error"), self.events("channel_connect_error")].concat();
        let is_told = || errors().iter().any(|event| event["error"].as_str().is_some_and(|text| text.contains(part)));
        until_within(&format!("the error '{part}'"), ceiling, is_told);
    }

    /// The order to stop; replies still come.
    pub fn order_to_stop(&mut self) {
        self.stopper = None;
    }

    /// The order to stop, as the product gives it; how long it took.
    #[track_caller]
    pub fn stop(&mut self) -> Duration {
        let begun = now();
        self.stopper = None;
        self.outbox = None;
        let thread = self.thread.take().expect("it is stopped once");
        until_within("the worker ends", Duration::from_secs(10), || thread.is_finished());
        thread.join().expect("it does not panic");
        let took = since(begun);
        self.clerk.take().expect("once").join().expect("it does not panic");
        took
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (self.stopper, self.outbox) = (None, None);
        self.thread.take().into_iter().chain(self.clerk.take()).for_each(|thread| drop(thread.join()));
    }
}

/// The product's own times.
pub const PRODUCT: LinkLimits = LIMITS;

/// The same, but the bridge is dialled again at once: for what is not about times, whatever else the machine does.
pub const CALM: LinkLimits =
    LinkLimits { slice: SHORT.slice, backoff_max: SHORT.backoff_max, handshake: LIMITS.handshake, ..LIMITS };
