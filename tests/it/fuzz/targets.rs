//! What reads foreign bytes: each with inputs to begin with, and what must hold whatever comes.

use std::io::{Error, ErrorKind, Result};

use rusty_pinch::base::clock::{Mono, Wall};
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::message::Outcome;
use rusty_pinch::base::text;
use rusty_pinch::channel::telegram_api;
use rusty_pinch::channel::whatsapp_frame::{self, Frame};
use rusty_pinch::channel::whatsapp_identity::Identities;
use rusty_pinch::channel::whatsapp_incoming::Intake;
use rusty_pinch::channel::whatsapp_markup;
use rusty_pinch::config::endpoint::Endpoint;
use rusty_pinch::config::env_file;
use rusty_pinch::config::live_secret::KnownSecrets;
use rusty_pinch::config::secret::Secret;
use rusty_pinch::net::http::Head;
use rusty_pinch::net::retry_after::retry_after;
use rusty_pinch::observe::redact::Redactor;
use rusty_pinch::provider::codex_events::Events;
use rusty_pinch::provider::openai_answer::Answer;
use rusty_pinch::runtime::endpoint_request::{self, Asked};
use rusty_pinch::store::inspect;
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::parts;
use rusty_pinch::store::record::{Attempts, Checkpoint, Closed, Confirmed, Received, Record, Sending, Start};
use rusty_pinch::store::recover::{owed, replay};
use rusty_pinch::store::storage::Storage;
use rusty_pinch::store::{frame, transcript::Line};
use rusty_pinch::tool::command;

use crate::support::fake_provider::{completion, stream};
use crate::support::lanes::inbound;

pub struct Target {
    pub name: &'static str,
    /// Inputs to begin with.
    pub inputs: fn() -> Vec<Vec<u8>>,
    /// Panics if something that must hold does not.
    pub run: fn(&[u8]),
}

pub const TARGETS: [Target; 12] = [
    Target { name: "telegram", inputs: telegram_inputs, run: telegram },
    Target { name: "chat", inputs: chat_inputs, run: chat },
    Target { name: "sse", inputs: sse_inputs, run: sse },
    Target { name: "codex", inputs: codex_inputs, run: codex },
    Target { name: "bridge", inputs: bridge_inputs, run: bridge },
    Target { name: "journal", inputs: journal_inputs, run: journal },
    Target { name: "session", inputs: session_inputs, run: session },
    Target { name: "env_file", inputs: env_inputs, run: env },
    Target { name: "tool", inputs: tool_inputs, run: tool },
    Target { name: "splitter", inputs: text_inputs, run: splitter },
    Target { name: "redactor", inputs: redactor_inputs, run: redactor },
    Target { name: "http_head", inputs: head_inputs, run: head },
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn answered(status: u16, kind: &str) -> Head {
    Head { status, content_type: Some(kind.to_string()), ..Head::default() }
}

fn telegram_inputs() -> Vec<Vec<u8>> {
    let message = r#"{"message_id":7,"date":1790000000,"chat":{"id":-42,"type":"supergroup"},"from":{"id":5,"is_bot":false,"first_name":"A"},"is_topic_message":true,"message_thread_id":9,"text":"hi","entities":[{"type":"bold","offset":0,"length":2}]}"#;
    texts(&[
        &format!(r#"{{"ok":true,"result":[{{"update_id":1,"message":{message}}},{{"update_id":2,"poll":{{}}}}]}}"#),
        &format!(r#"{{"ok":true,"result":{message}}}"#),
        r#"{"ok":true,"result":{"id":77,"is_bot":true,"first_name":"P","username":"p_bot"}}"#,
        r#"{"ok":true,"result":{"url":"https://x","pending_update_count":3,"last_error_message":"x"}}"#,
        r#"{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":5}}"#,
        r#"{"ok":false,"error_code":400,"description":"group","parameters":{"migrate_to_chat_id":-1001}}"#,
    ])
}

fn telegram(bytes: &[u8]) {
    if let Some((updates, _)) = telegram_api::updates(bytes) {
        assert!(updates.iter().all(|update| i64::try_from(update.id()).is_ok()), "an id that none can follow");
    }
    let _ = (telegram_api::me(bytes), telegram_api::webhook(bytes));
    for status in [200, 400, 429, 502] {
        let _ = telegram_api::poll_failure(&answered(status, "application/json"), bytes);
        let _ = telegram_api::send_outcome(&Ok((answered(status, "application/json"), bytes.to_vec())));
    }
}

fn chat_inputs() -> Vec<Vec<u8>> {
    let parts = r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"length"}],"usage":{"prompt_tokens":1.5,"completion_tokens":null}}"#;
    let error =
        r#"{"error":{"message":"no","type":"insufficient_quota","code":"insufficient_quota","metadata":{"raw":"{}"}}}"#;
    texts(&[&completion("a good answer").to_string(), parts, error, "<html>", r#"{"choices":[]}"#])
}

fn chat(bytes: &[u8]) {
    for status in [200, 400, 503] {
        let head = answered(status, "application/json");
        let mut answer = Answer::default();
        let _ = answer.push(&head, bytes, &mut |_| {});
        let completion = answer.finish(Ok(head), Some(Wall(1_790_000_000_000)));
        assert!(completion.is_err() || status == 200, "an answer with status {status}");
    }
}

fn sse_inputs() -> Vec<Vec<u8>> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus/streams");
    let files = std::fs::read_dir(corpus).expect("the corpus is there").flatten();
    let mut inputs: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.path()).expect("it is a file")).collect();
    inputs.push(stream("an answer of a few pieces, long enough for three of them, which is enough").into_bytes());
    inputs.sort();
    inputs
}

