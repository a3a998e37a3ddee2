//! [`Journal`]: records folded into what is open, what was seen, and where each account stands. A pure state: it never
//! touches a disk, and applying a record twice changes nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::base::clock::Wall;
use crate::base::id::{SessionId, TurnId};
use crate::base::message::{Chat, GIVEN_UP, Inbound, Job, Outbound, Outcome, STOPPED, reply_weight};
use crate::base::sorted::SortedMap;
use crate::observe::event::{Event, TurnRecord};
use crate::observe::telemetry::{Delta, Position};
use crate::store::record::{Answer, Checkpoint, Closed, OpenRecord, Received, Record, Start};
use crate::store::ring::{Ring, key_hash};

/// Starts remembered for seeing a crash loop.
pub const STARTS_MAX: usize = 16;

/// An accepted message that is not closed, or whose session lines are still owed.
#[derive(Clone, Debug)]
pub struct Open {
    /// The message.
    pub received: Received,
    /// Attempts begun and not taken back.
    pub tries: u32,
    /// The answer.
    pub answer: Option<Answer>,
    /// Whether the session lines may not be on disk.
    pub line_owed: bool,
    /// Parts whose sending was begun.
    pub sending: u16,
    /// Parts confirmed.
    pub acked: u16,
    /// Resends of the current part.
    pub resends: u8,
    /// How it was closed.
    pub closed: Option<Outcome>,
    /// Whether it was given up before, and told and counted then.
    pub again: bool,
}

/// What the records say.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    next: SortedMap<u64, u64>,
    /// By arrival: two messages of one millisecond must not change places over a restart.
    open: BTreeMap<u64, Open>,
    arrival: HashMap<TurnId, u64>,
    arrivals: u64,
    ring: Ring,
    starts: VecDeque<Start>,
    /// The name under which turns are counted.
    name: String,
    /// Turns closed since the journal was made.
    closed: u64,
    /// What was counted of them and is not in the counters' file.
    uncounted: Delta,
    counting: Counting,
}

/// What the counters' file holds already.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    /// The name of a journal that has none yet.
    pub name: String,
    /// By journal, how many of its turns are counted.
    pub counted: SortedMap<String, u64>,
}

impl Journal {
    /// An empty journal that is about to be filled from its records.
    pub fn new(counting: Counting) -> Journal {
        Journal { name: counting.name.clone(), counting, ..Journal::default() }
    }

