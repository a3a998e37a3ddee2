//! A server that nobody can trust: TLS 1.2 up to the point where a client has seen its certificate. That is made for this
//! address, valid, and signed by the key that it holds, so that only one thing is wrong with it: nobody else vouches for it.
//!
//! By hand, because the server's half of the TLS library would be the largest part of `validate`, for one check. Keys and
//! signatures are the library's, whose client needs them anyway. RFC 5246 (messages), RFC 8422 (Ed25519), RFC 5280 and
//! RFC 8410 (certificate).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::SigningKey;

use crate::sys::entropy;

/// The alert of a client that does not know who vouches for a certificate (`unknown_ca`).
pub const UNKNOWN_AUTHORITY: u8 = 48;

/// How long a client may take for each of its two messages.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest first message of a client, in bytes.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Kinds of records and messages.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;
const TLS_1_2: [u8; 2] = [3, 3];

/// Where a client's random bytes stand: behind the heads of record and message, and the version.
const CLIENT_RANDOM: std::ops::Range<usize> = 11..43;

/// The name of Ed25519 as DER, and what stands before a private key of it.
const ED25519: [u8; 7] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const KEY_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Listens on loopback.
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    key: Arc<dyn SigningKey>,
}

impl Server {
    /// With a key of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start() -> io::Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let key = PrivatePkcs8KeyDer::from([KEY_HEAD.as_slice(), &random()].concat());
        let key = any_eddsa_type(&key).map_err(|_| io::ErrorKind::Unsupported)?;
        Ok(Server { address: listener.local_addr()?, listener, key })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("wss://{}/", self.address)
    }

    /// What the next client says to the certificate, if one has connected: the number of its alert, and `None` for
    /// anything else.
    pub fn refuse(&self) -> Option<Option<u8>> {
        let (stream, _) = self.listener.accept().ok()?;
        Some(self.converse(stream).unwrap_or(None))
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<Option<u8>> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let hello = record(&mut stream)?;
        let client_random = hello.get(CLIENT_RANDOM).ok_or(io::ErrorKind::InvalidData)?;
        stream.write_all(&self.flight(client_random).ok_or(io::ErrorKind::Unsupported)?)?;
        let answer = record(&mut stream)?;
        Ok(match answer[..] {
            [ALERT, _, _, _, _, _, alert] => Some(alert),
            _ => None,
        })
    }

    /// All that a server says before the client's next word.
    fn flight(&self, client_random: &[u8]) -> Option<Vec<u8>> {
        let server_random = random();
        // Version, random, no session, ECDHE with an ECDSA or EdDSA certificate and AES-128-GCM, no compression.
        let hello = [&TLS_1_2[..], &server_random, &[0, 0xc0, 0x2b, 0]].concat();
        let certificate = long(&long(&self.certificate()?));
        // A named curve, X25519, and a point on it: any 32 bytes are one.
        let parameters = [&[3, 0, 0x1d, 32][..], &random()].concat();
        let signature = self.sign(&[client_random, &server_random, &parameters].concat())?;
        let exchange = [&parameters[..], &[8, 7, 0, 64], &signature].concat();
        let messages = [
            (SERVER_HELLO, hello),
            (CERTIFICATE, certificate),
            (SERVER_KEY_EXCHANGE, exchange),
            (SERVER_HELLO_DONE, Vec::new()),
        ];
        let body: Vec<u8> = messages.iter().flat_map(|(kind, body)| [vec![*kind], long(body)].concat()).collect();
        let length = u16::try_from(body.len()).ok()?.to_be_bytes();
        Some([&[HANDSHAKE], &TLS_1_2[..], &length, &body].concat())
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        let name = der(
            0x30,
            &[der(0x31, &[der(0x30, &[vec![6, 3, 0x55, 4, 3], der(0x0c, &[b"rusty-pinch validation".to_vec()])])])],
        );
        let dates = der(0x30, &[der(0x17, &[b"200101000000Z".to_vec()]), der(0x17, &[b"491231235959Z".to_vec()])]);
        let address = der(0x30, &[der(0x87, &[vec![127, 0, 0, 1]])]);
        let extension = der(0x30, &[vec![6, 3, 0x55, 0x1d, 0x11], der(4, &[address])]);
        let public = self.key.public_key()?.as_ref().to_vec();
        let version = vec![0xa0, 3, 2, 1, 2];
        let serial = vec![2, 1, 1];
        let extensions = der(0xa3, &[der(0x30, &[extension])]);
        let facts = der(0x30, &[version, serial, ED25519.to_vec(), name.clone(), dates, name, public, extensions]);
        let signature = der(3, &[vec![0], self.sign(&facts)?]);
        Some(der(0x30, &[facts, ED25519.to_vec(), signature]))
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.key.choose_scheme(&[SignatureScheme::ED25519])?.sign(message).ok()
    }
}

/// One record, head included.
fn record(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record)?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    if length > HELLO_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..])?;
    Ok(record)
}

/// With its length before it, in three bytes.
fn long(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    [&length[1..], body].concat()
}

/// A value of DER, of less than 65,536 bytes.
fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let head = match length {
        [0, short @ ..0x80] => vec![tag, short],
        [0, short] => vec![tag, 0x81, short],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, body].concat()
}

/// Bytes that nobody has to keep secret.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&entropy::seed().to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_der_have_one_two_or_three_bytes() {
        for (length, head) in
            [(0, vec![4, 0]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (300, vec![4, 0x82, 1, 44])]
        {
            let value = der(4, &[vec![7; length]]);
            assert_eq!((&value[..head.len()], value.len()), (&head[..], head.len() + length));
        }
    }
}
