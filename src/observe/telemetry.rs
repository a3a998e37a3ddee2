//! Turns folded into the counters that `stats` shows. Writers hold a [`Delta`] and add it to the file's [`Snapshot`]
//! under a lock, so that two processes adding at once lose no count.
//!
//! The snapshot's keys and their order are those of contract §5.2; parts that nothing counts any more stay `null` or 0.

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::message::Path;
use crate::observe::event::TurnRecord;

/// What this process has counted since its last write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    ok_turns: u64,
    error_turns: u64,
    provider_turns: u64,
    tool_turns: u64,
    provider_attempts: u64,
    last_turn: Option<TurnRecord>,
}

impl Delta {
    /// Counts one turn.
    pub fn add(&mut self, record: &TurnRecord) {
        if record.error.is_some() {
            self.error_turns += 1;
        } else {
            self.ok_turns += 1;
        }
        match record.path {
            Path::Provider => self.provider_turns += 1,
            Path::Tool => self.tool_turns += 1,
        }
        self.provider_attempts += u64::from(record.attempts.unwrap_or(0));
        self.last_turn = Some(record.clone());
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.last_turn.is_none()
    }
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the keys are documented in the contract by these names")]
pub struct Snapshot {
    pub schema_version: u32,
    pub updated_at: String,
    pub total_turns: u64,
    pub ok_turns: u64,
    pub error_turns: u64,
    pub provider_turns: u64,
    pub tool_turns: u64,
    pub skill_turns: u64,
    pub total_provider_attempts: u64,
    pub codex: Option<serde_json::Value>,
    pub pulse: Option<serde_json::Value>,
    pub evolution: Option<serde_json::Value>,
    pub last_turn: Option<TurnRecord>,
}

impl Snapshot {
    /// Adds what a process counted.
    pub fn add(&mut self, delta: &Delta, now: Wall) {
        self.schema_version = 1;
        self.updated_at = now.rfc3339();
        self.total_turns += delta.ok_turns + delta.error_turns;
        self.ok_turns += delta.ok_turns;
        self.error_turns += delta.error_turns;
        self.provider_turns += delta.provider_turns;
        self.tool_turns += delta.tool_turns;
        self.total_provider_attempts += delta.provider_attempts;
        if let Some(last) = &delta.last_turn {
            self.last_turn = Some(last.clone());
        }
    }

    /// Pretty JSON without a newline at the end, as the file always was.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("counters are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::TurnId;
    use crate::base::message::Summary;

    #[test]
    fn deltas_of_two_processes_add_up() {
        let record = |error: Option<&str>| {
            let summary = Summary {
                path: Some(Path::Provider),
                attempts: Some(3),
                error: error.map(str::to_owned),
                ..Summary::default()
            };
            TurnRecord::new(TurnId::parse("rp-00000000000000000000000001").expect("an id"), "s", summary, Wall(0))
        };
        let mut snapshot = Snapshot::default();
        for error in [None, Some("auth"), None] {
            let mut delta = Delta::default();
            delta.add(&record(error));
            snapshot.add(&delta, Wall(9));
        }
        assert_eq!((snapshot.total_turns, snapshot.ok_turns, snapshot.error_turns), (3, 2, 1));
        assert_eq!((snapshot.provider_turns, snapshot.total_provider_attempts), (3, 9));
    }

    #[test]
    fn a_file_of_the_earlier_runtime_loads() {
        let old = r#"{"schema_version":1,"updated_at":"x","total_turns":5,"last_turn":{"timestamp":"t","request_id":"rp-1-1",
            "session_id":"default","path":"provider","status":"ok","provider":"codex","model":"m","tool_name":null,"attempts":1,
            "latency_ms":null,"user_chars":1,"response_chars":2,"error":null}}"#;
        let snapshot: Snapshot = serde_json::from_str(old).expect("loads");
        assert_eq!((snapshot.total_turns, snapshot.skill_turns), (5, 0));
    }
}