    /// Applies one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Rx(received) => self.received(received.clone()),
            Record::Try(attempts) => self.change(attempts.id, |open| open.tries = attempts.n),
            Record::Rep(answer) => self.change(answer.id, |open| {
                open.answer = Some(answer.clone());
                open.line_owed = true;
            }),
            Record::Snd(sending) => self.change(sending.id, |open| {
                open.sending = open.sending.max(sending.i + 1);
                open.resends = sending.k;
            }),
            Record::Uns(unsent) => self.change(unsent.id, |open| open.sending = open.sending.min(unsent.i)),
            Record::Ack(confirmed) => self.change(confirmed.id, |open| {
                open.acked = open.acked.max(confirmed.i + 1);
                open.sending = open.sending.max(confirmed.i + 1);
                open.resends = 0;
            }),
            Record::Fin(closed) => self.finished(*closed),
            Record::Opn(again) => {
                if self.ring.insert(key_hash(&again.key)) && self.get(again.open.rx.id).is_none() {
                    self.add(Open { again: true, ..Open::from_record(&again.open) });
                }
            }
            Record::Boot(start) => {
                self.starts.push_back(start.clone());
                let excess = self.starts.len().saturating_sub(STARTS_MAX);
                self.starts.drain(..excess);
            }
            Record::Ckp(checkpoint) => self.start_from(checkpoint),
        }
    }

    fn received(&mut self, received: Received) {
        if let Some(position) = received.upd {
            self.next.insert(received.acct, position.saturating_add(1));
        }
        if self.ring.insert(key_hash(&received.key)) {
            let open = Open {
                received,
                tries: 0,
                answer: None,
                line_owed: false,
                sending: 0,
                acked: 0,
                resends: 0,
                closed: None,
                again: false,
            };
            self.add(open);
        }
    }

    fn add(&mut self, open: Open) {
        self.arrivals += 1;
        self.arrival.insert(open.received.id, self.arrivals);
        self.open.insert(self.arrivals, open);
    }

    fn change(&mut self, id: TurnId, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.arrival.get(&id).and_then(|arrival| self.open.get_mut(arrival)) {
            change(open);
        }
    }

    fn finished(&mut self, closed: Closed) {
        let record = self.get(closed.id).and_then(|open| open.turn_record(&closed));
        if let Some(record) = record {
            self.closed += 1;
            if self.counting.counted.get(&self.name).is_none_or(|counted| *counted < self.closed) {
                self.uncounted.add(&record);
            }
        }
        self.change(closed.id, |open| open.closed = Some(closed.outcome));
        self.forget_settled(closed.id);
    }

    /// Notes about parts may be lost. From here on, over restarts too, every part that is not confirmed is in doubt.
    pub fn doubt_notes(&mut self) {
        self.open.values_mut().filter_map(|open| open.answer.as_mut()).for_each(Answer::doubt_notes);
    }

    /// What is to be added to the counters' file, if there is anything.
    pub fn uncounted(&self) -> Option<(&Delta, Position)> {
        let position = Position { source: self.name.clone(), turns: self.closed };
        (!self.uncounted.is_empty()).then_some((&self.uncounted, position))
    }

    /// It was added.
    pub fn counted(&mut self) {
        self.uncounted = Delta::default();
    }

    /// The session lines of a turn are in its file.
    pub fn line_written(&mut self, id: TurnId) {
        self.change(id, |open| open.line_owed = false);
        self.forget_settled(id);
    }

    fn forget_settled(&mut self, id: TurnId) {
        if self.get(id).is_some_and(|open| open.closed.is_some() && !open.line_owed)
            && let Some(arrival) = self.arrival.remove(&id)
        {
            self.open.remove(&arrival);
        }
    }

    /// Whether this message, or a copy of it, was received before.
    pub fn has_seen(&self, key: &str) -> bool {
        self.ring.contains(key_hash(key))
    }

    /// By account, the position behind the last message received for it.
    pub fn next_positions(&self) -> &SortedMap<u64, u64> {
        &self.next
    }

    /// One open turn.
    pub fn get(&self, id: TurnId) -> Option<&Open> {
        self.open.get(self.arrival.get(&id)?)
    }

    /// Every turn that is not settled, in the order they were received.
    pub fn open(&self) -> impl Iterator<Item = &Open> {
        self.open.values()
    }

    /// The last starts, oldest first.
    pub fn starts(&self) -> impl Iterator<Item = &Start> {
        self.starts.iter()
    }

    /// All of it, as the first record of the next file.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            next: self.next.iter().map(|(account, next)| (*account, *next)).collect(),
            open: self.open.values().map(Open::record).collect(),
            ring: self.ring.to_text(),
            starts: self.starts.iter().cloned().collect(),
            name: self.name.clone(),
            closed: self.closed,
            uncounted: self.uncounted.clone(),
        }
    }

    fn start_from(&mut self, checkpoint: &Checkpoint) {
        let counting = std::mem::take(&mut self.counting);
        let name = if checkpoint.name.is_empty() { counting.name.clone() } else { checkpoint.name.clone() };
        let counted = counting.counted.get(&name).is_some_and(|counted| *counted >= checkpoint.closed);
        *self = Journal {
            next: checkpoint.next.iter().copied().collect(),
            ring: Ring::from_text(&checkpoint.ring),
            starts: checkpoint.starts.iter().cloned().collect(),
            name,
            closed: checkpoint.closed,
            uncounted: if counted { Delta::default() } else { checkpoint.uncounted.clone() },
            counting,
            ..Journal::default()
        };
        checkpoint.open.iter().for_each(|record| self.add(Open::from_record(record)));
    }
}

impl Open {
    /// As it is kept in a checkpoint or a dead letter.
    pub fn record(&self) -> OpenRecord {
        OpenRecord {
            rx: self.received.clone(),
            n: self.tries,
            rep: self.answer.clone(),
            owed: self.line_owed,
            snd: self.sending,
            ack: self.acked,
            k: self.resends,
            fin: self.closed,
            again: self.again,
        }
    }

    fn from_record(record: &OpenRecord) -> Open {
        Open {
            received: record.rx.clone(),
            tries: record.n,
            answer: record.rep.clone(),
            line_owed: record.owed,
            sending: record.snd,
            acked: record.ack,
            resends: record.k,
            closed: record.fin,
            again: record.again,
        }
    }

