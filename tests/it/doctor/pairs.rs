//! Every check seen failing and passing. A row of [`PAIRS`] changes one thing in a set-up that is well and names the level that
//! has to follow; the set-up itself has to pass. A check of the program without a row fails the test. Seen to fail: a
//! row taken out, the threshold of the temperature above the row's, a check that is silent about a hung worker.

use std::path::PathBuf;

use serde_json::Value;

use rusty_pinch::base::clock::{WALL_FLOOR, Wall};
use rusty_pinch::config::env_file::Repeat;
use rusty_pinch::config::keys::Source;
use rusty_pinch::config::settings::Config;
use rusty_pinch::config::surroundings::{Problem, ReadFile, Shadow, Surroundings};
use rusty_pinch::doctor::checks;
use rusty_pinch::doctor::facts::{
    Access, AccountFacts, CodexFacts, Facts, Folder, JournalFacts, Login, MetricsFile, Resting, WorkerFacts,
};
use rusty_pinch::doctor::report::{CHECKS, Level};
use rusty_pinch::doctor::service::Unit;
use rusty_pinch::observe::condition::REASONS;
use rusty_pinch::observe::status::{ChannelStatus, Status};
use rusty_pinch::sys::machine::{Machine, Memory, Throttled};

use Level::{Error, Warning};

use crate::support::repository::{files, read, root};
use crate::support::world::World;

/// A set-up, as doctor sees it.
struct Case {
    surroundings: Surroundings,
    facts: Facts,
}

impl Case {
    fn set(&mut self, name: &str, value: &str) {
        self.surroundings.variables.insert(name.to_owned(), (value.to_owned(), Source::Environment));
    }
}

/// The clock of the cases: late enough to have an hour before it.
const NOW: Wall = Wall(WALL_FLOOR.0 + 86_400_000);

