//! FC-11, C10, NFR-01: nothing that an operator, a server or a message can do makes a worker end again and again.
//!
//! In a container (`RUSTY_PINCH_ON_FATAL=park`) every fault of the set-up is waited out: no exit, few requests, an end when asked. Where
//! systemd supervises, a fault of the configuration ends the worker once, with a code that the units do not restart. A message within
//! whose turn the process ends three times is given up. (A disk that fails for a reason that nobody can mend is in `disks`: it ends
//! a worker once in ten minutes.) `RP_TEST_CASES` of 100 and more watches for the ten minutes of C10.
//!
//! Seen to fail: with more attempts than three the fourth life ends too; without the park the window breaks.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::disks::Volume;
use crate::health::endpoint::{free_address, get};
use crate::support::cases::{is_long_run, say};
use crate::support::checker::{ATTEMPTS_CUT_MAX, Rules};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::{STOP_CEILING, Scene};
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, came_true, until, until_within};
use crate::support::world::Process;

/// Of C5, with the calls of a start beside them.
const CALLS_PER_MINUTE_MAX: usize = 16;
/// Another poller answers every poll of ours with a conflict; three in a row are believed.
const CONFLICTS_TAKE: Duration = Duration::from_secs(300);

fn window() -> Duration {
    Duration::from_secs(if is_long_run() { 600 } else { 3 })
}

/// Ends like a bug, an abort or the memory killer would, whenever the message is worked at: as `kill -9` does it.
#[test]
fn a_message_within_which_the_process_ends_three_times_is_given_up_and_all_others_are_answered() {
    let scene = Scene::new("poison");
    let never = Gate::closed();
    scene.provider.rule(Rule::when("poison").after(Wait::Until(never)));
    for (chat, text) in [(1, "before"), (1, "poison"), (1, "behind it"), (2, "of another chat"), (3, "and another")] {
        scene.telegram.say(chat, text);
    }
    let mut exits = 0;
    let last = loop {
        let mut process = scene.start();
        let asked = scene.provider.asked_about("poison");
        // It works at the poison, or has given it up and goes on behind it.
        until("the poison is worked at, or given up", || {
            scene.provider.asked_about("poison") > asked || scene.provider.asked_about("behind it") > 0
        });
        if scene.provider.asked_about("poison") == asked {
            break process;
        }
        // Everybody else is served while one life after another ends.
        if exits == 0 {
            assert!(is_on_record(&scene).unwrap_or(false), "no attempt begins before it is on record");
            scene.telegram.until_sent_to(2, 1);
            scene.telegram.until_sent_to(3, 1);
        }
        scene.telegram.say(4, &format!("in life {exits}"));
        process.kill();
        // The server's side of the call that was under way stays; what was sent before the end has to be handled.
        scene.telegram.interrupt_polls();
        until("the last of it is handled", || scene.telegram.server().open_count() == 0);
        exits += 1;
        assert!(exits <= ATTEMPTS_CUT_MAX, "the {exits}. life ended with the same message");
    };
    scene.until_answered();
    scene.stop(last);
    assert_eq!((exits, scene.provider.asked_about("poison")), (ATTEMPTS_CUT_MAX, ATTEMPTS_CUT_MAX));
    let verdict = scene.judge(Rules::KILLS);
    assert_eq!((verdict.notices, verdict.interrupted), (1, 1), "the poison is told to be given up");
    let turns = scene.world.all_events("turn");
    assert!(turns.iter().any(|turn| turn["error"] == "interrupted"), "{turns:?}");
}

/// Whether the journal holds an attempt at the poison.
fn is_on_record(scene: &Scene) -> Option<bool> {
    let text = String::from_utf8_lossy(&scene.world.journal().concat()).into_owned();
    let (before, _) = text.split_once("\"text\":\"poison\"")?;
    let id = before.rsplit("\"id\":\"").next()?.split('"').next()?;
    Some(text.contains(&format!("{{\"t\":\"try\",\"id\":\"{id}\"")))
}

/// What is wrong with one worker.
struct Worker {
    name: &'static str,
    scene: Scene,
    process: Process,
    _volume: Option<Volume>,
}

