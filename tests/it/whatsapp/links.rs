//! Links that do not begin, break, or die without a word; and many of them.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rusty_pinch::channel::whatsapp_frame::Dialect;
use serde_json::json;

use crate::support::cases::{cases, say};
use crate::support::certificates::Certificates;
use crate::support::fake_bridge::{Entrance, FakeBridge, Speaks};
use crate::support::scene::STOP_CEILING;
use crate::support::slope::slope;
use crate::support::waiting::{came_true, now, since, until};
use crate::support::world::{Process, Sample};
use crate::whatsapp::lab::{CALM, Lab, PRODUCT, SHORT};
use crate::whatsapp::{ANNA, Scene};

const SOON: Duration = Duration::from_secs(5);

/// What is told of a dead link.
const SILENT: &str = "nothing was heard for too long";

/// With the times of the product, on a clock that is pushed on: the minutes are the worker's. WA-08 waits for the real ones.
///
/// Seen to fail: with a limit of 66 s.
#[test]
fn a_bridge_that_is_gone_without_a_word_is_noticed_within_65_seconds() {
    let bridge = FakeBridge::start(Speaks::N, None);
    let lab = Lab::start(&bridge, Some(Dialect::N), PRODUCT);
    bridge.until_ready();
    until("it is connected and has introduced itself", || lab.heard() >= 2);
    for _ in 0..3 {
        let heard = lab.heard();
        lab.push_on(PRODUCT.ping_every + PRODUCT.ping_jitter);
        until("a ping is answered", || lab.heard() > heard);
    }
    assert!(lab.events("channel_read_error").is_empty(), "a quiet chat is no dead link");
    bridge.die(true);
    let (died, links) = (lab.time(), bridge.links());
    let is_told = || lab.events("channel_read_error").iter().any(|event| event["error"] == SILENT);
    while !is_told() {
        let so_far = died.until(lab.time());
        assert!(so_far < Duration::from_secs(65), "{so_far:?}");
        lab.push_on(Duration::from_secs(if so_far < Duration::from_secs(50) { 10 } else { 1 }));
    }
    let took = died.until(lab.time());
    // It may have been heard last half a minute before.
    assert!(took > Duration::from_secs(25), "{took:?}");
    bridge.die(false);
    until("it is dialled again", || bridge.links() > links);
}

#[test]
fn every_entrance_that_does_not_lead_in_is_told_and_tried_again() {
    for (entrance, phrase) in [
        (Entrance::Silent, "does not finish the handshake"),
        (Entrance::Status(500), "status 500"),
        (Entrance::Status(302), "status 302"),
        (Entrance::Garbage, "does not finish the handshake"),
        (Entrance::HangUp, ""),
        (Entrance::Close(1001), "code 1001"),
        (Entrance::Close(4999), "code 4999"),
    ] {
        let bridge = FakeBridge::start(Speaks::P, None);
        bridge.entrance(entrance);
        let lab = Lab::start(&bridge, Some(Dialect::P), SHORT);
        bridge.until_links(3);
        lab.until_error(phrase, SOON);
        bridge.entrance(Entrance::Open);
        bridge.until_ready();
        assert!(lab.events("channel_parked").is_empty(), "{entrance:?}");
    }
}

#[test]
fn what_only_a_person_can_end_is_not_tried_in_a_loop() {
    for (entrance, reason) in
        [(Entrance::Status(403), "auth"), (Entrance::Close(4003), "auth"), (Entrance::Close(4009), "conflict")]
    {
        let bridge = FakeBridge::start(Speaks::N, None);
        bridge.entrance(entrance);
        let lab = Lab::start(&bridge, Some(Dialect::N), SHORT);
        assert_eq!(lab.until_event("channel_parked")["reason"], reason);
        bridge.entrance(Entrance::Open);
        lab.reload.send(()).expect("the worker is there");
        bridge.until_ready();
        assert_eq!(bridge.links(), 2, "{entrance:?}");
        lab.until_event("channel_resumed");
    }
}

/// N bridges have no positive answer to a token, and P bridges say nothing at all.
#[test]
fn what_a_person_has_mended_is_over_although_the_bridge_says_nothing() {
    for (speaks, dialect) in [(Speaks::N, Dialect::N), (Speaks::P, Dialect::P)] {
        for entrance in [Entrance::Status(403), Entrance::Close(4003), Entrance::Close(4009)] {
            let bridge = FakeBridge::start(speaks, None);
            bridge.mute();
            bridge.entrance(entrance);
            let mut lab = Lab::start(&bridge, Some(dialect), SHORT);
            let remedy = lab.until_event("channel_parked")["remedy"].to_string();
            assert!(!remedy.contains("rejects the token"), "there is none: {remedy}");
            lab.reply(ANNA, "later");
            bridge.entrance(Entrance::Open);
            lab.reload.send(()).expect("the worker is there");
            bridge.until_sent(1);
            lab.until_event("channel_resumed");
            assert_eq!(bridge.links(), 2, "{entrance:?}");
        }
    }
}

