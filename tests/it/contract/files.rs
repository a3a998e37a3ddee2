//! Contract §5: session files, the counters' file, and what the program leaves alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use serde_json::Value;

use crate::contract::Decision::{Changed, Gone, Stays};
use crate::contract::Proof::{Check, Tests};
use crate::contract::{Row, row};
use crate::support::world::World;

const ZERO: &str = "§15.16 kept, and 0 or null where nothing is counted any more";

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("5.1", "default", "default.jsonl", Stays, Check(file_name)),
    row("5.1", "Work-2_b", "Work-2_b.jsonl", Stays, Check(file_name)),
    row("5.1", "telegram:42", "telegram_42.jsonl", Stays, Check(file_name)),
    row("5.1", "telegram:-100123", "telegram_-100123.jsonl", Stays, Check(file_name)),
    row("5.1", "whatsapp:4915551@s.whatsapp.net", "whatsapp_4915551_s_whatsapp_net.jsonl", Stays, Check(file_name)),
    row("5.1", "whatsapp:4915551-160@g.us", "whatsapp_4915551-160_g_us.jsonl", Stays, Check(file_name)),
    row("5.1", "a b", "a_b-", Changed("§15.14 other names get a checksum"), Check(file_name)),
    row("5.1", "a blank name", "", Changed("§15.14 refused, was .jsonl"), Check(refused_name)),
    row("5.1", "a name over 200 bytes", "", Changed("§15.14 refused, was a failed turn"), Check(refused_name)),
    row("5.1", "a line has role, content, timestamp, in this order", "", Stays, Check(line_format)),
    row("5.1", "text is UTF-8 as it is", "", Stays, Check(line_format)),
    row("5.1", "a line has more keys behind these", "", Changed("§15.13 n, and the turn's id and a checksum"), Check(line_format)),
    row("5.1", "unknown keys and roles, and blank lines, are tolerated", "", Stays, Check(old_lines)),
    row("5.1", "a line that cannot be read", "", Changed("weakness: one line made the whole session fail"), Check(damaged_line)),
    row("5.1", "the user line, then the assistant line", "", Stays, Check(line_format)),
    row("5.1", "a failed turn", "", Changed("§15.2 is kept, with its error class"), Check(failed_turn)),
    row("5.1", "the user line's time", "", Changed("§15.2 when it was received"), Tests(&["kills_at_random_moments_lose_nothing_and_repeat_nothing_unmarked"])),
    row("5.1", "a tool turn is `/tool name args` and `[tool:name]`", "", Stays, Check(tool_turn)),
    row("5.1", "a failed tool turn", "", Changed("§15.2 is kept"), Check(failed_tool)),
    row("5.1", "tools of the model are not kept", "", Stays, Tests(&["a_model_gets_two_tools_and_sees_their_output"])),
    row("5.1", "/skill name args of `skills run`", "", Gone("§15.17 no skills; old lines are read"), Check(old_lines)),
    row("5.1", "mode 0644 less the umask", "", Changed("weakness: conversations are for their owner, mode 0600"), Check(private)),
    row("5.1", "two write calls, no flush, no lock", "", Changed("weakness: a line could be torn"), Tests(&["many_commands_at_once_lose_no_line_and_no_count"])),
    row("5.2", "schema_version", "1", Stays, Check(telemetry_key)),
    row("5.2", "updated_at", "*", Stays, Check(telemetry_key)),
    row("5.2", "total_turns", "2", Stays, Check(telemetry_key)),
    row("5.2", "ok_turns", "1", Stays, Check(telemetry_key)),
    row("5.2", "error_turns", "1", Stays, Check(telemetry_key)),
    row("5.2", "provider_turns", "1", Stays, Check(telemetry_key)),
    row("5.2", "tool_turns", "1", Stays, Check(telemetry_key)),
    row("5.2", "skill_turns", "0", Changed(ZERO), Check(telemetry_key)),
    row("5.2", "total_provider_attempts", "0", Stays, Check(telemetry_key)),
    row("5.2", "codex", "null", Changed(ZERO), Check(telemetry_key)),
    row("5.2", "pulse", "null", Changed(ZERO), Check(telemetry_key)),
    row("5.2", "evolution", "null", Changed(ZERO), Check(telemetry_key)),
    row("5.2", "last_turn", "*", Stays, Check(telemetry_key)),
    row("5.2", "keys of codex, pulse and evolution", "", Gone("§15.16 null"), Check(old_telemetry)),
    row("5.2", "last_turn: timestamp request_id session_id path status provider model tool_name attempts latency_ms user_chars response_chars error", "", Stays, Check(last_turn)),
    row("5.2", "keys in the order of their declaration, no newline at the end", "", Stays, Check(telemetry_format)),
    row("5.2", "missing keys are read as 0", "", Stays, Check(old_telemetry)),
    row("5.2", "each process writes its own copy", "", Changed("weakness: processes lost each other's counts"), Tests(&["many_commands_at_once_lose_no_line_and_no_count"])),
    row("5.3", "skills/weather.rhai", "", Gone("§15.17 left alone"), Check(left_alone)),
    row("5.3", "pulse/state.json", "", Gone("§15.17 left alone"), Check(left_alone)),
    row("5.3", "updates/active-slot", "", Gone("§15.17 left alone"), Check(left_alone)),
];

