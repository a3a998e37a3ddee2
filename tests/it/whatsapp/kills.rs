//! kill -9 at random moments. With v2 nothing is lost, nothing is repeated without a mark, and a repeat has the same text
//! (I1 to I3). P and N promise less, because their bridges send nothing again: what was on its way to the disk is lost.
//! How much that is, is measured and told (`docs/whatsapp.md`).

use std::collections::HashMap;
use std::time::Duration;

use crate::support::cases::{cases, say};
use crate::support::fake_bridge::Speaks;
use crate::support::waiting::{came_true, spawn, until_within};
use crate::whatsapp::{MARK, Scene};

/// So many that no chat has over 32 open messages, however slow the machine: more are refused, which is an answer.
const CHATS: usize = 40;

/// Nothing was sent for so long: nothing is under way.
const STILL: Duration = Duration::from_millis(150);

/// Runs the campaign; how many messages have no answer in the end.
fn campaign(speaks: Speaks, kills: usize) -> usize {
    let mut scene = Scene::new("kills", speaks);
    if speaks == Speaks::P {
        scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT", "p");
    }
    let (mut written, mut repeats) = (0, 0);
    for number in 1..=kills {
        let mut process = scene.start();
        let life = Duration::from_millis(scene.random.between(20, 400));
        let is_in = came_true(life, || scene.bridge.open_links() > 0);
        for _ in 0..scene.random.between(1, 3) {
            // A bridge of P or N hands its messages to whoever is there.
            if is_in || speaks == Speaks::V2 {
                written += 1;
                let chat = format!("{}@lid", written % CHATS);
                scene.bridge.write(&chat, &format!("id{written}"), &format!("message {written}."));
            }
        }
        came_true(Duration::from_millis(scene.random.between(0, 200)), || !process.is_running());
        if number % 3 == 0 {
            until_calm(&scene, speaks, written);
        }
        process.kill();
        until_within("the link of a killed worker ends", Duration::from_secs(10), || scene.bridge.open_links() == 0);
        // What nobody read goes with its link.
        scene.bridge.forget_wishes();
    }
    let process = scene.start_linked();
    // Messages of a chat are answered in their order, so what is not answered before these is lost.
    for last in written + 1..=written + CHATS {
        scene.bridge.write(&format!("{}@lid", last % CHATS), &format!("id{last}"), &format!("message {last}."));
    }
    until_within("the last messages are answered", Duration::from_secs(240), || {
        answered(&scene, &mut (written + 1..=written + CHATS)) == CHATS && scene.bridge.unacked() == 0
    });
    let lost = written - answered(&scene, &mut (1..=written));
    process.until_it_heeds_signals();
    scene.stop(process);
    let mut seen: HashMap<String, String> = HashMap::new();
    for sent in scene.bridge.sent() {
        let (is_marked, text) = match sent.text.strip_prefix(MARK) {
            Some(text) => (true, text.to_string()),
            None => (false, sent.text.clone()),
        };
        let Some(message) = text.split(" to ").nth(1).map(str::to_string) else {
            assert!(speaks != Speaks::V2, "seed {}: no answer: {text}", scene.random.seed);
            continue;
        };
        if let Some(before) = seen.insert(message.clone(), text.clone()) {
            repeats += 1;
            assert!(is_marked, "seed {}: {message} was repeated without a mark", scene.random.seed);
            assert_eq!(before, text, "seed {}: another text for {message}", scene.random.seed);
        }
    }
    assert!(repeats == 0 || speaks != Speaks::V2, "a bridge of v2 knows every repeat by its id");
    say(&format!("kills, {speaks:?}: {kills} kills, {written} messages, {lost} lost, {repeats} marked repeats"));
    lost
}

/// Every third worker answers what is open: a message that is under way at three ends is given up, and that is no loss. What a
/// bridge of P or N has lost is not waited for.
fn until_calm(scene: &Scene, speaks: Speaks, written: usize) {
    scene.bridge.until_ready();
    let mut before = usize::MAX;
    until_within("no more answers", Duration::from_secs(60), || {
        let is_whole = answered(scene, &mut (1..=written)) == written;
        if !is_whole {
            came_true(STILL, || false);
        }
        let sent = scene.bridge.sent().len();
        let is_still = std::mem::replace(&mut before, sent) == sent && speaks != Speaks::V2;
        (is_whole || is_still) && scene.bridge.unacked() == 0
    });
}

/// How many of these messages have an answer.
fn answered(scene: &Scene, numbers: &mut dyn Iterator<Item = usize>) -> usize {
    let texts: Vec<String> = scene.bridge.sent().into_iter().map(|sent| sent.text).collect();
    numbers.filter(|number| texts.iter().any(|text| text.ends_with(&format!("message {number}.")))).count()
}

#[test]
fn with_v2_nothing_is_lost_and_nothing_is_repeated_unmarked() {
    assert_eq!(campaign(Speaks::V2, cases(20, 200)), 0);
}

#[test]
fn without_v2_nothing_is_repeated_unmarked() {
    let threads = [Speaks::P, Speaks::N].map(|speaks| spawn("kills", move || _ = campaign(speaks, cases(4, 200))));
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
}

#[test]
fn a_bridge_that_restarts_gets_everything_and_nothing_twice() {
    let mut scene = Scene::new("restarts", Speaks::V2);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_RECONNECT_MS", "2");
    let process = scene.start_linked();
    // Delays double with each link that did not live a minute, so these are few.
    let count = 7;
    for number in 0..count {
        scene.bridge.write("1@lid", &format!("id{number}"), &format!("message {number}."));
        let links = scene.bridge.links();
        scene.bridge.close(1001);
        scene.bridge.cut();
        scene.bridge.until_links(links + 1);
        scene.bridge.until_ready();
    }
    until_within("all are answered", Duration::from_secs(60), || scene.bridge.sent().len() == count);
    scene.stop(process);
    assert_eq!(scene.bridge.unacked(), 0);
}
