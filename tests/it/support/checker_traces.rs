//! The judge of everything but the conversation (design/testing.md, I5, I6 and I8 to I12): how processes ended, what they
//! left behind, what they used, and whether a fault was noticed.
//!
//! Like `checker`, it shares no code with the product.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::checker_chat::shortened;
use crate::support::journal_text;
use crate::support::world::{Sample, contains};

/// A full journal is read in this time.
pub const RECOVERY_MS_MAX: u64 = 500;
/// On a machine that is busy with something else half of them still keep this time.
const RECOVERY_BUSY_MS_MAX: u64 = 5000;
/// So few recoveries have no 95th percentile.
const RECOVERIES_MIN: usize = 20;
/// Percent of the last ten seconds in which something waited for a processor, or for a disk, on a calm machine.
const PRESSURE_MAX: f64 = 20.0;
/// A fault shows in the log within this time.
pub const NOTICE_TIME: Duration = Duration::from_secs(5);
const RESIDENT_KIB_MAX: usize = 48 * 1024;
const FILES_MAX: usize = 64;
const THREADS_MAX: usize = 24;

/// How a process ended that was not killed by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// `0`, `74`, `signal 9` …
    pub code: String,
    /// What was done to it.
    pub cause: String,
}

/// What the server was told to forget, and what the journal held at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten {
    pub update: i64,
    pub on_disk: i64,
}

/// A fault that struck a process.
#[derive(Clone, Debug)]
pub struct Struck {
    pub what: String,
    /// Whether a line or an exit told of it in time.
    pub was_noticed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Traces {
    pub files: Vec<(PathBuf, Vec<u8>)>,
    pub lines: Vec<String>,
    pub stdout: Vec<u8>,
    /// How often the provider was asked about each text.
    pub asked: BTreeMap<String, usize>,
    pub exits: Vec<Exit>,
    pub samples: Vec<Sample>,
    pub forgotten: Vec<Forgotten>,
    pub survivors: Vec<String>,
    /// Of the quiet end.
    pub journal: Vec<Vec<u8>>,
    pub struck: Vec<Struck>,
    /// Whenever it was looked at.
    pub was_machine_calm: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How a process may end by itself.
    pub codes: &'static [&'static str],
    /// Calls of the provider for one message.
    pub calls_max: usize,
    /// Processes that are traced are slow.
    pub is_recovery_timed: bool,
}

pub fn judge_traces(traces: &Traces, bounds: Bounds, secrets: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for seen in traces.forgotten.iter().filter(|seen| seen.update > seen.on_disk) {
        problems.push(format!("I5: update {} was confirmed, the journal reaches {}", seen.update, seen.on_disk));
    }
    for (text, count) in traces.asked.iter().filter(|(_, count)| **count > bounds.calls_max) {
        problems.push(format!("I6: the provider was asked {count} times about {text:?}"));
    }
    for exit in traces.exits.iter().filter(|exit| !bounds.codes.contains(&exit.code.as_str())) {
        problems.push(format!("I8: a process ended with {} after {}", exit.code, exit.cause));
    }
    if bounds.is_recovery_timed {
        problems.extend(slow_recoveries(&recoveries(&traces.lines), traces.was_machine_calm));
    }
    problems.extend(traces.survivors.iter().map(|id| format!("I9: process {id} was left running")));
    problems.extend(shown_secrets(traces, secrets));
    problems
        .extend(traces.samples.iter().filter(|sample| is_too_much(sample)).map(|sample| format!("I11: {sample:?}")));
    for struck in traces.struck.iter().filter(|struck| !struck.was_noticed) {
        problems.push(format!("I12: nothing told of {}", struck.what));
    }
    problems.extend(told_damage(&traces.lines));
    problems.extend(open_turns(&traces.journal));
    problems
}

fn is_too_much(sample: &Sample) -> bool {
    sample.resident_kib > RESIDENT_KIB_MAX || sample.files > FILES_MAX || sample.threads > THREADS_MAX
}

fn events<'a>(lines: &'a [String], name: &'a str) -> impl Iterator<Item = Value> + 'a {
    let quoted = format!("\"event\":\"{name}\"");
    let lines = lines.iter().filter(move |line| line.contains(&quoted));
    let objects = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(move |object| object["event"] == name)
}

/// Milliseconds of each recovery that had something to read.
pub fn recoveries(lines: &[String]) -> Vec<u64> {
    let recovered = events(lines, "recovered").filter(|event| event["frames"].as_u64() != Some(0));
    recovered.filter_map(|event| event["took_ms"].as_u64()).collect()
}

/// Whether nothing but us is at work. A kernel that does not say so is taken for busy.
pub fn is_machine_calm() -> bool {
    let pressure = |kind: &str| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{kind}")).ok()?;
        text.split_once("avg10=")?.1.split_whitespace().next()?.parse::<f64>().ok()
    };
    ["cpu", "io"].iter().all(|kind| pressure(kind).is_some_and(|percent| percent <= PRESSURE_MAX))
}

/// On a calm machine nineteen of twenty have to keep their time; of a few, half. Where others take the processor, ten times
/// as long is allowed: that is still no time for what grows with the files.
fn slow_recoveries(times: &[u64], was_machine_calm: bool) -> Option<String> {
    let most = if was_machine_calm { RECOVERY_MS_MAX } else { RECOVERY_BUSY_MS_MAX };
    let slow = times.iter().filter(|time| **time > most).count();
    let share = if was_machine_calm && times.len() >= RECOVERIES_MIN { 20 } else { 2 };
    let is_fault = slow > 1 && slow * share > times.len();
    is_fault.then(|| format!("I8: {slow} of {} recoveries took longer than {most} ms", times.len()))
}

fn shown_secrets(traces: &Traces, secrets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for secret in secrets {
        let files = traces.files.iter().filter(|(_, bytes)| contains(bytes, secret));
        found.extend(files.map(|(path, _)| format!("I10: a secret is in {}", path.display())));
        if traces.lines.iter().any(|line| line.contains(secret)) || contains(&traces.stdout, secret) {
            found.push("I10: a secret was printed".to_string());
        }
    }
    found
}

/// No crash and no error of a call damages what was promised, so nothing may be reported as damaged; nor may a bug show.
fn told_damage(lines: &[String]) -> Vec<String> {
    let damage = events(lines, "journal_damage").map(|event| format!("I1: damage was reported: {}", event["detail"]));
    let panics = lines.iter().filter(|line| line.contains("panicked at"));
    damage.chain(panics.map(|line| format!("I8: {}", shortened(line)))).collect()
}

fn open_turns(files: &[Vec<u8>]) -> Vec<String> {
    let open = journal_text::read(files).open;
    open.into_iter().map(|id| format!("I1: turn {id} is open in the journal, and all is quiet")).collect()
}
