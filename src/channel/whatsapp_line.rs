//! [`Line`]: the socket to a bridge, if there is one. The first thing that goes wrong ends it and is kept until it is
//! asked for, so that whoever writes in between need not look.

use std::time::Duration;

use crate::channel::whatsapp_limits::LinkLimits;
use crate::channel::whatsapp_trouble::Lost;
use crate::net::websocket::{Dialer, Heard, WebSocket, WebSocketError};
use crate::sys::stop::Stop;

/// A socket, or what became of it.
pub struct Line {
    dialer: Dialer,
    limits: LinkLimits,
    stop: Stop,
    socket: Option<WebSocket>,
    failure: Option<Lost>,
}

impl Line {
    /// Not connected.
    pub fn new(dialer: Dialer, limits: LinkLimits, stop: Stop) -> Line {
        Line { dialer, limits, stop, socket: None, failure: None }
    }

    /// Connects. `None`: we are stopping.
    ///
    /// # Errors
    /// Why there is no link.
    pub fn dial(&mut self) -> Result<Option<()>, Lost> {
        match self.dialer.dial(self.limits.connect, self.limits.handshake, &self.stop) {
            Ok(socket) => {
                (self.socket, self.failure) = (Some(socket), None);
                Ok(Some(()))
            }
            Err(WebSocketError::Stopped) => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }

    /// Whether anything can be written.
    pub fn is_up(&self) -> bool {
        self.socket.is_some()
    }

    /// What ended the socket, once.
    pub fn take_failure(&mut self) -> Option<Lost> {
        self.failure.take()
    }

    /// Ends it without a word: the other side is not there, or not to be trusted with one.
    pub fn drop_it(&mut self) {
        (self.socket, self.failure) = (None, None);
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        self.socket.take().into_iter().for_each(WebSocket::close);
    }

    /// Writes a frame.
    pub fn put(&mut self, text: String) {
        let Line { socket: Some(socket), limits, stop, .. } = self else { return };
        let outcome = socket.send(text, limits.write, stop);
        self.note(outcome);
    }

    /// Sends a ping.
    pub fn ping(&mut self, payload: Vec<u8>) {
        let Line { socket: Some(socket), limits, stop, .. } = self else { return };
        let outcome = socket.ping(payload, limits.write, stop);
        self.note(outcome);
    }

    /// The next that comes within `slice`.
    pub fn read(&mut self, slice: Duration) -> Option<Heard> {
        let outcome = self.socket.as_mut()?.read(slice);
        self.note(outcome).flatten()
    }

    fn note<T>(&mut self, outcome: Result<T, WebSocketError>) -> Option<T> {
        outcome.map_err(|error| (self.socket, self.failure) = (None, Some(lost(error)))).ok()
    }
}

/// What an error of the socket means for the link.
fn lost(error: WebSocketError) -> Lost {
    match error {
        WebSocketError::Unreachable | WebSocketError::Stopped => Lost::Unreachable,
        WebSocketError::Untrusted => Lost::Untrusted,
        WebSocketError::Refused(status) => Lost::Refused { status },
        WebSocketError::NoHandshake => Lost::NoHandshake,
        WebSocketError::Closed(code) => Lost::Closed { code },
        WebSocketError::Broken => Lost::Broken,
        WebSocketError::Violation => Lost::Violation,
        WebSocketError::Stalled => Lost::Stalled,
    }
}
