//! Who is answered: the allowlist, people and not machines, and how much at once.

use serde_json::{Value, json};

use crate::support::checker::Rules;
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::Scene;
use crate::support::waiting::{Gate, until};

/// Telegram puts this sender on what anonymous admins write.
const ANONYMOUS_ADMIN: i64 = 1_087_968_824;

#[track_caller]
fn check_allowed(allow: &str, chat: i64, sender: i64, want: bool) {
    let mut scene = Scene::new("allowlist");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", allow);
    let process = scene.start_polling();
    scene.telegram.say_as(chat, sender, "may I");
    scene.telegram.until_confirmed();
    if want {
        scene.telegram.until_sent_to(chat, 1);
    } else {
        process.until_event("channel_denied");
        scene.telegram.say_as(chat, sender, "please");
        scene.telegram.until_confirmed();
    }
    scene.stop(process);
    assert_eq!(scene.telegram.sent_count(), usize::from(want), "list {allow:?}, chat {chat}, sender {sender}");
    assert_eq!(scene.provider.asked_count(), usize::from(want));
}

#[test]
fn an_empty_allowlist_answers_nobody_and_polls_on() {
    check_allowed("", 7, 7, false);
}

#[test]
fn the_allowlist_names_senders_and_chats() {
    check_allowed("8, 7", 7, 7, true);
    check_allowed("8", 7, 7, false);
    check_allowed("-100500", -100_500, 7, true);
    check_allowed("7", -100_500, 7, true);
    check_allowed("77,-10050", -100_500, 7, false);
    check_allowed("*", -100_500, 7, true);
    // A name can be registered anew by anybody, so none is an entry.
    check_allowed("Ada,@Ada,ada", 7, 7, false);
}

#[test]
fn only_messages_of_people_are_answered() {
    let scene = Scene::new("ignored");
    let process = scene.start_polling();
    let person = json!({ "id": 42, "is_bot": false, "first_name": "Ada" });
    let chat = json!({ "id": 42, "type": "private" });
    let with = |name: &str, value: Value| {
        let mut message = json!({ "message_id": 900, "date": 1, "chat": chat, "from": person, "text": "not for you" });
        message[name] = value;
        message
    };
    let updates = [
        ("edited_message", with("edit_date", json!(2))),
        ("channel_post", with("sender_chat", json!({ "id": 42, "type": "channel" }))),
        ("edited_channel_post", with("edit_date", json!(2))),
        ("message", with("from", json!({ "id": 43, "is_bot": true, "first_name": "Robot" }))),
        ("message", with("via_bot", json!({ "id": 44, "is_bot": true, "first_name": "Robot" }))),
        ("message", with("from", json!({ "id": ANONYMOUS_ADMIN, "is_bot": false, "first_name": "Group" }))),
        ("message", with("sender_chat", json!({ "id": -100_600, "type": "channel", "title": "News" }))),
        ("message", with("text", json!("  \n "))),
        (
            "message",
            json!({ "message_id": 901, "date": 1, "chat": chat, "from": person, "sticker": { "file_id": "x" } }),
        ),
        ("callback_query", json!({ "id": "1", "from": person, "data": "not for you" })),
    ];
    let count = updates.len();
    for (index, (kind, mut body)) in updates.into_iter().enumerate() {
        body["message_id"] = json!(900 + index);
        scene.telegram.push_raw(|id| json!({ "update_id": id, kind: body }).to_string());
    }
    scene.telegram.post(42, json!({ "from": person, "photo": [], "caption": "a caption is text" }));
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
    assert_eq!(scene.provider.asked_count(), 1, "{count} updates were not for us");
}

#[test]
fn a_chat_with_too_many_open_messages_is_told_once() {
    let scene = Scene::new("busy");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("").after(Wait::Until(gate.clone())));
    let process = scene.start_polling();
    for index in 0..40 {
        scene.telegram.say(42, &format!("question {index}"));
    }
    scene.telegram.until_confirmed();
    gate.open();
    until("32 answers", || scene.telegram.sent().iter().filter(|sent| sent.text.starts_with("reply #")).count() == 32);
    scene.stop(process);
    let notices = scene.telegram.sent().iter().filter(|sent| !sent.text.starts_with("reply #")).count();
    assert_eq!(notices, 1, "one notice in ten seconds");
    assert_eq!(scene.provider.asked_count(), 32);
}
