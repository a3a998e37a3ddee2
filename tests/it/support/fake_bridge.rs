//! A WhatsApp bridge on loopback, scripted: dialect P, dialect N with or without a token, or N with v2.
//!
//! It behaves as the bridges of reference/dialects.md do: N wants the token first and closes with 4001 or 4003, answers
//! every frame of an unknown type `sent` and drops it, and sends no pings. With v2 it speaks `hello` first, keeps every
//! message until its ack, sends it again on each new link, and remembers the ids that it has sent.
//!
//! A thread for each link. What the test wants of the open link waits in a queue that this thread empties.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::waiting::{lock, now, since, spawn, until};
use crate::support::websocket_wire::{self as wire, Inbox, Wire};

/// How long a read waits before the thread looks what the test wants.
const SLICE: Duration = Duration::from_millis(2);
/// Shorter than the five seconds of the real one, so that a test of it is short.
const AUTH_WITHIN: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    P,
    N,
    V2,
}

/// How a link begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    Open,
    /// The TCP connection is accepted, and nothing is ever said.
    Silent,
    /// The handshake is answered with this status.
    Status(u16),
    /// The handshake is answered with something else.
    Garbage,
    /// The handshake is answered, and then the link is closed with this code.
    Close(u16),
    /// It closes as soon as it is connected.
    HangUp,
}

/// One frame that was to be sent to WhatsApp.
#[derive(Clone, Debug)]
pub struct Sent {
    pub to: String,
    pub text: String,
    pub id: Option<String>,
    pub link: u64,
    pub at: Instant,
}

/// What the test wants of the open link.
#[derive(Clone, Debug)]
pub enum Wish {
    Bytes(Vec<u8>),
    /// The link ends, with a reset if something is unread.
    Cut,
}

#[derive(Default)]
struct State {
    links: u64,
    open: HashSet<u64>,
    ready: HashSet<u64>,
    requests: Vec<String>,
    heard: Vec<String>,
    wishes: VecDeque<Wish>,
    sent: Vec<Sent>,
    known: BTreeMap<String, usize>,
    /// Messages without an ack, with the link they were last sent over.
    unacked: Vec<(String, Value, u64)>,
    acked: Vec<String>,
    pings: u64,
    closes: Vec<u16>,
    entrance: Option<Entrance>,
    /// Frames to be sent that get no answer, or an error.
    unanswered: usize,
    errors: VecDeque<String>,
    /// Answers are held back until there are so many, and then come in reverse.
    reversed: usize,
    held: Vec<Vec<u8>>,
    /// Sends without an id, although v2 is spoken: none of them could be kept from being sent twice.
    nameless: Vec<String>,
    /// Nothing is read or written any more: the other side is gone without a word.
    is_dead: bool,
    status: Option<String>,
}

struct Shared {
    speaks: Speaks,
    token: Option<String>,
    tls: Option<Arc<ServerConfig>>,
    closing: AtomicBool,
    state: Mutex<State>,
}

pub struct FakeBridge {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeBridge {
    pub fn start(speaks: Speaks, token: Option<&str>) -> FakeBridge {
        FakeBridge::with(speaks, token, None)
    }

    pub fn with(speaks: Speaks, token: Option<&str>, tls: Option<ServerConfig>) -> FakeBridge {
        FakeBridge::at(SocketAddr::from(([127, 0, 0, 1], 0)), speaks, token, tls)
    }

    fn at(address: SocketAddr, speaks: Speaks, token: Option<&str>, tls: Option<ServerConfig>) -> FakeBridge {
        let listener = TcpListener::bind(address).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            speaks,
            token: token.map(str::to_string),
            tls: tls.map(Arc::new),
            closing: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            spawn("bridge", move || accept_all(&listener, &shared))
        };
        FakeBridge { address, shared, acceptor: Some(acceptor) }
    }

    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://127.0.0.1:{}/ws", self.address.port())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// How the next links begin.
    pub fn entrance(&self, entrance: Entrance) {
        self.state().entrance = Some(entrance);
    }

