//! The websocket of a WhatsApp bridge as the worker speaks it: the real binary against a scripted bridge, and the worker's
//! thread alone where times have to be short.

use serde_json::{Value, json};

use crate::support::cases::Random;
use crate::support::fake_bridge::{FakeBridge, Speaks};
use crate::support::fake_provider::FakeProvider;
use crate::support::scene::STOP_CEILING;
use crate::support::waiting::until;
use crate::support::world::{Process, World};

mod all;
mod dialects;
mod faults;
mod hostile;
mod kills;
mod lab;
mod links;
mod people;
mod sending;
mod stops;

pub const TOKEN: &str = "token-of-the-bridge-7c1d";
pub const ANNA: &str = "4915110001@s.whatsapp.net";
pub const BERT: &str = "4915110002@s.whatsapp.net";
/// What stands before a text that may have been delivered before.
pub const MARK: &str = "↻ (may be a repeat)\n";

/// A worker between a bridge and a provider.
pub struct Scene {
    pub world: World,
    pub bridge: FakeBridge,
    pub provider: FakeProvider,
    pub random: Random,
}

impl Scene {
    pub fn new(test: &str, speaks: Speaks) -> Scene {
        let token = (speaks != Speaks::P).then_some(TOKEN);
        Scene::with(test, FakeBridge::start(speaks, token), token)
    }

    pub fn with(test: &str, bridge: FakeBridge, token: Option<&str>) -> Scene {
        let mut random = Random::for_test(test);
        let provider = FakeProvider::start(&mut random);
        let mut world = World::asking(&provider.url());
        world.be_quick_and_generous();
        world.set_all(&[
            ("CHANNELS_WHATSAPP_ENABLED", "true"),
            ("CHANNELS_WHATSAPP_BRIDGE_URL", &bridge.url()),
            ("CHANNELS_WHATSAPP_ALLOW_FROM", "*"),
            ("CHANNELS_WHATSAPP_RECONNECT_MS", "20"),
        ]);
        if let Some(token) = token {
            world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", token);
        }
        Scene { world, bridge, provider, random }
    }

    pub fn start(&self) -> Process {
        self.world.start(&["channels", "whatsapp"])
    }

    /// Starts a worker and waits until it is let in.
    #[track_caller]
    pub fn start_linked(&self) -> Process {
        let process = self.start();
        self.bridge.until_ready();
        process
    }

    /// Somebody writes, and gets this answer.
    #[track_caller]
    pub fn ask(&self, chat: &str, id: &str, text: &str) -> String {
        let before = self.bridge.texts_to(chat).len();
        self.bridge.write(chat, id, text);
        until(&format!("an answer to {text}"), || self.bridge.texts_to(chat).len() > before);
        self.bridge.texts_to(chat).swap_remove(before)
    }

    /// SIGTERM; the worker must end well and in time.
    #[track_caller]
    pub fn stop(&self, mut process: Process) {
        process.terminate();
        let status = process.wait_within(STOP_CEILING);
        assert_eq!(status.code(), Some(0), "exit of a polite stop; last words: {:#?}", process.last_words());
    }

    /// The lines of a chat's session.
    pub fn session(&self, stem: &str) -> Vec<Value> {
        let path = self.world.data().join("sessions").join(format!("{stem}.jsonl"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// A message of a group, as dialect N has it.
pub fn group(id: &str, group: &str, author: &str, text: &str, is_mentioned: bool) -> Value {
    json!({
        "type": "message", "id": id, "sender": group, "pn": "", "participant": author, "content": text, "isGroup": true,
        "wasMentioned": is_mentioned,
    })
}
