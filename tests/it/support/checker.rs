//! The judge: were the promises kept? (design/testing.md, I1 to I4 and O3.)
//!
//! It sees what the fake Telegram was told and sent, what the fake provider answered, the session files and standard
//! error. For every chat: each message has a complete answer, only marked copies repeat it, a repeat has the same text,
//! nothing overtakes, the session file tells the same story. Texts of messages must be unique within their chat.
//!
//! A first copy may be marked: a process killed before its request left cannot know that it did not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use crate::support::checker_chat::{Chat, shortened};
use crate::support::fake_provider::FakeProvider;
use crate::support::fake_telegram::{FakeTelegram, Posted, Sent};
use crate::support::world::World;

/// Stands in the place of what may have arrived, where nothing may come twice.
pub const DOUBT: &str = "An answer, or a part of one, may not have reached you.";
/// Attempts at a message that processes may leave unfinished before it is given up.
pub const ATTEMPTS_CUT_MAX: usize = 3;
pub const MARK: &str = "↻ (may be a repeat)\n";

#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub posted: Vec<Posted>,
    pub sent: Vec<Sent>,
    /// For every call of the provider: what was asked, and the whole reply.
    pub replies: Vec<(String, String)>,
    pub sessions: BTreeMap<i64, Vec<u8>>,
    pub lines: Vec<String>,
    /// When each process was started.
    pub starts: Vec<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Something was ambiguous: a kill in the middle of a send, or an answer that was lost.
    pub are_marks_allowed: bool,
    /// A killed process may take a turn's log line with it, or say it twice.
    pub were_processes_killed: bool,
    /// A power cut may take the confirmation of a reply with it and leave the next reply of the chat sent: then the first
    /// one is repeated behind it, marked. First copies still come in order.
    pub was_power_cut: bool,
    /// Calls of the system are made to fail, so a provider may be out of reach.
    pub may_calls_fail: bool,
    /// Nothing may come twice: a notice stands for what may have arrived.
    pub is_at_most_once: bool,
}

impl Rules {
    pub const CALM: Rules = Rules {
        are_marks_allowed: false,
        were_processes_killed: false,
        was_power_cut: false,
        may_calls_fail: false,
        is_at_most_once: false,
    };
    pub const LOST_ANSWERS: Rules = Rules { are_marks_allowed: true, ..Rules::CALM };
    pub const KILLS: Rules = Rules { were_processes_killed: true, ..Rules::LOST_ANSWERS };
    pub const FAILING_CALLS: Rules = Rules { may_calls_fail: true, ..Rules::KILLS };
    pub const AT_MOST_ONCE: Rules = Rules { are_marks_allowed: false, is_at_most_once: true, ..Rules::KILLS };
    pub const POWER_CUTS: Rules = Rules { was_power_cut: true, ..Rules::KILLS };
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub messages: usize,
    pub marked: usize,
    /// Of those, the ones whose first copy had arrived.
    pub repeated: usize,
    /// Messages answered with a sentence of the program instead of a reply.
    pub notices: usize,
    /// Those given up because processes ended within every attempt.
    pub interrupted: usize,
    /// Words that ended what was asked before, and what they ended.
    pub stopped: usize,
    /// Messages of which a part may not have arrived, and whose writers were told so.
    pub doubted: usize,
    pub problems: Vec<String>,
}

impl Evidence {
    pub fn collect(telegram: &FakeTelegram, provider: &FakeProvider, world: &World) -> Evidence {
        let posted = telegram.posted();
        let chats: BTreeSet<i64> = posted.iter().map(|posted| posted.chat).collect();
        let texts = provider.asked().into_iter().map(|asked| asked.text);
        Evidence {
            sent: telegram.sent(),
            replies: texts.zip(provider.replies()).collect(),
            sessions: chats.into_iter().map(|chat| (chat, world.session(chat))).collect(),
            lines: world.all_lines(),
            starts: world.starts(),
            posted,
        }
    }

    fn chats(&self) -> BTreeMap<i64, Chat<'_>> {
        let mut chats: BTreeMap<i64, Chat<'_>> = BTreeMap::new();
        for posted in &self.posted {
            let chat = chats.entry(posted.chat).or_insert_with(|| Chat::new(posted.chat, self));
            chat.positions.insert(&posted.text, chat.posted.len());
            chat.posted.push(posted);
        }
        for sent in &self.sent {
            chats.entry(sent.chat).or_insert_with(|| Chat::new(sent.chat, self)).sent.push(sent);
        }
        chats
    }

    /// The texts of messages that have no complete answer yet.
    pub fn unanswered(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for chat in self.chats().values() {
            let deliveries = chat.deliveries(&mut Vec::new());
            let is_over = |position: usize, chat: &Chat<'_>| {
                chat.is_complete(position, &deliveries) || chat.is_settled_by_control(position)
            };
            let open = (0..chat.posted.len()).filter(|position| !is_over(*position, chat));
            missing.extend(open.map(|position| format!("{} in {}", chat.posted[position].text, chat.number)));
        }
        missing
    }
}

pub fn judge(evidence: &Evidence, rules: Rules) -> Verdict {
    let mut verdict = Verdict { messages: evidence.posted.len(), ..Verdict::default() };
    let mut turn_ids = BTreeSet::new();
    for chat in evidence.chats().values() {
        let deliveries = chat.deliveries(&mut verdict.problems);
        chat.judge_order_and_repeats(&deliveries, rules, &mut verdict);
        chat.judge_completeness(&deliveries, &mut verdict);
        turn_ids.extend(chat.judge_session(&deliveries, &mut verdict.problems));
    }
    judge_lines(evidence, &turn_ids, rules, &mut verdict.problems);
    verdict
}

fn judge_lines(evidence: &Evidence, ids: &BTreeSet<String>, rules: Rules, problems: &mut Vec<String>) {
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for line in &evidence.lines {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(object)) if object.get("event").is_some_and(|event| event == "turn") => {
                let id = object.get("request_id").and_then(Value::as_str).unwrap_or_default();
                *turns.entry(id.to_string()).or_default() += 1;
            }
            Ok(Value::Object(_)) => {}
            _ => problems.push(format!("standard error: not a JSON object: {}", shortened(line))),
        }
    }
    if rules.were_processes_killed {
        return;
    }
    for (id, count) in &turns {
        if *count != 1 || !ids.contains(id) {
            problems.push(format!("standard error: {count} turn events for request {id:?}"));
        }
    }
    let silent = ids.iter().filter(|id| !turns.contains_key(*id));
    problems.extend(silent.map(|id| format!("standard error: no turn event for request {id}")));
}