    pub fn links(&self) -> u64 {
        self.state().links
    }

    pub fn open_links(&self) -> usize {
        self.state().open.len()
    }

    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Every text frame that came, in order.
    pub fn heard(&self) -> Vec<String> {
        self.state().heard.clone()
    }

    pub fn pings(&self) -> u64 {
        self.state().pings
    }

    pub fn closes(&self) -> Vec<u16> {
        self.state().closes.clone()
    }

    pub fn acked(&self) -> Vec<String> {
        self.state().acked.clone()
    }

    pub fn unacked(&self) -> usize {
        self.state().unacked.len()
    }

    /// What was to be sent to WhatsApp, in order.
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    pub fn texts_to(&self, chat: &str) -> Vec<String> {
        self.sent().into_iter().filter(|sent| sent.to == chat).map(|sent| sent.text).collect()
    }

    #[track_caller]
    pub fn until_sent(&self, count: usize) {
        until(&format!("{count} messages are sent"), || self.state().sent.len() >= count);
    }

    #[track_caller]
    pub fn until_links(&self, count: u64) {
        until(&format!("{count} links"), || self.links() >= count);
    }

    /// A client that said what it had to say first.
    #[track_caller]
    pub fn until_ready(&self) {
        until("a client is let in", || !self.state().ready.is_empty());
    }

    pub fn wish(&self, wish: Wish) {
        self.state().wishes.push_back(wish);
    }

    pub fn say(&self, frame: &Value) {
        self.wish(Wish::Bytes(wire::text(&frame.to_string())));
    }

    /// Somebody writes. With v2 it is kept until its ack.
    pub fn write(&self, chat: &str, id: &str, text: &str) {
        let frame = match self.shared.speaks {
            Speaks::P => json!({"type": "message", "from": chat, "id": id, "content": text}),
            _ => json!({
                "type": "message", "id": id, "sender": chat, "pn": "", "content": text, "isGroup": false,
            }),
        };
        self.message(id, frame);
    }

    pub fn message(&self, id: &str, frame: Value) {
        match self.shared.speaks {
            Speaks::V2 => self.state().unacked.push((id.to_string(), frame, 0)),
            _ => self.say(&frame),
        }
    }

    /// What the test wanted of a link that is gone.
    pub fn forget_wishes(&self) {
        self.state().wishes.clear();
    }

    pub fn cut(&self) {
        self.wish(Wish::Cut);
    }

    pub fn close(&self, code: u16) {
        self.wish(Wish::Bytes(wire::close(code)));
    }

    /// From here on nothing is read or written, and no connection is closed.
    pub fn die(&self, dead: bool) {
        self.state().is_dead = dead;
    }

    /// It says nothing about itself from here on.
    pub fn mute(&self) {
        self.state().status = Some(String::new());
    }

    /// Whether everything that it was to say was said to the link.
    pub fn has_said_all(&self) -> bool {
        self.state().wishes.is_empty()
    }

    /// The status that is told at the beginning of every link, and now.
    pub fn status(&self, status: &str) {
        self.state().status = Some(status.to_string());
        self.say(&json!({"type": "status", "status": status}));
    }

    /// So many sends get no answer.
    pub fn leave_unanswered(&self, count: usize) {
        self.state().unanswered = count;
    }

    /// The next sends fail with these.
    pub fn fail(&self, errors: &[&str]) {
        self.state().errors.extend(errors.iter().map(|error| error.to_string()));
    }

    /// The next answers come in the wrong order, when there are so many.
    pub fn reverse(&self, count: usize) {
        self.state().reversed = count;
    }
}

