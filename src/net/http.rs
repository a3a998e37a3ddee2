//! What an exchange is: [`Request`], [`Head`], [`TransportError`] and the trait [`Transport`] that joins them.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::base::cancel::Cancel;

/// Largest response body accepted, in bytes.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// Largest response header accepted, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Limit of resolving a name, and of connecting.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is done at the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads something that costs nothing; has no body.
    Get,
    /// Sends a JSON body.
    Post,
}

/// What we ask for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// With or without a body.
    pub method: Method,
    /// Where to. May hold a bot token, so it never appears in an error or a log.
    pub url: &'a str,
    /// Besides those of every request.
    pub headers: &'a [(&'static str, String)],
    /// JSON. A GET has none, whatever is here.
    pub body: &'a [u8],
    /// Longest silence: before the first byte of the response, and between two reads. `None`: only `total` counts.
    pub silence: Option<Duration>,
    /// Limit of the whole exchange.
    pub total: Duration,
}

/// The beginning of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// `content-type`, as sent.
    pub content_type: Option<String>,
    /// `retry-after`, as sent.
    pub retry_after: Option<String>,
    /// `retry-after-ms`, as sent.
    pub retry_after_ms: Option<String>,
}

/// How far an exchange came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The name has no address.
    Resolve,
    /// No connection.
    Connect,
    /// No trusted connection.
    Tls,
    /// Connected, but no response began in time.
    FirstByte,
    /// The response stopped.
    Idle,
    /// The whole exchange took too long.
    Total,
    /// The connection ended within the exchange.
    Cut,
    /// The response is no HTTP, or compressed although we did not ask for it.
    Malformed,
    /// The response is larger than we accept.
    TooLarge,
    /// The reader of the body had enough.
    Refused,
    /// We were told to stop.
    Cancelled,
}

/// Why there is no response. Holds no URL and no header, so it may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// How far it came.
    pub phase: Phase,
    /// Whether any byte of the request may have left: if not, the other side certainly did nothing.
    pub sent: bool,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.phase {
            Phase::Resolve => "the host name could not be resolved",
            Phase::Connect => "no connection",
            Phase::Tls => "no trusted TLS connection",
            Phase::FirstByte => "no response in time",
            Phase::Idle => "the response stopped",
            Phase::Total => "the exchange took too long",
            Phase::Cut => "the connection was cut",
            Phase::Malformed => "the response is not HTTP as we speak it",
            Phase::TooLarge => "the response is too large",
            Phase::Refused => "the response was not wanted any more",
            Phase::Cancelled => "cancelled",
        })
    }
}

/// Blocking exchanges, one at a time.
pub trait Transport: Send {
    /// Sends `request`; `sink` sees the head with the body's bytes as they arrive, and hangs up with `Break`.
    fn exchange(
        &mut self,
        request: &Request<'_>,
        cancel: &Cancel,
        sink: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
    ) -> Result<Head, TransportError>;
}

/// An exchange whose body is collected, up to `bytes_max`.
pub fn collect(
    transport: &mut dyn Transport,
    request: &Request<'_>,
    cancel: &Cancel,
    bytes_max: usize,
) -> Result<(Head, Vec<u8>), TransportError> {
    let mut body = Vec::new();
    let outcome = transport.exchange(request, cancel, &mut |_, bytes| {
        body.extend_from_slice(bytes);
        if body.len() > bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match outcome {
        Ok(_) if body.len() > bytes_max => Err(TransportError { phase: Phase::TooLarge, sent: true }),
        Err(error) if error.phase == Phase::Refused => Err(TransportError { phase: Phase::TooLarge, sent: true }),
        outcome => outcome.map(|head| (head, body)),
    }
}
