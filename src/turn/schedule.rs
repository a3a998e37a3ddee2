//! Which turn next: one at a time in each session, sessions in turn, at most so many at once, and no more open turns
//! than a channel has credits. Pure: it is told what happened and says what to do.
//!
//! Limits and what happens at each:
//! - [`Limits::credits`] open turns and [`OPEN_BYTES_MAX`] bytes of open messages a channel: its inbox is not listened to;
//! - [`REPLIES_BYTES_MAX`] bytes of undelivered replies: no further turn starts until some are delivered;
//! - [`CHAT_OPEN_MAX`] turns of one session that are not closed: further messages are refused, told at most every
//!   [`REFUSAL_EVERY`];
//! - a message whose answering ended the process before runs alone, so that it cannot take others with it;
//! - a message for the program itself (`/stop` and its like) passes all of these but the credits. [`CONTROLS_OPEN_MAX`] more
//!   of them may be open in a session, and [`CONTROLS_BYTES_MAX`] more bytes of their replies.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::control;
use crate::base::id::{ChannelId, TurnId};
use crate::base::message::{Chat, Inbound, Job, REPLY_WEIGHT_MAX, reply_weight};
use crate::store::exchange::{Held, Readmission};
use crate::turn::control_lane::{ControlLane, Order};
use crate::turn::open_turns::OpenTurns;

// Messages for the program itself.
mod controls;

/// Bytes of open messages of one channel.
pub const OPEN_BYTES_MAX: usize = 1 << 20;

/// Bytes of replies that are not delivered, running turns counted at their largest.
pub const REPLIES_BYTES_MAX: usize = 2 << 20;

/// Turns of one session that are not closed.
pub const CHAT_OPEN_MAX: usize = 32;

/// Control messages of one session beyond that.
pub const CONTROLS_OPEN_MAX: usize = 8;

/// Bytes of undelivered replies to control messages beyond [`REPLIES_BYTES_MAX`].
pub const CONTROLS_BYTES_MAX: usize = 64 * 1024;

/// Shortest time between two refusals that one session is told.
pub const REFUSAL_EVERY: Duration = Duration::from_secs(10);

/// How much may go on at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Turns worked on.
    pub workers: usize,
    /// Open turns of one channel.
    pub credits: usize,
    /// Messages to answer before the worker ends; `None`: it goes on.
    pub messages_max: Option<u64>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a message durable.
    Accept(Inbound),
    /// Make a message durable together with its refusal.
    Refuse {
        /// The message.
        inbound: Inbound,
        /// Whether the chat is told.
        told: bool,
    },
    /// Make it durable that a turn is taken up again.
    Readmit(Box<Readmission>),
    /// Work on a turn.
    Start(Job),
    /// Answer a control message.
    Control(Box<Order>),
    /// End a turn that was started.
    Stop {
        /// Which one.
        turn: TurnId,
        /// Its chat, which is not shown "typing" any more.
        chat: Chat,
    },
    /// Close a message that waited: a person does not want its answer any more.
    Drop(Inbound),
    /// Tell the reader that its message is durable.
    Receipt {
        /// The channel.
        channel: ChannelId,
        /// What the reader calls the message.
        origin: u64,
    },
}

/// The state of all open turns.
#[derive(Clone, Debug)]
pub struct Schedule {
    limits: Limits,
    open: OpenTurns,
    waiting: HashMap<String, VecDeque<Job>>,
    controls: ControlLane,
    /// Sessions with waiting turns and none running, in the order they are served.
    ready: VecDeque<String>,
    running: HashSet<TurnId>,
    /// Sessions that were told of a refusal, and when.
    refused: HashMap<String, Mono>,
    /// Waiting or running turns that ended a process before.
    suspects: HashSet<TurnId>,
    admitted: u64,
    delivered: u64,
    actions: VecDeque<Action>,
    wish: Option<Box<Readmission>>,
}

impl Schedule {
    /// Nothing is open.
    pub fn new(limits: Limits) -> Schedule {
        Schedule {
            limits,
            open: OpenTurns::default(),
            waiting: HashMap::new(),
            controls: ControlLane::default(),
            ready: VecDeque::new(),
            running: HashSet::new(),
            refused: HashMap::new(),
            suspects: HashSet::new(),
            admitted: 0,
            delivered: 0,
            actions: VecDeque::new(),
            wish: None,
        }
    }

