//! The `endpoint` thread: `/livez`, `/readyz` and `/metrics` over HTTP, if the operator wants them (`RUSTY_PINCH_HEALTH_ADDR`).
//! One thread waits for everything at once, so nobody who connects costs another one, and nobody who is slow holds anybody up.
//!
//! Whether the threads live is answered from memory: the disk may stand still then.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::base::clock::{Clock, Mono};
use crate::config::live_secret::LiveSecret;
use crate::observe::board::Board;
use crate::observe::metrics_log::Metrics;
use crate::observe::metrics_text::CONTENT_TYPE;
use crate::runtime::endpoint_request::{self as request, Asked, Page, REQUEST_BYTES_MAX};
use crate::sys::files;
use crate::sys::heartbeat::Heart;
use crate::sys::queue::bounded;
use crate::sys::thread::spawn;

/// Connections at the same time. One more takes the place of the oldest, so that those who only connect keep nobody out.
const CONNECTIONS_MAX: usize = 4;

/// How long a connection may take, from its first byte to our last.
const TIME_MAX: Duration = Duration::from_secs(2);

/// How long one round may take once somebody is there.
const ROUND_MAX: Duration = Duration::from_secs(30);

/// A pause when the system gives no connection, for example because it has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// How often an address that somebody else has is tried again.
const TAKEN_PAUSE: Duration = Duration::from_secs(2);

/// What the thread needs.
pub struct Endpoint {
    /// Who may ask: whoever brings it, or everybody.
    pub token: Option<LiveSecret>,
    /// What is known.
    pub board: Arc<Board>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    _waker: UnixStream,
}

impl Endpoint {
    /// Listens on `address` and starts the thread. An address that is taken, perhaps by a worker that is just ending, is tried
    /// again, every [`TAKEN_PAUSE`].
    ///
    /// # Errors
    /// When nobody can listen there, or when others could reach it and there is no token.
    pub fn start(self, address: &str) -> io::Result<Running> {
        let found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        if self.token.is_none() && found.iter().any(|address| !address.ip().is_loopback()) {
            let error = "others can reach this address: set RUSTY_PINCH_HEALTH_TOKEN";
            return Err(io::Error::new(ErrorKind::InvalidInput, error));
        }
        let listener = match TcpListener::bind(found.as_slice()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                log::warn!("RUSTY_PINCH_HEALTH_ADDR: {address}: {error}; the worker goes on without until it is free");
                None
            }
            bound => Some(bound?),
        };
        let (waker, woken) = UnixStream::pair()?;
        let heart = self.board.heart("endpoint");
        let (exits, _) = bounded(1);
        spawn("endpoint", exits, move || {
            let listener = listener.or_else(|| when_free(&found, &woken));
            if let Some(listener) = listener.filter(|listener| listener.set_nonblocking(true).is_ok()) {
                self.board.set_endpoint(listener.local_addr().ok().map(|address| address.to_string()));
                Server { endpoint: self, listener, woken, heart, connections: Vec::new() }.serve();
            }
            Ok(())
        })?;
        Ok(Running { _waker: waker })
    }

    /// Status, kind and body of a page.
    fn show(&self, page: Page) -> (u16, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match page {
            Page::Live => match self.board.overdue() {
                overdue if overdue.is_empty() => (200, TEXT, "alive\n".to_owned()),
                overdue => (503, TEXT, ["overdue: ", &overdue.join(", "), "\n"].concat()),
            },
            Page::Ready => {
                let ready = self.ready();
                let body = serde_json::to_string(&ready).unwrap_or_default() + "\n";
                (if ready.ready { 200 } else { 503 }, "application/json", body)
            }
            Page::Metrics => (200, CONTENT_TYPE, self.metrics.exposition(None)),
        }
    }

    fn ready(&self) -> Ready {
        let mut whole = Ready::default();
        for (id, status, _) in self.board.all() {
            let new = |known: &Vec<String>, more: &[String]| {
                more.iter().filter(|more| !known.contains(more)).cloned().collect::<Vec<String>>()
            };
            whole.reasons.extend(new(&whole.reasons, &status.reasons));
            whole.degraded.extend(new(&whole.degraded, &status.degraded));
            whole.channels.push(Channel {
                channel: id.name(),
                ready: status.ready,
                reasons: status.reasons,
                degraded: status.degraded,
            });
        }
        whole.ready = whole.reasons.is_empty();
        whole
    }
}

