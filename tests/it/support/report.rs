//! The evidence of a campaign: one JSON file per item in `target/campaign`, with its seed and the binary's hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::support::cases::{say, warn};
use crate::support::waiting::{now, since};
use crate::support::world::World;

/// Problems that are kept word by word.
const SHOWN_MAX: usize = 20;

pub struct Report {
    item: &'static str,
    seed: u64,
    started: Instant,
    /// The hash of the binary as the run began with it.
    binary: Option<String>,
    /// Kills, cuts or injections so far.
    pub count: usize,
    pub messages: usize,
    /// Deliveries with a mark, and those of them that really repeat something.
    pub marked: usize,
    pub repeats: usize,
    pub notices: usize,
    pub exits: BTreeMap<String, usize>,
    pub recoveries_ms: Vec<u64>,
    pub peak_kib: usize,
    pub problems: Vec<String>,
    /// What only this item counts.
    pub details: BTreeMap<String, usize>,
    log: Option<Hash>,
}

impl Report {
    pub fn start(item: &'static str, seed: u64) -> Report {
        Report {
            item,
            seed,
            started: now(),
            binary: hash_of(&World::product_path()),
            count: 0,
            messages: 0,
            marked: 0,
            repeats: 0,
            notices: 0,
            exits: BTreeMap::new(),
            recoveries_ms: Vec::new(),
            peak_kib: 0,
            problems: Vec::new(),
            details: BTreeMap::new(),
            log: Hash::start(),
        }
    }

    pub fn note(&mut self, detail: &str) {
        self.count_of(detail, 1);
    }

    pub fn count_of(&mut self, detail: &str, count: usize) {
        *self.details.entry(detail.to_string()).or_default() += count;
    }

    /// They are said at once too: a run that is ended before its end has told what it found.
    pub fn add_problems(&mut self, problems: impl Iterator<Item = String>) {
        for problem in problems {
            if self.problems.len() < SHOWN_MAX {
                warn(&format!("{}: {problem}", self.item));
            }
            self.problems.push(problem);
        }
    }

    /// The log of a stretch: its hash, and how often each warning and error is in it.
    pub fn add_lines(&mut self, lines: &[String]) {
        for line in lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let ("warn" | "error", Some(event)) =
                (line["level"].as_str().unwrap_or_default(), line["event"].as_str())
            {
                self.note(&format!("event {event}"));
            }
        }
        if let Some(log) = &mut self.log {
            lines.iter().for_each(|line| log.add(line));
        }
    }

    /// Writes the file, says the figures, and fails if anything was wrong.
    #[track_caller]
    pub fn finish(mut self) {
        if hash_of(&World::product_path()) != self.binary {
            self.problems
                .push("the binary was replaced while it was judged, so this is evidence of nothing".to_string());
        }
        let log = self.log.take().and_then(Hash::finish);
        let value = self.to_json(log);
        let folder = folder();
        std::fs::create_dir_all(&folder).expect("the target folder is ours");
        let text = serde_json::to_string_pretty(&value).expect("it is text and numbers");
        std::fs::write(folder.join(format!("{}.json", self.item)), text + "\n").expect("the report is written");
        say(&self.sentence());
        let shown = self.problems[..self.problems.len().min(SHOWN_MAX)].join("\n");
        assert!(self.problems.is_empty(), "{}: seed {}: first problems:\n{shown}", self.item, self.seed);
    }

    fn sentence(&self) -> String {
        let seconds = since(self.started).as_secs_f64();
        let mut text = format!(
            "{}: seed {}: {} in {seconds:.0} s, {} messages, {} marked ({} repeats), {} notices, {} problems",
            self.item,
            self.seed,
            self.count,
            self.messages,
            self.marked,
            self.repeats,
            self.notices,
            self.problems.len()
        );
        for (code, count) in &self.exits {
            let _ = write!(text, ", {count} × exit {code}");
        }
        text
    }

    fn to_json(&self, log: Option<String>) -> Value {
        let mut times = self.recoveries_ms.clone();
        times.sort_unstable();
        let at = |per_mille: usize| times.get(times.len().saturating_sub(1) * per_mille / 1000);
        let details: Map<_, _> = self.details.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
        json!({
            "id": self.item,
            "seed": self.seed,
            "binary_sha256": self.binary,
            "git": git(),
            "n": self.count,
            "seconds": since(self.started).as_secs(),
            "violations": self.problems.len(),
            "violations_first": self.problems.iter().take(SHOWN_MAX).collect::<Vec<_>>(),
            "messages": self.messages,
            "ambiguous": self.marked,
            "ambiguous_repeated": self.repeats,
            "notices": self.notices,
            "exits": self.exits,
            "recovery_ms": { "n": times.len(), "p50": at(500), "p95": at(950), "max": times.last() },
            "resident_kib_max": self.peak_kib,
            "details": details,
            "log_sha256": log,
        })
    }
}

/// `target/campaign`, where `target` is.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target folder").join("campaign")
}

fn hash_of(path: &Path) -> Option<String> {
    let output = Command::new("sha256sum").arg(path).output().ok()?;
    first_word(&output.stdout)
}

fn git() -> Option<String> {
    let here = env!("CARGO_MANIFEST_DIR");
    let output =
        Command::new("git").args(["-C", here, "describe", "--always", "--dirty", "--abbrev=40"]).output().ok()?;
    first_word(&output.stdout)
}

fn first_word(bytes: &[u8]) -> Option<String> {
    String::from_utf8_lossy(bytes).split_whitespace().next().map(str::to_string)
}

/// `sha256sum` with an open ear.
struct Hash(Child);

impl Hash {
    fn start() -> Option<Hash> {
        let mut command = Command::new("sha256sum");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok().map(Hash)
    }

    fn add(&mut self, line: &str) {
        if let Some(pipe) = &mut self.0.stdin {
            // A hash that cannot be made is missing in the report; nothing else depends on it.
            let _ = pipe.write_all(line.as_bytes()).and_then(|()| pipe.write_all(b"\n"));
        }
    }

    fn finish(mut self) -> Option<String> {
        drop(self.0.stdin.take());
        first_word(&self.0.wait_with_output().ok()?.stdout)
    }
}
