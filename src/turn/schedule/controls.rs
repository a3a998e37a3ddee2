//! Control messages in the schedule: what they end, and when they are answered. Pure; the queue is in `control_lane.rs`.

use crate::base::control::{self, Control};
use crate::base::id::TurnId;
use crate::base::message::{Inbound, Job, REPLY_WEIGHT_MAX};
use crate::turn::control_lane::{Order, Seen};
use crate::turn::schedule::{Action, CONTROLS_BYTES_MAX, REPLIES_BYTES_MAX, Schedule};

impl Schedule {
    /// A message is to be worked on: by its kind.
    pub(super) fn take_up(&mut self, job: Job) {
        match control::parse(&job.inbound.text) {
            Some(control) => self.obey(control, job),
            None => self.enqueue(job),
        }
    }

    /// What it ends are the turns of its session that came before it.
    fn obey(&mut self, control: Control, job: Job) {
        let session = job.inbound.session().stem().to_owned();
        let (open, running) = (self.open.count().saturating_sub(1), self.running.len());
        let mut seen = Seen { open, running, ..Seen::default() };
        let (mut behind, mut dropped) = (None, Vec::new());
        if control.ends_turns() {
            let of_session = |turn: &TurnId| self.open.is_of_session(*turn, &session);
            behind = self.running.iter().copied().find(of_session);
            let chat = job.inbound.chat.clone();
            self.actions.extend(behind.map(|turn| Action::Stop { turn, chat }));
            dropped = self.take_waiting(&session);
            (seen.stopped, seen.dropped) = (behind.is_some(), dropped.len());
        }
        self.controls.push(Order { job, control, seen }, session, behind, dropped);
    }

    fn take_waiting(&mut self, session: &str) -> Vec<Inbound> {
        let jobs = self.waiting.remove(session).unwrap_or_default();
        self.ready.retain(|ready| ready != session);
        let dropped: Vec<Inbound> = jobs.into_iter().map(|job| job.inbound).collect();
        self.suspects.retain(|suspect| dropped.iter().all(|inbound| inbound.turn != *suspect));
        dropped
    }

    /// A turn that was to end was answered before.
    pub fn on_too_late(&mut self, turn: TurnId) {
        self.controls.on_too_late(turn);
    }

    /// One that repeats an answer needs room as an answer does.
    pub(super) fn start_control(&mut self) -> Option<Action> {
        let held = self.open.reply_bytes();
        let (order, dropped) = self.controls.start(|order| {
            let beyond = if order.weight() < REPLY_WEIGHT_MAX { CONTROLS_BYTES_MAX } else { 0 };
            held + order.weight() <= REPLIES_BYTES_MAX + beyond
        })?;
        self.open.reserve(order.job.inbound.turn, order.weight());
        self.actions.extend(dropped.into_iter().map(Action::Drop));
        self.actions.push_back(Action::Control(Box::new(order)));
        self.actions.pop_front()
    }
}
