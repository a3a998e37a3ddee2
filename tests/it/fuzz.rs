//! FC-8: twelve readers of foreign bytes, each given a great many inputs that a mutator makes of good ones.
//!
//! None may panic, take more than 50 ms of CPU (and a little for each byte beyond) or more than 64 MiB of memory; and each has promises of its own, in `targets`. The
//! work is done in a process of its own, so that its memory can be measured and an endless loop be ended. Time is that of the
//! processor, as the kernel counts it for a thread, so a busy machine changes nothing. `RP_TEST_CASES` is the number of inputs for each target;
//! `make fuzz` makes 100,000, optimised. An input that breaks something is kept in target/fuzz.
//!
//! Seen to fail within 300 inputs: with an index in place of `get` in a reader; within 100,000: with markup that looks at a whole
//! text of one line again for each of its signs (32 s).

mod mutator;
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cases::{Random, cases, say};
use crate::support::report::{Report, folder};
use crate::support::waiting::{came_true, spawn};
use targets::{TARGETS, Target};

/// Says that this process shall do the work.
const WORKS: &str = "RP_TEST_FUZZ";
const CPU_MS_MAX: u64 = if cfg!(debug_assertions) { 1000 } else { 50 };
/// More for a large input: so many of its bytes are worth a millisecond. What grows with the square of the input shows all the same.
const BYTES_PER_MS: usize = if cfg!(debug_assertions) { 250 } else { 5000 };
const MEMORY_KIB_MAX: u64 = 64 * 1024;
/// Inputs between two looks at the clock, which costs as much as a small input.
const BATCH: usize = 32;
/// Problems of one target that are kept.
const PROBLEMS_MAX: usize = 3;

/// Does its work only in the process that the test below starts.
#[test]
fn a_process_reads_what_a_mutator_makes() {
    #[expect(clippy::disallowed_methods, reason = "how a process of this test knows itself")]
    if std::env::var_os(WORKS).is_none() {
        return;
    }
    let mut random = Random::for_test("fuzz");
    let count = cases(300, 100_000_000);
    for target in &TARGETS {
        say(&json!({ "fuzz": fuzzed(target, count, &mut random) }).to_string());
    }
}

#[test]
fn no_foreign_bytes_break_a_reader() {
    let random = Random::for_test("fuzz");
    let mut report = Report::start("fuzz", random.seed);
    let ceiling = Duration::from_secs(120 + cases(300, 100_000_000) as u64 / 20);
    let (is_in_time, output) = work(random.seed, ceiling);
    let found: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for target in found.iter().map(|line| &line["fuzz"]) {
        let name = target["target"].as_str().unwrap_or_default();
        for figure in ["cpu_ms_max", "memory_kib", "bytes"] {
            report.count_of(&format!("{name}_{figure}"), target[figure].as_u64().unwrap_or_default() as usize);
        }
        report.count += target["inputs"].as_u64().unwrap_or_default() as usize;
        let problems = target["problems"].as_array().into_iter().flatten();
        report.add_problems(problems.map(|problem| format!("{name}: {}", problem.as_str().unwrap_or_default())));
    }
    if !is_in_time {
        report.add_problems(["a reader does not come to an end".to_string()].into_iter());
    }
    if found.len() != TARGETS.len() {
        let last = output.lines().last().unwrap_or_default();
        let text = format!("{} of {} targets were read: {last}", found.len(), TARGETS.len());
        report.add_problems([text].into_iter());
    }
    report.finish();
}

/// The output of a process that does the work, and whether it ended by itself.
fn work(seed: u64, ceiling: Duration) -> (bool, String) {
    let this = std::env::current_exe().expect("a path");
    let mut command = Command::new(this);
    command.args(["--exact", "fuzz::a_process_reads_what_a_mutator_makes", "--nocapture"]);
    command.env(WORKS, "1").env("RP_TEST_SEED", seed.to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut pipe = child.stdout.take().expect("it is a pipe");
    let (told, heard) = crossbeam_channel::bounded(1);
    let reader = spawn("fuzz", move || drop(told.send(std::io::read_to_string(&mut pipe))));
    let is_in_time = came_true(ceiling, || child.try_wait().expect("it is our child").is_some());
    let _ = child.kill();
    let _ = child.wait();
    let output = heard.recv().ok().and_then(Result::ok).unwrap_or_default();
    let _ = reader.join();
    (is_in_time, output)
}

fn fuzzed(target: &Target, count: usize, random: &mut Random) -> Value {
    let mut inputs = (target.inputs)();
    inputs.push(Vec::new());
    let mut found = Found { target: target.name, problems: Vec::new(), cpu_ms_max: 0 };
    for input in &inputs {
        found.run(target, input);
    }
    let memory = peak_kib();
    let mut bytes = 0;
    let mut done = 0;
    while done < count && found.problems.len() < PROBLEMS_MAX {
        let batch: Vec<Vec<u8>> = (0..BATCH.min(count - done)).map(|_| mutator::mutated(&inputs, random)).collect();
        let before = cpu_ms();
        batch.iter().for_each(|input| found.run(target, input));
        // Which of them it was shows when each is read again alone.
        if cpu_ms() - before > CPU_MS_MAX {
            batch.iter().for_each(|input| found.time(target, input));
        }
        bytes += batch.iter().map(Vec::len).sum::<usize>();
        done += batch.len();
    }
    let memory = peak_kib().saturating_sub(memory);
    if memory > MEMORY_KIB_MAX {
        found.problems.push(format!("took {memory} KiB more than its first inputs"));
    }
    json!({
        "target": target.name, "inputs": done, "bytes": bytes, "cpu_ms_max": found.cpu_ms_max, "memory_kib": memory,
        "problems": found.problems,
    })
}

struct Found {
    target: &'static str,
    problems: Vec<String>,
    cpu_ms_max: u64,
}

impl Found {
    fn run(&mut self, target: &Target, input: &[u8]) {
        if let Err(panic) = catch_unwind(|| (target.run)(input)) {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_string()));
            self.problem(&words.unwrap_or_default(), input);
        }
    }

    fn time(&mut self, target: &Target, input: &[u8]) {
        let before = cpu_ms();
        let _ = catch_unwind(|| (target.run)(input));
        let took = cpu_ms() - before;
        self.cpu_ms_max = self.cpu_ms_max.max(took);
        if took > CPU_MS_MAX + (input.len() / BYTES_PER_MS) as u64 {
            self.problem(&format!("took {took} ms for {} bytes", input.len()), input);
        }
    }

    fn problem(&mut self, words: &str, input: &[u8]) {
        let place = kept(self.target, self.problems.len(), input);
        let words: String = words.chars().take(300).collect();
        self.problems.push(format!("{words}: the input is {}", place.display()));
    }
}

fn kept(target: &str, number: usize, input: &[u8]) -> PathBuf {
    let folder = folder().with_file_name("fuzz");
    fs::create_dir_all(&folder).expect("the target folder is ours");
    let path = folder.join(format!("{target}-{number}"));
    fs::write(&path, input).expect("the input is kept");
    path
}

/// Milliseconds that this thread was on a processor.
fn cpu_ms() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts");
    text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).expect("a number") / 1_000_000
}

/// The most memory that this process had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it counts memory");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