/// Waits until the address is free. `None`: it is over.
fn when_free(found: &[SocketAddr], woken: &UnixStream) -> Option<TcpListener> {
    let pause = Timespec::try_from(TAKEN_PAUSE).ok();
    loop {
        let mut waited = [PollFd::new(woken, PollFlags::IN)];
        // A signal is no news.
        let _ = poll(&mut waited, pause.as_ref());
        if !waited[0].revents().is_empty() {
            return None;
        }
        if let Ok(listener) = TcpListener::bind(found) {
            return Some(listener);
        }
    }
}

/// The body of `/readyz`.
#[derive(Default, Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<String>,
    degraded: Vec<String>,
    channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Channel {
    channel: &'static str,
    ready: bool,
    reasons: Vec<String>,
    degraded: Vec<String>,
}

struct Server {
    endpoint: Endpoint,
    listener: TcpListener,
    woken: UnixStream,
    heart: Heart,
    /// Oldest first.
    connections: Vec<Connection>,
}

impl Server {
    fn serve(mut self) {
        loop {
            match self.connections.first() {
                None => self.heart.rests(),
                Some(_) => self.heart.within(ROUND_MAX),
            }
            let Some((is_new, ready)) = self.wait() else { return };
            self.heart.within(ROUND_MAX);
            let now = self.endpoint.clock.mono();
            let mut place = 0;
            for is_ready in ready {
                let connection = &mut self.connections[place];
                if now >= connection.until || is_ready && connection.go_on(&self.endpoint).is_none() {
                    self.connections.remove(place);
                } else {
                    place += 1;
                }
            }
            if is_new {
                self.accept(now);
            }
        }
    }

    /// Whether somebody new is there, and for each connection whether it can go on. `None`: it is over.
    fn wait(&self) -> Option<(bool, Vec<bool>)> {
        let mut waited = vec![PollFd::new(&self.woken, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        waited.extend(self.connections.iter().map(|connection| PollFd::new(&connection.stream, connection.wish())));
        let now = self.endpoint.clock.mono();
        let left = self.connections.first().map(|oldest| now.until(oldest.until) + Duration::from_millis(1));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // A signal is no news.
        let _ = poll(&mut waited, left.as_ref());
        let mut ready = waited.iter().map(|one| !one.revents().is_empty());
        if ready.next()? {
            return None;
        }
        Some((ready.next()?, ready.collect()))
    }

    fn accept(&mut self, now: Mono) {
        match self.listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                if self.connections.len() == CONNECTIONS_MAX {
                    self.connections.remove(0);
                }
                let (until, received, response) = (now.after(TIME_MAX), Vec::new(), None);
                self.connections.push(Connection { stream, until, received, response });
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => files::pause(PAUSE),
        }
    }
}

struct Connection {
    stream: TcpStream,
    until: Mono,
    received: Vec<u8>,
    /// The bytes, and how many of them are sent.
    response: Option<(Vec<u8>, usize)>,
}

impl Connection {
    fn wish(&self) -> PollFlags {
        if self.response.is_some() { PollFlags::OUT } else { PollFlags::IN }
    }

    /// Reads or writes what can be read or written now. `None`: it is over.
    fn go_on(&mut self, endpoint: &Endpoint) -> Option<()> {
        if self.response.is_none() {
            let mut bytes = [0; 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
                Err(error) => return is_passing(&error).then_some(()),
            }
            self.received.truncate(REQUEST_BYTES_MAX);
            let token = endpoint.token.as_ref().map(LiveSecret::current);
            let response = match request::read(&self.received, token.as_ref().map(|token| token.reveal())) {
                Asked::More => return Some(()),
                Asked::Refuse(status) => request::response(status, "text/plain", "", false),
                Asked::Show { page, is_head } => {
                    let (status, kind, body) = endpoint.show(page);
                    request::response(status, kind, &body, is_head)
                }
            };
            self.response = Some((response, 0));
        }
        let (bytes, sent) = self.response.as_mut()?;
        match self.stream.write(&bytes[*sent..]) {
            Ok(0) => None,
            Ok(length) => {
                *sent += length;
                (*sent < bytes.len()).then_some(())
            }
            Err(error) => is_passing(&error).then_some(()),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
