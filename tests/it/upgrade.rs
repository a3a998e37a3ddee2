//! From the earlier runtime to this one and back. `Earlier` behaves as docs of that runtime say and shares no code with the
//! product: it reads strictly, appends as it always did, and writes its counters back without what it does not know.
//!
//! Seen to fail: counters without the second file (turns of the journal counted twice on the way back); ordinals that count
//! only lines of ours.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::support::command::run;
use crate::support::scene::Scene;
use crate::support::waiting::until;
use crate::support::world::World;

const OLD_TURNS: u64 = 7;

#[track_caller]
fn stats(world: &World) -> Value {
    serde_json::from_str(&run(world, &["stats"], 0).stdout).expect("JSON")
}

fn total_turns(world: &World) -> u64 {
    stats(world)["telemetry"]["total_turns"].as_u64().expect("a number")
}

#[track_caller]
fn contents(world: &World, session: &str) -> Vec<String> {
    let printed = run(world, &["session", "--session", session], 0).stdout;
    let lines: Vec<Value> = serde_json::from_str(&printed).expect("a JSON array");
    lines.iter().map(|line| line["content"].as_str().expect("text").to_owned()).collect()
}

fn line(role: &str, content: &str) -> String {
    format!("{{\"role\":\"{role}\",\"content\":\"{content}\",\"timestamp\":\"2026-01-01T00:00:00.123456789+00:00\"}}")
}

/// One process of the earlier runtime.
struct Earlier {
    data: PathBuf,
    counters: Map<String, Value>,
}

impl Earlier {
    const NUMBERS: [&str; 7] = [
        "total_turns",
        "ok_turns",
        "error_turns",
        "provider_turns",
        "tool_turns",
        "skill_turns",
        "total_provider_attempts",
    ];
    const LAST_TURN: [&str; 13] = [
        "timestamp",
        "request_id",
        "session_id",
        "path",
        "status",
        "provider",
        "model",
        "tool_name",
        "attempts",
        "latency_ms",
        "user_chars",
        "response_chars",
        "error",
    ];

    /// Reads the counters once, and writes what it understood.
    #[track_caller]
    fn start(data: &Path) -> Earlier {
        let path = data.join("telemetry/latest.json");
        let mut read: Map<String, Value> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).expect("an undecodable file is fatal"),
            Err(_) => Map::new(),
        };
        let mut counters = Map::new();
        counters.insert("schema_version".into(), 1.into());
        counters.insert("updated_at".into(), "2026-01-02T00:00:00.000000001+00:00".into());
        for name in Earlier::NUMBERS {
            let count = read.get(name).map_or(Some(0), Value::as_u64).expect("a number");
            counters.insert(name.into(), count.into());
        }
        for name in ["codex", "pulse", "evolution"] {
            counters.insert(name.into(), read.remove(name).unwrap_or_default());
        }
        let last = match read.remove("last_turn") {
            Some(Value::Object(mut last)) => {
                let known = Earlier::LAST_TURN.iter().map(|key| {
                    let value = last.remove(*key).unwrap_or_else(|| panic!("last_turn has no {key}"));
                    ((*key).to_owned(), value)
                });
                Value::Object(known.collect())
            }
            _ => Value::Null,
        };
        counters.insert("last_turn".into(), last);
        let earlier = Earlier { data: data.to_owned(), counters };
        earlier.save();
        earlier
    }

    fn save(&self) {
        let path = self.data.join("telemetry/latest.json");
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, serde_json::to_string_pretty(&self.counters).expect("JSON")).expect("written");
        fs::rename(temporary, path).expect("renamed");
    }

    /// Everything undecodable fails the whole session.
    #[track_caller]
    fn history(&self, stem: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.data.join("sessions").join(format!("{stem}.jsonl"))).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let read = |line: &str| {
            let object: Map<String, Value> = serde_json::from_str(line).expect("the whole session fails");
            let key = |name: &str| object[name].as_str().expect("a required key").to_owned();
            key("timestamp");
            (key("role"), key("content"))
        };
        lines.map(read).collect()
    }

    #[track_caller]
    fn turn(&mut self, stem: &str, message: &str) {
        let history = self.history(stem).len();
        let path = self.data.join("sessions").join(format!("{stem}.jsonl"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        for (role, content) in [("user", message.to_owned()), ("assistant", format!("answer behind {history}"))] {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).expect("opened");
            file.write_all(line(role, &content).as_bytes()).expect("written");
            file.write_all(b"\n").expect("written");
        }
        for name in ["total_turns", "ok_turns", "provider_turns"] {
            let count = self.counters[name].as_u64().expect("a number");
            self.counters.insert(name.into(), (count + 1).into());
        }
        self.counters.insert(
            "last_turn".into(),
            json!({"timestamp": "2026-01-02T00:00:00+00:00", "request_id": "rp-19b-1", "session_id": stem, "path": "provider",
                "status": "ok", "provider": "codex", "model": "m", "tool_name": null, "attempts": 1, "latency_ms": 5,
                "user_chars": 1, "response_chars": 2, "error": null}),
        );
        self.save();
    }
}

