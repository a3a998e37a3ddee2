//! Replies on their way out: their order, what confirms them, and what becomes of those without an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use rusty_pinch::channel::whatsapp_frame::Dialect;
use rusty_pinch::channel::whatsapp_handover::BESIDE_MAX;
use serde_json::json;

use crate::support::fake_bridge::{Entrance, FakeBridge, Speaks};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::waiting::{CEILING, Gate, until, until_within};
use crate::whatsapp::lab::{CALM, Lab, SHORT};
use crate::whatsapp::{ANNA, BERT, MARK, Scene};

#[test]
fn answers_of_dialect_n_are_taken_in_their_order() {
    let bridge = FakeBridge::start(Speaks::N, None);
    let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
    bridge.until_ready();
    bridge.fail(&["not connected", "not connected"]);
    lab.reply(ANNA, "one");
    lab.reply(BERT, "two");
    until("both have failed", || lab.events("channel_send_error").len() == 2);
    // A bridge in trouble is spared for some seconds.
    lab.push_on(Duration::from_secs(11));
    lab.push_on(Duration::from_secs(1));
    bridge.until_sent(2);
    until("both are confirmed", || lab.deliveries().iter().filter(|line| *line == "close SentAfterRetry").count() == 2);
    let deliveries = lab.deliveries();
    assert_eq!(deliveries[..4], ["sending 0 0", "unsent 0 false", "sending 0 0", "unsent 0 false"], "one at a time");
    assert_eq!(bridge.sent().len(), 2, "what was not sent is sent once");
    assert_eq!(lab.events("channel_send_error").len(), 2);
}

#[test]
fn answers_of_v2_are_taken_by_their_ids_in_any_order() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.reverse(3);
    for chat in ["1@lid", "2@lid", "3@lid"] {
        lab.reply(chat, "at the same time");
    }
    until("all are confirmed", || lab.deliveries().iter().filter(|line| *line == "close Sent").count() == 3);
    assert_eq!(bridge.sent().len(), 3);
}

#[test]
fn a_send_without_an_answer_ends_the_link_and_is_repeated_with_a_mark() {
    [Speaks::N, Speaks::V2].into_iter().for_each(without_an_answer);
}

fn without_an_answer(speaks: Speaks) {
    let bridge = FakeBridge::start(speaks, None);
    let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
    bridge.until_ready();
    bridge.leave_unanswered(1);
    lab.reply(ANNA, "once");
    bridge.until_sent(1);
    lab.push_on(CALM.answer);
    lab.until_error("not answered in time", Duration::from_secs(5));
    bridge.until_links(2);
    bridge.until_ready();
    // Repeats wait five seconds.
    lab.push_on(Duration::from_secs(6));
    until("it is repeated", || lab.deliveries().len() == 4);
    let deliveries = lab.deliveries();
    assert_eq!(deliveries, ["sending 0 0", "sending 0 1", "sent 0", "close AmbiguousResent"]);
    let texts = bridge.texts_to(ANNA);
    // A bridge of v2 knows the id and does not send it twice.
    let want = ["once".to_string(), format!("{MARK}once")];
    assert_eq!(texts, want[..if speaks == Speaks::V2 { 1 } else { 2 }], "{speaks:?}");
}

#[test]
fn what_the_bridge_refuses_for_good_is_given_up() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.fail(&["bad_to"]);
    lab.reply("nobody", "hello");
    until("it is closed", || lab.deliveries() == ["sending 0 0", "unsent 0 false", "close Dead"]);
    // A person who has blocked us is no trouble of the bridge: others do not wait.
    bridge.fail(&["refused"; 4]);
    (0..4).for_each(|chat| lab.reply(&format!("{chat}@lid"), "hello"));
    until("all are closed", || lab.deliveries().iter().filter(|line| *line == "close Dead").count() == 5);
    lab.reply(ANNA, "hello");
    bridge.until_sent(1);
}

#[test]
fn what_may_have_arrived_is_repeated_with_a_mark() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.fail(&["send_failed"]);
    lab.reply(ANNA, "perhaps");
    until("it has failed", || !lab.events("channel_send_error").is_empty());
    lab.push_on(Duration::from_secs(6));
    bridge.until_sent(1);
    assert_eq!(bridge.texts_to(ANNA), [format!("{MARK}perhaps")]);
    until("it is confirmed", || lab.deliveries() == ["sending 0 0", "sending 0 1", "sent 0", "close AmbiguousResent"]);
}

/// Some bridges of N name an id in their answers.
#[test]
fn an_id_in_an_answer_means_nothing_where_none_was_agreed_upon() {
    let bridge = FakeBridge::start(Speaks::N, None);
    let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
    bridge.until_ready();
    bridge.leave_unanswered(1);
    lab.reply(ANNA, "hello");
    bridge.until_sent(1);
    bridge.say(&json!({"type": "sent", "to": ANNA, "id": "3EB0AA"}));
    until("it is confirmed", || lab.deliveries() == ["sending 0 0", "sent 0", "close Sent"]);
}

