//! FC-5, the websocket's rows: everything a network and a server can do to a handshake and to a link. Each cell says what the
//! server does and what it comes to; for every cell holds that it ends by its limits. `RP_TEST_CASES` repeats them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusty_pinch::net::websocket::{Dialer, FRAME_BYTES_MAX, Heard, WebSocketError};
use rusty_pinch::sys::stop;
use rusty_pinch::sys::system_clock::SystemClock;

use crate::support::cases::{cases, say};
use crate::support::crew::judge_all;
use crate::support::waiting::{came_true, now, since, spawn};
use crate::support::websocket_wire as wire;

const CONNECT: Duration = Duration::from_secs(2);
/// Where the handshake is not to end, and where nothing is to be heard.
const HANDSHAKE: Duration = Duration::from_secs(1);
const LISTEN: Duration = Duration::from_millis(400);
/// Where something else is wanted, of a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far behind its limits a cell may come back on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// One thing after the other; then the connection ends with FIN.
#[derive(Clone)]
enum Act {
    /// The right answer to the handshake, or so many thousandths of it.
    Answer(usize),
    /// The right answer with these lines in it.
    With(&'static str),
    Send(Vec<u8>),
    /// Byte by byte, with a pause before each; the answer if there are none.
    Trickle(Vec<u8>, Duration),
    /// Nothing until the client has gone.
    Stall,
    /// RST instead of FIN.
    Reset,
    /// Our half is closed, and the other is read until the client closes it.
    HalfClose,
}

/// What becomes of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    /// There is none.
    Not(WebSocketError),
    /// It ends.
    Ends(WebSocketError),
    Hears(Heard),
    /// It stands, and nothing comes.
    Silence,
}

enum Server {
    Acts(Vec<Act>),
    /// Behind TLS, as far as the client thinks.
    Behind(Vec<Act>),
    Url(String),
}

struct Cell {
    name: &'static str,
    server: Server,
    want: Want,
}