    /// The line of the log for a turn that is being closed; `None` if it was closed before, or never answered.
    pub fn turn_record(&self, closed: &Closed) -> Option<TurnRecord> {
        let answer = self.answer.as_ref().filter(|_| self.closed.is_none() && !self.again)?;
        let session = SessionId::of_chat(self.received.ch, &self.received.chat);
        let mut record = TurnRecord::new(self.received.id, session.name(), answer.sum.clone(), Wall(closed.ts));
        record.channel = Some(self.received.ch);
        record.delivery = Some(closed.outcome);
        record.send_ms = Some(closed.ts.saturating_sub(answer.ts));
        Some(record)
    }

    /// What is to be logged in place of a turn, of one that was logged before or is none.
    pub fn redelivered(&self, closed: &Closed) -> Option<Event> {
        let Received { id, ch: channel, .. } = self.received;
        let event = Event::Delivered { channel, request_id: id.to_string(), delivery: closed.outcome };
        (self.again && self.closed.is_none()).then_some(event)
    }

    /// Whether a person ended its answering.
    pub fn is_stopped(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.sum.error.as_deref() == Some(STOPPED))
    }

    /// The error class of a message that was given up without being asked of a provider.
    pub fn given_up_as(&self) -> Option<&'static str> {
        self.answer.as_ref().and_then(Answer::given_up_as)
    }

    /// Bytes that its answer holds until it is settled.
    pub fn weight(&self) -> usize {
        self.answer.as_ref().map_or(0, |answer| reply_weight(&answer.asst, &answer.parts))
    }

    /// The work it is.
    pub fn job(&self) -> Job {
        Job { inbound: self.received.inbound(), interrupted: self.tries, carried_over: true }
    }

    /// What is left to send of its answer, as seen from boot `boot`. A part is ambiguous if its sending was begun and
    /// not confirmed, or if the kernel has been restarted since: the note that it was begun may then be lost.
    pub fn outbound(&self, boot: &str) -> Option<Outbound> {
        let answer = self.answer.as_ref()?;
        let other_boot = answer.boot != boot && !cfg!(rp_break = "no_boot_rule");
        Some(Outbound {
            turn: self.received.id,
            channel: self.received.ch,
            chat: Chat { id: self.received.chat.clone(), thread: self.received.thread },
            parts: answer.parts(),
            next: self.acked,
            ambiguous: self.sending > self.acked || other_boot,
            other_boot,
            resends: self.resends,
        })
    }
}

impl Answer {
    /// The error class of what stands for an answer, if a person may want the message to be answered after all.
    pub fn given_up_as(&self) -> Option<&'static str> {
        GIVEN_UP.into_iter().find(|class| self.sum.error.as_deref() == Some(class))
    }

    /// No boot that is to come is the one in which the notes about its parts were kept.
    pub fn doubt_notes(&mut self) {
        self.boot.clear();
    }

    /// What is sent.
    pub fn parts(&self) -> Vec<String> {
        if self.parts.is_empty() { vec![self.asst.clone()] } else { self.parts.clone() }
    }
}

impl Received {
    /// The record of a message.
    pub fn new(inbound: &Inbound) -> Received {
        Received {
            id: inbound.turn,
            key: inbound.key.clone(),
            acct: inbound.account,
            upd: inbound.origin,
            ch: inbound.channel,
            chat: inbound.chat.id.clone(),
            thread: inbound.chat.thread,
            from: inbound.sender.clone(),
            text: inbound.text.clone(),
            ts: inbound.received.0,
            w: inbound.waited.map(|waited| waited.as_secs()),
        }
    }

