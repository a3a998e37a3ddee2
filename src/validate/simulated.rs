//! The bridge that is built in: dialect N with a token, and v2 unless it is told not to have it. It keeps every message until
//! its ack, sends it again on each new link, and remembers all that it was asked to send. One thread; a new client takes the
//! place of the one before.
//!
//! Limits: [`UNACKED_MAX`] messages are under way, [`SENT_MAX`] sends are remembered (more are passed over, so the check fails).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::base::clock::Clock;
use crate::net::websocket::{Heard, WebSocket};
use crate::sys::files;
use crate::sys::queue::bounded;
use crate::sys::stop::{self, Stop, Stopper};
use crate::sys::thread::spawn;
use crate::validate::bridge::{Bridge, Wish};
use crate::validate::judge::Sent;
use crate::validate::place::LOOK;

/// Messages that a v2 client may leave without an ack; the rest waits.
pub const UNACKED_MAX: usize = 64;

/// Sends that are remembered until they are asked for.
pub const SENT_MAX: usize = 100_000;

/// How long a client may take for its handshake, and for taking a frame.
const PATIENCE: Duration = Duration::from_secs(2);

/// A fault of the worker is to end the link, not to leave it.
const READ: Duration = Duration::from_millis(5);

/// The status of a bridge that is linked and online.
const ONLINE: &str = "connected";

/// Frames that are no messages.
const CHATTER: [&str; 6] = [
    r#"{"type":"qr","qr":"2@linking-code-canary"}"#,
    r#"{"type":"status","status":"disconnected"}"#,
    r#"{"type":"status","status":"on holiday"}"#,
    r#"{"type":"presence","from":"1@lid","of":["a",{"b":null}]}"#,
    r#"{"type":"sent","to":"nobody"}"#,
    r#"{"type":"status","status":"connected"}"#,
];

/// Frames that break a rule.
const OFFENCES: [&str; 8] = [
    "",
    "{",
    "[]",
    "\"message\"",
    r#"{"type":7}"#,
    r#"{"type":"message","id":{},"sender":[],"content":1e999}"#,
    r#"{"type":"message","id":"x","sender":"","content":"nobody","isGroup":"yes"}"#,
    "{\"type\":\"message\",\"sender\":\"\u{202e}\u{0}\",\"content\":",
];

/// An offence that is larger than any frame may be.
const OFFENCE_BYTES: usize = 300 * 1024;

struct Kept {
    id: String,
    frame: String,
    /// Whether this link has carried it.
    carried: bool,
}

#[derive(Default)]
struct State {
    listening: bool,
    /// Nobody is connected, and nobody can connect.
    is_gone: bool,
    frozen: bool,
    withheld: bool,
    crash: bool,
    status: &'static str,
    kept: VecDeque<Kept>,
    sayings: VecDeque<String>,
    sent: Vec<Sent>,
}

/// A bridge in a thread.
pub struct Simulated {
    address: SocketAddr,
    has_ids: bool,
    state: Arc<Mutex<State>>,
    stopper: Option<Stopper>,
    thread: Option<JoinHandle<()>>,
}

