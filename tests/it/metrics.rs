//! Metrics, as an operator gets them: of real workers between their fakes, from the text file. Each metric of the table is seen to
//! move; what rules and dashboard name exists; and no label says what a person wrote. Seen to fail: a label with the chat's id,
//! a class that is in no set, a series too many.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;

use rustix::process::Signal;
use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::id::ChannelId;
use rusty_pinch::observe::metrics::{CLASSES, Kind, METRICS, OTHER, SERIES_MAX, TOOLS};
use rusty_pinch::observe::metrics_registry::{Looked, ProviderStanding, Registry};
use rusty_pinch::observe::metrics_text::{BYTES_MAX, exposition};
use rusty_pinch::observe::note::Note;
use rusty_pinch::observe::status::Status;
use rusty_pinch::provider::class::Class;
use rusty_pinch::tool;
use serde_json::{Value, json};

use crate::support::cases::{Random, cases};
use crate::support::exposition::{Exposition, parse};
use crate::support::fake_bridge::Speaks;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::fake_telegram::{FakeTelegram, TOKEN};
use crate::support::repository::{read, root};
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::world::World;
use crate::whatsapp::{ANNA, Scene as Bridged};

/// What no run of these tests moves.
const NOT_MOVED: [(&str, &str); 3] = [
    ("rusty_pinch_channel_waiting_messages", "the server is asked for it minutes after the start"),
    ("rusty_pinch_log_dropped_total", "nobody reads standard error for 1024 lines: see the tests of the sink"),
    ("rusty_pinch_series_dropped_total", "`there_are_never_too_many_series`"),
];

const CANARY: &str = "a-canary-in-the-cellar";

