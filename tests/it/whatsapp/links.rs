//! Links that do not begin, break, or die without a word; and many of them.

use std::net::TcpListener;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rusty_pinch::channel::whatsapp_frame::Dialect;
use serde_json::json;

use crate::support::cases::{cases, say};
use crate::support::certificates::Certificates;
use crate::support::fake_bridge::{Entrance, FakeBridge, Speaks};
use crate::support::waiting::{now, since, until, until_within};
use crate::whatsapp::lab::{CALM, Lab, PRODUCT, SHORT};
use crate::whatsapp::{ANNA, Scene};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_bridge_that_is_gone_without_a_word_is_noticed_within_a_minute() {
    let bridge = FakeBridge::start(Speaks::N, None);
    let lab = Lab::start(&bridge, Some(Dialect::N), SHORT);
    bridge.until_ready();
    until("pings are answered", || bridge.pings() >= 4);
    assert!(lab.events("channel_read_error").is_empty(), "a quiet chat is no dead link");
    let (begun, links) = (now(), bridge.links());
    bridge.die(true);
    // The product's minute is 600 ms here; what a busy machine adds is not the worker's.
    lab.until_error("nothing was heard for too long", Duration::from_secs(3));
    assert!(since(begun) >= Duration::from_millis(300), "{:?}", since(begun));
    bridge.die(false);
    until("it is dialled again", || bridge.links() > links);
    assert_eq!(PRODUCT.silence + PRODUCT.slice, Duration::from_millis(60_250));
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
            bridge.say_no_status();
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

fn tls(certificates: &Certificates) -> ServerConfig {
    let (certificate, key) = certificates.server("good");
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    versions.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key).expect("they fit")
}

#[test]
fn tls_is_spoken_and_a_certificate_that_is_not_trusted_is_refused() {
    let Some(certificates) = Certificates::new() else { return };
    let mut scene = Scene::with("tls", FakeBridge::with(Speaks::N, None, Some(tls(&certificates))), None);
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
    scene.stop(process);
}

/// 10,000 by `RP_TEST_CASES`.
#[test]
fn reconnects_leak_nothing() {
    let bridge = FakeBridge::start(Speaks::V2, None);
    let mut lab = Lab::start(&bridge, None, SHORT);
    bridge.until_ready();
    let count = cases(150, 10_000) as u64;
    let own = || {
        let count = |folder: &str| std::fs::read_dir(folder).map(Iterator::count).unwrap_or_default();
        (count("/proc/self/fd"), count("/proc/self/task"))
    };
    let _ = own();
    bridge.entrance(Entrance::Close(1001));
    bridge.cut();
    until_within("many links", Duration::from_secs(600), || bridge.links() >= count);
    bridge.entrance(Entrance::Open);
    bridge.until_ready();
    bridge.write(ANNA, "1", "still there?");
    let inbound = lab.inbox.recv_timeout(SOON).expect("a message");
    assert_eq!(inbound.text, "still there?");
    until("one link is left", || bridge.open_links() == 1);
    say(&format!("reconnects_leak_nothing: {} links, own descriptors and threads now {:?}", bridge.links(), own()));
    // Other tests of this process have descriptors, too, so the worker's own are counted in `reconnects_of_the_product`.
    lab.stop();
}

#[test]
fn reconnects_of_the_product_leak_nothing() {
    let mut scene = Scene::new("reconnects", Speaks::V2);
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_RECONNECT_MS", "1");
    // A provider that needs no connection.
    scene.world.set("RUSTY_PINCH_PROVIDER", "local");
    let process = scene.start_linked();
    scene.ask(ANNA, "1", "hello");
    let before = process.sample().expect("it runs");
    // Delays double with each link that did not live a minute, so these are few; the many are above.
    for link in 2..11 {
        scene.bridge.cut();
        scene.bridge.until_links(link);
        scene.bridge.until_ready();
    }
    scene.ask(ANNA, "2", "still there?");
    until("threads that dialled have ended", || {
        let after = process.sample().expect("it runs");
        after.files <= before.files && after.threads <= before.threads
    });
    scene.stop(process);
}
