//! A loopback server that answers every request with the same bytes, as they are: no HTTP of its own, so that it can
//! send what no HTTP server would. What the bytes mean is the test's business; how they come and how the connection
//! ends is this file's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::fake_http_request::Incoming;
use crate::support::waiting::{Gate, spawn};

/// How often a server that says nothing looks whether it is being stopped.
const SLICE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub enum Act {
    Send(Vec<u8>),
    /// Byte by byte, each in a packet of its own.
    Slices(Vec<u8>),
    /// Byte by byte with a pause before each.
    Trickle(Vec<u8>, Duration),
    /// Again and again, until the client has gone.
    Repeat(Vec<u8>),
    /// Silence until the client has gone.
    Stall,
    /// The connection ends with RST instead of FIN.
    Reset,
    /// Our half of the connection is closed, and the other half is read until the client closes it.
    HalfClose,
}

pub struct RawServer {
    url: String,
    wake: std::net::SocketAddr,
    closing: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    acceptor: Option<JoinHandle<()>>,
}

impl RawServer {
    pub fn start(script: Vec<Act>) -> RawServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let wake = listener.local_addr().expect("a bound socket has an address");
        let (closing, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let acceptor = {
            let (closing, requests) = (Arc::clone(&closing), Arc::clone(&requests));
            spawn("raw server", move || {
                for stream in listener.incoming() {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    // A broken connection is the client's business: the test sees what the client makes of it.
                    let _ = stream.and_then(|stream| serve(stream, &script, &closing, &requests));
                }
            })
        };
        RawServer { url: format!("http://{wake}"), wake, closing, requests, acceptor: Some(acceptor) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whole requests that have arrived.
    pub fn request_count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.wake));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// One request, one answer, and the end of the connection.
fn serve(mut stream: TcpStream, script: &[Act], closing: &AtomicBool, requests: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // Nobody who stopped reading holds the server up.
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let Some(incoming) = Incoming::read(&mut stream, 1)? else { return Ok(()) };
    requests.fetch_add(1, Ordering::SeqCst);
    for act in script {
        match act {
            Act::Send(bytes) => stream.write_all(bytes)?,
            Act::Slices(bytes) => bytes.chunks(1).try_for_each(|byte| stream.write_all(byte))?,
            Act::Trickle(bytes, pause) => {
                for byte in bytes.chunks(1) {
                    if Gate::closed().wait(*pause) || closing.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    stream.write_all(byte)?;
                }
            }
            Act::Repeat(bytes) => loop {
                stream.write_all(bytes)?;
            },
            Act::Stall => until_gone(&mut stream, closing, incoming.has_unread_byte)?,
            // Closing a socket with an unread byte sends RST.
            Act::Reset => return Ok(()),
            Act::HalfClose => {
                stream.shutdown(Shutdown::Write)?;
                until_gone(&mut stream, closing, false)?;
            }
        }
    }
    if incoming.has_unread_byte {
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

/// Reads, so that a client's end is seen; not the last byte of the request, if that is to stay.
fn until_gone(stream: &mut TcpStream, closing: &AtomicBool, has_unread_byte: bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SLICE))?;
    if has_unread_byte {
        let _ = stream.read_exact(&mut [0]);
    }
    while !closing.load(Ordering::SeqCst) {
        match stream.read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
