//! The worker is killed as it enters its k-th system call of a kind, for k = 1, 2, 3, … until no life comes so far; then
//! once more from the first, with other moments, until there were as many kills as wanted.
//!
//! The kernel does not perform that call. So each kill is exactly between two calls, where a random one rarely falls.

use std::time::Duration;

use crate::faults::{data_files, or_skip};
use crate::support::cases::{Random, cases};
use crate::support::report::Report;
use crate::support::scene::STOP_CEILING;
use crate::support::stretch::{Expect, Stretch, stage};
use crate::support::tracer::{Injection, Tracer};
use crate::support::waiting::came_true;

/// A call that changes what others see, and whether only those on our data files count: the log is written to, and
/// libraries are opened, with the same calls.
type Kind = (&'static str, bool);

const OF_DATA: [Kind; 4] = [("pwrite64", false), ("fdatasync", false), ("write", true), ("openat", true)];
const OF_NETWORK: [Kind; 3] = [("connect", false), ("sendto", false), ("recvfrom", false)];
const RARE: [Kind; 6] =
    [("write", false), ("fsync", false), ("rename", false), ("unlink", false), ("ftruncate", false), ("mkdir", false)];

/// A life is this long, and longer for each further call; then the worker is told to stop, which makes calls of its own.
const LIFE: Duration = Duration::from_millis(600);
const LIFE_PER_CALL: Duration = Duration::from_millis(40);
/// Lives in a row that may end without reaching their call before we go on to the next kind.
const MISSES_MAX: usize = 2;
const LIVES_PER_STRETCH: usize = 120;

#[test]
fn kills_at_each_system_call_on_data_lose_nothing_and_repeat_nothing_unmarked() {
    kill_at_each("system_calls_data", &OF_DATA, 40);
}

#[test]
fn kills_at_each_system_call_on_sockets_lose_nothing_and_repeat_nothing_unmarked() {
    kill_at_each("system_calls_network", &OF_NETWORK, 40);
}

#[test]
fn kills_at_each_rare_system_call_lose_nothing_and_repeat_nothing_unmarked() {
    kill_at_each("system_calls_rare", &RARE, 10);
}

/// With a share of the kills of the whole campaign, in hundredths.
fn kill_at_each(item: &'static str, kinds: &[Kind], share: usize) {
    let Some(mut tracer) = or_skip(item, Tracer::new()) else { return };
    let mut random = Random::for_test(item);
    let mut report = Report::start(item, random.seed);
    let wanted = (cases(10, 10_000) * share).div_ceil(100);
    while report.count < wanted {
        let before = report.count;
        one_pass(kinds, wanted, &mut tracer, &mut random, &mut report);
        if report.count == before {
            break;
        }
    }
    report.finish();
}

/// Until no life comes further, with any kind.
fn one_pass(kinds: &[Kind], wanted: usize, tracer: &mut Tracer, random: &mut Random, report: &mut Report) {
    let mut lives = plan(kinds.len(), wanted).peekable();
    let mut misses = vec![0; kinds.len()];
    while lives.peek().is_some() && report.count < wanted && misses.iter().any(|missed| *missed < MISSES_MAX) {
        let mut stretch = Stretch::begin(stage(random, 20));
        for (kind, k) in lives.by_ref().take(LIVES_PER_STRETCH) {
            if misses[kind] >= MISSES_MAX || report.count >= wanted {
                continue;
            }
            let (call, of_data) = kinds[kind];
            let files = if of_data { data_files(&stretch.scene.world) } else { Vec::new() };
            let injection = Injection { call, effect: "signal=SIGKILL", when: k.to_string(), files };
            if is_killed(&mut stretch, tracer, &injection, LIFE + LIFE_PER_CALL * k as u32) {
                misses[kind] = 0;
                report.count += 1;
                report.note(&format!("{call}{}", if of_data { "_of_data" } else { "" }));
            } else {
                misses[kind] += 1;
            }
        }
        stretch.end(Expect::TRACED, report);
    }
}

/// All kinds in turn, so that every stretch has all of them.
fn plan(kinds: usize, depth: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..=depth).flat_map(move |k| (0..kinds).map(move |kind| (kind, k)))
}

/// False when the worker lived on and was stopped.
fn is_killed(stretch: &mut Stretch, tracer: &mut Tracer, injection: &Injection, life: Duration) -> bool {
    let (prefix, trace) = tracer.prefix(injection);
    let mut process = stretch.scene.start_through(&prefix);
    if !came_true(life, || !process.is_running()) {
        process.terminate_when_it_heeds();
    }
    let was_killed = process.code_within(STOP_CEILING) == "signal 9";
    if !was_killed {
        stretch.note_end(&mut process, injection.call);
    }
    trace.forget();
    stretch.scene.kill(process);
    was_killed
}