/// A data folder and a workspace as the earlier runtime leaves them.
fn leave(world: &World) {
    let mut earlier = Earlier::start(&world.data());
    earlier.counters.insert("pulse".into(), json!({"jobs_total": 2}));
    for (stem, message) in [("telegram_42", "one"), ("telegram_42", "two"), ("default", "three")] {
        earlier.turn(stem, message);
    }
    earlier.counters.insert("total_turns".into(), OLD_TURNS.into());
    earlier.save();
    let sessions = world.data().join("sessions");
    // Cut off in the middle of a line, and between a line and its newline.
    let mut torn = fs::OpenOptions::new().append(true).open(sessions.join("telegram_42.jsonl")).expect("there");
    torn.write_all(br#"{"role":"user","content":"cut o"#).expect("written");
    fs::write(sessions.join("no_newline.jsonl"), line("user", "whole")).expect("written");
    for file in ["pulse/state.json", "skills/greet.rhai", "skills/staging/x-20260101000000.rhai", "updates/active-slot"]
    {
        let path = world.path("workspace").join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "{\"jobs\":[]}").expect("written");
    }
    for folder in ["data", "data/sessions", "data/telemetry"] {
        fs::set_permissions(world.path(folder), fs::Permissions::from_mode(0o755)).expect("ours");
    }
    for entry in fs::read_dir(sessions).expect("there").flatten() {
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644)).expect("ours");
    }
}

