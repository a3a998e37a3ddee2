//! What one turn writes when nothing else happens: bytes and flushes by kind of file, as strace sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::instruments::find_strace;
use crate::report::{Figure, Report};
use crate::stage::{Stage, Worker, fakes};
use crate::support::fake_provider::{Reply, Rule};
use crate::support::fake_telegram::FakeTelegram;
use crate::support::waiting::{CEILING, holds};

const FLUSHES_MAX: f64 = 3.0;
const JOURNAL_KIBIBYTES_MAX: f64 = 16.0;
const TURNS: usize = 5;
const BLOCK_BYTES: usize = 4096;
/// The longest reply that the budget is for.
const REPLY_BYTES: usize = 2 * 1024 - 16;
/// Later than the delayed flush of what nobody waits for, so that turns do not share one.
const APART: Duration = Duration::from_millis(700);
const CALLS: &str = "trace=write,pwrite64,fsync,fdatasync";

/// What a process wrote under its data folder, by the first folder there.
///
/// Not taken from `/proc/<id>/io`: a kernel that caches files in large folios counts a whole one for each block.
#[derive(Default)]
struct Cost {
    /// Handed to the kernel.
    bytes: BTreeMap<String, u64>,
    flushes: BTreeMap<String, u64>,
    /// Blocks of the journal that a flush had to bring to the disk. A block written twice in between goes there once.
    journal_blocks: usize,
}

impl Cost {
    /// The lines of a trace: `<id> name(<fd></path/of/file>, ""..., <length>, <offset>…`.
    fn read(trace: &str, data: &str) -> Cost {
        let mut cost = Cost::default();
        let mut dirty = BTreeSet::new();
        for line in trace.lines() {
            // A call that another thread's interrupts has a second line, without its file.
            let Some((name, path, rest)) = call(line) else { continue };
            let Some(file) = path.strip_prefix(data) else { continue };
            let folder = file.trim_start_matches('/').split('/').next().unwrap_or_default().to_string();
            let is_journal = folder == "journal";
            if matches!(name, "fsync" | "fdatasync") {
                *cost.flushes.entry(folder).or_default() += 1;
                dirty.retain(|(dirty_file, _)| *dirty_file != file);
                continue;
            }
            let (length, offset) = length_and_offset(rest);
            *cost.bytes.entry(folder).or_default() += length;
            for block in (offset..offset + length).step_by(BLOCK_BYTES).filter(|_| is_journal) {
                cost.journal_blocks += usize::from(dirty.insert((file, block)));
            }
        }
        cost
    }

    fn flush_count(&self) -> u64 {
        self.flushes.values().sum()
    }
}

/// Name, file and remaining arguments of a call.
fn call(line: &str) -> Option<(&str, &str, &str)> {
    let call = line.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ');
    let (name, arguments) = call.split_once('(')?;
    let (_, file) = arguments.split_once('<')?;
    let (path, rest) = file.split_once('>')?;
    Some((name, path, rest))
}

/// The numbers behind the contents, which are cut to nothing. An append has no offset.
fn length_and_offset(rest: &str) -> (u64, u64) {
    let behind = rest.split_once("\"\"..., ").map_or("", |(_, behind)| behind);
    let mut numbers = behind.split(|letter: char| !letter.is_ascii_digit()).filter_map(|text| text.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

pub fn measure(report: &mut Report) {
    let Some(strace) = find_strace() else {
        report.skip("flushes and bytes of a turn", "strace is not installed, or may not trace");
        return;
    };
    let (telegram, provider) = fakes();
    let mut stage = Stage::in_folder(Path::new(env!("CARGO_TARGET_TMPDIR")));
    stage.ask(&provider);
    stage.listen_to(&telegram.url());
    provider.rule(Rule::when("").reply(Reply::Long(REPLY_BYTES)));
    report.command(&format!("strace -f -y -s 0 -e {CALLS} rusty-pinch channels telegram"));
    let (strace, trace) = (strace.to_string_lossy(), stage.path("trace"));
    let trace_path = trace.to_string_lossy();
    let mut worker = stage.worker(&[&strace, "-f", "-y", "-qq", "-s", "0", "-e", CALLS, "-o", &trace_path]);
    worker.until("a poll", CEILING, || telegram.pending_polls() > 0);
    // The first turn of a chat creates its session file, and the first after a start writes the counters.
    turn(&telegram, &mut worker);
    let data = stage.path("data").to_string_lossy().into_owned();
    let costs: Vec<Cost> = (0..TURNS)
        .map(|_| {
            let before = fs::metadata(&trace).expect("strace writes its trace").len();
            turn(&telegram, &mut worker);
            let text = fs::read_to_string(&trace).expect("strace writes its trace");
            Cost::read(&text[usize::try_from(before).expect("it fits into memory")..], &data)
        })
        .collect();
    let traced = worker.books().children();
    worker.stop(traced[0]);
    add(report, &costs);
}

/// One message, its answer, and everything that is written afterwards.
fn turn(telegram: &FakeTelegram, worker: &mut Worker) {
    let count = telegram.sent_count();
    telegram.say(42, "what is the weather like today?");
    worker.until("an answer", CEILING, || telegram.sent_count() > count);
    holds("the worker runs", APART, || worker.is_running());
}

fn add(report: &mut Report, costs: &[Cost]) {
    let most = |value: &dyn Fn(&Cost) -> u64| costs.iter().map(value).max().unwrap_or(0) as f64;
    let bytes = |folder: &'static str| move |cost: &Cost| cost.bytes.get(folder).copied().unwrap_or(0);
    report.note(&format!("one turn with a reply of 2 KiB; the most of {} turns, one at a time", costs.len()));
    report.add(Figure::new("flushes", most(&Cost::flush_count), "flushes").at_most(FLUSHES_MAX));
    let blocks = most(&|cost| (cost.journal_blocks * BLOCK_BYTES) as u64) / 1024.0;
    report.add(Figure::new("journal, reaching the disk", blocks, "KiB").at_most(JOURNAL_KIBIBYTES_MAX));
    report.add(Figure::new("journal, handed to the kernel", most(&bytes("journal")) / 1024.0, "KiB"));
    report.add(Figure::new("session", most(&bytes("sessions")) / 1024.0, "KiB"));
    report.add(Figure::new("counters", most(&bytes("telemetry")) / 1024.0, "KiB"));
}
