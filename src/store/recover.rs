//! What a restart owes, from what the journal says. Pure decisions; docs/architecture.md has the table of kill points.
//!
//! ```text
//! no answer                      run it again (counting attempts that a crash cut off)
//! answer, parts not confirmed    send the rest; a part that may have arrived is marked
//! answer, all parts confirmed    close it
//! answer, lines not in the file  append them
//! ```

use std::collections::HashSet;

use crate::base::id::TurnId;
use crate::base::message::{Job, Outbound};
use crate::store::journal::{Counting, Journal, Open};
use crate::store::record::{Answer, Received, Record};

/// A turn that goes on where the last process left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopened {
    /// The message.
    pub job: Job,
    /// What is left to send; `None`: it has to be answered first.
    pub reply: Option<Outbound>,
}

/// What is to be done with one open turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Answer it, or send the rest of the answer.
    Resume(Reopened),
    /// Every part was confirmed; only the closing is missing.
    Close(TurnId),
}

impl Owed {
    /// The turn.
    pub fn turn(&self) -> TurnId {
        match self {
            Owed::Resume(reopened) => reopened.job.inbound.turn,
            Owed::Close(turn) => *turn,
        }
    }
}

/// The state after all records, and every answer whose session lines may not be on disk.
#[derive(Debug, Default)]
pub struct Replay {
    /// What is open.
    pub journal: Journal,
    /// In the order of the answers, which is the order of the lines.
    pub answered: Vec<(Received, Answer)>,
}

/// Applies the records of one file, from its checkpoint on.
pub fn replay(records: &[Record], counting: Counting) -> Replay {
    let mut replay = Replay { journal: Journal::new(counting), answered: Vec::new() };
    let mut seen = HashSet::new();
    let mut add = |answered: &mut Vec<(Received, Answer)>, received: &Received, answer: &Answer| {
        if seen.insert(received.id) {
            answered.push((received.clone(), answer.clone()));
        }
    };
    for record in records {
        replay.journal.apply(record);
        match record {
            Record::Ckp(checkpoint) => {
                for open in checkpoint.open.iter().filter(|open| open.owed) {
                    open.rep.iter().for_each(|answer| add(&mut replay.answered, &open.rx, answer));
                }
            }
            Record::Rep(answer) => {
                let received = replay.journal.get(answer.id).map(|open| &open.received);
                received.into_iter().for_each(|received| add(&mut replay.answered, received, answer));
            }
            _ => {}
        }
    }
    replay
}

/// What to do with every open turn, oldest first.
pub fn owed(journal: &Journal, boot: &str) -> Vec<Owed> {
    journal.open().filter(|open| open.closed.is_none()).map(|open| owed_for(open, boot)).collect()
}

fn owed_for(open: &Open, boot: &str) -> Owed {
    let reply = open.outbound(boot);
    match reply {
        Some(outbound) if usize::from(outbound.next) >= outbound.parts.len() => Owed::Close(outbound.turn),
        reply => Owed::Resume(Reopened { job: open.job(), reply }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::id::ChannelId;
    use crate::base::message::{Outcome, Summary};
    use crate::base::rng::Rng;
    use crate::store::record::{Attempts, Closed, Confirmed, Sending};

    const BOOT: &str = "boot";

    fn turn(parts: usize) -> (TurnId, Vec<Record>) {
        let id = TurnId::mint(Wall(5), &mut Rng::from_seed(5));
        let rx = Received {
            id,
            key: "k".into(),
            acct: 1,
            upd: Some(1),
            ch: ChannelId::Telegram,
            chat: "2".into(),
            thread: None,
            from: "3".into(),
            text: "hello".into(),
            ts: 5,
            w: None,
        };
        let rep = Answer {
            id,
            boot: BOOT.into(),
            user: None,
            asst: "ab".into(),
            parts: vec!["a".into(); parts],
            sum: Summary::default(),
            ts: 6,
            n: None,
        };
        (id, vec![Record::Rx(rx), Record::Try(Attempts { id, n: 1 }), Record::Rep(rep)])
    }

    /// What is owed after the first records of a turn with two parts, killed at each point of durability.md's table.
    #[track_caller]
    fn check(more: impl Fn(TurnId) -> Vec<Record>, keep: usize, boot: &str, want: Option<(u16, bool)>) {
        let (id, mut records) = turn(2);
        records.extend(more(id));
        records.truncate(keep);
        let got: Vec<_> = owed(&replay(&records, Counting::default()).journal, boot);
        let got = match got.as_slice() {
            [] | [Owed::Close(_)] => None,
            [Owed::Resume(Reopened { reply: Some(out), .. })] => Some((out.next, out.ambiguous)),
            [Owed::Resume(Reopened { reply: None, .. })] => Some((u16::MAX, false)),
            more => panic!("one turn owes one thing: {more:?}"),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn the_kill_point_table_holds() {
        let all = |id| {
            let (snd, ack) = (|i| Record::Snd(Sending { id, i, k: 0 }), |i| Record::Ack(Confirmed { id, i, mid: 1 }));
            vec![snd(0), ack(0), snd(1), ack(1), Record::Fin(Closed { id, outcome: Outcome::Sent, ts: 7 })]
        };
        check(all, 1, BOOT, Some((u16::MAX, false))); // K3, K4: accepted, not started.
        check(all, 2, BOOT, Some((u16::MAX, false))); // K5, K7: the provider is asked again.
        check(all, 3, BOOT, Some((0, false))); // K8, K9: committed, certainly not sent.
        check(all, 3, "other", Some((0, true))); // K9 after a power cut: the begin mark may be lost.
        check(all, 4, BOOT, Some((0, true))); // K10, K11, K12: may have arrived.
        check(all, 5, BOOT, Some((1, false))); // K13, K14: goes on with the next part.
        check(all, 6, BOOT, Some((1, true)));
        check(all, 7, BOOT, None); // K16: only the closing is missing.
        check(all, 8, BOOT, None);
    }

    #[test]
    fn interrupted_attempts_are_counted_and_lines_of_closed_turns_are_still_checked() {
        let (id, mut records) = turn(1);
        records.push(Record::Fin(Closed { id, outcome: Outcome::Sent, ts: 7 }));
        assert_eq!(replay(&records, Counting::default()).answered.len(), 1);
        records.truncate(2);
        let got = owed(&replay(&records, Counting::default()).journal, BOOT);
        assert!(
            matches!(&got[..], [Owed::Resume(Reopened { job: Job { interrupted: 1, .. }, reply: None })]),
            "{got:?}"
        );
    }
}
