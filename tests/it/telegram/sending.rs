//! The way out: told to wait, answers that got lost, chats that are gone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::checker::{MARK, Rules};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{Reply, Rule, UPSTREAM_CANARY};
use crate::support::fake_telegram::Sent;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, holds, now, since, until};

#[test]
fn a_forum_topic_is_answered_in_its_topic() {
    let scene = Scene::new("topics");
    let process = scene.start_polling();
    let person = json!({ "id": 42, "is_bot": false, "first_name": "Ada" });
    for (index, topic) in [Some(5), Some(1), None].into_iter().enumerate() {
        let mut fields = json!({ "from": person, "text": format!("message {index}") });
        if let Some(topic) = topic {
            fields["message_thread_id"] = json!(topic);
            fields["is_topic_message"] = json!(true);
        }
        scene.telegram.post(-100_700, fields);
        scene.until_answered();
    }
    scene.stop(process);
    let topics: Vec<Value> = scene.telegram.sent().iter().map(|sent| sent.body["message_thread_id"].clone()).collect();
    // Topic 1 is "General", which the API wants left out.
    assert_eq!(topics, [json!(5), Value::Null, Value::Null]);
}

#[test]
fn a_chat_told_to_wait_waits_and_delays_no_other() {
    let scene = Scene::new("retry-after");
    scene.telegram.fault(Fault::too_many_requests(3).on("sendMessage").for_chat(42).times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "to the busy chat");
    scene.telegram.say(42, "and another");
    until("the refusal", || scene.telegram.calls("sendMessage").iter().any(|call| call.status == 429));
    let refused_at = now();
    for index in 0..10 {
        let chat = 50 + index;
        let asked_at = now();
        scene.telegram.say(chat, &format!("to an idle chat {index}"));
        scene.telegram.until_sent_to(chat, 1);
        assert!(since(asked_at) < Duration::from_secs(1), "chat {chat} waited for another");
    }
    scene.until_answered();
    let first = scene.telegram.sent_to(42)[0].at;
    assert!(first - refused_at > Duration::from_millis(2900), "sent again after {:?}", first - refused_at);
    scene.stop(process);
    // A refusal is no ambiguity, so there is no mark.
    scene.judge(Rules::CALM);
    let deliveries = deliveries(&scene);
    assert_eq!(deliveries.iter().filter(|delivery| *delivery == "sent_after_retry").count(), 1, "{deliveries:?}");
}

fn deliveries(scene: &Scene) -> Vec<String> {
    let turns = scene.world.all_events("turn");
    turns.iter().map(|turn| turn["delivery"].as_str().unwrap_or_default().to_string()).collect()
}

