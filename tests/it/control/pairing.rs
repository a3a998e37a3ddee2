//! Pairing: how somebody who is on no list becomes one who may write, by a code that the operator shows.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

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
    let mode = fs::metadata(scene.world.data().join("pairing.json")).expect("a file").permissions().mode();
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

/// A place in the spool of the scene.
fn request(scene: &Scene, name: &str) -> PathBuf {
    scene.world.data().join("spool/pairing").join(name)
}

/// What differs after any change of the file.
fn stamp(scene: &Scene) -> Option<(u64, i64, i64)> {
    let known = fs::metadata(scene.world.data().join("pairing.json")).ok()?;
    Some((known.ino(), known.ctime(), known.ctime_nsec()))
}

fn listed(scene: &Scene) -> String {
    let listed = scene.world.run(&["pair", "telegram", "--list"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    listed.stdout
}

/// Says the code, and waits for the greeting.
fn pair(scene: &Scene, sender: i64) {
    let code = code(scene);
    scene.telegram.say(sender, &code);
    scene.telegram.until_sent_to(sender, 1);
}

#[test]
fn requests_wait_in_the_spool_for_a_worker_and_only_that_writes_the_file() {
    let scene = scene("pairing-spool");
    // Of two codes the newer one is good.
    let (older, newer) = (code(&scene), code(&scene));
    let offer = request(&scene, "offer.json");
    assert_eq!(fs::metadata(&offer).expect("a request").permissions().mode() & 0o777, 0o600);
    let folder = offer.parent().expect("a folder");
    assert_eq!(fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700);
    assert_eq!(stamp(&scene), None, "a command does not write it");
    let kept = fs::read(&offer).expect("a request");
    let process = scene.start_polling();
    scene.telegram.say(8, &older);
    scene.telegram.say(7, &newer);
    scene.telegram.until_sent_to(7, 1);
    assert_eq!(statuses(&process, 2), ["wrong_code", "paired"]);
    // As if the worker had died before it could remove the request.
    for name in ["offer.json", "offer.taken"] {
        fs::write(request(&scene, name), &kept).expect("our own folder");
        scene.telegram.say(8, &newer);
        scene.telegram.until_confirmed();
    }
    assert_eq!(statuses(&process, 2), ["wrong_code", "paired"]);
    scene.stop(process);
    assert!(listed(&scene).starts_with("7 since "));
    let before = stamp(&scene);
    assert_eq!(scene.world.run(&["pair", "telegram", "--remove", "7"]).code, Some(0));
    assert_eq!(scene.world.run(&["pair", "telegram", "--remove", "7"]).code, Some(1), "it is removed");
    code(&scene);
    let told = scene.world.run(&["doctor", "--json"]).stdout;
    assert_eq!((listed(&scene).as_str(), told.contains("paired with a code")), ("", false), "at once");
    assert_eq!(stamp(&scene), before, "a command does not write it");
    let process = scene.start_polling();
    scene.telegram.say(7, "am I still there?");
    scene.telegram.until_confirmed();
    process.until_event("channel_denied");
    let paired = fs::read_to_string(scene.world.data().join("pairing.json")).expect("a file");
    assert!(paired.contains(r#""paired": []"#), "{paired}");
    let waiting = fs::read_dir(folder).expect("a folder").flatten().filter(|entry| entry.file_name() != ".lock");
    assert_eq!(waiting.count(), 0, "all was taken");
    scene.stop(process);
    assert_eq!((scene.telegram.sent_count(), scene.provider.asked_count()), (1, 0));
}

#[test]
fn what_is_no_request_is_told_once_and_ends_nothing() {
    let scene = scene("pairing-junk");
    let process = scene.start_polling();
    pair(&scene, 7);
    let junk = ["remove-8.json", "remove-9.json", "remove-10.json.tmp", "note.txt"];
    let content = [" ".repeat(1 << 20), "nonsense".to_owned(), "{}".to_owned(), "of a person".to_owned()];
    for (name, content) in junk.iter().zip(&content) {
        fs::write(request(&scene, name), content).expect("our own folder");
    }
    // An offer of long ago.
    let stale = format!(r#"{{"offer":{{"digest":"{}","since":{{"wall":1}},"wrong":0}}}}"#, "a".repeat(64));
    fs::write(request(&scene, "offer.json"), stale).expect("our own folder");
    for count in 2..12 {
        scene.telegram.say(7, "hello");
        scene.telegram.until_sent_to(7, count);
    }
    let told = process.events("storage_error");
    assert_eq!((told.len(), &told[0]["what"]), (1, &serde_json::json!("pairing.json")), "{told:?}");
    pair(&scene, 6);
    assert_eq!(scene.world.run(&["pair", "telegram", "--remove", "7"]).code, Some(0));
    assert!(listed(&scene).starts_with("6 since ") && scene.world.run(&["doctor"]).code == Some(0));
    scene.telegram.say(7, "and now?");
    scene.telegram.until_confirmed();
    assert_eq!(statuses(&process, 3), ["paired", "paired", "removed"]);
    scene.stop(process);
    assert!(junk.iter().all(|name| request(&scene, name).exists()), "what we do not understand is kept");
}

/// Who may write belongs to the place and not to its conversations, so neither the file nor what waits for it is in an archive.
#[test]
fn a_restore_gives_nobody_back_who_was_removed() {
    let scene = scene("pairing-restore");
    let process = scene.start_polling();
    pair(&scene, 7);
    scene.stop(process);
    let [early, late] = ["early.tar", "late.tar"].map(|name| scene.world.path(name).display().to_string());
    assert_eq!(scene.world.run(&["backup", &early]).code, Some(0));
    assert_eq!(scene.world.run(&["pair", "telegram", "--remove", "7"]).code, Some(0));
    assert_eq!(scene.world.run(&["backup", &late]).code, Some(0));
    for archive in [early, late] {
        let restored = scene.world.run(&["restore", &archive, "--confirm"]);
        assert_eq!((restored.code, listed(&scene).as_str()), (Some(0), ""), "{restored:?}");
    }
    let process = scene.start_polling();
    scene.telegram.say(7, "am I still there?");
    scene.telegram.until_confirmed();
    process.until_event("channel_denied");
    scene.stop(process);
    assert_eq!(scene.telegram.sent_count(), 1);
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
