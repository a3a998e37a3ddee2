//! What a seed means: bounds, numbers of threads, messages, and what goes wrong when.

use rusty_pinch::runtime::topology::Bounds;

use super::town::Letter;
use crate::support::cases::Random;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When everything is answered, by a signal.
    Quiet,
    /// By a signal, after so much went on.
    Stop { after: u64 },
    /// Killed, after so much went on.
    Kill { after: u64 },
    /// With the whole machine.
    PowerCut { after: u64 },
}

/// What the poison message does to the process that works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    Panic,
    Kill,
}

#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    pub bounds: Bounds,
    /// Of each process, the last one for all that follow.
    pub credits: Vec<usize>,
    pub workers: usize,
    pub senders: usize,
    pub letters: Vec<Letter>,
    /// How the first processes end; the ones after them run until it is quiet.
    pub ends: Vec<End>,
    /// The message that ends processes.
    pub poison: Option<(u64, Poison)>,
    /// The chat that takes no replies.
    pub blocked: Option<String>,
    /// The chat that has to wait for all others.
    pub throttled: Option<String>,
    /// Of a thousand sends: no effect, arrived or not without an answer.
    pub refusals: u64,
    pub losses: u64,
    /// Of a thousand calls to the network and to the model, those that stall when a stop comes, for longer than it may take.
    pub network_stalls: u64,
    pub model_stalls: u64,
}

impl Plan {
    pub fn random(seed: u64) -> Plan {
        let mut random = Random::from_seed(seed);
        let bound = |random: &mut Random| random.between(1, 5) as usize;
        let credits: Vec<usize> = (0..3).map(|_| bound(&mut random)).collect();
        let chats = random.between(1, 4);
        let count = 4 + 2 * (credits[0] + credits[2]) as u64;
        let mut plan = Plan {
            seed,
            bounds: bounds(|| bound(&mut random)),
            credits,
            workers: random.between(1, 4) as usize,
            senders: random.between(1, 3) as usize,
            letters: letters(count, |_| random.between(1, chats)),
            ends: Vec::new(),
            poison: None,
            blocked: None,
            throttled: None,
            refusals: [0, 50, 200][random.index(3)],
            losses: [0, 30, 100][random.index(3)],
            network_stalls: if random.chance(100) { 50 } else { 0 },
            model_stalls: if random.chance(200) { 50 } else { 0 },
        };
        if random.chance(300) {
            let at = random.index(plan.letters.len());
            let poison = if random.chance(500) { Poison::Panic } else { Poison::Kill };
            plan.poison = Some((plan.letters[at].update, poison));
        }
        if random.chance(400) {
            let poisoned = plan.poison.map(|(update, _)| plan.chat(update).to_string());
            for letter in plan.letters.iter_mut().filter(|letter| Some(&letter.chat) != poisoned.as_ref()) {
                if random.chance(200) {
                    letter.text = format!("/stop {}", letter.update);
                }
            }
        }
        plan.blocked = random.chance(200).then(|| plan.letters[0].chat.clone());
        // A message that was interrupted three times is given up, so no more than two crashes hit an innocent one.
        let crashes = if plan.poison.is_some() { 1 } else { 2 };
        for _ in 0..random.between(0, crashes) {
            let after = random.between(0, 12 * count);
            plan.ends.push(if random.chance(400) { End::PowerCut { after } } else { End::Kill { after } });
        }
        for _ in 0..random.between(0, 2) {
            let after = random.between(0, 12 * count);
            plan.ends.insert(random.index(plan.ends.len() + 1), End::Stop { after });
        }
        plan
    }

    /// Nothing goes wrong, and there is little room.
    pub fn calm(seed: u64) -> Plan {
        let calm = Plan { ends: Vec::new(), poison: None, blocked: None, refusals: 0, losses: 0, ..Plan::random(seed) };
        Plan { credits: vec![5], workers: 2, network_stalls: 0, model_stalls: 0, ..calm }
    }

    pub fn letter(&self, update: u64) -> &Letter {
        self.letters.iter().find(|letter| letter.update == update).expect("a message of this run")
    }

    /// Whether a later message of its chat may have ended it.
    pub fn may_be_stopped(&self, letter: &Letter) -> bool {
        let is_later_stop =
            |other: &Letter| other.update > letter.update && other.chat == letter.chat && other.is_stop();
        !letter.is_stop() && self.letters.iter().any(is_later_stop)
    }

    pub fn power_cuts(&self) -> usize {
        self.ends.iter().filter(|end| matches!(end, End::PowerCut { .. })).count()
    }

    /// Whether every process has time to say goodbye.
    pub fn is_polite(&self) -> bool {
        let crash = |end: &End| matches!(end, End::Kill { .. } | End::PowerCut { .. });
        !self.ends.iter().any(crash) && self.poison.is_none() && self.network_stalls == 0
    }

    pub fn chat(&self, update: u64) -> &str {
        &self.letter(update).chat
    }
}

pub fn bounds(mut bound: impl FnMut() -> usize) -> Bounds {
    Bounds { inbox: bound(), appends: bound(), deliveries: bound(), typing: bound(), batch: bound() }
}

pub fn letters(count: u64, mut chat: impl FnMut(u64) -> u64) -> Vec<Letter> {
    let letter = |number: u64| {
        let update = 100 + number;
        Letter { update, chat: (10 * chat(number)).to_string(), text: format!("{update} is the question") }
    };
    (0..count).map(letter).collect()
}