fn bytes(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

fn cells() -> Vec<Cell> {
    let mut cells = elsewhere();
    let mut add = |name, acts, want| cells.push(Cell { name, server: Server::Acts(acts), want });
    handshakes(&mut add);
    links(&mut add);
    frames(&mut add);
    cells
}

/// Nobody there, and TLS; whom that trusts is shown with the product.
fn elsewhere() -> Vec<Cell> {
    use WebSocketError::{Broken, NoHandshake, Unreachable, Untrusted};
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port");
    let url = |text: &str| Server::Url(text.to_string());
    let mut cells = vec![
        Cell { name: "no such host", server: url("ws://no-such-host.invalid/"), want: Want::Not(Unreachable) },
        Cell { name: "nobody listens", server: url(&format!("ws://{free}/")), want: Want::Not(Unreachable) },
    ];
    let tls = [
        ("TLS that is none", vec![bytes("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Stall], Untrusted),
        ("TLS that ends at once", vec![], Broken),
        ("TLS that is reset", vec![Act::Reset], Broken),
        ("TLS that is silent", vec![Act::Stall], NoHandshake),
    ];
    cells.extend(tls.map(|(name, acts, error)| Cell { name, server: Server::Behind(acts), want: Want::Not(error) }));
    cells
}

type Add<'a> = &'a mut dyn FnMut(&'static str, Vec<Act>, Want);

fn handshakes(add: Add<'_>) {
    use Act::{Answer, HalfClose, Reset, Stall, Trickle, With};
    use WebSocketError::{Broken, NoHandshake, Refused};
    add("reset at once", vec![Reset], Want::Not(Broken));
    add("reset after a byte", vec![Answer(8), Reset], Want::Not(Broken));
    add("reset after half of it", vec![Answer(500), Reset], Want::Not(Broken));
    add("an end at once", vec![], Want::Not(NoHandshake));
    add("an end after half of it", vec![Answer(500)], Want::Not(NoHandshake));
    add("half closed after half of it", vec![Answer(500), HalfClose], Want::Not(NoHandshake));
    add("silence", vec![Stall], Want::Not(NoHandshake));
    add("silence after half of it", vec![Answer(500), Stall], Want::Not(NoHandshake));
    add("a byte now and then", vec![Trickle(vec![], Duration::from_millis(100)), Stall], Want::Not(NoHandshake));
    // Pieces of a byte are taken for an attack, however fast they come.
    add("in pieces of a byte", vec![Trickle(vec![], Duration::from_millis(4)), Stall], Want::Not(NoHandshake));
    add("an interim answer", vec![bytes("HTTP/1.1 100 Continue\r\n\r\n"), Answer(1000)], Want::Not(Refused(100)));
    for (status, name) in
        [(200, "a page"), (400, "400"), (404, "404"), (426, "426"), (429, "429"), (500, "500"), (503, "503")]
    {
        add(
            name,
            vec![bytes(&format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno"))],
            Want::Not(Refused(status)),
        );
    }
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    add("a way to somewhere else", vec![bytes(moved)], Want::Not(Refused(302)));
    add("no HTTP", vec![bytes("SSH-2.0-OpenSSH_9.2\r\n\r\n")], Want::Not(NoHandshake));
    add("a huge line", vec![bytes(&format!("HTTP/1.1 101 X\r\nX: {}", "x".repeat(1 << 20)))], Want::Not(NoHandshake));
    add(
        "many lines",
        vec![bytes(&format!("HTTP/1.1 101 X\r\n{}\r\n", "X: y\r\n".repeat(500)))],
        Want::Not(NoHandshake),
    );
    add("no upgrade", vec![bytes("HTTP/1.1 101 X\r\n\r\n"), Stall], Want::Not(NoHandshake));
    let other = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    add("the answer to another key", vec![bytes(other), Stall], Want::Not(NoHandshake));
    add("a protocol nobody asked for", vec![With("Sec-WebSocket-Protocol: x\r\n"), Stall], Want::Not(NoHandshake));
}

fn links(add: Add<'_>) {
    use Act::{Answer, HalfClose, Reset, Send, Stall, Trickle};
    use WebSocketError::{Broken, Closed};
    let half = wire::text("a text in a frame")[..7].to_vec();
    add("an end behind the handshake", vec![Answer(1000)], Want::Ends(Broken));
    add("reset behind the handshake", vec![Answer(1000), Reset], Want::Ends(Broken));
    add("half closed behind it", vec![Answer(1000), HalfClose], Want::Ends(Broken));
    add("silence behind it", vec![Answer(1000), Stall], Want::Silence);
    add("silence in a frame", vec![Answer(1000), Send(half.clone()), Stall], Want::Silence);
    add("an end in a frame", vec![Answer(1000), Send(half.clone())], Want::Ends(Broken));
    add("reset in a frame", vec![Answer(1000), Send(half), Reset], Want::Ends(Broken));
    let slow = vec![Answer(1000), Trickle(wire::text("x"), Duration::from_millis(5)), Stall];
    add("a frame in pieces", slow, Want::Hears(Heard::Text("x".into())));
    let slow = vec![Answer(1000), Trickle(wire::text("much too slow"), Duration::from_millis(200)), Stall];
    add("a frame that is slow", slow, Want::Silence);
    add("bytes", vec![Answer(1000), Send(wire::frame(wire::BINARY, &[0])), Stall], Want::Hears(Heard::Binary));
    add("a ping", vec![Answer(1000), Send(wire::frame(wire::PING, b"?")), Stall], Want::Hears(Heard::Ping));
    for (name, code) in [("goodbye", 1001), ("too large", 1009), ("no token", 4001), ("another client", 4009)] {
        add(name, vec![Answer(1000), Send(wire::close(code)), Stall], Want::Ends(Closed(code)));
    }
    add("goodbye without a code", vec![Answer(1000), Send(vec![0x88, 0]), Stall], Want::Ends(Closed(1005)));
}

fn frames(add: Add<'_>) {
    use Act::{Answer, Send, Stall, With};
    use WebSocketError::Violation;
    let parts = |size: usize, count: usize| {
        let part = |opcode: u8| [vec![opcode, 127], (size as u64).to_be_bytes().to_vec(), vec![b'x'; size]].concat();
        let middle = (1..count).flat_map(|_| part(0));
        part(wire::TEXT).into_iter().chain(middle).collect::<Vec<u8>>()
    };
    let whole = wire::text(&"x".repeat(FRAME_BYTES_MAX));
    add(
        "the largest frame",
        vec![Answer(1000), Send(whole), Stall],
        Want::Hears(Heard::Text("x".repeat(FRAME_BYTES_MAX))),
    );
    add(
        "a larger one",
        vec![Answer(1000), Send(wire::text(&"x".repeat(FRAME_BYTES_MAX + 1))), Stall],
        Want::Ends(Violation),
    );
    add(
        "one of 8 MiB and a byte",
        vec![Answer(1000), Send(wire::text(&"x".repeat((8 << 20) + 1))), Stall],
        Want::Ends(Violation),
    );
    add("a message that is too large", vec![Answer(1000), Send(parts(200_000, 6)), Stall], Want::Ends(Violation));
    for (name, bytes) in [
        ("a frame that is masked", vec![0x81, 0x81, 1, 2, 3, 4, 5]),
        ("a frame that is packed", vec![0xc1, 1, b'x']),
        ("a frame of no kind", vec![0x83, 0]),
        ("a part of nothing", vec![0x80, 1, b'x']),
        ("a ping in parts", vec![0x09, 1, b'x']),
        ("no UTF-8", wire::frame(wire::TEXT, &[0xff])),
    ] {
        add(name, vec![Answer(1000), Send(bytes), Stall], Want::Ends(Violation));
    }
    let packed = vec![With("Sec-WebSocket-Extensions: permessage-deflate\r\n"), Send(vec![0xc1, 1, b'x']), Stall];
    add("packing that nobody asked for", packed, Want::Ends(Violation));
}

/// Reads the request; its last byte stays unread, so that a drop of the socket is a reset.
fn request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    // A client of TLS does not end its first words so, but they have a length.
    while !(request.ends_with(b"\r\n\r") || request.first() == Some(&0x16) && request.len() >= 100) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

fn serve(mut stream: TcpStream, acts: &[Act]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = request(&mut stream)?;
    if !acts.iter().any(|act| matches!(act, Act::Reset)) {
        stream.set_read_timeout(Some(Duration::from_millis(10)))?;
        while matches!(stream.read(&mut [0; 4096]), Ok(4096)) {}
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    }
    let answer = || wire::accept(&request).into_bytes();
    for act in acts {
        match act {
            Act::Answer(share) => {
                let answer = answer();
                stream.write_all(&answer[..answer.len() * share / 1000])?;
            }
            Act::With(line) => {
                let text = wire::accept(&request).replacen("\r\n", &format!("\r\n{line}"), 1);
                stream.write_all(text.as_bytes())?;
            }
            Act::Send(bytes) => stream.write_all(bytes)?,
            Act::Trickle(bytes, pause) => {
                let bytes = if bytes.is_empty() { answer() } else { bytes.clone() };
                for byte in bytes.chunks(1) {
                    came_true(*pause, || false);
                    stream.write_all(byte)?;
                }
            }
            Act::Stall => until_gone(&mut stream),
            Act::HalfClose => {
                stream.shutdown(Shutdown::Write)?;
                until_gone(&mut stream);
            }
            // What is unread makes the end a reset. What was written before has to arrive first.
            Act::Reset => _ = came_true(Duration::from_millis(30), || false),
        }
    }
    Ok(())
}

fn until_gone(stream: &mut TcpStream) {
    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
}

fn judge(cell: &Cell) -> Result<(), String> {
    let links = Arc::new(AtomicUsize::new(0));
    let start = |scheme: &str, acts: &[Act]| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("{scheme}://{}/", listener.local_addr().expect("bound"));
        let (links, acts) = (Arc::clone(&links), acts.to_vec());
        let thread = spawn("server", move || {
            if let Ok((stream, _)) = listener.accept() {
                links.fetch_add(1, Ordering::SeqCst);
                // What a client makes of a broken connection is seen at the client.
                let _ = serve(stream, &acts);
            }
        });
        (url, Some(thread))
    };
    let (url, thread) = match &cell.server {
        Server::Acts(acts) => start("ws", acts),
        Server::Behind(acts) => start("wss", acts),
        Server::Url(url) => (url.clone(), None),
    };
    let (_stopper, stop) = stop::pair();
    let begun = now();
    let dialer = Dialer::new(&url, Arc::new(SystemClock::new())).expect("a URL");
    let handshake = if cell.want == Want::Not(WebSocketError::NoHandshake) { HANDSHAKE } else { PATIENCE };
    let listen = if cell.want == Want::Silence { LISTEN } else { PATIENCE };
    let got = match dialer.dial(CONNECT, handshake, &stop) {
        Err(error) => Want::Not(error),
        Ok(mut socket) => match socket.read(listen) {
            Ok(None) => Want::Silence,
            Ok(Some(heard)) => Want::Hears(heard),
            Err(error) => Want::Ends(error),
        },
    };
    let took = since(begun);
    thread.into_iter().for_each(|thread| thread.join().expect("a server ends"));
    if got != cell.want {
        return Err(format!("{got:.300?} instead of {:.300?}", cell.want));
    }
    let is_late = took > CONNECT + handshake + listen + LATE;
    if is_late { Err(format!("took {took:?}")) } else { Ok(()) }
}

#[test]
fn every_fault_of_a_bridge_s_network_has_its_name_and_ends_by_its_limits() {
    let mut work = Vec::new();
    for _ in 0..cases(1, 20) {
        work.extend(cells());
    }
    let count = work.len();
    let wrong = judge_all(work, |cell| judge(cell).map_err(|problem| format!("{}: {problem}", cell.name)));
    say(&format!("{count} cells"));
    assert!(count >= 55, "{count} cells");
    assert!(wrong.is_empty(), "{} of {count} cells:\n{}", wrong.len(), wrong.join("\n"));
}