/// The variables and the facts of a Raspberry Pi on which all is well.
fn well() -> Case {
    let mut case = Case { surroundings: Surroundings::default(), facts: facts() };
    for (name, value) in [
        ("RUSTY_PINCH_PROVIDER", "codex"),
        ("RUSTY_PINCH_PROVIDER_CHAIN", "codex,openrouter"),
        ("RUSTY_PINCH_OPENROUTER_API_KEY", "a-key"),
        ("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", "true"),
        ("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "1:x"),
        ("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "7"),
        ("https_proxy", "http://proxy:3128"),
        ("RUSTY_PINCH_HEALTH_ADDR", "127.0.0.1:9464"),
    ] {
        case.set(name, value);
    }
    case
}

fn facts() -> Facts {
    let status = Status {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        at: NOW.0 - 5000,
        ready: true,
        endpoint: Some("127.0.0.1:9464".to_owned()),
        channel: ChannelStatus { id: "telegram".to_owned(), ..ChannelStatus::default() },
        ..Status::default()
    };
    let account = AccountFacts { id: "a".into(), login: Login::Yes, refused: None, remedy: String::new() };
    Facts {
        user: 7,
        now: NOW,
        synchronised: Some(true),
        data: Some(Access { path: "data".into(), owner: 7, mode: 0o40_700 }),
        folders: vec![Folder { path: "data".into(), variable: "RUSTY_PINCH_DATA_DIR", refusal: None }],
        machine: Machine {
            memory: Some(Memory { total: 1 << 30, available: 400 << 20, swap_total: 100 << 20, swap_free: 90 << 20 }),
            throttled: Some(Throttled(0)),
            temperature_milli: Some(51_000),
            model: Some("Raspberry Pi 3".to_owned()),
        },
        read_only: Some(false),
        units: Some(vec![unit()]),
        workers: vec![WorkerFacts { status, is_replaced: false }],
        endpoint_answers: Some(true),
        metrics_file: Some(MetricsFile { path: "m.prom".into(), refusal: None, written: Some(Wall(NOW.0 - 60_000)) }),
        disk_free: Some(9 << 30),
        codex: Some(CodexFacts { found: true, accounts: vec![account], file_error: None }),
        journals: vec![JournalFacts {
            channel: "telegram",
            running: true,
            starts: starts(4),
            ..JournalFacts::default()
        }],
        ..Facts::default()
    }
}

fn unit() -> Unit {
    Unit {
        name: "rusty-pinch-telegram.service".into(),
        load: "loaded".into(),
        active: "active".into(),
        sub: "running".into(),
        result: "success".into(),
        restarts: 2,
        watchdog: true,
        enabled: true,
        file: "/lib/systemd/system/rusty-pinch-telegram.service".into(),
        is_outdated: false,
        in_package: true,
    }
}

/// So many starts, one a minute, the last one a minute ago.
fn starts(count: u64) -> Vec<Wall> {
    (1..=count).map(|minutes| Wall(NOW.0 - minutes * 60_000)).collect()
}

fn journal(case: &mut Case) -> &mut JournalFacts {
    &mut case.facts.journals[0]
}

fn status(case: &mut Case) -> &mut Status {
    &mut case.facts.workers[0].status
}

fn memory(case: &mut Case) -> &mut Memory {
    case.facts.machine.memory.as_mut().expect("there is memory")
}

fn of_unit(case: &mut Case) -> &mut Unit {
    &mut case.facts.units.as_mut().expect("systemd answered")[0]
}

fn resting(who: &str) -> Resting {
    Resting { who: who.to_owned(), class: "auth", until: Wall(NOW.0 + 1000) }
}

type Change = fn(&mut Case);

/// The check, what makes it fail, and how bad that is.
#[rustfmt::skip]
const PAIRS: &[(&str, Level, Change)] = &[
    ("config.unknown", Warning, |case| case.set("RUSTY_PINCH_MODELL", "x")),
    ("config.no_effect", Warning, |case| case.set("RUSTY_PINCH_BUS_CAPACITY", "7")),
    ("config.duplicate", Warning, |case| case.surroundings.repeats.push(Repeat { name: "A".into(), first: 1, line: 2, value: "x".into() })),
    ("config.surprise", Warning, |case| case.surroundings.remarks.push(Problem { check: "config.surprise", sentence: "x".into() })),
    ("config.env_file", Warning, |case| case.surroundings.file = Some(ReadFile { path: ".env".into(), has_secrets: true, mode: 0o644, owner: 7 })),
    ("secret.shadowed", Warning, |case| case.surroundings.shadows.push(Shadow { name: "A".into(), used: Source::Environment, unused: Source::EnvFile { line: 3 } })),
    ("provider.ready", Error, |case| case.set("RUSTY_PINCH_OPENROUTER_API_KEY", "")),
    ("provider.chain", Warning, |case| case.facts.resting = ["codex - -", "openrouter https://x y"].map(resting).into()),
    ("provider.standing", Warning, |case| case.facts.resting = vec![resting("codex - -")]),
    ("provider.codex", Error, |case| case.facts.codex = Some(CodexFacts { found: false, accounts: vec![], file_error: None })),
    ("provider.codex_login", Error, |case| case.facts.codex.as_mut().expect("codex").accounts[0].login = Login::No),
    ("channel.telegram", Error, |case| case.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "")),
    ("channel.whatsapp", Error, |case| case.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "true")),
    ("channel.everyone", Warning, |case| case.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "*")),
    ("network.proxy", Warning, |case| case.set("https_proxy", "socks5://proxy:1080")),
    ("memory.available", Warning, |case| memory(case).available = 199 << 20),
    ("memory.available", Error, |case| memory(case).available = 15 << 20),
    ("memory.swap", Warning, |case| memory(case).swap_free = 9 << 20),
    ("memory.swap", Warning, |case| *memory(case) = Memory { total: 512 << 20, available: 300 << 20, swap_total: 0, swap_free: 0 }),
    ("hardware.power", Warning, |case| case.facts.machine.throttled = Some(Throttled(1))),
    ("hardware.power", Warning, |case| case.facts.machine.throttled = Some(Throttled(0x10000))),
    ("hardware.throttled", Warning, |case| case.facts.machine.throttled = Some(Throttled(4))),
    ("hardware.throttled", Warning, |case| case.facts.machine.throttled = Some(Throttled(0x80000))),
    ("hardware.temperature", Warning, |case| case.facts.machine.temperature_milli = Some(80_000)),
    ("service.active", Error, |case| of_unit(case).active = "failed".into()),
    ("service.active", Error, |case| of_unit(case).result = "start-limit-hit".into()),
    ("service.active", Error, |case| of_unit(case).load = "masked".into()),
    ("service.active", Warning, |case| of_unit(case).active = "inactive".into()),
    ("service.active", Warning, |case| case.facts.units = None),
    ("service.watchdog", Warning, |case| of_unit(case).watchdog = false),
    ("service.restarts", Warning, |case| of_unit(case).restarts = 3),
    ("service.file", Warning, |case| of_unit(case).file = "/etc/systemd/system/rusty-pinch-telegram.service".into()),
    ("service.file", Warning, |case| of_unit(case).is_outdated = true),
    ("path.writable", Error, |case| case.facts.folders[0].refusal = Some("x".into())),
    ("path.writable", Error, |case| case.facts.locked_out.push("x".into())),
    ("path.mode", Error, |case| case.facts.data.as_mut().expect("a folder").mode = 0o40_770),
    ("path.mode", Warning, |case| case.facts.data.as_mut().expect("a folder").mode = 0o40_750),
    ("path.owner", Warning, |case| case.facts.stranger_to = Some("pi".into())),
    ("path.restoring", Error, |case| case.facts.restoring = true),
    ("disk.free", Error, |case| case.facts.disk_free = Some(63 << 20)),
    ("disk.free", Warning, |case| case.facts.disk_free = Some(511 << 20)),
    ("disk.read_only", Error, |case| case.facts.read_only = Some(true)),
    ("clock.plausible", Error, |case| case.facts.now = Wall(WALL_FLOOR.0 - 1)),
    ("clock.synchronised", Warning, |case| case.facts.synchronised = Some(false)),
    ("journal.damage", Error, |case| journal(case).damage = Some("a hole".into())),
    ("journal.damage", Warning, |case| journal(case).kept_aside = 1),
    ("journal.worker", Warning, |case| journal(case).running = false),
    ("worker.status", Error, |case| status(case).at = NOW.0 - 31_000),
    ("worker.status", Warning, |case| case.facts.workers.clear()),
    ("worker.ready", Error, |case| { status(case).ready = false; status(case).reasons.push("conflict".into()); }),
    ("worker.ready", Warning, |case| { status(case).ready = false; status(case).reasons.push("starting".into()); }),
    ("worker.degraded", Warning, |case| status(case).degraded.push("provider_open:codex".into())),
    ("worker.crash_loop", Warning, |case| journal(case).starts = starts(5)),
    ("upgrade.pending", Warning, |case| status(case).program = "0.0.1".into()),
    ("upgrade.pending", Warning, |case| case.facts.workers[0].is_replaced = true),
    ("metrics.endpoint", Warning, |case| case.facts.endpoint_answers = Some(false)),
    ("metrics.endpoint", Warning, |case| status(case).endpoint = None),
    ("metrics.file", Error, |case| case.facts.metrics_file.as_mut().expect("a file").refusal = Some("x".into())),
    ("metrics.file", Warning, |case| case.facts.metrics_file.as_mut().expect("a file").written = Some(Wall(NOW.0 - 181_000))),
    ("metrics.file", Warning, |case| case.facts.metrics_file.as_mut().expect("a file").written = None),
    ("session.damage", Warning, |case| case.facts.session_bad_lines = 1),
    ("session.damage", Error, |case| case.facts.session_unreadable = 1),
    ("dead.letters", Warning, |case| case.facts.dead_letters = 1),
    ("spending", Warning, |case| case.facts.spent_tokens = u64::MAX),
    ("spending", Error, |case| case.facts.spending_error = Some(("x".into(), false))),
    ("telemetry.file", Warning, |case| case.facts.telemetry_error = Some(("x".into(), true))),
    ("telemetry.file", Error, |case| case.facts.telemetry_error = Some(("x".into(), false))),
];

