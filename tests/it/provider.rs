//! The HTTP client and the chat completions provider against a loopback server that misbehaves: how far an exchange
//! came, whether anything may have been sent, and how often it is tried again.

/// The table of `matrix`.
mod cells;
/// A chain of providers, and what is known of each after a restart.
mod chain;
/// Streams as servers write them.
mod corpus;
/// What a server can cost us.
mod limits;
/// Every fault of a network.
mod matrix;
/// The same in one process, with clocks and providers from a script.
mod standing;
/// Who is trusted, and through which proxy.
mod tls;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::time::Duration;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::net::http::{BODY_BYTES_MAX, Head, Method, Phase, Request, Transport, TransportError, collect};
use rusty_pinch::net::http_client::HttpClient;

use crate::support::fake_http::{Answer, FakeHttp, Shape, Wait};
use crate::support::fake_provider::{Reply, Rule, UPSTREAM_CANARY};
use crate::support::scene::Scene;
use crate::support::waiting::{now, since, spawn, until};

fn request<'a>(url: &'a str, silence: u64, total: u64) -> Request<'a> {
    let (silence, total) = (Some(Duration::from_millis(silence)), Duration::from_millis(total));
    Request { method: Method::Post, url, headers: &[], body: b"{}", silence, total }
}

fn exchange(answer: Answer, silence: u64, total: u64) -> Result<(Head, Vec<u8>), TransportError> {
    let server = FakeHttp::start("scripted", move |_| answer.clone());
    collect(&mut HttpClient::new(false), &request(&server.url(), silence, total), &Cancel::new(), BODY_BYTES_MAX)
}

#[track_caller]
fn fails(answer: Answer, want: Phase) {
    let error = exchange(answer, 300, 600).expect_err("no response");
    assert_eq!((error.phase, error.sent), (want, true));
}

#[test]
fn every_failure_names_how_far_it_came() {
    let page = || Answer::new(200, vec![b'x'; 10_000]);
    fails(page().shaped(Shape::ResetBefore), Phase::Cut);
    fails(page().shaped(Shape::ResetHalfway), Phase::Cut);
    fails(page().shaped(Shape::Stall), Phase::FirstByte);
    fails(page().shaped(Shape::StallHalfway), Phase::Idle);
    fails(page().header("Content-Encoding", "gzip"), Phase::Malformed);
    let large = exchange(Answer::new(200, vec![b'x'; BODY_BYTES_MAX + 1]), 10_000, 20_000).expect_err("no response");
    assert_eq!(large.phase, Phase::TooLarge);
    let total = exchange(page().shaped(Shape::Stall), 5_000, 300).expect_err("no response");
    assert_eq!(total.phase, Phase::Total);
}

#[test]
fn a_connection_that_was_never_made_has_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = format!("http://{address}/");
    let refused = collect(&mut HttpClient::new(false), &request(&url, 500, 1000), &Cancel::new(), 10);
    assert_eq!(refused, Err(TransportError { phase: Phase::Connect, sent: false }));
    let url = "http://no-such-host.invalid/";
    let unknown = collect(&mut HttpClient::new(false), &request(url, 500, 6000), &Cancel::new(), 10);
    assert_eq!(unknown, Err(TransportError { phase: Phase::Resolve, sent: false }));
}

#[test]
fn a_server_without_tls_is_not_spoken_to_in_clear() {
    let server = FakeHttp::start("clear", |_| Answer::new(200, "x"));
    let url = server.url().replace("http://", "https://");
    let error = collect(&mut HttpClient::new(true), &request(&url, 500, 2000), &Cancel::new(), 10).expect_err("no TLS");
    assert!(matches!(error.phase, Phase::Tls | Phase::Connect) && !error.sent, "{error:?}");
}

#[test]
fn redirects_are_not_followed_and_errors_keep_their_headers() {
    let answer = Answer::new(302, "").header("Location", "http://127.0.0.1:9/");
    assert_eq!(exchange(answer, 500, 1000).map(|(head, _)| head.status), Ok(302));
    let answer = Answer::new(429, "later").header("Retry-After", "7").header("Retry-After-Ms", "250");
    let (retry_after, retry_after_ms) = (Some("7".into()), Some("250".into()));
    let want = Head { status: 429, content_type: None, retry_after, retry_after_ms };
    assert_eq!(exchange(answer, 500, 1000), Ok((want, b"later".to_vec())));
    let chunked = exchange(Answer::new(200, "chunked body").shaped(Shape::Chunked(1)), 500, 1000);
    assert_eq!(chunked.map(|(_, body)| body), Ok(b"chunked body".to_vec()));
}

#[test]
fn a_connection_is_used_again_and_a_reader_may_hang_up() {
    let server = FakeHttp::start("reuse", |_| Answer::new(200, "body"));
    let (mut client, url) = (HttpClient::new(false), server.url());
    for _ in 0..5 {
        collect(&mut client, &request(&url, 500, 1000), &Cancel::new(), 10).expect("answered");
    }
    assert_eq!(server.connection_count(), 1);
    let refused = client.exchange(&request(&url, 500, 1000), &Cancel::new(), &mut |_, _| ControlFlow::Break(()));
    assert_eq!(refused, Err(TransportError { phase: Phase::Refused, sent: true }));
}

