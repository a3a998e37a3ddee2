//! [`Outgoing`]: replies on their way through a bridge, and which answer of the bridge belongs to which. Pure.
//!
//! How a send is confirmed depends on what the bridge speaks:
//! - v2: by `sent` with the id of the send; several may be under way, and order does not matter;
//! - N: by `sent` without an id. One is under way at a time, so that no answer can be taken for another's;
//! - P confirms nothing, so a ping follows each message: what answers a ping has read what came before it.
//!
//! A send without an answer is given up together with the link, and may have arrived: it is repeated with a mark.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::TurnId;
use crate::base::message::Outbound;
use crate::channel::outbound::{Attempt, Lanes, Report, Sent, Step};
use crate::channel::whatsapp_frame::{Dialect, Failure};

/// Sends under way at the same time, where answers name theirs.
const UNDER_WAY_MAX: usize = 8;

/// So often a bridge may say in a row that a message was not sent; then it is given up. With the delays in between that
/// is about eight minutes, in which the bridge was connected all the time.
const ERRORS_MAX: u32 = 20;

/// How the answer to a send is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the next one.
    Next,
    /// It has this id.
    Id(String),
    /// It is the pong of this number.
    Pong(u64),
}

#[derive(Clone, Debug)]
struct UnderWay {
    chat: String,
    turn: TurnId,
    answer: Answer,
}

/// What to record of a turn.
pub type Reports = (TurnId, Vec<Report>);

/// Replies on their way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    lanes: Lanes,
    under_way: VecDeque<UnderWay>,
    /// Since when the first of these is the first: a bridge sends one after the other.
    first_since: Mono,
    errors: HashMap<TurnId, u32>,
    pings: u64,
}

impl Outgoing {
    /// Nothing to send.
    pub fn new(lanes: Lanes) -> Outgoing {
        Outgoing { lanes, under_way: VecDeque::new(), first_since: Mono(0), errors: HashMap::new(), pings: 0 }
    }

    /// A durable reply.
    pub fn push(&mut self, outbound: Outbound) {
        self.lanes.push(outbound);
    }

    /// What to send now, if another one may be under way.
    pub fn step(&mut self, now: Mono, dialect: Dialect, has_ids: bool) -> Step {
        let most = if dialect == Dialect::N && !has_ids { 1 } else { UNDER_WAY_MAX };
        if self.under_way.len() >= most {
            return Step::Wait { until: None };
        }
        self.lanes.step(now)
    }

    /// The first reply of a chat is given up.
    pub fn on_given_up(&mut self, turn: TurnId, chat: &str) {
        self.errors.remove(&turn);
        self.lanes.on_given_up(chat);
    }

    /// An attempt is about to be sent; how its answer will be known.
    pub fn begin(&mut self, attempt: &Attempt, dialect: Dialect, has_ids: bool, now: Mono) -> Answer {
        let answer = match dialect {
            _ if has_ids => Answer::Id(format!("{}/{}", attempt.turn, attempt.part)),
            Dialect::N => Answer::Next,
            Dialect::P => {
                self.pings += 1;
                Answer::Pong(self.pings)
            }
        };
        let (chat, turn) = (attempt.chat.id.clone(), attempt.turn);
        if self.under_way.is_empty() {
            self.first_since = now;
        }
        self.under_way.push_back(UnderWay { chat, turn, answer: answer.clone() });
        answer
    }

    /// Whether a reply could go now.
    pub fn is_ready(&self, now: Mono) -> bool {
        self.lanes.is_ready(now)
    }

    /// Whether answers are waited for.
    pub fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Whether the answer to the oldest is overdue.
    pub fn is_overdue(&self, now: Mono, limit: Duration) -> bool {
        self.is_waiting() && self.first_since.after(limit) <= now
    }

    /// `sent` came. `None`: it belongs to nothing.
    pub fn on_sent(&mut self, id: Option<String>, now: Mono) -> Option<Reports> {
        let one = self.take(id.as_deref(), now)?;
        self.errors.remove(&one.turn);
        Some(self.settle(one, Sent::Confirmed { message_id: 0 }, now))
    }

    /// A pong came. `None`: it belongs to nothing.
    pub fn on_pong(&mut self, number: u64, now: Mono) -> Option<Reports> {
        let at = self.under_way.iter().position(|one| one.answer == Answer::Pong(number))?;
        let one = self.remove(at, now)?;
        Some(self.settle(one, Sent::Confirmed { message_id: 0 }, now))
    }

