//! Pairing: how somebody who is on no list becomes one who may write, by a code that the operator shows.

use std::os::unix::fs::PermissionsExt;

use crate::support::scene::Scene;
use crate::support::waiting::until;
use crate::support::world::{Process, folder_contains};

/// A scene with an empty allowlist.
fn scene(test: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "");
    scene
}

#[track_caller]
fn code(scene: &Scene) -> String {
    let shown = scene.world.run(&["pair", "telegram"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let code = shown.stdout.lines().next().expect("a code").to_owned();
    assert_eq!(code.len(), 11, "{code}");
    code
}

#[track_caller]
fn statuses(process: &Process, count: usize) -> Vec<String> {
    until("the pairing is told", || process.events("channel_pairing").len() >= count);
    let text = |event: &serde_json::Value| event["status"].as_str().unwrap_or_default().to_owned();
    process.events("channel_pairing").iter().map(text).collect()
}

#[test]
fn a_code_of_the_operator_lets_one_more_person_write_for_good() {
    let scene = scene("pairing");
    let process = scene.start_polling();
    let parked = process.until_event("channel_parked");
    assert_eq!(parked["reason"], "allowlist_empty");
    let code = code(&scene);
    // Not in a group, not a wrong one, and never a word to a stranger.
    scene.telegram.say_as(-100, 7, &code);
    scene.telegram.say(8, "AAAAA-AAAAA");
    scene.telegram.say(9, "hello");
    scene.telegram.until_confirmed();
    assert_eq!(statuses(&process, 1), ["wrong_code"]);
    scene.telegram.say(7, &code);
    scene.telegram.until_sent_to(7, 1);
    assert!(scene.telegram.sent_to(7)[0].text.contains("/stop - "), "a greeting");
    assert_eq!(statuses(&process, 2), ["wrong_code", "paired"]);
    process.until_event("channel_resumed");
    // The code is worth nothing any more, and stands nowhere.
    scene.telegram.say(8, &code);
    scene.telegram.say(7, "hello");
    scene.telegram.until_sent_to(7, 2);
    scene.stop(process);
    for code in [code.clone(), code.replace('-', "")] {
        assert!(!folder_contains(&scene.world.data(), &code), "{code} is kept");
        assert!(scene.world.all_lines().iter().all(|line| !line.contains(&code)), "{code} is logged");
    }
    let mode = std::fs::metadata(scene.world.data().join("pairing.json")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let process = scene.start_polling();
    scene.telegram.say(7, "after a restart");
    scene.telegram.until_sent_to(7, 3);
    assert!(process.events("channel_parked").is_empty());
    let listed = scene.world.run(&["pair", "telegram", "--list"]).stdout;
    assert!(listed.starts_with("7 since 20") && listed.lines().count() == 1, "{listed}");
    assert!(scene.world.run(&["doctor", "--json"]).stdout.contains("paired with a code: 1 "), "doctor shows it");
    assert_eq!(scene.world.run(&["pair", "telegram", "--remove", "8"]).code, Some(1));
    assert_eq!(scene.world.run(&["pair", "telegram", "--remove", "7"]).code, Some(0));
    scene.telegram.say(7, "am I still there?");
    scene.telegram.until_confirmed();
    assert_eq!(statuses(&process, 1), ["removed"]);
    process.until_event("channel_denied");
    scene.stop(process);
    assert_eq!((scene.telegram.sent_count(), scene.telegram.sent_count_to(7)), (3, 3));
    assert_eq!(scene.provider.asked_count(), 2);
}

#[test]
fn five_wrong_codes_close_pairing_for_everybody() {
    let scene = scene("pairing-locked");
    let process = scene.start_polling();
    let code = code(&scene);
    for sender in 1..=6 {
        scene.telegram.say(sender, "AAAAAAAAAA");
    }
    scene.telegram.say(7, &code);
    scene.telegram.until_confirmed();
    assert_eq!(statuses(&process, 5), ["wrong_code", "wrong_code", "wrong_code", "wrong_code", "locked"]);
    let refused = scene.world.run(&["pair", "telegram"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.is_empty() && refused.stderr.concat().contains("60 minutes"), "{refused:?}");
    scene.stop(process);
    assert_eq!(scene.telegram.sent_count(), 0);
}

/// A code is a credential, and no model may read it.
#[test]
fn a_code_that_a_person_on_the_list_sends_ends_and_reaches_no_model() {
    let mut scene = scene("pairing-spent");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "42");
    let process = scene.start_polling();
    let code = code(&scene);
    scene.telegram.say(42, &code);
    scene.telegram.until_sent_to(42, 1);
    assert!(scene.telegram.sent_to(42)[0].text.contains("/stop - "), "a greeting");
    assert_eq!(statuses(&process, 1), ["spent"]);
    scene.telegram.say(7, &code);
    scene.telegram.until_confirmed();
    process.until_event("channel_denied");
    scene.stop(process);
    assert_eq!((scene.provider.asked_count(), scene.telegram.sent_count_to(7)), (0, 0));
    for code in [code.clone(), code.replace('-', "")] {
        assert!(!folder_contains(&scene.world.data(), &code), "{code} is kept");
    }
}

#[test]
fn a_webhook_is_removed_by_the_option_alone() {
    let scene = Scene::new("delete-webhook");
    scene.telegram.set_webhook(Some("https://example.invalid/hook"));
    let process = scene.start();
    assert_eq!(process.until_event("channel_parked")["reason"], "webhook_set");
    let removed = scene.world.run(&["channels", "telegram", "--delete-webhook"]);
    assert_eq!((removed.code, scene.telegram.count_of("deleteWebhook")), (Some(0), 1), "{removed:?}");
    process.signal(rustix::process::Signal::HUP);
    scene.telegram.say(42, "the hook is gone");
    scene.until_answered();
    scene.stop(process);
    scene.telegram.revoke("1:another");
    let refused = scene.world.run(&["channels", "telegram", "--delete-webhook"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.concat().contains("rejects the token"), "{refused:?}");
}
