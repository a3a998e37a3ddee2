//! A chat completions server behind TLS, on loopback. It notes every byte that arrives before TLS makes sense of it,
//! so that a test can say that nothing was sent in clear, and how many requests arrived at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream, SupportedProtocolVersion};

use crate::support::fake_provider::{completion, stream};
use crate::support::waiting::{Gate, lock, spawn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// The connection ends when the client has said hello.
    CutHandshake,
    /// The client's hello is answered as a server without TLS would.
    NoTls,
    /// Nothing is said.
    Silent,
    /// The answer ends in the middle, without the word that ends TLS.
    CutAnswer,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    requests: usize,
}

pub struct TlsServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    closing: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl TlsServer {
    /// It presents this certificate and answers every request with `text`.
    pub fn start(
        (certificate, key): (&Path, &Path),
        versions: &[&'static SupportedProtocolVersion],
        manner: Manner,
        text: &'static str,
    ) -> TlsServer {
        let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate").map(|one| one.expect("PEM"));
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("a key that fits");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (seen, closing) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let acceptor = {
            let (seen, closing, config) = (Arc::clone(&seen), Arc::clone(&closing), Arc::new(config));
            spawn("tls server", move || {
                for stream in listener.incoming() {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that hangs up is what most tests are about.
                    let _ = stream.and_then(|stream| serve(stream, &config, manner, text, &seen, &closing));
                }
            })
        };
        TlsServer { address, seen, closing, acceptor: Some(acceptor) }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn request_count(&self) -> usize {
        lock(&self.seen).requests
    }

    /// Whether the bytes that came over the wire show this text.
    pub fn saw_in_clear(&self, text: &str) -> bool {
        lock(&self.seen).bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Notes what is read.
struct Tap<'a>(TcpStream, &'a Mutex<Seen>);

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        lock(self.1).bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Tap<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn serve(
    socket: TcpStream,
    config: &Arc<ServerConfig>,
    manner: Manner,
    text: &str,
    seen: &Mutex<Seen>,
    closing: &AtomicBool,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut tap = Tap(socket, seen);
    match manner {
        Manner::Good | Manner::CutAnswer => {}
        Manner::CutHandshake => return tap.read(&mut [0; 16 * 1024]).map(|_| ()),
        Manner::NoTls => {
            let _ = tap.read(&mut [0; 16 * 1024])?;
            return tap.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
        Manner::Silent => {
            while !closing.load(Ordering::SeqCst) && !Gate::closed().wait(Duration::from_millis(20)) {}
            return Ok(());
        }
    }
    let mut connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut tls = Stream::new(&mut connection, &mut tap);
    while let Some(request) = read_request(&mut tls)? {
        lock(seen).requests += 1;
        let streams = request.contains("\"stream\":true");
        let (kind, body) = match streams {
            true => ("text/event-stream", stream(text)),
            false => ("application/json", completion(text).to_string()),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        if manner == Manner::CutAnswer {
            return tls.write_all(format!("{head}{}", &body[..body.len() / 2]).as_bytes());
        }
        tls.write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}

/// None at the end of the connection.
fn read_request(stream: &mut impl Read) -> std::io::Result<Option<String>> {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(Some(text));
            }
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}
