//! [`Witness`]: a second opinion on whether messages arrive. Where polls are answered with nothing while messages wait at the
//! server, and do not become fewer, something stands between them and us that no poll shows. Pure.

use std::time::Duration;

use crate::base::clock::Mono;

/// How often the server is asked how many messages wait, at most.
pub const ASKED_EVERY: Duration = Duration::from_secs(300);

/// Looks in a row at which no fewer wait than at the one before. One may have seen a message that came just then.
const LOOKS_MIN: u32 = 2;

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Same,
    /// Messages do not arrive. Said again at each look that shows no fewer.
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
    looks: u32,
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
        let before = std::mem::replace(&mut self.pending, pending);
        if pending == 0 || pending < before {
            return self.over();
        }
        self.looks += 1;
        if self.looks < LOOKS_MIN { Verdict::Same } else { Verdict::Trouble }
    }

    /// A poll brought messages, so they arrive.
    pub fn on_messages(&mut self) -> Verdict {
        self.pending = 0;
        self.over()
    }

    fn over(&mut self) -> Verdict {
        if std::mem::take(&mut self.looks) < LOOKS_MIN { Verdict::Same } else { Verdict::Over }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail with as many as before taken for the end of it, and for no trouble.
    #[test]
    fn it_is_trouble_when_no_fewer_wait_while_polls_bring_nothing() {
        let mut witness = Witness::new(Mono(0));
        assert!(!witness.is_due(Mono(299_999)));
        let mut look = |pending| {
            let now = witness.due;
            assert!(witness.is_due(now));
            witness.on_asked(pending, now)
        };
        let (same, trouble, over) = (Verdict::Same, Verdict::Trouble, Verdict::Over);
        for (pending, want) in [
            (Some(0), same),
            (Some(1), same),
            (Some(0), same),
            (Some(3), same),
            (None, same),
            (Some(3), trouble),
            (Some(12), trouble),
            (Some(12), trouble),
            (None, same),
            (Some(11), over),
            (Some(11), same),
            (Some(11), trouble),
            (Some(0), over),
            (Some(0), same),
        ] {
            assert_eq!(look(pending), want, "{pending:?}");
        }
    }

    #[test]
    fn one_that_waits_for_ever_is_trouble() {
        let mut witness = Witness::new(Mono(0));
        assert_eq!(
            [1, 1, 1].map(|pending| witness.on_asked(Some(pending), Mono(0))),
            [Verdict::Same, Verdict::Trouble, Verdict::Trouble]
        );
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
