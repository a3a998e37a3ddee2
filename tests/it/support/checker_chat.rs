//! The judge of one chat: what was sent to it and what its session file says, held against what people wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use serde_json::Value;

use crate::support::checker::{ATTEMPTS_CUT_MAX, DOUBT, Evidence, MARK, Rules, Verdict};
use crate::support::fake_telegram::{Posted, Sent};

/// One sent message, understood.
pub struct Delivery<'a> {
    position: usize,
    /// The call of the provider it answers with; None for a sentence of the program.
    nonce: Option<usize>,
    /// Which part of a long reply: the first counted word in it.
    part: usize,
    is_marked: bool,
    /// It says that a part may not have arrived.
    is_doubt: bool,
    at: Instant,
    text: &'a str,
}

pub struct Chat<'a> {
    pub number: i64,
    pub evidence: &'a Evidence,
    pub posted: Vec<&'a Posted>,
    pub positions: HashMap<&'a str, usize>,
    pub sent: Vec<&'a Sent>,
}

impl<'a> Chat<'a> {
    pub fn new(number: i64, evidence: &'a Evidence) -> Chat<'a> {
        Chat { number, evidence, posted: Vec::new(), positions: HashMap::new(), sent: Vec::new() }
    }

    pub fn deliveries(&self, problems: &mut Vec<String>) -> Vec<Delivery<'a>> {
        let (requests, controls) = (self.positions_by_request_id(), self.control_replies());
        let mut deliveries = Vec::new();
        // Replies to words for the program pass what waits, so their place says nothing.
        let is_control = |sent: &&&Sent| controls.iter().any(|reply| reply == unmarked(&sent.text));
        for sent in self.sent.iter().filter(|sent| !is_control(sent)) {
            match self.understand(sent, &requests) {
                Some(delivery) => deliveries.push(delivery),
                None => problems.push(format!("chat {}: nobody asked for {:?}", self.number, shortened(&sent.text))),
            }
        }
        deliveries
    }

