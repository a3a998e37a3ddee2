//! [`Transport`] over ureq and rustls. Connections are kept and reused. Redirects are not
//! followed, compression is not asked for and not accepted, certificates are the host's, or bundled ones where the host
//! has none. The usual proxy variables are honoured.
//!
//! Two parts of ureq that semver does not cover yet are used, both here: a resolver that skips looking up what is an
//! address already (ureq would start a thread for it), and a connector that notes how far an exchange came. Without
//! that note a failed send could not be told from one that may have arrived.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error, RequestBuilder, Timeout};

use crate::base::cancel::Cancel;
use crate::net::http::{
    BODY_BYTES_MAX, CONNECT_TIMEOUT, HEADER_BYTES_MAX, Head, Method, Phase, Request, Transport, TransportError,
};

/// Buffers of a connection, each way. ureq's own default suits servers, not a Pi.
const BUFFER_BYTES: usize = 16 * 1024;

/// Idle connections kept, and for how long: as long as servers commonly keep theirs.
const IDLE_CONNECTIONS_MAX: usize = 4;
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);

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
        let progress = Arc::clone(&self.progress);
        let outcome =
            cancel.while_waiting(move || to_wake.clone().shutdown(), || send(&agent, request, &progress, sink));
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
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_idle_connections(IDLE_CONNECTIONS_MAX)
        .max_idle_age(IDLE_AGE_MAX)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT));
    if secure {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        config = config.tls_config(
            TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots().clone()).build(),
        );
    }
    let connector = DefaultConnector::default().chain(Watch(Arc::clone(&progress)));
    Agent::with_parts(config.build(), connector, Lookup(progress, DefaultResolver::default()))
}

/// The host's certificates, or the bundled ones of Mozilla where it has none. Read once.
fn roots() -> &'static RootCerts {
    static ROOTS: OnceLock<RootCerts> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            log::warn!("no certificates on this host: the bundled ones are used");
            return RootCerts::WebPki;
        }
        RootCerts::from(found.certs.iter().map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned()))
    })
}

fn send(
    agent: &Agent,
    request: &Request<'_>,
    progress: &Progress,
    sink: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
) -> Result<Head, TransportError> {
    let response = match request.method {
        Method::Get => bounded(agent.get(request.url), request).call(),
        Method::Post => {
            bounded(agent.post(request.url).header("content-type", "application/json"), request).send(request.body)
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
fn bounded<B>(mut call: RequestBuilder<B>, request: &Request<'_>) -> RequestBuilder<B> {
    for (name, value) in request.headers {
        call = call.header(*name, value);
    }
    call.config()
        .timeout_global(Some(request.total))
        .timeout_recv_response(request.silence)
        .timeout_per_read(request.silence)
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
            return Err(TransportError { phase: Phase::Refused, sent: true });
        }
    }
}

/// What an error of ureq means, with the help of how far the exchange had come.
fn failed(error: &Error, progress: &Progress, silence: Phase) -> TransportError {
    let reached = progress.get();
    let phase = match error {
        _ if reached < Reached::Resolved as u8 => Phase::Resolve,
        _ if reached < Reached::Connected as u8 => connecting(error),
        Error::Timeout(Timeout::Global | Timeout::PerCall) => Phase::Total,
        Error::Timeout(_) => silence,
        Error::LargeResponseHeader(..) => Phase::TooLarge,
        Error::Protocol(_) | Error::Http(_) => Phase::Malformed,
        _ => Phase::Cut,
    };
    TransportError { phase, sent: reached >= Reached::Sent as u8 }
}

fn connecting(error: &Error) -> Phase {
    match error {
        Error::Rustls(_) | Error::Tls(_) | Error::Pem(_) => Phase::Tls,
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Phase::Tls,
        _ => Phase::Connect,
    }
}

/// How far the exchange under way has come.
#[derive(Debug, Default)]
struct Progress(AtomicU8);

enum Reached {
    Nothing = 0,
    Resolved = 1,
    Connected = 2,
    Sent = 3,
}

impl Progress {
    fn reset(&self) {
        self.0.store(Reached::Nothing as u8, Ordering::SeqCst);
    }

    fn reach(&self, reached: Reached) {
        self.0.fetch_max(reached as u8, Ordering::SeqCst);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Looks up names, and only names.
#[derive(Debug)]
struct Lookup(Arc<Progress>, DefaultResolver);

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = match as_address(uri) {
            Some(address) => {
                let mut found = self.empty();
                found.push(address);
                found
            }
            None => self.1.resolve(uri, config, timeout)?,
        };
        self.0.reach(Reached::Resolved);
        Ok(found)
    }
}

fn as_address(uri: &Uri) -> Option<std::net::SocketAddr> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Some((host.parse::<std::net::IpAddr>().ok()?, port).into())
}

/// Notes that a connection stands, and that a byte of the request leaves.
#[derive(Debug)]
struct Watch(Arc<Progress>);

impl Connector<Box<dyn ureq::unversioned::transport::Transport>> for Watch {
    type Out = Watched;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<Box<dyn ureq::unversioned::transport::Transport>>,
    ) -> Result<Option<Watched>, Error> {
        self.0.reach(Reached::Connected);
        Ok(chained.map(|inner| Watched { inner, progress: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct Watched {
    inner: Box<dyn ureq::unversioned::transport::Transport>,
    progress: Arc<Progress>,
}

impl ureq::unversioned::transport::Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.progress.reach(Reached::Sent);
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
