//! A bridge that says anything: text frames that are no JSON or the wrong JSON, and bytes that are no frames. The worker
//! survives all of it, and answers what is right in between.

use serde_json::json;

use crate::support::cases::{Random, cases};
use crate::support::fake_bridge::{FakeBridge, Speaks, Wish};
use crate::support::waiting::{until, until_within};
use crate::support::websocket_wire as wire;
use crate::whatsapp::lab::{CALM, Lab, SHORT};
use crate::whatsapp::{ANNA, Scene};

use rusty_pinch::channel::whatsapp_frame::Dialect;

/// Texts that are no messages to answer.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        "\"text\"",
        "[]",
        "[[]]",
        "{}",
        "{",
        "}",
        "{]",
        "[}",
        "nul",
        "NaN",
        "{\"type\"}",
        "{\"type\":}",
        "{\"type\":null}",
        "{\"type\":1}",
        "{\"type\":[]}",
        "{\"type\":{}}",
        "{\"type\":\"\"}",
        "{\"type\":\"message\"",
        "{\"type\":\"message\"}{",
        "\u{feff}{\"type\":\"message\"}",
        "\0",
        "{\"type\":\"\\ud800\"}",
        "{\"type\":\"message\",\"from\":\"\\u0000\",\"content\":\"x\"}",
        "{'type':'message'}",
        "{\"type\":\"message\",}",
        "// {\"type\":\"message\"}",
        "{\"TYPE\":\"message\",\"from\":\"1\"}",
    ]
    .map(String::from)
    .into();
    let values = [
        "null",
        "true",
        "0",
        "-5",
        "1.5",
        "1e400",
        "\"\"",
        "\" \"",
        "[]",
        "[null]",
        "{}",
        "{\"a\":1}",
        "\"\\n\"",
        "99999999999999999999",
    ];
    for field in ["from", "sender"] {
        for value in values.iter().filter(|value| !["0", "-5", "1.5", "99999999999999999999"].contains(value)) {
            texts.push(format!("{{\"type\":\"message\",\"{field}\":{value},\"content\":\"x\",\"id\":\"1\"}}"));
        }
    }
    for field in ["content", "media", "id", "chat"] {
        for value in values {
            // Without a text of its own and files there is nothing to answer.
            let content = if field == "content" { "" } else { ",\"content\":\" \"" };
            if field == "content" && ["0", "-5", "1.5", "99999999999999999999"].contains(&value) {
                continue;
            }
            texts.push(format!("{{\"type\":\"message\",\"sender\":\"{ANNA}\",\"{field}\":{value}{content}}}"));
        }
    }
    for kind in [
        "sent", "error", "hello", "ack", "auth", "send", "ping", "typing", "group", "Message", "message ", "quit",
        "qr2",
    ] {
        for value in ["null", "[]", "\"x\"", "-1", "2.5", "18446744073709551616"] {
            texts
                .push(format!("{{\"type\":\"{kind}\",\"id\":{value},\"v\":{value},\"to\":{value},\"error\":{value}}}"));
        }
    }
    for status in ["", "x", "CONNECTED?", "dis connected now", "\\u0000"] {
        texts.push(format!("{{\"type\":\"status\",\"status\":\"{status}\"}}"));
    }
    for depth in [10, 63, 65, 127, 129, 50_000] {
        texts.push(format!("{{\"type\":\"x\",\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
        texts.push("[".repeat(depth));
    }
    texts.push(format!("{{\"type\":\"message\",\"sender\":\"{}\",\"content\":\"x\"}}", "9".repeat(5_000)));
    texts.push(format!("{{\"type\":\"message\",\"sender\":\"1\",\"id\":\"{}\",\"content\":\"x\"}}", "9".repeat(5_000)));
    texts.push(format!("[{}0]", "0,".repeat(100_000)));
    texts.push(format!("{{\"type\":\"x\",{}\"z\":0}}", "\"k\":0,".repeat(30_000)));
    texts
}

#[test]
fn no_text_ends_the_worker_or_the_link() {
    let texts = texts();
    assert!(texts.len() >= 200, "{} texts", texts.len());
    let bridge = FakeBridge::start(Speaks::V2, None);
    let lab = Lab::start(&bridge, Some(Dialect::N), CALM);
    bridge.until_ready();
    for (number, text) in texts.iter().enumerate() {
        bridge.wish(Wish::Bytes(wire::text(text)));
        if number % 20 == 0 {
            let id = format!("good {number}");
            bridge.say(&json!({"type": "message", "id": id, "sender": ANNA, "content": id, "isGroup": false}));
            let inbound = lab.inbox.recv_timeout(std::time::Duration::from_secs(10)).expect("a good message");
            assert_eq!(inbound.text, id, "after {text:.80}");
        }
    }
    bridge.say(&json!({"type": "message", "id": "last", "sender": ANNA, "content": "last", "isGroup": false}));
    let inbound = lab.inbox.recv_timeout(std::time::Duration::from_secs(10)).expect("the last message");
    assert_eq!((inbound.text.as_str(), bridge.links()), ("last", 1));
    assert!(!lab.events("channel_parse_error").is_empty());
}

/// Bytes that break the protocol or a limit: the link is given up and made anew.
#[test]
fn no_bytes_end_the_worker() {
    let big = vec![b'x'; 300 * 1024];
    let mut continued = vec![0x01, 126, 0xff, 0xff];
    continued.extend(vec![b'x'; 0xffff]);
    let fragment = |first: bool| {
        let mut bytes = vec![u8::from(first), 127];
        bytes.extend((200_000_u64).to_be_bytes());
        bytes.extend(vec![b'x'; 200_000]);
        bytes
    };
    let mut bytes: Vec<Vec<u8>> = vec![
        vec![0xff, 0xff, 0xff, 0xff],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        vec![0xc1, 1, b'x'],
        vec![0x83, 0],
        vec![0x80, 1, b'x'],
        vec![0x09, 1, b'x'],
        vec![0x89, 126, 0, 200],
        wire::frame(wire::TEXT, &[0xff, 0xfe, 0xc0]),
        wire::frame(wire::TEXT, &big),
        [0x81, 127].into_iter().chain(u64::MAX.to_be_bytes()).collect(),
        [0x81, 127].into_iter().chain((1_u64 << 40).to_be_bytes()).collect(),
        [fragment(true), fragment(false), fragment(false), fragment(false), fragment(false), fragment(false)].concat(),
        [vec![0x01, 1, b'x'], wire::text("x")].concat(),
        wire::frame(wire::CLOSE, &[3]),
        wire::frame(wire::CLOSE, &[0, 0]),
        wire::frame(wire::CLOSE, &[0x0f, 0xa0, 0xff, 0xff]),
    ];
    let mut random = Random::for_test("no_bytes_end_the_worker");
    for _ in 0..cases(12, 2_000) {
        let length = random.between(1, 60);
        bytes.push((0..length).map(|_| random.next() as u8).collect());
    }
    let bridge = FakeBridge::start(Speaks::P, None);
    let lab = Lab::start(&bridge, Some(Dialect::P), SHORT);
    for bytes in bytes {
        bridge.until_ready();
        let links = bridge.links();
        bridge.wish(Wish::Bytes(bytes.clone()));
        // Half a frame shows as silence, a whole one as nothing.
        bridge.wish(Wish::Cut);
        until_within("the next link", std::time::Duration::from_secs(10), || bridge.links() > links);
    }
    bridge.until_ready();
    bridge.say(&json!({"type": "message", "from": ANNA, "content": "still there?"}));
    until("it is read", || lab.inbox.try_iter().any(|inbound| inbound.text == "still there?"));
}

/// A byte now and then is no way to keep the worker from anything.
#[test]
fn a_frame_that_never_ends_does_not_hold_up_a_stop() {
    let scene = Scene::new("trickle", Speaks::N);
    let process = scene.start_linked();
    let frame = wire::frame(wire::TEXT, &[b' '; 100_000]);
    for byte in frame.chunks(1).take(40) {
        scene.bridge.wish(Wish::Bytes(byte.to_vec()));
    }
    scene.stop(process);
}

#[test]
fn binary_frames_are_counted_and_large_messages_of_many_frames_are_read() {
    let scene = Scene::new("frames", Speaks::P);
    let process = scene.start_linked();
    scene.bridge.wish(Wish::Bytes(wire::frame(wire::BINARY, b"\x00\x01")));
    let text =
        json!({"type": "message", "from": ANNA, "content": format!("in parts {}", "y".repeat(5000))}).to_string();
    let (head, tail) = text.as_bytes().split_at(2000);
    let mut first = wire::frame(wire::TEXT, head);
    first[0] = wire::TEXT;
    let mut last = wire::frame(wire::TEXT, tail);
    last[0] = 0x80;
    scene.bridge.wish(Wish::Bytes([first, wire::frame(wire::PING, b"in between"), last].concat()));
    scene.bridge.until_sent(1);
    scene.stop(process);
    assert_eq!(scene.world.all_events("channel_tally")[0]["passed"]["binary"], 1);
}
