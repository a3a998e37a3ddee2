//! A loopback server that speaks just enough of the Responses API for the real codex program to finish a turn.
//!
//! `POST …/responses` takes the next [`Answer`] of the script (the last one is repeated) and is recorded as a
//! [`Request`]; every other call is answered 404 and recorded too. A connection serves one request after another until
//! either side closes it. Dropping the server closes every connection it still holds, so nothing outlives a test.
//! Shares no code with the product: it knows the wire only from the real program's requests.
#![allow(clippy::disallowed_methods, reason = "a fake server owns its threads")]
#![allow(dead_code, reason = "each test uses the answers it needs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

const HEADER_LINES_MAX: usize = 100;
const BODY_BYTES_MAX: usize = 8 << 20;
const CONNECTIONS_MAX: usize = 256;
const HEADER_LINE_BYTES_MAX: u64 = 16 << 10;

/// What the server does with one `POST …/responses`.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole, well-formed stream that ends in this text.
    Text(String),
    /// A whole stream in which the model asks for this shell command.
    Command(String),
    /// A plain HTTP answer: status, one extra header, JSON body.
    Status(u16, Option<(&'static str, String)>, Value),
    /// A 200 stream whose only news is `response.failed` with this code and message.
    Failed { code: &'static str, message: String },
    /// A 200 stream whose only news is `response.incomplete` for this reason.
    Incomplete(&'static str),
    /// Reads the request and never answers.
    Stall,
    /// Starts the stream and a message, then goes silent with the connection open.
    StallInStream(String),
    /// Starts the stream and a message, then closes the connection without an end.
    Cut(String),
}

/// One request as it was read from the wire.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let matching = |pair: &&(String, String)| pair.0.eq_ignore_ascii_case(name);
        self.headers.iter().find(matching).map(|pair| pair.1.as_str())
    }

    /// The text of the last user message: what the program was given on its standard input.
    pub fn prompt(&self) -> String {
        let items = self.body["input"].as_array().cloned().unwrap_or_default();
        let is_user = |item: &&Value| item["type"] == "message" && item["role"] == "user";
        let parts = match items.iter().rev().find(is_user) {
            Some(item) => item["content"].as_array().cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        parts.iter().filter_map(|part| part["text"].as_str()).collect()
    }
}

struct Shared {
    answers: Vec<Answer>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    turns: usize,
    open: Vec<TcpStream>,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the fake server panics while it holds its state")
    }
}

/// The server; stops when dropped.
pub struct FakeResponses {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FakeResponses {
    pub fn start(answers: Vec<Answer>) -> FakeResponses {
        assert!(!answers.is_empty(), "a script needs at least one answer");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { answers, state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept_all(&listener, &accepting));
        FakeResponses { address, shared }
    }

    /// The base URL a client is configured with.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// The `POST …/responses` requests so far.
    pub fn turns(&self) -> Vec<Request> {
        self.requests().into_iter().filter(is_turn).collect()
    }

    /// Waits until `count` turns have arrived; false when `ceiling` passes first.
    pub fn wait_for_turns(&self, count: usize, ceiling: Duration) -> bool {
        let state = self.shared.lock();
        let missing = |state: &mut State| state.turns < count;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, ceiling, missing)
            .expect("no thread of the fake server panics while it holds its state");
        state.turns >= count
    }
}

impl Drop for FakeResponses {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the accepting thread, which sees `stopping` and ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn is_turn(request: &Request) -> bool {
    request.method == "POST" && request.path.ends_with("/responses")
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let mut state = shared.lock();
        if state.stopping || state.open.len() >= CONNECTIONS_MAX {
            return;
        }
        if let Ok(copy) = stream.try_clone() {
            state.open.push(copy);
        }
        drop(state);
        let serving = Arc::clone(shared);
        std::thread::spawn(move || {
            serve(&stream, &serving);
            // Explicit, because the copy kept for Drop would hold the connection open.
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let answer = record(shared, request);
        let stays_open = match answer {
            Some(answer) => write_answer(stream, &answer),
            None => write_plain(stream, 404, None, &json!({"error": {"message": "no such page"}})),
        };
        match stays_open {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

/// Notes the request and picks its answer, if it is a turn.
fn record(shared: &Shared, request: Request) -> Option<Answer> {
    let mut state = shared.lock();
    let turn = is_turn(&request);
    state.requests.push(request);
    if !turn {
        return None;
    }
    let answer = shared.answers[state.turns.min(shared.answers.len() - 1)].clone();
    state.turns += 1;
    shared.changed.notify_all();
    Some(answer)
}

/// True when the connection can carry another request.
fn write_answer(mut stream: &TcpStream, answer: &Answer) -> std::io::Result<bool> {
    let streamed = |events: Vec<Value>| stream_events(stream, &events);
    match answer {
        Answer::Text(text) => streamed(vec![created(), message_done(text), completed()]),
        Answer::Command(command) => streamed(vec![created(), command_call(command), completed()]),
        Answer::Status(status, header, body) => return write_plain(stream, *status, header.as_ref(), body),
        Answer::Failed { code, message } => streamed(vec![created(), failed(code, message)]),
        Answer::Incomplete(reason) => streamed(vec![created(), incomplete(reason)]),
        Answer::Stall => wait_for_close(stream),
        Answer::StallInStream(text) => {
            streamed(vec![created(), message_added(), text_delta(text)])?;
            wait_for_close(stream)
        }
        Answer::Cut(text) => streamed(vec![created(), message_added(), text_delta(text)]),
    }?;
    stream.flush()?;
    Ok(false)
}

fn wait_for_close(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut scratch = [0; 512];
    while stream.read(&mut scratch)? > 0 {}
    Ok(())
}

/// A stream is ended by closing the connection, as HTTP allows when no length is given.
fn stream_events(mut stream: &TcpStream, events: &[Value]) -> std::io::Result<()> {
    let mut text = String::from("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
    for event in events {
        let name = event["type"].as_str().unwrap_or_default();
        text.push_str(&format!("event: {name}\ndata: {event}\n\n"));
    }
    stream.write_all(text.as_bytes())
}

fn write_plain(
    mut stream: &TcpStream,
    status: u16,
    header: Option<&(&'static str, String)>,
    body: &Value,
) -> std::io::Result<bool> {
    let body = body.to_string();
    let extra = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{extra}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(true)
}

fn created() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_fake"}})
}

fn message_added() -> Value {
    json!({"type": "response.output_item.added", "output_index": 0, "item":
        {"type": "message", "id": "msg_fake", "role": "assistant", "status": "in_progress", "content": []}})
}

fn text_delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "msg_fake", "output_index": 0, "content_index": 0,
        "delta": text})
}

fn message_done(text: &str) -> Value {
    json!({"type": "response.output_item.done", "output_index": 0, "item":
        {"type": "message", "id": "msg_fake", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": text, "annotations": []}]}})
}

fn command_call(command: &str) -> Value {
    // The result is due after a quarter of a second, whether or not the command has ended.
    let arguments = json!({"cmd": command, "yield_time_ms": 250}).to_string();
    json!({"type": "response.output_item.done", "output_index": 0, "item":
        {"type": "function_call", "id": "fc_fake", "call_id": "call_fake", "name": "exec_command",
         "arguments": arguments}})
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"id": "resp_fake", "usage":
        {"input_tokens": 11, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 5,
         "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 16}}})
}

fn failed(code: &str, message: &str) -> Value {
    json!({"type": "response.failed", "response": {"id": "resp_fake", "error": {"code": code, "message": message}}})
}

fn incomplete(reason: &str) -> Value {
    json!({"type": "response.incomplete", "response": {"id": "resp_fake", "incomplete_details": {"reason": reason}}})
}

/// One request; None at a clean end of the connection or when the bytes are not HTTP.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let first = read_line(reader)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    for _ in 0..HEADER_LINES_MAX {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Value::Null };
    let bytes = read_body(reader, &request)?;
    request.body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Some(request)
}

fn read_body(reader: &mut BufReader<&TcpStream>, request: &Request) -> Option<Vec<u8>> {
    if request.header("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(reader);
    }
    let length = match request.header("Content-Length") {
        Some(value) => value.parse::<usize>().ok()?,
        None => 0,
    };
    read_exactly(reader, length)
}

fn read_chunks(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let digits = line.split(';').next()?;
        let length = usize::from_str_radix(digits.trim(), 16).ok()?;
        if body.len() + length > BODY_BYTES_MAX {
            return None;
        }
        body.extend(read_exactly(reader, length)?);
        read_line(reader)?;
        if length == 0 {
            return Some(body);
        }
    }
}

fn read_exactly(reader: &mut BufReader<&TcpStream>, length: usize) -> Option<Vec<u8>> {
    if length > BODY_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// A line without its line break; None at the end of the connection.
fn read_line(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut line = String::new();
    let count = reader.take(HEADER_LINE_BYTES_MAX).read_line(&mut line).ok()?;
    let whole = count > 0 && line.ends_with('\n');
    whole.then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