    /// How many more messages a channel may bring. Its inbox is listened to only if this is not zero.
    pub fn room(&self, channel: ChannelId) -> usize {
        let used = self.open.used(channel);
        if used.bytes >= OPEN_BYTES_MAX {
            return 0;
        }
        let credits = self.limits.credits.saturating_sub(used.turns);
        match self.limits.messages_max {
            Some(most) => credits.min(usize::try_from(most.saturating_sub(self.admitted)).unwrap_or(usize::MAX)),
            None => credits,
        }
    }

    /// Whether as many messages were answered as were asked for.
    pub fn is_finished(&self) -> bool {
        self.limits.messages_max.is_some_and(|most| self.delivered >= most)
    }

    /// A reader handed over a message. It takes a credit.
    pub fn on_inbound(&mut self, inbound: Inbound, now: Mono) {
        let session = inbound.session().stem().to_owned();
        if inbound.is_history() {
            self.take_credit(&inbound, 0);
            self.actions.push_back(Action::Refuse { inbound, told: false });
            return;
        }
        let more = if control::parse(&inbound.text).is_some() { CONTROLS_OPEN_MAX } else { 0 };
        let refuse = self.open.of_session(&session) >= CHAT_OPEN_MAX + more;
        self.take_credit(&inbound, 0);
        if !refuse {
            self.actions.push_back(Action::Accept(inbound));
            return;
        }
        self.refused.retain(|_, told| told.after(REFUSAL_EVERY) > now);
        let told = !self.refused.contains_key(&session);
        if told {
            self.refused.insert(session, now);
        }
        self.actions.push_back(Action::Refuse { inbound, told });
    }

    /// The message and its refusal are durable.
    pub fn on_refused(&mut self, inbound: &Inbound) {
        self.receipt(inbound);
    }

    /// The message is durable.
    pub fn on_accepted(&mut self, job: Job) {
        self.receipt(&job.inbound);
        self.take_up(job);
    }

    /// An earlier process accepted the message, and perhaps answered it.
    pub fn on_reopened(&mut self, job: Job, reply_weight: Option<usize>) {
        self.take_credit(&job.inbound, reply_weight.unwrap_or(0));
        if reply_weight.is_none() {
            self.take_up(job);
        }
    }

    /// An earlier process closed the turn, and its session lines are owed.
    pub fn on_held(&mut self, held: &Held) {
        self.take_credit(&held.inbound, held.weight);
        self.admitted -= 1;
        self.on_closed(held.inbound.turn);
        self.open.mark_foreign(held.inbound.turn);
    }

    /// Somebody wants a turn to be taken up again. That waits until there is room; there is one wish at a time.
    pub fn on_readmission(&mut self, readmission: Box<Readmission>) {
        self.wish = Some(readmission);
    }

    fn readmit(&mut self) -> Option<Action> {
        let inbound = &self.wish.as_ref()?.inbound;
        let is_open = self.open.has(inbound.turn);
        if !is_open && self.room(inbound.channel) == 0 {
            return None;
        }
        let readmission = self.wish.take()?;
        if !is_open {
            let answer = readmission.answered.as_ref().and_then(|open| open.rep.as_ref());
            let weight = answer.map_or(0, |answer| reply_weight(&answer.asst, &answer.parts));
            self.take_credit(&readmission.inbound, weight);
        }
        Some(Action::Readmit(readmission))
    }

    fn receipt(&mut self, inbound: &Inbound) {
        let receipt = |origin| Action::Receipt { channel: inbound.channel, origin };
        self.actions.extend(inbound.origin.map(receipt));
    }

    /// The message is a copy; nothing more happens to it.
    pub fn on_duplicate(&mut self, inbound: &Inbound) {
        self.receipt(inbound);
        self.admitted = self.admitted.saturating_sub(1);
        self.open.give_back(inbound.turn);
    }

