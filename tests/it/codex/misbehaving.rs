//! FC-13: programs in the place of Codex that hang, flood, fork, die or lie. Every turn has its class within the deadline
//! of a run and five seconds, and nothing of the program is left: no process, no zombie.
//!
//! Each case has a process of its own, which lives on while it is judged; `RP_TEST_CASES` times.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::geteuid;

use crate::codex::{ask, stand_in};
use crate::support::cases::{Random, cases, is_long_run, say};
use crate::support::report::Report;
use crate::support::scene::Scene;
use crate::support::waiting::{CEILING, came_true, lock, now, since, spawn, until_within};
use crate::support::world::World;

const DEADLINE_SECS: u64 = 2;
/// Beyond the deadline: SIGTERM, three seconds of patience, SIGKILL, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A name, what the program does when it is asked for it, and the class of the turn; blank: an answer. On a busy machine 8 MiB of
/// lines take longer than the deadline.
#[rustfmt::skip]
const CASES: [(&str, &str, &str); 21] = [
    ("hang", "exec sleep 600", "timeout_first_byte"),
    ("ignore-term", "trap '' TERM\nwhile :; do sleep 600; done", "timeout_first_byte"),
    ("stopped", "kill -STOP $$", "timeout_first_byte"),
    ("trickle", "while :; do printf x; sleep 0.05; done", "timeout_first_byte"),
    ("half-open", "exec >&-\nexec sleep 600", "timeout_first_byte"),
    ("scream", "yes screaming >&2", "timeout_first_byte"),
    ("breed", "for child in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 600 & done\nwait", "timeout_first_byte"),
    ("hold-pipe", "sleep 600 &\nanswer ok", ""),
    ("hold-pipe-elsewhere", "setsid sleep 600 &\nanswer ok", ""),
    ("daemon", "setsid sleep 600 < /dev/null > /dev/null 2>&1 &\nanswer ok", ""),
    ("flood", "head -c 1073741824 /dev/zero | tr '\\0' x", "too_large"),
    ("flood-lines", "yes \"$(printf %4000s | tr ' ' x)\"", "too_large or timeout_first_byte"),
    ("no-newline", "printf '%s' \"$(answer ok)\"", ""),
    ("no-answer", "exit 0", "malformed"),
    ("half-an-event", "printf '{\"type\":\"turn.comple'", "stream_cut"),
    ("half-a-turn", "answer ok | head -n 3", "stream_cut"),
    ("answer-and-fail", "answer ok\nexit 3", "exit"),
    ("exit-126", "exit 126", "spawn"),
    ("exit-127", "exit 127", "spawn"),
    ("exit-137", "kill -KILL $$", "exit"),
    ("garbage", "head -c 100000 /dev/urandom\nexit 1", "exit"),
];

/// Fields 3 and 4 of `/proc/<pid>/stat`: what it does, and whose child it is.
fn state(process: &str) -> Option<(char, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.to_owned()))
}

fn zombies_of(process: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    ids.filter_map(|id| state(&id)).filter(|(what, parent)| *what == 'Z' && parent == process).count()
}

/// What is wrong with a run of this case, and how many milliseconds it took. `repl` is the process that lives on.
fn misbehave((name, script, class): (&str, &str, &str)) -> (Vec<String>, u64) {
    let (mut world, mut problems) = (World::new(), Vec::new());
    stand_in(&mut world, &format!("cat > /dev/null\n{script}"));
    world.set("RUSTY_PINCH_CODEX_TIMEOUT_SECS", &DEADLINE_SECS.to_string());
    let (mut process, mut input) = world.start_reading(&["repl"]);
    input.write_all(b"hello\n").expect("it reads");
    let ceiling = CEILING + Duration::from_secs(DEADLINE_SECS) + PATIENCE;
    until_within(name, ceiling, || !world.all_events("turn").is_empty());
    let turn = world.all_events("turn").remove(0);
    let (found, took) = (turn["error"].as_str().unwrap_or(""), turn["latency_ms"].as_u64().unwrap_or(u64::MAX));
    if !class.split(" or ").any(|class| class == found) {
        problems.push(format!("{name}: {found} instead of {class} ({})", turn["error_detail"]));
    }
    if u128::from(took) > (Duration::from_secs(DEADLINE_SECS) + PATIENCE).as_millis() {
        problems.push(format!("{name}: {took} ms"));
    }
    let id = process.id().to_string();
    // A killed process needs a moment until its parent, or the first process, has taken it away.
    if !came_true(Duration::from_secs(1), || world.survivors() == [id.clone()]) {
        problems.push(format!("{name} leaves {:?}", world.survivors()));
    }
    if zombies_of(&id) > 0 {
        problems.push(format!("{name}: {} zombies", zombies_of(&id)));
    }
    drop(input);
    if process.wait_within(CEILING).code() != Some(0) {
        problems.push(format!("{name}: {:?}", process.last_words()));
    }
    (problems, took)
}