#[track_caller]
fn check_ambiguous(name: &str, fault: Fault, want: &[&str]) {
    let scene = Scene::new(name);
    scene.telegram.fault(fault.on("sendMessage").for_chat(42).times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    scene.telegram.say(42, "second");
    scene.telegram.say(43, "third");
    scene.until_answered();
    until("3 turns are told", || scene.world.all_events("turn").len() == 3);
    scene.stop(process);
    scene.judge(Rules::LOST_ANSWERS);
    let texts = |sent: Vec<Sent>| sent.into_iter().map(|sent| sent.text).collect::<Vec<_>>();
    let replies: Vec<String> = scene.provider.replies();
    let number = scene.provider.asked().iter().position(|asked| asked.text == "first").expect("it was asked");
    let first: Vec<String> = want.iter().map(|mark| format!("{mark}{}", replies[number])).collect();
    assert_eq!(texts(scene.telegram.sent_to(42))[..want.len()], first, "{name}");
    assert_eq!(scene.telegram.sent_to(42).len(), want.len() + 1, "{name}");
    assert_eq!(scene.telegram.sent_to(43).len(), 1, "{name}");
    assert_eq!(deliveries(&scene).iter().filter(|delivery| *delivery == "ambiguous_resent").count(), 1, "{name}");
}

/// The server may have taken the message: it is sent again, marked, with the same text.
#[test]
fn an_ambiguous_send_is_repeated_once_with_a_mark() {
    check_ambiguous("lost answer", Fault::lost_answer(), &["", MARK]);
    check_ambiguous("half an answer", Fault::half_answer(), &["", MARK]);
    check_ambiguous("reset without effect", Fault::reset(), &[MARK]);
    check_ambiguous("502 page", Fault::web_page(502), &[MARK]);
    check_ambiguous("500", Fault::status(500, "Internal Server Error"), &[MARK]);
    check_ambiguous("a page that says 200", Fault::web_page(200), &[MARK]);
}

/// Where a text must not arrive twice, a notice takes the place of what may have arrived.
#[test]
fn an_ambiguous_send_becomes_a_notice_where_the_operator_wants_no_repeats() {
    let mut scene = Scene::new("at most once");
    scene.world.set("RUSTY_PINCH_DELIVERY", "at_most_once");
    scene.telegram.fault(Fault::lost_answer().on("sendMessage").times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    scene.telegram.until_sent_to(42, 2);
    scene.telegram.say(42, "second");
    scene.telegram.until_sent_to(42, 3);
    scene.telegram.until_confirmed();
    until("2 turns are told", || scene.world.all_events("turn").len() == 2);
    scene.stop(process);
    let texts: Vec<String> = scene.telegram.sent_to(42).into_iter().map(|sent| sent.text).collect();
    let replies = scene.provider.replies();
    assert_eq!((&texts[0], &texts[2]), (&replies[0], &replies[1]));
    assert!(texts[1].starts_with("An answer, or a part of one, may not have reached you."), "{texts:?}");
    assert_eq!(deliveries(&scene), ["ambiguous_notice", "sent"]);
}

/// Two ambiguous repeats are the limit; then the reply is given up, and the chat goes on.
#[track_caller]
fn check_dead(name: &str, status: u16, description: &str) {
    let scene = Scene::new(name);
    scene.telegram.fault(Fault::status(status, description).on("sendMessage").for_chat(42).times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    until("the first turn ends", || !scene.world.all_events("turn").is_empty());
    assert_eq!(deliveries(&scene), ["dead"], "{name}");
    scene.telegram.say(42, "second");
    scene.telegram.until_sent_to(42, 1);
    scene.telegram.until_confirmed();
    holds("no more is sent", Duration::from_millis(200), || scene.telegram.sent_count() == 1);
    scene.stop(process);
    assert!(scene.telegram.sent()[0].text.ends_with("to second"), "{name}");
    assert!(!scene.world.all_events("channel_send_error").is_empty(), "{name}: no event");
}

/// C9, seven of eight.
#[test]
fn a_chat_that_is_gone_costs_one_call_until_it_writes_again() {
    for (name, status, description) in [
        ("blocked", 403, "Forbidden: bot was blocked by the user"),
        ("deactivated", 403, "Forbidden: user is deactivated"),
        ("kicked", 403, "Forbidden: bot was kicked from the supergroup chat"),
        ("kicked from a channel", 403, "Forbidden: bot is not a member of the channel chat"),
        ("not found", 400, "Bad Request: chat not found"),
        ("no rights", 400, "Bad Request: not enough rights to send text messages to the chat"),
        ("closed topic", 400, "Bad Request: TOPIC_CLOSED"),
    ] {
        check_dead(name, status, description);
    }
}

/// C9, the eighth: a group became a supergroup, with another id. What waited for the old one goes to the new one, in order, unmarked.
#[test]
fn replies_follow_a_group_to_its_new_id() {
    const OLD: i64 = -4200;
    const NEW: i64 = -1_004_200;
    let scene = Scene::new("migrated");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("first").after(Wait::Until(gate.clone())));
    let moved = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": { "migrate_to_chat_id": NEW },
    });
    scene.telegram.fault(Fault::instead(400, &moved).on("sendMessage").for_chat(OLD));
    let process = scene.start_polling();
    scene.telegram.say_as(OLD, 7, "first");
    scene.telegram.say_as(OLD, 7, "second");
    scene.telegram.until_confirmed();
    gate.open();
    scene.telegram.until_sent_to(NEW, 2);
    scene.telegram.say_as(NEW, 7, "from the new one");
    scene.telegram.until_sent_to(NEW, 3);
    scene.telegram.until_confirmed();
    until("three turns are told", || scene.world.all_events("turn").len() == 3);
    scene.stop(process);
    let texts: Vec<String> = scene.telegram.sent_to(NEW).into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts, ["reply #0 to first", "reply #1 to second", "reply #2 to from the new one"]);
    assert!(scene.telegram.sent_to(OLD).is_empty());
    assert!(deliveries(&scene).iter().all(|delivery| !delivery.contains("ambiguous") && delivery != "dead"));
}

#[track_caller]
fn check_provider_trouble(name: &str, rule: Rule) {
    let scene = Scene::new(name);
    scene.provider.rule(rule);
    let process = scene.start_polling();
    scene.telegram.say(42, "question");
    scene.telegram.until_sent_to(42, 1);
    scene.telegram.until_confirmed();
    until("the turn is told", || !scene.world.all_events("turn").is_empty());
    scene.stop(process);
    let verdict = scene.judge(Rules::CALM);
    assert_eq!(verdict.notices, 1, "{name}: a sentence with the request id");
    let text = &scene.telegram.sent()[0].text;
    assert!(!text.contains(UPSTREAM_CANARY), "{name}: upstream text in the chat: {text}");
    let turn = scene.world.all_events("turn").swap_remove(0);
    assert_eq!(turn["status"], "error", "{name}");
    assert!(turn["error"].is_string(), "{name}: {turn}");
}

/// What a person sees comes from a fixed table, with the request id, never from upstream.
#[test]
fn a_failing_provider_is_told_in_our_words() {
    for status in [400, 401, 402, 403, 404, 429, 500, 503] {
        check_provider_trouble(&format!("status {status}"), Rule::when("").status(status));
    }
    let page = format!("<html>{UPSTREAM_CANARY}</html>");
    check_provider_trouble("a page", Rule::when("").reply(Reply::Malformed(page)));
    let error = json!({ "error": { "message": UPSTREAM_CANARY } }).to_string();
    check_provider_trouble("an error in a success", Rule::when("").reply(Reply::Malformed(error)));
    check_provider_trouble("no choice", Rule::when("").reply(Reply::Malformed(json!({ "choices": [] }).to_string())));
    check_provider_trouble("too large", Rule::when("").reply(Reply::Oversize(9 << 20)));
}
