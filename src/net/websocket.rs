//! One websocket to a server, plain or with TLS. With `websocket_server.rs` the only file that names the crate for it.
//!
//! Every wait ends at a time that we set, whatever the other side does: a byte now and then, a handshake that stands
//! still, or a window that stays closed. The socket never blocks; [`Sliced`] waits for it. Proxies are not used: a bridge
//! is near.
//!
//! Limits: [`FRAME_BYTES_MAX`] and [`MESSAGE_BYTES_MAX`] of what comes (more ends the link), [`WRITE_BYTES_MAX`] of what
//! waits to go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::client::client_with_config;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{HandshakeError, Message};

use crate::base::clock::{Clock, Mono};
use crate::net::crypto;
use crate::net::roots;
use crate::net::socket_options::options;
use crate::sys::queue::{bounded, select};
use crate::sys::stop::Stop;
use crate::sys::thread::spawn;

/// Longest frame and longest message that is taken, in bytes.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// The same over all frames of a message.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Most bytes that wait to be written.
pub const WRITE_BYTES_MAX: usize = 4 << 20;

/// Buffers of a link.
const BUFFER_BYTES: usize = 4096;

/// How often a wait looks whether we are stopping.
const SLICE: Duration = Duration::from_millis(250);

/// How long a write that stands still may go on once we are stopping.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// What is meant by a close without a code (RFC 6455, 7.1.5).
const NO_CODE: u16 = 1005;

/// Why there is no link, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketError {
    /// No address, or nobody there.
    Unreachable,
    /// TLS failed.
    Untrusted,
    /// The handshake was answered with another status of HTTP.
    Refused(u16),
    /// The handshake was not finished, or is none.
    NoHandshake,
    /// The other side said goodbye, with this code.
    Closed(u16),
    /// The connection broke.
    Broken,
    /// A rule of the protocol or a limit was broken.
    Violation,
    /// Nothing can be written.
    Stalled,
    /// We are stopping.
    Stopped,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A text.
    Text(String),
    /// Bytes, which nobody here understands.
    Binary,
    /// A ping; it is answered by itself.
    Ping,
    /// The answer to a ping.
    Pong(Vec<u8>),
}

/// Where to.
#[derive(Clone, Debug)]
struct Target {
    url: String,
    secure: bool,
    host: String,
    port: u16,
}

/// Makes links to one server.
#[derive(Clone)]
pub struct Dialer {
    target: Target,
    tls: Option<Arc<ClientConfig>>,
    clock: Arc<dyn Clock>,
}

impl Dialer {
    /// For a URL that was checked: `ws://` or `wss://`, a host, perhaps a port, a path and a query. `None`: it is none.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> Option<Dialer> {
        let target = Target::parse(url)?;
        let tls = target.secure.then(|| Arc::new(tls_config()));
        Some(Dialer { target, tls, clock })
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Why that did not work, within the limits.
    pub fn dial(&self, connect: Duration, handshake: Duration, stop: &Stop) -> Result<WebSocket, WebSocketError> {
        let stream = self.connect(connect, stop)?;
        options(&stream).map_err(|_| WebSocketError::Broken)?;
        let end = self.clock.mono().after(handshake);
        let until = Arc::new(AtomicU64::new(0));
        let sliced = Sliced { stream, clock: Arc::clone(&self.clock), until: Arc::clone(&until) };
        let wire = self.wire(sliced)?;
        let next = || until.store(self.clock.mono().after(SLICE).min(end).0, Ordering::Relaxed);
        next();
        let mut outcome = client_with_config(self.target.url.as_str(), wire, Some(limits()));
        loop {
            match outcome {
                Ok((inner, _)) => return Ok(WebSocket { inner, until, clock: Arc::clone(&self.clock) }),
                Err(HandshakeError::Failure(error)) => return Err(handshake_error(&error)),
                Err(HandshakeError::Interrupted(_)) if stop.requested() => return Err(WebSocketError::Stopped),
                Err(HandshakeError::Interrupted(_)) if self.clock.mono() >= end => {
                    return Err(WebSocketError::NoHandshake);
                }
                Err(HandshakeError::Interrupted(middle)) => {
                    next();
                    outcome = middle.handshake();
                }
            }
        }
    }

