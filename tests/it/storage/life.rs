//! The life of one process around the real `Ledger`: reader, two turn workers, sender and writer as steps that a
//! seeded choice puts into some order. One thread, one kind of queue, and the product's own rules for what waits for
//! what. Ends when everything is answered, or when the disk refuses.

use std::collections::{BTreeSet, VecDeque};

use rusty_pinch::base::clock::{Mono, Wall};
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::message::{Chat, Delivery, Inbound, Job, Mode, Outbound, Outcome, Path, Reply, Summary};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::outbound::{Attempt, Lanes, Step};
use rusty_pinch::store::commit_log::LogError;
use rusty_pinch::store::exchange::{Append, Effect, Folders, Input, Notice, Opening, Sizes};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;

use super::SESSION_BYTES_MAX;
use super::world::{Kind, Letter, World};
use crate::support::lanes::{self, ACCOUNT};
use crate::support::torn_disk::TornDisk;

const WORKERS: usize = 2;
/// The sender's lane; the workers' are the ones before.
const SENDER_LANE: usize = WORKERS;
/// Nothing is read while so many messages are open: a batch of four more of the largest still fits into a journal file.
const OPEN_MAX: usize = 8;
/// Far more steps than any run needs.
const STEPS_MAX: usize = 20_000;

struct Running {
    job: Job,
    /// Still waits for the record of its attempt.
    waits: bool,
}

pub struct Life {
    pub world: World,
    ledger: Ledger,
    position: Option<u64>,
    batch: BTreeSet<u64>,
    last_read: Option<u64>,
    waiting: VecDeque<Job>,
    running: Vec<Option<Running>>,
    lanes: Lanes,
    attempt: Option<(Attempt, bool)>,
    queue: Vec<Input>,
    owed: bool,
}

/// What a step did.
#[derive(PartialEq, Eq)]
enum Did {
    Something,
    Nothing,
}