    /// `error` came: what to record, whose chat it was, and what follows. `None`: it belongs to nothing.
    pub fn on_error(
        &mut self,
        id: Option<String>,
        failure: Failure,
        now: Mono,
    ) -> Option<(Reports, String, &'static str)> {
        let one = self.take(id.as_deref(), now)?;
        let errors = self.errors.entry(one.turn).or_default();
        *errors += 1;
        let is_enough = *errors >= ERRORS_MAX;
        let refused = |why: &str| (Sent::Refused { why: why.to_owned() }, "give_up");
        let (sent, action) = match failure {
            Failure::Refused => refused("refused by the bridge"),
            // That ends after a few repeats.
            Failure::Unconfirmed => (Sent::Unknown, "resend_marked"),
            Failure::NotSent if is_enough => refused("the bridge could not send it too often"),
            Failure::NotSent => (Sent::Nothing { after: None }, "retry"),
        };
        if action == "give_up" {
            self.errors.remove(&one.turn);
        }
        let chat = one.chat.clone();
        Some((self.settle(one, sent, now), chat, action))
    }

    /// The link is gone: what had no answer may have arrived.
    pub fn on_link_lost(&mut self, now: Mono) -> usize {
        let lost = std::mem::take(&mut self.under_way);
        lost.iter().for_each(|one| self.lanes.on_link_lost(&one.chat, now));
        lost.len()
    }

    /// What was answered with this id. A bridge without v2 may write an id of its own: what is next needs none.
    fn take(&mut self, id: Option<&str>, now: Mono) -> Option<UnderWay> {
        let is_it = |one: &UnderWay| match &one.answer {
            Answer::Id(own) => id == Some(own),
            Answer::Next => true,
            Answer::Pong(_) => false,
        };
        let at = self.under_way.iter().position(is_it)?;
        self.remove(at, now)
    }

    fn remove(&mut self, at: usize, now: Mono) -> Option<UnderWay> {
        if at == 0 {
            self.first_since = now;
        }
        self.under_way.remove(at)
    }