/// Sets something wrong.
type Setting = (&'static str, fn(&mut Scene));

const FAULTS: [Setting; 14] = [
    ("bad token", |scene| scene.telegram.fault(Fault::status(401, "Unauthorized"))),
    ("unknown token", |scene| scene.telegram.fault(Fault::status(404, "Not Found"))),
    ("another poller", |scene| scene.telegram.fault(Fault::conflict().on("getUpdates"))),
    ("webhook", |scene| scene.telegram.set_webhook(Some("https://example.invalid/hook"))),
    ("server down", |scene| scene.telegram.fault(Fault::web_page(502))),
    ("empty allowlist", |scene| scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "")),
    ("no token", |scene| scene.world.unset("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN")),
    ("not a token", |scene| scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "nonsense")),
    ("disabled", |scene| scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", "false")),
    ("bad number", |scene| scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "many")),
    ("bad base", |scene| scene.world.set("RUSTY_PINCH_COMPATIBLE_API_BASE", "ftp://x")),
    ("unknown provider", |scene| scene.world.set("RUSTY_PINCH_PROVIDER", "oracle")),
    ("missing env file", |scene| scene.world.set("RUSTY_PINCH_ENV_FILE", "/nowhere/.env")),
    ("missing secret file", |scene| scene.world.set("RUSTY_PINCH_COMPATIBLE_API_KEY_FILE", "/nowhere/key")),
];

fn faults() -> Vec<Worker> {
    let mut faults: Vec<Worker> = FAULTS
        .iter()
        .map(|(name, set)| {
            let mut scene = Scene::new(name);
            set(&mut scene);
            start(name, scene, None)
        })
        .collect();
    let mut scene = Scene::new("read-only data");
    if let Some(volume) = Volume::mount(scene.world.path("volume"), "ro,size=100m,mode=700") {
        scene.world.set("RUSTY_PINCH_DATA_DIR", &scene.world.path("volume").join("data").to_string_lossy());
        faults.push(start("read-only data", scene, Some(volume)));
    }
    faults
}

fn start(name: &'static str, mut scene: Scene, volume: Option<Volume>) -> Worker {
    scene.world.set("RUSTY_PINCH_ON_FATAL", "park");
    let process = scene.start();
    Worker { name, scene, process, _volume: volume }
}

#[test]
fn in_a_container_no_fault_of_the_set_up_ends_a_worker() {
    let mut faults = faults();
    for fault in &mut faults {
        let says = came_true(STOP_CEILING, || !fault.process.lines().is_empty());
        assert!(says, "{} says nothing", fault.name);
        let lives = came_true(STOP_CEILING, || fault.scene.world.run(&["health"]).code == Some(0));
        assert!(lives, "{}: whoever looks after it would restart it", fault.name);
    }
    let mut ended = None;
    came_true(window(), || {
        ended = faults.iter_mut().find_map(|fault| (!fault.process.is_running()).then_some(fault.name));
        ended.is_some()
    });
    assert_eq!(ended, None, "a worker ended within {:?}", window());
    for mut fault in faults {
        let most = CALLS_PER_MINUTE_MAX * (1 + window().as_secs() as usize / 60);
        let calls = fault.scene.telegram.call_count();
        assert!(calls <= most, "{}: {calls} calls in {:?}", fault.name, window());
        if fault.name == "another poller" && is_long_run() {
            let parked = fault.process.events("channel_parked");
            assert!(parked.iter().any(|event| event["reason"] == "conflict"), "{parked:?}");
        }
        fault.process.terminate_when_it_heeds();
        assert_eq!(fault.process.wait_within(STOP_CEILING).code(), Some(0), "{}", fault.name);
    }
}