/// How the bytes are cut into packets changes nothing.
fn sse(bytes: &[u8]) {
    let read = |size: usize| {
        let head = answered(200, "text/event-stream");
        let (mut answer, mut told) = (Answer::default(), String::new());
        for packet in bytes.chunks(size) {
            if answer.push(&head, packet, &mut |delta| told.push_str(delta)).is_break() {
                break;
            }
        }
        (answer.finish(Ok(head), None).map(|completion| completion.text).map_err(|error| error.class), told)
    };
    let (whole, told) = read(bytes.len().max(1));
    assert_eq!((whole, told), read(if bytes.len() > 4096 { 1000 } else { 1 }), "packets make a difference");
}

fn codex_inputs() -> Vec<Vec<u8>> {
    let good = "{\"type\":\"thread.started\",\"thread_id\":\"t\"}\n{\"type\":\"turn.started\"}\n{\"type\":\"item.completed\",\"item\":{\"id\":\"0\",\"type\":\"agent_message\",\"text\":\"hello\"}}\n{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":5,\"cached_input_tokens\":0,\"output_tokens\":7}}\n";
    texts(&[
        good,
        "{\"type\":\"turn.failed\",\"error\":{\"message\":\"You've hit your usage limit. Try again at Mar 3rd, 2026 4:05 PM.\"}}\n",
        "{\"type\":\"turn.failed\",\"error\":{\"message\":\"rate limit, try again in 1.5s or 3 days 2 hours\"}}\n",
        "{\"type\":\"item.started\",\"item\":{\"type\":\"command_execution\",\"command\":\"ls\"}}\n",
        "error: not logged in\n",
    ])
}

fn codex(bytes: &[u8]) {
    for code in [0, 1] {
        let mut events = Events::default();
        for packet in bytes.chunks(4096) {
            if events.push(packet).is_break() {
                break;
            }
        }
        let _ = (events.again(), events.worked(false), events.acted(), events.has_begun());
        let failed = code != 0;
        assert!(
            events.finish(code, bytes.get(..200).unwrap_or(bytes)).is_err() || !failed,
            "an answer with exit {code}"
        );
    }
}

