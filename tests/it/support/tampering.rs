//! Stands between a worker and its bridge and spoils one thing, so that both together are a worker that breaks a promise. It
//! speaks v2 as little as it can: what it does not spoil goes on as it came.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::waiting::spawn;
use crate::support::websocket_wire::{self as wire, Inbox};

use rusty_pinch::channel::outbound::REPEAT_MARK as MARK;

/// What is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoils {
    /// Nothing, so that what stands in between is not what fails.
    Nothing,
    /// Messages never arrive, and from the second link on they are acknowledged nevertheless.
    Messages,
    /// Repeats lose their mark.
    Marks,
    /// What is no repeat gets one.
    Firsts,
    /// The first reply goes behind the second; the worker believes that it went.
    Order,
    /// Every reply goes twice.
    Once,
    /// That the phone ended the link is not told.
    Logout,
}

pub struct Tampering {
    address: SocketAddr,
    target: PathBuf,
    closing: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Tampering {
    /// The folder is for the address of the bridge, which only the worker is told.
    pub fn start(spoils: Spoils, folder: &Path) -> Tampering {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (closing, target) = (Arc::new(AtomicBool::new(false)), folder.join("target"));
        let acceptor = {
            let (closing, target) = (Arc::clone(&closing), target.clone());
            spawn("tampering", move || {
                let mut links = Vec::new();
                for (number, client) in listener.incoming().enumerate() {
                    if closing.load(Ordering::SeqCst) {
                        break;
                    }
                    let (closing, target) = (Arc::clone(&closing), target.clone());
                    links.push(spawn("tampered link", move || {
                        let mut link = Link { spoils, is_first: number == 0, held: None, is_done: false };
                        let _ = client.and_then(|client| link.relay(client, &target, &closing));
                    }));
                }
                links.into_iter().for_each(|link| drop(link.join()));
            })
        };
        Tampering { address, target, closing, acceptor: Some(acceptor) }
    }

    /// What a shell has to do before it starts the worker.
    pub fn prelude(&self) -> String {
        let name = "RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL";
        format!("echo \"${name}\" >'{}'; export {name}=ws://{}/", self.target.display(), self.address)
    }
}

impl Drop for Tampering {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Frames for either side.
#[derive(Default)]
struct Due {
    bridge: Vec<Value>,
    client: Vec<Value>,
}

struct Link {
    spoils: Spoils,
    is_first: bool,
    held: Option<Value>,
    is_done: bool,
}

impl Link {
    fn relay(&mut self, client: TcpStream, target: &Path, closing: &AtomicBool) -> std::io::Result<()> {
        let url = std::fs::read_to_string(target)?;
        let bridge = TcpStream::connect(url.trim().trim_start_matches("ws://").trim_end_matches('/'))?;
        for stream in [&client, &bridge] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        }
        let (mut client, mut bridge) = ((client, Inbox::default()), (bridge, Inbox::default()));
        pass_head(&mut client, &mut bridge.0, closing)?;
        pass_head(&mut bridge, &mut client.0, closing)?;
        while !closing.load(Ordering::SeqCst) && client.1.fill(&mut client.0) && bridge.1.fill(&mut bridge.0) {
            let mut due = Due::default();
            while let Some((opcode, payload)) = client.1.frame() {
                match opcode {
                    wire::TEXT => self.of_worker(serde_json::from_slice(&payload)?, &mut due),
                    _ => bridge.0.write_all(&wire::masked(opcode, &payload))?,
                }
            }
            while let Some((opcode, payload)) = bridge.1.frame_of_anybody() {
                match opcode {
                    wire::TEXT => self.of_bridge(serde_json::from_slice(&payload)?, &mut due),
                    _ => client.0.write_all(&wire::frame(opcode, &payload))?,
                }
            }
            for frame in due.bridge {
                bridge.0.write_all(&wire::masked(wire::TEXT, frame.to_string().as_bytes()))?;
            }
            for frame in due.client {
                client.0.write_all(&wire::text(&frame.to_string()))?;
            }
        }
        Ok(())
    }

    fn of_worker(&mut self, mut frame: Value, due: &mut Due) {
        if frame["type"] != "send" {
            return due.bridge.push(frame);
        }
        let text = frame["text"].as_str().unwrap_or_default();
        let plain = text.strip_prefix(MARK).unwrap_or(text).to_string();
        match self.spoils {
            Spoils::Marks => frame["text"] = json!(plain),
            Spoils::Firsts => frame["text"] = json!(format!("{MARK}{plain}")),
            Spoils::Once => due.bridge.push(frame.clone()),
            Spoils::Order if !self.is_done => {
                due.client.push(json!({"type": "sent", "id": frame["id"], "to": frame["to"]}));
                (self.held, self.is_done) = (Some(frame), true);
                return;
            }
            _ => {}
        }
        due.bridge.push(frame);
        due.bridge.extend(self.held.take());
    }

    fn of_bridge(&self, frame: Value, due: &mut Due) {
        match self.spoils {
            Spoils::Messages if frame["type"] == "message" => {
                let ack = json!({"type": "ack", "id": frame["id"]});
                due.bridge.extend((!self.is_first).then_some(ack));
            }
            Spoils::Logout if frame["status"] == "logged_out" => {}
            _ => due.client.push(frame),
        }
    }
}

/// One half of the handshake.
fn pass_head(from: &mut (TcpStream, Inbox), to: &mut TcpStream, closing: &AtomicBool) -> std::io::Result<()> {
    loop {
        if let Some(head) = from.1.request() {
            return to.write_all(head.as_bytes());
        }
        if closing.load(Ordering::SeqCst) || !from.1.fill(&mut from.0) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
