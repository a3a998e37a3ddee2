//! A stop keeps its time in every state of the link, and a bounded run ends by itself.

use std::time::Duration;

use rusty_pinch::channel::whatsapp_frame::Dialect;

use crate::support::cases::say;
use crate::support::fake_bridge::{Entrance, FakeBridge, Speaks};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::scene::STOP_CEILING;
use crate::support::waiting::{Gate, now, since, spawn, until};
use crate::whatsapp::lab::{CALM, Lab, PRODUCT};
use crate::whatsapp::{ANNA, BERT, Scene};

/// What a state needs to be reached, and how long a stop may take in it.
#[test]
fn the_thread_stops_promptly_in_every_state_with_the_times_of_the_product() {
    type Reach = fn(&FakeBridge, &mut Lab);
    let states: [(&str, Entrance, Reach); 8] = [
        ("connected", Entrance::Open, |bridge, _| bridge.until_ready()),
        ("in the handshake", Entrance::Silent, |bridge, _| bridge.until_links(1)),
        ("waiting to dial again", Entrance::Status(500), |_, lab| drop(lab.until_event("channel_connect_error"))),
        ("parked", Entrance::Close(4003), |_, lab| drop(lab.until_event("channel_parked"))),
        ("half open", Entrance::Open, |bridge, _| {
            bridge.until_ready();
            bridge.die(true);
        }),
        ("logged out", Entrance::Open, |bridge, lab| {
            bridge.until_ready();
            bridge.status("logged_out");
            lab.until_event("channel_parked");
        }),
        ("waiting for an answer", Entrance::Open, |bridge, lab| {
            bridge.until_ready();
            bridge.leave_unanswered(1);
            lab.reply(ANNA, "hello");
            bridge.until_sent(1);
        }),
        ("writing to nobody", Entrance::Open, |bridge, lab| {
            bridge.until_ready();
            bridge.die(true);
            (0..8).for_each(|chat| lab.reply(&format!("{chat}@lid"), &"x".repeat(2 << 20)));
            until("a send is begun", || !lab.deliveries().is_empty());
        }),
    ];
    let stop = |(name, entrance, reach): (&'static str, Entrance, Reach)| {
        let bridge = FakeBridge::start(Speaks::V2, None);
        bridge.entrance(entrance);
        let mut lab = Lab::start(&bridge, Some(Dialect::N), PRODUCT);
        reach(&bridge, &mut lab);
        say(&format!("stopping while {name}"));
        let took = lab.stop();
        assert!(took < STOP_CEILING, "{name}: {took:?}");
        bridge.die(false);
    };
    // Each mostly waits, so all wait at the same time.
    let threads = states.map(|state| (state.0, spawn("stopping", move || stop(state))));
    threads.into_iter().for_each(|(name, thread)| assert!(thread.join().is_ok(), "{name}"));
}

#[test]
fn the_product_stops_in_time_while_it_is_busy_or_not_connected() {
    let gate = Gate::closed();
    let stop = |entrance: Entrance, gate: Gate| {
        let scene = Scene::new("stops", Speaks::V2);
        scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
        scene.bridge.entrance(entrance);
        let process = scene.start();
        process.until_it_heeds_signals();
        process.until_event("recovered");
        if entrance == Entrance::Open {
            scene.bridge.until_ready();
            scene.bridge.write(ANNA, "1", "slow question");
            until("the provider is asked", || scene.provider.asked_count() == 1);
        } else {
            scene.bridge.until_links(1);
        }
        let begun = now();
        scene.stop(process);
        assert!(since(begun) < STOP_CEILING, "{entrance:?}");
    };
    let entrances = [Entrance::Open, Entrance::Silent, Entrance::Status(500), Entrance::HangUp];
    let threads = entrances.map(|entrance| {
        let gate = gate.clone();
        (entrance, spawn("stopping", move || stop(entrance, gate)))
    });
    threads.into_iter().for_each(|(entrance, thread)| assert!(thread.join().is_ok(), "{entrance:?}"));
    gate.open();
}

#[test]
fn a_bounded_run_ends_after_its_messages() {
    let scene = Scene::new("bounded", Speaks::V2);
    for number in 0..3 {
        scene.bridge.write(ANNA, &number.to_string(), &format!("message {number}"));
    }
    let mut process = scene.world.start(&["channels", "whatsapp", "--max-messages", "2"]);
    assert_eq!(process.wait_within(STOP_CEILING + STOP_CEILING).code(), Some(0), "{:#?}", process.last_words());
    assert_eq!(process.until_event("channel_stop")["reason"], "max_messages");
    assert_eq!(scene.bridge.sent().len(), 2);
    // The bridge keeps what was not acknowledged.
    let process = scene.start_linked();
    scene.bridge.until_sent(3);
    scene.stop(process);
    assert!(scene.bridge.texts_to(ANNA)[2].ends_with("message 2"));
}

/// A bridge without v2 sends nothing again, so what is lost is told.
#[test]
fn what_comes_after_the_order_to_stop_is_counted() {
    for (speaks, lost) in [(Speaks::N, Some(2)), (Speaks::V2, None)] {
        let bridge = FakeBridge::start(speaks, None);
        let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
        bridge.until_ready();
        lab.order_to_stop();
        bridge.write(ANNA, "1", "too late");
        bridge.write(ANNA, "2", "this, too");
        // Before the answer to the reply, behind which nothing is read.
        until("it is said", || bridge.has_said_all());
        // A reply is still under way, so the link is read.
        lab.reply(BERT, "the last one");
        bridge.until_sent(1);
        until("the reply is over", || lab.deliveries().len() == 3);
        lab.stop();
        let tally = lab.events("channel_tally").first().map(|tally| tally["passed"]["stopping"].clone());
        assert_eq!(tally, lost.map(|lost: u64| lost.into()), "{speaks:?}");
    }
}

#[test]
fn a_stop_lets_a_reply_go_that_is_ready() {
    let scene = Scene::new("ready", Speaks::N);
    scene
        .provider
        .rule(Rule::when("quick").reply(Reply::Text("soon".into())).after(Wait::For(Duration::from_millis(300))));
    let process = scene.start_linked();
    scene.bridge.write(ANNA, "1", "quick question");
    until("the provider is asked", || scene.provider.asked_count() == 1);
    scene.stop(process);
    assert_eq!(scene.bridge.texts_to(ANNA), ["soon"]);
}