impl Drop for FakeBridge {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let nameless = std::mem::take(&mut self.state().nameless);
        assert!(nameless.is_empty() || std::thread::panicking(), "v2 messages without an id: {nameless:?}");
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.closing.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let number = {
            let mut state = lock(&shared.state);
            state.links += 1;
            let number = state.links;
            state.open.insert(number);
            number
        };
        let shared = Arc::clone(shared);
        threads.push(spawn("link", move || {
            let _ = Guest { shared: &shared, number, inbox: Inbox::default(), is_v2: false }.serve(stream);
            let mut state = lock(&shared.state);
            state.open.remove(&number);
            state.ready.remove(&number);
        }));
        threads.retain(|thread| !thread.is_finished());
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// One client.
struct Guest<'a> {
    shared: &'a Shared,
    number: u64,
    inbox: Inbox,
    is_v2: bool,
}

impl Guest<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::SeqCst)
    }

    fn serve(&mut self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SLICE))?;
        let entrance = self.state().entrance.unwrap_or(Entrance::Open);
        if entrance == Entrance::HangUp {
            return Ok(());
        }
        match &self.shared.tls {
            None => self.welcome(&mut { stream }, entrance),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).expect("a server");
                self.welcome(&mut StreamOwned::new(connection, stream), entrance)
            }
        }
    }

    fn welcome(&mut self, wire: &mut dyn Wire, entrance: Entrance) -> std::io::Result<()> {
        let request = loop {
            if self.is_closing() || !self.inbox.fill(wire) {
                return Ok(());
            }
            if entrance == Entrance::Silent {
                continue;
            }
            if let Some(request) = self.inbox.request() {
                break request;
            }
        };
        self.state().requests.push(request.clone());
        let answer = match entrance {
            Entrance::Status(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"),
            Entrance::Garbage => "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_string(),
            _ => wire::accept(&request),
        };
        wire.write_all(answer.as_bytes())?;
        wire.flush()?;
        match entrance {
            Entrance::Close(code) => {
                wire.write_all(&wire::close(code))?;
                wire.flush()?;
                self.until_gone(wire);
                Ok(())
            }
            Entrance::Open if self.let_in(wire)? => self.talk(wire),
            _ => Ok(()),
        }
    }

    fn until_gone(&mut self, wire: &mut dyn Wire) {
        let end = now() + Duration::from_secs(5);
        while !self.is_closing() && now() < end && self.inbox.fill(wire) {}
    }

    /// Asks for the token. `false`: the client is not let in.
    fn let_in(&mut self, wire: &mut dyn Wire) -> std::io::Result<bool> {
        let begun = now();
        while let Some(token) = &self.shared.token {
            if since(begun) > AUTH_WITHIN {
                wire.write_all(&wire::close(4001))?;
                self.until_gone(wire);
                return Ok(false);
            }
            if self.is_closing() || !self.inbox.fill(wire) {
                return Ok(false);
            }
            let Some((wire::TEXT, payload)) = self.inbox.frame() else { continue };
            let text = String::from_utf8_lossy(&payload).into_owned();
            let given = serde_json::from_str::<Value>(&text).unwrap_or_default();
            self.state().heard.push(text);
            if given["type"] == "auth" && given["token"] == **token {
                break;
            }
            wire.write_all(&wire::close(4003))?;
            self.until_gone(wire);
            return Ok(false);
        }
        if self.shared.speaks == Speaks::V2 {
            wire.write_all(&wire::text(&json!({"type": "hello", "v": 2}).to_string()))?;
        }
        let status = self.state().status.clone().unwrap_or("connected".to_string());
        if self.shared.speaks != Speaks::P && !status.is_empty() {
            wire.write_all(&wire::text(&json!({"type": "status", "status": status}).to_string()))?;
        }
        wire.flush()?;
        // With v2 the client has something to say, too.
        if self.shared.speaks != Speaks::V2 {
            let number = self.number;
            self.state().ready.insert(number);
        }
        Ok(true)
    }

    fn talk(&mut self, wire: &mut dyn Wire) -> std::io::Result<()> {
        while !self.is_closing() {
            if self.state().is_dead {
                crate::support::waiting::came_true(SLICE, || false);
                continue;
            }
            if !self.inbox.fill(wire) {
                return Ok(());
            }
            while let Some((opcode, payload)) = self.inbox.frame() {
                match opcode {
                    wire::TEXT => {
                        let answers = self.hear(&String::from_utf8_lossy(&payload));
                        answers.iter().try_for_each(|answer| wire.write_all(answer))?;
                    }
                    wire::PING => {
                        wire.write_all(&wire::frame(wire::PONG, &payload))?;
                        self.state().pings += 1;
                    }
                    wire::CLOSE => {
                        let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                        self.state().closes.push(code);
                        return Ok(());
                    }
                    _ => {}
                }
            }
            loop {
                let wish = self.state().wishes.pop_front();
                match wish {
                    Some(Wish::Bytes(bytes)) => wire.write_all(&bytes)?,
                    Some(Wish::Cut) => return Ok(()),
                    None => break,
                }
            }
            if self.is_v2 {
                self.replay(wire)?;
            }
            wire.flush()?;
        }
        Ok(())
    }

    /// Messages without an ack that this link has not carried.
    fn replay(&mut self, wire: &mut dyn Wire) -> std::io::Result<()> {
        let number = self.number;
        let due: Vec<String> = {
            let mut state = self.state();
            let due = state.unacked.iter_mut().filter(|(_, _, link)| *link != number);
            due.map(|(_, frame, link)| {
                *link = number;
                frame.to_string()
            })
            .collect()
        };
        due.iter().try_for_each(|frame| wire.write_all(&wire::text(frame)))
    }

    /// What is answered to a frame.
    fn hear(&mut self, text: &str) -> Vec<Vec<u8>> {
        let frame: Value = serde_json::from_str(text).expect("a client sends JSON");
        let (link, speaks) = (self.number, self.shared.speaks);
        let mut state = lock(&self.shared.state);
        state.heard.push(text.to_string());
        let word = |name: &str| frame[name].as_str().unwrap_or_default().to_string();
        match (word("type").as_str(), speaks) {
            ("hello", Speaks::V2) => {
                self.is_v2 = true;
                state.ready.insert(link);
                return Vec::new();
            }
            ("ack", Speaks::V2) => {
                let id = word("id");
                state.unacked.retain(|(known, _, _)| *known != id);
                state.acked.push(id);
                return Vec::new();
            }
            ("message", Speaks::P) => {
                let id = frame["id"].as_str().map(str::to_string);
                state.sent.push(Sent { to: word("to"), text: word("content"), id, link, at: now() });
                return Vec::new();
            }
            ("send", Speaks::V2) if !frame["id"].is_string() => state.nameless.push(text.to_string()),
            ("send", Speaks::N | Speaks::V2) => {}
            // A frame of another dialect is confirmed and dropped, as the real one does.
            (_, Speaks::N | Speaks::V2) => {
                return vec![wire::text(&json!({"type": "sent", "to": frame["to"]}).to_string())];
            }
            _ => return Vec::new(),
        }
        let id = frame["id"].as_str().filter(|_| self.is_v2).map(str::to_string);
        let answer = |body: Value| {
            let mut body = body;
            if let Some(id) = &id {
                body["id"] = json!(id);
            }
            wire::text(&body.to_string())
        };
        if let Some(error) = state.errors.pop_front() {
            return vec![answer(json!({"type": "error", "error": error}))];
        }
        let number = state.sent.len();
        let is_new = id.as_ref().is_none_or(|id| state.known.insert(id.clone(), number).is_none());
        if is_new {
            state.sent.push(Sent { to: word("to"), text: word("text"), id: id.clone(), link, at: now() });
        }
        if state.unanswered > 0 {
            state.unanswered -= 1;
            return Vec::new();
        }
        let sent = answer(json!({"type": "sent", "to": frame["to"], "wa_id": format!("W{number}")}));
        if state.reversed == 0 {
            return vec![sent];
        }
        state.held.push(sent);
        if state.held.len() < state.reversed {
            return Vec::new();
        }
        state.reversed = 0;
        std::mem::take(&mut state.held).into_iter().rev().collect()
    }
}
