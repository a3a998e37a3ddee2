//! [`Lanes`]: replies on their way out. First in first out for each chat; a chat that must wait is set aside with its
//! time while others go on. Nothing is ever stepped over within a chat.
//!
//! A send whose outcome is unknown (the request may have arrived) is repeated with a mark in front, so that a person
//! can tell, or replaced by a notice, as [`Mode`] says; after [`RESENDS_MAX`] repeats by one process the reply is given up. Repeats because a process ended within
//! the send are no sign that it will go wrong again, so over all processes [`RESENDS_EVER_MAX`] are allowed. A send that certainly did nothing is tried again for
//! as long as it takes: a reply on disk is never dropped because a network is down.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::TurnId;
use crate::base::message::{Chat, Mode, Outbound, Outcome};
use crate::base::rng::Rng;
use crate::net::backoff::upper_half;

/// Stands before a text that may have been delivered before.
pub const REPEAT_MARK: &str = "↻ (may be a repeat)\n";

/// Stands for a text that may have been delivered before and must not be twice.
pub const NOTICE: &str = "An answer, or a part of one, may not have reached you. Please ask again if it is missing.";

/// Repeats of one part by one process.
pub const RESENDS_MAX: u8 = 2;

/// Repeats of one part by all processes: ends what a crash loop would repeat without end.
pub const RESENDS_EVER_MAX: u8 = 20;

/// Between two parts of one chat: the platform allows about one message a second there.
pub const PART_SPACING: Duration = Duration::from_millis(1050);

/// Ceiling of the first delay after a failed send, and of every delay.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// Before the first repeat of a send whose outcome is unknown, and before the second: a server in trouble is given time
/// to recover before its last chance.
const REPEAT_DELAYS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// Sends in a row that a server in trouble may fail, over all chats, before everything waits; and for how long.
const TROUBLE_TOLERATED: u32 = 2;
const TROUBLE_BASE: Duration = Duration::from_secs(10);
const TROUBLE_CAP: Duration = Duration::from_secs(60);

/// Moves of one reply to another chat id; a chat moves once in its life.
const MOVES_MAX: u8 = 2;

/// A server that asks for more patience than this gets this.
const THROTTLE_MAX: Duration = Duration::from_secs(3600);

/// What to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The turn.
    pub turn: TurnId,
    /// Where to.
    pub chat: Chat,
    /// The part.
    pub part: u16,
    /// Its text, marked if need be.
    pub text: String,
    /// How often this part is sent again after an unknown outcome.
    pub resends: u8,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was confirmed.
    Confirmed {
        /// The channel's id of the message.
        message_id: i64,
    },
    /// It certainly did nothing; try again.
    Nothing {
        /// Not before this, if the server said so.
        after: Option<Duration>,
    },
    /// It may have arrived.
    Unknown,
    /// It can never succeed.
    Refused {
        /// Why, in our words.
        why: String,
    },
    /// It did nothing, because the chat has a new id.
    Moved {
        /// The new id.
        chat: String,
    },
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The part was confirmed.
    Sent {
        /// The part.
        part: u16,
        /// The channel's id of the message.
        message_id: i64,
    },
    /// This attempt at the part certainly did nothing.
    Unsent {
        /// The part.
        part: u16,
        /// Whether an earlier attempt may have arrived.
        ambiguous: bool,
        /// Repeats that count.
        resends: u8,
    },
    /// The reply is done with.
    Close {
        /// How.
        outcome: Outcome,
        /// Why, for a dead letter.
        why: String,
    },
}

impl Report {
    /// Of a reply that was repeated often enough.
    pub fn given_up() -> Report {
        Report::Close { outcome: Outcome::Dead, why: "its delivery stayed unknown too often".to_owned() }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Attempt),
    /// Close this turn as dead: its part was repeated often enough.
    GiveUp {
        /// The turn.
        turn: TurnId,
        /// Whose first reply it is.
        chat: String,
    },
    /// Nothing before this time, or before something new comes.
    Wait {
        /// `None`: there is nothing to send.
        until: Option<Mono>,
    },
}

#[derive(Clone, Debug)]
struct Waiting {
    outbound: Outbound,
    failures: u32,
    repeated: bool,
    /// Repeats of the current part by this process.
    resends: u8,
    moves: u8,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    queue: VecDeque<Waiting>,
    not_before: Mono,
}

