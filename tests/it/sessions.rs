//! Session files as an operator has them: those of the earlier runtime go on, ours can be read by it, and a full one is
//! put away while commands go on writing.
//!
//! Seen to fail: a torn end that is cut and not kept; a newline that is not completed; ordinals that begin anew in a new
//! file; a listing of lines that ends with the current file; a limit that is never reached.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::command::local;
use crate::support::scene::Scene;
use crate::support::waiting::until;
use crate::support::world::World;

/// The limit of the documents, in numbers of its own.
const FILE_BYTES: usize = 8 * 1024 * 1024;
const SESSION: &str = "kept";

const WHOLE: [&str; 5] = [
    r#"{"role":"user","content":"hello","timestamp":"2025-01-01T00:00:00+00:00"}"#,
    r#"{"role":"assistant","content":"Grüße, 世界 \ud83d\ude00","timestamp":"2025-01-01T00:00:01.123456789+00:00"}"#,
    r#"{"timestamp":"2025-01-01T00:00:02Z","role":"robot","content":"other order","unknown":{"a":[1,null]}}"#,
    r#"{ "role" : "system", "content" : "spaces\nand \"quotes\"", "timestamp" : "soon" }"#,
    r#"{"role":"user","content":"","timestamp":"2025-01-01T00:00:03+00:00"}"#,
];

fn path(world: &World, name: &str) -> PathBuf {
    world.data().join("sessions").join(name)
}

fn keep(world: &World, content: &[u8]) {
    fs::create_dir_all(world.data().join("sessions")).expect("our own folder");
    fs::write(path(world, "kept.jsonl"), content).expect("our own folder");
}

