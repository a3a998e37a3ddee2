//! What is asked of the kernel for the connection of a websocket: nothing waits, nothing is held back, and a peer that is gone
//! is noticed.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

/// The kernel gives a connection up whose bytes are not confirmed for so long, in milliseconds.
const UNCONFIRMED_MILLIS: u32 = 30_000;
/// Keep-alive of the kernel: the first probe, the pause between probes, and how many.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Sets all of them.
///
/// # Errors
/// When the connection is gone already.
pub fn options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MILLIS)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    Ok(())
}
