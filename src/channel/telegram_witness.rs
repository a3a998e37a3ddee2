//! [`Witness`]: a second opinion on whether messages arrive. Where polls are answered with nothing while more and more
//! messages wait at the server, something stands between them and us that no poll shows. Pure.

use std::cmp::Ordering;
use std::time::Duration;

use crate::base::clock::Mono;

/// How often the server is asked how many messages wait, at most.
pub const ASKED_EVERY: Duration = Duration::from_secs(300);

/// Looks in a row that must each show more than the one before. One may be a message that came just then.
const GROWTHS_MIN: u32 = 2;

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Same,
    /// Messages do not arrive. Said again at each look that shows more.
    Trouble,
    /// They do again, or fewer wait.
    Over,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Witness {
    due: Mono,
    /// At the last look.
    pending: u64,
    growths: u32,
    is_trouble: bool,
}

impl Witness {
    /// The first look is after [`ASKED_EVERY`]: the start has just asked.
    pub fn new(now: Mono) -> Witness {
        Witness { due: now.after(ASKED_EVERY), ..Witness::default() }
    }

    /// Whether to ask now, after a poll that brought nothing: what it brought would still count as waiting.
    pub fn is_due(&self, now: Mono) -> bool {
        now >= self.due
    }

    /// So many messages wait; `None`: the server did not say.
    pub fn on_asked(&mut self, pending: Option<u64>, now: Mono) -> Verdict {
        self.due = now.after(ASKED_EVERY);
        let Some(pending) = pending else { return Verdict::Same };
        match pending.cmp(&std::mem::replace(&mut self.pending, pending)) {
            Ordering::Less => {
                self.growths = 0;
                self.over()
            }
            // As many wait as before, so it is neither worse nor over.
            Ordering::Equal => {
                self.growths = 0;
                Verdict::Same
            }
            Ordering::Greater => {
                self.growths += 1;
                self.is_trouble |= self.growths >= GROWTHS_MIN;
                if self.is_trouble { Verdict::Trouble } else { Verdict::Same }
            }
        }
    }

    /// A poll brought messages, so they arrive.
    pub fn on_messages(&mut self) -> Verdict {
        (self.pending, self.growths) = (0, 0);
        self.over()
    }

    fn over(&mut self) -> Verdict {
        if std::mem::take(&mut self.is_trouble) { Verdict::Over } else { Verdict::Same }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_trouble_when_more_and_more_wait_while_polls_bring_nothing() {
        let mut witness = Witness::new(Mono(0));
        assert!(!witness.is_due(Mono(299_999)));
        let mut look = |pending| {
            let now = witness.due;
            assert!(witness.is_due(now));
            witness.on_asked(pending, now)
        };
        let looks = [0, 1, 0, 3, u64::MAX, 3, 4, 9, 12, 12, 13, 12, 0];
        let looks = looks.map(|pending| Some(pending).filter(|pending| *pending < u64::MAX));
        let verdicts = looks.map(&mut look);
        let (same, trouble, over) = (Verdict::Same, Verdict::Trouble, Verdict::Over);
        let want = [same, same, same, same, same, same, same, trouble, trouble, same, trouble, over, same];
        assert_eq!(verdicts, want);
    }

    #[test]
    fn messages_that_arrive_end_it() {
        let mut witness = Witness::new(Mono(0));
        for pending in [1, 2, 3] {
            witness.on_asked(Some(pending), Mono(0));
        }
        assert_eq!(witness.on_messages(), Verdict::Over);
        assert_eq!(witness.on_messages(), Verdict::Same);
        assert_eq!(witness.on_asked(Some(1), Mono(0)), Verdict::Same, "it begins anew");
    }
}
