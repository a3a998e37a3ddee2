//! `whatsapp validate`: its short items against the real worker (all of them in a long run), workers that break a promise
//! and have to fail, and a person at level `live`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::{Clock, Mono, Wall};
use rusty_pinch::base::digest::sha256;
use rusty_pinch::store::crash_loop::STARTS_MIN;
use rusty_pinch::sys::companion::Sample;
use rusty_pinch::sys::system_clock::SystemClock;
use rusty_pinch::validate::checklist::{CHECKS, Level};
use rusty_pinch::validate::endurance::{WARM_UP, flat};
use rusty_pinch::validate::live;
use rusty_pinch::validate::place::Place;
use rusty_pinch::validate::run::{self, Means};
use serde_json::Value;

use crate::support::cases::{is_long_run, say};
use crate::support::fake_bridge::{FakeBridge, Speaks};
use crate::support::tampering::{Spoils, Tampering};
use crate::support::waiting::{spawn, until};
use crate::support::world::World;
use crate::whatsapp::{ANNA, TOKEN};

/// What takes seconds. The others take a minute or two, mostly of waiting.
const SHORT: &str = "WA-01,WA-02,WA-03,WA-04,WA-05,WA-06,WA-09,WA-10,WA-11,WA-12,WA-13,WA-17,WA-18";

/// The lines of the evidence, by their check; each has the documented form.
fn evidence(path: &Path, level: &str) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(path).expect("there is evidence");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .map(|line| {
            assert_eq!(line["level"], level, "{line}");
            assert!(["pass", "fail", "skip"].contains(&line["result"].as_str().expect("a word")), "{line}");
            for (field, length) in [("run_id", 16), ("binary_sha256", 64), ("config_fp", 64), ("at", 29)] {
                assert_eq!(line[field].as_str().map(str::len), Some(length), "{field} of {line}");
            }
            assert!(line["observed"].is_object() && line["artifacts"].is_array(), "{line}");
            (line["check"].as_str().expect("an id").to_string(), line)
        })
        .collect()
}

/// All 18 in a long run, which then passes the gate.
#[test]
fn the_worker_passes_its_checklist_with_the_built_in_bridge() {
    let world = World::new();
    let out = world.path("evidence.jsonl");
    let mut words = vec!["whatsapp", "validate", "--level", "sim", "--out", out.to_str().expect("plain")];
    if !is_long_run() {
        words.extend(["--only", SHORT]);
    }
    let mut process = world.start(&words);
    let status = process.wait_within(std::time::Duration::from_secs(300));
    say(&process.stdout());
    let found = evidence(&out, "sim");
    let failed: Vec<&Value> = found.values().filter(|line| line["result"] != "pass").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let wanted = if is_long_run() { CHECKS.len() } else { SHORT.split(',').count() };
    // A part of the list is no pass, however good it is.
    assert_eq!((found.len(), status.code()), (wanted, Some(i32::from(!is_long_run()))));
    assert!(found["WA-11"]["observed"]["messages"] == 100 && found["WA-13"]["observed"]["alert"] == 48);
}

/// How many times as fast the time of a check passes where its failure is that something does not happen in time.
const HASTY: u64 = 4;

/// The same for a check that waits for a minute.
const HASTIER: u64 = 10;

/// What stands in the worker's place, which items it has to fail, and what is said of that. `$0` is our program.
#[rustfmt::skip]
const SABOTAGE: [(&str, &str, &str); 8] = [
    ("WA-01", "unset RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN_FILE; RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN=another-token-altogether exec \"$0\" \"$@\"", "the link"),
    ("WA-02", "\"$0\" \"$@\"; exit 3", "exited 3"),
    ("WA-04", "RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM='*' exec \"$0\" \"$@\"", "somebody else"),
    ("WA-09", "rm -rf \"$RUSTY_PINCH_DATA_DIR/journal\"; exec \"$0\" \"$@\"", "came twice"),
    ("WA-13", "url=$RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL; url=${url#wss://}; exec openssl s_client -connect \"${url%/}\"", "was not refused"),
    ("WA-18", "echo '{\"log\":\"4917000000666\"}' >&2; exec \"$0\" \"$@\"", "a number stands"),
    ("WA-18", "echo 4917000000666 >\"$RUSTY_PINCH_RUN_DIR/whatsapp.status.json\"; RUSTY_PINCH_RUN_DIR=\"$HOME\" exec \"$0\" \"$@\"", "a number stands"),
    ("WA-18", "echo \"{\\\"log\\\":\\\"$(cat \"$RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN_FILE\")\\\"}\" >&2; exec \"$0\" \"$@\"", "a secret"),
];