/// All chats of one sender.
#[derive(Clone, Debug)]
pub struct Lanes {
    lanes: HashMap<String, Lane>,
    /// Chats with replies, in the order they are looked at.
    order: VecDeque<String>,
    /// Sends in a row that failed for no reason of their chat.
    trouble: u32,
    /// Until then nothing is sent, because the server is in trouble.
    not_before: Mono,
    mode: Mode,
    rng: Rng,
}

impl Lanes {
    /// Nothing to send.
    pub fn new(mode: Mode, rng: Rng) -> Lanes {
        Lanes { lanes: HashMap::new(), order: VecDeque::new(), trouble: 0, not_before: Mono(0), mode, rng }
    }

    /// A durable reply.
    pub fn push(&mut self, outbound: Outbound) {
        let repeated = outbound.resends > 0;
        self.enqueue(Waiting { outbound, failures: 0, repeated, resends: 0, moves: 0 });
    }

    fn enqueue(&mut self, waiting: Waiting) {
        let chat = waiting.outbound.chat.id.clone();
        let lane = self.lanes.entry(chat.clone()).or_default();
        if lane.queue.is_empty() {
            self.order.push_back(chat);
        }
        lane.queue.push_back(waiting);
    }

    /// What to do at `now`. A chat whose attempt has not been reported gets no other one; other chats may.
    pub fn step(&mut self, now: Mono) -> Step {
        if now < self.not_before && !self.order.is_empty() {
            return Step::Wait { until: Some(self.not_before) };
        }
        let ready = self.order.iter().position(|chat| self.lanes.get(chat).is_some_and(|lane| lane.not_before <= now));
        let Some(at) = ready else {
            let until = self.order.iter().filter_map(|chat| self.lanes.get(chat)).map(|lane| lane.not_before).min();
            return Step::Wait { until };
        };
        // The chat goes to the back, so that a long reply does not hold up others.
        let chat = self.order.remove(at).expect("the position was just found");
        let lane = self.lanes.get_mut(&chat).expect("a chat in the order has a lane");
        self.order.push_back(chat);
        let waiting = lane.queue.front_mut().expect("a chat in the order has a reply");
        let step = attempt(waiting, self.mode);
        lane.not_before = Mono(u64::MAX);
        step
    }

    /// Whether there is something to send at `now`.
    pub fn is_ready(&self, now: Mono) -> bool {
        self.not_before <= now && self.lanes.values().any(|lane| lane.not_before <= now)
    }

    /// What came of the attempt for `chat`; returns what to record, in order.
    pub fn on_sent(&mut self, chat: &str, sent: Sent, now: Mono) -> Vec<Report> {
        self.note_trouble(&sent, now);
        self.settle(chat, sent, now)
    }

    /// The link over which the attempt for `chat` went is gone, so nobody knows what came of it. That is no sign of a
    /// server in trouble.
    pub fn on_link_lost(&mut self, chat: &str, now: Mono) {
        self.settle(chat, Sent::Unknown, now);
    }

    fn settle(&mut self, chat: &str, sent: Sent, now: Mono) -> Vec<Report> {
        let Some(lane) = self.lanes.get_mut(chat) else { return Vec::new() };
        let Some(waiting) = lane.queue.front_mut() else { return Vec::new() };
        let part = waiting.outbound.next;
        match sent {
            Sent::Confirmed { message_id } => {
                let was_notice = waiting.outbound.ambiguous && self.mode == Mode::AtMostOnce;
                waiting.outbound.next += 1;
                waiting.outbound.ambiguous = waiting.outbound.other_boot;
                if was_notice && waiting.outbound.other_boot {
                    // Nobody knows which of the other parts arrived; the notice speaks for all of them.
                    waiting.outbound.next = u16::try_from(waiting.outbound.parts.len()).unwrap_or(u16::MAX);
                }
                (waiting.outbound.resends, waiting.resends) = (0, 0);
                lane.not_before = now.after(PART_SPACING);
                let mut reports = vec![Report::Sent { part, message_id }];
                if usize::from(waiting.outbound.next) >= waiting.outbound.parts.len() {
                    reports.push(Report::Close { outcome: waiting.outcome(self.mode), why: String::new() });
                    self.finish(chat);
                }
                reports
            }
            Sent::Nothing { after } => {
                waiting.failures += 1;
                let delay = after.map(|after| after.min(THROTTLE_MAX)).map(|after| after + self.rng.jitter(after / 10));
                lane.not_before = now.after(
                    delay.unwrap_or_else(|| upper_half(BACKOFF_BASE, BACKOFF_CAP, waiting.failures, &mut self.rng)),
                );
                vec![waiting.unsent(part)]
            }
            Sent::Unknown => {
                waiting.failures += 1;
                waiting.outbound.ambiguous = !cfg!(rp_break = "retry_on_timeout");
                let delay = REPEAT_DELAYS[usize::from(waiting.resends).min(REPEAT_DELAYS.len() - 1)];
                lane.not_before = now.after(delay + self.rng.jitter(delay / 10));
                Vec::new()
            }
            Sent::Moved { chat: new } if new != chat && waiting.moves < MOVES_MAX => self.moved(chat, &new, part),
            Sent::Moved { .. } => self.refused(chat, "the chat moves without end".to_owned()),
            Sent::Refused { why } => self.refused(chat, why),
        }
    }

