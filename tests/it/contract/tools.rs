//! Contract §8: the grammar of `/tool`, its guardrails, and the tools.

use serde_json::Value;

use crate::contract::Decision::{Gone, Stays};
use crate::contract::Proof::{Check, Tests};
use crate::contract::{Row, row};
use crate::support::cases::Random;
use crate::support::fake_provider::{FakeProvider, Reply, Rule};
use crate::support::world::{Finished, World};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("8", "/tool model_info", "[tool:model_info]\nprovider=local\nmodel=m\nsession_id=default\n", Stays, Check(answered)),
    row("8", "  /tool\nmodel_info  ", "[tool:model_info]\nprovider=local", Stays, Check(answered)),
    row("8", "/tool\tmodel_info", "[tool:model_info]\nprovider=local", Stays, Check(answered)),
    row("8", "/toolbox", "[Rusty Pinch:", Stays, Check(answered)),
    row("8", "/TOOL model_info", "[Rusty Pinch:", Stays, Check(answered)),
    row("8", "please /tool model_info", "[Rusty Pinch:", Stays, Check(answered)),
    row("8", "/tool", "missing name", Stays, Check(refused)),
    row("8", "a name over 64 characters", "64", Stays, Check(long_name)),
    row("8", "/tool Model_Info", "a-z", Stays, Check(refused)),
    row("8", "/tool ../x", "a-z", Stays, Check(refused)),
    row("8", "arguments over 512 characters", "512", Stays, Check(long_arguments)),
    row("8", "/tool session_tail 1\u{7}2", "control", Stays, Check(refused)),
    row("8", "/tool weather", "available: model_info, session_tail, time_now", Stays, Check(refused)),
    row("8", "/tool model_info x", "usage: /tool model_info", Stays, Check(refused)),
    row("8", "/tool time_now x", "usage: /tool time_now", Stays, Check(refused)),
    row("8", "/tool session_tail 0", "usage: /tool session_tail", Stays, Check(refused)),
    row("8", "/tool session_tail x", "usage: /tool session_tail", Stays, Check(refused)),
    row("8", "session_tail: 5 by default, at most 50", "", Stays, Check(tail)),
    row("8", "session_tail: {messages:[{content,role,timestamp}],returned_messages,session_id,total_messages}", "", Stays, Check(tail)),
    row("8", "time_now", "", Stays, Check(time_now)),
    row("8", "/tool skill_list", "there is no tool", Gone("§15.17 no skills"), Check(refused)),
    row("8", "/tool skill_run weather", "there is no tool", Gone("§15.17 no skills"), Check(refused)),
    row("8", "an error names the request", "", Stays, Check(reference)),
    row("8", "a one-line /tool of the model runs, and its output is shown to the model", "", Stays, Check(action)),
    row("8", "/skills of the model", "", Gone("§15.17 no skills; it is an answer like any other"), Check(legacy_action)),
    row("8", "at most two tools for one message, then a fixed sentence", "", Stays, Check(two_steps)),
    row("8", "an error of a tool is shown to the model", "", Stays, Check(tool_error)),
    row("8", "tools of the user never reach the model", "", Stays, Tests(&["a_typed_tool_never_reaches_the_model"])),
];

fn say(text: &str) -> Finished {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    world.set("RUSTY_PINCH_MODEL", "m");
    world.run(&["run", "--message", text])
}

fn answered(row: &Row) {
    let finished = say(row.name);
    assert!(finished.code == Some(0) && finished.stdout.starts_with(row.want), "{finished:?}");
}

fn refused(row: &Row) {
    is_refused(row.name, row.want);
}

#[track_caller]
fn is_refused(text: &str, part: &str) {
    let finished = say(text);
    assert!(finished.code == Some(1) && finished.stdout.contains(part), "{finished:?}");
}

fn long_name(row: &Row) {
    is_refused(&format!("/tool {}", "a".repeat(65)), row.want);
    is_refused(&format!("/tool {}", "a".repeat(64)), "there is no tool");
}

fn long_arguments(row: &Row) {
    is_refused(&format!("/tool time_now {}", "é".repeat(513)), row.want);
    is_refused(&format!("/tool time_now {}", "é".repeat(512)), "usage");
}

fn tail(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    for number in 0..26 {
        world.run(&["run", "--message", &format!("m{number}")]);
    }
    for (arguments, want) in [("", 5), ("50", 50), ("51", 50), ("9", 9)] {
        let said = world.run(&["tools", "run", "--name", "session_tail", "--args", arguments]).stdout;
        let json = said.strip_prefix("[tool:session_tail]\n").expect("framed");
        let value: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(value["messages"].as_array().map(Vec::len), Some(want), "{arguments}");
        assert_eq!((&value["returned_messages"], &value["session_id"]), (&want.into(), &"default".into()));
        let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&value), ["messages", "returned_messages", "session_id", "total_messages"]);
        assert_eq!(keys(&value["messages"][0]), ["content", "role", "timestamp"]);
    }
}

fn time_now(_: &Row) {
    let said = say("/tool time_now").stdout;
    let time = said.strip_prefix("[tool:time_now]\n").expect("framed").trim_end();
    assert!(time.len() >= 25 && time.ends_with("+00:00") && time.as_bytes()[10] == b'T', "{time}");
}

/// The reply, or the record beside it, names the turn.
fn reference(_: &Row) {
    let finished = say("/tool none");
    assert!(finished.stderr.iter().any(|line| line.contains("\"request_id\":\"rp-")), "{finished:?}");
}

/// A model that answers with these, one after another.
fn model(answers: &[&str]) -> (Finished, Vec<Value>, World) {
    let provider = FakeProvider::start(&mut Random::from_seed(3));
    for answer in answers {
        provider.rule(Rule::when("").reply(Reply::Text((*answer).to_owned())).times(1));
    }
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "compatible");
    world.set("RUSTY_PINCH_API_BASE", &provider.url());
    let finished = world.run(&["run", "--message", "hello"]);
    (finished, provider.asked().into_iter().map(|asked| asked.body).collect(), world)
}

fn action(_: &Row) {
    let (finished, asked, world) = model(&[" /tool model_info \n", "so it is"]);
    assert_eq!((finished.stdout.as_str(), asked.len()), ("so it is\n", 2));
    let shown = asked[1]["messages"].to_string();
    assert!(shown.contains("[tool:model_info") && shown.contains("provider=compatible"), "{shown}");
    let kept = world.run(&["session"]).stdout;
    assert!(!kept.contains("model_info") && kept.contains("so it is"), "{kept}");
}

fn legacy_action(_: &Row) {
    let (finished, asked, _) = model(&["/skills run weather --args here"]);
    assert_eq!((finished.stdout.as_str(), asked.len()), ("/skills run weather --args here\n", 1));
}

fn two_steps(_: &Row) {
    let (finished, asked, _) = model(&["/tool time_now"; 5]);
    assert!(finished.code == Some(0) && asked.len() == 3, "{finished:?}");
    assert!(!finished.stdout.starts_with("/tool") && finished.stdout.len() > 10, "{finished:?}");
}

fn tool_error(_: &Row) {
    let (finished, asked, _) = model(&["/tool weather", "no weather, then"]);
    assert_eq!(finished.stdout, "no weather, then\n");
    assert!(asked[1]["messages"].to_string().contains("there is no tool"));
}
