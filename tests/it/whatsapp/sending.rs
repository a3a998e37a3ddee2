//! Replies on their way out: their order, what confirms them, and what becomes of those without an answer.

use std::time::Duration;

use rusty_pinch::channel::whatsapp_frame::{self as frame, Dialect, Failure, Frame};
use serde_json::json;

use crate::support::fake_bridge::{Entrance, FakeBridge, Speaks};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::repository::root;
use crate::support::waiting::{Gate, now, since, spawn, until, until_within};
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
    // Repeats wait five seconds, so both wait at the same time.
    let threads = [Speaks::N, Speaks::V2].map(|speaks| spawn("unanswered", move || without_an_answer(speaks)));
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
}

fn without_an_answer(speaks: Speaks) {
    let bridge = FakeBridge::start(speaks, None);
    let mut lab = Lab::start(&bridge, Some(Dialect::N), SHORT);
    bridge.until_ready();
    bridge.leave_unanswered(1);
    lab.reply(ANNA, "once");
    lab.until_error("not answered in time", Duration::from_secs(5));
    until_within("it is repeated", Duration::from_secs(20), || lab.deliveries().len() == 4);
    let deliveries = lab.deliveries();
    assert_eq!(deliveries, ["sending 0 0", "sending 0 1", "sent 0", "close AmbiguousResent"]);
    let texts = bridge.texts_to(ANNA);
    // A bridge of v2 knows the id and does not send it twice.
    let want = ["once".to_string(), format!("{MARK}once")];
    assert_eq!(texts, if speaks == Speaks::V2 { &want[..1] } else { &want[..] }, "{speaks:?}");
}

/// A reply that waits when the link comes up is the first thing that could be said over it.
#[test]
fn a_reply_that_waited_for_the_link_has_its_id_and_goes_to_a_bridge_that_is_online() {
    let scene = Scene::new("waited", Speaks::V2);
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
    let process = scene.start_linked();
    scene.bridge.write(ANNA, "1", "slow question");
    until("the provider is asked", || scene.provider.asked_count() == 1);
    scene.bridge.entrance(Entrance::Status(503));
    scene.bridge.cut();
    process.until_event("channel_read_error");
    gate.open();
    scene.bridge.status("disconnected");
    scene.bridge.forget_wishes();
    scene.bridge.until_links(2);
    scene.bridge.entrance(Entrance::Open);
    until("it is offline", || process.events("channel_state").iter().any(|event| event["state"] == "offline"));
    assert!(scene.bridge.sent().is_empty(), "the bridge has no link of its own");
    scene.bridge.status("connected");
    scene.bridge.until_sent(1);
    assert!(scene.bridge.sent()[0].id.is_some());
    scene.stop(process);
}

#[test]
fn what_the_bridge_refuses_for_good_is_given_up() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.fail(&["bad_to"]);
    lab.reply("nobody", "hello");
    until("it is closed", || lab.deliveries() == ["sending 0 0", "unsent 0 false", "close Dead"]);
}

/// The table of errors in the page for authors of bridges, word by word.
#[test]
fn every_error_of_the_specification_is_read_as_it_is_written() {
    let page = std::fs::read_to_string(root().join("docs/whatsapp-bridge.md")).expect("the page");
    let (_, table) = page.split_once("| error | meaning |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let want = match (cells[1].contains("it may have arrived"), cells[2]) {
            (true, _) => Failure::Unconfirmed,
            (false, "no") => Failure::Refused,
            _ => Failure::NotSent,
        };
        for word in cells[0].split(',').map(|word| word.trim().trim_matches('`')) {
            let frame = json!({"type": "error", "id": "a", "error": word}).to_string();
            assert_eq!(frame::parse(&frame), Ok(Frame::Error { id: Some("a".into()), failure: want }), "{row}");
            count += 1;
        }
    }
    assert_eq!(count, 11);
}

#[test]
fn a_chat_that_is_refused_holds_up_nobody_and_what_may_have_arrived_is_repeated_with_the_mark() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.fail(&["refused", "refused", "refused"]);
    for chat in ["1@lid", "2@lid", "3@lid"] {
        lab.reply(chat, "never");
    }
    until("three are put aside", || lab.deliveries().iter().filter(|line| *line == "close Dead").count() == 3);
    let begun = now();
    lab.reply(ANNA, "at once");
    bridge.until_sent(1);
    assert!(since(begun) < Duration::from_secs(5), "trouble with a chat is no trouble of the bridge");
    bridge.fail(&["send_failed"]);
    lab.reply(BERT, "perhaps");
    bridge.until_sent(2);
    assert_eq!(bridge.texts_to(BERT), [format!("{MARK}perhaps")]);
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
    scene.bridge.until_sent(1);
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
