//! [`UnderWay`]: how the dispatcher ends one turn and no other. Turns that were started, each with what ends its work, behind
//! one lock that is held for a look and never across a wait.
//!
//! A turn is in here from the order to start it until its worker knows the answer, so an order to stop either comes in time,
//! and then the answer is not used, or is known to be too late.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::cancel::Cancel;
use crate::base::id::TurnId;
use crate::base::sorted::SortedMap;

/// Shared by the dispatcher and the turn workers of a channel. At most one entry for each running turn.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<Mutex<SortedMap<TurnId, State>>>);

enum State {
    /// No worker has taken it yet.
    Ordered,
    /// A worker is at it.
    Begun(Cancel),
    /// It is to end.
    Stopped,
}

impl UnderWay {
    fn turns(&self) -> MutexGuard<'_, SortedMap<TurnId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dispatcher is about to give the turn to a worker.
    pub fn order(&self, turn: TurnId) {
        self.turns().insert(turn, State::Ordered);
    }

    /// A worker begins, unless the turn is stopped already. What ended the worker's last turn does not end this one.
    pub fn begin(&self, turn: TurnId, cancel: &Cancel) {
        let mut turns = self.turns();
        cancel.reset();
        match turns.get_mut(&turn) {
            Some(State::Stopped) => cancel.cancel(),
            Some(state) => *state = State::Begun(cancel.clone()),
            None => {}
        }
    }

    /// Ends a turn. `false`: it is too late, because its answer is known.
    pub fn stop(&self, turn: TurnId) -> bool {
        let mut turns = self.turns();
        let Some(state) = turns.get_mut(&turn) else { return false };
        if let State::Begun(cancel) = std::mem::replace(state, State::Stopped) {
            cancel.cancel();
        }
        true
    }

    /// The worker has done its work; whether the turn was stopped before.
    pub fn end(&self, turn: TurnId) -> bool {
        matches!(self.turns().remove(&turn), Some(State::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::rng::Rng;

    fn turn(number: u64) -> TurnId {
        TurnId::mint(Wall(number), &mut Rng::from_seed(number))
    }

    #[test]
    fn an_order_to_stop_ends_its_turn_in_every_state_and_never_the_next() {
        let (turns, cancel) = (UnderWay::default(), Cancel::new());
        turns.order(turn(1));
        assert!(turns.stop(turn(1)));
        turns.begin(turn(1), &cancel);
        assert!(cancel.requested() && turns.end(turn(1)), "stopped before a worker had it");
        turns.order(turn(2));
        turns.begin(turn(2), &cancel);
        assert!(!cancel.requested());
        assert!(turns.stop(turn(2)) && cancel.requested() && turns.stop(turn(2)));
        assert!(turns.end(turn(2)) && !turns.end(turn(2)));
        assert!(!turns.stop(turn(2)), "its answer is known");
        turns.order(turn(3));
        turns.begin(turn(3), &cancel);
        assert!(!cancel.requested() && !turns.end(turn(3)) && turns.turns().is_empty());
    }
}
