//! What a server can cost us: memory, time after a stop, and one question too many.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::Wall;
use rusty_pinch::net::http::{Method, Phase, Request, collect};
use rusty_pinch::net::http_client::HttpClient;
use rusty_pinch::provider::openai::Streams;
use rusty_pinch::provider::spending_file;

use super::matrix::attempt;
use crate::support::cases::say;
use crate::support::fake_http::{Answer, FakeHttp};
use crate::support::fake_provider::{UPSTREAM_CANARY, completion, stream};
use crate::support::raw_server::{Act, RawServer};
use crate::support::waiting::{CEILING, now, since, spawn, until};
use crate::support::world::{World, contains};

fn world(url: &str) -> World {
    let mut world = World::asking(url);
    world.set_all(&[("REQUEST_RETRIES", "0")]);
    world
}

/// What the process may have besides its program, in KiB: what a turn takes anyway, and 32 MiB.
const DATA_KIB: usize = 40 * 1024;

/// S16 and S17: the product runs with a limit of memory that whoever unpacks, or keeps what has no end, goes over.
#[test]
fn no_answer_takes_more_memory_than_the_limits_say() {
    let head = |more: &str| Act::Send(format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes());
    let events = "Content-Type: text/event-stream\r\n";
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"".to_owned() + &"x".repeat(500_000) + "\"}}]}\n\n";
    let mut cells = vec![
        ("an endless page", vec![head(""), Act::Repeat(vec![b' '; 100_000])], "too_large"),
        ("an endless line", vec![head(events), Act::Repeat(vec![b'x'; 100_000])], "too_large"),
        ("endless text", vec![head(events), Act::Repeat(text.into_bytes())], "too_large"),
        (
            "endless values",
            vec![head(""), Act::Send(b"[".to_vec()), Act::Repeat(b"{\"\":0},".repeat(9999))],
            "too_large",
        ),
        (
            "endless headers",
            vec![Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec()), Act::Repeat(b"a: b\r\n".repeat(999))],
            "malformed",
        ),
        ("endless interim responses", vec![Act::Repeat(b"HTTP/1.1 103 Early\r\n\r\n".repeat(999))], "too_large"),
    ];
    // 512 MiB of zeros in half a MiB. The client refuses what says that it is packed.
    let packer = "head -c 536870912 /dev/zero | gzip -1";
    let bomb = Command::new("sh").args(["-c", packer]).stderr(Stdio::null()).output().expect("sh starts").stdout;
    assert!(bomb.len() > 100_000, "no bomb");
    for kind in ["Content-Encoding: gzip\r\n", "Content-Encoding: gzip\r\nContent-Type: text/event-stream\r\n"] {
        cells.push(("a gzip bomb", vec![head(kind), Act::Send(bomb.clone())], "malformed"));
    }
    for (name, acts, want) in cells {
        let server = RawServer::start(acts);
        let world = world(server.url());
        let limited = format!("ulimit -d {DATA_KIB}; exec \"$0\" \"$@\"");
        let prefix = ["sh", "-c", &limited].map(OsString::from);
        let mut process = world.start_through(&prefix, &["run", "--message", "hello"]);
        let status = process.wait_within(CEILING);
        let turn = world.all_events("turn").pop().unwrap_or_default();
        assert_eq!(
            (status.code(), turn["error"].as_str()),
            (Some(1), Some(want)),
            "{name}: {:?}",
            process.last_words()
        );
    }
}

/// A cancel ends an exchange in each of its states, and soon.
#[test]
fn a_cancel_is_heeded_in_every_state_of_an_exchange() {
    let head = Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_vec());
    for (name, acts) in [("before the head", vec![Act::Stall]), ("in the body", vec![head, Act::Stall])] {
        let server = RawServer::start(acts);
        let (url, cancel) = (server.url().to_owned(), Cancel::new());
        let exchange = spawn("exchange", {
            let cancel = cancel.clone();
            move || {
                let (silence, total) = (None, Duration::from_secs(60));
                let request = Request { method: Method::Post, url: &url, headers: &[], body: b"{}", silence, total };
                let error = collect(&mut HttpClient::new(false), &request, &cancel, 1000).expect_err("cancelled");
                assert_eq!(error.phase, Phase::Cancelled, "{name}");
            }
        });
        until("the request arrives", || server.request_count() == 1);
        let begun = now();
        cancel.cancel();
        exchange.join().expect("it ends as it should");
        let took = since(begun);
        say(&format!("cancelled {name}: {took:?}"));
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
    }
}

#[test]
fn a_question_that_costs_nothing_is_asked_with_get() {
    let server = FakeHttp::start("models", |request| {
        let is_plain = request.method == "GET" && request.body.is_empty() && request.header("content-type").is_none();
        Answer::new(if is_plain && request.header("authorization") == Some("Bearer k") { 200 } else { 400 }, "{}")
    });
    let (url, headers) = (format!("{}/models", server.url()), [("authorization", "Bearer k".to_owned())]);
    let (silence, total) = (None, Duration::from_secs(20));
    let request = Request { method: Method::Get, url: &url, headers: &headers, body: b"ignored", silence, total };
    let answer = collect(&mut HttpClient::new(false), &request, &Cancel::new(), 100).expect("an answer");
    assert_eq!((answer.0.status, answer.1.as_slice()), (200, b"{}".as_slice()));
}