/// Those that only a process or a server can show, with the words of the tests that see them pass and fail.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("config.value", "\"config.value\"", "says(&world, 78, \"config.value\""),
    ("secret.mode", "\"secret.mode\").1, Vec::<String>::new()", "says(&world, 78, \"secret.mode\""),
    ("probe.provider", "probe.provider ok", "probe.provider error"),
    ("probe.telegram", "probe.telegram ok", "probe.telegram error"),
    ("probe.webhook", "probe.webhook ok", "probe.webhook error"),
    ("probe.bridge", "probe.bridge ok", "probe.bridge error"),
];

/// The worst level of each id that is reported.
fn level(case: &Case, id: &str) -> Option<Level> {
    let config = Config::load(&case.surroundings.variables).expect("a configuration");
    let found = checks::all(&config, &case.surroundings, &case.facts);
    found.iter().filter(|check| check.id == id).map(|check| check.level).max()
}

#[test]
fn every_check_is_seen_failing_and_passing() {
    let good = well();
    for (id, want, change) in PAIRS {
        let passes = level(&good, id).is_none_or(|level| level == Level::Ok);
        assert!(passes, "{id} fails where all is well");
        let mut bad = well();
        change(&mut bad);
        assert_eq!(level(&bad, id), Some(*want), "{id}");
    }
    let sources: Vec<PathBuf> = files(&root().join("tests/it"), "rs");
    let tests: String = sources.iter().filter(|path| !path.ends_with("pairs.rs")).map(|path| read(path)).collect();
    for (id, passing, failing) in ELSEWHERE {
        assert!(tests.contains(passing) && tests.contains(failing), "no test sees {id} pass and fail");
    }
    let has_pair = |id: &str| PAIRS.iter().any(|row| row.0 == id) || ELSEWHERE.iter().any(|row| row.0 == id);
    let without: Vec<&str> = CHECKS.iter().map(|(id, _)| *id).filter(|id| !has_pair(id)).collect();
    assert!(without.is_empty(), "without a row: {without:?}");
    let known = |id: &str| CHECKS.iter().any(|(known, _)| *known == id);
    let extra: Vec<&str> = PAIRS.iter().map(|row| row.0).filter(|id| !known(id)).collect();
    assert!(extra.is_empty(), "not in the table: {extra:?}");
}

