//! Which dialect is spoken, and what of the token.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::fake_bridge::{FakeBridge, Speaks};
use crate::support::waiting::{CEILING, until};
use crate::whatsapp::lab::{CALM, Lab};
use crate::whatsapp::{ANNA, Scene, TOKEN};

/// Everything that the worker said, in order.
fn frames(scene: &Scene) -> Vec<Value> {
    scene.bridge.heard().iter().map(|frame| serde_json::from_str(frame).expect("JSON")).collect()
}

#[test]
fn a_bridge_of_dialect_p_is_found_out_by_its_first_message() {
    let scene = Scene::new("dialect_p", Speaks::P);
    let process = scene.start();
    scene.bridge.until_ready();
    let answer = scene.ask(ANNA, "1", "**hello**");
    assert_eq!(answer, "reply #0 to *hello*", "the markup is WhatsApp's");
    let frames = frames(&scene);
    assert_eq!(frames, [json!({"type": "message", "to": ANNA, "content": answer})], "nothing else is said");
    assert_eq!(process.until_event("channel_state")["state"], "dialect_p");
    let started = process.until_event("channel_start");
    assert_eq!((&started["channel"], &started["reconnect_ms"]), (&"whatsapp".into(), &20.into()));
    assert!(!scene.bridge.requests()[0].to_ascii_lowercase().contains("origin"), "{}", scene.bridge.requests()[0]);
    scene.stop(process);
    until("the goodbye", || scene.bridge.closes() == [1001]);
}

#[test]
fn a_token_means_dialect_n_and_is_the_first_frame() {
    let scene = Scene::new("dialect_n", Speaks::N);
    let process = scene.start_linked();
    let answer = scene.ask("77@lid", "1", "hello");
    let frames = frames(&scene);
    assert_eq!(frames[0], json!({"type": "auth", "token": TOKEN}));
    assert_eq!(frames[1], json!({"type": "send", "to": "77@lid", "text": answer}));
    assert_eq!(frames.len(), 2, "no word of v2 to a bridge that does not offer it");
    until("it is told that the bridge is online", || {
        process.events("channel_state").iter().any(|event| event["state"] == "online")
    });
    scene.stop(process);
    assert!(!scene.world.all_lines().iter().any(|line| line.contains(TOKEN)), "the token is in the log");
}

#[test]
fn an_older_bridge_of_dialect_n_needs_no_token() {
    let scene = Scene::with("old_n", FakeBridge::start(Speaks::N, None), None);
    let process = scene.start_linked();
    assert_eq!(scene.ask(ANNA, "1", "hello"), "reply #0 to hello");
    assert_eq!(process.until_event("channel_state")["state"], "dialect_n");
    scene.stop(process);
}

#[test]
fn v2_is_answered_when_it_is_offered_and_messages_are_acknowledged_when_they_are_on_disk() {
    let scene = Scene::new("v2", Speaks::V2);
    let process = scene.start_linked();
    scene.ask(ANNA, "A1", "hello");
    until("the ack", || scene.bridge.acked() == ["A1"]);
    let sent = &scene.bridge.sent()[0];
    let turn = process.until_event("turn")["request_id"].clone();
    assert_eq!(sent.id.as_deref(), Some(format!("{}/0", turn.as_str().expect("an id")).as_str()));
    assert!(frames(&scene).contains(&json!({"type": "hello", "v": 2})));
    scene.stop(process);
}

#[test]
fn a_dialect_that_is_set_is_spoken() {
    let mut scene = Scene::with("set_p", FakeBridge::start(Speaks::P, None), Some(TOKEN));
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT", "p");
    let process = scene.start_linked();
    scene.ask(ANNA, "1", "hello");
    assert!(!scene.bridge.heard().iter().any(|frame| frame.contains("auth")), "a token is not for dialect p");
    // A message of the other dialect is not answered: the answer would go nowhere.
    scene.bridge.say(&json!({"type": "message", "id": "9", "sender": ANNA, "content": "?", "isGroup": false}));
    scene.ask(ANNA, "2", "again");
    scene.stop(process);
    assert_eq!(scene.world.all_events("channel_tally")[0]["passed"]["other_dialect"], 1);
}

