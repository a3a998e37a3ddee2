//! What goes wrong at the fake Bot API: for which method and chat, how often, and what happens instead.

use serde_json::Value;

use crate::support::cases::Random;
use crate::support::fake_http::{Answer, Shape, Wait};

#[derive(Clone, Debug)]
pub enum Effect {
    /// The method is not performed; the server says so politely.
    Refuse { status: u16, description: String, retry_after: Option<u64> },
    /// The method is not performed; this goes out in place of an answer.
    Instead(Answer),
    /// The method is performed, and its answer is damaged or lost on the way.
    Spoil(Shape),
    /// The method is performed at once, its answer comes late.
    Delay(Wait),
}

#[derive(Clone, Debug)]
pub struct Fault {
    /// None: every method.
    method: Option<String>,
    /// None: every chat, and calls without one.
    chat: Option<i64>,
    /// How often it may still strike; None: for ever.
    left: Option<usize>,
    per_mille: u64,
    effect: Effect,
}

impl Fault {
    fn new(effect: Effect) -> Fault {
        Fault { method: None, chat: None, left: None, per_mille: 1000, effect }
    }

    pub fn status(status: u16, description: &str) -> Fault {
        Fault::new(Effect::Refuse { status, description: description.to_string(), retry_after: None })
    }

    pub fn too_many_requests(seconds: u64) -> Fault {
        let description = format!("Too Many Requests: retry after {seconds}");
        Fault::new(Effect::Refuse { status: 429, description, retry_after: Some(seconds) })
    }

    pub fn conflict() -> Fault {
        let text = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
        Fault::status(409, text)
    }

    /// An answer of a middle box: not JSON at all.
    pub fn web_page(status: u16) -> Fault {
        Fault::new(Effect::Instead(Answer::new(status, "<html>Bad Gateway</html>").header("Content-Type", "text/html")))
    }

    pub fn instead(status: u16, body: &Value) -> Fault {
        Fault::new(Effect::Instead(Answer::json(status, body)))
    }

    /// An answer that says it is JSON.
    pub fn raw(status: u16, body: &str) -> Fault {
        Fault::new(Effect::Instead(Answer::new(status, body).header("Content-Type", "application/json")))
    }

    /// The connection is reset and the server did nothing; the client cannot tell this from `lost_answer`.
    pub fn reset() -> Fault {
        Fault::new(Effect::Instead(Answer::new(200, "").shaped(Shape::ResetBefore)))
    }

    /// The server does what was asked, and the answer never arrives.
    pub fn lost_answer() -> Fault {
        Fault::new(Effect::Spoil(Shape::ResetBefore))
    }

    pub fn half_answer() -> Fault {
        Fault::new(Effect::Spoil(Shape::ResetHalfway))
    }

    /// The server does what was asked and says nothing until the client gives up.
    pub fn stall() -> Fault {
        Fault::new(Effect::Spoil(Shape::Stall))
    }

    pub fn late_answer(wait: Wait) -> Fault {
        Fault::new(Effect::Delay(wait))
    }

    pub fn on(mut self, method: &str) -> Fault {
        self.method = Some(method.to_string());
        self
    }

    pub fn for_chat(mut self, chat: i64) -> Fault {
        self.chat = Some(chat);
        self
    }

    pub fn times(mut self, count: usize) -> Fault {
        self.left = Some(count);
        self
    }

    /// Strikes only in so many of a thousand calls.
    pub fn per_mille(mut self, per_mille: u64) -> Fault {
        self.per_mille = per_mille;
        self
    }

    fn concerns(&self, method: &str, chat: Option<i64>) -> bool {
        let is_method = self.method.as_deref().is_none_or(|name| name == method);
        let is_chat = self.chat.is_none_or(|id| Some(id) == chat);
        is_method && is_chat && self.left != Some(0)
    }
}

/// The faults in the order they were added; the first that concerns a call strikes.
pub struct Script {
    faults: Vec<Fault>,
    random: Random,
}

impl Script {
    pub fn new(seed: u64) -> Script {
        Script { faults: Vec::new(), random: Random::from_seed(seed) }
    }

    pub fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub fn clear(&mut self) {
        self.faults.clear();
    }

    pub fn next_for(&mut self, method: &str, chat: Option<i64>) -> Option<Effect> {
        for fault in &mut self.faults {
            if fault.concerns(method, chat) && self.random.chance(fault.per_mille) {
                fault.left = fault.left.map(|left| left - 1);
                return Some(fault.effect.clone());
            }
        }
        None
    }
}
