//! [`Board`]: what is known of the running worker, in one place: the condition of each channel, the heartbeats of its
//! threads, how full its queues are, and what somebody found out about the disk and the providers. [`Noticed`] is the way of
//! everything that is logged, so that whoever can speak is heard here, too.
//!
//! One lock, held for the moment of a look, never while anything is waited for: who asks whether a thread is wedged must not
//! wait for that thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::clock::{Clock, Wall, millis};
use crate::base::id::ChannelId;
use crate::base::sorted::SortedMap;
use crate::observe::condition::{Condition, Grounds};
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::observe::status::{Beat, ChannelStatus, Queue, Status};
use crate::sys::heartbeat::{self, Heart, Pulse};
use crate::sys::queue::Sender;

/// A queue that somebody may look at.
pub struct Gauge {
    /// Its name in docs/architecture.md.
    pub name: String,
    /// How much fits in.
    pub bound: usize,
    /// How much is in it.
    pub length: Box<dyn Fn() -> usize + Send>,
}

/// What every document of the process has in common.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Of the process.
    pub pid: u32,
    /// The kernel's boot.
    pub boot: Option<String>,
    /// The data folder, absolute.
    pub data: String,
}

struct Channel {
    condition: Condition,
    /// The journal's lock is ours, so the channel's document is, too.
    is_ours: bool,
    is_writable: bool,
    pulses: Vec<Pulse>,
    gauges: Vec<Gauge>,
}

#[derive(Default)]
struct State {
    channels: SortedMap<ChannelId, Channel>,
    /// Threads that belong to no channel.
    pulses: Vec<Pulse>,
    phase: Option<&'static str>,
    free_bytes: Option<u64>,
    is_clock_off: bool,
    /// Where the health endpoint listens.
    endpoint: Option<String>,
    /// Names of providers that are left alone.
    closed_providers: Vec<String>,
}

/// Shared by all threads of a worker.
pub struct Board {
    state: Mutex<State>,
    identity: Identity,
    started_at: Wall,
    /// Wakes whoever shows what is known.
    wake: Sender<()>,
    clock: Arc<dyn Clock>,
}

impl Board {
    /// Nothing has happened; a change that somebody waits for is told on `wake`, where one word waiting is as good as two.
    pub fn new(channels: &[ChannelId], identity: Identity, wake: Sender<()>, clock: Arc<dyn Clock>) -> Board {
        let now = clock.mono();
        let new = |id: &ChannelId| {
            let (pulses, gauges) = (Vec::new(), Vec::new());
            let condition = Condition::new(*id, now);
            (*id, Channel { condition, is_ours: false, is_writable: true, pulses, gauges })
        };
        let state = State { channels: channels.iter().map(new).collect(), ..State::default() };
        Board { state: Mutex::new(state), identity, started_at: clock.wall(), wake, clock }
    }

    /// The journal of this channel is ours. Whether that is new.
    pub fn own(&self, channel: ChannelId) -> bool {
        let mut state = self.state();
        let is_new = state.channels.get_mut(&channel).is_some_and(|known| !std::mem::replace(&mut known.is_ours, true));
        drop(state);
        if is_new {
            self.wake();
        }
        is_new
    }

    /// The channels whose documents are ours.
    pub fn owned(&self) -> Vec<ChannelId> {
        self.state().channels.iter().filter(|(_, known)| known.is_ours).map(|(id, _)| *id).collect()
    }

    /// What the process does instead of working; a name from [`crate::observe::condition::REASONS`].
    pub fn enter(&self, phase: Option<&'static str>) {
        self.state().phase = phase;
        self.wake();
    }

    /// The threads and queues of a channel.
    pub fn watch(&self, channel: ChannelId, pulses: Vec<Pulse>, gauges: Vec<Gauge>) {
        if let Some(known) = self.state().channels.get_mut(&channel) {
            (known.pulses, known.gauges) = (pulses, gauges);
        }
    }

    /// How a thread that belongs to no channel shows that it lives. From here on it is looked at.
    pub fn heart(&self, name: &str) -> Heart {
        let (heart, pulse) = heartbeat::pair(name, Arc::clone(&self.clock));
        self.state().pulses.push(pulse);
        heart
    }

    /// Queues are looked at no longer: who looks keeps them open on one side.
    pub fn let_go(&self) {
        self.state().channels.values_mut().for_each(|known| known.gauges.clear());
    }

    /// What was found out about the disk, by channel whether its journal can be written to, and about the clock.
    pub fn set_disk(&self, writable: &[(ChannelId, bool)], free_bytes: Option<u64>, is_clock_off: bool) {
        let mut state = self.state();
        (state.free_bytes, state.is_clock_off) = (free_bytes, is_clock_off);
        for (id, is_writable) in writable {
            if let Some(known) = state.channels.get_mut(id) {
                known.is_writable = *is_writable;
            }
        }
    }

    /// The health endpoint listens there.
    pub fn set_endpoint(&self, address: Option<String>) {
        self.state().endpoint = address;
        self.wake();
    }

