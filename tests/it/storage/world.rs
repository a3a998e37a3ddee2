//! What a crash does not touch: the server that keeps messages until they are confirmed, the chats, and what anybody
//! was promised so far. A copy of it belongs to every image of the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusty_pinch::base::id::TurnId;
use rusty_pinch::channel::outbound::{Attempt, Sent};

use crate::support::cases::Random;

/// What stands before a text that may have been delivered before.
pub const MARK: &str = "↻ (may be a repeat)\n";

/// Bytes of a part of a reply, beside its name.
const FILLER: usize = 40;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A reply of so many parts.
    Parts(usize),
    /// Too many of its chat are open; the chat is told, or not.
    Refused { told: bool },
    /// The chat does not take replies.
    Blocked,
}

/// A message at the server.
#[derive(Clone, Debug)]
pub struct Letter {
    pub update: u64,
    pub chat: String,
    /// What the session shows; the message is longer by `filler`, so that a journal can be filled without long sessions.
    pub text: String,
    pub filler: usize,
    pub kind: Kind,
}

/// What the earlier runtime kept in line `number`.
pub fn old_content(number: usize) -> String {
    format!("old {number}")
}

/// What a chat shows.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub update: u64,
    pub part: u16,
    /// Which answer it belongs to: every one that is thought up has its own.
    pub nonce: u64,
    pub marked: bool,
}

/// Part `part` of the reply to message `update`.
pub type Part = (u64, u16);

#[derive(Clone, Debug)]
pub struct World {
    pub letters: Vec<Letter>,
    /// The server has forgotten everything below.
    pub confirmed: u64,
    pub arrived: Vec<Arrived>,
    pub random: Random,
    pub now: u64,
    nonces: u64,
    /// Every turn that was ever minted for a message; copies get their own.
    pub turns: HashMap<TurnId, u64>,
    /// Receipts came for these.
    pub receipted: BTreeSet<u64>,
    /// These replies were handed to the sender, so they were promised to be durable.
    pub promised: BTreeMap<u64, String>,
    /// Attempts whose outcome nobody wrote down.
    pub unknown: BTreeMap<Part, usize>,
    /// Attempts that were begun.
    pub begun: BTreeMap<Part, usize>,
    /// Confirmed, and that is in the page cache; and that is synced.
    pub acked: BTreeSet<Part>,
    pub acked_durably: BTreeSet<Part>,
    /// How often a turn was reported closed.
    pub closed: BTreeMap<u64, usize>,
    pub dead: BTreeSet<u64>,
    /// Copies that were recognized.
    pub copies: usize,
    /// What the earlier runtime left: a chat, and so many lines that no journal could restore.
    pub old: Option<(String, usize)>,
}

impl World {
    pub fn new(letters: Vec<Letter>, random: Random) -> World {
        World {
            letters,
            confirmed: 0,
            arrived: Vec::new(),
            random,
            now: 1_700_000_000_000,
            nonces: 0,
            turns: HashMap::new(),
            receipted: BTreeSet::new(),
            promised: BTreeMap::new(),
            unknown: BTreeMap::new(),
            begun: BTreeMap::new(),
            acked: BTreeSet::new(),
            acked_durably: BTreeSet::new(),
            closed: BTreeMap::new(),
            dead: BTreeSet::new(),
            copies: 0,
            old: None,
        }
    }

    pub fn letter(&self, update: u64) -> &Letter {
        self.letters.iter().find(|letter| letter.update == update).expect("a message of this run")
    }

    /// A poll: everything below `position` is forgotten.
    pub fn poll(&mut self, position: Option<u64>, limit: usize) -> Vec<Letter> {
        self.confirmed = position.unwrap_or(self.confirmed).max(self.confirmed);
        self.letters.iter().filter(|letter| letter.update >= self.confirmed).take(limit).cloned().collect()
    }

    /// A new answer, never the same twice.
    pub fn think(&mut self, update: u64) -> Vec<String> {
        self.nonces += 1;
        let parts = match self.letter(update).kind {
            Kind::Parts(parts) => parts,
            Kind::Refused { .. } | Kind::Blocked => 1,
        };
        let nonce = self.nonces;
        (0..parts).map(|part| format!("{update}.{nonce}.{part} {}", "x".repeat(FILLER))).collect()
    }

    /// The network: the text arrives or not, and the sender learns about it or not.
    pub fn send(&mut self, attempt: &Attempt) -> Sent {
        let update = self.turns[&attempt.turn];
        if self.letter(update).kind == Kind::Blocked {
            return Sent::Refused { why: "blocked".to_string() };
        }
        let luck = self.random.between(0, 99);
        if luck < 8 {
            return Sent::Nothing { after: (luck < 4).then_some(std::time::Duration::from_secs(3)) };
        }
        if luck < 12 {
            return Sent::Unknown;
        }
        self.arrive(&attempt.text);
        if luck < 18 { Sent::Unknown } else { Sent::Confirmed { message_id: self.arrived.len() as i64 } }
    }

    fn arrive(&mut self, text: &str) {
        let (marked, plain) = match text.strip_prefix(MARK) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let name = plain.split(' ').next().expect("a split gives something");
        let numbers: Vec<u64> = name.split('.').map(|number| number.parse().expect("a text of this run")).collect();
        let [update, nonce, part] = numbers[..] else { panic!("not a text of this run: {name}") };
        self.arrived.push(Arrived { update, part: part as u16, nonce, marked });
    }

    /// The world as it is after a crash. A power cut may have taken what was in the page cache only.
    pub fn after(&self, power_cut: bool) -> World {
        let mut world = self.clone();
        if power_cut {
            world.acked = world.acked_durably.clone();
        }
        world
    }

    /// A synced journal: what was in the page cache is durable.
    pub fn synced(&mut self) {
        self.acked_durably.extend(self.acked.iter().copied());
    }
}
