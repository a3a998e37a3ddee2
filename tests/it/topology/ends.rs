//! A channel's threads without a network: a reader that redelivers like the server it plays, and senders that speak the
//! product's own protocol with the writer and drive the product's own lanes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusty_pinch::sys::queue::{RecvTimeoutError, select};

use rusty_pinch::base::clock::{Mono, Wall};
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::message::{Delivery, Inbound, Outcome};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::ends::{ReaderEnds, SenderEnds};
use rusty_pinch::channel::outbound::{Attempt, Lanes, Report, Sent, Step};

use super::town::{Arrived, Citizen, LONG_STALL_MILLIS, Letter, MARK};
use crate::support::{lanes, waiting};

/// Lanes count in seconds; here a second is two milliseconds.
const HASTE: u64 = 500;

pub struct Reader {
    pub citizen: Citizen,
    pub position: Option<u64>,
    /// Whether it looks how much room there is, as a polling channel does.
    pub looks: bool,
    pub rng: Rng,
}

impl Reader {
    pub fn run(mut self, ends: &ReaderEnds) -> Result<(), String> {
        while !ends.stop.requested() {
            let room = if self.looks { ends.room.load(Ordering::SeqCst) } else { usize::MAX };
            let most = ends.receipts.capacity().unwrap_or(1).min(room);
            let limit = if most == 0 { 0 } else { self.citizen.town.between(1, most as u64) as usize };
            let letters = if limit == 0 { Vec::new() } else { self.citizen.poll(self.position, limit) };
            if letters.is_empty() {
                ends.stop.wait(Duration::from_millis(1));
                continue;
            }
            if self.hand_over(&letters, limit, ends).is_none() {
                break;
            }
            self.position = letters.last().map(|letter| letter.update + 1);
            if self.citizen.town.chance(100) {
                ends.stop.wait(Duration::from_millis(self.citizen.town.between(1, 20)));
            }
        }
        Ok(())
    }

    /// `None`: we are stopping, and the server sends them again.
    fn hand_over(&mut self, letters: &[Letter], limit: usize, ends: &ReaderEnds) -> Option<()> {
        let mut expected: HashMap<u64, usize> = HashMap::new();
        // Now and then a server delivers a message twice in one batch.
        let copy = letters.first().filter(|_| letters.len() < limit && self.citizen.town.chance(100));
        for letter in letters.iter().chain(copy) {
            *expected.entry(letter.update).or_default() += 1;
            let inbound = self.inbound(letter);
            select! {
                send(ends.inbox.raw(), Box::new(inbound)) -> sent => sent.ok()?,
                recv(ends.stop.receiver()) -> _ => return None,
            }
        }
        while !expected.is_empty() {
            let origin = select! {
                recv(ends.receipts.raw()) -> receipt => ends.receipts.opened(receipt).ok()?,
                recv(ends.stop.receiver()) -> _ => return None,
            };
            self.citizen.town.went_on();
            match expected.get_mut(&origin) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => drop(expected.remove(&origin)),
                None => self.citizen.town.say_wrong(format!("a receipt for {origin}, which nobody waits for")),
            }
        }
        Some(())
    }

    fn inbound(&mut self, letter: &Letter) -> Inbound {
        let received = Wall(1_700_000_000_000);
        let turn = TurnId::mint(received, &mut self.rng);
        self.citizen.town.seen().turns.insert(turn, letter.update);
        lanes::inbound(turn, letter.update, &letter.chat, letter.text.clone(), received)
    }
}

pub struct Sender {
    pub citizen: Citizen,
    pub lanes: Lanes,
    pub start: Instant,
}

