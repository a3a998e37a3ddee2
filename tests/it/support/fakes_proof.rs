//! The fake servers judged with a plain socket: they misbehave only as scripted.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cases::Random;
use crate::support::fake_http::{Answer, FakeHttp, Shape, Wait};
use crate::support::fake_provider::{FakeProvider, Reply, Rule, UPSTREAM_CANARY};
use crate::support::fake_telegram::{FakeTelegram, TOKEN};
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, now, since, spawn};

/// A client that knows nothing but sockets.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the fake listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a ceiling");
        Client(BufReader::new(stream))
    }

    fn send(&mut self, path: &str, body: &Value) {
        let body = body.to_string();
        let text = format!("POST {path} HTTP/1.1\r\nHost: fake\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(text.as_bytes()).expect("the fake reads");
    }

    fn receive(&mut self) -> std::io::Result<(u16, String)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body)?;
        let status = head[9..12].parse().expect("a status");
        Ok((status, String::from_utf8(body).expect("text")))
    }

    fn ask(&mut self, path: &str, body: &Value) -> std::io::Result<(u16, String)> {
        self.send(path, body);
        self.receive()
    }
}

fn telegram() -> FakeTelegram {
    FakeTelegram::start(&mut Random::from_seed(1))
}

fn call(telegram: &FakeTelegram, method: &str, body: &Value) -> std::io::Result<(u16, Value)> {
    let mut client = Client::connect(telegram.server().address());
    let (status, body) = client.ask(&format!("/bot{TOKEN}/{method}"), body)?;
    Ok((status, serde_json::from_str(&body).expect("JSON")))
}

fn poll(telegram: &FakeTelegram, offset: i64) -> Vec<i64> {
    let (status, body) = call(telegram, "getUpdates", &json!({ "offset": offset, "timeout": 0 })).expect("an answer");
    assert_eq!(status, 200);
    let updates = body["result"].as_array().expect("a list").iter();
    updates.map(|update| update["update_id"].as_i64().expect("an id")).collect()
}

#[test]
fn fake_http_keeps_a_connection_alive() {
    let server =
        FakeHttp::start("fake", |request| Answer::new(200, format!("{} {}", request.connection, request.body.len())));
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask("/", &json!("four")).expect("answered"), (200, "1 6".to_string()));
    assert_eq!(client.ask("/", &json!("seven7")).expect("answered"), (200, "1 8".to_string()));
    assert_eq!(server.connection_count(), 1);
}

#[test]
fn fake_http_resets_before_and_halfway() {
    for (shape, bytes) in [(Shape::ResetBefore, 0), (Shape::ResetHalfway, 1)] {
        let server = FakeHttp::start("fake", move |_| Answer::new(200, "x".repeat(100)).shaped(shape));
        let mut client = Client::connect(server.address());
        client.send("/", &json!({ "some": "body" }));
        let mut seen = Vec::new();
        let error = client.0.read_to_end(&mut seen).expect_err("a reset is an error");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{shape:?}");
        assert!(seen.len() <= bytes * 200, "{shape:?}: {} bytes", seen.len());
    }
}

#[test]
fn fake_http_chunks_and_waits_for_a_gate() {
    let gate = Gate::closed();
    let wait = Wait::Until(gate.clone());
    let server =
        FakeHttp::start("fake", move |_| Answer::new(200, "abcde").shaped(Shape::Chunked(2)).after(wait.clone()));
    let mut client = Client::connect(server.address());
    client.send("/", &json!(1));
    client.0.get_ref().set_read_timeout(Some(Duration::from_millis(60))).expect("a ceiling");
    assert!(client.0.fill_buf().is_err(), "nothing before the gate opens");
    gate.open();
    client.0.get_ref().set_read_timeout(Some(Duration::from_secs(10))).expect("a ceiling");
    let mut text = String::new();
    while !text.ends_with("0\r\n\r\n") {
        assert!(client.0.read_line(&mut text).expect("bytes") > 0);
    }
    assert!(text.contains("2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"), "{text}");
}

#[test]
fn fake_telegram_forgets_only_what_an_offset_confirms() {
    let telegram = telegram();
    let ids: Vec<i64> = (0..3).map(|n| telegram.say(5, &format!("m{n}")).update).collect();
    assert_eq!(poll(&telegram, 0), ids);
    assert_eq!(poll(&telegram, ids[1]), ids[1..]);
    assert_eq!(poll(&telegram, ids[0]), ids[1..], "the first is forgotten");
    assert_eq!(poll(&telegram, ids[2] + 100), ids[1..], "an offset in the future is ignored");
    assert_eq!(telegram.unconfirmed_count(), 2);
}