/// Only a bridge of v2 can send a message again.
#[test]
fn messages_that_come_while_an_answer_is_waited_for_are_kept() {
    for (speaks, count) in [(Speaks::N, 500), (Speaks::V2, BESIDE_MAX + 100)] {
        let bridge = FakeBridge::start(speaks, None);
        let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
        bridge.until_ready();
        bridge.leave_unanswered(1);
        lab.reply(BERT, "hello");
        bridge.until_sent(1);
        (0..count).for_each(|number| bridge.write(ANNA, &format!("n{number}"), "one of many"));
        match speaks {
            Speaks::V2 => {
                lab.until_error("more messages than there is room for", CEILING);
                assert_eq!(lab.until_event("channel_state")["channel"], "whatsapp");
            }
            _ => until("all are said", || bridge.has_said_all()),
        }
        let mut seen = BTreeSet::new();
        until("all are handed over", || {
            for inbound in lab.inbox.try_iter() {
                seen.insert(inbound.key);
                lab.receipts.send(inbound.origin.expect("a receipt is wanted")).expect("the worker is there");
            }
            seen.len() == count
        });
    }
}

#[test]
fn dialect_p_is_confirmed_by_a_ping_behind_each_message() {
    let bridge = FakeBridge::start(Speaks::P, None);
    let mut lab = Lab::start(&bridge, Some(Dialect::P), SHORT);
    bridge.until_ready();
    lab.reply(ANNA, "one");
    until("it is confirmed", || lab.deliveries() == ["sending 0 0", "sent 0", "close Sent"]);
    // A bridge that is gone without a word confirms nothing, although its kernel takes the bytes.
    bridge.die(true);
    lab.reply(ANNA, "two");
    lab.until_error("", Duration::from_secs(5));
    bridge.die(false);
    let repeats = || bridge.texts_to(ANNA).into_iter().filter(|text| text.ends_with("two")).collect::<Vec<_>>();
    until_within("it arrives", Duration::from_secs(20), || !repeats().is_empty());
    // The link may have ended before the send began: then nothing is repeated.
    let is_marked = lab.deliveries().contains(&"sending 0 1".to_string());
    assert_eq!(repeats(), [format!("{}two", if is_marked { MARK } else { "" })]);
}

#[test]
fn a_reply_that_was_made_while_the_link_is_down_goes_out_unmarked_after_it_is_back() {
    for speaks in [Speaks::P, Speaks::N, Speaks::V2] {
        let mut scene = Scene::new("down", speaks);
        if speaks == Speaks::P {
            scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT", "p");
        }
        let gate = Gate::closed();
        scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
        let process = scene.start_linked();
        scene.bridge.write(ANNA, "1", "slow question");
        until("the provider is asked", || scene.provider.asked_count() == 1);
        scene.bridge.entrance(Entrance::Status(503));
        scene.bridge.cut();
        process.until_event("channel_read_error");
        gate.open();
        scene.bridge.until_links(2);
        assert!(scene.bridge.sent().is_empty());
        scene.bridge.entrance(Entrance::Open);
        scene.bridge.until_sent(1);
        let text = scene.bridge.sent()[0].text.clone();
        assert!(text.starts_with("reply #"), "{speaks:?}: {text}");
        assert_eq!(process.until_event("turn")["delivery"], "sent");
        scene.stop(process);
        assert_eq!(scene.bridge.sent().len(), 1);
    }
}

#[test]
fn a_hundred_messages_of_a_chat_are_answered_in_their_order() {
    let scene = Scene::new("order", Speaks::V2);
    let process = scene.start_linked();
    for number in 0..100 {
        scene.bridge.write(ANNA, &format!("m{number}"), &format!("message {number}."));
        until("not too many are open", || scene.bridge.sent().len() + 20 > number);
    }
    scene.bridge.until_sent(100);
    let texts = scene.bridge.texts_to(ANNA);
    for (number, text) in texts.iter().enumerate() {
        assert!(text.ends_with(&format!("message {number}.")), "{number}: {text}");
    }
    scene.stop(process);
}

#[test]
fn long_replies_are_split_and_markup_is_whatsapps() {
    let scene = Scene::new("long", Speaks::N);
    let text = "# Title\n* **one**\n* `two`\n[x](https://y.z)".to_string();
    scene.provider.rule(Rule::when("markup").reply(Reply::Text(text)));
    scene.provider.rule(Rule::when("long").reply(Reply::Long(9000)));
    let process = scene.start_linked();
    assert_eq!(scene.ask(ANNA, "1", "markup"), "*Title*\n- *one*\n- `two`\nx (https://y.z)");
    scene.bridge.write(BERT, "2", "a long one 👩‍👩‍👧");
    until("three parts", || scene.bridge.texts_to(BERT).len() == 3);
    assert!(scene.bridge.texts_to(BERT).iter().all(|part| part.encode_utf16().count() <= 4096));
    scene.stop(process);
}

#[test]
fn copies_of_a_message_are_answered_once_and_what_has_no_id_every_time() {
    let scene = Scene::new("copies", Speaks::P);
    let process = scene.start_linked();
    let say = |id: Option<&str>, text: &str| {
        let mut frame = serde_json::json!({"type": "message", "from": ANNA, "content": text});
        id.iter().for_each(|id| frame["id"] = (*id).into());
        scene.bridge.say(&frame);
    };
    say(Some("A"), "with an id");
    // With its confirmation: else the cut would have it repeated.
    process.until_event("turn");
    scene.bridge.cut();
    scene.bridge.until_links(2);
    scene.bridge.until_ready();
    say(Some("A"), "with an id");
    say(None, "without one");
    say(None, "without one");
    scene.bridge.until_sent(3);
    scene.stop(process);
    let texts = scene.bridge.texts_to(ANNA);
    assert_eq!(texts.iter().filter(|text| text.ends_with("with an id")).count(), 1, "{texts:?}");
    assert_eq!(texts.iter().filter(|text| text.ends_with("without one")).count(), 2, "{texts:?}");
}
