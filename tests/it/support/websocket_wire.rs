//! The server's half of RFC 6455 by hand, so that a bridge can say what no library would: the handshake, frames in and
//! frames out. Nothing of it is the product's.

use std::io::{ErrorKind, Read, Write};

use tungstenite::handshake::derive_accept_key;

/// Anything that a link goes over.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame with its end, not masked, as servers send them.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => bytes.push(short as u8),
        middle @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// The same as a client sends it: masked, with a mask that changes nothing.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(opcode, payload);
    let head = bytes.len() - payload.len();
    bytes[1] |= 0x80;
    bytes.splice(head..head, [0; 4]);
    bytes
}

pub fn text(payload: &str) -> Vec<u8> {
    frame(TEXT, payload.as_bytes())
}

pub fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// Bytes that came and are not a whole frame yet.
#[derive(Default)]
pub struct Inbox(Vec<u8>);

impl Inbox {
    /// Reads what is there. `false`: the client has gone.
    pub fn fill(&mut self, wire: &mut dyn Wire) -> bool {
        let mut window = [0; 16 * 1024];
        match wire.read(&mut window) {
            Ok(0) => false,
            Ok(count) => {
                self.0.extend(&window[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
        }
    }

    /// The request of the handshake, once it is whole.
    pub fn request(&mut self) -> Option<String> {
        let end = self.0.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let request = self.0.drain(..end).collect::<Vec<u8>>();
        Some(String::from_utf8_lossy(&request).into_owned())
    }

    /// The next frame of a client: its opcode and its payload, without the mask.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        assert!(self.0.get(1).is_none_or(|byte| byte & 0x80 != 0), "a client masks its frames");
        self.frame_of_anybody()
    }

    /// The next frame, masked or not.
    pub fn frame_of_anybody(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.0.get(..2)?;
        let (opcode, short, is_masked) = (head[0] & 0x0f, usize::from(head[1] & 0x7f), head[1] & 0x80 != 0);
        let (length, at) = match short {
            126 => (usize::from(u16::from_be_bytes(self.0.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(self.0.get(2..10)?.try_into().ok()?) as usize, 10),
            short => (short, 2),
        };
        let mask: [u8; 4] = if is_masked { self.0.get(at..at + 4)?.try_into().ok()? } else { [0; 4] };
        let at = if is_masked { at + 4 } else { at };
        let payload = self.0.get(at..at + length)?;
        let payload = payload.iter().enumerate().map(|(number, byte)| byte ^ mask[number % 4]).collect();
        self.0.drain(..at + length);
        Some((opcode, payload))
    }
}

/// The answer to a request that asks for a websocket.
pub fn accept(request: &str) -> String {
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_string())
    });
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
