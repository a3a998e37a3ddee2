//! The `bridge` thread: owns the link to a WhatsApp bridge, in both directions. What it decides stands in the other
//! `whatsapp_*` files; here it is done: dial, read in slices, send replies, ping, hang up. What is heard goes to `hearing.rs`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::id::TurnId;
use crate::base::rng::Rng;
use crate::channel::ends::{ReaderEnds, SenderEnds, WriterGone};
use crate::channel::outbound::{Attempt, Report, Step as SendStep};
use crate::channel::whatsapp_frame::{self as frame, Dialect};
use crate::channel::whatsapp_handover::Handover;
use crate::channel::whatsapp_incoming::Intake;
use crate::channel::whatsapp_limits::LinkLimits;
use crate::channel::whatsapp_line::Line;
use crate::channel::whatsapp_link::{Link, Step};
use crate::channel::whatsapp_markup::of_markdown;
use crate::channel::whatsapp_outgoing::{Answer, Outgoing};
use crate::channel::whatsapp_reception::Reception;
use crate::channel::whatsapp_teller::{CHANNEL, Teller};
use crate::channel::whatsapp_trouble::Lost;
use crate::config::live_secret::LiveSecret;
use crate::net::websocket::Dialer;
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::sys::queue::{Select, TryRecvError, never};

// What the bridge says.
mod hearing;

/// How long a read waits while a reply may come any moment, so that it leaves at once.
const BUSY_SLICE: Duration = Duration::from_millis(20);

/// How long answers are waited for after the last reply is known, when stopping.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// A turn that is answered longer than this is not coming back to say that it ended.
const ANSWERING_FOR: Duration = Duration::from_secs(3600);

/// Nothing is waited for longer than this without a look around.
const LONG: Duration = Duration::from_secs(10);

/// How long one round may take: dialling, or a frame and the disk.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// What the worker is told at start.
pub struct WorkerSettings {
    /// The way to the bridge.
    pub dialer: Dialer,
    /// Its token.
    pub token: Option<LiveSecret>,
    /// What the operator says about its dialect.
    pub dialect: Option<Dialect>,
    /// Largest first delay before it is dialled again.
    pub reconnect: Duration,
    /// The times of the link.
    pub limits: LinkLimits,
    /// Who is answered.
    pub intake: Intake,
    /// Where learned identities are kept.
    pub identities: PathBuf,
}

/// The thread's state.
pub struct Worker {
    limits: LinkLimits,
    token: Option<LiveSecret>,
    reception: Reception,
    link: Link,
    was_up: bool,
    line: Line,
    outgoing: Outgoing,
    reader: ReaderEnds,
    sender: SenderEnds,
    /// Turns that are being answered, and since when.
    answering: HashMap<TurnId, Mono>,
    outbox_closed: Option<Mono>,
    teller: Teller,
    clock: Arc<dyn Clock>,
}

impl Worker {
    /// A worker that has done nothing yet.
    pub fn new(
        settings: WorkerSettings,
        outgoing: Outgoing,
        (reader, sender): (ReaderEnds, SenderEnds),
        clock: Arc<dyn Clock>,
        log: Arc<dyn Log>,
        mut rng: Rng,
    ) -> Worker {
        let has_token = settings.token.is_some() && settings.dialect != Some(Dialect::P);
        let link = Link::new(settings.limits, settings.reconnect, settings.dialect, has_token, rng.split());
        let handover = Handover::new(reader.inbox.clone(), reader.receipts.clone());
        Worker {
            limits: settings.limits,
            token: settings.token,
            reception: Reception::new(settings.intake, settings.identities, handover, Arc::clone(&clock), rng),
            link,
            was_up: false,
            line: Line::new(settings.dialer, settings.limits, reader.stop.clone()),
            outgoing,
            reader,
            sender,
            answering: HashMap::new(),
            outbox_closed: None,
            teller: Teller::new(Arc::clone(&clock), log),
            clock,
        }
    }

    /// Runs until the order to stop, and then until what can be sent at once is sent.
    pub fn run(mut self) -> Result<(), String> {
        self.reception.begin(&mut self.teller);
        loop {
            self.reader.heart.within(ROUND_MAX);
            self.take_new();
            self.periodic();
            if self.is_over() || self.turn().is_err() {
                break;
            }
        }
        self.reception.periodic(&mut self.teller, true);
        self.line.close();
        Ok(())
    }

    /// Nothing is left to be done: no reply can come any more, and none can go now.
    fn is_over(&self) -> bool {
        let Some(closed) = self.outbox_closed else { return false };
        let now = self.clock.mono();
        let is_waiting = self.line.is_up() && self.outgoing.is_waiting();
        let is_sending = self.line.is_up() && self.link.sends().is_some() && self.outgoing.is_ready(now);
        !is_waiting && !is_sending || now >= closed.after(LAST_ANSWERS)
    }

    /// One step of the link.
    fn turn(&mut self) -> Result<(), WriterGone> {
        if let Some(lost) = self.line.take_failure() {
            self.lose(lost);
            return Ok(());
        }
        match self.link.step(self.clock.mono()) {
            Step::Dial if self.reader.stop.requested() => self.wait(LONG),
            Step::Dial => self.dial(),
            Step::Wait { until } => self.wait(self.clock.mono().until(until)),
            Step::HangUp(lost) => self.lose(lost),
            Step::Ping => {
                self.link.on_ping(self.clock.mono());
                self.line.ping(Vec::new());
            }
            Step::Serve { until } => return self.serve(until),
        }
        Ok(())
    }

