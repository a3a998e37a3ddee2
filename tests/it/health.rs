//! How a worker is, as seen from outside: the document in its run folder, `health`, the endpoint, the service manager, and
//! the rest of one that is started again and again. The real binary, but for `endpoint`, whose edges need no worker.

pub mod endpoint;
mod rest;
mod systemd;
mod witness;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{came_true, until, until_within};

/// A document is written anew every ten seconds, and at once when something changes.
const WRITTEN_WITHIN: Duration = Duration::from_secs(15);

/// How long the server may hold a poll, as the worker asks for it where nobody says otherwise; longer than anybody waits here.
const HELD_SECS: u64 = 30;

/// The document as it is now.
fn document(scene: &Scene) -> Option<Value> {
    let bytes = std::fs::read(scene.world.path("run/telegram.status.json")).ok()?;
    Some(serde_json::from_slice(&bytes).expect("a reader sees the old document or the new one"))
}

#[track_caller]
fn until_reasons(scene: &Scene, want: &[&str]) -> Value {
    let want = json!(want);
    let mut last = Value::Null;
    let came = came_true(WRITTEN_WITHIN, || {
        last = document(scene).unwrap_or_default();
        last["reasons"] == want
    });
    assert!(came, "not {want}: {last:#}");
    last
}

#[test]
fn a_worker_leaves_word_of_itself_and_takes_it_away_at_a_polite_end() {
    let mut scene = Scene::new("status document");
    // The one it has while no other is set.
    scene.world.unset("RUSTY_PINCH_RUN_DIR");
    let metrics = scene.world.path("numbers.prom");
    scene.world.set("RUSTY_PINCH_METRICS_FILE", &metrics.to_string_lossy());
    let health = |scene: &Scene, more: &[&str]| {
        let done = scene.world.run(&[&["health"], more].concat());
        (done.code, done.stdout, done.stderr.concat())
    };
    let (code, _, told) = health(&scene, &[]);
    assert!(code == Some(1) && told.contains("telegram: no worker has left a word of itself"), "{told}");
    let process = scene.start_polling();
    scene.telegram.say(42, "hello");
    scene.until_answered();
    let path = scene.world.data().join("run/telegram.status.json");
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap_or_default()).unwrap_or_default();
    until_within("the document says what happened", WRITTEN_WITHIN, || read()["turns"]["provider_ok"] == 1);
    let said = read();
    assert_eq!((&said["ready"], &said["reasons"], &said["degraded"]), (&json!(true), &json!([]), &json!([])));
    assert_eq!((&said["version"], &said["pid"]), (&json!(1), &json!(process.id())));
    assert_eq!(said["data"], json!(scene.world.data().canonicalize().expect("it is there")));
    assert_eq!((&said["channel"]["id"], &said["channel"]["up"]), (&json!("telegram"), &json!(true)));
    let names: Vec<&str> =
        said["threads"].as_array().expect("a list").iter().filter_map(|one| one["thread"].as_str()).collect();
    let wanted = [
        "writer",
        "send-0",
        "send-1",
        "turn-0",
        "turn-1",
        "turn-2",
        "turn-3",
        "control",
        "dispatcher",
        "poll",
        "health",
        "metrics",
        "reload",
    ];
    assert_eq!(names, wanted, "every thread of the wiring shows that it lives");
    let resting = |name: &str| {
        said["threads"].as_array().expect("a list").iter().any(|one| one["thread"] == name && one["limit_ms"] == 0)
    };
    assert!(resting("turn-0") && resting("dispatcher") && !resting("writer") && !resting("poll"), "{said:#}");
    assert!(resting("reload") && !resting("metrics"), "{said:#}");
    let queues: Vec<&str> =
        said["queues"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(queues, ["inbox", "appends", "deliveries", "jobs", "outbox-0", "outbox-1"]);
    assert_eq!(health(&scene, &[]), (Some(0), "telegram is ready\n".to_string(), String::new()));
    assert_eq!(health(&scene, &["--ready", "--channel", "telegram"]).0, Some(0));
    let (code, _, told) = health(&scene, &["--channel", "whatsapp"]);
    assert!(code == Some(1) && told.contains("whatsapp: no worker"), "{told}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    scene.stop(process);
    assert!(!path.exists(), "nothing is left of a worker that ended as it should");
    assert_eq!(health(&scene, &[]).0, Some(1));
}

#[test]
fn alive_is_not_ready_and_a_reload_makes_it_ready_again() {
    let scene = Scene::new("parked document");
    scene.telegram.fault(Fault::status(401, "Unauthorized"));
    let process = scene.start();
    let said = until_reasons(&scene, &["auth"]);
    assert_eq!((&said["ready"], &said["channel"]["parked"]), (&json!(false), &json!("auth")));
    let alive = scene.world.run(&["health"]);
    assert_eq!((alive.code, alive.stdout.as_str()), (Some(0), "telegram lives and is not ready: auth\n"));
    let ready = scene.world.run(&["health", "--ready"]);
    assert!(ready.code == Some(1) && ready.stderr.concat().contains("telegram: auth"), "{ready:?}");
    scene.telegram.clear_faults();
    process.signal(Signal::HUP);
    until_reasons(&scene, &[]);
    scene.stop(process);
}

/// The poll that finds out is not held. Seen to fail with one that is, for 30 seconds.
#[test]
fn what_parked_it_is_over_as_soon_as_the_server_answers() {
    let scene = Scene::new("mended token");
    scene.telegram.fault(Fault::status(401, "Unauthorized").on("getUpdates"));
    let process = scene.start();
    until_reasons(&scene, &["auth"]);
    scene.telegram.clear_faults();
    process.signal(Signal::HUP);
    until_reasons(&scene, &[]);
    let held: Vec<Value> = scene.telegram.calls("getUpdates").iter().map(|call| call.body["timeout"].clone()).collect();
    assert!(held.len() >= 2 && held[1] == 0, "{held:?}");
    until("polls are held as usual again", || scene.telegram.calls("getUpdates").len() >= 3);
    assert_eq!(scene.telegram.calls("getUpdates")[2].body["timeout"], HELD_SECS);
    scene.stop(process);
}

/// Seen to fail with the first half of the sentence alone, which is wrong wherever the settings are another user's.
#[test]
fn who_cannot_read_the_settings_is_told_so_by_health() {
    let mut scene = Scene::new("unread settings");
    scene.world.set("RUSTY_PINCH_ENV_FILE", "/nowhere/.env");
    let done = scene.world.run(&["health"]);
    let told = done.stderr.concat();
    assert!(
        done.code == Some(1) && told.contains("no worker has left a word of itself; /nowhere/.env cannot be read"),
        "{told}"
    );
}

#[test]
fn whoever_is_killed_leaves_a_word_that_grows_old() {
    let scene = Scene::new("old document");
    let process = scene.start_polling();
    until_reasons(&scene, &[]);
    scene.kill(process);
    assert_eq!(scene.world.run(&["health"]).code, Some(0), "it may be about to be started again");
    until("the word is two seconds old", || {
        let done = scene.world.run(&["health", "--max-age", "1"]);
        done.code == Some(1) && done.stderr.concat().contains("s old")
    });
}

#[test]
fn nobody_who_may_write_is_a_reason_that_outlives_another_one() {
    let mut scene = Scene::new("nobody may write");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "");
    scene.telegram.fault(Fault::status(401, "Unauthorized"));
    let process = scene.start();
    until_reasons(&scene, &["allowlist_empty", "auth"]);
    scene.telegram.clear_faults();
    process.signal(Signal::HUP);
    until_reasons(&scene, &["allowlist_empty"]);
    scene.stop(process);
}
