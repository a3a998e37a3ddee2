//! Who is answered, and what becomes of messages that are not for us.

use serde_json::json;

use crate::support::fake_bridge::Speaks;
use crate::support::waiting::until;
use crate::whatsapp::{ANNA, BERT, Scene, group};

#[test]
fn strangers_are_refused_silently_and_told_to_the_operator() {
    let mut scene = Scene::new("strangers", Speaks::V2);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "+49 151 10001");
    let process = scene.start_linked();
    scene.bridge.write(BERT, "1", "let me in");
    scene.bridge.write(BERT, "2", "let me in");
    let denied = process.until_event("channel_denied");
    assert_eq!((&denied["sender_id"], &denied["reason"]), (&BERT.into(), &"not_on_allowlist".into()));
    until("refused messages are not sent again", || scene.bridge.unacked() == 0);
    assert_eq!(scene.ask(ANNA, "3", "hello"), "reply #0 to hello");
    scene.stop(process);
    assert!(scene.bridge.texts_to(BERT).is_empty() && scene.session("whatsapp_4915110002_s_whatsapp_net").is_empty());
    assert_eq!(scene.world.all_events("channel_denied").len(), 1);
    assert_eq!(scene.world.all_events("channel_tally")[0]["passed"]["not_on_allowlist"], 2);
}

#[test]
fn an_empty_list_answers_nobody_and_says_so() {
    let mut scene = Scene::new("empty", Speaks::N);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "");
    let process = scene.start_linked();
    scene.bridge.write(ANNA, "1", "hello");
    assert_eq!(process.until_event("channel_denied")["reason"], "allowlist_empty");
    assert_eq!(process.until_event("channel_parked")["reason"], "allowlist_empty");
    scene.stop(process);
}

#[test]
fn a_lid_that_was_seen_with_a_listed_number_is_known_after_a_restart() {
    let mut scene = Scene::new("lid", Speaks::N);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "4915110001");
    let process = scene.start_linked();
    // Of what we write ourselves the chat is the other one, and the number is ours.
    scene.bridge.say(&json!({
        "type": "message", "id": "0", "sender": "78@lid", "pn": ANNA, "content": "mine", "isGroup": false, "fromMe": true,
    }));
    scene.bridge.say(&json!({
        "type": "message", "id": "1", "sender": "77@lid", "pn": ANNA, "content": "with both names", "isGroup": false,
    }));
    scene.bridge.until_sent(1);
    scene.stop(process);
    let process = scene.start_linked();
    assert_eq!(scene.ask("77@lid", "2", "with one"), "reply #1 to with one");
    scene.bridge.write("78@lid", "3", "somebody else");
    process.until_event("channel_denied");
    scene.stop(process);
    assert!(scene.bridge.texts_to("78@lid").is_empty());
}

#[test]
fn groups_are_answered_when_they_are_listed_and_we_are_meant() {
    let mut scene = Scene::new("groups", Speaks::V2);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "120@g.us,4915110001");
    let process = scene.start_linked();
    for (id, message) in [
        ("1", group("1", "120@g.us", "5@lid", "among ourselves", false)),
        ("2", group("2", "130@g.us", "5@lid", "of an unlisted group", true)),
        ("3", group("3", "120@g.us", "5@lid", "for you", true)),
        ("4", group("4", "130@g.us", ANNA, "by a listed person", true)),
    ] {
        scene.bridge.message(id, message);
    }
    scene.bridge.until_sent(2);
    until("all are acknowledged", || scene.bridge.unacked() == 0);
    scene.stop(process);
    assert_eq!(scene.bridge.texts_to("120@g.us").len(), 1);
    assert_eq!(scene.bridge.texts_to("130@g.us").len(), 1);
    let passed = &scene.world.all_events("channel_tally")[0]["passed"];
    assert_eq!((&passed["not_addressed"], &passed["not_on_allowlist"]), (&1.into(), &1.into()));
}

