//! [`Teller`]: what the operator is told of a bridge, each kind of thing at most so often.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono, millis};
use crate::base::id::{ChannelId, TurnId};
use crate::base::sorted::SortedMap;
use crate::channel::denied::Denied;
use crate::channel::whatsapp_frame::Incoming;
use crate::channel::whatsapp_trouble::{Lost, Parked};
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;

/// How often a parked worker says so.
const PARKED_EVERY: Duration = Duration::from_secs(60);

/// How often frames that are not understood are told, and messages for which there is no room.
const MALFORMED_EVERY: Duration = Duration::from_secs(10);

/// How often the tally is told, if it changed.
const TALLY_EVERY: Duration = Duration::from_secs(3600);

/// The channel of every event here.
pub const CHANNEL: ChannelId = ChannelId::WhatsApp;

/// What was told, and when.
pub struct Teller {
    denied: Denied,
    /// What was last said to park it, and when.
    parked: Option<(String, Mono)>,
    malformed: u64,
    malformed_due: Mono,
    tallied: u64,
    tally_due: Mono,
    overflow_due: Mono,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
}

impl Teller {
    /// Nothing was told.
    pub fn new(clock: Arc<dyn Clock>, log: Arc<dyn Log>) -> Teller {
        let tally_due = clock.mono().after(TALLY_EVERY);
        Teller {
            denied: Denied::default(),
            parked: None,
            malformed: 0,
            malformed_due: Mono(0),
            tallied: 0,
            tally_due,
            overflow_due: Mono(0),
            clock,
            log,
        }
    }

    /// Tells it now.
    pub fn emit(&self, event: &Event) {
        self.log.emit(self.clock.wall(), event);
    }

    /// Counts it.
    pub fn note(&self, note: Note<'_>) {
        self.log.note(note);
    }

    /// The link ended, or did not begin.
    pub fn lost(&self, lost: Lost, was_up: bool, failures: u32, retry: Duration) {
        let (channel, error, retry_ms) = (CHANNEL, lost.phrase(), millis(retry));
        self.emit(&match was_up {
            true => Event::ChannelReadError { channel, error, failures, retry_ms },
            false => Event::ChannelConnectError { channel, error, failures, retry_ms },
        });
    }

    /// A person has to act.
    pub fn parked(&mut self, reason: &str, remedy: &str, retry: Duration) {
        self.parked = Some((reason.to_owned(), self.clock.mono()));
        let (reason, remedy) = (reason.to_owned(), remedy.to_owned());
        self.emit(&Event::ChannelParked { channel: CHANNEL, reason, remedy, retry_ms: millis(retry) });
    }

    /// A person still has to act.
    pub fn remind(&mut self, parked: Parked, retry: Duration) {
        let now = self.clock.mono();
        let is_known = |(reason, said): &(String, Mono)| reason == parked.name() && now < said.after(PARKED_EVERY);
        if !self.parked.as_ref().is_some_and(is_known) {
            self.parked(parked.name(), parked.remedy(), retry);
        }
    }

    /// What a person had to do is done.
    pub fn resumed(&mut self) {
        self.parked = None;
        self.emit(&Event::ChannelResumed { channel: CHANNEL });
    }

    /// A frame was not understood.
    pub fn malformed(&mut self, error: &'static str) {
        let now = self.clock.mono();
        self.malformed += 1;
        if now >= self.malformed_due {
            self.malformed_due = now.after(MALFORMED_EVERY);
            let count = std::mem::take(&mut self.malformed);
            self.emit(&Event::ChannelParseError { channel: CHANNEL, error, count });
        }
    }

    /// Messages are lost, or have to come again.
    pub fn overflow(&mut self) {
        let now = self.clock.mono();
        if now >= self.overflow_due {
            self.overflow_due = now.after(MALFORMED_EVERY);
            self.emit(&Event::ChannelState { channel: CHANNEL, state: "overflow" });
        }
    }

    /// Somebody who is not on the list wrote.
    pub fn denied(&mut self, incoming: &Incoming, reason: &'static str) {
        let sender_id = incoming.author.join(" ");
        if self.denied.is_news(&sender_id, self.clock.mono()) {
            let chat_id = incoming.chat.clone();
            self.emit(&Event::ChannelDenied { channel: CHANNEL, sender_id, chat_id, reason });
        }
    }

    /// The bridge could not send something.
    pub fn send_error(&self, turn: TurnId, chat_id: String, action: &'static str) {
        let (request_id, error) = (turn.to_string(), "the bridge says that it failed".to_owned());
        self.emit(&Event::ChannelSendError { channel: CHANNEL, chat_id, request_id, error, action });
    }

    /// Identities could not be read or kept.
    pub fn identities(&self, error: String) {
        self.emit(&Event::StorageError { what: "identities.json".to_owned(), error });
    }

    /// What was passed over, if that is due and news.
    pub fn tally(&mut self, passed: &SortedMap<&'static str, u64>, is_last: bool) {
        let now = self.clock.mono();
        if now < self.tally_due && !is_last {
            return;
        }
        self.tally_due = now.after(TALLY_EVERY);
        let sum = passed.values().sum();
        if sum != std::mem::replace(&mut self.tallied, sum) {
            self.emit(&Event::ChannelTally { channel: CHANNEL, passed: passed.clone() });
        }
    }
}