#[test]
fn nothing_is_sent_before_a_bridge_has_introduced_itself() {
    for status in ["disconnected", "logged_out"] {
        let bridge = FakeBridge::start(Speaks::V2, None);
        bridge.entrance(Entrance::Silent);
        bridge.status(status);
        bridge.forget_wishes();
        let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
        lab.reply(ANNA, "it waits for the link");
        bridge.until_links(1);
        bridge.entrance(Entrance::Open);
        lab.push_on(CALM.handshake);
        let is_told = || {
            let is_offline = lab.events("channel_state").iter().any(|event| event["state"] == "offline");
            is_offline || !lab.events("channel_parked").is_empty()
        };
        until("the bridge has said that it cannot send", is_told);
        lab.push_on(CALM.admission);
        assert!(lab.is_quiet() && bridge.sent().is_empty(), "{status}");
        bridge.status("connected");
        bridge.until_sent(1);
    }
    let bridge = FakeBridge::start(Speaks::N, None);
    bridge.mute();
    let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
    lab.reply(ANNA, "to one that never does");
    bridge.until_ready();
    assert!(lab.is_quiet() && bridge.sent().is_empty());
    lab.push_on(CALM.introduction);
    bridge.until_sent(1);
}

#[test]
fn a_phone_that_is_gone_parks_and_replies_wait_until_it_is_back() {
    for (status, reason) in [("logged_out", "logged_out"), ("replaced", "replaced")] {
        let bridge = FakeBridge::start(Speaks::N, None);
        let mut lab = Lab::start(&bridge, Some(Dialect::N), CALM);
        bridge.until_ready();
        bridge.status(status);
        let parked = lab.until_event("channel_parked");
        assert_eq!(parked["reason"], reason);
        lab.reply(ANNA, "later");
        bridge.cut();
        until("the next link", || bridge.links() >= 2);
        assert!(bridge.sent().is_empty());
        bridge.status("connected");
        bridge.until_sent(1);
        lab.until_event("channel_resumed");
        until("it is confirmed", || lab.deliveries() == ["sending 0 0", "sent 0", "close Sent"]);
    }
    let bridge = FakeBridge::start(Speaks::N, None);
    let lab = Lab::start(&bridge, None, CALM);
    bridge.until_ready();
    bridge.say(&json!({"type": "qr", "qr": "2@canary"}));
    assert_eq!(lab.until_event("channel_parked")["reason"], "not_linked");
}

#[test]
fn nobody_there_is_tried_again_until_somebody_is() {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let lab = Lab::to(&format!("ws://127.0.0.1:{port}"), None, SHORT);
    until("several attempts", || lab.events("channel_connect_error").len() > 5);
    let failures = lab.events("channel_connect_error").last().map(|event| event["failures"].clone());
    assert!(failures.and_then(|failures| failures.as_u64()).is_some_and(|failures| failures > 5));
}

fn tls(certificates: &Certificates, name: &str) -> ServerConfig {
    let (certificate, key) = certificates.server(name);
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    versions.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key).expect("they fit")
}

#[test]
fn tls_is_spoken_and_a_certificate_that_is_not_trusted_is_refused() {
    let Some(certificates) = Certificates::new() else { return };
    let mut scene = Scene::with("tls", FakeBridge::with(Speaks::N, None, Some(tls(&certificates, "good"))), None);
    let mut process = scene.start();
    let refused = process.until_event("channel_connect_error");
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("not trusted")), "{refused}");
    assert!(scene.bridge.requests().is_empty(), "not a byte of the request");
    process.terminate();
    assert_eq!(process.wait_within(SOON).code(), Some(0));
    scene.world.set("SSL_CERT_FILE", &certificates.authority().to_string_lossy());
    let process = scene.start_linked();
    let answer = scene.ask(ANNA, "1", &"long 👍 ".repeat(2000));
    assert!(answer.starts_with("reply #"), "{answer:.50}");
    scene.bridge.cut();
    scene.bridge.until_links(3);
    scene.ask(ANNA, "2", "after another handshake");
    // A stop keeps its time over TLS, too, when the bridge is gone without a word and a reply waits.
    scene.bridge.leave_unanswered(1);
    scene.bridge.write(ANNA, "3", "it is never confirmed");
    scene.bridge.until_sent(scene.bridge.sent().len() + 1);
    scene.bridge.die(true);
    let begun = now();
    scene.stop(process);
    assert!(since(begun) < STOP_CEILING);
    scene.bridge.die(false);
    for name in ["expired", "elsewhere", "selfsigned"] {
        let bridge = FakeBridge::with(Speaks::N, None, Some(tls(&certificates, name)));
        scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &bridge.url());
        let mut process = scene.start();
        let refused = process.until_event("channel_connect_error");
        assert!(refused["error"].as_str().is_some_and(|text| text.contains("not trusted")), "{name}: {refused}");
        assert!(bridge.requests().is_empty(), "{name}: not a byte of the request");
        process.terminate();
        assert_eq!(process.wait_within(SOON).code(), Some(0));
    }
}