fn bridge_inputs() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"type":"message","from":"4912345@s.whatsapp.net","chat":"123-456@g.us","id":"A","content":"hi","timestamp":1790000000,"media":["/a/b"]}"#,
        r#"{"type":"message","sender":"123@lid","pn":"4912345","content":"hi","isGroup":true,"participant":"4:1@s.whatsapp.net","wasMentioned":true,"id":"B"}"#,
        r#"{"type":"status","status":"connected"}"#,
        r#"{"type":"sent","id":"rp-1/0","wa_id":"X"}"#,
        r#"{"type":"error","id":"rp-1/0","error":"unconfirmed"}"#,
        r#"{"type":"hello","v":2}"#,
        r#"{"type":"qr","qr":"x"}"#,
    ])
}

fn bridge(bytes: &[u8]) {
    let Ok(frame) = whatsapp_frame::parse(&lossy(bytes)) else { return };
    let dialect = whatsapp_frame::dialect_of(&frame);
    if let Frame::Message(message) = &frame {
        let mut intake = Intake::new(Identities::new(&["*".to_string()]), Some("/a".into()));
        let _ = intake.judge(message, dialect, Mono(0));
    }
}

/// The records of a turn, each alone and in frames.
fn journal_inputs() -> Vec<Vec<u8>> {
    const BOOT: &str = "0123456789abcdef";
    let id = TurnId::parse("rp-01K8ZZZZZZZZZZZZZZZZZZZZZZ").expect("a name");
    let received = Received::new(&inbound(id, 5, "1", "hi".to_string(), Wall(1_790_000_000_000)));
    let records = [
        Record::Ckp(Box::new(Checkpoint { next: vec![(77, 6)], ring: "00".repeat(16), ..Checkpoint::default() })),
        Record::Boot(Start { ts: 1_790_000_000_000, boot: BOOT.to_string() }),
        Record::Rx(received),
        Record::Try(Attempts { id, n: 1 }),
        Record::Snd(Sending { id, i: 0, k: 0 }),
        Record::Ack(Confirmed { id, i: 0, mid: 9 }),
        Record::Fin(Closed { id, outcome: Outcome::Sent, ts: 1_790_000_000_000 }),
    ];
    let lines: Vec<String> = records.iter().map(Record::to_line).collect();
    assert!(lines.iter().all(|line| Record::parse(line.trim_end().as_bytes()).is_some()), "{lines:?}");
    let body = lines.concat();
    let (first, crc) = frame::encode(1, 0, 0, BOOT, lines.len(), body.as_bytes());
    let (second, _) = frame::encode(2, crc, 1, BOOT, 1, lines[6].as_bytes());
    let mut inputs: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
    inputs.extend([body.into_bytes(), first.clone(), [first, second].concat()]);
    inputs
}

fn journal(bytes: &[u8]) {
    let scan = frame::scan(bytes);
    let lines = scan.frames.iter().flat_map(|frame| frame.body.split(|byte| *byte == b'\n'));
    // Most changes break the checksum; what the records can do is tried as if it had held.
    let records: Vec<Record> = lines.chain(bytes.split(|byte| *byte == b'\n')).filter_map(Record::parse).collect();
    let replayed = replay(&records, Counting::default());
    let _ = owed(&replayed.journal, "0123456789abcdef");
    let _ = Record::Ckp(Box::new(replayed.journal.checkpoint())).to_line();
    let halves = bytes.split_at(bytes.len() / 2);
    let disk = Files([("a.jnl", halves.0.to_vec()), ("b.jnl", halves.1.to_vec())]);
    let _ = (inspect::journal_files(&disk), inspect::journal_damage(&disk));
}

