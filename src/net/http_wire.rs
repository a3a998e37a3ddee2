//! What lies below an exchange: looking up a name, dialling, TLS, and notes of how far it came. Without these notes a
//! failed send could not be told from one that may have arrived.
//!
//! The parts of ureq that semver does not cover yet are all used here: a resolver that skips looking up what is an
//! address already, and connectors that note their success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport as Wire, time,
};
use ureq::{Error, Timeout};

use crate::net::http::{Phase, TransportError};
use crate::sys::queue::{Receiver, Sender, bounded, select};
use crate::sys::thread::spawn;

/// How long the rest of a body is waited for that nobody wants.
pub const REST_TIMEOUT: Duration = Duration::from_millis(250);

/// What an error of ureq means, with the help of how far the exchange had come.
pub fn failed(error: &Error, progress: &Progress, silence: Phase) -> TransportError {
    let reached = progress.reached.load(Ordering::SeqCst);
    let phase = match error {
        Error::Timeout(Timeout::Global | Timeout::PerCall) => Phase::Total,
        _ if reached < Reached::Resolved as u8 => Phase::Resolve,
        _ if reached < Reached::Linked as u8 => Phase::Connect,
        // A handshake that takes too long is the network's fault as a rule; every other end of it is a matter of trust.
        Error::Timeout(_) if reached < Reached::Connected as u8 => Phase::Connect,
        _ if reached < Reached::Connected as u8 => Phase::Tls,
        Error::Timeout(_) => silence,
        Error::LargeResponseHeader(..) => Phase::TooLarge,
        Error::Protocol(_) | Error::Http(_) => Phase::Malformed,
        _ => Phase::Cut,
    };
    TransportError { phase, sent: reached >= Reached::Sent as u8 }
}

/// How far the exchange under way has come, and the way to interrupt it.
#[derive(Debug)]
pub struct Progress {
    reached: AtomicU8,
    /// The reader has what it wanted.
    is_over: AtomicBool,
    /// A connection begins with another one, to a proxy, which is nothing to note.
    is_proxied: AtomicBool,
    /// One word, for whoever waits in [`Progress::beside`]. When it is full, it has been said.
    interrupt: (Sender<()>, Receiver<()>),
}

/// A step of an exchange, after those above it.
#[derive(Clone, Copy, Debug)]
enum Reached {
    /// It has begun.
    Nothing,
    /// The name has an address.
    Resolved,
    /// The other side has taken the connection.
    Linked,
    /// The connection is trusted.
    Connected,
    /// The request is leaving.
    Sent,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            reached: AtomicU8::new(Reached::Nothing as u8),
            is_over: AtomicBool::new(false),
            is_proxied: AtomicBool::new(false),
            interrupt: bounded(1),
        }
    }
}

impl Progress {
    /// A new exchange begins.
    pub fn reset(&self) {
        self.reached.store(Reached::Nothing as u8, Ordering::SeqCst);
        self.is_over.store(false, Ordering::SeqCst);
        let _ = self.interrupt.1.try_recv();
    }

    /// Whether connections go through a proxy.
    pub fn begins_with_proxy(&self, is_proxied: bool) {
        self.is_proxied.store(is_proxied, Ordering::SeqCst);
    }

    /// From now on nothing is waited for longer than [`REST_TIMEOUT`].
    pub fn is_over(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn reach(&self, reached: Reached) {
        self.reached.fetch_max(reached as u8, Ordering::SeqCst);
    }

    /// What a connection to the server itself has reached.
    fn reach_with(&self, details: &ConnectionDetails<'_>, reached: Reached) {
        if details.config.proxy().is_some() || !self.is_proxied.load(Ordering::SeqCst) {
            self.reach(reached);
        }
    }

    /// Ends a wait for what cannot be interrupted.
    pub fn interrupt(&self) {
        let _ = self.interrupt.0.try_send(());
    }

    /// Does `work`, which cannot be interrupted, in a thread of its own, and waits for it no longer than `limit` or
    /// until the cancel. A thread that is left alone ends when the system's own limit does.
    fn beside<T: Send + 'static>(
        &self,
        limit: NextTimeout,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = bounded(1);
        let (exits, _) = bounded(1);
        // Where the system has no thread to give, nobody will answer, and that is no connection.
        let _ = spawn("dial", exits, move || {
            let _ = done.try_send(work());
            Ok(())
        })
        .map_err(Error::Io)?;
        select! {
            recv(result.raw()) -> done => result.opened(done).unwrap_or(Err(Error::ConnectionFailed)),
            recv(self.interrupt.1.raw()) -> _ => Err(Error::ConnectionFailed),
            default(*limit.after) => Err(Error::Timeout(limit.reason)),
        }
    }
}

