//! The contract with the Bot API: what the worker asks for, what it answers, how a bounded run ends.
//!
//! The real binary against `support::fake_telegram`. `updates` has what is acknowledged, `age` what is too old, `people` who is answered,
//! `parts` and `sending` the way out, `trouble` the days when the API refuses.

mod age;
mod parts;
mod people;
mod sending;
mod trouble;
mod updates;

use serde_json::{Value, json};

use crate::support::checker::Rules;
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::{STOP_CEILING, Scene};
use crate::support::waiting::{Gate, until};
use crate::support::world::folder_contains;

#[test]
fn a_worker_introduces_itself_and_asks_for_messages_only() {
    let scene = Scene::new("introduction");
    let process = scene.start_polling();
    let methods: Vec<String> = scene.telegram.all_calls().into_iter().map(|call| call.method).collect();
    assert_eq!(methods[..3], ["getMe", "getWebhookInfo", "getUpdates"]);
    let poll = scene.telegram.calls("getUpdates").swap_remove(0).body;
    assert_eq!(poll["allowed_updates"], json!(["message"]));
    assert_eq!(poll["timeout"], 30);
    assert!(poll["limit"].as_u64().is_some_and(|limit| (1..=100).contains(&limit)), "{poll}");
    let started = process.until_event("channel_start");
    assert_eq!(started["channel"], "telegram");
    assert_eq!(started["allow_from_count"], 1);
    assert_eq!(started["max_messages"], Value::Null);
    assert_eq!(started["poll_timeout_secs"], 30);
    scene.stop(process);
    let stops = scene.world.all_events("channel_stop");
    assert_eq!(stops.len(), 1);
    assert_eq!((&stops[0]["channel"], &stops[0]["reason"]), (&json!("telegram"), &json!("signal")));
    assert!(scene.world.all_stdout().is_empty(), "standard output carries results only");
}

#[test]
fn a_message_is_answered_once_and_told_in_session_and_log() {
    let scene = Scene::new("answer");
    let process = scene.start_polling();
    for index in 0..3 {
        let text = format!("hello {index}");
        scene.telegram.say(42, &text);
        scene.telegram.until_sent(index + 1);
    }
    scene.telegram.until_confirmed();
    scene.stop(process);
    let verdict = scene.judge(Rules::CALM);
    assert_eq!((verdict.messages, verdict.notices), (3, 0));
    let body = &scene.telegram.sent()[0].body;
    assert_eq!(body["chat_id"], 42);
    assert_eq!(body["link_preview_options"], json!({ "is_disabled": true }));
    assert_eq!(body.get("message_thread_id"), None);
    assert_eq!(body.get("parse_mode"), None, "a reply is plain text");
    let turn = scene.world.all_events("turn").swap_remove(0);
    let wanted = json!({
        "session_id": "telegram:42", "path": "provider", "status": "ok", "provider": "compatible", "model": "fake-model",
        "tool_name": null, "attempts": 1, "user_chars": 7, "response_chars": 19, "error": null, "channel": "telegram",
        "delivery": "sent",
    });
    for (name, value) in wanted.as_object().expect("an object") {
        assert_eq!(turn.get(name), Some(value), "{name} of {turn}");
    }
    let polls = scene.telegram.calls("getUpdates");
    assert!(polls.iter().all(|poll| poll.connection == polls[0].connection), "polls share a connection");
}

#[test]
fn the_request_id_is_the_same_everywhere() {
    let scene = Scene::new("request-id");
    let process = scene.start_polling();
    scene.telegram.say(42, "hello");
    scene.telegram.until_sent(1);
    scene.stop(process);
    let turn = scene.world.all_events("turn").swap_remove(0);
    let id = turn["request_id"].as_str().expect("a request id");
    assert!(id.starts_with("rp-") && id.len() > 10, "{id}");
    assert_eq!(scene.provider.asked()[0].header("X-Client-Request-Id"), Some(id));
    assert!(folder_contains(&scene.world.data().join("journal"), id), "{id} is not in the journal");
    assert!(folder_contains(&scene.world.data().join("sessions"), id), "{id} is not in the session");
}

#[test]
fn a_bounded_run_stops_by_itself_and_leaves_no_repeat_behind() {
    let scene = Scene::new("max-messages");
    for index in 0..5 {
        scene.telegram.say(42 + index % 2, &format!("message {index}"));
    }
    let mut process = scene.world.start(&["channels", "telegram", "--max-messages", "2"]);
    let status = process.wait_within(STOP_CEILING + STOP_CEILING);
    assert_eq!(status.code(), Some(0), "{:#?}", process.last_words());
    let answered = scene.telegram.sent_count();
    assert_eq!(answered, 2, "messages answered by a run of 2");
    let stop = process.until_event("channel_stop");
    assert_eq!(stop["reason"], "max_messages");
    assert_eq!(process.until_event("channel_start")["max_messages"], 2);
    let process = scene.start();
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}

#[test]
fn typing_is_shown_while_a_turn_runs() {
    let scene = Scene::new("typing");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
    let process = scene.start_polling();
    scene.telegram.say(42, "slow question");
    until("typing", || !scene.telegram.calls("sendChatAction").is_empty());
    assert_eq!(scene.telegram.calls("sendChatAction")[0].body, json!({ "chat_id": 42, "action": "typing" }));
    assert_eq!(scene.telegram.sent_count(), 0);
    gate.open();
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}
