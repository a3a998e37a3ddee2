//! What files mean, in few bytes: two disks of one meaning are one state of the search, whatever their bytes are.
//!
//! Left out on purpose, because nothing decides on it: times, counters, names of boots (only whether an answer is of the
//! present one), how often a message was read, and what of an earlier use stands behind the end of a journal file.

use std::hash::{Hash, Hasher};

use rusty_pinch::store::journal::Journal;

use super::world::{ACCOUNT, LETTERS_MAX, Letter};

/// One message, as a journal file tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnTag {
    pub seen: bool,
    pub open: bool,
    /// Its place among the open ones.
    pub place: u8,
    pub tries: u8,
    pub answer: Option<u8>,
    /// Whether the answer is in this file, so that its session lines can be written again.
    pub restorable: bool,
    pub same_boot: bool,
    pub sending: u8,
    pub acked: u8,
    pub resends: u8,
    pub closed: bool,
}

/// Hashed as one number, because most of a search is hashing.
impl Hash for TurnTag {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let flags = [self.seen, self.open, self.restorable, self.same_boot, self.closed];
        let flags = flags.iter().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        let answer = self.answer.map_or(0xff, |answer| answer);
        let bytes = [flags, self.place, self.tries, answer, self.sending, self.acked, self.resends, 0];
        hasher.write_u64(u64::from_le_bytes(bytes));
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag {
    pub turns: [TurnTag; LETTERS_MAX],
    pub next: Option<u64>,
}

impl Tag {
    /// What a journal says that stands in a file which said `before`, or in one that begins with it.
    pub fn of(journal: &Journal, letters: &[Letter], boot: &str, before: &Tag, begins: bool) -> Tag {
        let mut tag = Tag { next: journal.next_positions().get(&ACCOUNT).copied(), ..Tag::default() };
        for ((letter, turn), before) in letters.iter().zip(&mut tag.turns).zip(&before.turns) {
            turn.seen = journal.has_seen(&letter.key());
            // A settled turn is not open any more, but its answer is still there to be written again.
            turn.restorable = before.restorable && !begins;
            turn.answer = before.answer.filter(|_| turn.restorable);
        }
        for (open, place) in journal.open().zip(0..) {
            let at =
                letters.iter().position(|letter| letter.key() == open.received.key).expect("a message of this run");
            let (turn, earlier) = (&mut tag.turns[at], &before.turns[at]);
            (turn.open, turn.place, turn.closed) = (true, place, open.closed.is_some());
            turn.tries = u8::try_from(open.tries).expect("few attempts");
            (turn.sending, turn.acked) = (small(open.sending), small(open.acked));
            turn.resends = open.resends;
            if let Some(answer) = &open.answer {
                turn.restorable = if begins { open.line_owed } else { earlier.restorable || earlier.answer.is_none() };
                turn.answer = Some(nonce(answer.asst.as_bytes()));
                turn.same_boot = answer.boot == boot;
            }
        }
        tag
    }

    /// A start found what the model says that was on the disk; a reply that was confirmed is closed by it.
    pub fn check_recovered(&self, found: &Tag, letters: &[Letter]) -> Result<(), String> {
        for ((before, found), letter) in self.turns.iter().zip(&found.turns).zip(letters) {
            let done = before.closed || before.acked >= letter.parts;
            let told = TurnTag { place: found.place, restorable: found.restorable, ..*before };
            let agrees = if found.open { told == *found } else { before.seen == found.seen && (!before.open || done) };
            if !agrees {
                return Err(format!("recovered {found:?} of message {}, but written was {before:?}", letter.id));
            }
        }
        Ok(())
    }

    pub fn in_another_boot(mut self) -> Tag {
        self.turns.iter_mut().for_each(|turn| turn.same_boot = false);
        self
    }
}

fn small(number: u16) -> u8 {
    u8::try_from(number).expect("few parts")
}

/// Which of the answers that were thought up for its message it is.
pub fn nonce(answer: &[u8]) -> u8 {
    answer.get(2).map_or(0, |digit| digit - b'0')
}

const LINES_MAX: usize = 10;

/// The lines of a session file, a byte each: who, which message, which answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lines {
    codes: [u8; LINES_MAX],
    count: u8,
}

const UNFINISHED: u8 = 0xff;
const UNKNOWN: u8 = 0xfe;
const NONCE_BITS: u8 = 0xf;

impl Lines {
    pub fn read(text: &[u8]) -> Lines {
        let mut lines = Lines::default();
        let mut pieces = text.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let is_whole = pieces.peek().is_some();
            if is_whole || !piece.is_empty() {
                lines.push(if is_whole { line(piece) } else { UNFINISHED });
            }
        }
        lines
    }

    pub fn push(&mut self, code: u8) {
        assert!(usize::from(self.count) < LINES_MAX, "a session of too many lines: {self:?}");
        self.codes[usize::from(self.count)] = code;
        self.count += 1;
    }

    /// Which answer to a message is there first.
    pub fn nonce(&self, update: usize) -> Option<u8> {
        let mut codes = self.codes[..usize::from(self.count)].iter();
        let first = code(b'p', update as u8, 0);
        codes.find(|found| **found < UNKNOWN && **found & !NONCE_BITS == first).map(|found| found & NONCE_BITS)
    }

    pub fn push_pair(&mut self, update: usize, nonce: u8) {
        self.push(code(b'q', update as u8, 0));
        self.push(code(b'p', update as u8, nonce));
    }
}

fn line(bytes: &[u8]) -> u8 {
    const BEFORE: &[u8] = b"\"content\":\"";
    let Some(at) = bytes.windows(BEFORE.len()).position(|window| window == BEFORE) else { return UNKNOWN };
    match bytes[at + BEFORE.len()..] {
        [b'q', update, ..] => code(b'q', update - b'0', 0),
        [b'p', update, nonce, ..] => code(b'p', update - b'0', nonce - b'0'),
        _ => UNKNOWN,
    }
}

fn code(who: u8, update: u8, nonce: u8) -> u8 {
    (u8::from(who == b'p') << 6) | (update << 4) | nonce
}