/// What is well is said, so that a program that reads `--json` can tell it from what was not looked at.
#[test]
fn what_is_well_is_said_of_the_host_the_units_and_the_workers() {
    let good = well();
    let said = ["memory.", "hardware.", "service.", "worker.", "upgrade.", "metrics.", "disk.", "clock.synchronised"];
    for (id, _) in CHECKS.iter().filter(|(id, _)| said.iter().any(|start| id.starts_with(start))) {
        assert_eq!(level(&good, id), Some(Level::Ok), "{id}");
    }
}

/// The units exclude each other: to start one of a channel ends the one of all. Seen to fail with the channel's unit named always.
#[test]
fn the_unit_that_is_in_use_is_the_one_to_restart() {
    for (name, unit) in
        [("rusty-pinch.service", "rusty-pinch"), ("rusty-pinch-telegram.service", "rusty-pinch-telegram")]
    {
        let mut case = well();
        of_unit(&mut case).name = name.into();
        case.facts.workers[0].is_replaced = true;
        let config = Config::load(&case.surroundings.variables).expect("a configuration");
        let checks = checks::all(&config, &case.surroundings, &case.facts);
        let pending = checks.iter().find(|check| check.id == "upgrade.pending").expect("it is told");
        assert_eq!(pending.remedy, format!("sudo systemctl restart {unit}"));
    }
}

/// Programs read this: what is here stays, and `schema` goes up if it cannot.
#[test]
fn the_json_has_the_fields_that_are_documented() {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    let finished = world.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&report), ["checks", "schema", "settings", "status", "version"]);
    assert_eq!((&report["schema"], &report["status"]), (&1.into(), &"ok".into()));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["settings"].as_object().expect("an object").values().all(Value::is_string));
    let checks = report["checks"].as_array().expect("a list");
    assert!(checks.len() > 10, "{checks:#?}");
    for check in checks {
        assert_eq!(names(check), ["id", "level", "remedy", "sentence"]);
        assert!(check.as_object().expect("an object").values().all(Value::is_string), "{check}");
        assert!(CHECKS.iter().any(|(id, _)| check["id"] == *id), "{check}");
        assert!(["ok", "warning", "error"].iter().any(|level| check["level"] == *level), "{check}");
    }
}

/// Whoever reads a reason in the line of doctor finds it in the runbook, with something to do.
#[test]
fn every_reason_of_a_worker_has_a_row_in_the_runbook() {
    let runbook = read(&root().join("docs/runbook.md"));
    let has_row = |name: &str| runbook.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
    let without: Vec<&str> = REASONS.iter().map(|(name, _)| *name).filter(|name| !has_row(name)).collect();
    assert!(without.is_empty(), "{without:?}");
}