/// The same, with what is between the worker and its bridge, and how fast the time passes. Where nothing is said, it has to pass.
#[rustfmt::skip]
const TAMPERING: [(&str, Option<Spoils>, &str, u64, &str); 11] = [
    ("WA-07", Some(Spoils::Messages), PLAIN, HASTY, "30 s: an answer"),
    ("WA-10", Some(Spoils::Marks), PLAIN, 1, "repeated without the mark"),
    ("WA-10", Some(Spoils::Firsts), PLAIN, 1, "had not left is marked"),
    ("WA-11", Some(Spoils::Order), PLAIN, 1, "missing or misplaced"),
    // The signal goes to the shell and to the worker. A good one needs three seconds where a reply is not confirmed.
    ("WA-14", None, "trap 'sleep 6' TERM; \"$0\" \"$@\" & wait; wait", 2, "10 s: the end of the worker"),
    ("WA-15", Some(Spoils::Messages), PLAIN, HASTIER, "an answer to all that is open"),
    ("WA-15", Some(Spoils::Once), PLAIN, 1, "repeated without the mark"),
    ("WA-11", Some(Spoils::Nothing), PLAIN, 1, ""),
    ("WA-17", Some(Spoils::Nothing), PLAIN, HASTY, ""),
    ("WA-17", Some(Spoils::Logout), PLAIN, HASTY, "the operator is told"),
    ("WA-17", None, "RUSTY_PINCH_RUN_DIR=\"$HOME\" exec \"$0\" \"$@\"", HASTY, "not ready"),
];

const PLAIN: &str = "exec \"$0\" \"$@\"";

fn means(folder: &Path, binary: PathBuf) -> Means {
    Means {
        run: run::describe(Level::Sim, 7, &binary, &[]).expect("it is there"),
        binary,
        folder: folder.join("temporary"),
        bridge: PathBuf::new(),
        path: String::new(),
        out: folder.join("evidence.jsonl"),
        clock: Arc::new(SystemClock::new()),
        cancel: Cancel::new(),
    }
}

/// The one of WA-13 is another TLS client that does not look: to it the server is as good as any.
#[test]
fn a_worker_that_breaks_a_promise_fails_the_item_of_it() {
    let has_openssl = std::process::Command::new("openssl").arg("version").output().is_ok();
    let rows = SABOTAGE.into_iter().filter(|(_, script, _)| has_openssl || !script.contains("openssl"));
    all_fail(rows.map(|(id, script, why)| (id, None, script, 1, why)));
}

#[test]
fn a_worker_that_is_slow_or_whose_frames_are_spoilt_fails_the_item_of_it() {
    all_fail(TAMPERING.into_iter());
}

