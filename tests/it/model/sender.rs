//! One sender thread around the real lanes: on record, out, and what came of it on record again.

use std::collections::VecDeque;
use std::rc::Rc;

use rusty_pinch::base::clock::Mono;
use rusty_pinch::base::message::{Mode, Outbound};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::outbound::{Attempt, Lanes, Report, Sent, Step as LaneStep};

use super::ledgers::Order;
use super::process::Step;
use super::world::{World, is_notice, update_of};
use super::{Flaw, Setting};

/// What the network does to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Luck {
    Answered,
    /// It arrived, and nobody knows.
    ResponseLost,
    /// It did not arrive, and nobody knows.
    RequestLost,
    /// It certainly did not arrive.
    Refused,
}

const FAULTS: [Luck; 3] = [Luck::ResponseLost, Luck::RequestLost, Luck::Refused];

#[derive(Clone)]
enum At {
    Idle,
    /// The send is on record.
    Begun(Attempt),
    /// What came of it is not.
    Noting(VecDeque<Order>),
}

#[derive(Clone)]
pub struct Sender {
    lanes: Rc<Lanes>,
    now: Mono,
    at: At,
    /// What the lanes hold, as it came, and what became of the first one so far. Together they decide what the lanes do.
    items: VecDeque<[u8; 5]>,
    history: Vec<u8>,
}

impl Sender {
    pub fn new(mode: Mode) -> Sender {
        Sender {
            lanes: Rc::new(Lanes::new(mode, Rng::from_seed(1))),
            now: Mono(0),
            at: At::Idle,
            items: VecDeque::new(),
            history: Vec::new(),
        }
    }

    pub fn push(&mut self, outbound: Outbound) {
        let flags = [u8::from(outbound.ambiguous), u8::from(outbound.other_boot)];
        let (update, part) = (update_of(outbound.turn) as u8, outbound.next as u8);
        self.items.push_back([update, part, flags[0], flags[1], outbound.resends]);
        Rc::make_mut(&mut self.lanes).push(outbound);
    }

    pub fn steps(&self, number: usize, faults_left: bool, steps: &mut Vec<Step>) {
        match &self.at {
            At::Idle => steps.extend((!self.items.is_empty()).then_some(Step::Send(number))),
            At::Noting(_) => steps.push(Step::Note(number)),
            At::Begun(_) => {
                steps.push(Step::Post(number, Luck::Answered));
                steps.extend(FAULTS.iter().filter(|_| faults_left).map(|luck| Step::Post(number, *luck)));
            }
        }
    }

    /// The next send, or the end of a reply; waiting takes no time. Returns what to record before.
    pub fn begin(&mut self) -> Result<Order, String> {
        let lanes = Rc::make_mut(&mut self.lanes);
        loop {
            match lanes.step(self.now) {
                LaneStep::Wait { until } => self.now = until.ok_or("the lanes lost a reply")?,
                LaneStep::Send(attempt) => {
                    let order = Order::Sending(update_of(attempt.turn), attempt.part, attempt.resends);
                    self.at = At::Begun(attempt);
                    return Ok(order);
                }
                LaneStep::GiveUp { turn, chat } => {
                    lanes.on_given_up(&chat);
                    self.items.pop_front();
                    self.history.clear();
                    return Ok(Order::Close(update_of(turn), true));
                }
            }
        }
    }

    pub fn post(&mut self, luck: Luck, setting: &Setting, world: &mut World) -> Result<(), String> {
        let At::Begun(attempt) = &self.at else { return Err("nothing to send".into()) };
        let is_dropped = setting.flaw == Some(Flaw::NoticeDropped) && is_notice(&attempt.text);
        if matches!(luck, Luck::Answered | Luck::ResponseLost) && !is_dropped {
            world.show(&setting.letters, setting.mode, &attempt.text)?;
        }
        let sent = match luck {
            Luck::Answered => Sent::Confirmed { message_id: 1 },
            Luck::ResponseLost | Luck::RequestLost => Sent::Unknown,
            Luck::Refused => Sent::Nothing { after: None },
        };
        self.history.push(match sent {
            Sent::Confirmed { .. } => 1,
            Sent::Unknown => 2,
            _ => 3,
        });
        let update = update_of(attempt.turn);
        // In this flaw, that it began is recorded only now.
        let kept = setting.flaw == Some(Flaw::SendingKept);
        let begun = kept.then_some(Order::Sending(update, attempt.part, attempt.resends));
        let mut orders: VecDeque<Order> = begun.into_iter().collect();
        for report in Rc::make_mut(&mut self.lanes).on_sent(&attempt.chat.id, sent, self.now) {
            orders.push_back(match report {
                Report::Sent { part, .. } => Order::Sent(update, part),
                Report::Unsent { part, ambiguous, resends } => Order::Unsent(update, part, ambiguous, resends),
                Report::Close { .. } => {
                    self.items.pop_front();
                    self.history.clear();
                    Order::Close(update, false)
                }
            });
        }
        self.at = if orders.is_empty() { At::Idle } else { At::Noting(orders) };
        Ok(())
    }

    /// What is recorded next of what came of the send.
    pub fn note(&mut self) -> Result<Order, String> {
        let At::Noting(orders) = &mut self.at else { return Err("nothing to note".into()) };
        let order = orders.pop_front().ok_or("nothing to note")?;
        if orders.is_empty() {
            self.at = At::Idle;
        }
        Ok(order)
    }

    pub fn key(&self, key: &mut Vec<u8>) {
        key.push(self.items.len() as u8);
        self.items.iter().for_each(|item| key.extend(item));
        key.push(self.history.len() as u8);
        key.extend(&self.history);
        match &self.at {
            At::Idle => key.push(0),
            At::Begun(attempt) => key.extend([1, attempt.part as u8, attempt.resends]),
            At::Noting(orders) => {
                key.push(2 + orders.len() as u8);
                // Behind the last part the reply is gone from the items.
                orders.iter().for_each(|order| order.key(key));
            }
        }
    }
}
