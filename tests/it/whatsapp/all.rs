//! Both channels in one process.

use crate::health::endpoint::{free_address, get};
use crate::support::fake_bridge::Speaks;
use crate::support::fake_telegram::{FakeTelegram, TOKEN};
use crate::support::scene::STOP_CEILING;
use crate::support::waiting::until;
use crate::whatsapp::{ANNA, Scene};

fn with_telegram(test: &str) -> (Scene, FakeTelegram) {
    let mut scene = Scene::new(test, Speaks::V2);
    let telegram = FakeTelegram::start(&mut scene.random);
    for (name, value) in
        [("ENABLED", "true"), ("TOKEN", TOKEN), ("ALLOW_FROM", "*"), ("API_BASE", telegram.url().as_str())]
    {
        scene.world.set(&format!("RUSTY_PINCH_CHANNELS_TELEGRAM_{name}"), value);
    }
    (scene, telegram)
}

#[test]
fn both_channels_are_answered_and_each_has_its_journal() {
    let (mut scene, telegram) = with_telegram("both");
    let endpoint = free_address(&mut scene.random);
    scene.world.set("RUSTY_PINCH_HEALTH_ADDR", &endpoint.to_string());
    let process = scene.world.start(&["channels", "all"]);
    scene.bridge.until_ready();
    telegram.say(42, "by telegram");
    assert!(scene.ask(ANNA, "1", "by whatsapp").ends_with("to by whatsapp"));
    until("telegram is answered", || telegram.sent_count() == 1);
    let ready = || {
        let done = scene.world.run(&["health", "--ready"]);
        done.code == Some(0) && done.stdout == "telegram is ready; whatsapp is ready\n"
    };
    until("both say that they are ready", ready);
    let (status, body) = get(endpoint, "/readyz");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let channels = [&body["channels"][0]["channel"], &body["channels"][1]["channel"]];
    assert_eq!((status, channels), (200, [&"telegram".into(), &"whatsapp".into()]), "one endpoint for both: {body}");
    for channel in ["telegram", "whatsapp"] {
        assert!(scene.world.data().join("journal").join(channel).join("a.jnl").exists(), "{channel}");
    }
    scene.stop(process);
    let stops = scene.world.all_events("channel_stop");
    assert_eq!(stops.len(), 2, "{stops:?}");
    assert_eq!(scene.session("whatsapp_4915110001_s_whatsapp_net").len(), 2);
    assert_eq!(scene.session("telegram_42").len(), 2);
    let counters = scene.world.run(&["stats"]).stdout;
    let counters: serde_json::Value = serde_json::from_str(&counters).expect("JSON");
    assert_eq!(counters["telemetry"]["total_turns"], 2, "{counters}");
}

#[test]
fn only_what_is_enabled_is_served_and_one_that_waits_does_not_hold_up_the_other() {
    let (mut scene, telegram) = with_telegram("one waits");
    scene.bridge.entrance(crate::support::fake_bridge::Entrance::Silent);
    let process = scene.world.start(&["channels", "all"]);
    telegram.say(42, "is anybody there?");
    until("telegram is answered", || telegram.sent_count() == 1);
    scene.stop(process);
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", "false");
    scene.bridge.entrance(crate::support::fake_bridge::Entrance::Open);
    let process = scene.world.start(&["channels", "all"]);
    scene.bridge.until_ready();
    scene.ask(ANNA, "1", "and here?");
    scene.stop(process);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "false");
    let nothing = scene.world.run(&["channels", "all"]);
    assert_eq!(nothing.code, Some(78), "{nothing:?}");
}

#[test]
fn a_bounded_run_of_both_ends_when_one_of_them_has_answered_its_messages() {
    let (scene, telegram) = with_telegram("bounded both");
    scene.bridge.write(ANNA, "1", "one");
    let mut process = scene.world.start(&["channels", "all", "--max-messages", "1"]);
    assert_eq!(process.wait_within(STOP_CEILING + STOP_CEILING).code(), Some(0), "{:#?}", process.last_words());
    assert!(telegram.sent_count() == 0 && scene.bridge.sent().len() == 1);
}
