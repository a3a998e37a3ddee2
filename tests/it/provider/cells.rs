//! The table of `matrix`: what the server does, and what the attempt has to make of it.

use std::time::Duration;

use rusty_pinch::net::http::{BODY_BYTES_MAX, HEADER_BYTES_MAX};
use rusty_pinch::provider::class::Class;
use rusty_pinch::provider::openai::Streams;
use serde_json::json;

use crate::support::cases::Random;
use crate::support::fake_provider::{UPSTREAM_CANARY, completion, stream};
use crate::support::raw_server::Act;

/// What the server says where it says something whole.
pub const ANSWER: &str = "This is the whole answer, and it is long enough to be told in some more pieces than one.";

/// Ends no cell that is not about time, even on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);
/// The silence of cells that are about silence.
const SHORT: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub enum Server {
    Acts(Vec<Act>),
    Url(String),
}

#[derive(Debug)]
pub enum Want {
    Answer,
    Class(Class),
    /// The class, and how long the server asked us to wait.
    After(Class, Option<Duration>),
}

#[derive(Debug)]
pub struct Cell {
    pub name: String,
    pub streams: Streams,
    pub server: Server,
    pub want: Want,
    pub silence: Duration,
    pub deadline: Duration,
}

impl Cell {
    fn within(mut self, silence: Duration, deadline: Duration) -> Cell {
        (self.silence, self.deadline) = (silence, deadline);
        self
    }
}

/// All cells for one kind of answer.
struct Table {
    streams: Streams,
    body: String,
    cells: Vec<Cell>,
}

impl Table {
    fn new(streams: Streams) -> Table {
        let body = if streams == Streams::No { completion(ANSWER).to_string() } else { stream(ANSWER) };
        Table { streams, body, cells: Vec::new() }
    }

    fn is_stream(&self) -> bool {
        self.streams != Streams::No
    }

    /// The class of something that a page and a stream show differently.
    fn either(&self, page: Class, stream: Class) -> Want {
        Want::Class(if self.is_stream() { stream } else { page })
    }

    fn kind(&self) -> &'static str {
        if self.is_stream() { "text/event-stream" } else { "application/json" }
    }

    fn add(&mut self, name: impl Into<String>, server: Server, want: Want) -> &mut Cell {
        let (name, streams) = (name.into(), self.streams);
        self.cells.push(Cell { name, streams, server, want, silence: AMPLE, deadline: AMPLE });
        self.cells.last_mut().expect("just pushed")
    }

    fn acts(&mut self, name: impl Into<String>, acts: Vec<Act>, want: Want) -> &mut Cell {
        self.add(name, Server::Acts(acts), want)
    }

    fn timed(&mut self, name: &str, acts: Vec<Act>, class: Class, silence: Duration, deadline: Duration) {
        self.acts(name, acts, Want::Class(class));
        let cell = self.cells.pop().expect("just pushed").within(silence, deadline);
        self.cells.push(cell);
    }

    /// A 200 with these headers and this body, then FIN.
    fn page(&mut self, name: &str, headers: &str, body: impl Into<Vec<u8>>, want: Want) {
        let body = body.into();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        self.acts(name, vec![Act::Send(head.into_bytes()), Act::Send(body)], want);
    }

    fn typed(&mut self, name: &str, body: impl Into<Vec<u8>>, want: Want) {
        self.page(name, &format!("Content-Type: {}\r\n", self.kind()), body, want);
    }

    fn head(&self, more: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{more}\r\n", self.kind())
    }

    fn response(&self) -> Vec<u8> {
        (self.head(&format!("Content-Length: {}\r\n", self.body.len())) + &self.body).into_bytes()
    }

    /// The head and half of the body.
    fn half(&self) -> Vec<u8> {
        let response = self.response();
        response[..response.len() - self.body.len() / 2].to_vec()
    }

    fn chunked(&self, chunks: &[u8], end: &str) -> Vec<u8> {
        let mut bytes = self.head("Transfer-Encoding: chunked\r\n").into_bytes();
        for chunk in chunks.chunks(50) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(end.as_bytes());
        bytes
    }
}

