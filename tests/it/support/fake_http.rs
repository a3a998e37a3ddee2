//! A small HTTP/1.1 server on loopback, scripted by a closure: `Request` in, `Answer` out.
//!
//! One thread per connection, kept alive between requests. An answer may wait (for a time or for a gate), stall for
//! ever, be chunked, or end badly: reset before the first byte, after half of the body, or after all of it.
//!
//! A reset is made without socket options: the last byte of the request's body stays unread until the answer is known,
//! and Linux answers the closing of a socket with unread bytes by RST. A request without a body is ended by FIN instead.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::fake_http_request::{Incoming, Request};
use crate::support::waiting::{Gate, lock, now, spawn};

/// How often a waiting answer looks whether the server is being stopped.
const SLICE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub enum Wait {
    No,
    For(Duration),
    Until(Gate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// `Transfer-Encoding: chunked`, in chunks of this many bytes.
    Chunked(usize),
    /// The whole answer, then the connection is closed politely.
    Closed,
    /// Not a byte of an answer, then RST.
    ResetBefore,
    /// The head and half of the body, then RST.
    ResetHalfway,
    /// The head and half of the body, then silence until the client gives up.
    StallHalfway,
    /// All of the answer, then RST.
    ResetAfter,
    /// Silence until the client gives up.
    Stall,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub wait: Wait,
    pub shape: Shape,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into(), wait: Wait::No, shape: Shape::Whole }
    }

    pub fn json(status: u16, body: &serde_json::Value) -> Answer {
        Answer::new(status, body.to_string()).header("Content-Type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn after(mut self, wait: Wait) -> Answer {
        self.wait = wait;
        self
    }

    pub fn shaped(mut self, shape: Shape) -> Answer {
        self.shape = shape;
        self
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.shape {
            Shape::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
            Shape::Closed => head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n", self.body.len())),
            _ => head.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500..=599 => "Server Trouble",
        _ => "Scripted",
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

struct Shared {
    closing: AtomicBool,
    connections: AtomicU64,
    open: Mutex<HashMap<u64, TcpStream>>,
    handler: Box<Handler>,
}

pub struct FakeHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeHttp {
    pub fn start(name: &'static str, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> FakeHttp {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            closing: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
            handler: Box::new(handler),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            spawn(name, move || accept_all(name, &listener, &shared))
        };
        FakeHttp { address, shared, acceptor: Some(acceptor) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted since the start.
    pub fn connection_count(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections whose thread is still serving. After a client was killed this falls to 0 once everything the
    /// client had sent was handled.
    pub fn open_count(&self) -> usize {
        lock(&self.shared.open).len()
    }
}

impl Drop for FakeHttp {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which looks at `closing` after every connection.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(name: &str, listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.closing.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        if let Ok(handle) = stream.try_clone() {
            lock(&shared.open).insert(number, handle);
        }
        let shared = Arc::clone(shared);
        threads.push(spawn(name, move || {
            // A broken connection is the client's business; the test sees it in what was or was not answered.
            let outcome = serve(stream, number, &shared);
            lock(&shared.open).remove(&number);
            drop(outcome);
        }));
        threads.retain(|thread: &JoinHandle<()>| !thread.is_finished());
    }
    for stream in lock(&shared.open).values() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(mut stream: TcpStream, connection: u64, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(incoming) = Incoming::read(&mut stream, connection)? {
        let answer = (shared.handler)(&incoming.request);
        let is_open = wait_for(&answer.wait, shared);
        if !is_open || !deliver(&mut stream, &answer, incoming.has_unread_byte, shared)? {
            forget(connection, shared);
            return Ok(());
        }
    }
    Ok(())
}

/// The registry holds a second handle of the socket; a reset needs the last handle to be closed.
fn forget(connection: u64, shared: &Shared) {
    lock(&shared.open).remove(&connection);
}

/// False when the server was stopped meanwhile.
fn wait_for(wait: &Wait, shared: &Shared) -> bool {
    let never = Gate::closed();
    let (gate, end) = match wait {
        Wait::No => return true,
        Wait::For(duration) => (&never, Some(now() + *duration)),
        Wait::Until(gate) => (gate, None),
    };
    while !shared.closing.load(Ordering::SeqCst) {
        let left = end.map_or(SLICE, |end| end.saturating_duration_since(now()));
        if left.is_zero() || gate.wait(left.min(SLICE)) {
            return true;
        }
    }
    false
}

/// Sends the answer; true when the connection may carry another request.
fn deliver(stream: &mut TcpStream, answer: &Answer, has_unread_byte: bool, shared: &Shared) -> std::io::Result<bool> {
    let head = answer.head();
    let half = &answer.body[..answer.body.len() / 2];
    match answer.shape {
        Shape::ResetBefore => return Ok(false),
        Shape::Stall => return stall(stream, shared),
        Shape::ResetHalfway => {
            stream.write_all(&[&head, half].concat())?;
            return Ok(false);
        }
        Shape::StallHalfway => {
            stream.write_all(&[&head, half].concat())?;
            return stall(stream, shared);
        }
        Shape::ResetAfter => {
            stream.write_all(&[&head, &answer.body[..]].concat())?;
            return Ok(false);
        }
        Shape::Whole | Shape::Closed => stream.write_all(&[&head, &answer.body[..]].concat())?,
        Shape::Chunked(size) => write_chunks(stream, &head, &answer.body, size)?,
    }
    if has_unread_byte {
        stream.read_exact(&mut [0])?;
    }
    Ok(answer.shape != Shape::Closed)
}

fn write_chunks(stream: &mut TcpStream, head: &[u8], body: &[u8], size: usize) -> std::io::Result<()> {
    stream.write_all(head)?;
    for chunk in body.chunks(size.max(1)) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

/// Silence until the client hangs up or the server is stopped.
fn stall(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(SLICE))?;
    let mut byte = [0];
    while !shared.closing.load(Ordering::SeqCst) {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