    /// The message of the record.
    pub fn inbound(&self) -> Inbound {
        Inbound {
            turn: self.id,
            channel: self.ch,
            account: self.acct,
            origin: self.upd,
            key: self.key.clone(),
            chat: Chat { id: self.chat.clone(), thread: self.thread },
            sender: self.from.clone(),
            text: self.text.clone(),
            received: Wall(self.ts),
            waited: self.w.map(Duration::from_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::ChannelId;
    use crate::base::message::Summary;
    use crate::base::rng::Rng;
    use crate::store::record::{Attempts, Confirmed, Sending, Unsent};

    fn received(number: u64) -> Received {
        Received {
            id: TurnId::mint(Wall(number), &mut Rng::from_seed(number)),
            key: format!("tg:1:2:{number}"),
            acct: 1,
            upd: Some(number),
            ch: ChannelId::Telegram,
            chat: "2".into(),
            thread: None,
            from: "3".into(),
            text: "hello".into(),
            ts: number,
            w: None,
        }
    }

    fn answer(id: TurnId, boot: &str) -> Record {
        Record::Rep(Answer {
            id,
            boot: boot.into(),
            user: None,
            asst: "hi".into(),
            parts: vec![],
            sum: Summary::default(),
            ts: 0,
            n: None,
        })
    }

    fn journal(records: &[Record]) -> Journal {
        let mut journal = Journal::default();
        records.iter().for_each(|record| journal.apply(record));
        journal
    }

    #[test]
    fn a_copy_is_not_opened_again_and_the_position_follows_the_last_message() {
        let journal = journal(&[Record::Rx(received(9)), Record::Rx(received(4)), Record::Rx(received(9))]);
        assert_eq!(journal.open().count(), 2);
        assert!(journal.has_seen("tg:1:2:4") && !journal.has_seen("tg:1:2:5"));
        // Never the largest: the server may have started over with lower numbers.
        assert_eq!(journal.next_positions().get(&1), Some(&10));
    }

    #[test]
    fn only_a_begun_and_unconfirmed_part_or_another_boot_is_ambiguous() {
        let rx = received(1);
        let id = rx.id;
        let mut log = journal(&[Record::Rx(rx), answer(id, "one")]);
        let ambiguous = |log: &Journal, boot| log.get(id).and_then(|open| open.outbound(boot)).map(|out| out.ambiguous);
        assert_eq!((ambiguous(&log, "one"), ambiguous(&log, "two")), (Some(false), Some(true)));
        log.apply(&Record::Snd(Sending { id, i: 0, k: 0 }));
        assert_eq!(ambiguous(&log, "one"), Some(true));
        log.apply(&Record::Uns(Unsent { id, i: 0 }));
        assert_eq!(ambiguous(&log, "one"), Some(false));
        log.apply(&Record::Snd(Sending { id, i: 0, k: 0 }));
        log.apply(&Record::Ack(Confirmed { id, i: 0, mid: 5 }));
        assert_eq!(ambiguous(&log, "one"), Some(false));
    }

    #[test]
    fn a_closed_turn_stays_until_its_lines_are_written() {
        let rx = received(1);
        let id = rx.id;
        let mut log =
            journal(&[Record::Rx(rx), answer(id, "b"), Record::Fin(Closed { id, outcome: Outcome::Sent, ts: 0 })]);
        assert_eq!(log.open().count(), 1);
        log.line_written(id);
        assert_eq!(log.open().count(), 0);
    }

    #[test]
    fn a_checkpoint_holds_everything() {
        let rx = received(1);
        let id = rx.id;
        let records = [
            Record::Rx(rx),
            Record::Try(Attempts { id, n: 2 }),
            answer(id, "b"),
            Record::Snd(Sending { id, i: 0, k: 1 }),
            Record::Rx(received(2)),
        ];
        let before = journal(&records);
        let after = journal(&[Record::Ckp(Box::new(before.checkpoint()))]);
        assert_eq!(before.checkpoint(), after.checkpoint());
        assert!(after.has_seen("tg:1:2:1"));
    }

    #[test]
    fn turns_are_counted_once_wherever_the_process_was_killed() {
        let mut records = Vec::new();
        for number in 1..=4 {
            let rx = received(number);
            let id = rx.id;
            records.extend([
                Record::Rx(rx),
                answer(id, "b"),
                Record::Fin(Closed { id, outcome: Outcome::Sent, ts: 9 }),
            ]);
        }
        let name = || "j".to_owned();
        let uncounted = |journal: &Journal| journal.uncounted().map_or(0, |(delta, _)| delta.turns());
        let replay = |records: &[Record], counted: u64| {
            let mut journal = Journal::new(Counting { name: name(), counted: SortedMap::from([(name(), counted)]) });
            records.iter().for_each(|record| journal.apply(record));
            journal
        };
        // The counters' file holds the first two; the checkpoint may come before or after that.
        assert_eq!(uncounted(&replay(&records, 2)), 2);
        for at in [3, 6, 9, 12] {
            let checkpoint = Record::Ckp(Box::new(replay(&records[..at], 0).checkpoint()));
            let later: Vec<Record> = std::iter::once(checkpoint).chain(records[at..].iter().cloned()).collect();
            assert_eq!(uncounted(&replay(&later, 4)), 0, "all are counted, checkpoint at {at}");
            assert_eq!(uncounted(&replay(&later, 0)), 4, "none is counted, checkpoint at {at}");
        }
    }
}
