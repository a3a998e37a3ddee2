//! Turns folded into the counters that `stats` shows. Writers hold a [`Delta`] and add it to the file's [`Snapshot`]
//! under a lock, so that two processes adding at once lose no count.
//!
//! The snapshot's keys and their order are those of contract §5.2; parts that nothing counts any more stay `null` or 0.

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::message::Path;
use crate::base::sorted::SortedMap;
use crate::observe::event::TurnRecord;

/// Upper bounds of the latency buckets, in milliseconds; the last bucket has none.
pub const LATENCY_BOUNDS_MS: [u64; 11] = [100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000];

/// Sources whose position is remembered. There is one for each journal that was ever made; beyond that one is dropped, and
/// at worst its last turns are counted twice.
const SOURCES_MAX: usize = 8;

/// Provider latencies, counted by [`LATENCY_BOUNDS_MS`].
pub type Latencies = [u64; LATENCY_BOUNDS_MS.len() + 1];

/// What this process has counted since its last write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delta {
    ok_turns: u64,
    error_turns: u64,
    provider_turns: u64,
    tool_turns: u64,
    provider_attempts: u64,
    latencies: Latencies,
    last_turn: Option<TurnRecord>,
}

/// Who counts, and up to which of its turns: a source that is counted again after a crash is then counted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The journal's name.
    pub source: String,
    /// The number of its last turn in the delta.
    pub turns: u64,
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
        if let Some(latency) = record.latency_ms {
            self.latencies[LATENCY_BOUNDS_MS.partition_point(|bound| *bound < latency)] += 1;
        }
        self.last_turn = Some(record.clone());
    }

    /// How many turns it holds.
    pub fn turns(&self) -> u64 {
        self.ok_turns + self.error_turns
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
    pub latencies: Latencies,
    pub sources: SortedMap<String, u64>,
}

impl Snapshot {
    /// Adds what a process counted; what its position says was added before is not added again.
    pub fn add(&mut self, delta: &Delta, position: Option<&Position>, now: Wall) {
        if let Some(position) = position {
            if self.sources.get(&position.source).is_some_and(|turns| *turns >= position.turns) {
                return;
            }
            if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&position.source) {
                self.sources.pop_first();
            }
            self.sources.insert(position.source.clone(), position.turns);
        }
        for (count, more) in self.latencies.iter_mut().zip(delta.latencies) {
            add(count, more);
        }
        self.schema_version = 1;
        self.updated_at = now.rfc3339();
        add(&mut self.total_turns, delta.turns());
        add(&mut self.ok_turns, delta.ok_turns);
        add(&mut self.error_turns, delta.error_turns);
        add(&mut self.provider_turns, delta.provider_turns);
        add(&mut self.tool_turns, delta.tool_turns);
        add(&mut self.total_provider_attempts, delta.provider_attempts);
        if let Some(last) = &delta.last_turn {
            self.last_turn = Some(last.clone());
        }
    }

    /// The bound under which `percent` of the provider latencies lie, in milliseconds; `None` if none was counted or
    /// they lie beyond the last bound.
    pub fn latency_ms(&self, percent: u64) -> Option<u64> {
        let counts = || self.latencies.iter().map(|count| u128::from(*count));
        let wanted = (counts().sum::<u128>() * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let at = counts().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.and_then(|at| LATENCY_BOUNDS_MS.get(at).copied())
    }

    /// Pretty JSON without a newline at the end, as the file always was.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("counters are JSON")
    }
}

/// A file that was damaged may hold any number.
fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
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
            snapshot.add(&delta, None, Wall(9));
        }
        assert_eq!((snapshot.total_turns, snapshot.ok_turns, snapshot.error_turns), (3, 2, 1));
        assert_eq!((snapshot.provider_turns, snapshot.total_provider_attempts), (3, 9));
    }

    #[test]
    fn a_source_that_is_counted_again_is_counted_once() {
        let (mut snapshot, mut delta) = (Snapshot::default(), Delta::default());
        let summary = Summary { path: Some(Path::Tool), ..Summary::default() };
        delta.add(&TurnRecord::new(
            TurnId::parse("rp-00000000000000000000000001").expect("an id"),
            "s",
            summary,
            Wall(0),
        ));
        for (source, turns) in [("a", 5), ("a", 5), ("a", 4), ("b", 1), ("a", 6)] {
            snapshot.add(&delta, Some(&Position { source: source.into(), turns }), Wall(0));
        }
        assert_eq!(snapshot.total_turns, 3);
    }

    #[test]
    fn percentiles_are_bounds_of_buckets() {
        let mut snapshot = Snapshot { latencies: [0; 12], ..Snapshot::default() };
        assert_eq!(snapshot.latency_ms(50), None);
        (snapshot.latencies[0], snapshot.latencies[3], snapshot.latencies[11]) = (50, 49, 1);
        assert_eq!(
            [50, 90, 99, 100].map(|percent| snapshot.latency_ms(percent)),
            [Some(100), Some(1000), Some(1000), None]
        );
    }

    #[test]
    fn numbers_of_a_damaged_file_do_not_overflow() {
        let mut snapshot = Snapshot { total_turns: u64::MAX, latencies: [u64::MAX; 12], ..Snapshot::default() };
        let mut delta = Delta::default();
        let summary = Summary { path: Some(Path::Provider), latency_ms: Some(1), ..Summary::default() };
        let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
        delta.add(&TurnRecord::new(turn, "s", summary, Wall(0)));
        snapshot.add(&delta, None, Wall(0));
        assert_eq!((snapshot.total_turns, snapshot.latency_ms(50)), (u64::MAX, Some(4000)));
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
