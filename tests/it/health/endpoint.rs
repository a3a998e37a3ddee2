//! The health endpoint: what it shows of a real worker, and what it costs that worker when everybody is hostile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::until_reasons;
use crate::support::cases::{Random, cases, say};
use crate::support::fake_provider::Rule;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{CEILING, came_true, now, since, until};
use crate::support::world::Process;

/// Memory that hostile requests may cost, in KiB: what a few connections hold, and what the allocator keeps.
const MEMORY_KIB_MAX: usize = 1024;

/// A place of this test alone: the port was free a moment ago, and nobody else uses this address of the loopback network.
pub fn free_address(random: &mut Random) -> SocketAddr {
    let host = [127, 1 + (random.next() % 250) as u8, (random.next() % 250) as u8, 1 + (random.next() % 250) as u8];
    let listener = TcpListener::bind((std::net::Ipv4Addr::from(host), 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

fn stage(name: &str, token: &str) -> (Scene, SocketAddr) {
    let mut scene = Scene::new(name);
    let address = free_address(&mut scene.random);
    scene.world.set("RUSTY_PINCH_HEALTH_ADDR", &address.to_string());
    scene.world.set("RUSTY_PINCH_HEALTH_TOKEN", token);
    (scene, address)
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CEILING))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    // A response may be followed by a reset, when not everything that was sent was read.
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Status and body.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let response = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).expect("an answer");
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_string())
}

#[track_caller]
fn until_ready_is(address: SocketAddr, status: u16, what: (&str, Value)) -> Value {
    let mut last = String::new();
    let came = came_true(CEILING, || {
        let (found, body) = get(address, "/readyz");
        last = body;
        let body: Value = serde_json::from_str(&last).expect("JSON");
        found == status && body[what.0] == what.1
    });
    assert!(came, "not {status} with {what:?}: {last}");
    serde_json::from_str(&last).expect("JSON")
}