/// The limit of heads is one of a response, and not of a connection, which may serve for days.
#[test]
fn a_connection_that_is_kept_serves_any_number_of_responses() {
    let server = FakeHttp::start("scripted", |_| Answer::new(200, vec![b'x'; 4_000]));
    let (mut client, url) = (HttpClient::new(false), server.url());
    for number in 0..200 {
        let outcome = collect(&mut client, &request(&url, 10_000, 10_000), &Cancel::new(), BODY_BYTES_MAX);
        assert_eq!(outcome.map(|(_, body)| body.len()), Ok(4_000), "response {number}");
    }
    assert_eq!(server.connection_count(), 1);
}

#[test]
fn a_cancel_ends_an_exchange_at_once_and_the_client_works_on() {
    let server = FakeHttp::start("stall once", {
        let stalled = std::sync::atomic::AtomicBool::new(false);
        move |_| match stalled.swap(true, std::sync::atomic::Ordering::SeqCst) {
            false => Answer::new(200, "").shaped(Shape::Stall),
            true => Answer::new(200, "x"),
        }
    });
    let (mut client, url, cancel) = (HttpClient::new(false), server.url(), Cancel::new());
    let (begun, canceller) = (now(), cancel.clone());
    let thread = spawn("cancel", move || canceller.cancel());
    let ended = collect(&mut client, &request(&url, 20_000, 20_000), &cancel, 10).expect_err("cancelled");
    thread.join().expect("it ends");
    assert_eq!(ended.phase, Phase::Cancelled);
    assert!(since(begun) < Duration::from_secs(5));
    cancel.reset();
    until("the client works again", || collect(&mut client, &request(&url, 500, 1000), &cancel, 10).is_ok());
}

/// Attempts, exit code and error class of one turn against a scripted provider.
fn turn(rule: Rule) -> (usize, i32, String) {
    let scene = Scene::new("provider");
    scene.provider.rule(rule);
    let finished = scene.world.run(&["run", "--message", "hello"]);
    let turns = scene.world.all_events("turn");
    assert_eq!(turns.len(), 1, "{finished:?}");
    let asked = scene.provider.asked_count();
    assert_eq!(turns[0]["attempts"], asked, "{turns:?}");
    let everything = format!("{}{:?}", finished.stdout, finished.stderr);
    assert!(!everything.contains(UPSTREAM_CANARY), "{everything}");
    (asked, finished.code.unwrap_or(-1), turns[0]["error"].as_str().unwrap_or("ok").to_owned())
}

#[test]
fn what_may_pass_is_tried_again_and_what_cannot_is_not() {
    let ok = |asked| (asked, 0, "ok".to_owned());
    let failed = |asked, class: &str| (asked, 1, class.to_owned());
    assert_eq!(turn(Rule::when("").status(500).times(2)), ok(3));
    assert_eq!(turn(Rule::when("").status(500)), failed(3, "server"));
    assert_eq!(turn(Rule::when("").status(401)), failed(1, "auth"));
    assert_eq!(turn(Rule::when("").status(403)), failed(1, "forbidden"));
    assert_eq!(turn(Rule::when("").status(402)), failed(1, "quota"));
    assert_eq!(turn(Rule::when("").status(400)), failed(1, "invalid_request"));
    assert_eq!(turn(Rule::when("").reply(Reply::Malformed("<html>".into())).times(1)), ok(2));
    assert_eq!(turn(Rule::when("").reply(Reply::Malformed("<html>".into()))), failed(2, "malformed"));
    assert_eq!(turn(Rule::when("").reply(Reply::Oversize(BODY_BYTES_MAX + 1))), failed(1, "too_large"));
    assert_eq!(turn(Rule::when("").reply(Reply::Spoil(Shape::ResetHalfway)).times(1)), ok(2));
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let begun = now();
    let patient = Reply::Status { status: 429, retry_after: Some("1".into()) };
    assert_eq!(turn(Rule::when("").reply(patient).times(1)), (2, 0, "ok".to_owned()));
    assert!(since(begun) >= Duration::from_secs(1));
    let begun = now();
    let hopeless = Reply::Status { status: 429, retry_after: Some("3600".into()) };
    assert_eq!(turn(Rule::when("").reply(hopeless)), (1, 1, "rate_limited".to_owned()));
    assert!(since(begun) < Duration::from_secs(5), "an hour is not waited for");
}

#[test]
fn a_turn_ends_at_its_deadline() {
    let mut scene = Scene::new("deadline");
    scene.world.set("RUSTY_PINCH_TURN_DEADLINE_SECS", "5");
    scene.provider.rule(Rule::when("").after(Wait::For(Duration::from_secs(30))));
    let begun = now();
    let finished = scene.world.run(&["run", "--message", "hello"]);
    let took = since(begun);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
    assert_eq!(scene.world.all_events("turn")[0]["error"], "deadline");
}
