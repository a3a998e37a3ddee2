//! Reading one HTTP/1.1 request from a socket, and not a byte more.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Instant;

use crate::support::waiting::now;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub arrived: Instant,
    /// Counts connections from 1: two requests with one number came over one kept-alive connection.
    pub connection: u64,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub struct Incoming {
    pub request: Request,
    /// The last byte of the body was only looked at.
    pub has_unread_byte: bool,
}

impl Incoming {
    /// None when the client closed the connection between two requests.
    pub fn read(stream: &mut TcpStream, connection: u64) -> std::io::Result<Option<Incoming>> {
        let Some(head) = read_head(stream)? else {
            return Ok(None);
        };
        let arrived = now();
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_string();
        let path = words.next().unwrap_or_default().to_string();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_string(), value.trim().to_string()))
            .collect();
        let mut request = Request { method, path, headers, body: Vec::new(), arrived, connection };
        let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0usize);
        let is_chunked = request.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        if length > BODY_BYTES_MAX {
            return Err(std::io::Error::other("a request body over the limit"));
        }
        if is_chunked {
            request.body = read_chunks(stream)?;
        } else {
            request.body = read_all_but_one(stream, length)?;
        }
        Ok(Some(Incoming { request, has_unread_byte: !is_chunked && length > 0 }))
    }
}

/// Up to and with the empty line, and not a byte more: the body must stay in the socket.
fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut window = [0; 4096];
    loop {
        let seen = stream.peek(&mut window)?;
        if seen == 0 {
            return Ok(None);
        }
        let had = head.len();
        head.extend_from_slice(&window[..seen]);
        let end = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let taken = end.unwrap_or(head.len()) - had;
        stream.read_exact(&mut window[..taken])?;
        if let Some(end) = end {
            head.truncate(end);
            return Ok(Some(head));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(std::io::Error::other("a request head over the limit"));
        }
    }
}

/// The whole body, its last byte only looked at, so that closing now means RST.
fn read_all_but_one(stream: &mut TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    let Some(last) = length.checked_sub(1) else {
        return Ok(body);
    };
    stream.read_exact(&mut body[..last])?;
    if stream.peek(&mut body[last..])? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

fn read_chunks(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| std::io::Error::other("a chunk without a size"))?;
        if body.len() + size > BODY_BYTES_MAX {
            return Err(std::io::Error::other("a request body over the limit"));
        }
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn read_line(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
