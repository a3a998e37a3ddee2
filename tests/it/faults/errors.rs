//! System calls fail: every call below with every error that it may have, at the k-th call of a thread for k = 1, 2, 3, …
//! until no life comes so far. One in six goes on failing from there.
//!
//! The worker may go on, or end with 74 and be started again; it must say something within five seconds, and after a
//! failed flush it must not flush again and believe it. Left out: memory (a process that gets none is ended by its
//! allocator, like a kill) and `clone3` (a worker that gets no thread at its start ends with 70, as for a bug).

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::faults::{data_files, or_skip};
use crate::support::cases::{Random, cases};
use crate::support::checker_traces::{Exit, NOTICE_TIME, Struck};
use crate::support::report::Report;
use crate::support::scene::STOP_CEILING;
use crate::support::stretch::{Expect, Stretch, quiet_stage};
use crate::support::tracer::{Injection, Trace, Tracer};
use crate::support::waiting::{CEILING, came_true};
use crate::support::world::Process;

/// A call, whether only those on our data files fail, and how.
type Kind = (&'static str, bool, &'static [&'static str]);

const OF_DATA: [Kind; 14] = [
    ("pwrite64", true, &["error=EIO", "error=ENOSPC", "error=EROFS", "error=EDQUOT", "error=EINTR", "retval=0"]),
    ("write", true, &["error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EINTR", "retval=0"]),
    ("write", false, &["error=EIO", "error=EPIPE", "error=EAGAIN", "error=EINTR", "error=ENOSPC"]),
    ("fdatasync", false, &["error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EROFS"]),
    ("fsync", false, &["error=EIO", "error=ENOSPC"]),
    ("openat", true, &["error=EMFILE", "error=ENFILE", "error=ENOMEM", "error=EIO", "error=EROFS", "error=EINTR"]),
    ("rename", false, &["error=EIO", "error=ENOSPC", "error=EROFS"]),
    ("unlink", false, &["error=EIO", "error=EROFS"]),
    ("ftruncate", true, &["error=EIO", "error=ENOSPC"]),
    ("mkdir", false, &["error=ENOSPC", "error=EROFS", "error=EIO"]),
    ("pread64", true, &["error=EIO", "error=EINTR"]),
    ("statx", true, &["error=EIO", "error=ENOMEM"]),
    ("getdents64", true, &["error=EIO", "error=ENOMEM"]),
    ("flock", true, &["error=EINTR", "error=ENOLCK", "error=EIO"]),
];
const OF_NETWORK: [Kind; 5] = [
    ("socket", false, &["error=EMFILE", "error=ENFILE", "error=ENOBUFS"]),
    ("connect", false, &["error=ECONNREFUSED", "error=ETIMEDOUT", "error=ENETUNREACH", "error=EADDRNOTAVAIL"]),
    ("sendto", false, &["error=ECONNRESET", "error=EPIPE", "error=ETIMEDOUT", "error=EINTR", "error=EAGAIN"]),
    ("recvfrom", false, &["error=ECONNRESET", "error=ETIMEDOUT", "error=EINTR", "error=EAGAIN", "retval=0"]),
    ("poll", false, &["error=EINTR", "error=ENOMEM"]),
];
/// Events that tell of something else than a fault of data, and of something else than a fault of a socket.
const NOT_OF_DATA: [&str; 6] = [
    "channel_poll_error",
    "channel_send_error",
    "provider_retry",
    "provider_state",
    "session_repaired",
    "orphans_ended",
];
const NOT_OF_NETWORK: [&str; 6] = [
    "storage_error",
    "session_append_error",
    "session_read_error",
    "telemetry_error",
    "session_repaired",
    "orphans_ended",
];
/// Files may not grow beyond a place within one of these blocks of the journal; behind it a write is short.
const SHORT_BLOCKS: (u64, u64) = (2, 20);
const BLOCK_BYTES: u64 = 4096;
/// Signals reach our code through a pair of sockets, where these calls never fail but by our own injection. So processes
/// with such faults are not told to stop, and the calls with which the signals' thread begins are passed over.
const SIGNAL_CALLS: [(&str, usize); 2] = [("sendto", 0), ("recvfrom", 2)];
/// Sessions stay smaller than the limits.
const SHORT_PER_STRETCH: usize = 20;
const LIFE: Duration = Duration::from_millis(300);
const LIFE_PER_CALL: Duration = Duration::from_millis(40);
const AFTERLIFE_MS_MAX: u64 = 150;
const MISSES_MAX: usize = 2;
/// So deep that a pass without any fault shows as one.
const DEPTH_MIN: usize = 4;
const INJECTIONS_PER_STRETCH: usize = 100;
const LASTING_PER_MILLE: u64 = 160;
/// The note of a failed disk stays in so many of a thousand cases, so that the second failure parks the worker.
const KEPT_NOTE_PER_MILLE: u64 = 250;

/// What is injected: a kind, one of its effects, and the count of the call.
#[derive(Clone, Copy)]
struct Case {
    kind: usize,
    effect: usize,
    k: usize,
}

#[test]
fn failing_calls_on_data_lose_nothing_repeat_nothing_unmarked_and_are_told() {
    let_fail("errors_data", &OF_DATA, 2);
}

#[test]
fn failing_calls_on_sockets_lose_nothing_repeat_nothing_unmarked_and_are_told() {
    let_fail("errors_network", &OF_NETWORK, 1);
}

/// Files may only grow to a place within a block: the kernel writes a part of a frame and says so, and then no more.
#[test]
fn writes_that_are_cut_short_lose_nothing_repeat_nothing_unmarked_and_are_told() {
    let limited =
        |limit: u64| ["env", "--ignore-signal=XFSZ", "prlimit", &format!("--fsize={limit}")].map(OsString::from);
    let words = limited(BLOCK_BYTES);
    let can_be_done = Command::new(&words[0]).args(&words[1..]).arg("true").status().is_ok_and(|one| one.success());
    let needed = can_be_done.then_some(()).ok_or_else(|| "env and prlimit cannot limit files".to_string());
    let Some(()) = or_skip("short_writes", needed) else { return };
    let mut random = Random::for_test("short_writes");
    let mut report = Report::start("short_writes", random.seed);
    let count = cases(10, 10_000).div_ceil(5);
    while report.count < count {
        let mut stretch = Stretch::begin(quiet_stage(&mut random));
        // Both files of the journal are made with their full size.
        for _ in 0..2 {
            let process = stretch.scene.start_polling();
            stretch.kill(process, "nothing");
        }
        for _ in 0..SHORT_PER_STRETCH.min(count - report.count) {
            let block = random.between(SHORT_BLOCKS.0, SHORT_BLOCKS.1);
            let limit = block * BLOCK_BYTES + random.between(1, BLOCK_BYTES - 1);
            stretch.scene.world.empty("run");
            let mut process = stretch.scene.start_through(&limited(limit));
            came_true(CEILING, || !process.is_running() || !told(&process, &NOT_OF_DATA).is_empty());
            came_true(Duration::from_millis(random.between(0, AFTERLIFE_MS_MAX)), || !process.is_running());
            // What it said when it ended may still be on its way to us.
            came_true(NOTICE_TIME, || !told(&process, &NOT_OF_DATA).is_empty());
            let what = format!("files of at most {limit} bytes");
            let events = told(&process, &NOT_OF_DATA);
            report.note(&format!("short → {}", events.first().map_or("-", String::as_str)));
            stretch.struck.push(Struck { what: what.clone(), was_noticed: !events.is_empty() });
            stretch.kill(process, &what);
            report.count += 1;
        }
        stretch.end(Expect::FAILING_CALLS, &mut report);
    }
    report.finish();
}

/// So many thirds of all injections.
fn let_fail(item: &'static str, kinds: &'static [Kind], thirds: usize) {
    let Some(mut tracer) = or_skip(item, Tracer::new()) else { return };
    let mut random = Random::for_test(item);
    let mut report = Report::start(item, random.seed);
    let count = (cases(10, 10_000) * thirds).div_ceil(3);
    let mut plan = all_cases(kinds, &mut random, count.max(DEPTH_MIN));
    let mut misses = vec![[0; 8]; kinds.len()];
    let mut count_before_pass = 0;
    while report.count < count {
        let mut stretch = Stretch::begin(quiet_stage(&mut random));
        for _ in 0..INJECTIONS_PER_STRETCH.min(count - report.count) {
            let Some(case) = plan.find(|case| misses[case.kind][case.effect] < MISSES_MAX) else { break };
            let was_struck = inject(&mut stretch, &mut tracer, kinds[case.kind], case, &mut random, &mut report);
            report.count += usize::from(was_struck);
            let missed = &mut misses[case.kind][case.effect];
            *missed = if was_struck { 0 } else { *missed + 1 };
        }
        stretch.end(Expect::FAILING_CALLS, &mut report);
        if misses.iter().zip(kinds).all(|(missed, kind)| missed[..kind.2.len()].iter().all(|one| *one >= MISSES_MAX)) {
            // No life comes further, so once more from the start, with other moments. A pass without a fault is the end.
            if std::mem::replace(&mut count_before_pass, report.count) == report.count {
                break;
            }
            misses.fill([0; 8]);
            plan = all_cases(kinds, &mut random, count.max(DEPTH_MIN));
        }
    }
    report.finish();
}

/// Every effect of every kind with k = 1, then with k = 2, and so on. A short run does not come further than a part of
/// the first; it begins anywhere.
fn all_cases(kinds: &'static [Kind], random: &mut Random, depth: usize) -> impl Iterator<Item = Case> + use<> {
    let pairs: Vec<_> =
        (0..kinds.len()).flat_map(|kind| (0..kinds[kind].2.len()).map(move |effect| (kind, effect))).collect();
    let first = random.index(pairs.len());
    let all =
        (1..=depth).flat_map(move |k| pairs.clone().into_iter().map(move |(kind, effect)| Case { kind, effect, k }));
    all.skip(first)
}

/// One life with one fault. Whether the fault struck.
fn inject(
    stretch: &mut Stretch,
    tracer: &mut Tracer,
    kind: Kind,
    case: Case,
    random: &mut Random,
    report: &mut Report,
) -> bool {
    let (call, of_data, effects) = kind;
    let signal_calls = SIGNAL_CALLS.iter().find(|(name, _)| *name == call);
    let k = case.k + signal_calls.map_or(0, |(_, first)| *first);
    let may_last = !matches!(effects[case.effect], "error=EINTR" | "error=EAGAIN");
    let when = if may_last && random.chance(LASTING_PER_MILLE) { format!("{k}+") } else { k.to_string() };
    let files = if of_data { data_files(&stretch.scene.world) } else { Vec::new() };
    let injection = Injection { call, effect: effects[case.effect], when, files };
    if !random.chance(KEPT_NOTE_PER_MILLE) {
        stretch.scene.world.empty("run");
    }
    let (prefix, trace) = tracer.prefix(&injection);
    let mut process = stretch.scene.start_through(&prefix);
    let life = LIFE + LIFE_PER_CALL * k as u32;
    let mut due = Vec::new();
    if came_true(life, || !trace.struck().is_empty() || !process.is_running()) {
        due = struck_with_time_to_tell(&mut process, &trace, &injection);
        came_true(Duration::from_millis(random.between(0, AFTERLIFE_MS_MAX)), || !process.is_running());
    }
    end(stretch, &mut process, &injection, random.chance(500) && signal_calls.is_none());
    let struck = trace.struck();
    if let Some(first) = struck.first() {
        judge_life(stretch, &process, &trace, &injection, !due.is_empty(), report);
        let was_noticed = is_nothing_to_tell(&injection, &due) || !told(&process, others(&injection)).is_empty();
        stretch.struck.push(Struck { what: first.clone(), was_noticed });
    }
    stretch.scene.kill(process);
    trace.forget();
    !struck.is_empty()
}

/// Waits until the worker tells or ends. What strikes during the wait gets the same time again; what strikes later, while
/// the life is being ended, owes us nothing: the process may be dead before it can tell.
fn struck_with_time_to_tell(process: &mut Process, trace: &Trace, injection: &Injection) -> Vec<String> {
    let is_silent = is_silent(injection);
    came_true(NOTICE_TIME, || is_silent || !process.is_running() || !told(process, others(injection)).is_empty());
    let due = trace.struck();
    let owes_nothing = is_nothing_to_tell(injection, &due);
    came_true(NOTICE_TIME, || owes_nothing || !process.is_running() || !told(process, others(injection)).is_empty());
    due
}

fn is_nothing_to_tell(injection: &Injection, struck: &[String]) -> bool {
    let is_mended = |line: &String| is_look_at_kept_connection(line) || is_for_going_back(line);
    is_silent(injection) || struck.iter().all(is_mended)
}

/// Ends a life that goes on, politely or not; how it ended by itself or politely is kept.
fn end(stretch: &mut Stretch, process: &mut Process, injection: &Injection, is_polite: bool) {
    stretch.sample(process);
    let cause = format!("{} {} {}", injection.call, injection.effect, injection.when);
    if process.is_running() {
        if !is_polite {
            process.kill();
            return;
        }
        process.terminate_when_it_heeds();
    }
    if came_true(STOP_CEILING, || !process.is_running()) {
        stretch.note_end(process, &cause);
    } else {
        stretch.exits.push(Exit { code: "no end within 10 s".to_string(), cause });
        process.kill();
    }
}

/// What was injected is not a fault to tell of: the call is made again at once, or the log itself is what cannot be
/// written.
fn is_silent(injection: &Injection) -> bool {
    injection.effect == "error=EINTR" || (injection.call == "write" && injection.files.is_empty())
}

/// Before a kept connection is used again, one byte is looked for: when that fails, a new one is opened.
fn is_look_at_kept_connection(struck: &str) -> bool {
    struck.contains("recvfrom") && struck.contains(", 1, 0, NULL, NULL)")
}

/// What only a return to the earlier runtime needs is written again with the next counters.
fn is_for_going_back(struck: &str) -> bool {
    struck.contains("latest.json.counted")
}

/// What tells of something else than this.
fn others(injection: &Injection) -> &'static [&'static str] {
    if OF_NETWORK.iter().any(|(call, ..)| *call == injection.call) { &NOT_OF_NETWORK } else { &NOT_OF_DATA }
}

/// Names of the warnings and errors that a process logged, without those that tell of something else.
fn told(process: &Process, others: &[&str]) -> Vec<String> {
    let lines = process.lines();
    let objects = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let serious = objects.filter(|object| object["level"] == "warn" || object["level"] == "error");
    let names = serious.map(|object| object["event"].as_str().unwrap_or_default().to_string());
    names.filter(|name| !others.contains(&name.as_str())).collect()
}

/// After a failed flush nobody knows what is on the medium: it is not tried again, and the worker ends or parks.
/// Whether it says so is judged when it had the time to.
fn judge_life(
    stretch: &mut Stretch,
    process: &Process,
    trace: &Trace,
    injection: &Injection,
    had_time: bool,
    report: &mut Report,
) {
    let events = told(process, others(injection));
    report.note(&format!("{} {} → {}", injection.call, injection.effect, events.first().map_or("-", String::as_str)));
    if injection.call != "fdatasync" {
        return;
    }
    let again = trace.calls_on_the_file_of_the_first_struck(injection.call);
    let is_final = events.iter().any(|event| event == "fatal" || event == "channel_parked");
    if again > 0 || (had_time && !is_final) {
        let what = format!("{injection:?}: flushed again {again} times, told {events:?}");
        stretch.struck.push(Struck { what, was_noticed: false });
    }
}