fn all_fail(rows: impl Iterator<Item = (&'static str, Option<Spoils>, &'static str, u64, &'static str)>) {
    let threads = rows
        .map(|(id, spoils, script, speed, why)| (id, spawn("sabotage", move || fails(id, spoils, script, speed, why))));
    for (id, thread) in threads.collect::<Vec<_>>() {
        assert!(thread.join().is_ok(), "{id} did not end as it has to");
    }
}

fn fails(id: &str, spoils: Option<Spoils>, script: &str, speed: u64, why: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("worker");
    let script = script.replace("$0", &World::product_path().to_string_lossy());
    let tampering = spoils.map(|spoils| Tampering::start(spoils, folder.path()));
    let prelude = tampering.as_ref().map_or("true".to_string(), Tampering::prelude);
    let set = format!("PATH=/usr/local/bin:/usr/bin:/bin; export PATH; {prelude}; f() {{ {script} ; }}; f \"$@\"\n");
    std::fs::write(&path, format!("#!/bin/sh\n{set}")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("set");
    let at = CHECKS.iter().position(|check| check.id == id).expect("an item");
    let clock: Arc<dyn Clock> = Arc::new(Hasty(SystemClock::new(), speed));
    let means = Means { clock: Arc::clone(&clock), ..means(folder.path(), path) };
    let begun = clock.mono();
    run::run(&means, &[at], &mut |_, evidence| {
        say(&format!("{id} {spoils:?}: {} ms", begun.until(clock.mono()).as_millis() / u128::from(speed)));
        let wanted = if why.is_empty() { "pass" } else { "fail" };
        assert_eq!(evidence.verdict.name(), wanted, "{id} {spoils:?}: {}", evidence.note);
        assert!(evidence.note.contains(why), "{id} {spoils:?}: {}", evidence.note);
        // What a worker that failed has said is beside the evidence.
        assert_eq!(evidence.artifacts.is_empty(), why.is_empty(), "{id}");
    })
    .expect("threads");
}

/// As often as WA-15 does it in two seconds. Seen to fail: the mark of a worker that was cut short is left in its lock.
#[test]
fn workers_that_are_killed_one_after_the_other_do_not_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SystemClock::new());
    let mut place = Place::new(folder.path().join("place"), &World::product_path(), clock).expect("a place");
    let bridge = FakeBridge::start(Speaks::V2, None);
    place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &bridge.url());
    place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", ANNA);
    for number in 0..=STARTS_MIN {
        let mut worker = place.start(&[]).expect("started");
        until("the link, or a rest", || worker.count("channel_connected") + worker.count("channel_parked") > 0);
        assert_eq!(worker.count("crash_loop"), 0, "start {number}: {}", worker.said());
        worker.kill();
    }
}

#[test]
fn what_has_grown_is_not_flat() {
    let first = Sample { resident_kib: 10_000, threads: 11, files: 20 };
    assert_eq!(flat(first, Sample { resident_kib: 12_000, files: 22, ..first }), Ok(()));
    for grown in
        [Sample { resident_kib: 13_000, ..first }, Sample { threads: 12, ..first }, Sample { files: 23, ..first }]
    {
        assert!(flat(first, grown).is_err(), "{grown:?}");
    }
}

#[test]
fn who_has_enough_of_a_live_run_ends_it_at_once_and_nothing_is_left() {
    let bridge = FakeBridge::start(Speaks::V2, Some(TOKEN));
    let mut world = World::new();
    let temporary = world.path("temporary");
    // Left by runs that were killed: there is no such process, and one that is there.
    let (dead, alive) = ("rusty-pinch-validate-4194999-0", format!("rusty-pinch-validate-{}-0", std::process::id()));
    [dead, &alive].iter().for_each(|name| std::fs::create_dir_all(temporary.join(name).join("live")).expect("made"));
    world.set("TMPDIR", &temporary.to_string_lossy());
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &bridge.url());
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", TOKEN);
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "*");
    let out = world.path("evidence.jsonl");
    let words =
        ["whatsapp", "validate", "--level", "live", "--only", "WA-03,WA-04", "--out", out.to_str().expect("plain")];
    let (mut process, input) = world.start_reading(&words);
    until("a question", || process.stdout().contains("WA-03:"));
    process.signal(rustix::process::Signal::INT);
    let status = process.wait_within(std::time::Duration::from_secs(15));
    drop(input);
    assert_eq!(status.code(), Some(130), "{}", process.stdout());
    let left: Vec<_> = std::fs::read_dir(&temporary).expect("there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [alive.as_str()]);
    assert!(!process.stdout().contains("WA-04:"));
}

/// The worker of a live run refused the address that the operator's own worker takes.
#[test]
fn a_live_run_may_go_where_the_operator_allowed_it() {
    let mut world = World::new();
    let temporary = world.path("temporary");
    std::fs::create_dir_all(&temporary).expect("made");
    world.set("TMPDIR", &temporary.to_string_lossy());
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", "ws://bridge.invalid:1/");
    world.set("RUSTY_PINCH_ALLOW_INSECURE_HTTP", "true");
    let out = world.path("evidence.jsonl");
    let words = ["whatsapp", "validate", "--level", "live", "--only", "WA-04", "--out", out.to_str().expect("plain")];
    let (mut process, input) = world.start_reading(&words);
    let said = || {
        let runs = std::fs::read_dir(&temporary).into_iter().flatten().flatten();
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("live/worker.log")).ok()).collect::<String>()
    };
    until("the worker begins", || said().contains("\"channel_start\"") || said().contains("\"fatal\""));
    assert!(!said().contains("\"fatal\""), "{}", said());
    process.signal(rustix::process::Signal::INT);
    assert_eq!(process.wait_within(std::time::Duration::from_secs(15)).code(), Some(130));
    drop(input);
}