    /// What came through the queues.
    fn take_new(&mut self) {
        let now = self.clock.mono();
        let mut replies = Vec::new();
        let end = loop {
            match self.sender.outbox.try_recv() {
                Ok(outbound) => replies.push(outbound),
                Err(end) => break end,
            }
        };
        // That a turn is answered was queued before its reply.
        for (turn, chat) in self.sender.typing.try_iter() {
            match chat {
                Some(_) => drop(self.answering.insert(turn, now)),
                None => drop(self.answering.remove(&turn)),
            }
        }
        for outbound in replies {
            self.answering.remove(&outbound.turn);
            self.outgoing.push(outbound);
        }
        if end == TryRecvError::Disconnected {
            self.outbox_closed.get_or_insert(now);
        }
        if self.reader.reload.try_recv().is_ok() {
            self.link.on_reload();
        }
        // They are on disk: now, and not before, their bridge may forget them.
        for id in self.reception.handover().on_disk() {
            self.acknowledge(&id);
        }
        if !self.reader.stop.requested() {
            self.reception.handover().pump();
        }
    }

    fn periodic(&mut self) {
        let now = self.clock.mono();
        self.answering.retain(|_, since| now < since.after(ANSWERING_FOR));
        self.reception.periodic(&mut self.teller, false);
        if let Some(parked) = self.link.parked() {
            let retry = match self.link.step(now) {
                Step::Wait { until } => now.until(until),
                _ => Duration::ZERO,
            };
            self.teller.remind(parked, retry);
        }
    }

    /// Nothing is read meanwhile: waits for a reply, a wish, or the end.
    fn wait(&self, limit: Duration) {
        let never = never();
        let stop = if self.reader.stop.requested() { &never } else { self.reader.stop.receiver() };
        let outbox = if self.outbox_closed.is_some() { &never } else { self.sender.outbox.raw() };
        let mut ready = Select::new();
        ready.recv(stop);
        ready.recv(outbox);
        ready.recv(self.reader.reload.raw());
        let _ = ready.ready_timeout(limit.min(LONG));
    }

    fn dial(&mut self) {
        match self.line.dial() {
            Ok(None) => {}
            Err(lost) => self.lose(lost),
            Ok(Some(())) => {
                self.link.on_up(self.clock.mono());
                self.was_up = true;
                self.teller.emit(&Event::ChannelConnected { channel: CHANNEL, account: None, name: None });
                self.teller.note(Note::LinkAlive { channel: CHANNEL });
                let token = self.token.as_ref().filter(|_| self.link.starts_with_token());
                if let Some(token) = token.map(LiveSecret::current) {
                    self.line.put(frame::auth(token.reveal()));
                }
            }
        }
    }

    /// The link is over, or there is none.
    fn lose(&mut self, lost: Lost) {
        let was_up = std::mem::take(&mut self.was_up);
        self.line.drop_it();
        let now = self.clock.mono();
        let retry = self.link.on_lost(lost, now);
        self.outgoing.on_link_lost(now);
        // A v2 bridge sends again what it got no word about, and is told then.
        self.reception.handover().forget_ids();
        if was_up {
            self.teller.note(Note::LinkDown { channel: CHANNEL });
        }
        self.teller.lost(lost, was_up, self.link.failures(), retry);
        if let Some(parked) = self.link.parked() {
            self.teller.remind(parked, retry);
        }
    }

    /// Sends what is due, then reads for a slice.
    fn serve(&mut self, until: Mono) -> Result<(), WriterGone> {
        let now = self.clock.mono();
        if self.outgoing.is_overdue(now, self.limits.answer) {
            self.lose(Lost::Unanswered);
            return Ok(());
        }
        if let Some(dialect) = self.link.sends().filter(|_| self.line.is_up()) {
            match self.outgoing.step(now, dialect, self.link.has_ids()) {
                SendStep::Send(attempt) => self.send(&attempt, dialect)?,
                SendStep::GiveUp { turn, chat } => {
                    self.outgoing.on_given_up(turn, &chat);
                    self.sender.record(turn, [Report::given_up()])?;
                }
                SendStep::Wait { .. } => {}
            }
        }
        self.read(now.until(until))
    }

    fn read(&mut self, left: Duration) -> Result<(), WriterGone> {
        let is_busy = !self.answering.is_empty() || self.reception.handover().is_busy() || self.reader.stop.requested();
        let slice = if is_busy { BUSY_SLICE } else { self.limits.slice };
        let slice = slice.min(left).max(Duration::from_millis(1));
        if self.reception.handover().is_full() && !self.outgoing.is_waiting() {
            // Who does not listen cannot say that the other side is silent.
            self.link.on_heard(self.clock.mono());
            self.wait(slice);
            return Ok(());
        }
        match self.line.read(slice) {
            None => {
                let news = if self.line.is_up() { self.link.on_quiet(self.clock.mono()) } else { None };
                news.into_iter().for_each(|news| self.on_news(news, true));
                Ok(())
            }
            Some(heard) => {
                self.link.on_heard(self.clock.mono());
                let outcome = self.hear(heard);
                if self.link.is_online() {
                    self.teller.note(Note::LinkAlive { channel: CHANNEL });
                }
                outcome
            }
        }
    }

    fn send(&mut self, attempt: &Attempt, dialect: Dialect) -> Result<(), WriterGone> {
        self.sender.announce(attempt)?;
        let now = self.clock.mono();
        let text = of_markdown(&attempt.text);
        self.reception.on_sending(&attempt.chat.id, &text, now);
        let answer = self.outgoing.begin(attempt, dialect, self.link.has_ids(), now);
        let id = if let Answer::Id(id) = &answer { Some(id.as_str()) } else { None };
        self.line.put(frame::send(dialect, &attempt.chat.id, &text, id));
        if let Answer::Pong(number) = answer {
            self.line.ping(number.to_be_bytes().to_vec());
        }
        Ok(())
    }
}