#[test]
fn programs_that_misbehave_are_bounded_and_leave_nothing() {
    let seed = Random::for_test("programs_that_misbehave_are_bounded_and_leave_nothing").seed;
    let mut report = Report::start("FC-13", seed);
    for _ in 0..cases(1, 20) {
        let results = Arc::new(Mutex::new(Vec::new()));
        let threads = CASES.map(|case| {
            let results = Arc::clone(&results);
            spawn(case.0, move || {
                let result = misbehave(case);
                lock(&results).push(result);
            })
        });
        for thread in threads {
            report.problems.extend(thread.join().err().map(|_| "a case panicked".to_owned()));
        }
        for (problems, took) in lock(&results).drain(..) {
            report.count += 1;
            report.recoveries_ms.push(took);
            report.problems.extend(problems);
        }
    }
    report.finish();
}

/// A program that removes itself answers once; after that there is nothing to start.
#[test]
fn a_program_that_is_gone_is_a_fault_of_the_set_up() {
    let mut world = World::new();
    let program = stand_in(&mut world, "cat > /dev/null\nrm -f \"$0\"\nanswer ok");
    assert_eq!((ask(&world).as_str(), ask(&world).as_str()), ("ok", "spawn"));
    // A script without its interpreter, as npm's codex without node; a file that nobody may run.
    fs::write(&program, "#!/no/such/interpreter\n").expect("it is our folder");
    assert_eq!(ask(&world), "spawn");
}

/// In a container without an init the worker is process 1, and inherits what programs leave behind.
#[test]
fn as_process_one_it_takes_away_what_has_ended() {
    let test = "as_process_one_it_takes_away_what_has_ended";
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"].map(OsString::from);
    let allowed = std::process::Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !geteuid().is_root() || !allowed.is_ok_and(|output| output.status.success()) {
        return say(&format!("skip {test}: a process namespace needs root and unshare"));
    }
    let mut scene = Scene::new(test);
    // Three children of the first process: one that ends by itself, one that is ended, one whose parent is the other.
    let orphans = "setsid true &\nsetsid sleep 600 < /dev/null > /dev/null 2>&1 &\n\
        setsid sh -c 'sleep 600 & sleep 600' < /dev/null > /dev/null 2>&1 &";
    stand_in(&mut scene.world, &format!("cat > /dev/null\n{orphans}\nanswer ok"));
    let process = scene.start_polling_through(&unshare);
    let rounds = if is_long_run() { 50 } else { 3 };
    for count in 1..=rounds {
        scene.telegram.say(1, "hello");
        until_within("an answer", CEILING, || scene.telegram.sent_count() == count);
    }
    let outside = process.id().to_string();
    let is_child = |id: &String| state(id).is_some_and(|(_, parent)| parent == outside);
    let first: Vec<String> = scene.world.survivors().into_iter().filter(is_child).collect();
    let [worker] = first.as_slice() else { panic!("one first process: {first:?}") };
    assert_eq!(zombies_of(worker), 0);
    assert_eq!(scene.world.survivors().len(), 2, "the worker and what started it: {:?}", scene.world.survivors());
    let begun = now();
    let signal = std::process::Command::new("kill").args(["-TERM", worker]).output();
    assert!(signal.is_ok_and(|output| output.status.success()));
    let mut process = process;
    let _ = process.wait_within(Duration::from_secs(10));
    assert!(since(begun) < Duration::from_secs(10));
}