fn local() -> World {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    world
}

#[track_caller]
fn say(world: &World, session: &str, message: &str, code: i32) {
    let finished = world.run(&["run", "--session", session, "--message", message]);
    assert_eq!(finished.code, Some(code), "{finished:?}");
}

fn kept(world: &World, file: &str) -> String {
    fs::read_to_string(world.data().join("sessions").join(file)).expect("a session file")
}

/// `want` is the file, or how it begins.
fn file_name(row: &Row) {
    let world = local();
    say(&world, row.name, "hello", 0);
    let names: Vec<String> = fs::read_dir(world.data().join("sessions"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    assert!(names.len() == 1 && names[0].starts_with(row.want), "{names:?}");
}

fn refused_name(_: &Row) {
    let world = local();
    say(&world, "", "hello", 2);
    say(&world, &"x".repeat(201), "hello", 2);
    say(&world, &"x".repeat(200), "hello", 0);
}

fn line_format(_: &Row) {
    let world = local();
    say(&world, "default", "grüße 🪶", 0);
    let text = kept(&world, "default.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    assert!(text.ends_with("}\n") && lines.len() == 2, "{text}");
    assert!(lines[0].starts_with("{\"role\":\"user\",\"content\":\"grüße 🪶\",\"timestamp\":\"20"), "{text}");
    assert!(lines[1].starts_with("{\"role\":\"assistant\",\"content\":\"[Rusty Pinch"), "{text}");
    assert!(lines[1].contains(",\"n\":2,\"c\":\""), "{text}");
}

fn put(world: &World, text: &str) {
    let folder = world.data().join("sessions");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("default.jsonl"), text).expect("written");
}

fn old_lines(_: &Row) {
    let world = local();
    put(
        &world,
        concat!(
            "{\"role\":\"user\",\"content\":\"/skill weather here\",\"timestamp\":\"2026-01-01T00:00:00.123456789+00:00\"}\n\n",
            "{\"role\":\"robot\",\"content\":\"b\",\"timestamp\":\"2026-01-01T00:00:00+00:00\",\"more\":[1]}\n",
        ),
    );
    say(&world, "default", "hello", 0);
    let shown = world.run(&["session"]).stdout;
    let lines: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
    assert!(lines.len() == 4 && shown.contains("/skill weather here") && shown.contains("robot"), "{shown}");
    assert!(lines[3]["content"].as_str().is_some_and(|text| text.ends_with("history=2 messages.")), "{shown}");
}

fn damaged_line(_: &Row) {
    let world = local();
    put(&world, "{\"role\":\"user\"}\nnonsense\n");
    say(&world, "default", "hello", 0);
    assert!(world.run(&["session"]).stdout.contains("Received 'hello'"));
}

fn failed_turn(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    say(&world, "default", "hello", 1);
    let text = kept(&world, "default.jsonl");
    assert!(text.lines().count() == 2 && text.contains("\"error\":\""), "{text}");
}

fn tool_turn(_: &Row) {
    let world = local();
    say(&world, "default", "  /tool   session_tail   2 ", 0);
    let text = kept(&world, "default.jsonl");
    assert!(text.contains("\"content\":\"/tool session_tail 2\""), "{text}");
    assert!(text.contains("\"content\":\"[tool:session_tail]\\n{"), "{text}");
}

fn failed_tool(_: &Row) {
    let world = local();
    say(&world, "default", "/tool none", 1);
    assert_eq!(kept(&world, "default.jsonl").lines().count(), 2);
}

fn private(_: &Row) {
    let world = local();
    say(&world, "default", "hello", 0);
    let mode = |place: &str| fs::metadata(world.data().join(place)).expect("there").permissions().mode() & 0o777;
    assert_eq!(
        (mode("sessions/default.jsonl"), mode("sessions"), mode("telemetry/latest.json")),
        (0o600, 0o700, 0o600)
    );
}

/// The file after a message and a tool that failed.
fn telemetry() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let world = local();
        say(&world, "default", "hello", 0);
        say(&world, "default", "/tool none", 1);
        fs::read_to_string(world.data().join("telemetry/latest.json")).expect("written")
    })
}