#[test]
fn a_data_folder_of_the_earlier_runtime_opens_without_loss() {
    let scene = Scene::new("upgrade");
    let world = &scene.world;
    leave(world);
    let workspace = || {
        let mut files: Vec<_> =
            world.files().into_iter().filter(|(path, _)| path.starts_with(world.path("workspace"))).collect();
        files.sort();
        files
    };
    let before = workspace();
    assert_eq!(contents(world, "telegram:42"), ["one", "answer behind 0", "two", "answer behind 2"]);
    assert_eq!(contents(world, "telegram_42"), contents(world, "telegram:42"), "one session, as it always was");
    assert_eq!(contents(world, "no_newline"), ["whole"]);
    let told = stats(world);
    assert_eq!((total_turns(world), &told["telemetry"]["pulse"]["jobs_total"]), (OLD_TURNS, &2.into()));
    assert_eq!(told["last_turn"]["request_id"], "rp-19b-1");
    let doctor = run(world, &["doctor"], 0).stdout;
    assert!(doctor.contains("can be read by others"), "{doctor}");

    run(world, &["run", "--session", "no_newline", "--message", "four"], 0);
    let process = scene.start_polling();
    scene.telegram.say(42, "five");
    scene.telegram.until_sent_to(42, 1);
    scene.stop(process);
    let asked = scene.provider.asked();
    let prompt = asked.last().map(|asked| format!("{asked:?}")).unwrap_or_default();
    assert!(prompt.contains("answer behind 2"), "the history is told: {prompt}");
    assert_eq!(contents(world, "telegram:42").len(), 6);
    assert_eq!(contents(world, "no_newline").len(), 3);
    assert_eq!(total_turns(world), OLD_TURNS + 2);
    let kept: Vec<Vec<u8>> = world
        .files()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("telegram_42.jsonl.torn-"))
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(kept, [br#"{"role":"user","content":"cut o"#.to_vec()]);
    assert_eq!(workspace(), before);
}

#[test]
fn missing_folders_and_an_empty_file_of_counters_are_a_beginning() {
    let scene = Scene::new("nothing there");
    let world = &scene.world;
    for folder in ["data", "workspace", "run"] {
        fs::remove_dir(world.path(folder)).expect("empty");
    }
    assert_eq!((contents(world, "default"), total_turns(world)), (vec![], 0));
    run(world, &["doctor"], 0);
    assert!(!world.data().exists(), "looking made a folder");
    fs::create_dir_all(world.data().join("telemetry")).expect("made");
    fs::write(world.data().join("telemetry/latest.json"), "").expect("written");
    // As a loss of power leaves it. The counters are lost, which is said, and nothing else.
    assert!(run(world, &["stats"], 0).stderr.concat().contains("telemetry_error"));
    assert!(run(world, &["doctor"], 0).stdout.contains("the counters are damaged"));
    run(world, &["run", "--message", "one"], 0);
    let process = scene.start_polling();
    scene.telegram.say(42, "two");
    scene.telegram.until_sent_to(42, 1);
    scene.stop(process);
    assert_eq!(total_turns(world), 2);
}

/// There and back twice, the second time after a kill: every line is read by both, and every turn is counted once.
#[test]
fn going_back_to_the_earlier_runtime_loses_nothing_and_coming_again_counts_nothing_twice() {
    let scene = Scene::new("there and back");
    let world = &scene.world;
    let counted = |turns: u64| until("all are counted", || total_turns(world) == turns);
    let process = scene.start_polling();
    for number in 1..=3 {
        scene.telegram.say(42, &format!("ours {number}"));
        scene.telegram.until_sent_to(42, number);
    }
    counted(3);
    scene.stop(process);
    run(world, &["run", "--message", "tab\tand \u{1f600}"], 0);

    let mut earlier = Earlier::start(&world.data());
    assert_eq!(earlier.history("telegram_42").len(), 6);
    assert_eq!(earlier.history("default")[0].1, "tab\tand \u{1f600}");
    // More lines than are looked at one by one.
    for number in 0..40 {
        earlier.turn("telegram_42", &format!("earlier {number}"));
    }
    assert_eq!(total_turns(world), 44);

    let mut process = scene.start_polling();
    scene.telegram.say(42, "ours 4");
    scene.telegram.until_sent_to(42, 4);
    let session = String::from_utf8(world.session(42)).expect("text");
    let last: Value = serde_json::from_str(session.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["n"], 88, "{last}");
    until("the turn is closed", || run(world, &["outbox", "list"], 0).stdout == "[]\n");
    process.kill();

    let mut earlier = Earlier::start(&world.data());
    assert_eq!(earlier.history("telegram_42").len(), 88);
    earlier.turn("telegram_42", "earlier 41");
    // A command is first.
    run(world, &["run", "--message", "ours"], 0);
    let process = scene.start_polling();
    scene.telegram.say(42, "ours 5");
    scene.telegram.until_sent_to(42, 5);
    scene.stop(process);
    assert_eq!(total_turns(world), 44 + 1 + 1 + 1 + 1);
    let session = String::from_utf8(world.session(42)).expect("text");
    let numbers: Vec<Option<u64>> = session
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["n"].as_u64())
        .skip_while(Option::is_some)
        .collect();
    assert_eq!((numbers.len(), &numbers[80..]), (86, &[Some(87), Some(88), None, None, Some(91), Some(92)][..]));
    let told = stats(world);
    assert!(told["telemetry"]["latency_ms"]["p99"].is_u64(), "latencies came back: {told}");
}
