//! One process: the real poller, schedule and lanes around a ledger, each thread one action at a time.
//!
//! A thread that has not acted yet and a queue that was not looked at yet are the same, so queues are left out: an order
//! to the writer is in the page cache at once, and a notice is with the dispatcher, which acts at once, too. What the
//! writer takes together in the product is here one record after the other with any flush between: more, never less.
//! Waiting takes no time.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use rusty_pinch::base::clock::Mono;
use rusty_pinch::base::id::ChannelId;
use rusty_pinch::base::message::{Outbound, reply_weight};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::telegram::{PollFailure, Poller, Step as PollStep};
use rusty_pinch::store::exchange::{Effect, Notice};
use rusty_pinch::store::writer::sender_of;
use rusty_pinch::turn::schedule::{Action, Limits, Schedule};

use super::ledgers::{Edge, Ledgers, NodeId, Order, Start};
use super::sender::{Luck, Sender};
use super::world::{self, LETTERS_MAX, World, update_of};
use super::{Flaw, Setting};

pub const SENDERS: usize = 2;
const LIMITS: Limits = Limits { workers: 2, credits: 8, messages_max: None };
const LONG_POLL: Duration = Duration::from_secs(30);

/// An action of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The server gives so many messages, and forgets what is confirmed.
    Poll(usize),
    /// It forgets, and its answer is lost.
    PollLost,
    /// The server forgets that a message was confirmed, and gives it another number.
    Again(usize),
    HandOver,
    Flush,
    Begin(usize),
    Answer(usize),
    Send(usize),
    Post(usize, Luck),
    Note(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Outside,
    HandedOver,
    Waiting,
    Started,
    Begun,
    Answered,
    Replied,
    Done,
}

/// A batch between its poll and its last receipt.
#[derive(Clone)]
struct Reading {
    queue: VecDeque<(usize, u64)>,
    outstanding: Vec<u64>,
    last: u64,
}

#[derive(Clone)]
pub struct Process {
    pub node: NodeId,
    poller: Poller,
    polled_at: Mono,
    /// For a flaw: the highest offset ever.
    highest: Option<u64>,
    reading: Option<Reading>,
    schedule: Rc<Schedule>,
    phases: [Phase; LETTERS_MAX],
    senders: [Sender; SENDERS],
}

/// What was asked of the ledger, if anything was.
pub type Asked = Option<Rc<Edge>>;

impl Process {
    pub fn start(start: &Start, setting: &Setting, is_first: bool) -> Process {
        let next = start.next.or(setting.offset_at_start.filter(|_| is_first));
        let mut process = Process {
            node: start.to,
            poller: Poller::new(next, Rng::from_seed(1)),
            polled_at: Mono(0),
            highest: next,
            reading: None,
            schedule: Rc::new(Schedule::new(LIMITS)),
            phases: [Phase::Outside; LETTERS_MAX],
            senders: [Sender::new(setting.mode), Sender::new(setting.mode)],
        };
        for reopened in &start.reopened {
            let update = update_of(reopened.job.inbound.turn);
            process.phases[update] = if reopened.reply.is_some() { Phase::Replied } else { Phase::Waiting };
            let weight = reopened.reply.as_ref().map(|outbound| reply_weight("", &outbound.parts) * 2);
            Rc::make_mut(&mut process.schedule).on_reopened(reopened.job.clone(), weight);
            reopened.reply.iter().for_each(|outbound| process.push(outbound.clone()));
        }
        while let Some(Action::Start(job)) = Rc::make_mut(&mut process.schedule).next_action() {
            process.phases[update_of(job.inbound.turn)] = Phase::Started;
        }
        process
    }

    /// Everything that may happen next, crashes left out.
    pub fn steps(&self, setting: &Setting, ledgers: &Ledgers, world: &World, faults_left: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        match &self.reading {
            None => {
                let mut after = *world;
                after.confirm(&setting.letters, self.offset(setting));
                let waiting = after.waiting(&setting.letters).len();
                steps.extend((1..=waiting).map(Step::Poll));
                steps.extend((waiting == 0 && after != *world).then_some(Step::Poll(0)));
                steps.extend((faults_left && after != *world).then_some(Step::PollLost));
            }
            Some(reading) if !reading.queue.is_empty() => steps.push(Step::HandOver),
            Some(_) => {}
        }
        if faults_left && setting.repeats {
            let again = |update: &usize| world.forgotten[*update] && !world.again[*update];
            steps.extend((0..setting.letters.len()).filter(again).map(Step::Again));
        }
        steps.extend(ledgers.is_dirty(self.node).then_some(Step::Flush));
        for (update, phase) in self.phases.iter().enumerate() {
            match phase {
                Phase::Started => steps.push(Step::Begin(update)),
                Phase::Begun => steps.push(Step::Answer(update)),
                _ => {}
            }
        }
        for (number, sender) in self.senders.iter().enumerate() {
            sender.steps(number, faults_left, &mut steps);
        }
        steps
    }