/// As the session is printed.
#[track_caller]
fn printed(world: &World) -> Vec<(String, String, String)> {
    let finished = world.run(&["session", "--session", SESSION]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let lines: Vec<Value> = serde_json::from_str(&finished.stdout).expect("JSON");
    let text = |line: &Value, key: &str| line[key].as_str().expect("text").to_string();
    lines.iter().map(|line| (text(line, "role"), text(line, "content"), text(line, "timestamp"))).collect()
}

#[track_caller]
fn say(world: &World, message: &str) -> String {
    let finished = world.run(&["run", "--session", SESSION, "--message", message]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

/// The strictest reader that ever read these files: three keys of text, or the whole session fails. It looks at bytes and
/// knows nothing of ours.
fn strictly_read(bytes: &[u8]) -> Vec<(String, String, String)> {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = |line: &str| {
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).expect("an object on one line");
        let key = |name: &str| object.get(name).and_then(Value::as_str).expect("a key that is required").to_string();
        (key("role"), key("content"), key("timestamp"))
    };
    lines.map(read).collect()
}

/// `left` of a file of the earlier runtime, and behind it `torn`.
#[track_caller]
fn goes_on(left: &str, torn: &[u8], lines: usize) {
    let world = local();
    let content = [left.as_bytes(), torn].concat();
    keep(&world, &content);
    let told = strictly_read(left.as_bytes());
    assert_eq!(told.len(), lines);
    assert_eq!(printed(&world), told, "what was kept is what is printed");
    assert_eq!(fs::read(path(&world, "kept.jsonl")).expect("there"), content, "a reader changed it");

    assert!(say(&world, "on").ends_with(&format!("history={lines} messages.\n")));
    assert!(say(&world, "and on").ends_with(&format!("history={} messages.\n", lines + 2)));
    let now = fs::read(path(&world, "kept.jsonl")).expect("there");
    let ours = now.strip_prefix(left.as_bytes()).expect("the file of the earlier runtime begins it, byte for byte");
    let ours = if left.ends_with('\n') || left.is_empty() { ours } else { ours.strip_prefix(b"\n").expect("an end") };
    assert!(ours.starts_with(b"{\"role\":\"user\",\"content\":\"on\",\"timestamp\":\"20"));
    assert_eq!(strictly_read(&now), printed(&world), "read by both in the same way");
    assert_eq!(strictly_read(&now)[..lines], told);
    let names = fs::read_dir(world.data().join("sessions")).expect("there").map(|entry| entry.expect("an entry"));
    let aside: Vec<PathBuf> =
        names.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(".torn-")).collect();
    let kept: Vec<Vec<u8>> = aside.iter().map(|path| fs::read(path).expect("there")).collect();
    assert_eq!(kept, if torn.is_empty() { vec![] } else { vec![torn.to_vec()] }, "{aside:?}");
}

#[test]
fn every_file_of_the_earlier_runtime_goes_on_unchanged() {
    let whole = WHOLE.join("\n");
    goes_on("", b"", 0);
    goes_on(&format!("{whole}\n"), b"", 5);
    // Killed between a line and its newline.
    goes_on(&whole, b"", 5);
    goes_on(&format!("\n{}\n \n\n{whole}\n\n", WHOLE[1]), b"", 6);
    // Killed, or cut off by a full disk or a loss of power, within a line.
    goes_on(&format!("{whole}\n"), &WHOLE[1].as_bytes()[..44], 5);
    goes_on(&format!("{whole}\n"), &[0; 4096], 5);
    goes_on("", b"{", 0);
}

#[test]
fn our_lines_can_be_read_by_the_strictest_reader() {
    let mut world = local();
    say(&world, "tabs\tand \"quotes\", \u{1f600}\u{2028}\u{1b}[0m\nand lines");
    say(&world, "/tool time_now");
    // A failed turn.
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    assert_eq!(world.run(&["run", "--session", SESSION, "--message", "hello"]).code, Some(1));
    let told = strictly_read(&fs::read(path(&world, "kept.jsonl")).expect("there"));
    assert_eq!(told, printed(&world));
    let roles: Vec<&str> = told.iter().map(|(role, ..)| role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant"].repeat(3));
    assert!(told[0].1.contains("\u{2028}\u{1b}[0m\nand") && told[4].1 == "hello" && told[5].1.contains("Sorry"));
}

/// Old lines almost up to the limit.
fn nearly_full() -> (String, usize) {
    let line = format!("{{\"role\":\"user\",\"content\":\"{}\",\"timestamp\":\"t\"}}\n", "old ".repeat(2000));
    let count = FILE_BYTES / line.len();
    (line.repeat(count), count)
}

/// The ordinals of a file of ours.
fn ordinals(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON")["n"].as_u64()).collect()
}

#[test]
fn a_full_session_file_is_put_away_and_the_conversation_goes_on() {
    let world = local();
    let (old, old_lines) = nearly_full();
    keep(&world, old.as_bytes());
    // Enough for the limit, from many commands at once.
    let message = format!("question {}", "x".repeat(2000));
    let mut running: Vec<_> =
        (0..8).map(|_| world.start(&["run", "--session", SESSION, "--message", &message])).collect();
    for process in &mut running {
        assert_eq!(process.wait_within(Duration::from_secs(60)).code(), Some(0), "{:?}", process.last_words());
    }
    let full = fs::read(path(&world, "kept.1.jsonl")).expect("the limit was reached");
    let current = fs::read(path(&world, "kept.jsonl")).expect("there");
    assert!(full.len() <= FILE_BYTES && FILE_BYTES < full.len() + current.len());
    assert!(!path(&world, "kept.2.jsonl").exists());
    assert!(full.starts_with(old.as_bytes()), "old lines were changed");
    let total = old_lines as u64 + 16;
    let ours = [ordinals(&full[old.len()..]), ordinals(&current)].concat();
    assert_eq!(ours, (old_lines as u64 + 1..=total).collect::<Vec<_>>());
    assert!(!ordinals(&current).is_empty() && ordinals(&current).len() < 16, "not all in one file");

    assert!(say(&world, "small").ends_with(&format!("history={total} messages.\n")));
    let told = strictly_read(&[full.clone(), fs::read(path(&world, "kept.jsonl")).expect("there")].concat());
    assert!(told == printed(&world), "printed across its files");
    let tail = say(&world, "/tool session_tail 40");
    let tail: Value = serde_json::from_str(tail.trim_start_matches("[tool:session_tail]")).expect("JSON");
    assert_eq!((tail["returned_messages"].as_u64(), tail["total_messages"].as_u64()), (Some(40), Some(total + 2)));
    assert!(tail["messages"][0]["content"].as_str().is_some_and(|content| content.starts_with("old old ")));
    assert_eq!(tail["messages"][39]["content"], told[told.len() - 1].1);
    let list: Value = serde_json::from_str(&world.run(&["session", "list"]).stdout).expect("JSON");
    let bytes = full.len() as u64 + fs::metadata(path(&world, "kept.jsonl")).expect("there").len();
    assert_eq!((list[0]["lines"].as_u64(), list[0]["bytes"].as_u64()), (Some(total + 4), Some(bytes)), "{list}");

    // A process that ended between putting the file away and beginning the next leaves no current file.
    fs::rename(path(&world, "kept.jsonl"), path(&world, "kept.2.jsonl")).expect("there");
    let list: Value = serde_json::from_str(&world.run(&["session", "list"]).stdout).expect("JSON");
    assert_eq!((list[0]["lines"].as_u64(), list[0]["bytes"].as_u64()), (Some(total + 4), Some(bytes)), "{list}");
    assert!(say(&world, "on").ends_with(&format!("history={} messages.\n", total + 4)));
    assert_eq!(ordinals(&fs::read(path(&world, "kept.jsonl")).expect("there")), [total + 5, total + 6]);
}

/// Once a day, and first when it starts. A conversation of the console is one like any other.
#[test]
fn a_worker_removes_what_is_too_old_and_nothing_else() {
    let mut scene = Scene::new("retention");
    scene.world.set("RUSTY_PINCH_RETENTION_DAYS", "30");
    let old = WHOLE[0];
    let young = old.replace("2025", "2999");
    fs::create_dir_all(scene.world.data().join("sessions")).expect("our own folder");
    let files = [
        ("telegram_7.1.jsonl", format!("{old}\n")),
        ("telegram_7.jsonl", format!("{young}\n")),
        ("console.jsonl", format!("{old}\n")),
        ("mixed.jsonl", format!("{old}\n{young}\n")),
        ("note.txt", format!("{old}\n")),
    ];
    for (name, content) in &files {
        fs::write(path(&scene.world, name), content).expect("our own folder");
    }
    let worker = scene.start_polling();
    until("the old files are gone", || !path(&scene.world, "console.jsonl").exists());
    scene.stop(worker);
    let kept = files.iter().map(|(name, _)| *name).filter(|name| path(&scene.world, name).exists());
    assert_eq!(kept.collect::<Vec<_>>(), ["telegram_7.jsonl", "mixed.jsonl", "note.txt"]);
}
