//! The end of a turn: who is told that a message is too old, the letter of one that was given up, the closing, and the
//! credit, which comes back when everything is where it belongs.

use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::base::message::{EXPIRED, Outcome};
use crate::observe::event::Event;
use crate::store::dead::{self, Letter};
use crate::store::exchange::{Effect, Held, Notice};
use crate::store::journal::Open;
use crate::store::ledger::Ledger;
use crate::store::record::{Closed, Record};

/// Chats remembered that were told that their messages are too old; beyond that all are forgotten, and told again.
const EXPIRED_CHATS_MAX: usize = 1024;

impl Ledger {
    pub(super) fn is_expired(&self, turn: TurnId) -> bool {
        self.journal.get(turn).and_then(Open::given_up_as) == Some(EXPIRED)
    }

    /// One sentence is for all that was written to a chat in a long absence.
    pub(super) fn is_first_expired_of_chat(&mut self, turn: TurnId) -> bool {
        let chat = self.journal.get(turn).map(|open| open.received.chat.clone()).unwrap_or_default();
        if self.expired_chats.len() >= EXPIRED_CHATS_MAX {
            self.expired_chats.clear();
        }
        self.expired_chats.insert(chat)
    }

    /// Closes a turn. Of one that was given up there is a letter first, whether its chat was told or not; a letter that
    /// cannot be written is owed, and its turn stays open until it is. Returns what is to be said of that.
    pub(super) fn finish(
        &mut self,
        turn: TurnId,
        outcome: Outcome,
        why: &str,
        now: Wall,
        records: &mut Vec<Record>,
    ) -> Option<Effect> {
        let open = self.journal.get(turn)?;
        let why = if outcome == Outcome::Dead { Some(why) } else { open.given_up_as() };
        if let Some(why) = why {
            let letter = Letter { why: why.to_owned(), ts: now.0, open: open.record() };
            if let Err(error) = self.dead.write(letter, outcome) {
                let session = dead::file_name(turn);
                return Some(Effect::Event(Event::SessionAppendError { session, error: error.to_string() }));
            }
        }
        self.close(turn, outcome, now, records);
        None
    }

    pub(super) fn close(&mut self, turn: TurnId, outcome: Outcome, now: Wall, records: &mut Vec<Record>) {
        let closed = Closed { id: turn, outcome, ts: now.0 };
        let said = self.journal.get(turn).and_then(|open| match open.turn_record(&closed) {
            Some(record) => Some(Effect::Closed(Box::new(record))),
            None => open.redelivered(&closed).map(Effect::Event),
        });
        self.after_sync.extend(said);
        self.after_sync.push(Effect::Notice(Notice::Delivered(turn)));
        self.closed.push(turn);
        self.stage(Record::Fin(closed), records);
    }

    /// For its chat a turn is over as soon as it is closed, on the medium or not: what is only waiting for a flush, or for its
    /// session lines, must not have the next messages refused.
    pub(super) fn say_closed(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.closed).into_iter().map(|turn| Effect::Notice(Notice::Closed(turn))).collect()
    }

    /// A credit returns only when its turn is settled: closed on the medium, and its session lines written. So a session file
    /// that cannot be written ends the polling before the journal is full of what it is owed.
    pub(super) fn hold_back(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut released = Vec::new();
        for effect in effects {
            match effect {
                Effect::Notice(Notice::Delivered(turn)) if self.journal.get(turn).is_some() => {
                    // After a start it may be held already.
                    self.held.retain(|held| *held != turn);
                    self.held.push(turn);
                }
                effect => released.push(effect),
            }
        }
        released.extend(self.release_held());
        released
    }

    /// After a start: what is closed, but not in its session, or waits for its letter. The dispatcher is told when it is settled.
    pub(super) fn hold_unsettled(&mut self) -> Vec<Held> {
        let is_over = |open: &&Open| open.closed.is_some() || self.dead.owes(open.received.id);
        let unsettled: Vec<&Open> = self.journal.open().filter(is_over).collect();
        self.held = unsettled.iter().map(|open| open.received.id).collect();
        unsettled.into_iter().map(|open| Held { inbound: open.received.inbound(), weight: open.weight() }).collect()
    }

    pub(super) fn release_held(&mut self) -> Vec<Effect> {
        let held = std::mem::take(&mut self.held);
        let (held, settled) = held.into_iter().partition(|turn| self.journal.get(*turn).is_some());
        self.held = held;
        settled.into_iter().map(|turn: TurnId| Effect::Notice(Notice::Delivered(turn))).collect()
    }
}
