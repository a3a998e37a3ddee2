//! Messages that waited for us: an hour is mentioned, a day is too long. Seen to fail: without the rule for chats every
//! message of a long absence is told by itself.

use serde_json::json;

use crate::support::cases::say;
use crate::support::scene::Scene;
use crate::support::telegram_server::date;
use crate::support::waiting::until;

/// What somebody wrote so many seconds ago.
fn wrote(scene: &Scene, chat: i64, text: &str, seconds: u64) {
    let person = json!({ "id": chat, "is_bot": false, "first_name": "Ada" });
    scene.telegram.post(chat, json!({ "from": person, "text": text, "date": date() - seconds }));
}

fn clock_is_trusted() -> bool {
    let service = std::path::Path::new("/run/systemd/timesync");
    let is_trusted = !service.is_dir() || service.join("synchronized").exists();
    if !is_trusted {
        say("skip: the clock of this machine is not synchronised");
    }
    is_trusted
}

#[test]
fn a_late_reply_says_so_and_a_message_of_yesterday_is_left() {
    if !clock_is_trusted() {
        return;
    }
    let scene = Scene::new("age");
    wrote(&scene, 42, "half an hour ago", 1800);
    wrote(&scene, 43, "two hours ago", 7200);
    wrote(&scene, 44, "two days ago", 172_800);
    wrote(&scene, 44, "also two days ago", 172_800);
    let process = scene.start_polling();
    until("4 turns are told", || scene.world.all_events("turn").len() == 4);
    scene.telegram.until_confirmed();
    scene.stop(process);
    let texts = |chat| scene.telegram.sent_to(chat).into_iter().map(|sent| sent.text).collect::<Vec<_>>();
    let asked: Vec<String> = scene.provider.asked().into_iter().map(|asked| asked.text).collect();
    assert!(asked.len() == 2 && !asked.iter().any(|text| text.contains("days")), "{asked:?}");
    assert!(!texts(42)[0].starts_with("(delayed)"), "{:?}", texts(42));
    assert!(texts(43)[0].starts_with("(delayed) "), "{:?}", texts(43));
    assert!(texts(44).len() == 1 && texts(44)[0].contains("more than a day"), "{:?}", texts(44));
    let letters = std::fs::read_dir(scene.world.data().join("dead")).expect("a folder").count();
    assert_eq!(letters, 2, "what was left is kept where an operator finds it");
    let session = String::from_utf8(scene.world.session(43)).expect("text");
    assert!(!session.contains("(delayed)"), "the mark is no part of the conversation: {session}");
    let errors: Vec<_> = scene.world.all_events("turn").into_iter().filter(|turn| turn["error"] == "expired").collect();
    assert_eq!(errors.len(), 2);
}