#[test]
fn a_group_of_dialect_p_has_to_be_listed_by_its_own_id() {
    let mut scene = Scene::new("groups of p", Speaks::P);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "*,120@g.us");
    let process = scene.start_linked();
    let say = |chat: &str| json!({"type": "message", "from": ANNA, "chat": chat, "content": "hello"});
    scene.bridge.say(&say("130@g.us"));
    // A bridge that names no author is in a group all the same.
    scene.bridge.say(&json!({"type": "message", "from": "130@g.us", "content": "hello"}));
    scene.bridge.say(&say("120@g.us"));
    scene.bridge.until_sent(1);
    assert_eq!(process.until_event("channel_denied")["reason"], "group_not_on_allowlist");
    scene.stop(process);
    assert_eq!(scene.world.all_events("channel_tally")[0]["passed"]["group_not_on_allowlist"], 2);
    assert_eq!(scene.bridge.sent()[0].to, "120@g.us");
}

#[test]
fn our_own_messages_and_echoes_are_not_answered() {
    let scene = Scene::new("own", Speaks::P);
    let process = scene.start_linked();
    scene.bridge.say(&json!({"type": "message", "from": ANNA, "content": "mine", "fromMe": true}));
    let answer = scene.ask(ANNA, "1", "say something long enough");
    scene.bridge.say(&json!({"type": "message", "from": ANNA, "content": answer}));
    scene.ask(ANNA, "2", "and again");
    scene.stop(process);
    assert_eq!(scene.bridge.sent().len(), 2);
    let passed = &scene.world.all_events("channel_tally")[0]["passed"];
    assert_eq!((&passed["own"], &passed["echo"]), (&1.into(), &1.into()));
}

#[test]
fn files_are_told_to_the_model_as_text() {
    let mut scene = Scene::new("files", Speaks::P);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_MEDIA_DIR", "/media");
    let process = scene.start_linked();
    let media = ["/media/photo.jpg", "/etc/shadow"];
    scene.bridge.say(&json!({"type": "message", "from": ANNA, "content": "look", "media": media}));
    scene.bridge.say(&json!({"type": "message", "from": BERT, "media": ["/media/a.ogg"]}));
    scene.bridge.until_sent(2);
    scene.stop(process);
    let texts: Vec<String> = scene.provider.asked().into_iter().map(|asked| asked.text).collect();
    assert!(texts.contains(&"look\n[file: /media/photo.jpg]\n[a file that is not available]".to_string()), "{texts:?}");
    assert!(texts.contains(&"[file: /media/a.ogg]".to_string()), "{texts:?}");
}

#[test]
fn history_is_recorded_and_not_answered() {
    let scene = Scene::new("history", Speaks::V2);
    let process = scene.start_linked();
    let seconds = std::time::UNIX_EPOCH.elapsed_seconds();
    let say = |id: &str, age: u64| {
        let timestamp = seconds - age;
        let frame = json!({
            "type": "message", "id": id, "sender": ANNA, "content": id, "timestamp": timestamp, "isGroup": false,
        });
        scene.bridge.message(id, frame);
    };
    say("old", 700);
    say("recent", 500);
    scene.bridge.until_sent(1);
    until("both are acknowledged", || scene.bridge.unacked() == 0);
    scene.stop(process);
    assert_eq!(scene.bridge.texts_to(ANNA), ["reply #0 to recent"]);
    let lines = scene.session("whatsapp_4915110001_s_whatsapp_net");
    let old: Vec<_> = lines.iter().filter(|line| line["content"] == "old" || line["error"] == "history").collect();
    assert_eq!(old.len(), 2, "{lines:?}");
}

/// The date, for the one test that is about it.
trait Elapsed {
    fn elapsed_seconds(&self) -> u64;
}

impl Elapsed for std::time::SystemTime {
    #[allow(clippy::disallowed_methods, reason = "a timestamp of this day is the subject")]
    fn elapsed_seconds(&self) -> u64 {
        self.elapsed().expect("it is long past").as_secs()
    }
}