fn telemetry_key(row: &Row) {
    let value: Value = serde_json::from_str(telemetry()).expect("JSON");
    let found = value.get(row.name).expect("the key is there").to_string();
    assert!(found == row.want || row.want == "*" && found != "null", "{found}");
}

/// The names stand in the file in the order of these.
#[track_caller]
fn in_order<'a>(names: impl Iterator<Item = &'a str>) {
    let places: Vec<Option<usize>> = names.map(|name| telemetry().find(&format!("\"{name}\": "))).collect();
    assert!(places.len() > 10 && places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

fn last_turn(row: &Row) {
    in_order(row.name.split(' ').skip(1));
}

fn telemetry_format(_: &Row) {
    let keys = ROWS
        .iter()
        .filter(|row| matches!(row.proof, Check(check) if std::ptr::fn_addr_eq(check, telemetry_key as fn(&Row))));
    in_order(keys.map(|row| row.name));
    assert!(telemetry().starts_with("{\n  \"schema_version\": 1,\n") && telemetry().ends_with('}'), "{}", telemetry());
}

fn old_telemetry(_: &Row) {
    let world = local();
    let folder = world.data().join("telemetry");
    fs::create_dir_all(&folder).expect("a folder");
    let old =
        r#"{"schema_version":1,"total_turns":7,"pulse":{"jobs_total":3},"codex":{"enabled":true},"evolution":{}}"#;
    fs::write(folder.join("latest.json"), old).expect("written");
    say(&world, "default", "hello", 0);
    let stats: Value = serde_json::from_str(&world.run(&["stats"]).stdout).expect("JSON");
    assert_eq!((&stats["telemetry"]["total_turns"], &stats["telemetry"]["ok_turns"]), (&8.into(), &1.into()));
}

fn left_alone(row: &Row) {
    let world = local();
    let path = world.path("workspace").join(row.name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    fs::write(&path, b"as it was").expect("written");
    say(&world, "default", "hello", 0);
    world.run(&["doctor"]);
    assert_eq!(fs::read(&path).expect("still there"), b"as it was");
    let workspace = fs::read_dir(world.path("workspace")).expect("a folder").count();
    assert_eq!(workspace, 1, "nothing else is made");
}