    /// A failure that names no time for its chat is the server's: after some in a row everything waits, so that a storm
    /// costs a few requests a minute and not a few for every chat.
    fn note_trouble(&mut self, sent: &Sent, now: Mono) {
        match sent {
            Sent::Unknown | Sent::Nothing { after: None } => self.trouble += 1,
            Sent::Nothing { .. } => {}
            Sent::Confirmed { .. } | Sent::Refused { .. } | Sent::Moved { .. } => self.trouble = 0,
        }
        if self.trouble >= TROUBLE_TOLERATED {
            let failures = self.trouble - TROUBLE_TOLERATED + 1;
            self.not_before = now.after(upper_half(TROUBLE_BASE, TROUBLE_CAP, failures, &mut self.rng));
        }
    }

    /// Nothing was sent, which a person who lets it be tried again must be able to rely on.
    fn refused(&mut self, chat: &str, why: String) -> Vec<Report> {
        let waiting = self.lanes.get_mut(chat).and_then(|lane| lane.queue.front_mut());
        let unsent = waiting.map(|waiting| waiting.unsent(waiting.outbound.next));
        self.finish(chat);
        unsent.into_iter().chain([Report::Close { outcome: Outcome::Dead, why }]).collect()
    }

    /// The first reply of a chat is given up.
    pub fn on_given_up(&mut self, chat: &str) {
        self.finish(chat);
    }

    fn moved(&mut self, old: &str, new: &str, part: u16) -> Vec<Report> {
        let Some(mut lane) = self.lanes.remove(old) else { return Vec::new() };
        self.order.retain(|chat| chat != old);
        let report = lane.queue.front_mut().map(|waiting| waiting.unsent(part));
        for mut waiting in lane.queue {
            waiting.outbound.chat.id = new.to_owned();
            waiting.moves += 1;
            self.enqueue(waiting);
        }
        report.into_iter().collect()
    }

    fn finish(&mut self, chat: &str) {
        let Some(lane) = self.lanes.get_mut(chat) else { return };
        lane.queue.pop_front();
        lane.not_before = Mono(0);
        if lane.queue.is_empty() {
            self.lanes.remove(chat);
            self.order.retain(|waiting| waiting != chat);
        }
    }
}

impl Waiting {
    /// The attempt did nothing, so it does not count as a repeat; whether an earlier one arrived is as unknown as before.
    fn unsent(&mut self, part: u16) -> Report {
        let outbound = &mut self.outbound;
        outbound.resends = outbound.resends.saturating_sub(1);
        self.resends = self.resends.saturating_sub(1);
        Report::Unsent { part, ambiguous: outbound.ambiguous, resends: outbound.resends }
    }

    fn outcome(&self, mode: Mode) -> Outcome {
        match (self.repeated, self.failures) {
            (true, _) if mode == Mode::AtMostOnce => Outcome::AmbiguousNotice,
            (true, _) => Outcome::AmbiguousResent,
            (false, 0) => Outcome::Sent,
            (false, _) => Outcome::SentAfterRetry,
        }
    }
}