    /// Looking up a name cannot be interrupted, so it happens in a thread that is left alone if it takes too long.
    fn connect(&self, limit: Duration, stop: &Stop) -> Result<TcpStream, WebSocketError> {
        let (done, result) = bounded(1);
        let (exits, _) = bounded(1);
        let (host, port) = (self.target.host.clone(), self.target.port);
        let (clock, end) = (Arc::clone(&self.clock), self.clock.mono().after(limit));
        let work = move || {
            let addresses: Vec<SocketAddr> = (host.as_str(), port).to_socket_addrs().into_iter().flatten().collect();
            for (tried, address) in addresses.iter().enumerate() {
                // One that is dead takes its share of the time, and no more.
                let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
                let left = clock.mono().until(end) / untried;
                if left.is_zero() {
                    break;
                }
                if let Ok(stream) = TcpStream::connect_timeout(address, left) {
                    let _ = done.try_send(stream);
                    break;
                }
            }
            Ok(())
        };
        spawn("dial", exits, work).map_err(|_| WebSocketError::Unreachable)?;
        select! {
            recv(result.raw()) -> stream => result.opened(stream).map_err(|_| WebSocketError::Unreachable),
            recv(stop.receiver()) -> _ => Err(WebSocketError::Stopped),
            default(limit) => Err(WebSocketError::Unreachable),
        }
    }

    fn wire(&self, sliced: Sliced) -> Result<Wire, WebSocketError> {
        let Some(config) = &self.tls else { return Ok(Wire::Plain(sliced)) };
        let name = ServerName::try_from(self.target.host.clone()).map_err(|_| WebSocketError::Untrusted)?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(|_| WebSocketError::Untrusted)?;
        Ok(Wire::Secure(Box::new(StreamOwned::new(connection, sliced))))
    }
}

impl Target {
    fn parse(url: &str) -> Option<Target> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("wss");
        let authority = rest.split(['/', '?', '#']).next()?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(host, after)| (host, after.strip_prefix(':')))?,
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(if secure { 443 } else { 80 }), |port| port.parse().ok())?;
        Some(Target { url: url.to_owned(), secure, host: host.to_owned(), port })
    }
}

/// Of every link.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(MESSAGE_BYTES_MAX))
}

fn tls_config() -> ClientConfig {
    let mut trusted = RootCertStore::empty();
    match roots::of_host() {
        [] => trusted.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        found => drop(trusted.add_parsable_certificates(found.iter().cloned())),
    }
    let versions = ClientConfig::builder_with_provider(crypto::provider()).with_safe_default_protocol_versions();
    versions.expect("the provider has the usual versions").with_root_certificates(trusted).with_no_client_auth()
}

/// A socket that is waited for until a time; then everything that would have to wait says so.
pub(super) struct Sliced {
    pub(super) stream: TcpStream,
    pub(super) clock: Arc<dyn Clock>,
    /// Milliseconds, as [`Mono`].
    pub(super) until: Arc<AtomicU64>,
}

impl Sliced {
    /// A side that sends a byte now and then does not get beyond the time, either.
    fn within<T>(&mut self, flags: PollFlags, mut act: impl FnMut(&mut TcpStream) -> io::Result<T>) -> io::Result<T> {
        loop {
            let left = self.clock.mono().until(Mono(self.until.load(Ordering::Relaxed)));
            if left.is_zero() {
                return Err(ErrorKind::WouldBlock.into());
            }
            match act(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => return outcome,
            }
            let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            let left = Timespec { tv_sec: seconds, tv_nsec: i64::from(left.subsec_nanos()) };
            // An interrupted or failed wait only means that we look once more.
            let _ = poll(&mut [PollFd::new(&self.stream, flags)], Some(&left));
        }
    }
}

impl Read for Sliced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.within(PollFlags::IN, |stream| stream.read(buffer))
    }
}

impl Write for Sliced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.within(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) enum Wire {
    Plain(Sliced),
    Secure(Box<StreamOwned<ClientConnection, Sliced>>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(sliced) => sliced.read(buffer),
            Wire::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(sliced) => sliced.write(bytes),
            Wire::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(sliced) => sliced.flush(),
            Wire::Secure(stream) => stream.flush(),
        }
    }
}