#[test]
fn it_shows_whether_the_worker_lives_is_ready_and_what_it_counted() {
    let (scene, address) = stage("endpoint", "");
    let process = scene.start_polling();
    let ready = until_ready_is(address, 200, ("reasons", json!([])));
    assert_eq!(ready["channels"], json!([{ "channel": "telegram", "ready": true, "reasons": [], "degraded": [] }]));
    assert_eq!(get(address, "/livez"), (200, "alive\n".to_string()));
    scene.telegram.say(42, "hello");
    scene.until_answered();
    until("the turn is counted", || {
        let (status, text) = get(address, "/metrics");
        status == 200
            && text.contains("rusty_pinch_turns_total{channel=\"telegram\",path=\"provider\",status=\"ok\"} 1\n")
    });
    assert_eq!(get(address, "/").0, 404);
    let head = exchange(address, "HEAD /livez HTTP/1.1\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let posted = exchange(address, "POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").expect("an answer");
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    // Nobody answers any more: that is told, and is no reason to be restarted.
    scene.provider.rule(Rule::when("who answers").status(401));
    scene.telegram.say(42, "who answers now");
    until_ready_is(address, 200, ("degraded", json!(["provider_open:compatible"])));
    // Nobody may ask the server any more: messages cannot arrive.
    scene.telegram.fault(Fault::status(401, "Unauthorized").on("getUpdates"));
    scene.telegram.say(42, "the last one");
    let ready = until_ready_is(address, 503, ("reasons", json!(["auth"])));
    assert_eq!(ready["ready"], false);
    assert_eq!(get(address, "/livez").0, 200, "a restart would not help");
    scene.stop(process);
}

#[test]
fn an_address_in_use_is_told_and_taken_when_it_is_free() {
    let (scene, address) = stage("endpoint in use", "");
    let holder = TcpListener::bind(address).expect("it is still free");
    let process = scene.start_polling();
    let told = process.events("log");
    let is_told =
        |event: &Value| event["message"].as_str().is_some_and(|text| text.contains("RUSTY_PINCH_HEALTH_ADDR"));
    assert!(told.iter().any(is_told), "{told:?}");
    scene.telegram.say(42, "hello");
    scene.until_answered();
    let without = scene.world.run(&["doctor"]).stdout;
    assert!(without.contains("each worker needs an address of its own"), "{without}");
    drop(holder);
    until("it answers there", || {
        exchange(address, "GET /livez HTTP/1.1\r\n\r\n").is_ok_and(|found| found.contains(" 200 "))
    });
    until("that is in its document", || {
        super::document(&scene).is_some_and(|document| document["endpoint"] == address.to_string())
    });
    scene.stop(process);
}

#[test]
fn with_a_token_nothing_is_shown_without_it() {
    let (scene, address) = stage("endpoint token", "canary-of-the-endpoint");
    let process = scene.start_polling();
    until_reasons(&scene, &[]);
    for path in ["/livez", "/readyz", "/metrics", "/"] {
        assert_eq!(get(address, path), (401, String::new()), "{path}");
    }
    let request = "GET /livez HTTP/1.1\r\nAuthorization: Bearer canary-of-the-endpoint\r\n\r\n";
    assert!(exchange(address, request).expect("an answer").starts_with("HTTP/1.1 200 "));
    assert!(!scene.world.all_lines().concat().contains("canary-of-the-endpoint"));
    scene.stop(process);
}

/// O5: connections that say nothing, garbage, and a scraper, at the same time as people who write.
#[test]
fn hostile_clients_cost_nothing_and_keep_nobody_out() {
    let (mut scene, address) = stage("hostile endpoint", "");
    let process = scene.start_polling();
    scene.telegram.say(41, "the first turn");
    scene.until_answered();
    let idle: Vec<TcpStream> = (0..cases(100, 1000)).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let begun = now();
    assert_eq!(get(address, "/livez").0, 200);
    assert!(since(begun) < CEILING, "somebody who asks is answered although {} others say nothing", idle.len());
    let count = cases(1000, 100_000);
    let mut before = None;
    for round in 0..10 {
        // The first round brings everything to the size that it needs.
        if round == 1 {
            before = Some(settled(&process));
        }
        garbage(address, &mut scene.random, count / 10);
        scene.telegram.say(42 + round, "meanwhile");
        for _ in 0..10 {
            assert_eq!(get(address, "/metrics").0, 200);
        }
    }
    scene.until_answered();
    drop(idle);
    let (before, after) = (before.expect("a first round"), settled(&process));
    say(&format!("before {count} hostile requests: {before:?}, after: {after:?}"));
    assert!(
        after.resident_kib <= before.resident_kib + MEMORY_KIB_MAX && after.threads == before.threads,
        "before: {before:?}, after {count} requests: {after:?}"
    );
    assert!(after.files <= before.files + 2, "before: {before:?}, after: {after:?}");
    scene.stop(process);
}

/// A client that stalls is hung up on, and meanwhile holds nobody up.
#[test]
fn a_slow_client_has_two_seconds() {
    let (scene, address) = stage("slow client", "");
    let process = scene.start_polling();
    let mut slow = TcpStream::connect(address).expect("connected");
    slow.set_read_timeout(Some(CEILING)).expect("set");
    slow.write_all(b"GET /livez HT").expect("sent");
    assert_eq!(get(address, "/livez").0, 200);
    let mut rest = Vec::new();
    let begun = now();
    let _ = slow.read_to_end(&mut rest);
    assert!(rest.is_empty() && since(begun) < Duration::from_secs(20), "{rest:?} after {:?}", since(begun));
    scene.stop(process);
}

/// Requests that are none, too long, cut off, or never read.
fn garbage(address: SocketAddr, random: &mut Random, count: usize) {
    for _ in 0..count {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        let length = random.index(2000);
        let bytes: Vec<u8> = match random.index(4) {
            0 => (0..length).map(|_| random.next() as u8).collect(),
            1 => format!("GET /{} HTTP/1.1\r\n", "x".repeat(length)).into_bytes(),
            2 => format!("GET /readyz HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(length / 10)).into_bytes(),
            _ => vec![b'A'; 16 * 1024],
        };
        let _ = stream.write_all(&bytes);
    }
}

/// What the worker uses once nobody is connected any more: whoever says nothing is hung up on after two seconds.
fn settled(process: &Process) -> crate::support::world::Sample {
    came_true(Duration::from_secs(3), || false);
    let mut last = process.sample().expect("it runs");
    until("the worker has let go of every connection", || {
        let sample = process.sample().expect("it runs");
        let is_same = sample.files == last.files;
        last = sample;
        is_same
    });
    last
}