/// Moments at which the worker is measured. What it learns first (the resolver, heaps of threads) it has at the second.
const LAPS: u64 = 20;
/// Links of a run in which memory is asserted by its slope, and that slope; a buffer of each link would be 4,000 KiB.
const LINKS_FOR_A_SLOPE: u64 = 5000;
const SLOPE_KIB_MAX: f64 = 40.0;
/// Of a short run, from the second lap on.
const GROWTH_KIB_MAX: usize = 150;

/// The link ends; SIGHUP spares the delay, which doubles with each link that did not live a minute.
#[track_caller]
fn reconnect(scene: &Scene, process: &Process) {
    let links = scene.bridge.links();
    scene.bridge.cut();
    until("the link ends", || scene.bridge.open_links() == 0 || scene.bridge.links() > links);
    let mut looks = 0;
    until("the next link", || {
        let is_there = scene.bridge.links() > links;
        if !is_there && looks % 5 == 0 {
            process.signal(Signal::HUP);
        }
        looks += 1;
        is_there
    });
    scene.bridge.until_ready();
}

/// The product, and no part of it alone. 10,000 links by `RP_TEST_CASES`.
///
/// Seen to fail: with a descriptor, a thread, or 4 KiB that each link leaves behind.
#[test]
fn reconnects_leak_nothing() {
    let mut scene = Scene::new("reconnects", Speaks::V2);
    // A provider that needs no connection.
    scene.world.set("RUSTY_PINCH_PROVIDER", "local");
    let process = scene.start_linked();
    scene.ask(ANNA, "1", "hello");
    let count = cases(100, 1_000_000).max(LAPS as usize) as u64;
    let mut laps: Vec<(u64, Sample)> = Vec::new();
    for lap in 1..=LAPS {
        while scene.bridge.links() < count * lap / LAPS {
            reconnect(&scene, &process);
        }
        let first = laps.first().map(|(_, first)| *first);
        let mut sample = process.sample().expect("it runs");
        // A thread that dialled ends a moment after it has brought its link.
        came_true(SOON, || {
            sample = process.sample().expect("it runs");
            first.is_none_or(|first| sample.files <= first.files && sample.threads <= first.threads)
        });
        laps.push((scene.bridge.links(), sample));
    }
    scene.ask(ANNA, "2", "still there?");
    scene.stop(process);
    let told: Vec<String> = laps
        .iter()
        .map(|(links, sample)| {
            format!("{links}: {} KiB, {} files, {} threads", sample.resident_kib, sample.files, sample.threads)
        })
        .collect();
    let points: Vec<(f64, f64)> =
        laps[1..].iter().map(|(links, sample)| (*links as f64, sample.resident_kib as f64)).collect();
    let growth = slope(&points) * 1000.0;
    say(&format!(
        "reconnects_leak_nothing: {} links, {growth:.1} KiB for each thousand; {told:#?}",
        scene.bridge.links()
    ));
    let (first, last) = (laps[0].1, laps[laps.len() - 1].1);
    assert!(laps.iter().all(|(_, sample)| sample.files <= first.files), "descriptors: {told:#?}");
    assert!(laps.iter().all(|(_, sample)| sample.threads <= first.threads), "threads: {told:#?}");
    let grown = last.resident_kib.saturating_sub(laps[1].1.resident_kib);
    let is_flat = if count >= LINKS_FOR_A_SLOPE { growth <= SLOPE_KIB_MAX } else { grown <= GROWTH_KIB_MAX };
    assert!(is_flat, "memory: {growth:.1} KiB for each thousand links, {grown} KiB since the second lap: {told:#?}");
}