    /// The answer is durable and holds `weight` bytes until it is delivered.
    pub fn on_replied(&mut self, turn: TurnId, weight: usize) {
        self.controls.on_replied(turn);
        let Some(session) = self.open.on_replied(turn, weight) else { return };
        self.suspects.remove(&turn);
        // A refusal is a reply, too, but nothing of its session was running for it.
        if self.running.remove(&turn) && self.waiting.contains_key(&session) {
            self.ready.push_back(session);
        }
    }

    /// The turn is closed; its credit comes later.
    pub fn on_closed(&mut self, turn: TurnId) {
        self.open.on_closed(turn);
    }

    /// The turn is closed and settled.
    pub fn on_delivered(&mut self, turn: TurnId) {
        // A turn that recovery closed was never ours to count.
        self.delivered += u64::from(self.open.is_ours(turn));
        self.open.give_back(turn);
    }

    /// What to do now, one at a time.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions
            .pop_front()
            .or_else(|| self.start_control())
            .or_else(|| self.readmit())
            .or_else(|| self.start_next().map(Action::Start))
    }

    fn take_credit(&mut self, inbound: &Inbound, reply_weight: usize) {
        self.admitted += 1;
        self.open.take(inbound, reply_weight);
    }

    fn enqueue(&mut self, job: Job) {
        let session = job.inbound.session().stem().to_owned();
        if job.interrupted > 0 {
            self.suspects.insert(job.inbound.turn);
        }
        let busy = self.running.iter().any(|turn| self.open.is_of_session(*turn, &session));
        let queue = self.waiting.entry(session.clone()).or_default();
        queue.push_back(job);
        if queue.len() == 1 && !busy {
            self.ready.push_back(session);
        }
    }

    fn start_next(&mut self) -> Option<Job> {
        let most = if self.suspects.is_empty() { self.limits.workers } else { 1 };
        if self.running.len() >= most || self.open.reply_bytes() + REPLY_WEIGHT_MAX > REPLIES_BYTES_MAX {
            return None;
        }
        let at = self.ready.iter().position(|session| self.may_start(session))?;
        let session = self.ready.remove(at)?;
        let queue = self.waiting.get_mut(&session)?;
        let job = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&session);
        }
        self.open.reserve(job.inbound.turn, REPLY_WEIGHT_MAX);
        self.running.insert(job.inbound.turn);
        Some(job)
    }

    /// While there are suspects, only sessions that have one behind nothing but themselves or other turns of theirs.
    fn may_start(&self, session: &str) -> bool {
        let is_suspect = |job: &Job| self.suspects.contains(&job.inbound.turn);
        let has_suspect = || self.waiting.get(session).is_some_and(|queue| queue.iter().any(is_suspect));
        !self.controls.bars(session) && (self.suspects.is_empty() || has_suspect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::message::Chat;
    use crate::base::rng::Rng;
    use crate::turn::control_lane::{CONTROL_WEIGHT_MAX, Seen};

    const LIMITS: Limits = Limits { workers: 2, credits: 4, messages_max: None };

    fn inbound(number: u64, chat: &str) -> Inbound {
        Inbound {
            turn: TurnId::mint(Wall(number), &mut Rng::from_seed(number)),
            channel: ChannelId::Telegram,
            account: 1,
            origin: Some(number),
            key: format!("{number}"),
            chat: Chat { id: chat.into(), thread: None },
            sender: "7".into(),
            text: format!("text {number}"),
            received: Wall(number),
            waited: None,
        }
    }

    fn accept(schedule: &mut Schedule, number: u64, chat: &str) {
        schedule.on_inbound(inbound(number, chat), Mono(0));
        schedule.on_accepted(Job { inbound: inbound(number, chat), interrupted: 0, carried_over: false });
    }

    /// The origins of the turns that start now.
    fn started(schedule: &mut Schedule) -> Vec<u64> {
        let mut origins = Vec::new();
        while let Some(action) = schedule.next_action() {
            if let Action::Start(job) = action {
                origins.extend(job.inbound.origin);
            }
        }
        origins
    }

    fn turn(number: u64) -> TurnId {
        inbound(number, "").turn
    }

    #[test]
    fn a_session_has_one_turn_at_a_time_and_sessions_take_turns() {
        let mut schedule = Schedule::new(LIMITS);
        for (number, chat) in [(1, "10"), (2, "10"), (3, "20")] {
            accept(&mut schedule, number, chat);
        }
        assert_eq!(started(&mut schedule), [1, 3]);
        schedule.on_replied(turn(1), 10);
        assert_eq!(started(&mut schedule), [2]);
    }

    #[test]
    fn a_channel_without_credits_is_not_listened_to_until_one_returns() {
        let mut schedule = Schedule::new(LIMITS);
        (1..=4).for_each(|number| accept(&mut schedule, number, &format!("{number}0")));
        assert_eq!(schedule.room(ChannelId::Telegram), 0);
        assert_eq!(started(&mut schedule), [1, 2]);
        schedule.on_replied(turn(1), 5);
        assert_eq!(schedule.room(ChannelId::Telegram), 0);
        schedule.on_delivered(turn(1));
        assert_eq!(schedule.room(ChannelId::Telegram), 1);
    }

    #[test]
    fn a_copy_gives_its_credit_back_and_gets_its_receipt() {
        let mut schedule = Schedule::new(LIMITS);
        let copy = inbound(1, "10");
        schedule.on_inbound(copy.clone(), Mono(0));
        assert_eq!(schedule.next_action(), Some(Action::Accept(copy.clone())));
        schedule.on_duplicate(&copy);
        assert_eq!(schedule.next_action(), Some(Action::Receipt { channel: ChannelId::Telegram, origin: 1 }));
        assert_eq!((schedule.next_action(), schedule.room(ChannelId::Telegram)), (None, 4));
    }

    #[test]
    fn a_chat_with_too_many_open_turns_is_refused_and_told_now_and_then() {
        let mut schedule = Schedule::new(Limits { credits: 256, ..LIMITS });
        (1..=32).for_each(|number| accept(&mut schedule, number, "10"));
        accept(&mut schedule, 33, "20");
        assert_eq!(started(&mut schedule), [1, 33]);
        for (number, now, want) in [(34, 0, true), (35, 9_999, false), (36, 10_000, true)] {
            schedule.on_inbound(inbound(number, "10"), Mono(now));
            assert!(matches!(schedule.next_action(), Some(Action::Refuse { told, .. }) if told == want), "{number}");
        }
        schedule.on_replied(turn(34), 9);
        assert!(started(&mut schedule).is_empty());
    }

    /// A session file that cannot be written to delays the messages of its chat; it does not have them refused.
    #[test]
    fn a_turn_that_is_closed_and_owed_counts_against_the_credits_and_not_against_its_chat() {
        let mut schedule = Schedule::new(Limits { credits: 40, ..LIMITS });
        (1..=32).for_each(|number| accept(&mut schedule, number, "10"));
        (1..=32).for_each(|number| schedule.on_closed(turn(number)));
        (33..=40).for_each(|number| accept(&mut schedule, number, "10"));
        assert_eq!(schedule.room(ChannelId::Telegram), 0);
        (1..=32).for_each(|number| schedule.on_delivered(turn(number)));
        assert_eq!(schedule.room(ChannelId::Telegram), 32);
    }

    #[test]
    fn what_ended_a_process_runs_alone_and_first() {
        let mut schedule = Schedule::new(LIMITS);
        for (number, interrupted) in [(1, 0), (2, 1), (3, 2)] {
            let inbound = inbound(number, &format!("{number}0"));
            schedule.on_reopened(Job { inbound, interrupted, carried_over: true }, None);
        }
        assert_eq!(started(&mut schedule), [2]);
        schedule.on_replied(turn(2), 5);
        assert_eq!(started(&mut schedule), [3]);
        schedule.on_replied(turn(3), 5);
        assert_eq!(started(&mut schedule), [1]);
    }

    fn say(schedule: &mut Schedule, number: u64, chat: &str, text: &str) {
        let inbound = Inbound { text: text.to_owned(), ..inbound(number, chat) };
        schedule.on_inbound(inbound.clone(), Mono(0));
        schedule.on_accepted(Job { inbound, interrupted: 0, carried_over: false });
    }

    /// What is done now, in short.
    fn done(schedule: &mut Schedule) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(action) = schedule.next_action() {
            let number = |inbound: &Inbound| inbound.origin.unwrap_or(0);
            done.extend(match action {
                Action::Start(job) => Some(format!("start {}", number(&job.inbound))),
                Action::Control(order) => {
                    let Seen { stopped, dropped, .. } = order.seen;
                    Some(format!("{} {stopped} {dropped}", order.control.name()))
                }
                Action::Stop { turn: stopped, .. } => {
                    (1..99).find(|number| turn(*number) == stopped).map(|number| format!("stop {number}"))
                }
                Action::Drop(inbound) => Some(format!("drop {}", number(&inbound))),
                Action::Refuse { inbound, .. } => Some(format!("refuse {}", number(&inbound))),
                Action::Accept(_) | Action::Readmit(_) | Action::Receipt { .. } => None,
            });
        }
        done
    }

    #[test]
    fn a_word_for_the_program_passes_what_runs_and_what_waits() {
        let mut schedule = Schedule::new(Limits { workers: 1, credits: 99, messages_max: None });
        say(&mut schedule, 1, "10", "one");
        say(&mut schedule, 2, "10", "two");
        say(&mut schedule, 3, "20", "three");
        say(&mut schedule, 4, "10", "/status");
        say(&mut schedule, 5, "20", "/help");
        assert_eq!(done(&mut schedule), ["/status false 0", "start 1"]);
        schedule.on_replied(turn(4), 5);
        assert_eq!(done(&mut schedule), ["/help false 0"], "one at a time");
        // Also past a chat that is full and replies that cannot be delivered.
        (6..=40).for_each(|number| say(&mut schedule, number, "10", "more"));
        done(&mut schedule);
        let others = schedule.open.reply_bytes() - CONTROL_WEIGHT_MAX;
        schedule.on_replied(turn(5), REPLIES_BYTES_MAX - others);
        say(&mut schedule, 41, "10", "/status");
        say(&mut schedule, 42, "20", "/last");
        assert_eq!(done(&mut schedule), ["/status false 0"]);
        schedule.on_replied(turn(41), 5);
        assert_eq!(done(&mut schedule), [""; 0], "an answer that is repeated needs room");
        schedule.on_delivered(turn(5));
        assert_eq!(done(&mut schedule), ["/last false 0"]);
    }

    #[test]
    fn a_stop_ends_what_came_before_it_in_its_chat_and_is_answered_then() {
        let mut schedule = Schedule::new(Limits { workers: 2, credits: 99, messages_max: None });
        for (number, chat) in [(1, "10"), (2, "10"), (3, "20"), (4, "20")] {
            say(&mut schedule, number, chat, "question");
        }
        assert_eq!(done(&mut schedule), ["start 1", "start 3"]);
        say(&mut schedule, 5, "10", "/stop");
        say(&mut schedule, 6, "10", "after it");
        assert_eq!(done(&mut schedule), ["stop 1"]);
        schedule.on_replied(turn(1), 5);
        assert_eq!(done(&mut schedule), ["drop 2", "/stop true 1"], "what came after it waits for its answer");
        schedule.on_replied(turn(2), 5);
        assert_eq!(done(&mut schedule), [""; 0]);
        schedule.on_replied(turn(5), 5);
        assert_eq!(done(&mut schedule), ["start 6"]);
        // The answer was known before the order came.
        say(&mut schedule, 7, "20", "/new");
        assert_eq!(done(&mut schedule), ["stop 3"]);
        schedule.on_too_late(turn(3));
        schedule.on_replied(turn(3), 5);
        assert_eq!(done(&mut schedule), ["drop 4", "/new false 1"]);
        [6, 7].into_iter().for_each(|number| schedule.on_replied(turn(number), 5));
        (1..=7).for_each(|number| schedule.on_delivered(turn(number)));
        assert_eq!((schedule.room(ChannelId::Telegram), schedule.open.reply_bytes()), (99, 0));
        assert!(schedule.waiting.is_empty() && schedule.ready.is_empty() && schedule.running.is_empty());
    }

    #[test]
    fn after_a_start_a_stop_ends_what_was_open_before_it() {
        let mut schedule = Schedule::new(LIMITS);
        for (number, text, interrupted) in [(1, "x", 1), (2, "/stop", 0), (3, "y", 0)] {
            let inbound = Inbound { text: text.to_owned(), ..inbound(number, "10") };
            schedule.on_reopened(Job { inbound, interrupted, carried_over: true }, None);
        }
        assert_eq!(done(&mut schedule), ["drop 1", "/stop false 1"]);
        schedule.on_replied(turn(2), 5);
        assert_eq!(done(&mut schedule), ["start 3"], "what was dropped is suspected of nothing");
    }

    #[test]
    fn words_beyond_their_number_are_refused_like_messages() {
        let mut schedule = Schedule::new(Limits { workers: 1, credits: 99, messages_max: None });
        (1..=32).for_each(|number| say(&mut schedule, number, "10", "x"));
        (33..=40).for_each(|number| say(&mut schedule, number, "10", "/help"));
        done(&mut schedule);
        schedule.on_inbound(Inbound { text: "/help".to_owned(), ..inbound(41, "10") }, Mono(0));
        assert_eq!(done(&mut schedule), ["refuse 41"]);
    }

    #[test]
    fn undelivered_replies_hold_back_new_turns() {
        let mut schedule = Schedule::new(Limits { workers: 64, credits: 256, messages_max: None });
        (1..=40).for_each(|number| accept(&mut schedule, number, &format!("{number}0")));
        let at_once = started(&mut schedule);
        assert_eq!(at_once.len(), REPLIES_BYTES_MAX / REPLY_WEIGHT_MAX);
        // What they hold in the end, 20 KB each, takes the place of two turns.
        at_once.iter().for_each(|number| schedule.on_replied(turn(*number), 20_000));
        assert_eq!(started(&mut schedule).len(), REPLIES_BYTES_MAX / REPLY_WEIGHT_MAX - 2);
    }

    /// A journal file begins with everything that is open, so that has to fit.
    #[test]
    fn everything_that_may_be_open_fits_into_a_journal_file() {
        use crate::base::message::{INBOUND_BYTES_MAX, RECORD_BYTES};
        use crate::store::{journal_files::FILE_BYTES, ring::RING_KEYS_MAX};
        // One message and one reply may pass a limit that was not reached before them; control characters take six bytes.
        let messages = OPEN_BYTES_MAX + 6 * INBOUND_BYTES_MAX + RECORD_BYTES;
        let replies = REPLIES_BYTES_MAX + REPLY_WEIGHT_MAX + CONTROLS_BYTES_MAX;
        let rest = 16 * RING_KEYS_MAX + 64 * 1024;
        assert!((messages + replies + rest) as u64 <= FILE_BYTES, "{}", messages + replies + rest);
    }

    #[test]
    fn a_turn_that_an_earlier_process_closed_takes_room_and_counts_for_nothing() {
        let mut schedule = Schedule::new(Limits { messages_max: Some(1), ..LIMITS });
        let held = |number| Held { inbound: inbound(number, "a"), weight: 7 };
        (1..=3).for_each(|number| schedule.on_held(&held(number)));
        assert_eq!((schedule.room(ChannelId::Telegram), schedule.open.reply_bytes()), (1, 21));
        accept(&mut schedule, 4, "a");
        assert_eq!((started(&mut schedule), schedule.room(ChannelId::Telegram)), (vec![4], 0));
        (1..=3).for_each(|number| schedule.on_delivered(turn(number)));
        assert!(!schedule.is_finished(), "only what was asked of this process counts");
        schedule.on_replied(turn(4), 7);
        schedule.on_delivered(turn(4));
        assert!(schedule.is_finished() && schedule.open.reply_bytes() == 0);
    }

    #[test]
    fn a_bounded_run_takes_no_message_too_many() {
        let mut schedule = Schedule::new(Limits { messages_max: Some(2), ..LIMITS });
        let reopened = inbound(1, "10");
        schedule.on_reopened(Job { inbound: reopened, interrupted: 0, carried_over: true }, Some(3));
        assert_eq!(schedule.room(ChannelId::Telegram), 1);
        accept(&mut schedule, 2, "20");
        assert_eq!(schedule.room(ChannelId::Telegram), 0);
        schedule.on_delivered(turn(1));
        assert!(!schedule.is_finished());
        schedule.on_delivered(turn(2));
        assert!(schedule.is_finished());
    }
}
