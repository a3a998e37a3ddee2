//! [`ControlLane`]: messages for the program itself, which pass everything that waits. Pure; a part of `schedule.rs`.
//!
//! One at a time, first come first served, but for those that have to wait: one that ends a turn is answered when that turn
//! is closed on disk, so that its reply is true after a crash, too; and one that may need much room waits for it alone.
//! Until it is answered, what was written behind it is not begun, so that a conversation keeps the order of its messages.

use std::collections::VecDeque;

use crate::base::control::Control;
use crate::base::id::TurnId;
use crate::base::message::{Inbound, Job, REPLY_WEIGHT_MAX};

/// Bytes that the reply to a control message takes, but for one that repeats an answer. See `control.rs`.
pub const CONTROL_WEIGHT_MAX: usize = 4 * 1024;

/// A control message, and what is known when it is its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The message.
    pub job: Job,
    /// What is wanted.
    pub control: Control,
    /// What the schedule saw and did.
    pub seen: Seen,
}

/// What the schedule knows that a reply may tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A turn was ended.
    pub stopped: bool,
    /// Messages that waited behind it and were dropped.
    pub dropped: usize,
    /// Messages of the channel that are not settled, this one left out.
    pub open: usize,
    /// Of these, how many are being answered.
    pub running: usize,
}

impl Order {
    /// The most that its reply may hold.
    pub fn weight(&self) -> usize {
        if matches!(self.control, Control::Last(_)) { REPLY_WEIGHT_MAX } else { CONTROL_WEIGHT_MAX }
    }
}

#[derive(Clone, Debug)]
struct Waiting {
    order: Order,
    session: String,
    /// The turn that has to be closed first.
    behind: Option<TurnId>,
    /// What is to be closed just before.
    dropped: Vec<Inbound>,
}

/// The messages that wait, and the one that is being answered.
#[derive(Clone, Debug, Default)]
pub struct ControlLane {
    waiting: VecDeque<Waiting>,
    running: Option<(TurnId, Option<String>)>,
}

impl ControlLane {
    /// One more. It waits until the turn that it ended is closed; what it dropped is closed before it.
    pub fn push(&mut self, order: Order, session: String, behind: Option<TurnId>, dropped: Vec<Inbound>) {
        self.waiting.push_back(Waiting { order, session, behind, dropped });
    }

    /// Whether a conversation waits for such an order: until it is answered, nothing of it may be asked.
    pub fn bars(&self, session: &str) -> bool {
        let running = self.running.as_ref().and_then(|(_, barred)| barred.as_deref());
        let mut waiting = self.waiting.iter().filter(|waiting| waiting.order.control.ends_turns());
        running == Some(session) || waiting.any(|waiting| waiting.session == session)
    }

    /// The next one, if it may begin, and what is to be closed before: `fits` says whether there is room for its reply.
    pub fn start(&mut self, fits: impl Fn(&Order) -> bool) -> Option<(Order, Vec<Inbound>)> {
        if self.running.is_some() {
            return None;
        }
        let at = self.waiting.iter().position(|waiting| waiting.behind.is_none() && fits(&waiting.order))?;
        let Waiting { order, session, dropped, .. } = self.waiting.remove(at)?;
        let barred = order.control.ends_turns().then_some(session);
        self.running = Some((order.job.inbound.turn, barred));
        Some((order, dropped))
    }

    /// The answer of any turn is durable.
    pub fn on_replied(&mut self, turn: TurnId) {
        if self.running.as_ref().is_some_and(|(running, _)| *running == turn) {
            self.running = None;
        }
        self.waiting
            .iter_mut()
            .filter(|waiting| waiting.behind == Some(turn))
            .for_each(|waiting| waiting.behind = None);
    }

    /// A turn that was to be ended is answered already.
    pub fn on_too_late(&mut self, turn: TurnId) {
        let of_turn = self.waiting.iter_mut().filter(|waiting| waiting.behind == Some(turn));
        of_turn.for_each(|waiting| waiting.order.seen.stopped = false);
    }
}
