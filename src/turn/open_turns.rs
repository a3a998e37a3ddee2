//! [`OpenTurns`]: the turns that are not settled, and what they hold until they are: a credit and the bytes of a message in
//! their channel, the bytes of a reply, a place in their session. Pure; a part of `schedule.rs`, which has the limits.

use std::collections::HashMap;

use crate::base::id::{ChannelId, TurnId};
use crate::base::message::Inbound;

/// What the open turns of a channel hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    /// Credits.
    pub(super) turns: usize,
    /// Bytes of messages.
    pub(super) bytes: usize,
}

#[derive(Clone, Debug)]
struct OpenTurn {
    channel: ChannelId,
    session: String,
    weight: usize,
    reply_weight: usize,
    /// Closed, but without its credit: its session lines are owed.
    closed: bool,
    /// An earlier process closed it, so that it is not one of those that we were asked to answer.
    foreign: bool,
}

/// All of them, and their sums.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenTurns {
    turns: HashMap<TurnId, OpenTurn>,
    channels: HashMap<ChannelId, Use>,
    /// Turns that are not closed, by session.
    sessions: HashMap<String, usize>,
    reply_bytes: usize,
}

impl OpenTurns {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.turns.len()
    }

    /// Whether this is one.
    pub(super) fn has(&self, turn: TurnId) -> bool {
        self.turns.contains_key(&turn)
    }

    /// Whether this is one that this process was asked to answer.
    pub(super) fn is_ours(&self, turn: TurnId) -> bool {
        self.turns.get(&turn).is_some_and(|open| !open.foreign)
    }

    /// Whether this is one of that session.
    pub(super) fn is_of_session(&self, turn: TurnId, session: &str) -> bool {
        self.turns.get(&turn).is_some_and(|open| open.session == session)
    }

    /// What those of a channel hold.
    pub(super) fn used(&self, channel: ChannelId) -> Use {
        self.channels.get(&channel).copied().unwrap_or_default()
    }

    /// Those of a session that are not closed.
    pub(super) fn of_session(&self, session: &str) -> usize {
        self.sessions.get(session).copied().unwrap_or_default()
    }

    /// Bytes of replies that are not delivered, those that are still to come at what is reserved for them.
    pub(super) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// One more, with a reply of so many bytes.
    pub(super) fn take(&mut self, inbound: &Inbound, reply_weight: usize) {
        let used = self.channels.entry(inbound.channel).or_default();
        used.turns += 1;
        used.bytes += inbound.weight();
        self.reply_bytes += reply_weight;
        let open = OpenTurn {
            channel: inbound.channel,
            session: inbound.session().stem().to_owned(),
            weight: inbound.weight(),
            reply_weight,
            closed: false,
            foreign: false,
        };
        *self.sessions.entry(open.session.clone()).or_default() += 1;
        self.turns.insert(inbound.turn, open);
    }

    /// An earlier process closed it.
    pub(super) fn mark_foreign(&mut self, turn: TurnId) {
        self.turns.entry(turn).and_modify(|open| open.foreign = true);
    }

    /// Keeps room for its reply.
    pub(super) fn reserve(&mut self, turn: TurnId, weight: usize) {
        if let Some(open) = self.turns.get_mut(&turn) {
            open.reply_weight = weight;
            self.reply_bytes += weight;
        }
    }

    /// Its reply is known and holds so much; its session.
    pub(super) fn on_replied(&mut self, turn: TurnId, weight: usize) -> Option<String> {
        let open = self.turns.get_mut(&turn)?;
        self.reply_bytes = self.reply_bytes - open.reply_weight + weight;
        open.reply_weight = weight;
        Some(open.session.clone())
    }

    /// It is closed: its session may have another one.
    pub(super) fn on_closed(&mut self, turn: TurnId) {
        let Some(open) = self.turns.get_mut(&turn).filter(|open| !open.closed) else { return };
        open.closed = true;
        let session = open.session.clone();
        self.leave_session(&session);
    }

    /// It is settled, and gives back what it held.
    pub(super) fn give_back(&mut self, turn: TurnId) {
        let Some(open) = self.turns.remove(&turn) else { return };
        self.reply_bytes -= open.reply_weight;
        if !open.closed {
            self.leave_session(&open.session);
        }
        if let Some(used) = self.channels.get_mut(&open.channel) {
            used.turns -= 1;
            used.bytes -= open.weight;
        }
    }

    fn leave_session(&mut self, session: &str) {
        if let Some(count) = self.sessions.get_mut(session) {
            *count -= 1;
            if *count == 0 {
                self.sessions.remove(session);
            }
        }
    }
}
