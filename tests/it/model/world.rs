//! What no crash touches: the server that keeps messages until they are confirmed, and the chats with what was sent.

use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::id::{ChannelId, TurnId};
use rusty_pinch::base::message::{Chat, Inbound, Mode};

pub const ACCOUNT: u64 = 77;
pub const LETTERS_MAX: usize = 2;
/// Stands before a text that may have been delivered before.
const MARK: &str = "↻ (may be a repeat)\n";
/// Begins what stands for a text that may have been delivered before, where nothing may come twice.
const NOTICE: &str = "An answer, or a part of one, may not have reached you.";
/// An offset that is further than this beyond the last message is not heeded: its numbers started over.
const FUTURE: u64 = 10;
/// How much higher the number of a message is that comes again.
const AGAIN: u64 = 50;
const NOW: Wall = Wall(1_700_000_000_000);

/// A message at the server.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    pub id: u64,
    pub chat: &'static str,
    pub parts: u8,
}

impl Letter {
    pub fn key(&self) -> String {
        format!("tg:{ACCOUNT}:{}:{}", self.chat, self.id)
    }
}

/// The name of the turn of message number `update`, and of a copy that is found to be one. Real names are drawn anew for
/// every copy that is read; which one becomes the turn changes nothing but names.
pub fn turn(update: usize, is_copy: bool) -> TurnId {
    let text = format!("rp-0000000000000000000000{}{update}00", u8::from(is_copy));
    TurnId::parse(&text).expect("a turn")
}

pub fn update_of(turn: TurnId) -> usize {
    let text = turn.to_string();
    usize::from(text.as_bytes()[text.len() - 3] - b'0')
}

/// `origin` is the number that the server gives it this time.
pub fn inbound(letters: &[Letter], update: usize, is_copy: bool, origin: u64) -> Inbound {
    let letter = &letters[update];
    Inbound {
        turn: turn(update, is_copy),
        channel: ChannelId::Telegram,
        account: ACCOUNT,
        origin: Some(origin),
        key: letter.key(),
        chat: Chat { id: letter.chat.to_string(), thread: None },
        sender: "5".to_string(),
        text: format!("q{update}"),
        received: NOW,
        waited: None,
    }
}

/// The provider: another text at every call.
pub fn answer(update: usize, nonce: u8, part: u8) -> String {
    format!("p{update}{nonce}{part}")
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shown {
    /// Parts that the chat has at least once, or whose place a notice took.
    pub parts: u8,
    pub nonce: u8,
    /// The chat was told that something may be missing.
    pub noticed: bool,
}

impl Shown {
    pub fn is_enough(self, letter: &Letter) -> bool {
        self.parts == letter.parts || self.noticed
    }
}

pub fn is_notice(text: &str) -> bool {
    text.starts_with(NOTICE)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    pub forgotten: [bool; LETTERS_MAX],
    /// The server lost that it was confirmed, and gave it another number.
    pub again: [bool; LETTERS_MAX],
    pub shown: [Shown; LETTERS_MAX],
}

impl World {
    /// A request for updates reaches the server: what is below the offset is forgotten.
    pub fn confirm(&mut self, letters: &[Letter], offset: Option<u64>) {
        let last = self.waiting(letters).last().map(|(_, id)| *id);
        let Some(offset) = offset.filter(|offset| last.is_some_and(|last| *offset <= last + FUTURE)) else { return };
        for update in 0..letters.len() {
            self.forgotten[update] |= self.number(letters, update) < offset;
        }
    }

    fn number(&self, letters: &[Letter], update: usize) -> u64 {
        letters[update].id + if self.again[update] { AGAIN } else { 0 }
    }

    /// What the server has, in the order of its numbers.
    pub fn waiting(&self, letters: &[Letter]) -> Vec<(usize, u64)> {
        let kept = (0..letters.len()).filter(|update| !self.forgotten[*update]);
        let mut waiting: Vec<(usize, u64)> = kept.map(|update| (update, self.number(letters, update))).collect();
        waiting.sort_by_key(|(_, number)| *number);
        waiting
    }

    /// A text arrives in its chat.
    pub fn show(&mut self, letters: &[Letter], mode: Mode, text: &str) -> Result<(), String> {
        if is_notice(text) {
            return self.notice(mode, text);
        }
        let (marked, plain) = text.strip_prefix(MARK).map_or((false, text), |plain| (true, plain));
        let [b'p', update, nonce, part] = *plain.as_bytes() else { return Err(format!("nobody wrote {plain}")) };
        let (update, nonce, part) = (usize::from(update - b'0'), nonce - b'0', part - b'0');
        let shown = self.shown[update];
        if shown.parts > 0 && nonce != shown.nonce {
            return Err(format!("differing texts: {plain} after answer {} of message {update}", shown.nonce));
        }
        if marked && mode == Mode::AtMostOnce {
            return Err(format!("sent again: {plain}"));
        }
        if part < shown.parts && !marked {
            return Err(format!("unmarked duplicate: {plain}"));
        }
        if part > shown.parts && !shown.noticed {
            return Err(format!("parts out of order: {plain} after {} parts", shown.parts));
        }
        let unfinished = |earlier: &usize| {
            letters[*earlier].chat == letters[update].chat && !self.shown[*earlier].is_enough(&letters[*earlier])
        };
        if let Some(earlier) = (0..update).find(unfinished) {
            return Err(format!("replies out of order: {plain} before all of message {earlier}"));
        }
        let later = |later: &usize| letters[*later].chat == letters[update].chat && self.shown[*later].parts > 0;
        if let Some(later) = (update + 1..letters.len()).find(later).filter(|_| !marked) {
            return Err(format!("replies out of order: {plain} after a part of message {later}"));
        }
        self.shown[update] = Shown { parts: shown.parts.max(part + 1), nonce, noticed: shown.noticed };
        Ok(())
    }

    /// It names the turn whose reply may not have arrived.
    fn notice(&mut self, mode: Mode, text: &str) -> Result<(), String> {
        let name = text.split_once("(ref ").map(|(_, rest)| rest.trim_end_matches(')'));
        let turn = name.and_then(TurnId::parse).ok_or_else(|| format!("a notice of nothing: {text}"))?;
        if mode != Mode::AtMostOnce {
            return Err(format!("a notice in place of a repeat: {text}"));
        }
        self.shown[update_of(turn)].noticed = true;
        Ok(())
    }
}