    pub fn take(
        &mut self,
        step: Step,
        setting: &Setting,
        ledgers: &mut Ledgers,
        world: &mut World,
    ) -> Result<Asked, String> {
        match step {
            Step::Poll(count) => {
                self.poll(setting, world, count);
                Ok(None)
            }
            Step::PollLost => {
                world.confirm(&setting.letters, self.offset(setting));
                self.poller.on_failure(PollFailure::Transient, self.polled_at);
                Ok(None)
            }
            Step::Again(update) => {
                (world.forgotten[update], world.again[update]) = (false, true);
                Ok(None)
            }
            Step::HandOver => self.hand_over(setting, ledgers),
            Step::Flush => self.obey(ledgers, Order::Flush, setting),
            Step::Begin(update) => {
                self.phases[update] = Phase::Begun;
                self.obey(ledgers, Order::Begin(update), setting)
            }
            Step::Answer(update) => self.answer(update, setting, ledgers, world),
            Step::Send(number) => {
                let order = self.senders[number].begin()?;
                if setting.flaw == Some(Flaw::SendingKept) {
                    return Ok(None);
                }
                self.obey(ledgers, order, setting)
            }
            Step::Post(number, luck) => {
                self.senders[number].post(luck, setting, world)?;
                Ok(None)
            }
            Step::Note(number) => {
                let order = self.senders[number].note()?;
                self.obey(ledgers, order, setting)
            }
        }
    }

    fn offset(&self, setting: &Setting) -> Option<u64> {
        let mut now = self.polled_at;
        loop {
            match self.poller.step(now) {
                PollStep::Wait { until } => now = until,
                PollStep::Poll { offset } if setting.flaw == Some(Flaw::OffsetByMax) => {
                    return offset.max(self.highest);
                }
                PollStep::Poll { offset } => return offset,
            }
        }
    }

    fn poll(&mut self, setting: &Setting, world: &mut World, count: usize) {
        let offset = self.offset(setting);
        if let PollStep::Wait { until } = self.poller.step(self.polled_at) {
            self.polled_at = until;
        }
        self.highest = offset.max(self.highest);
        world.confirm(&setting.letters, offset);
        let batch: VecDeque<(usize, u64)> = world.waiting(&setting.letters).into_iter().take(count).collect();
        let outstanding: Vec<u64> = batch.iter().map(|(_, number)| *number).collect();
        match outstanding.last().copied() {
            None => self.poller.on_batch(None, LONG_POLL, self.polled_at),
            Some(last) => self.reading = Some(Reading { queue: batch, outstanding, last }),
        }
    }

    fn hand_over(&mut self, setting: &Setting, ledgers: &mut Ledgers) -> Result<Asked, String> {
        let reading = self.reading.as_mut().ok_or("nothing was read")?;
        let (update, number) = reading.queue.pop_front().ok_or("nothing to hand over")?;
        let is_copy = ledgers.tag(self.node).turns[update].seen;
        if !is_copy {
            self.phases[update] = Phase::HandedOver;
        }
        let inbound = world::inbound(&setting.letters, update, is_copy, number);
        Rc::make_mut(&mut self.schedule).on_inbound(inbound, Mono(0));
        let asked = self.act(setting, ledgers)?;
        if setting.flaw == Some(Flaw::ReceiptBeforeSync) {
            self.receipt(number);
        }
        Ok(asked)
    }

    fn answer(
        &mut self,
        update: usize,
        setting: &Setting,
        ledgers: &mut Ledgers,
        world: &World,
    ) -> Result<Asked, String> {
        // The lowest number that is not in use anywhere stands for a text that never was.
        let mut used = ledgers.nonces(self.node, update);
        used.extend((world.shown[update].parts > 0).then_some(world.shown[update].nonce));
        let nonce = (0..=9).find(|nonce| !used.contains(nonce)).ok_or("too many answers")?;
        self.phases[update] = Phase::Answered;
        let asked = self.obey(ledgers, Order::Reply(update, nonce), setting)?;
        if setting.flaw == Some(Flaw::ReplyBeforeSync) {
            let (ledger, boot) = ledgers.ledger(self.node);
            let open = ledger.journal().get(world::turn(update, false)).ok_or("the answer is not there")?;
            let outbound = open.outbound(&boot).ok_or("the answer is not there")?;
            self.push(outbound);
            self.notice(&Notice::Replied { turn: world::turn(update, false), weight: 0 });
            self.act(setting, ledgers)?;
        }
        Ok(asked)
    }

