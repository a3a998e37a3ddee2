//! [`Reception`]: what becomes of the messages of a bridge, from the frame to the disk: judged, named, handed over. Also
//! keeps what was learned about people.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::id::TurnId;
use crate::base::rng::Rng;
use crate::channel::whatsapp_frame::{Dialect, Incoming};
use crate::channel::whatsapp_handover::Handover;
use crate::channel::whatsapp_incoming::{Intake, Passed, inbound};
use crate::channel::whatsapp_memory::Memory;
use crate::channel::whatsapp_teller::{CHANNEL, Teller};
use crate::observe::note::Note;

/// The way of messages in.
pub struct Reception {
    intake: Intake,
    memory: Memory,
    handover: Handover,
    origin: u64,
    clock: Arc<dyn Clock>,
    rng: Rng,
}

impl Reception {
    /// Nothing was received.
    pub fn new(intake: Intake, identities: PathBuf, handover: Handover, clock: Arc<dyn Clock>, rng: Rng) -> Reception {
        Reception { intake, memory: Memory::new(identities), handover, origin: 0, clock, rng }
    }

    /// Takes up what an earlier process learned, and says what nobody can mend but the operator.
    pub fn begin(&mut self, teller: &mut Teller) {
        if !self.memory.restore(self.intake.identities()) {
            teller.identities("they cannot be understood".to_owned());
        }
        self.say_if_nobody_may_write(teller);
    }

    /// Said again when something else that parked the worker is over.
    pub fn say_if_nobody_may_write(&mut self, teller: &mut Teller) {
        if self.intake.identities().is_empty() {
            let remedy = "set RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM to those who may write";
            teller.parked("allowlist_empty", remedy, Duration::ZERO);
        }
    }

    /// Keeps what was learned, and tells what was passed over, where that is due.
    pub fn periodic(&mut self, teller: &mut Teller, is_last: bool) {
        let kept = self.memory.keep(self.intake.identities(), self.clock.mono(), is_last);
        kept.unwrap_or_else(|error| teller.identities(error.to_string()));
        teller.tally(self.intake.passed(), is_last);
    }

    /// Something was passed over.
    pub fn pass(&mut self, passed: Passed) {
        self.intake.count(passed);
    }

    /// We are about to send this.
    pub fn on_sending(&mut self, chat: &str, text: &str, now: Mono) {
        self.intake.on_sending(chat, text, now);
    }

    /// The messages between link and disk.
    pub fn handover(&mut self) -> &mut Handover {
        &mut self.handover
    }

    /// Somebody wrote something. The id is given back of what is passed over for good: its bridge is not to send it again.
    pub fn on_message(&mut self, incoming: Incoming, dialect: Option<Dialect>, teller: &mut Teller) -> Option<String> {
        let now = self.clock.mono();
        match self.intake.judge(&incoming, dialect, now) {
            Ok(_) if self.handover.is_over() => {
                self.pass(Passed::Overflow);
                teller.note(Note::Received { channel: CHANNEL, outcome: "ignored" });
                teller.overflow();
                None
            }
            Ok(text) => {
                // Only from those who may write: what we write ourselves names the other as the chat, and us as the author.
                if self.intake.identities().learn(&incoming.author) {
                    self.memory.changed(now);
                }
                self.origin += 1;
                let (id, received) = (incoming.id.clone(), self.clock.wall());
                let turn = TurnId::mint(received, &mut self.rng);
                let mut inbound = inbound(incoming, text, turn, received, self.clock.is_trusted());
                inbound.origin = Some(self.origin);
                self.handover.push(inbound, id);
                self.handover.pump();
                None
            }
            Err(passed) => {
                self.pass(passed);
                let outcome = if matches!(passed, Passed::Denied(_)) { "denied" } else { "ignored" };
                teller.note(Note::Received { channel: CHANNEL, outcome });
                if let Passed::Denied(refusal) = passed {
                    teller.denied(&incoming, refusal.name());
                }
                incoming.id
            }
        }
    }
}
