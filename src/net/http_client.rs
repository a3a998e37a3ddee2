//! [`Transport`] over ureq and rustls, on the connections of [`super::http_wire`]. They are kept and reused. Redirects
//! are not followed, compression is not asked for and not accepted, certificates are the host's, or bundled ones where
//! the host has none. The usual proxy variables are honoured.
//!
//! Every phase has a limit: looking up and connecting (with TLS) [`CONNECT_TIMEOUT`] each, the first byte and every
//! silence after it what the request says, and all of it together the request's total. A cancel ends each of them at
//! once: sockets are shut down, and what the system does not let us interrupt happens in a thread that is left alone.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, Body, Error, RequestBuilder};

use crate::base::cancel::Cancel;
use crate::net::crypto;
use crate::net::http::{
    BODY_BYTES_MAX, CONNECT_TIMEOUT, HEADER_BYTES_MAX, Head, Method, Phase, Request, Transport, TransportError,
};
use crate::net::http_wire::{Dial, Lookup, Progress, Watch, failed};
use crate::net::roots;

/// Buffers of a connection. ureq's own default suits servers, not a Pi; but a header over the limit, or a flood of
/// interim responses (1xx), is only known as such if more of it than the limit fits in.
const OUTPUT_BYTES: usize = 16 * 1024;
const INPUT_BYTES: usize = HEADER_BYTES_MAX + 1024;

/// Idle connections kept, and for how long: as long as servers commonly keep theirs.
const IDLE_CONNECTIONS_MAX: usize = 4;
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);

/// After the reader hung up, so much of the body is still read, within [`REST_TIMEOUT`](super::http_wire::REST_TIMEOUT):
/// a connection is only used again if its body was read to the end, and the end of a stream comes right after its last
/// event.
const REST_BYTES_MAX: usize = 16 * 1024;

const USER_AGENT: &str = concat!("rusty-pinch/", env!("CARGO_PKG_VERSION"));

/// One thread's client.
pub struct HttpClient {
    secure: bool,
    agent: Option<Agent>,
    progress: Arc<Progress>,
}

impl HttpClient {
    /// A client without connections. Trusted certificates are only loaded if it is to be `secure`.
    pub fn new(secure: bool) -> HttpClient {
        HttpClient { secure, agent: None, progress: Arc::new(Progress::default()) }
    }

    fn agent(&mut self) -> Agent {
        let (secure, progress) = (self.secure, Arc::clone(&self.progress));
        self.agent.get_or_insert_with(|| new_agent(secure, progress)).clone()
    }
}

impl Transport for HttpClient {
    fn exchange(
        &mut self,
        request: &Request<'_>,
        cancel: &Cancel,
        sink: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
    ) -> Result<Head, TransportError> {
        let agent = self.agent();
        let to_wake = agent.clone();
        self.progress.reset();
        let (progress, to_interrupt) = (Arc::clone(&self.progress), Arc::clone(&self.progress));
        let wake = move || {
            to_interrupt.interrupt();
            to_wake.clone().shutdown();
        };
        let outcome = cancel.while_waiting(wake, || send(&agent, request, &progress, sink));
        if cancel.requested() {
            // A shut down agent stays shut down.
            self.agent = None;
            return outcome.map_err(|error| TransportError { phase: Phase::Cancelled, ..error });
        }
        outcome
    }
}

fn new_agent(secure: bool, progress: Arc<Progress>) -> Agent {
    let mut config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept("application/json")
        .accept_encoding("identity")
        .max_response_header_size(HEADER_BYTES_MAX)
        .input_buffer_size(INPUT_BYTES)
        .output_buffer_size(OUTPUT_BYTES)
        .max_idle_connections(IDLE_CONNECTIONS_MAX)
        .max_idle_age(IDLE_AGE_MAX)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT));
    if secure {
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(crypto::provider());
        config = config.tls_config(tls.root_certs(trusted()).build());
    }
    let config = config.build();
    progress.begins_with_proxy(config.proxy().is_some());
    let connector = ConnectProxyConnector::default()
        .chain(Dial(Arc::clone(&progress)))
        .chain(RustlsConnector::default())
        .chain(Watch(Arc::clone(&progress)));
    Agent::with_parts(config, connector, Lookup(progress))
}

fn trusted() -> RootCerts {
    match roots::of_host() {
        [] => RootCerts::WebPki,
        found => RootCerts::from(found.iter().map(|certificate| Certificate::from_der(certificate).to_owned())),
    }
}

fn send(
    agent: &Agent,
    request: &Request<'_>,
    progress: &Progress,
    sink: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
) -> Result<Head, TransportError> {
    let response = match request.method {
        Method::Get => with_limits(agent.get(request.url), request).call(),
        Method::Post => {
            with_limits(agent.post(request.url).header("content-type", "application/json"), request).send(request.body)
        }
    };
    let response = response.map_err(|error| failed(&error, progress, Phase::FirstByte))?;
    let (parts, body) = response.into_parts();
    if header(&parts.headers, "content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(TransportError { phase: Phase::Malformed, sent: true });
    }
    let head = Head {
        status: parts.status.as_u16(),
        content_type: header(&parts.headers, "content-type"),
        retry_after: header(&parts.headers, "retry-after"),
        retry_after_ms: header(&parts.headers, "retry-after-ms"),
    };
    read_body(&head, body, progress, sink)?;
    Ok(head)
}

/// The headers and limits of `request`.
fn with_limits<B>(mut call: RequestBuilder<B>, request: &Request<'_>) -> RequestBuilder<B> {
    for (name, value) in request.headers {
        call = call.header(*name, value);
    }
    call.config()
        .timeout_global(Some(request.total))
        .timeout_recv_response(request.silence)
        .timeout_per_read(request.silence)
        .timeout_per_write(request.silence)
        .build()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn read_body(
    head: &Head,
    body: Body,
    progress: &Progress,
    sink: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
) -> Result<(), TransportError> {
    let mut reader = body.into_reader();
    let mut buffer = [0; 8 * 1024];
    let mut total = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&Error::from(error), progress, Phase::Idle)),
        };
        total += count;
        if total > BODY_BYTES_MAX {
            return Err(TransportError { phase: Phase::TooLarge, sent: true });
        }
        if sink(head, &buffer[..count]).is_break() {
            read_rest(&mut reader, &mut buffer, progress);
            return Err(TransportError { phase: Phase::Refused, sent: true });
        }
    }
}

/// However this ends, the exchange is over.
fn read_rest(reader: &mut impl Read, buffer: &mut [u8], progress: &Progress) {
    progress.is_over();
    let mut total = 0;
    while let Ok(count) = reader.read(buffer) {
        total += count;
        if count == 0 || total > REST_BYTES_MAX {
            return;
        }
    }
}