    fn push(&mut self, outbound: Outbound) {
        self.senders[sender_of(&outbound.chat, SENDERS)].push(outbound);
    }

    fn obey(&mut self, ledgers: &mut Ledgers, order: Order, setting: &Setting) -> Result<Asked, String> {
        let edge = ledgers.obey(self.node, order)?;
        self.node = edge.to;
        for effect in &edge.effects {
            match effect {
                // In the flaw they were told long ago.
                Effect::Outbound(_) | Effect::Notice(Notice::Replied { .. })
                    if setting.flaw == Some(Flaw::ReplyBeforeSync) => {}
                Effect::Notice(notice) => self.notice(notice),
                Effect::Outbound(outbound) => self.push(outbound.clone()),
                Effect::Answer(_) | Effect::Closed(_) => {}
                Effect::Event(event) => return Err(format!("{event:?}")),
            }
        }
        self.act(setting, ledgers)?;
        Ok(Some(edge))
    }

    fn notice(&mut self, notice: &Notice) {
        let schedule = Rc::make_mut(&mut self.schedule);
        match notice {
            Notice::Accepted(job) => {
                self.phases[update_of(job.inbound.turn)] = Phase::Waiting;
                schedule.on_accepted(job.clone());
            }
            Notice::Refused(inbound) => schedule.on_refused(inbound),
            Notice::Duplicate(inbound) => schedule.on_duplicate(inbound),
            Notice::Replied { turn, weight } => {
                self.phases[update_of(*turn)] = Phase::Replied;
                schedule.on_replied(*turn, *weight);
            }
            Notice::Closed(turn) => schedule.on_closed(*turn),
            Notice::Delivered(turn) => {
                self.phases[update_of(*turn)] = Phase::Done;
                schedule.on_delivered(*turn);
            }
            Notice::Readmission(_) => {}
        }
    }

    /// What the schedule wants done.
    fn act(&mut self, setting: &Setting, ledgers: &mut Ledgers) -> Result<Asked, String> {
        let mut asked = None;
        while let Some(action) = Rc::make_mut(&mut self.schedule).next_action() {
            match action {
                Action::Accept(inbound) => {
                    let origin = inbound.origin.expect("it came through the channel");
                    asked = self.obey(ledgers, Order::Accept(update_of(inbound.turn), origin), setting)?;
                }
                Action::Refuse { .. } | Action::Readmit(_) => return Err("two messages are too many".into()),
                Action::Control(_) | Action::Stop { .. } | Action::Drop(_) => return Err("nobody asked for it".into()),
                Action::Start(job) => self.phases[update_of(job.inbound.turn)] = Phase::Started,
                Action::Receipt { origin, .. } => self.receipt(origin),
            }
        }
        Ok(asked)
    }

    fn receipt(&mut self, origin: u64) {
        let Some(reading) = &mut self.reading else { return };
        reading.outstanding.retain(|number| *number != origin);
        if reading.outstanding.is_empty() {
            self.poller.on_batch(Some(reading.last), LONG_POLL, self.polled_at);
            self.reading = None;
        }
    }

    /// Whether every credit has returned.
    pub fn is_settled(&self) -> bool {
        self.schedule.room(ChannelId::Telegram) == LIMITS.credits
    }

    /// All that decides about what may happen, in few bytes.
    pub fn key(&self, setting: &Setting, key: &mut Vec<u8>) {
        key.extend((self.node as u32).to_le_bytes());
        key.extend((self.offset(setting).map_or(u64::MAX, |offset| offset) as u32).to_le_bytes());
        match &self.reading {
            None => key.push(0xff),
            Some(reading) => {
                key.push(reading.last as u8);
                key.push(reading.queue.len() as u8);
                key.extend(reading.queue.iter().map(|(_, number)| *number as u8));
                key.push(reading.outstanding.len() as u8);
                key.extend(reading.outstanding.iter().map(|number| *number as u8));
            }
        }
        key.extend(self.phases.map(|phase| phase as u8));
        self.senders.iter().for_each(|sender| sender.key(key));
    }
}