    /// The providers that are left alone now. Whether they are others than before.
    pub fn set_closed_providers(&self, names: Vec<String>) -> bool {
        let mut state = self.state();
        let is_news = state.closed_providers != names;
        state.closed_providers = names;
        is_news
    }

    /// Says in the documents what is impaired now.
    pub fn degrade(&self, documents: &mut [(ChannelId, Status)]) {
        let state = self.state();
        for (id, status) in documents {
            status.degraded = state.channels.get(id).map_or(Vec::new(), |known| degraded(&state, known));
        }
    }

    /// The threads that should have shown that they live.
    pub fn overdue(&self) -> Vec<String> {
        let (state, now) = (self.state(), self.clock.mono());
        let of_channels = state.channels.values().flat_map(|known| &known.pulses);
        let overdue = of_channels.chain(&state.pulses).filter(|pulse| pulse.look(now).is_overdue());
        overdue.map(|pulse| pulse.name().to_owned()).collect()
    }

    /// The documents that are ours, without what is counted.
    pub fn documents(&self) -> Vec<(ChannelId, Status)> {
        self.all().into_iter().filter_map(|(id, status, is_ours)| is_ours.then_some((id, status))).collect()
    }

    /// The documents of all channels of the process, without what is counted, and whether they are ours.
    pub fn all(&self) -> Vec<(ChannelId, Status, bool)> {
        let is_live = self.overdue().is_empty();
        let state = self.state();
        let document =
            |(id, known): (&ChannelId, &Channel)| (*id, self.status(&state, *id, known, is_live), known.is_ours);
        state.channels.iter().map(document).collect()
    }

    fn status(&self, state: &State, id: ChannelId, known: &Channel, is_live: bool) -> Status {
        let now = self.clock.mono();
        let beat = |pulse: &Pulse| {
            let seen = pulse.look(now);
            let limit_ms = seen.limit.map_or(0, millis);
            Beat { thread: pulse.name().to_owned(), age_ms: millis(seen.age), limit_ms }
        };
        let gauge = |gauge: &Gauge| Queue { name: gauge.name.clone(), length: (gauge.length)(), bound: gauge.bound };
        let (phase, is_writable, free_bytes) = (state.phase, known.is_writable, state.free_bytes);
        let reasons = known.condition.reasons(Grounds { phase, is_live, is_writable, free_bytes }, now);
        Status {
            version: 1,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: self.identity.pid,
            boot: self.identity.boot.clone(),
            data: self.identity.data.clone(),
            started_at: self.started_at.0,
            at: self.clock.wall().0,
            ready: reasons.is_empty(),
            reasons,
            degraded: degraded(state, known),
            endpoint: state.endpoint.clone(),
            channel: ChannelStatus { id: id.name().to_owned(), ..ChannelStatus::default() },
            threads: known.pulses.iter().chain(&state.pulses).map(beat).collect(),
            queues: known.gauges.iter().map(gauge).collect(),
            ..Status::default()
        }
    }

    fn on_event(&self, event: &Event) {
        let channel = match event {
            Event::ChannelParked { channel, .. }
            | Event::ChannelResumed { channel }
            | Event::ChannelPollError { channel, .. }
            | Event::ChannelConnectError { channel, .. }
            | Event::ChannelState { channel, .. } => *channel,
            Event::ProviderState { .. } => return self.wake(),
            _ => return,
        };
        let mut state = self.state();
        if state.channels.get_mut(&channel).is_some_and(|known| known.condition.on_event(event)) {
            drop(state);
            self.wake();
        }
    }

    fn on_note(&self, note: Note<'_>) {
        let channel = match note {
            Note::Polled { channel, .. } | Note::LinkAlive { channel } | Note::LinkDown { channel } => channel,
            _ => return,
        };
        let now = self.clock.mono();
        let mut state = self.state();
        if state.channels.get_mut(&channel).is_some_and(|known| known.condition.on_note(note, now)) {
            drop(state);
            self.wake();
        }
    }

    fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is impaired and does not keep messages from being answered or refused with a sentence: restarting would not help.
fn degraded(state: &State, known: &Channel) -> Vec<String> {
    let providers = state.closed_providers.iter().map(|name| ["provider_open:", name].concat());
    let clock = state.is_clock_off.then(|| "clock".to_owned());
    let crash_loop = known.condition.is_parked_by("crash_loop").then(|| "crash_loop".to_owned());
    providers.chain(clock).chain(crash_loop).collect()
}

/// A log that is heard by the board.
pub struct Noticed {
    /// Where events go.
    pub inner: Arc<dyn Log>,
    /// Who hears them.
    pub board: Arc<Board>,
}

impl Log for Noticed {
    fn emit(&self, at: Wall, event: &Event) {
        self.inner.emit(at, event);
        self.board.on_event(event);
    }

    fn note(&self, note: Note<'_>) {
        self.inner.note(note);
        self.board.on_note(note);
    }

    fn dropped(&self) -> u64 {
        self.inner.dropped()
    }

    fn flush(&self, patience: Duration) {
        self.inner.flush(patience);
    }
}