/// A link that stands.
pub struct WebSocket {
    pub(super) inner: tungstenite::WebSocket<Wire>,
    pub(super) until: Arc<AtomicU64>,
    pub(super) clock: Arc<dyn Clock>,
}

impl WebSocket {
    /// The next that comes within `slice`; `None`: nothing did.
    ///
    /// # Errors
    /// When the link is over.
    pub fn read(&mut self, slice: Duration) -> Result<Option<Heard>, WebSocketError> {
        self.wait_until(self.clock.mono().after(slice));
        match self.inner.read() {
            Ok(Message::Text(text)) => Ok(Some(Heard::Text(text.as_str().to_owned()))),
            Ok(Message::Binary(_) | Message::Frame(_)) => Ok(Some(Heard::Binary)),
            Ok(Message::Ping(_)) => Ok(Some(Heard::Ping)),
            Ok(Message::Pong(payload)) => Ok(Some(Heard::Pong(payload.to_vec()))),
            Ok(Message::Close(frame)) => Err(WebSocketError::Closed(frame.map_or(NO_CODE, |frame| frame.code.into()))),
            Err(error) if would_block(&error) => Ok(None),
            Err(error) => Err(link_error(&error)),
        }
    }

    /// Sends a text, all of it, within `limit`.
    ///
    /// # Errors
    /// When the link is over. Nobody knows then whether the text arrived.
    pub fn send(&mut self, text: String, limit: Duration, stop: &Stop) -> Result<(), WebSocketError> {
        self.put(Message::text(text), limit, stop)
    }

    /// Sends a ping with this payload, of at most 125 bytes.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn ping(&mut self, payload: Vec<u8>, limit: Duration, stop: &Stop) -> Result<(), WebSocketError> {
        self.put(Message::Ping(payload.into()), limit, stop)
    }

    fn put(&mut self, message: Message, limit: Duration, stop: &Stop) -> Result<(), WebSocketError> {
        let begun = self.clock.mono();
        let end = begun.after(limit);
        self.wait_until(begun.after(SLICE).min(end));
        let mut outcome = self.inner.write(message);
        loop {
            match outcome {
                Ok(()) => {}
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(link_error(&error)),
            }
            let now = self.clock.mono();
            if now >= end || stop.requested() && now >= begun.after(LAST_WRITE) {
                return Err(WebSocketError::Stalled);
            }
            self.wait_until(now.after(SLICE).min(end));
            match self.inner.flush() {
                Ok(()) => return Ok(()),
                Err(error) => outcome = Err(error),
            }
        }
    }

    /// Says goodbye, without waiting for an answer.
    pub fn close(mut self) {
        self.wait_until(self.clock.mono().after(SLICE));
        let _ = self.inner.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }));
        let _ = self.inner.flush();
    }

    fn wait_until(&self, until: Mono) {
        self.until.store(until.0, Ordering::Relaxed);
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn handshake_error(error: &Error) -> WebSocketError {
    match error {
        Error::Http(response) => WebSocketError::Refused(response.status().as_u16()),
        Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            WebSocketError::Untrusted
        }
        Error::Io(_) => WebSocketError::Broken,
        _ => WebSocketError::NoHandshake,
    }
}

fn link_error(error: &Error) -> WebSocketError {
    match error {
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => WebSocketError::Broken,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => WebSocketError::Broken,
        _ => WebSocketError::Violation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, want: Option<(bool, &str, u16)>) {
        let target = Target::parse(url).map(|target| (target.secure, target.host, target.port));
        assert_eq!(target, want.map(|(secure, host, port)| (secure, host.to_owned(), port)), "{url}");
    }

    #[test]
    fn a_url_names_a_host_and_a_port() {
        check("ws://localhost:3001", Some((false, "localhost", 3001)));
        check("wss://bridge.example/ws?session=x", Some((true, "bridge.example", 443)));
        check("ws://[::1]/x", Some((false, "::1", 80)));
        check("WSS://[::1]:99", Some((true, "::1", 99)));
        check("bridge", None);
    }
}