#[test]
fn fake_telegram_punishes_hot_polling() {
    let telegram = telegram();
    let ids: Vec<i64> = (0..3).map(|n| telegram.say(5, &format!("m{n}")).update).collect();
    assert_eq!(poll(&telegram, 0), ids);
    assert_eq!(poll(&telegram, 0), ids[..1]);
}

#[test]
fn fake_telegram_ends_the_older_poll_with_409() {
    let telegram = telegram();
    let mut older = Client::connect(telegram.server().address());
    older.send(&format!("/bot{TOKEN}/getUpdates"), &json!({ "timeout": 30 }));
    telegram.until_polling();
    let poster = {
        let address = telegram.server().address();
        spawn("second poll", move || {
            let mut newer = Client::connect(address);
            let body = newer.ask(&format!("/bot{TOKEN}/getUpdates"), &json!({ "timeout": 30 })).expect("an answer").1;
            assert!(body.contains("hello"), "{body}");
        })
    };
    assert_eq!(older.receive().expect("an answer").0, 409);
    telegram.say(5, "hello");
    poster.join().expect("the newer poll got the message");
}

#[test]
fn fake_telegram_validates_what_is_sent() {
    let telegram = telegram();
    let send = |body: Value| call(&telegram, "sendMessage", &body).expect("an answer").0;
    assert_eq!(send(json!({ "chat_id": 5, "text": "hi" })), 200);
    assert_eq!(send(json!({ "chat_id": 5, "text": "😀".repeat(2048) })), 200);
    assert_eq!(send(json!({ "chat_id": 5, "text": "😀".repeat(2049) })), 400);
    assert_eq!(send(json!({ "chat_id": 5, "text": " \n" })), 400);
    assert_eq!(send(json!({ "text": "hi" })), 400);
    assert_eq!(telegram.sent_count(), 2);
}

#[test]
fn fake_telegram_faults_strike_as_scripted() {
    let telegram = telegram();
    telegram.fault(Fault::too_many_requests(7).on("sendMessage").for_chat(5).times(1));
    telegram.fault(Fault::lost_answer().on("sendMessage").for_chat(6).times(1));
    let send = |chat: i64| call(&telegram, "sendMessage", &json!({ "chat_id": chat, "text": "hi" }));
    let (status, body) = send(5).expect("an answer");
    assert_eq!((status, &body["parameters"]["retry_after"]), (429, &json!(7)));
    assert!(send(6).is_err(), "the answer is lost");
    assert_eq!(telegram.sent_to(6).len(), 1, "but the message was taken");
    assert_eq!((send(5).expect("an answer").0, send(6).expect("an answer").0), (200, 200));
}

#[test]
fn fake_telegram_stops_inside_a_long_poll() {
    let telegram = telegram();
    let mut client = Client::connect(telegram.server().address());
    client.send(&format!("/bot{TOKEN}/getUpdates"), &json!({ "timeout": 50 }));
    telegram.until_polling();
    let started = now();
    drop(telegram);
    assert!(since(started) < Duration::from_secs(5));
}

#[test]
fn fake_provider_answers_every_call_differently() {
    let provider = FakeProvider::start(&mut Random::from_seed(1));
    provider.rule(Rule::when("bad").status(500).times(1));
    provider.rule(Rule::when("fixed").reply(Reply::Text("exactly".into())));
    let mut client = Client::connect(provider.server().address());
    let mut ask = |text: &str| {
        let messages = json!([{ "role": "system", "content": "s" }, { "role": "user", "content": text }]);
        client.ask("/v1/chat/completions", &json!({ "model": "m", "messages": messages })).expect("an answer")
    };
    assert!(ask("one").1.contains("reply #0 to one"));
    assert!(ask("one").1.contains("reply #1 to one"));
    let (status, body) = ask("bad");
    assert!(status == 500 && body.contains(UPSTREAM_CANARY));
    assert!(ask("bad").1.contains("reply #3 to bad"));
    assert!(ask("fixed").1.contains("exactly"));
    assert_eq!(provider.asked_about("one"), 2);
}