fn session_inputs() -> Vec<Vec<u8>> {
    let at = Wall(1_790_000_000_000);
    let [mut asked, mut said] = Line::pair("rp-01K8ZZZZZZZZZZZZZZZZZZZZZZ", ("hi", at), ("reply", at), None);
    (asked.n, said.n) = (Some(1), Some(2));
    let old = r#"{"role":"user","content":"of the earlier runtime","timestamp":"2025-01-01T00:00:00Z"}"#;
    let [first, second] = [asked.encode(), said.encode()];
    texts(&[&first, &format!("{first}{second}"), old, &format!("{first}{second}{old}\n{first}")])
}

/// What is read back is what is there, last line first.
fn session(bytes: &[u8]) {
    let disk = Files([("telegram_1.jsonl", bytes.to_vec()), ("telegram_1.1.jsonl", bytes.to_vec())]);
    let mut count = 0;
    let whole = parts::read_back(&disk, "telegram_1", &mut |line| {
        count += usize::from(line.is_some());
        std::ops::ControlFlow::Continue(())
    });
    let _ = (whole, parts::count_lines(&disk, "telegram_1"), inspect::session_damage(&disk));
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| Line::decode(line).is_some()).count();
    assert!(count == lines || count == 2 * lines, "{count} lines were read, {lines} are there");
}

fn env_inputs() -> Vec<Vec<u8>> {
    texts(&[
        "# comment\nexport A=1\nB='two' # x\nC=\"th\\nree ${A} $B\"\nD=`x`\nA=1\n",
        "RUSTY_PINCH_MODEL=gpt\r\nX = y\nE=\nF=\"a\nb\"\n",
        "A=${B:-c}\nB=$A$A\nC=${A}${A}\n",
        "\u{feff}A=1",
    ])
}

fn env(bytes: &[u8]) {
    let text = lossy(bytes);
    if let Ok(file) = env_file::read(&text, &|name| (name == "HOME").then(|| "/root".to_string())) {
        assert!(file.entries.iter().all(|entry| !entry.name.is_empty()), "a name is empty");
    }
    let _ = Endpoint::parse(text.get(..2000).unwrap_or(&text), false);
}

fn tool_inputs() -> Vec<Vec<u8>> {
    texts(&[
        "/tool time_now",
        "/tool  echo some words ",
        "/toolbox",
        "/tool",
        "hello",
        "/tool a\u{202e}b c",
        " /tool x\ty",
    ])
}

fn tool(bytes: &[u8]) {
    let text = lossy(bytes);
    let typed = command::parse(&text).ok().flatten();
    for call in typed.into_iter().chain(command::action(&text)) {
        assert!((1..=command::NAME_CHARS_MAX).contains(&call.name.len()), "{}", call.name);
        assert!(call.arguments.chars().count() <= command::ARGUMENTS_CHARS_MAX);
        assert!(!call.arguments.chars().any(char::is_control), "{:?}", call.arguments);
    }
}

fn text_inputs() -> Vec<Vec<u8>> {
    texts(&[
        "A paragraph of words. Another sentence!\n\nA second paragraph, *bold* and `code`.",
        "```rust\nfn main() {}\n```\n# Title\n- a\n- b\n[link](https://example.com)",
        "👨‍👩‍👧‍👦 🇩🇪 e\u{301} \u{202e}abc \r\n a\u{feff}b",
        "|a|b|\n|-|-|\n|1|2|\n> quote **x __y__**",
    ])
}