/// Time that passes so many times as fast.
struct Hasty(SystemClock, u64);

impl Clock for Hasty {
    fn mono(&self) -> Mono {
        Mono(self.0.mono().0 * self.1)
    }

    fn wall(&self) -> Wall {
        self.0.wall()
    }

    fn is_trusted(&self) -> bool {
        self.0.is_trusted()
    }
}

/// The worker before WA-02 is another process.
#[test]
fn what_grows_in_a_day_is_looked_at_first_when_the_same_worker_has_run_for_half_a_minute() {
    let bridge = FakeBridge::start(Speaks::V2, Some(TOKEN));
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(Hasty(SystemClock::new(), HASTIER));
    let means = Means { clock: Arc::clone(&clock), ..means(folder.path(), World::product_path()) };
    let mut place = Place::new(folder.path().join("live"), &means.binary, Arc::clone(&clock)).expect("made");
    place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &bridge.url());
    place.set_token(TOKEN).expect("written");
    let mut asked = Vec::new();
    let mut ask = |question: &str| {
        asked.push((question[..5].to_string(), clock.mono()));
        Some(if question.starts_with("WA-02") { "skip" } else { "pass" }.to_string())
    };
    let mut found = Vec::new();
    live::run(&means, &place, &[1, 15], &mut ask, &mut |_, evidence| found.push(evidence)).expect("workers start");
    let [(_, bounded), (last, soak)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(last, "WA-16");
    assert!(bounded.until(*soak) >= WARM_UP, "{asked:?}");
    assert_eq!(found[1].note, "the worker has not run for a day");
}

/// A person answers for an item, for another only a person could, and signs; the signature covers what is written.
#[test]
fn a_person_is_asked_and_signs_what_was_seen() {
    let bridge = FakeBridge::start(Speaks::V2, Some(TOKEN));
    let mut world = World::new();
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &bridge.url());
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", TOKEN);
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "*");
    let out = world.path("evidence.jsonl");
    let only = "WA-01,WA-02,WA-03,WA-04";
    let words = ["whatsapp", "validate", "--level", "live", "--only", only, "--out", out.to_str().expect("plain")];
    let (mut process, mut input) = world.start_reading(&words);
    // The worker that answers one message runs when the question is asked.
    until("the question about WA-02", || process.stdout().contains("WA-02:"));
    bridge.write(ANNA, "1", "hello");
    input.write_all(b"\nmaybe\npass five of five\nskip no second phone\nA. Nonymous\n").expect("it reads");
    drop(input);
    let status = process.wait_within(std::time::Duration::from_secs(60));
    let found = evidence(&out, "live");
    let results: Vec<(&str, &str)> =
        found.iter().map(|(id, line)| (id.as_str(), line["result"].as_str().expect("a word"))).collect();
    let want = [("WA-01", "pass"), ("WA-02", "pass"), ("WA-03", "pass"), ("WA-04", "skip"), ("sign-off", "pass")];
    assert_eq!(results, want, "{}", process.stdout());
    assert_eq!(status.code(), Some(1));
    assert_eq!(found["WA-03"]["observed"]["note"], "five of five");
    assert_eq!(found["sign-off"]["observed"]["note"], "A. Nonymous");
    let text = std::fs::read_to_string(&out).expect("there");
    let before = text.trim_end().rsplit_once('\n').map(|(before, _)| format!("{before}\n")).expect("lines");
    assert_eq!(found["sign-off"]["artifacts"][1]["sha256"], sha256(&[before.as_bytes()]));
    assert!(!text.contains(TOKEN) && bridge.texts_to(ANNA).len() == 1);
}