impl Sender {
    pub fn run(mut self, ends: &SenderEnds) -> Result<(), String> {
        let mut open = true;
        loop {
            ends.outbox.try_iter().for_each(|outbound| self.lanes.push(outbound));
            ends.typing.try_iter().for_each(drop);
            match self.lanes.step(self.now()) {
                Step::Send(attempt) if self.send(&attempt, ends).is_some() => {}
                Step::GiveUp { turn, chat } if self.give_up(turn, &chat, ends).is_some() => {}
                Step::Send(_) | Step::GiveUp { .. } => return Ok(()),
                // What has to wait is left to the next process.
                Step::Wait { .. } if !open => return Ok(()),
                Step::Wait { until } => {
                    let left = until.map_or(Duration::from_millis(20), |until| self.now().until(until) / HASTE as u32);
                    match ends.outbox.recv_timeout(left.max(Duration::from_millis(1))) {
                        Ok(outbound) => self.lanes.push(outbound),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => open = false,
                    }
                }
            }
        }
    }

    fn now(&self) -> Mono {
        Mono(waiting::since(self.start).as_millis() as u64 * HASTE)
    }

    /// `None`: the writer has left.
    fn send(&mut self, attempt: &Attempt, ends: &SenderEnds) -> Option<()> {
        let Attempt { turn, part, resends, .. } = *attempt;
        *self.citizen.town.seen().begun.entry((turn, part)).or_default() += 1;
        ends.deliveries.send(Delivery::Sending { turn, part, resends, lane: ends.lane_number }).ok()?;
        ends.lane.recv().ok()?;
        let sent = self.network(attempt);
        if self.citizen.is_gone() {
            return None;
        }
        if matches!(sent, Sent::Nothing { .. }) {
            *self.citizen.town.seen().known.entry((turn, part)).or_default() += 1;
        }
        for report in self.lanes.on_sent(&attempt.chat.id, sent, self.now()) {
            if matches!(report, Report::Close { .. }) {
                self.done(turn);
            }
            ends.deliveries.send(lanes::delivery(turn, report)).ok()?;
        }
        Some(())
    }

    fn give_up(&mut self, turn: TurnId, chat: &str, ends: &SenderEnds) -> Option<()> {
        self.lanes.on_given_up(chat);
        self.done(turn);
        let why = "unknown too often".to_string();
        ends.deliveries.send(Delivery::Close { turn, outcome: Outcome::Dead, why }).ok()
    }

    fn done(&self, turn: TurnId) {
        let mut seen = self.citizen.town.seen();
        let update = seen.turns[&turn];
        seen.done.insert(update);
        // Once all others are done, the chat that had to wait may go on.
        let plan = &self.citizen.town.plan;
        let others = plan.letters.iter().filter(|letter| Some(&letter.chat) != plan.throttled.as_ref());
        if others.into_iter().all(|letter| seen.done.contains(&letter.update)) {
            seen.throttled = None;
        }
        self.citizen.town.went_on();
    }

    /// One call of the fake network.
    fn network(&self, attempt: &Attempt) -> Sent {
        let town = &self.citizen.town;
        self.citizen.stall(if town.chance(20) { town.between(10, 60) } else { 0 });
        if town.chance(town.plan.network_stalls) && self.citizen.stall_at_stop() {
            self.citizen.stall(LONG_STALL_MILLIS);
        }
        let luck = town.between(0, 999);
        let mut seen = town.seen();
        if self.citizen.is_gone() {
            return Sent::Unknown;
        }
        town.went_on();
        let chat = &attempt.chat.id;
        if town.plan.blocked.as_ref() == Some(chat) {
            return Sent::Refused { why: "blocked".to_string() };
        }
        if seen.throttled.as_ref() == Some(chat) {
            return Sent::Nothing { after: Some(Duration::from_secs(1)) };
        }
        if luck < town.plan.refusals {
            return Sent::Nothing { after: luck.is_multiple_of(2).then_some(Duration::from_secs(2)) };
        }
        if luck < town.plan.refusals + town.plan.losses / 2 {
            return Sent::Unknown;
        }
        let (marked, text) = match attempt.text.strip_prefix(MARK) {
            Some(text) => (true, text),
            None => (false, attempt.text.as_str()),
        };
        let update = seen.turns[&attempt.turn];
        seen.arrived.push(Arrived { update, chat: chat.clone(), text: text.to_string(), marked });
        if luck < town.plan.refusals + town.plan.losses {
            return Sent::Unknown;
        }
        Sent::Confirmed { message_id: seen.arrived.len() as i64 }
    }
}