pub fn with_length(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

pub fn close_delimited(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

/// Every cell, for pages and for streams.
pub fn cells(random: &mut Random) -> Vec<Cell> {
    [Streams::No, Streams::Counted]
        .into_iter()
        .flat_map(|streams| {
            let mut table = Table::new(streams);
            connections(&mut table);
            silences(&mut table);
            bad_http(&mut table, random);
            limits(&mut table);
            encodings(&mut table);
            statuses(&mut table);
            patience(&mut table);
            contents(&mut table);
            table.cells
        })
        .collect()
}

fn connections(table: &mut Table) {
    let cut = || Want::Class(Class::StreamCut);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    table.add("refused", Server::Url(format!("http://{closed}")), Want::Class(Class::Connect));
    table.add("no such host", Server::Url("http://no-such-host.invalid".into()), Want::Class(Class::Dns));
    table.acts("RST instead of an answer", vec![Act::Reset], cut());
    table.acts("RST after a byte", vec![Act::Send(b"H".to_vec()), Act::Reset], cut());
    let (half, whole) = (table.half(), table.response());
    table.acts("RST halfway", vec![Act::Send(half.clone()), Act::Reset], cut());
    table.acts("RST after everything", vec![Act::Send(whole.clone()), Act::Reset], Want::Answer);
    table.acts("FIN instead of an answer", vec![], cut());
    table.acts("FIN within the head", vec![Act::Send(whole[..30].to_vec()), Act::HalfClose], cut());
    table.acts("FIN halfway", vec![Act::Send(half.clone()), Act::HalfClose], cut());
    let open = [table.head("").as_bytes(), &table.body.as_bytes()[..table.body.len() / 2]].concat();
    table.acts("FIN halfway, no length", vec![Act::Send(open.clone())], cut());
    table.acts("RST halfway, no length", vec![Act::Send(open), Act::Reset], cut());
    let open = [table.head("").as_bytes(), table.body.as_bytes()].concat();
    table.acts("FIN after everything, no length", vec![Act::Send(open)], Want::Answer);
    table.acts("byte by byte", vec![Act::Slices(whole.clone())], Want::Answer);
    table.acts("half-closed after everything", vec![Act::Send(whole), Act::HalfClose], Want::Answer);
}

fn silences(table: &mut Table) {
    let (half, whole) = (table.half(), table.response());
    let before = Class::TimeoutFirstByte;
    table.timed("silence before the head", vec![Act::Stall], before, SHORT, AMPLE);
    table.timed("silence within the head", vec![Act::Send(whole[..20].to_vec()), Act::Stall], before, SHORT, AMPLE);
    table.timed("silence within the body", vec![Act::Send(half.clone()), Act::Stall], Class::TimeoutIdle, SHORT, AMPLE);
    let (pause, second) = (Duration::from_millis(10), Duration::from_secs(1));
    table.timed("a head that trickles", vec![Act::Trickle(whole.clone(), pause)], before, SHORT, AMPLE);
    let body = vec![Act::Send(half), Act::Trickle(vec![b' '; 10_000], pause)];
    table.timed("a body that trickles", body, Class::Deadline, AMPLE, second);
    table.timed("silence until the deadline", vec![Act::Stall], Class::Deadline, AMPLE, second);
    let spread = vec![Act::Send(whole[..40].to_vec()), Act::Trickle(whole[40..].to_vec(), Duration::from_millis(1))];
    table.acts("a slow answer", spread, Want::Answer);
}

fn bad_http(table: &mut Table, random: &mut Random) {
    let malformed = || Want::Class(Class::Malformed);
    let cut = || Want::Class(Class::StreamCut);
    let noise: Vec<u8> = (0..400).map(|_| random.next() as u8 | 0x80).collect();
    table.acts("garbage", vec![Act::Send(noise)], malformed());
    table.acts("HTTP/0.9", vec![Act::Send(table.body.clone().into_bytes())], malformed());
    let with_length = |table: &Table, length: &str| {
        vec![Act::Send((table.head(&format!("Content-Length: {length}\r\n")) + &table.body).into_bytes())]
    };
    // A stream says itself when it is whole.
    let long = if table.is_stream() { Want::Answer } else { cut() };
    table.acts("a length that is too long", with_length(table, "100000"), long);
    table.acts("a length that is too short", with_length(table, "60"), cut());
    table.acts("a length that is no number", with_length(table, "many"), malformed());
    table.acts("a negative length", with_length(table, "-1"), malformed());
    table.acts("two lengths", with_length(table, "10\r\nContent-Length: 20"), malformed());
    let body = table.body.clone().into_bytes();
    let chunked = |table: &Table, bytes: &[u8], end: &str| vec![Act::Send(table.chunked(bytes, end))];
    table.acts("chunks", chunked(table, &body, "0\r\n\r\n"), Want::Answer);
    table.acts("chunks cut short", chunked(table, &body[..100], "ff\r\nabc"), cut());
    table.acts("chunks without an end", chunked(table, &body[..100], ""), cut());
    table.acts("a chunk without a size", chunked(table, &body[..100], "xyz\r\nabc"), malformed());
    table.acts("a chunk beyond any number", chunked(table, &body[..100], "fffffffffffffffff\r\nabc"), malformed());
    table.acts(
        "a header without a colon",
        vec![Act::Send(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n".to_vec())],
        malformed(),
    );
    table.acts("a status that is none", vec![Act::Send(b"HTTP/1.1 banana\r\n\r\n".to_vec())], malformed());
    let early = |count: usize| b"HTTP/1.1 100 Continue\r\n\r\n".repeat(count);
    table.acts("a late 100", vec![Act::Send(early(1)), Act::Send(table.response())], Want::Answer);
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec();
    table.acts("early hints", vec![Act::Send(hints), Act::Send(table.response())], Want::Answer);
    table.acts("a flood of 1xx", vec![Act::Repeat(early(1000))], Want::Class(Class::TooLarge));
    table.acts("1xx one by one without end", vec![Act::Repeat(early(1))], Want::Class(Class::TooLarge));
}

fn limits(table: &mut Table) {
    let large = || Want::Class(Class::TooLarge);
    let header = format!("X-Long: {}\r\n", "x".repeat(HEADER_BYTES_MAX));
    table.acts("a long header", vec![Act::Send(table.head(&header).into_bytes())], large());
    let endless = vec![Act::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), Act::Repeat(vec![b'x'; 10_000])];
    table.acts("an endless header", endless, large());
    let many = "A: b\r\n".repeat(10_000);
    table.acts("10,000 headers", vec![Act::Send(table.head(&many).into_bytes())], Want::Class(Class::Malformed));
    let filler = if table.is_stream() { ":\n" } else { " \n" };
    table.typed("8 MiB and a byte", filler.repeat(BODY_BYTES_MAX / 2 + 1), large());
    let endless = vec![Act::Send(table.head("").into_bytes()), Act::Repeat(filler.repeat(50_000).into_bytes())];
    table.acts("an endless body", endless, large());
    let event = |json: String| if table.is_stream() { format!("data: {json}\n\ndata: [DONE]\n\n") } else { json };
    let deep = event("[".repeat(65) + &"]".repeat(65));
    let long = event(format!("{{\"a\":\"{}\"}}", "x".repeat((1 << 20) + 1)));
    let wide = event(format!("[{}0]", "0,".repeat(30_000)));
    table.typed("65 levels of JSON", deep, large());
    table.typed("a string of a MiB and a byte", long, large());
    table.typed("30,000 values", wide, large());
    if table.is_stream() {
        table.typed("100,001 events", "data: {}\n\n".repeat(100_001), large());
        table.typed("a line of two MiB", format!("data: {}", "x".repeat(2 << 20)), large());
        let endless = vec![Act::Send(table.head("").into_bytes()), Act::Repeat(b"data: {}\n\n".repeat(1000))];
        table.acts("endless events", endless, large());
    }
}

/// Packed bodies, and some that only say so.
fn encodings(table: &mut Table) {
    let malformed = || Want::Class(Class::Malformed);
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c\x4a\x06\x00\xc2\x41\x24\x35\x03\x00\x00\x00".to_vec();
    for encoding in ["gzip", "GZIP", "br", "deflate", "zstd", "gzip, identity"] {
        let headers = format!("Content-Type: {}\r\nContent-Encoding: {encoding}\r\n", table.kind());
        // What says that it is packed is not even looked at.
        table.page(&format!("encoded by {encoding}"), &headers, table.body.clone(), malformed());
    }
    let headers = format!("Content-Type: {}\r\nContent-Encoding: identity\r\n", table.kind());
    table.page("encoded by identity", &headers, table.body.clone(), Want::Answer);
    let headers = format!("Content-Type: {}\r\nContent-Encoding: gzip\r\n", table.kind());
    table.page("half of a gzip", &headers, gzip[..12].to_vec(), malformed());
    let nothing_read = table.either(Class::Malformed, Class::StreamCut);
    table.typed("gzip that says nothing", gzip, nothing_read);
}

#[rustfmt::skip]
const STATUSES: [(u16, Class); 27] = [
    (301, Class::InvalidRequest), (302, Class::InvalidRequest), (307, Class::InvalidRequest), (308, Class::InvalidRequest),
    (400, Class::InvalidRequest), (401, Class::Auth), (402, Class::Quota), (403, Class::Forbidden), (404, Class::InvalidRequest), (405, Class::InvalidRequest),
    (408, Class::Server), (409, Class::Server), (410, Class::InvalidRequest), (413, Class::InvalidRequest), (415, Class::InvalidRequest),
    (418, Class::InvalidRequest), (422, Class::InvalidRequest), (425, Class::Server), (429, Class::RateLimited), (451, Class::InvalidRequest),
    (500, Class::Server), (502, Class::Server), (503, Class::Server), (504, Class::Server), (520, Class::Server), (529, Class::Server), (599, Class::Server),
];

fn refusal(status: u16, headers: &str) -> Vec<Act> {
    let body = json!({ "error": { "message": UPSTREAM_CANARY, "type": "x", "param": UPSTREAM_CANARY } }).to_string();
    let head = format!("HTTP/1.1 {status} {UPSTREAM_CANARY}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    vec![Act::Send((head + &body).into_bytes())]
}

/// A redirect leads back to where it came from: whoever followed it would ask more than once.
fn statuses(table: &mut Table) {
    for (status, class) in STATUSES {
        let headers = if status < 400 { "Location: /chat/completions\r\n" } else { "" };
        table.acts(format!("status {status}"), refusal(status, headers), Want::Class(class));
    }
    table.acts(
        "status 204",
        vec![Act::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())],
        Want::Class(Class::Malformed),
    );
}

/// The forms of `Retry-After` that do not depend on the time of day.
fn patience(table: &mut Table) {
    let millis = |millis| Some(Duration::from_millis(millis));
    let forms: [(&str, Option<Duration>); 12] = [
        ("Retry-After: 7", millis(7000)),
        ("Retry-After: 0.25", millis(250)),
        ("Retry-After: 0", millis(0)),
        ("Retry-After: 3600", millis(3_600_000)),
        ("retry-after-ms: 1500", millis(1500)),
        ("Retry-After: 9\r\nRetry-After-Ms: 40", millis(40)),
        ("Retry-After: -1", None),
        ("Retry-After: 1000000000000", None),
        ("Retry-After: NaN", None),
        ("Retry-After: soon", None),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Retry-After:", None),
    ];
    for (header, wait) in forms {
        let want = Want::After(Class::RateLimited, wait);
        table.acts(header.replace("\r\n", " and "), refusal(429, &format!("{header}\r\n")), want);
    }
}

fn contents(table: &mut Table) {
    let malformed = || Want::Class(Class::Malformed);
    table.page("a login page", "Content-Type: text/html\r\n", format!("<html>{UPSTREAM_CANARY}"), malformed());
    table.page("JSON that does not say so", "", completion(ANSWER).to_string(), Want::Answer);
    table.page("an empty page", "Content-Type: application/json\r\n", "", malformed());
    let empty = table.either(Class::Malformed, Class::StreamCut);
    table.typed("nothing of the kind that was announced", "", empty);
    let error = json!({ "error": { "message": UPSTREAM_CANARY, "code": "server_error" } }).to_string();
    table.page(
        "an error object in a 200",
        "Content-Type: application/json\r\n",
        error.clone(),
        Want::Class(Class::Server),
    );
    if table.is_stream() {
        let half = &table.body[..table.body.len() / 2];
        let events = &half[..half.rfind("\n\n").expect("some events") + 2];
        let (error, noise) = (format!("{events}data: {error}\n\n"), format!("{events}data: {UPSTREAM_CANARY}\n\n"));
        let silent = format!("{events}: nothing more\n\n");
        table.typed("an error object in a stream", error, Want::Class(Class::Server));
        table.typed("nonsense in a stream", noise, malformed());
        table.typed("a stream that just ends", silent, Want::Class(Class::StreamCut));
        let body = table.body.replace("data: [DONE]\n\n", "");
        table.typed("a stream without its last word", body, Want::Answer);
    }
}
