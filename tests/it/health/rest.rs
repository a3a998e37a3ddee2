//! A worker that is started again and again rests before it works, alive to whoever asks.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::{document, until_reasons};
use crate::support::scene::Scene;
use crate::support::waiting::{holds, until};

#[test]
fn whoever_is_cut_short_again_and_again_rests_until_somebody_says_go_on() {
    let mut scene = Scene::new("crash loop");
    scene.world.crashes_count = true;
    for _ in 0..4 {
        let process = scene.start_polling();
        until("it leaves a word of itself", || document(&scene).is_some_and(|said| said["pid"] == process.id()));
        scene.kill(process);
    }
    let polls = scene.telegram.count_of("getUpdates");
    let process = scene.start();
    let said = until_reasons(&scene, &["crash_loop"]);
    assert_eq!(said["degraded"], json!(["crash_loop"]));
    let parked = process.until_event("channel_parked");
    assert_eq!((&parked["reason"], &parked["retry_ms"]), (&json!("crash_loop"), &json!(30_000)));
    assert_eq!(scene.world.run(&["health"]).code, Some(0), "it lives");
    assert_eq!(scene.world.run(&["health", "--ready"]).code, Some(1));
    scene.telegram.say(42, "are you there");
    holds("it rests", Duration::from_secs(1), || scene.telegram.count_of("getUpdates") == polls);
    process.signal(Signal::HUP);
    scene.until_answered();
    until_reasons(&scene, &[]);
    scene.stop(process);
}

#[test]
fn a_worker_that_rests_heeds_the_order_to_end() {
    let mut scene = Scene::new("crash loop ended");
    scene.world.crashes_count = true;
    for _ in 0..4 {
        let process = scene.start_polling();
        until("it leaves a word of itself", || document(&scene).is_some_and(|said| said["pid"] == process.id()));
        scene.kill(process);
        // As in a container, whose memory is empty after each restart.
        fs::remove_dir_all(scene.world.path("run")).expect("it is there");
    }
    let process = scene.start();
    process.until_event("channel_parked");
    scene.stop(process);
    assert!(document(&scene).is_none());
}

#[test]
fn an_operator_may_restart_as_often_as_he_likes() {
    let mut scene = Scene::new("many restarts");
    scene.world.crashes_count = true;
    for _ in 0..7 {
        let process = scene.start_polling();
        scene.stop(process);
        let lock = scene.world.data().join("journal/telegram/LOCK");
        assert_eq!(fs::read_to_string(lock).expect("it is there"), "", "a polite end is noted");
    }
    assert!(scene.world.all_events("channel_parked").is_empty());
}