impl Simulated {
    /// Listens on loopback. `has_ids`: whether it offers v2.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(token: &str, has_ids: bool, clock: Arc<dyn Clock>) -> io::Result<Simulated> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = State { listening: true, status: ONLINE, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (stopper, stop) = stop::pair();
        let (exits, _) = bounded(1);
        let mut host =
            Host { address, listener: Some(listener), link: None, token: token.to_owned(), has_ids, stop, clock };
        let shared = Arc::clone(&state);
        let thread = spawn("bridge", exits, move || {
            while !host.stop.requested() {
                host.turn(&shared);
            }
            Ok(())
        })?;
        Ok(Simulated { address, has_ids, state, stopper: Some(stopper), thread: Some(thread) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn say(&self, frames: impl IntoIterator<Item = String>) {
        self.state().sayings.extend(frames);
    }

    /// Its thread has closed everything.
    fn until_gone(&self) -> Result<(), String> {
        let looks = PATIENCE.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            if self.state().is_gone {
                return Ok(());
            }
            files::pause(LOOK);
        }
        Err("the bridge does not end".to_owned())
    }

    fn set_status(&self, status: &'static str) {
        self.state().status = status;
        self.say([status_frame(status)]);
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        drop(self.stopper.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Bridge for Simulated {
    fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    fn write(&mut self, chat: &str, id: &str, text: &str) -> Result<(), String> {
        let [id_text, chat, text] = [id, chat, text].map(quoted);
        let frame =
            format!(r#"{{"type":"message","id":{id_text},"sender":{chat},"pn":"","content":{text},"isGroup":false}}"#);
        match self.has_ids {
            true => self.state().kept.push_back(Kept { id: id.to_owned(), frame, carried: false }),
            false => self.say([frame]),
        }
        Ok(())
    }

    fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.state().sent)
    }

    fn wish(&mut self, wish: Wish) -> Result<(), String> {
        match wish {
            Wish::Stop => {
                self.state().listening = false;
                return self.until_gone();
            }
            Wish::Start => self.state().listening = true,
            Wish::Crash => {
                let mut state = self.state();
                (state.crash, state.status) = (true, ONLINE);
            }
            Wish::Freeze => self.state().frozen = true,
            Wish::Thaw => self.state().frozen = false,
            Wish::Withhold => self.state().withheld = true,
            Wish::Confirm => self.state().withheld = false,
            Wish::Chatter => self.say(CHATTER.map(str::to_owned)),
            Wish::Offend => {
                self.say(OFFENCES.map(str::to_owned));
                self.say([quoted(&"x".repeat(OFFENCE_BYTES))]);
            }
            Wish::Lose => self.set_status("disconnected"),
            Wish::LogOut => self.set_status("logged_out"),
            Wish::Replace => self.set_status("replaced"),
            Wish::Online => self.set_status(ONLINE),
        }
        Ok(())
    }

    fn unacked(&mut self) -> Option<usize> {
        Some(self.state().kept.len())
    }

    fn under_way(&mut self) -> Option<usize> {
        Some(self.state().kept.iter().filter(|kept| kept.carried).count())
    }
}

/// What the thread owns.
struct Host {
    address: SocketAddr,
    listener: Option<TcpListener>,
    link: Option<Client>,
    token: String,
    has_ids: bool,
    stop: Stop,
    clock: Arc<dyn Clock>,
}

struct Client {
    socket: WebSocket,
    is_in: bool,
    has_ids: bool,
}

impl Host {
    fn turn(&mut self, shared: &Mutex<State>) {
        let (frozen, listening, crash) = {
            let mut state = lock(shared);
            (state.frozen, state.listening, std::mem::take(&mut state.crash))
        };
        if crash {
            self.link = None;
        }
        if !listening {
            self.listener = None;
            self.link.take().into_iter().for_each(|client| client.socket.close());
        } else if self.listener.is_none() {
            self.listener = TcpListener::bind(self.address).ok();
            self.listener.iter().for_each(|listener| drop(listener.set_nonblocking(true)));
        }
        lock(shared).is_gone = self.listener.is_none();
        if frozen || self.listener.is_none() {
            self.stop.wait(LOOK);
            return;
        }
        self.admit(shared);
        match self.serve(shared) {
            Ok(true) => {}
            Ok(false) => drop(self.stop.wait(LOOK)),
            Err(()) => self.link = None,
        }
    }

    /// Lets a client in who has connected.
    fn admit(&mut self, shared: &Mutex<State>) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) else { return };
        // Before the handshake: once the client knows of its link, what is written to it must not be thrown away.
        lock(shared).sayings.clear();
        if let Ok(socket) = WebSocket::accept(stream, PATIENCE, Arc::clone(&self.clock)) {
            self.link = Some(Client { socket, is_in: false, has_ids: false });
            lock(shared).kept.iter_mut().for_each(|kept| kept.carried = false);
        }
    }

    /// Reads and writes for a while. `false`: nobody is there.
    fn serve(&mut self, shared: &Mutex<State>) -> Result<bool, ()> {
        let Some(client) = &mut self.link else { return Ok(false) };
        if let Some(Heard::Text(text)) = client.socket.read(READ).map_err(drop)? {
            let frame = serde_json::from_slice::<Value>(text.as_bytes()).unwrap_or_default();
            let answers = client.hear(&frame, &self.token, self.has_ids, &mut lock(shared))?;
            answers.into_iter().try_for_each(|answer| put(client, answer, &self.stop))?;
        }
        let due = client.due(&mut lock(shared));
        due.into_iter().try_for_each(|frame| put(client, frame, &self.stop))?;
        Ok(true)
    }
}

fn put(client: &mut Client, frame: String, stop: &Stop) -> Result<(), ()> {
    client.socket.send(frame, PATIENCE, stop).map_err(drop)
}

impl Client {
    /// What is said to a frame. An error ends the link.
    fn hear(&mut self, frame: &Value, token: &str, has_ids: bool, state: &mut State) -> Result<Vec<String>, ()> {
        let word = |name: &str| frame[name].as_str().unwrap_or_default();
        match word("type") {
            "auth" if word("token") == token => {
                self.is_in = true;
                let hello = has_ids.then(|| r#"{"type":"hello","v":2,"dropped":0}"#.to_owned());
                Ok(hello.into_iter().chain([status_frame(state.status)]).collect())
            }
            _ if !self.is_in => Err(()),
            "hello" => {
                self.has_ids = true;
                Ok(Vec::new())
            }
            "ack" => {
                let id = word("id");
                if let Some(at) = state.kept.iter().position(|kept| kept.carried && kept.id == id) {
                    state.kept.remove(at);
                }
                Ok(Vec::new())
            }
            // It would know no repeat of it. Our own clients never do that.
            "send" if has_ids && !(self.has_ids && frame["id"].is_string()) => Err(()),
            "send" => {
                if state.sent.len() < SENT_MAX {
                    state.sent.push(Sent { to: word("to").to_owned(), text: word("text").to_owned() });
                }
                let id = if self.has_ids { format!(r#","id":{}"#, frame["id"]) } else { String::new() };
                let answer = format!(r#"{{"type":"sent","to":{}{id}}}"#, frame["to"]);
                Ok(if state.withheld { Vec::new() } else { vec![answer] })
            }
            _ => Ok(vec![format!(r#"{{"type":"sent","to":{}}}"#, frame["to"])]),
        }
    }

    /// What is to be said of itself.
    fn due(&self, state: &mut State) -> Vec<String> {
        if !self.is_in {
            return Vec::new();
        }
        let mut due: Vec<String> = state.sayings.drain(..).collect();
        if self.has_ids {
            let waiting = state.kept.iter_mut().take(UNACKED_MAX).filter(|kept| !kept.carried);
            due.extend(waiting.map(|kept| {
                kept.carried = true;
                kept.frame.clone()
            }));
        }
        due
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn status_frame(status: &str) -> String {
    format!(r#"{{"type":"status","status":"{status}"}}"#)
}

/// As JSON.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether an error only says that nothing is there yet.
pub fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
