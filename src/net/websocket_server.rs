//! The server's end of a websocket, for the bridge that `whatsapp validate` simulates. Plain, and with the limits of every
//! link; the same [`WebSocket`] once the handshake is done.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use crate::base::clock::Clock;
use crate::net::socket_options::options;
use crate::net::websocket::{Sliced, WebSocket, WebSocketError, Wire, limits};

/// Longest request of a handshake, in bytes.
const REQUEST_BYTES_MAX: usize = 8192;

/// What stands before a client's key. Header names have no fixed case.
const KEY: &str = "sec-websocket-key:";

impl WebSocket {
    /// Shakes hands with a client that has connected, within `limit`.
    ///
    /// # Errors
    /// It is gone, is too slow, or asks for something else than a websocket.
    pub fn accept(stream: TcpStream, limit: Duration, clock: Arc<dyn Clock>) -> Result<WebSocket, WebSocketError> {
        options(&stream).map_err(|_| WebSocketError::Broken)?;
        let until = Arc::new(AtomicU64::new(clock.mono().after(limit).0));
        let mut sliced = Sliced { stream, clock: Arc::clone(&clock), until: Arc::clone(&until) };
        let key = key_of(&request(&mut sliced)?).ok_or(WebSocketError::NoHandshake)?;
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
        let answer = [answer, derive_accept_key(key.as_bytes()).as_str(), "\r\n\r\n"].concat();
        sliced.write_all(answer.as_bytes()).map_err(|_| WebSocketError::Broken)?;
        until.store(0, Ordering::Relaxed);
        let inner = tungstenite::WebSocket::from_raw_socket(Wire::Plain(sliced), Role::Server, Some(limits()));
        Ok(WebSocket { inner, until, clock })
    }
}

/// A client says nothing more before it is answered, so nothing is behind the request.
fn request(sliced: &mut Sliced) -> Result<Vec<u8>, WebSocketError> {
    let (mut request, mut window) = (Vec::new(), [0; 512]);
    while !request.ends_with(b"\r\n\r\n") {
        match sliced.read(&mut window) {
            Ok(1..) if request.len() > REQUEST_BYTES_MAX => return Err(WebSocketError::Violation),
            Ok(count @ 1..) => request.extend_from_slice(&window[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(WebSocketError::NoHandshake),
            Ok(0) | Err(_) => return Err(WebSocketError::Broken),
        }
    }
    Ok(request)
}

fn key_of(request: &[u8]) -> Option<String> {
    let request = std::str::from_utf8(request).ok()?;
    let line = request.lines().find(|line| line.get(..KEY.len()).is_some_and(|name| name.eq_ignore_ascii_case(KEY)))?;
    Some(line[KEY.len()..].trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_under_its_name_in_any_case() {
        assert_eq!(key_of(b"GET / HTTP/1.1\r\nSEC-WebSocket-Key:  abc= \r\n\r\n").as_deref(), Some("abc="));
        assert_eq!(key_of(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), None);
        assert_eq!(key_of(b"\xff\r\n\r\n"), None);
    }
}