/// A file that is mended while the worker waits: nobody has to restart it.
#[test]
fn a_set_up_that_is_mended_is_taken_up_at_a_signal() {
    let mut scene = Scene::new("mended");
    scene.world.set("RUSTY_PINCH_ON_FATAL", "park");
    let file = scene.world.path("home/.env");
    std::fs::write(&file, "RUSTY_PINCH_REQUEST_RETRIES=many\n").expect("written");
    let address = free_address(&mut scene.random);
    scene.world.set("RUSTY_PINCH_HEALTH_ADDR", &address.to_string());
    let process = scene.start();
    until("it says why", || process.lines().iter().any(|line| line.contains("parked: ")));
    assert_eq!(get(address, "/livez").0, 200, "it lives");
    let (status, body) = get(address, "/readyz");
    assert!(status == 503 && body.contains("\"reasons\":[\"configuration\"]"), "{body}");
    let health = scene.world.run(&["health"]);
    assert_eq!(health.stdout, "telegram lives and is not ready: configuration\n", "{health:?}");
    assert_eq!(scene.world.run(&["health", "--ready"]).code, Some(1));
    std::fs::write(&file, "RUSTY_PINCH_REQUEST_RETRIES=1\n").expect("written");
    process.signal(Signal::HUP);
    scene.telegram.say(42, "after it was mended");
    scene.until_answered();
    until("it answers as a worker does", || {
        let health = scene.world.run(&["health", "--ready"]);
        health.stdout == "telegram is ready\n"
    });
    scene.stop(process);
    scene.judge(Rules::CALM);
}

/// Each look begins a worker, and what that takes is given back.
#[test]
fn a_parked_worker_takes_no_more_however_often_it_looks() {
    for (name, set) in [FAULTS[6], FAULTS[9]] {
        let mut scene = Scene::new(name);
        set(&mut scene);
        scene.world.set("RUSTY_PINCH_ON_FATAL", "park");
        let process = scene.start();
        let said = || process.lines().iter().filter(|line| line.contains("parked: ")).count();
        until("it says why", || said() == 1);
        let mut before = None;
        for look in 1..=30 {
            if look == 5 {
                before = process.sample();
            }
            process.signal(Signal::HUP);
            until("it looks again", || said() == look + 1);
        }
        let before = before.expect("it runs");
        until("it has as much as before", || {
            process.sample().is_some_and(|now| now.threads <= before.threads && now.files <= before.files)
        });
        scene.stop(process);
    }
}

/// The default, for systemd: one exit, with a code at which nothing is restarted.
#[test]
fn under_systemd_a_bad_set_up_ends_a_worker_once() {
    let not_restarted = not_restarted();
    for (name, set) in FAULTS.iter().skip(6) {
        let mut scene = Scene::new(name);
        set(&mut scene);
        let mut process = scene.start();
        let code = process.code_within(STOP_CEILING);
        assert_eq!(code, "78", "{name}: {:?}", process.last_words());
        assert!(not_restarted.contains(&code), "{name}");
    }
    let scene = Scene::new("usage");
    let wrong = scene.world.run(&["channels", "telegram", "--nonsense"]).code.unwrap_or_default().to_string();
    assert!(wrong == "2" && not_restarted.contains(&wrong));
    let mut scene = Scene::new("two workers");
    scene.world.set("RUSTY_PINCH_DRAIN_SECS", "1");
    let process = scene.start_polling();
    let second = scene.world.run(&["channels", "telegram"]).code.unwrap_or_default().to_string();
    assert!(second == "75" && not_restarted.contains(&second), "{second}");
    scene.stop(process);
}

/// The codes of `RestartPreventExitStatus`, the same in every unit of a worker.
fn not_restarted() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let units = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = units.filter_map(|path| std::fs::read_to_string(path).ok());
    let workers: Vec<String> = texts.filter(|text| text.contains("Restart=on-failure")).collect();
    let codes = |text: &String| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus="));
        line.unwrap_or_default().split_whitespace().map(str::to_string).collect()
    };
    let mut all: Vec<Vec<String>> = workers.iter().map(codes).collect();
    assert!(all.len() >= 3 && all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    all.swap_remove(0)
}

/// The conflict is over when the other program ends: nobody has to do anything.
#[test]
fn a_conflict_parks_and_is_over_by_itself() {
    if !is_long_run() {
        say("skip: three conflicts in a row take minutes; RP_TEST_CASES=100");
        return;
    }
    let scene = Scene::new("conflict");
    scene.telegram.fault(Fault::conflict().on("getUpdates"));
    let process = scene.start();
    until_within("it parks", CONFLICTS_TAKE, || !process.events("channel_parked").is_empty());
    scene.telegram.clear_faults();
    scene.telegram.say(42, "the other one has ended");
    until_within("it resumes", CONFLICTS_TAKE, || scene.telegram.sent_count() == 1);
    scene.telegram.until_confirmed();
    scene.stop(process);
    scene.judge(Rules::CALM);
}