impl Life {
    /// A start, the first one or any other.
    pub fn open(disk: &TornDisk, mut world: World, boot: &str) -> Result<(Life, Opening), Box<(World, LogError)>> {
        world.now += 60_000;
        let folders = Folders {
            journal: disk.folder("journal"),
            sessions: disk.folder("sessions"),
            dead: disk.folder("dead"),
            spool: disk.folder("spool"),
        };
        let now = Wall(world.now);
        let sizes = Sizes { session: SESSION_BYTES_MAX as u64, ..Sizes::default() };
        let opened = Ledger::open_sized(folders, sizes, boot, Counting::default(), now);
        let (ledger, mut opening) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(Box::new((world, error))),
        };
        world.synced();
        let mut life = Life {
            ledger,
            position: opening.next_positions.get(&ACCOUNT).copied(),
            batch: BTreeSet::new(),
            last_read: None,
            waiting: VecDeque::new(),
            running: (0..WORKERS).map(|_| None).collect(),
            lanes: Lanes::new(Mode::AtLeastOnce, Rng::from_seed(world.random.next())),
            attempt: None,
            queue: Vec::new(),
            owed: true,
            world,
        };
        for reopened in std::mem::take(&mut opening.reopened) {
            match reopened.reply {
                Some(outbound) => life.take_reply(outbound),
                None => life.waiting.push_back(reopened.job),
            }
        }
        Ok((life, opening))
    }

    /// Runs until everything is answered and closed.
    pub fn run(&mut self) -> Result<(), LogError> {
        for _ in 0..STEPS_MAX {
            let first = self.world.random.index(6);
            let mut did = Did::Nothing;
            for number in 0..6 {
                did = self.step((first + number) % 6)?;
                if did == Did::Something {
                    break;
                }
            }
            if did == Did::Nothing && self.idle()? == Did::Nothing {
                return Ok(());
            }
        }
        panic!("the run does not come to an end");
    }

    fn step(&mut self, number: usize) -> Result<Did, LogError> {
        match number {
            0 => Ok(self.read()),
            1 => Ok(self.start()),
            2 => Ok(self.finish()),
            3 => Ok(self.begin_send()),
            4 => Ok(self.send()),
            _ => self.write(),
        }
    }

    fn read(&mut self) -> Did {
        if !self.batch.is_empty() || self.ledger.journal().open().count() >= OPEN_MAX {
            return Did::Nothing;
        }
        // Only with the next poll does the server learn that it may forget.
        self.position = self.last_read.map(|last| last + 1).or(self.position);
        let limit = self.world.random.between(1, 4) as usize;
        let letters = self.world.poll(self.position, limit);
        for letter in &letters {
            let inbound = self.inbound(letter);
            self.batch.insert(letter.update);
            self.last_read = Some(letter.update);
            let append = match letter.kind {
                Kind::Refused { told } => {
                    let reply = Box::new(self.reply(&inbound, letter.update));
                    Append::Refuse { inbound, reply, told }
                }
                _ => Append::Accept(inbound),
            };
            self.queue.push(Input::Append(append));
        }
        if letters.is_empty() { Did::Nothing } else { Did::Something }
    }

    fn inbound(&mut self, letter: &Letter) -> Inbound {
        let received = Wall(self.world.now);
        let turn = TurnId::mint(received, &mut Rng::from_seed(self.world.random.next()));
        self.world.turns.insert(turn, letter.update);
        let text = format!("{}{}", letter.text, "x".repeat(letter.filler));
        lanes::inbound(turn, letter.update, &letter.chat, text, received)
    }

    fn reply(&mut self, inbound: &Inbound, update: u64) -> Reply {
        let parts = self.world.think(update);
        Reply {
            turn: inbound.turn,
            user_text: self.world.letter(update).text.clone(),
            text: parts.join("\n"),
            parts,
            summary: Summary { path: Some(Path::Provider), ..Summary::default() },
        }
    }

    /// A worker takes the first job of a chat that nobody works on.
    fn start(&mut self) -> Did {
        let Some(free) = self.running.iter().position(Option::is_none) else { return Did::Nothing };
        let busy = |chat: &Chat| self.running.iter().flatten().any(|running| running.job.inbound.chat == *chat);
        let Some(at) = self.waiting.iter().position(|job| !busy(&job.inbound.chat)) else { return Did::Nothing };
        let job = self.waiting.remove(at).expect("the position was just found");
        self.queue.push(Input::Append(Append::Begin { turn: job.inbound.turn, lane: free }));
        self.running[free] = Some(Running { job, waits: true });
        Did::Something
    }

    fn finish(&mut self) -> Did {
        let ready = self.running.iter().position(|running| running.as_ref().is_some_and(|running| !running.waits));
        let Some(at) = ready else { return Did::Nothing };
        let running = self.running[at].as_mut().expect("the position was just found");
        running.waits = true;
        let inbound = running.job.inbound.clone();
        let reply = self.reply(&inbound, self.world.turns[&inbound.turn]);
        self.queue.push(Input::Append(Append::Reply(Box::new(reply))));
        Did::Something
    }

    fn take_reply(&mut self, outbound: Outbound) {
        let update = self.world.turns[&outbound.turn];
        let text = outbound.parts.join("\n");
        let known = self.world.promised.entry(update).or_insert_with(|| text.clone());
        assert_eq!(*known, text, "message {update} was answered again with another text");
        self.lanes.push(outbound);
    }

    fn begin_send(&mut self) -> Did {
        // What the lanes hold is looked at again for every step, so nothing may be under way.
        if self.attempt.is_some() {
            return Did::Nothing;
        }
        match self.lanes.step(Mono(self.world.now)) {
            Step::Send(attempt) => {
                let part = (self.world.turns[&attempt.turn], attempt.part);
                *self.world.begun.entry(part).or_default() += 1;
                *self.world.unknown.entry(part).or_default() += 1;
                let Attempt { turn, part, resends, .. } = attempt;
                self.queue.push(Input::Delivery(Delivery::Sending { turn, part, resends, lane: SENDER_LANE }));
                self.attempt = Some((attempt, false));
                Did::Something
            }
            Step::GiveUp { turn, chat } => {
                self.lanes.on_given_up(&chat);
                let why = "unknown too often".to_string();
                self.queue.push(Input::Delivery(Delivery::Close { turn, outcome: Outcome::Dead, why }));
                Did::Something
            }
            Step::Wait { .. } => Did::Nothing,
        }
    }

    fn send(&mut self) -> Did {
        let Some((attempt, _)) = self.attempt.take_if(|(_, answered)| *answered) else { return Did::Nothing };
        let sent = self.world.send(&attempt);
        let turn = attempt.turn;
        for report in self.lanes.on_sent(&attempt.chat.id, sent, Mono(self.world.now)) {
            self.queue.push(Input::Delivery(lanes::delivery(turn, report)));
        }
        Did::Something
    }

    fn write(&mut self) -> Result<Did, LogError> {
        if self.queue.is_empty() {
            return Ok(Did::Nothing);
        }
        let batch = std::mem::take(&mut self.queue);
        let (mut acked, mut nothing) = (Vec::new(), Vec::new());
        for input in &batch {
            match input {
                Input::Delivery(Delivery::Sent { turn, part, .. }) => acked.push((self.world.turns[turn], *part)),
                Input::Delivery(Delivery::Unsent { turn, part, .. }) => nothing.push((self.world.turns[turn], *part)),
                _ => {}
            }
        }
        let effects = self.ledger.write(batch, Wall(self.world.now))?;
        self.world.acked.extend(acked);
        nothing.iter().for_each(|part| *self.world.unknown.get_mut(part).expect("it was begun") -= 1);
        self.perform(effects);
        if self.ledger.sync_wanted() || self.world.random.chance(100) {
            self.flush()?;
        }
        Ok(Did::Something)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let effects = self.ledger.sync(Wall(self.world.now))?;
        self.world.synced();
        self.perform(effects);
        Ok(())
    }

    /// Nothing else to do: what is in the page cache is flushed, then what is owed is tried again, then time passes.
    /// The flush comes first in the product, too: it is due after 250 ms, and two parts are 1,050 ms apart.
    fn idle(&mut self) -> Result<Did, LogError> {
        if self.ledger.is_dirty() {
            self.flush()?;
            return Ok(Did::Something);
        }
        if std::mem::take(&mut self.owed) {
            let effects = self.ledger.retry_owed(Wall(self.world.now))?;
            self.perform(effects);
            return Ok(Did::Something);
        }
        match self.lanes.step(Mono(self.world.now)) {
            Step::Wait { until: Some(until) } => {
                self.world.now = until.0;
                Ok(Did::Something)
            }
            _ => Ok(Did::Nothing),
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Notice(notice) => self.notice(notice),
                Effect::Outbound(outbound) => self.take_reply(outbound),
                Effect::Answer(SENDER_LANE) => self.attempt.as_mut().expect("the sender waits").1 = true,
                Effect::Answer(lane) => self.running[lane].as_mut().expect("the worker waits").waits = false,
                Effect::Closed(record) => {
                    let turn = TurnId::parse(&record.request_id).expect("a turn");
                    *self.world.closed.entry(self.world.turns[&turn]).or_default() += 1;
                    if record.delivery == Some(Outcome::Dead) {
                        self.world.dead.insert(self.world.turns[&turn]);
                    }
                }
                Effect::Event(_) => self.owed = true,
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Accepted(job) => {
                self.receipt(&job.inbound);
                self.waiting.push_back(job);
            }
            Notice::Refused(inbound) => self.receipt(&inbound),
            Notice::Duplicate(inbound) => {
                self.world.copies += 1;
                self.receipt(&inbound);
            }
            Notice::Replied { turn, .. } => {
                let ended = |running: &Option<Running>| {
                    running.as_ref().is_some_and(|running| running.job.inbound.turn == turn)
                };
                self.running.iter_mut().filter(|running| ended(running)).for_each(|running| *running = None);
            }
            Notice::Closed(_) | Notice::Delivered(_) | Notice::Readmission(_) => {}
        }
    }

    fn receipt(&mut self, inbound: &Inbound) {
        let update = inbound.origin.expect("it came through the channel");
        assert!(self.batch.remove(&update), "a receipt for {update}, which nobody waits for");
        self.world.receipted.insert(update);
    }
}
