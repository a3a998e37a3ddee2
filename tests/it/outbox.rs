//! What is not settled, and what a person can do about it: dead letters come back once, what is open is dropped only when
//! nobody works on it. Seen to fail: a spool file that is taken twice sends twice if its name is not remembered.

use std::fs;

use serde_json::{Value, json};

use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::telegram_server::date;
use crate::support::waiting::{Gate, until};

/// The rows of `outbox list`.
#[track_caller]
fn list(scene: &Scene) -> Vec<Value> {
    let finished = scene.world.run(&["outbox", "list"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("a JSON array")
}

fn states(scene: &Scene) -> Vec<String> {
    list(scene).iter().map(|row| row["state"].as_str().expect("a state").to_owned()).collect()
}

/// The name of the only turn in the outbox.
#[track_caller]
fn only_turn(scene: &Scene) -> String {
    let rows = list(scene);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["turn"].as_str().expect("a name").to_owned()
}

#[track_caller]
fn outbox(scene: &Scene, arguments: &[&str], code: i32) -> String {
    let finished = scene.world.run(&[&["outbox"], arguments].concat());
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
    finished.stdout + &finished.stderr.join("\n")
}

fn spooled(scene: &Scene) -> Vec<std::path::PathBuf> {
    let folder = fs::read_dir(scene.world.data().join("spool/telegram")).expect("a folder");
    folder.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_dead_letter_is_sent_after_all_once_and_is_no_second_turn() {
    let scene = Scene::new("dead letter");
    assert_eq!(states(&scene), Vec::<String>::new());
    scene.telegram.fault(Fault::status(403, "Forbidden: bot was blocked by the user").on("sendMessage").times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    until("it is given up", || states(&scene) == ["dead"]);
    let turn = only_turn(&scene);
    assert!(outbox(&scene, &["show", "--turn", &turn], 0).contains("to first"));
    outbox(&scene, &["retry", "--turn", &turn], 0);
    scene.telegram.until_sent_to(42, 1);
    until("nothing is left", || list(&scene).is_empty() && spooled(&scene).is_empty());
    outbox(&scene, &["retry", "--turn", &turn], 1);
    assert!(scene.telegram.sent_to(42)[0].text.contains("to first"));
    let session = String::from_utf8(scene.world.session(42)).expect("text");
    assert_eq!(session.lines().count(), 2, "{session}");
    scene.stop(process);
    assert_eq!(scene.world.all_events("turn").len(), 1, "it was told and counted when it was given up");
}

/// A process may end between the record and the removal of the file.
#[test]
fn a_spool_file_that_comes_again_does_nothing() {
    let scene = Scene::new("spool copy");
    scene.telegram.fault(Fault::status(403, "Forbidden: bot was blocked by the user").on("sendMessage").times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    until("it is given up", || states(&scene) == ["dead"]);
    scene.stop(process);
    outbox(&scene, &["retry", "--turn", &only_turn(&scene)], 0);
    assert_eq!(states(&scene), ["retry"]);
    let file = spooled(&scene).swap_remove(0);
    let letter = fs::read(&file).expect("a letter");
    let process = scene.start_polling();
    scene.telegram.until_sent_to(42, 1);
    until("it is taken", || !file.exists());
    scene.stop(process);
    fs::write(&file, letter).expect("written");
    let process = scene.start_polling();
    until("it is taken again", || !file.exists());
    scene.telegram.say(42, "second");
    scene.telegram.until_sent_to(42, 2);
    scene.stop(process);
    assert_eq!(scene.telegram.sent_to(42).len(), 2, "{:?}", scene.telegram.sent_to(42));
}

#[test]
fn a_message_that_was_too_old_is_answered_when_a_person_wants_it() {
    let scene = Scene::new("too old");
    let person = json!({ "id": 42, "is_bot": false, "first_name": "Ada" });
    scene.telegram.post(42, json!({ "from": person, "text": "long ago", "date": date() - 172_800 }));
    let process = scene.start_polling();
    until("it is left", || states(&scene) == ["dead"]);
    assert_eq!(list(&scene)[0]["why"], "expired");
    outbox(&scene, &["retry", "--turn", &only_turn(&scene)], 0);
    scene.telegram.until_sent_to(42, 2);
    until("nothing is left", || list(&scene).is_empty());
    assert!(scene.telegram.sent_to(42)[1].text.contains("to long ago"));
    assert_eq!(scene.provider.asked_count(), 1);
    scene.stop(process);
}

#[test]
fn an_open_turn_is_dropped_only_while_nobody_works_on_it() {
    let scene = Scene::new("drop");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("first").after(Wait::Until(gate.clone())));
    let mut process = scene.start_polling();
    scene.telegram.say(42, "first");
    scene.provider.until_asked_about("first");
    assert_eq!(states(&scene), ["waiting"]);
    let turn = only_turn(&scene);
    outbox(&scene, &["drop", "--turn", &turn], 2);
    outbox(&scene, &["retry", "--turn", &turn], 1);
    assert!(outbox(&scene, &["drop", "--turn", &turn, "--confirm"], 75).contains("stop the worker"));
    process.kill();
    drop(process);
    gate.open();
    outbox(&scene, &["drop", "--turn", &turn, "--confirm"], 0);
    outbox(&scene, &["show", "--turn", &turn], 1);
    outbox(&scene, &["show", "--turn", "nonsense"], 2);
    let process = scene.start_polling();
    scene.telegram.say(42, "second");
    scene.telegram.until_sent_to(42, 1);
    scene.stop(process);
    assert!(scene.telegram.sent_to(42)[0].text.contains("to second"));
    let session = String::from_utf8(scene.world.session(42)).expect("text");
    assert!(session.contains("(not answered: dropped)") && session.lines().count() == 4, "{session}");
    let dropped: Vec<Value> =
        scene.world.all_events("turn").into_iter().filter(|turn| turn["error"] == "dropped").collect();
    assert_eq!(dropped.len(), 1, "every accepted message is told once");
}
