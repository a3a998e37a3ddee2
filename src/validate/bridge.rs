//! [`Bridge`]: what a check asks of a bridge, whichever it is.

use crate::validate::judge::Sent;

/// Something that happens to a bridge, or that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It ends, politely, and is not there.
    Stop,
    /// It is there again, with everything it kept.
    Start,
    /// It breaks off without a word, and is there again, linked and online.
    Crash,
    /// It stands still: it closes nothing, answers nothing and reads nothing.
    Freeze,
    /// It goes on.
    Thaw,
    /// From now on sends are not confirmed.
    Withhold,
    /// They are confirmed again.
    Confirm,
    /// It says things that are no messages.
    Chatter,
    /// It says things that break every rule.
    Offend,
    /// WhatsApp is out of its reach, and it says so.
    Lose,
    /// The phone ended the link.
    LogOut,
    /// Another session took its place.
    Replace,
    /// It is linked and online.
    Online,
}

/// A bridge. Errors are phrases of ours.
pub trait Bridge {
    /// Where it listens.
    fn url(&self) -> String;

    /// Somebody writes. When this returns the bridge has it.
    fn write(&mut self, chat: &str, id: &str, text: &str) -> Result<(), String>;

    /// What it was asked to send since this was asked last.
    fn sent(&mut self) -> Vec<Sent>;

    /// Something happens. When this returns it has happened.
    fn wish(&mut self, wish: Wish) -> Result<(), String>;

    /// Messages that it keeps because nobody has said that they are safe; `None`: it does not tell.
    fn unacked(&mut self) -> Option<usize>;

    /// How many of them went over the link that stands; `None`: it does not tell.
    fn under_way(&mut self) -> Option<usize>;
}