fn file(world: &World, name: &str) -> Exposition {
    let text = read(&world.path("home").join(name));
    // What people write and who they are is not in it.
    let words = [CANARY, "Ada", "nonsense-tool-name", "telegram:42", "4915110001"];
    assert!(!words.iter().any(|word| text.contains(word)), "{text}");
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn is_moved(found: &Exposition, name: &str) -> bool {
    found.of(name).any(|sample| sample.value != 0.0)
}

/// The first worker: everything that can go wrong while it runs.
fn eventful(scene: &Scene) {
    scene.provider.rule(Rule::when("once more").status(500).times(1));
    scene.provider.rule(Rule::when("what time").reply(Reply::Text("/tool time_now".to_owned())).times(1));
    scene.provider.rule(Rule::when("badly").status(401));
    let process = scene.start_polling();
    let hello = scene.telegram.say(42, CANARY);
    scene.telegram.until_sent_to(42, 1);
    scene.telegram.redeliver(&hello);
    scene.telegram.post(42, json!({ "from": { "id": 42, "is_bot": false, "first_name": CANARY }, "sticker": {} }));
    for (count, text) in [(2, "once more"), (3, "/tool time_now"), (4, "what time"), (5, "/tool nonsense-tool-name")] {
        scene.telegram.say(42, text);
        scene.telegram.until_sent_to(42, count);
    }
    scene.telegram.say_as(99, 99, "let me in");
    scene.telegram.fault(Fault::reset().on("getUpdates").times(1));
    scene.telegram.interrupt_polls();
    scene.telegram.say(42, "badly");
    scene.telegram.until_sent_to(42, 6);
    process.signal(Signal::HUP);
    process.until_event("reload");
    scene.telegram.fault(Fault::status(500, "Internal Server Error").on("sendMessage").for_chat(43));
    scene.telegram.say(43, "/tool time_now");
    process.until_event("channel_send_error");
    scene.telegram.until_confirmed();
    scene.stop(process);
}

/// Each damaged in its first frame.
fn damage_journal(world: &World) {
    for name in ["a.jnl", "b.jnl"] {
        let path = world.data().join("journal/telegram").join(name);
        let file = fs::OpenOptions::new().write(true).open(path).expect("a journal");
        file.write_all_at(b"####", 100).expect("damaged");
    }
}

/// O1: the exposition is strict, and every metric of the table comes from something that happens.
#[test]
fn every_metric_is_moved_by_what_real_workers_do() {
    let mut scene = Scene::new("every metric");
    scene.world.set_all(&[
        ("METRICS_FILE", "m.prom"),
        ("CHANNELS_TELEGRAM_ALLOW_FROM", "42,43"),
        ("TOKENS_PER_DAY", "1000000"),
    ]);
    let sessions = scene.world.data().join("sessions");
    fs::create_dir_all(&sessions).expect("a folder");
    fs::write(sessions.join("telegram_42.jsonl"), "no line of ours\n").expect("written");
    eventful(&scene);
    let first = file(&scene.world, "m.prom");

    scene.telegram.clear_faults();
    let process = scene.start_polling();
    scene.telegram.until_sent_to(43, 1);
    scene.stop(process);
    let second = file(&scene.world, "m.prom");

    damage_journal(&scene.world);
    let process = scene.start_polling();
    scene.stop(process);
    let third = file(&scene.world, "m.prom");

    let value = |found: &Exposition, name: &str, labels: &[(&str, &str)]| {
        let name = format!("rusty_pinch_{name}");
        found.value(&name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {:#?}", found.samples))
    };
    let telegram = ("channel", "telegram");
    for (outcome, count) in [("accepted", 7.0), ("duplicate", 1.0), ("denied", 1.0), ("ignored", 1.0), ("refused", 0.0)]
    {
        assert_eq!(value(&first, "updates_total", &[telegram, ("outcome", outcome)]), count, "{outcome}");
    }
    assert_eq!(value(&first, "turns_total", &[("path", "provider"), ("status", "ok")]), 3.0);
    assert_eq!(value(&first, "turns_total", &[("path", "tool"), ("status", "error")]), 1.0);
    assert_eq!(value(&first, "turn_duration_seconds_count", &[("path", "tool")]), 2.0);
    let compatible = ("provider", "compatible");
    assert_eq!(value(&first, "provider_requests_total", &[compatible, ("class", "ok")]), 4.0);
    assert_eq!(value(&first, "provider_requests_total", &[compatible, ("class", "auth")]), 1.0);
    assert_eq!(value(&first, "retries_total", &[("class", "server")]), 1.0);
    assert_eq!(value(&first, "provider_breaker_state", &[("key", "compatible")]), 2.0);
    assert_eq!(first.value("gen_ai_client_token_usage_total", &[("type", "output")]), Some(28.0));
    assert_eq!(value(&first, "tool_calls_total", &[("tool", "time_now"), ("source", "model")]), 1.0);
    assert_eq!(value(&first, "tool_calls_total", &[("tool", OTHER), ("status", "error")]), 1.0);
    assert_eq!(value(&first, "inbox_pending", &[("state", "undelivered")]), 1.0);
    assert_eq!(value(&second, "recovered_messages_total", &[("kind", "undelivered")]), 1.0);
    assert_eq!(value(&second, "inbox_pending", &[("state", "undelivered")]), 0.0);
    assert_eq!(value(&third, "journal_errors_total", &[("kind", "damage")]), 1.0);
    assert_eq!(value(&third, "turns_total", &[("path", "tool"), ("status", "ok")]), 0.0, "counters begin at zero");

    for metric in METRICS {
        let moved = [&first, &second, &third].iter().any(|found| is_moved(found, metric.name));
        let excused = NOT_MOVED.iter().any(|(name, _)| *name == metric.name) || metric.name.starts_with("process_");
        assert!(moved || excused, "nothing moves {}", metric.name);
        let there = first.of(metric.name).next().is_some();
        assert!(there || metric.name.starts_with("process_"), "{} is not there", metric.name);
    }
}

/// Two workers of one machine: node_exporter puts their files together, and refuses what is there twice.
#[test]
fn files_of_two_workers_go_together() {
    let mut scene = Bridged::new("two files", Speaks::V2);
    let telegram = FakeTelegram::start(&mut scene.random);
    for (name, value) in
        [("ENABLED", "true"), ("TOKEN", TOKEN), ("ALLOW_FROM", "*"), ("API_BASE", telegram.url().as_str())]
    {
        scene.world.set(&format!("RUSTY_PINCH_CHANNELS_TELEGRAM_{name}"), value);
    }
    scene.world.set("RUSTY_PINCH_METRICS_FILE", "m.prom");
    let process = scene.start_linked();
    scene.ask(ANNA, "1", CANARY);
    scene.stop(process);
    let process = scene.world.start(&["channels", "telegram"]);
    telegram.say(42, "by telegram");
    telegram.until_sent(1);
    scene.stop(process);
    let files = ["m.telegram.prom", "m.whatsapp.prom"].map(|name| file(&scene.world, name));
    let key = |sample: &crate::support::exposition::Sample| (sample.name.clone(), sample.labels.clone());
    let all: Vec<_> = files.iter().flat_map(|found| found.samples.iter().map(key)).collect();
    let distinct: BTreeSet<String> = all.iter().map(|key| format!("{key:?}")).collect();
    assert_eq!(distinct.len(), all.len(), "a series is there twice");
    for (name, said) in files[0].metrics.iter() {
        assert!(files[1].metrics.get(name).is_none_or(|other| other == said), "{name}");
        assert!(!name.starts_with("process_"), "node_exporter has {name} of its own");
    }
    assert_eq!(files[1].value("rusty_pinch_channel_up", &[("worker", "whatsapp")]), Some(1.0));
    assert_eq!(files[1].value("rusty_pinch_updates_total", &[("outcome", "accepted")]), Some(1.0));
    assert!(!scene.world.path("home").join("m.prom").exists());

    let process = scene.world.start(&["channels", "all"]);
    scene.bridge.until_links(2);
    scene.stop(process);
    let both = file(&scene.world, "m.prom");
    let up = both.of("rusty_pinch_channel_up").map(|sample| sample.labels["channel"].clone());
    assert_eq!(up.collect::<Vec<_>>(), ["telegram", "whatsapp"]);
}

fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| ["rusty_pinch_", "gen_ai_client_", "process_"].iter().any(|family| word.starts_with(family)))
        .collect()
}

fn is_metric(name: &str) -> bool {
    METRICS.iter().any(|metric| {
        let endings: &[&str] =
            if matches!(metric.kind, Kind::Histogram(_)) { &["_bucket", "_sum", "_count"] } else { &[""] };
        endings.iter().any(|ending| name.strip_suffix(ending) == Some(metric.name))
    })
}

/// Whatever rules and dashboard ask for exists, and each rule has both of its tests.
#[test]
fn rules_and_dashboard_name_what_exists() {
    let text = |name: &str| read(&root().join("packaging/monitoring").join(name));
    let (rules, tests, dashboard) =
        (text("rusty-pinch.rules.yml"), text("rusty-pinch.rules.test.yml"), text("rusty-pinch.dashboard.json"));
    assert!(!is_metric("rusty_pinch_turn_duration_seconds") && is_metric("rusty_pinch_turn_duration_seconds_sum"));
    // The name of the file for node_exporter is no metric.
    let of_file = |name: &&str| *name != "rusty_pinch_prom";
    for text in [&rules, &tests, &dashboard] {
        let unknown: Vec<&str> = names(text).into_iter().filter(of_file).filter(|name| !is_metric(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 13);
    for alert in alerts {
        assert!(tests.contains(&format!("- name: {alert} fires\n")), "{alert}");
        assert!(tests.contains(&format!("- name: {alert} does not fire\n")), "{alert}");
    }
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").len();
    assert!(panels > 10 && dashboard["uid"] == "rusty-pinch", "{panels}");
    // Words of labels that rules ask for are in the sets of the table.
    for (label, word) in
        rules.split('{').skip(1).filter_map(|rest| rest.split_once('}')).flat_map(|(inside, _)| pairs(inside))
    {
        let sets = METRICS.iter().flat_map(|metric| metric.labels).filter(|(name, _)| *name == label);
        let known: BTreeSet<&str> = sets.flat_map(|(_, words)| words.closed().unwrap_or_default()).copied().collect();
        assert!(
            ["job", "file", "severity"].contains(&label) || word.contains("_.*") || known.contains(word),
            "{label}={word}"
        );
    }
}

/// `label=~"one|two"` as (label, one), (label, two).
fn pairs(inside: &str) -> Vec<(&str, &str)> {
    let matchers = inside.split(',').filter_map(|part| part.split_once('='));
    matchers
        .flat_map(|(label, words)| {
            let words = words.trim_start_matches('~').trim_matches('"');
            words.split('|').map(move |word| (label.trim(), word))
        })
        .filter(|(label, _)| !label.starts_with('$') && !label.contains(' '))
        .collect()
}

/// The sets of labels are written down in `observe`, which may not look at the tables they come from.
#[test]
fn words_of_labels_are_those_of_the_program() {
    let of_classes: BTreeSet<&str> = Class::ALL.iter().map(|class| class.name()).chain(["ok"]).collect();
    assert_eq!(CLASSES.iter().copied().collect::<BTreeSet<_>>(), of_classes);
    let of_tools: BTreeSet<&str> = tool::all().iter().map(|tool| tool.name()).chain([OTHER]).collect();
    assert_eq!(TOOLS.iter().copied().collect::<BTreeSet<_>>(), of_tools);
}

/// Everything that can be counted, and names that nobody would choose.
#[test]
fn there_are_never_too_many_series() {
    let channels = [ChannelId::Telegram, ChannelId::WhatsApp];
    let long = "n".repeat(64);
    for count in 0..cases(12, 1000) {
        let mut random = Random::for_test("too many series");
        let providers: Vec<String> =
            (0..count % 12).map(|number| format!("{}\"\\\n{number}{long}", ["a", "ü", "{}"][number % 3])).collect();
        let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
        let mut registry = Registry::new(&channels, &providers, Wall(0));
        for provider in providers.iter().chain(&["a stranger"]) {
            for class in CLASSES.iter().chain(&["unknown"]) {
                let took = std::time::Duration::from_millis(random.between(0, 200_000));
                registry.on_note(Wall(1), Note::Asked { provider, class, took });
            }
            registry.on_note(Wall(1), Note::Spent { provider, input: 1, output: u64::MAX, estimated: 3 });
        }
        for tool in TOOLS.iter().chain(&["a tool of somebody"]) {
            for (source, ok) in [("user", true), ("user", false), ("model", true), ("model", false)] {
                registry.on_note(Wall(1), Note::ToolCalled { tool, source, ok });
            }
        }
        let standing = |name: &&str| ProviderStanding {
            name: (*name).to_owned(),
            breaker: "open",
            class: Some("auth"),
            until: Some(Wall(5)),
            retry_tokens: 9_500,
        };
        let looked = Looked { cpu_ms: Some(1), rss_bytes: Some(2), disk_free_bytes: None, ..Looked::default() };
        registry.look(Looked { providers: providers.iter().map(standing).collect(), ..looked.clone() });
        registry.look(looked);
        for worker in [None, Some("telegram")] {
            let text = exposition(&registry, Wall(9), worker);
            let found = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(found.samples.len() <= SERIES_MAX, "{} series", found.samples.len());
            assert!(text.len() <= BYTES_MAX, "{} bytes", text.len());
            assert!(!text.contains("stranger") && !text.contains("somebody") && !text.contains("disk_free"));
        }
        if providers.len() >= 8 {
            let dropped = exposition(&registry, Wall(9), None);
            assert!(is_moved(&parse(&dropped).expect("strict"), "rusty_pinch_series_dropped_total"));
        }
    }
}

/// What `monitor` and `/readyz` show is counted once, here.
#[test]
fn the_document_of_a_worker_is_filled_from_the_same_numbers() {
    let channel = ChannelId::Telegram;
    let mut registry = Registry::new(&[channel], &["codex"], Wall(1000));
    let filled = |registry: &Registry| {
        let mut status = Status { pid: 7, ..Status::default() };
        registry.fill(channel, &mut status);
        status
    };
    let empty = filled(&registry);
    assert_eq!((empty.pid, empty.channel.up, empty.channel.last_ok_at), (7, false, None));
    registry.on_note(Wall(2000), Note::Polled { channel, waiting: Some(3) });
    for millis in (0..99).map(|_| 4).chain([400]) {
        let flush = std::time::Duration::from_millis(millis);
        registry.on_note(Wall(2000), Note::Committed { channel, bytes: 512, flush });
    }
    registry.on_note(Wall(2000), Note::Open { channel, unanswered: 2, undelivered: 1, oldest: Some(Wall(1500)) });
    let parked = |reason: &str| rusty_pinch::observe::event::Event::ChannelParked {
        channel,
        reason: reason.to_owned(),
        remedy: String::new(),
        retry_ms: 0,
    };
    (0..20).for_each(|number| registry.on_event(Wall(3000 + number), &parked("conflict")));
    let status = filled(&registry);
    assert_eq!((status.channel.last_ok_at, status.channel.waiting), (Some(2000), Some(3)));
    assert_eq!(status.channel.parked.as_deref(), Some("conflict"));
    assert_eq!((status.journal.commits, status.journal.bytes, status.journal.flush_p99_ms), (100, 51_200, 5));
    assert_eq!((status.open.unanswered, status.open.undelivered, status.open.oldest_at), (2, 1, Some(1500)));
    assert_eq!((status.problems.len(), status.problems[0].count, status.problems[0].at), (1, 20, 3019));
    assert_eq!((status.providers.len(), status.providers[0].breaker.as_str()), (1, "closed"));
    registry.on_event(Wall(4000), &rusty_pinch::observe::event::Event::ChannelResumed { channel });
    assert_eq!(filled(&registry).channel.parked, None);
    let by_name: BTreeMap<String, u64> = (0..20)
        .map(|number| {
            registry.on_event(Wall(5000), &parked(&format!("reason {number}")));
            (format!("reason {number}"), 1)
        })
        .collect();
    let problems = filled(&registry).problems;
    assert!(
        problems.len() == 8 && problems.iter().all(|problem| by_name.contains_key(&problem.detail)),
        "{problems:?}"
    );
}