    fn understand(&self, sent: &'a Sent, requests: &HashMap<String, usize>) -> Option<Delivery<'a>> {
        let (is_marked, text) = match sent.text.strip_prefix(MARK) {
            Some(rest) => (true, rest),
            None => (false, sent.text.as_str()),
        };
        let (at, is_doubt) = (sent.at, text.starts_with(DOUBT));
        if let Some((nonce, part)) = nonce_and_part(text) {
            let (asked, _) = self.evidence.replies.get(nonce)?;
            let position = *self.positions.get(asked.as_str())?;
            return Some(Delivery { position, nonce: Some(nonce), part, is_marked, is_doubt, at, text });
        }
        let position = request_ids(text).iter().find_map(|id| requests.get(id).copied())?;
        Some(Delivery { position, nonce: None, part: 0, is_marked, is_doubt, at, text })
    }

    /// Where the session file says which request answered which message.
    fn positions_by_request_id(&self) -> HashMap<String, usize> {
        let user_lines = self.session_lines().into_iter().filter(|line| line["role"] == "user");
        let pairs = user_lines.filter_map(|line| {
            let position = *self.positions.get(line["content"].as_str()?)?;
            Some((line["rid"].as_str()?.to_string(), position))
        });
        pairs.collect()
    }

    /// What was said to words for the program.
    fn control_replies(&self) -> Vec<String> {
        let lines = self.session_lines().into_iter();
        let replies = lines.filter(|line| line["mark"] == "control" && line["role"] == "assistant");
        replies.filter_map(|line| line["content"].as_str().map(str::to_string)).collect()
    }

    /// A word for the program whose reply arrived, or a message that such a word ended, which it was told.
    pub fn is_settled_by_control(&self, position: usize) -> bool {
        let is_stop = |posted: &&Posted| posted.text.starts_with("/stop");
        if self.posted[position].text.starts_with('/') {
            let lines = self.session_lines();
            let reply = lines.windows(2).find(|pair| pair[0]["content"] == self.posted[position].text);
            let reply = reply.and_then(|pair| pair[1]["content"].as_str().map(str::to_string));
            return reply.is_some_and(|reply| self.sent.iter().any(|sent| unmarked(&sent.text) == reply));
        }
        self.error_class(position).as_deref() == Some("stopped") && self.posted[position..].iter().any(is_stop)
    }

    fn session_lines(&self) -> Vec<Value> {
        let bytes = self.evidence.sessions.get(&self.number).map(Vec::as_slice).unwrap_or_default();
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    pub fn judge_order_and_repeats(&self, deliveries: &[Delivery<'_>], rules: Rules, verdict: &mut Verdict) {
        let mut first_copies: HashMap<(usize, usize), &str> = HashMap::new();
        let mut latest = (0, 0);
        for delivery in deliveries {
            let place = (delivery.position, delivery.part);
            let name =
                format!("chat {}: {:?} part {}", self.number, self.posted[delivery.position].text, delivery.part);
            if delivery.is_doubt {
                self.judge_doubt(delivery, &name, latest, rules, verdict);
                latest = latest.max((delivery.position, 0));
                continue;
            }
            let may_be_late = rules.was_power_cut && delivery.is_marked && first_copies.contains_key(&place);
            if place < latest && !may_be_late {
                verdict.problems.push(format!("{name} was overtaken"));
            }
            latest = latest.max(place);
            verdict.marked += usize::from(delivery.is_marked);
            if delivery.is_marked && !rules.are_marks_allowed {
                verdict.problems.push(format!("{name} is marked as a repeat without reason"));
            }
            match first_copies.get(&place) {
                None => drop(first_copies.insert(place, delivery.text)),
                Some(first) if *first != delivery.text => {
                    let texts = format!("{:?} then {:?}", shortened(first), shortened(delivery.text));
                    verdict.problems.push(format!("{name} was answered with different texts: {texts}"));
                }
                Some(_) if !delivery.is_marked => verdict.problems.push(format!("{name} was repeated without a mark")),
                Some(_) => verdict.repeated += 1,
            }
        }
    }

    /// It may take the place of any part, and come again itself, but not behind a later answer.
    fn judge_doubt(
        &self,
        delivery: &Delivery<'_>,
        name: &str,
        latest: (usize, usize),
        rules: Rules,
        verdict: &mut Verdict,
    ) {
        if delivery.position < latest.0 {
            verdict.problems.push(format!("{name}: its notice was overtaken"));
        }
        if !rules.is_at_most_once {
            verdict.problems.push(format!("{name} was doubted where repeats are wanted"));
        }
    }

    /// What the session says went wrong with the answer.
    fn error_class(&self, position: usize) -> Option<String> {
        let lines = self.session_lines();
        let mut pairs = lines.windows(2);
        let pair =
            pairs.find(|pair| pair[0]["content"] == self.posted[position].text && pair[1]["error"].is_string())?;
        pair[1]["error"].as_str().map(str::to_string)
    }

    /// A message that was given up had its attempts: after each of them a process was started.
    fn judge_apology(&self, position: usize, told: Option<Instant>, verdict: &mut Verdict) {
        let posted = self.posted[position];
        verdict.notices += 1;
        match self.error_class(position).as_deref() {
            // Nobody here ever has so much open.
            Some("busy") => verdict.problems.push(format!("chat {}: {:?} was refused", self.number, posted.text)),
            Some("interrupted") => {
                verdict.interrupted += 1;
                let is_between = |start: &&Instant| **start > posted.at && told.is_some_and(|told| **start < told);
                let starts = self.evidence.starts.iter().filter(is_between).count();
                if starts < ATTEMPTS_CUT_MAX {
                    let name = format!("chat {}: {:?}", self.number, posted.text);
                    verdict.problems.push(format!("{name} was given up after {starts} interruptions"));
                }
            }
            _ => {}
        }
    }

    pub fn judge_completeness(&self, deliveries: &[Delivery<'_>], verdict: &mut Verdict) {
        for (position, posted) in self.posted.iter().enumerate() {
            let name = format!("chat {}: {:?} (update {})", self.number, posted.text, posted.update);
            let (doubts, answers): (Vec<_>, Vec<_>) =
                deliveries.iter().filter(|one| one.position == position).partition(|one| one.is_doubt);
            let nonces: BTreeSet<_> = answers.iter().map(|one| one.nonce).collect();
            verdict.doubted += usize::from(!doubts.is_empty());
            match nonces.len() {
                0 if !doubts.is_empty() => {}
                0 if self.is_settled_by_control(position) => verdict.stopped += 1,
                0 => verdict.problems.push(format!("{name} was lost")),
                1 if nonces.contains(&None) => {
                    self.judge_apology(position, answers.first().map(|one| one.at), verdict);
                }
                1 if !self.is_complete(position, deliveries) => {
                    verdict.problems.push(format!("{name} was answered in part"));
                }
                1 => {}
                _ => verdict.problems.push(format!("{name} was answered from different calls: {nonces:?}")),
            }
        }
    }

    /// Nothing more is to be expected. Parts of different calls never fit together; that is a problem of another kind.
    pub fn is_complete(&self, position: usize, deliveries: &[Delivery<'_>]) -> bool {
        if deliveries.iter().any(|delivery| delivery.position == position && delivery.is_doubt) {
            return true;
        }
        let mut parts = BTreeMap::new();
        let mut nonces = BTreeSet::new();
        for delivery in deliveries.iter().filter(|delivery| delivery.position == position) {
            nonces.insert(delivery.nonce);
            parts.entry(delivery.part).or_insert(delivery.text);
        }
        let whole = match nonces.first() {
            None => return false,
            Some(Some(nonce)) if nonces.len() == 1 => &self.evidence.replies[*nonce].1,
            Some(_) => return true,
        };
        words(whole) == parts.values().flat_map(|part| words(part)).collect::<Vec<_>>()
    }

    /// I4: each request once per role, in order, with the text that was delivered. Returns the request ids.
    pub fn judge_session(&self, deliveries: &[Delivery<'_>], problems: &mut Vec<String>) -> BTreeSet<String> {
        let bytes = self.evidence.sessions.get(&self.number).map(Vec::as_slice).unwrap_or_default();
        let lines = self.session_lines();
        let mut note = |what: String| problems.push(format!("session of chat {}: {what}", self.number));
        if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
            note("the last line has no end".into());
        }
        if lines.len() != bytes.iter().filter(|byte| **byte == b'\n').count() {
            note("a line is not JSON".into());
        }
        let mut ids = BTreeSet::new();
        let (mut texts, mut words) = (Vec::new(), Vec::new());
        for pair in lines.chunks(2) {
            let [user, assistant] = pair else {
                note("a user line without an assistant line".into());
                continue;
            };
            let id = user["rid"].as_str().unwrap_or_default().to_string();
            if user["role"] != "user"
                || assistant["role"] != "assistant"
                || id.is_empty()
                || assistant["rid"] != user["rid"]
            {
                note(format!("not a pair of one request: {user} {assistant}"));
            }
            let text = user["content"].as_str().unwrap_or_default();
            if let Some(problem) = self.differing_reply(text, assistant, deliveries) {
                note(problem);
            }
            // Words for the program pass what waits.
            if user["mark"] == "control" { &mut words } else { &mut texts }.push(text.to_string());
            if !ids.insert(id.clone()) {
                note(format!("request {id} twice"));
            }
        }
        let posted = self.posted.iter().map(|posted| posted.text.as_str());
        let (said, posted): (Vec<&str>, Vec<&str>) = posted.partition(|text| words.iter().any(|word| word == text));
        if said.len() != words.len() || texts != posted {
            note(format!("user lines {texts:?}, but people wrote {posted:?}"));
        }
        ids
    }

    fn differing_reply(&self, text: &str, assistant: &Value, deliveries: &[Delivery<'_>]) -> Option<String> {
        let position = *self.positions.get(text)?;
        let nonce = deliveries.iter().find(|delivery| delivery.position == position && !delivery.is_doubt)?.nonce;
        let content = assistant["content"].as_str().unwrap_or_default();
        match nonce {
            None if assistant["error"].is_string() => None,
            None => Some(format!("the reply to {text:?} was a notice, but the line has no error")),
            Some(nonce) if self.evidence.replies[nonce].1 == content => None,
            Some(nonce) => {
                let texts = (shortened(content), shortened(&self.evidence.replies[nonce].1));
                Some(format!("{text:?} was answered with {:?}, the file has {:?}", texts.1, texts.0))
            }
        }
    }
}

/// From `reply #<nonce> to` or a counted word `~<nonce>.<count>`.
fn nonce_and_part(text: &str) -> Option<(usize, usize)> {
    if let Some(rest) = text.strip_prefix("reply #") {
        return Some((rest.split(' ').next()?.parse().ok()?, 0));
    }
    let counted = text.split_whitespace().find_map(|word| word.strip_prefix('~'))?;
    let (nonce, count) = counted.split_once('.')?;
    // The first part begins with words of its own, so a later part is never numbered 0.
    Some((nonce.parse().ok()?, count.parse::<usize>().ok()? + 1))
}

fn request_ids(text: &str) -> Vec<String> {
    let tails = text.match_indices("rp-").map(|(at, _)| &text[at..]);
    let is_part = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
    tails.map(|tail| tail.chars().take_while(is_part).collect()).collect()
}

/// Without the `(1/2)` that a part may carry.
fn words(text: &str) -> Vec<&str> {
    let is_part_number = |word: &&str| word.starts_with('(') && word.ends_with(')') && word.contains('/');
    text.split_whitespace().filter(|word| !is_part_number(word)).collect()
}

fn unmarked(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

pub fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