/// Some servers refuse fields that they do not know. They are asked once more without it, and from then on only so.
#[test]
fn a_server_that_refuses_to_count_is_asked_without_it() {
    for status in [400, 422] {
        let server = FakeHttp::start("strict", move |request| {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            if text.contains("stream_options") {
                let told = r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}"#;
                return Answer::new(status, told).header("Content-Type", "application/json");
            }
            Answer::new(200, stream("fine")).header("Content-Type", "text/event-stream")
        });
        let world = world(&server.url());
        let finished = world.run(&["run", "--message", "hello"]);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "fine\n"), "{status}: {finished:?}");
        // Both requests are counted.
        let spent = spending_file::read(&world.data()).expect("what was spent");
        let requests: u64 = spent.by_provider(Wall(0)).values().map(|tokens| tokens.requests).sum();
        assert_eq!((&world.all_events("turn")[0]["attempts"], requests), (&2.into(), 2));
    }
    // A refusal of something else is one.
    let server = FakeHttp::start("refusing", |_| Answer::new(400, "{\"error\":{\"message\":\"no\"}}"));
    let world = world(&server.url());
    world.run(&["run", "--message", "hello"]);
    assert_eq!(
        (world.all_events("turn")[0]["error"].as_str(), server.connection_count()),
        (Some("invalid_request"), 1)
    );
}

/// A stream's connection carries the next question, also when its end comes after its last word.
#[test]
fn the_connection_of_a_stream_is_used_again() {
    let server = FakeHttp::start("streams", |_| {
        let shape = crate::support::fake_http::Shape::Chunked(20);
        Answer::new(200, stream("fine")).header("Content-Type", "text/event-stream").shaped(shape)
    });
    let mut client = HttpClient::new(false);
    let url = server.url();
    for _ in 0..5 {
        let (silence, total) = (None, Duration::from_secs(20));
        let request = Request { method: Method::Post, url: &url, headers: &[], body: b"{}", silence, total };
        let mut text = Vec::new();
        let outcome =
            rusty_pinch::net::http::Transport::exchange(&mut client, &request, &Cancel::new(), &mut |_, bytes| {
                text.extend_from_slice(bytes);
                match text.ends_with(b"[DONE]\n\n") {
                    true => std::ops::ControlFlow::Break(()),
                    false => std::ops::ControlFlow::Continue(()),
                }
            });
        assert_eq!(outcome.expect_err("hung up").phase, Phase::Refused);
    }
    assert_eq!(server.connection_count(), 1);
    let outcome = attempt(&server.url(), Streams::Counted, Duration::from_secs(10), Duration::from_secs(20));
    assert_eq!((outcome.result.expect("an answer").text.as_str(), outcome.heard.as_str()), ("fine", "fine"));
}

/// P10: every place where upstream can say something says the canary.
#[test]
fn nothing_that_upstream_says_is_told_kept_or_logged() {
    let error =
        format!("{{\"error\":{{\"message\":\"{UPSTREAM_CANARY}\",\"code\":\"{UPSTREAM_CANARY}\",\"type\":\"x\"}}}}");
    let text = stream("half an answer");
    let half = &text[..text.find("data: {\"choices\":[]").expect("usage")];
    let half = &half[..half.trim_end().rfind("\n\n").expect("events") + 2];
    let mut bodies: Vec<(u16, &str, String)> = [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529]
        .map(|status| (status, "application/json", error.clone()))
        .into();
    bodies.extend([
        (200, "application/json", error.clone()),
        (200, "text/html", format!("<html>{UPSTREAM_CANARY}</html>")),
        (200, "application/json", UPSTREAM_CANARY.to_owned()),
        (302, "text/plain", UPSTREAM_CANARY.to_owned()),
        (500, "text/plain", UPSTREAM_CANARY.to_owned()),
        (200, "text/event-stream", format!("{half}data: {error}\n\n")),
        (200, "text/event-stream", format!("{half}data: {UPSTREAM_CANARY}\n\n")),
        (200, "text/event-stream", format!(": {UPSTREAM_CANARY}\n\nid: {UPSTREAM_CANARY}\n\n")),
        (200, "text/event-stream", stream(UPSTREAM_CANARY).replace("data: [DONE]", "").replace("\"stop\"", "null")),
        (200, "application/json", completion(UPSTREAM_CANARY).to_string().replace("}}", "")),
    ]);
    let mut world = world("http://127.0.0.1:9");
    // A release has no finer level: it would show bytes.
    world.set("RUST_LOG", "debug");
    for (status, kind, body) in bodies {
        let answer = Answer::new(status, body).header("Content-Type", kind).header("X-Said", UPSTREAM_CANARY);
        let server = FakeHttp::start("canary", move |_| answer.clone());
        world.set("RUSTY_PINCH_COMPATIBLE_API_BASE", &server.url());
        let finished = world.run(&["run", "--message", "hello"]);
        assert_eq!(finished.code, Some(1), "{status}: {finished:?}");
    }
    for (name, bytes) in [("stdout", world.all_stdout()), ("stderr", world.all_lines().concat().into_bytes())] {
        assert!(!contains(&bytes, UPSTREAM_CANARY), "{name}: {}", String::from_utf8_lossy(&bytes));
    }
    for (path, bytes) in world.files() {
        assert!(!contains(&bytes, UPSTREAM_CANARY), "{}: {}", path.display(), String::from_utf8_lossy(&bytes));
        assert!(!contains(&bytes, "half an answer"), "{}", path.display());
    }
}