#[test]
fn a_bridge_that_wants_another_token_parks_the_worker_with_a_sentence() {
    for (given, code, name) in [(None, 4001, "no token"), (Some("wrong"), 4003, "wrong token")] {
        let scene = Scene::with(name, FakeBridge::start(Speaks::N, Some(TOKEN)), given);
        let process = scene.start();
        let parked = process.until_event("channel_parked");
        assert_eq!(parked["reason"], "auth", "{name}");
        assert!(parked["remedy"].as_str().is_some_and(|text| text.contains("WHATSAPP_TOKEN")), "{parked}");
        assert!(parked["retry_ms"].as_u64().is_some_and(|retry| retry >= 899_000), "{parked}");
        let lost = process.until_event("channel_read_error");
        assert!(lost["error"].as_str().is_some_and(|text| text.contains(&code.to_string())), "{lost}");
        assert_eq!(scene.bridge.links(), 1, "no loop");
        scene.stop(process);
    }
}

#[test]
fn a_token_that_is_mended_is_used_on_sighup() {
    let mut scene = Scene::with("mended", FakeBridge::start(Speaks::N, Some(TOKEN)), None);
    let file = scene.world.path("home").join("token");
    std::fs::write(&file, "wrong").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN_FILE", &file.to_string_lossy());
    let process = scene.start();
    until("the worker is parked", || {
        !process.events("channel_parked").is_empty() || !process.events("fatal").is_empty()
    });
    assert!(process.events("fatal").is_empty(), "{:#?}", process.last_words());
    std::fs::write(&file, TOKEN).expect("written");
    process.signal(rustix::process::Signal::HUP);
    scene.bridge.until_ready();
    assert_eq!(scene.ask(ANNA, "1", "hello"), "reply #0 to hello");
    process.until_event("channel_resumed");
    assert_eq!(process.until_event("reload")["status"], "ok");
    scene.stop(process);
}

#[test]
fn an_ack_follows_the_receipt_and_replies_go_out_while_messages_wait_for_theirs() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.write(ANNA, "A", "hello");
    let inbound = lab.inbox.recv_timeout(CEILING).expect("a message");
    lab.reply(ANNA, "something else");
    bridge.until_sent(1);
    assert!(bridge.acked().is_empty(), "it is not on disk");
    lab.receipts.send(inbound.origin.expect("a receipt is wanted")).expect("the worker is there");
    until("the ack", || bridge.acked() == ["A"]);
    // More than fits between link and disk: what is passed over has no ack, and answers are still heard.
    (0..200).for_each(|number| bridge.write(ANNA, &format!("n{number}"), "one of many"));
    lab.reply(ANNA, "in between");
    bridge.until_sent(2);
    until("both are confirmed", || lab.deliveries().iter().filter(|line| *line == "close Sent").count() == 2);
    let mut seen = std::collections::BTreeSet::new();
    until("all are acknowledged", || {
        for inbound in lab.inbox.try_iter() {
            seen.insert(inbound.key);
            lab.receipts.send(inbound.origin.expect("a receipt is wanted")).expect("the worker is there");
        }
        if lab.is_quiet() && bridge.unacked() > 0 {
            bridge.cut();
        }
        bridge.unacked() == 0
    });
    assert_eq!(seen.len(), 200);
}

/// As many as a bridge of v2 leaves without an ack would keep every later message from the worker, on every link.
#[test]
fn messages_that_cannot_be_read_are_acknowledged_and_do_not_stop_their_bridge() {
    let scene = Scene::new("unreadable", Speaks::V2);
    let process = scene.start_linked();
    let long = "9".repeat(300);
    for number in 0..64 {
        let (id, sender) = match number % 3 {
            0 => (format!(" blanks {number} "), "a\u{7}b"),
            1 => (format!("{long}{number}"), ANNA),
            _ => (format!("U{number}"), long.as_str()),
        };
        scene.bridge.write(sender, &id, "nobody can read this");
    }
    scene.ask(ANNA, " B ", "hello");
    until("an ack of all of them, by the very ids", || scene.bridge.unacked() == 0);
    assert_eq!(scene.bridge.acked().len(), 65);
    assert_eq!((scene.bridge.links(), scene.bridge.sent().len()), (1, 1));
    scene.stop(process);
    assert_eq!(scene.world.all_events("channel_tally")[0]["passed"]["malformed"], 64);
}