    fn settle(&mut self, one: UnderWay, sent: Sent, now: Mono) -> Reports {
        (one.turn, self.lanes.on_sent(&one.chat, sent, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::base::id::ChannelId;
    use crate::base::message::{Chat, Mode, Outcome};
    use crate::base::rng::Rng;
    use crate::channel::outbound::REPEAT_MARK;

    fn outgoing(chats: &[&str]) -> Outgoing {
        let mut outgoing = Outgoing::new(Lanes::new(Mode::AtLeastOnce, Rng::from_seed(1)));
        for (number, chat) in chats.iter().enumerate() {
            let number = number as u64;
            outgoing.push(Outbound {
                turn: TurnId::mint(Wall(number), &mut Rng::from_seed(number)),
                channel: ChannelId::WhatsApp,
                chat: Chat { id: (*chat).to_owned(), thread: None },
                parts: vec![format!("reply {number}")],
                next: 0,
                ambiguous: false,
                other_boot: false,
                resends: 0,
            });
        }
        outgoing
    }

    /// Sends all that may be sent now; the answers that are expected.
    fn send(outgoing: &mut Outgoing, dialect: Dialect, has_ids: bool, now: u64) -> Vec<(String, Answer)> {
        let mut sent = Vec::new();
        while let Step::Send(attempt) = outgoing.step(Mono(now), dialect, has_ids) {
            let answer = outgoing.begin(&attempt, dialect, has_ids, Mono(now));
            sent.push((attempt.text, answer));
        }
        sent
    }

    #[test]
    fn without_ids_one_is_under_way_at_a_time() {
        let mut outgoing = outgoing(&["a", "b", "a"]);
        assert_eq!(send(&mut outgoing, Dialect::N, false, 0), [("reply 0".to_owned(), Answer::Next)]);
        assert!(outgoing.is_waiting());
        assert!(outgoing.on_pong(1, Mono(1)).is_none());
        let (_, reports) = outgoing.on_sent(None, Mono(1)).expect("it is the next");
        assert!(matches!(reports[..], [Report::Sent { part: 0, .. }, Report::Close { outcome: Outcome::Sent, .. }]));
        assert!(outgoing.on_sent(None, Mono(1)).is_none(), "nothing was asked");
        assert_eq!(send(&mut outgoing, Dialect::N, false, 1), [("reply 1".to_owned(), Answer::Next)]);
        assert!(outgoing.on_sent(Some("WhatsApp's".into()), Mono(2)).is_some(), "without v2 an id means nothing");
    }

    #[test]
    fn with_ids_several_are_under_way_and_a_chat_keeps_its_order() {
        let mut outgoing = outgoing(&["a", "b", "a", "c"]);
        let sent = send(&mut outgoing, Dialect::N, true, 0);
        let texts: Vec<&str> = sent.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["reply 0", "reply 1", "reply 3"]);
        let Answer::Id(id) = &sent[1].1 else { panic!("no id") };
        assert!(id.starts_with("rp-") && id.ends_with("/0"));
        assert!(outgoing.on_sent(Some(id.clone()), Mono(1)).is_some());
        assert!(outgoing.on_sent(Some(id.clone()), Mono(1)).is_none(), "a second answer is none");
        let Answer::Id(id) = &sent[0].1 else { panic!("no id") };
        assert!(outgoing.on_sent(Some(id.clone()), Mono(1)).is_some());
        assert_eq!(send(&mut outgoing, Dialect::N, true, 1)[0].0, "reply 2");
    }

    #[test]
    fn a_ping_confirms_where_nothing_else_does() {
        let mut outgoing = outgoing(&["a", "b"]);
        let sent = send(&mut outgoing, Dialect::P, false, 0);
        assert_eq!((&sent[0].1, &sent[1].1), (&Answer::Pong(1), &Answer::Pong(2)));
        assert!(outgoing.on_pong(2, Mono(5)).is_some() && outgoing.on_pong(2, Mono(5)).is_none());
        assert!(!outgoing.is_overdue(Mono(29_999), Duration::from_secs(30)));
        assert!(outgoing.is_overdue(Mono(30_000), Duration::from_secs(30)));
    }

    #[test]
    fn a_bridge_that_sends_one_after_the_other_has_the_whole_time_for_each() {
        let mut outgoing = outgoing(&["a", "b", "c"]);
        let sent = send(&mut outgoing, Dialect::P, false, 0);
        let limit = Duration::from_secs(30);
        for (number, _) in sent.iter().enumerate() {
            let now = (number as u64 + 1) * 29_000;
            assert!(!outgoing.is_overdue(Mono(now), limit), "{number}");
            assert!(outgoing.on_pong(number as u64 + 1, Mono(now)).is_some());
        }
        assert!(!outgoing.is_overdue(Mono(1_000_000), limit), "nothing is under way");
        outgoing = self::outgoing(&["a", "b", "c"]);
        send(&mut outgoing, Dialect::P, false, 0);
        assert!(outgoing.on_pong(2, Mono(29_000)).is_some());
        assert!(outgoing.is_overdue(Mono(30_000), limit), "the oldest does not wait for others");
    }

    #[test]
    fn a_lost_link_marks_what_had_no_answer_and_nothing_else() {
        let mut outgoing = outgoing(&["a", "b", "a"]);
        let sent = send(&mut outgoing, Dialect::N, true, 0);
        let Answer::Id(id) = sent[1].1.clone() else { panic!("no id") };
        outgoing.on_sent(Some(id), Mono(1));
        assert_eq!(outgoing.on_link_lost(Mono(2)), 1);
        assert_eq!(send(&mut outgoing, Dialect::N, true, 4000), [], "a bridge in trouble gets time");
        let again = send(&mut outgoing, Dialect::N, true, 10_000);
        assert_eq!(again[0].0, format!("{REPEAT_MARK}reply 0"));
        assert_eq!(again[0].1, sent[0].1, "it keeps its id");
        outgoing.on_sent(
            Some(match again[0].1.clone() {
                Answer::Id(id) => id,
                _ => panic!("no id"),
            }),
            Mono(10_001),
        );
        assert_eq!(send(&mut outgoing, Dialect::N, true, 10_001)[0].0, "reply 2");
    }

    #[test]
    fn an_error_is_tried_again_unmarked_unless_it_says_more() {
        let mut now = 0;
        let mut outgoing = outgoing(&["a"]);
        for error in 1..=ERRORS_MAX {
            let sent = loop {
                let sent = send(&mut outgoing, Dialect::N, false, now);
                if !sent.is_empty() {
                    break sent;
                }
                now += 1000;
            };
            assert_eq!(sent[0].0, "reply 0");
            let ((_, reports), _, action) = outgoing.on_error(None, Failure::NotSent, Mono(now)).expect("it was asked");
            match reports[..] {
                [Report::Unsent { ambiguous: false, .. }] => assert_eq!((action, error < ERRORS_MAX), ("retry", true)),
                [.., Report::Close { outcome: Outcome::Dead, .. }] => {
                    assert_eq!((action, error), ("give_up", ERRORS_MAX))
                }
                _ => panic!("{reports:?}"),
            }
        }
        for (failure, want) in [(Failure::Refused, "give_up"), (Failure::Unconfirmed, "resend_marked")] {
            let mut outgoing = self::outgoing(&["a"]);
            send(&mut outgoing, Dialect::N, false, 0);
            assert_eq!(outgoing.on_error(None, failure, Mono(0)).map(|(_, _, action)| action), Some(want));
        }
        assert!(outgoing.on_error(None, Failure::NotSent, Mono(now)).is_none());
    }
}