/// Looks up names, and only names.
#[derive(Debug)]
pub struct Lookup(pub Arc<Progress>);

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = match as_address(uri) {
            Some(address) => {
                let mut found = self.empty();
                found.push(address);
                found
            }
            None => {
                let (uri, config) = (uri.clone(), config.clone());
                // Without a limit of its own it starts no second thread.
                let unlimited = NextTimeout { after: time::Duration::NotHappening, ..timeout };
                self.0.beside(timeout, move || DefaultResolver::default().resolve(&uri, &config, unlimited))?
            }
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

/// Makes the TCP connection, unless a proxy has made one.
#[derive(Debug)]
pub struct Dial(pub Arc<Progress>);

impl<In: Wire> Connector<In> for Dial {
    type Out = Box<dyn Wire>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Box<dyn Wire>>, Error> {
        let wire: Option<Box<dyn Wire>> = match chained {
            Some(tunnel) => Some(Box::new(tunnel)),
            None => {
                let dial = owned(details, Arc::clone(&self.0));
                self.0.beside(details.timeout, dial)?
            }
        };
        self.0.reach_with(details, Reached::Linked);
        Ok(wire)
    }
}

/// ureq's own connector with `details` that last as long as its thread.
fn owned(
    details: &ConnectionDetails<'_>,
    progress: Arc<Progress>,
) -> impl FnOnce() -> Result<Option<Box<dyn Wire>>, Error> + Send + 'static {
    let (uri, config, addrs) = (details.uri.clone(), details.config.clone(), details.addrs.clone());
    let (request_level, now, timeout) = (details.request_level, details.now, details.timeout);
    let current_time = Arc::clone(&details.current_time);
    let (run_connector, register_shutdown) =
        (Arc::clone(&details.run_connector), Arc::clone(&details.register_shutdown));
    move || {
        let resolver = &Lookup(progress);
        let (uri, config) = (&uri, &config);
        let details = ConnectionDetails {
            uri,
            addrs,
            config,
            request_level,
            resolver,
            now,
            timeout,
            current_time,
            run_connector,
            register_shutdown,
        };
        let wire = TcpConnector::default().connect(&details, None::<()>)?;
        Ok(wire.map(|wire| Box::new(wire) as Box<dyn Wire>))
    }
}

/// Notes that a trusted connection stands, and that a byte of the request leaves.
#[derive(Debug)]
pub struct Watch(pub Arc<Progress>);

impl<In: Wire> Connector<In> for Watch {
    type Out = Watched;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Watched>, Error> {
        self.0.reach_with(details, Reached::Connected);
        // What goes to a proxy is not the request.
        let is_to_proxy = details.config.proxy().is_none() && self.0.is_proxied.load(Ordering::SeqCst);
        let watched = |inner| Watched { inner: Box::new(inner), progress: Arc::clone(&self.0), is_to_proxy };
        Ok(chained.map(watched))
    }
}

/// A connection that notes when the request leaves.
#[derive(Debug)]
pub struct Watched {
    inner: Box<dyn Wire>,
    progress: Arc<Progress>,
    is_to_proxy: bool,
}

impl Wire for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !self.is_to_proxy {
            self.progress.reach(Reached::Sent);
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        if self.progress.is_over.load(Ordering::SeqCst) {
            timeout.after = timeout.after.min(REST_TIMEOUT.into());
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(after: Duration) -> NextTimeout {
        NextTimeout { after: after.into(), reason: Timeout::Resolve, ..NextTimeout::default() }
    }

    const AMPLE: Duration = Duration::from_secs(20);

    /// A lookup that hangs: it ends when the test does.
    #[test]
    fn what_cannot_be_interrupted_is_left_alone() {
        let progress = Progress::default();
        let (end, hangs) = bounded::<()>(0);
        let hang = || {
            let hangs = hangs.clone();
            move || Ok(hangs.recv().is_ok())
        };
        let timed_out = progress.beside(limit(Duration::from_millis(1)), hang());
        assert!(matches!(timed_out, Err(Error::Timeout(Timeout::Resolve))), "{timed_out:?}");
        // Said before the wait begins, as a cancel is that came early; a new exchange does not hear it.
        progress.interrupt();
        let interrupted = progress.beside(limit(AMPLE), hang());
        assert!(matches!(interrupted, Err(Error::ConnectionFailed)), "{interrupted:?}");
        progress.interrupt();
        progress.reset();
        assert!(matches!(progress.beside(limit(AMPLE), || Ok(7)), Ok(7)));
        drop(end);
    }
}