fn splitter(bytes: &[u8]) {
    let words = lossy(bytes);
    for units in [4000, 40] {
        for part in text::split(&words, units, text::PARTS_MAX) {
            let is_notice = part == text::CUT_NOTICE;
            assert!(is_notice || (1..=units).contains(&text::utf16_len(&part)), "a part of {}", text::utf16_len(&part));
            assert!(!part.trim().is_empty(), "a blank part");
            // Only parts are converted: the work grows with the square of a line.
            let _ = whatsapp_markup::of_markdown(&part);
        }
    }
    assert!(!text::terminal_safe(&words).chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    assert!(text::json_len(text::fit_json(&words, 100)) <= 100);
    assert!(text::shorten(&words, 20).chars().count() <= 20);
}

const CANARY: &str = "sk-FakeCanaryKey0123456789";

fn redactor_inputs() -> Vec<Vec<u8>> {
    texts(&[
        CANARY,
        "bot7000000001:AAFakeCanaryToken-0123456789_abcdefgh and Bearer abcdefghijkl",
        &format!("{{\"error\":\"Incorrect key {CANARY}\"}} sk-short sk-{}", "x".repeat(40)),
        "https://api.telegram.org/bot7000000001:AAFakeCanaryToken-0123456789_abcdefgh/getMe",
    ])
}

fn redactor(bytes: &[u8]) {
    let redactor = Redactor::new(&KnownSecrets::new(vec![Secret::new(CANARY.to_string())]));
    let text = lossy(bytes);
    assert!(!redactor.clean(&text).contains(CANARY), "a secret is shown");
    assert!(!redactor.without_known(&text).contains(CANARY), "a secret is told");
}

fn head_inputs() -> Vec<Vec<u8>> {
    texts(&[
        "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\nAuthorization: Bearer a-token-of-the-test\r\n\r\n",
        "HEAD /readyz HTTP/1.0\r\n\r\n",
        "POST /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        "120",
        "1.5",
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "1e12",
    ])
}

/// The head of a request to us: without the token nothing is shown, and what is too long is not waited for. And what a server says of
/// waiting.
fn head(bytes: &[u8]) {
    let _ = endpoint_request::read(bytes, None);
    let asked = endpoint_request::read(bytes, Some(ENDPOINT_TOKEN));
    let is_shown = matches!(asked, Asked::Show { .. });
    assert!(!is_shown || lossy(bytes).contains(ENDPOINT_TOKEN), "shown to somebody without the token");
    let is_over = asked != Asked::More;
    assert!(is_over || bytes.len() < endpoint_request::REQUEST_BYTES_MAX, "waits behind {} bytes", bytes.len());
    let value = Some(lossy(bytes));
    let head = Head { retry_after: value.clone(), retry_after_ms: value, ..Head::default() };
    let _ = (retry_after(&head, None), retry_after(&head, Some(Wall(1_790_000_000_000))));
}

const ENDPOINT_TOKEN: &str = "a-token-of-the-test";

/// Two files that are only read.
#[derive(Clone)]
struct Files([(&'static str, Vec<u8>); 2]);

impl Files {
    fn bytes(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(file, _)| *file == name).map(|(_, bytes)| bytes.as_slice()).unwrap_or_default()
    }
}

fn none<T>() -> Result<T> {
    Err(Error::from(ErrorKind::Unsupported))
}

impl Storage for Files {
    fn handle(&self) -> Box<dyn Storage> {
        Box::new(self.clone())
    }
    fn list(&self) -> Result<Vec<String>> {
        Ok(self.0.iter().map(|(name, _)| (*name).to_string()).collect())
    }
    fn len(&self, name: &str) -> Result<u64> {
        Ok(self.bytes(name).len() as u64)
    }
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let rest = self.bytes(name).get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&mut self, _: &str, _: u64, _: &[u8]) -> Result<()> {
        none()
    }
    fn append(&mut self, _: &str, _: &[u8]) -> Result<()> {
        none()
    }
    fn truncate(&mut self, _: &str, _: u64) -> Result<()> {
        none()
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<()> {
        none()
    }
    fn remove(&mut self, _: &str) -> Result<()> {
        none()
    }
    fn sync(&mut self, _: &str) -> Result<()> {
        none()
    }
    fn reread(&mut self, _: &str) -> Result<()> {
        none()
    }
    fn sync_dir(&mut self) -> Result<()> {
        none()
    }
    fn lock(&mut self) -> Result<bool> {
        Ok(true)
    }
    fn unlock(&mut self) {}
}