fn attempt(waiting: &mut Waiting, mode: Mode) -> Step {
    let outbound = &mut waiting.outbound;
    if outbound.ambiguous {
        if waiting.resends >= RESENDS_MAX || outbound.resends >= RESENDS_EVER_MAX {
            return Step::GiveUp { turn: outbound.turn, chat: outbound.chat.id.clone() };
        }
        outbound.resends += 1;
        waiting.resends += 1;
        waiting.repeated = true;
    }
    let part = outbound.parts.get(usize::from(outbound.next)).map_or("", String::as_str);
    let text = match (outbound.ambiguous, mode) {
        (false, _) => part.to_owned(),
        (true, Mode::AtLeastOnce) => format!("{REPEAT_MARK}{part}"),
        (true, Mode::AtMostOnce) => format!("{NOTICE} (ref {})", outbound.turn),
    };
    Step::Send(Attempt {
        turn: outbound.turn,
        chat: outbound.chat.clone(),
        part: outbound.next,
        text,
        resends: outbound.resends,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::id::ChannelId;

    fn outbound(number: u64, chat: &str, parts: &[&str]) -> Outbound {
        Outbound {
            turn: TurnId::mint(Wall(number), &mut Rng::from_seed(number)),
            channel: ChannelId::Telegram,
            chat: Chat { id: chat.into(), thread: None },
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            next: 0,
            ambiguous: false,
            other_boot: false,
            resends: 0,
        }
    }

    fn lanes(replies: &[(u64, &str, &[&str])]) -> Lanes {
        let mut lanes = Lanes::new(Mode::AtLeastOnce, Rng::from_seed(1));
        replies.iter().for_each(|(number, chat, parts)| lanes.push(outbound(*number, chat, parts)));
        lanes
    }

    #[track_caller]
    fn text(lanes: &mut Lanes, now: u64) -> String {
        match lanes.step(Mono(now)) {
            Step::Send(attempt) => attempt.text,
            step => panic!("nothing to send: {step:?}"),
        }
    }

    const CONFIRMED: Sent = Sent::Confirmed { message_id: 1 };

    #[test]
    fn a_chat_that_must_wait_is_set_aside_and_never_stepped_over() {
        let mut lanes = lanes(&[(1, "a", &["a1"]), (2, "a", &["a2"]), (3, "b", &["b1"])]);
        assert_eq!(text(&mut lanes, 0), "a1");
        lanes.on_sent("a", Sent::Nothing { after: Some(Duration::from_secs(9)) }, Mono(0));
        assert_eq!(text(&mut lanes, 0), "b1");
        lanes.on_sent("b", CONFIRMED, Mono(0));
        assert!(matches!(lanes.step(Mono(8999)), Step::Wait { until: Some(Mono(9000..)) }));
        assert_eq!(text(&mut lanes, 10_000), "a1");
        lanes.on_sent("a", CONFIRMED, Mono(10_000));
        assert_eq!(text(&mut lanes, 10_000), "a2");
    }

    #[test]
    fn parts_of_a_chat_are_spaced_and_the_last_one_closes() {
        let mut lanes = lanes(&[(1, "a", &["1", "2"])]);
        assert_eq!(text(&mut lanes, 0), "1");
        assert_eq!(lanes.on_sent("a", CONFIRMED, Mono(0)), [Report::Sent { part: 0, message_id: 1 }]);
        assert_eq!(lanes.step(Mono(0)), Step::Wait { until: Some(Mono(1050)) });
        assert_eq!(text(&mut lanes, 1050), "2");
        let reports = lanes.on_sent("a", CONFIRMED, Mono(1050));
        assert_eq!(reports[1], Report::Close { outcome: Outcome::Sent, why: String::new() });
        assert_eq!(lanes.step(Mono(1050)), Step::Wait { until: None });
    }

    #[test]
    fn only_what_may_have_arrived_is_marked_and_it_is_given_up_in_the_end() {
        let mut lanes = lanes(&[(1, "a", &["x"])]);
        let marked = format!("{REPEAT_MARK}x");
        assert_eq!(text(&mut lanes, 0), "x");
        lanes.on_sent("a", Sent::Nothing { after: None }, Mono(0));
        assert_eq!(text(&mut lanes, 100_000), "x");
        lanes.on_sent("a", Sent::Unknown, Mono(100_000));
        assert_eq!(text(&mut lanes, 200_000), marked);
        // A repeat that certainly did nothing does not count.
        assert_eq!(
            lanes.on_sent("a", Sent::Nothing { after: None }, Mono(200_000)),
            [Report::Unsent { part: 0, ambiguous: true, resends: 0 }]
        );
        for now in [300_000, 400_000] {
            assert_eq!(text(&mut lanes, now), marked);
            lanes.on_sent("a", Sent::Unknown, Mono(now));
        }
        assert!(matches!(lanes.step(Mono(500_000)), Step::GiveUp { .. }));
        lanes.on_given_up("a");
        assert_eq!(lanes.step(Mono(500_000)), Step::Wait { until: None });
    }

    #[test]
    fn a_repeat_that_is_confirmed_says_so_and_the_next_part_is_plain() {
        let mut lanes = lanes(&[(1, "a", &["x", "y"])]);
        text(&mut lanes, 0);
        lanes.on_sent("a", Sent::Unknown, Mono(0));
        text(&mut lanes, 60_000);
        lanes.on_sent("a", CONFIRMED, Mono(60_000));
        assert_eq!(text(&mut lanes, 90_000), "y");
        let reports = lanes.on_sent("a", CONFIRMED, Mono(90_000));
        assert_eq!(reports[1], Report::Close { outcome: Outcome::AmbiguousResent, why: String::new() });
    }

    #[test]
    fn after_a_power_cut_every_part_is_marked() {
        let mut lanes = Lanes::new(Mode::AtLeastOnce, Rng::from_seed(1));
        lanes.push(Outbound { ambiguous: true, other_boot: true, ..outbound(1, "a", &["x", "y"]) });
        for (now, part) in [(0, "x"), (2000, "y")] {
            assert_eq!(text(&mut lanes, now), format!("{REPEAT_MARK}{part}"));
            lanes.on_sent("a", CONFIRMED, Mono(now));
        }
    }

    #[test]
    fn a_server_in_trouble_is_asked_a_few_times_a_minute_and_not_for_every_chat() {
        for seed in 0..200 {
            let mut lanes = Lanes::new(Mode::AtLeastOnce, Rng::from_seed(seed));
            (0..50).for_each(|number| lanes.push(outbound(number, &format!("chat {number}"), &["x"])));
            let (mut now, mut sends) = (Mono(0), 0);
            while now < Mono(60_000) {
                match lanes.step(now) {
                    Step::Send(attempt) => {
                        sends += 1;
                        lanes.on_sent(&attempt.chat.id, Sent::Nothing { after: None }, now);
                    }
                    Step::Wait { until } => now = until.expect("there is something to send"),
                    Step::GiveUp { .. } => panic!("nothing was sent"),
                }
            }
            assert!(sends <= 6, "seed {seed}: {sends} by one of two senders");
        }
    }

    #[test]
    fn a_refused_reply_makes_way_and_a_moved_chat_is_followed() {
        let mut lanes = lanes(&[(1, "a", &["1"]), (2, "a", &["2"])]);
        text(&mut lanes, 0);
        let reports = lanes.on_sent("a", Sent::Refused { why: "blocked".into() }, Mono(0));
        assert_eq!(reports[0], Report::Unsent { part: 0, ambiguous: false, resends: 0 });
        assert!(matches!(reports[1..], [Report::Close { outcome: Outcome::Dead, .. }]), "{reports:?}");
        assert_eq!(text(&mut lanes, 0), "2");
        lanes.on_sent("a", Sent::Moved { chat: "b".into() }, Mono(0));
        assert!(matches!(lanes.step(Mono(0)), Step::Send(Attempt { chat, .. }) if chat.id == "b"));
        lanes.on_sent("b", Sent::Moved { chat: "c".into() }, Mono(0));
        text(&mut lanes, 0);
        let reports = lanes.on_sent("c", Sent::Moved { chat: "b".into() }, Mono(0));
        assert!(matches!(&reports[1..], [Report::Close { outcome: Outcome::Dead, .. }]), "{reports:?}");
    }

    #[test]
    fn a_text_that_must_not_arrive_twice_is_replaced_by_a_notice() {
        let mut lanes = Lanes::new(Mode::AtMostOnce, Rng::from_seed(1));
        lanes.push(outbound(1, "a", &["x", "y"]));
        assert_eq!(text(&mut lanes, 0), "x");
        lanes.on_sent("a", Sent::Unknown, Mono(0));
        assert!(text(&mut lanes, 60_000).starts_with(NOTICE));
        lanes.on_sent("a", CONFIRMED, Mono(60_000));
        assert_eq!(text(&mut lanes, 90_000), "y", "this part was never tried");
        let reports = lanes.on_sent("a", CONFIRMED, Mono(90_000));
        assert_eq!(reports[1], Report::Close { outcome: Outcome::AmbiguousNotice, why: String::new() });

        lanes.push(Outbound { ambiguous: true, other_boot: true, ..outbound(2, "a", &["x", "y", "z"]) });
        assert!(text(&mut lanes, 100_000).starts_with(NOTICE));
        let reports = lanes.on_sent("a", CONFIRMED, Mono(100_000));
        assert_eq!(reports[1], Report::Close { outcome: Outcome::AmbiguousNotice, why: String::new() });
    }
}
