//! People who write all the time until they are asked to rest: the load of the campaign.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::cases::Random;
use crate::support::scene::Scene;
use crate::support::waiting::{Gate, spawn};

pub const CHATS: usize = 8;
/// Open messages per chat; over 32 the worker would refuse.
const OPEN_PER_CHAT_MAX: usize = 8;
/// The longest pause between two messages, in milliseconds.
const PAUSE_MS_MAX: u64 = 12;
/// One message in so many of a thousand asks for a reply of two parts.
const LONG_PER_MILLE: u64 = 30;

pub struct People {
    rest: Gate,
    thread: JoinHandle<()>,
}

impl People {
    pub fn start(scene: &Arc<Scene>, mut random: Random) -> People {
        let rest = Gate::closed();
        let (scene, until_rest) = (Arc::clone(scene), rest.clone());
        let thread = spawn("people", move || {
            let mut count = 0;
            // What each chat must get, in messages: an answer of two parts is two of them.
            let mut expected = [0; CHATS];
            while !until_rest.wait(Duration::from_millis(random.between(1, PAUSE_MS_MAX))) {
                let chat = random.index(CHATS);
                let number = chat as i64 + 1;
                if expected[chat] < scene.telegram.distinct_count_to(number) + OPEN_PER_CHAT_MAX {
                    let (length, parts) = if random.chance(LONG_PER_MILLE) { ("long", 2) } else { ("short", 1) };
                    scene.telegram.say(number, &format!("{length} message {count}"));
                    expected[chat] += parts;
                    count += 1;
                }
            }
        });
        People { rest, thread }
    }

    pub fn rest(self) {
        self.rest.open();
        self.thread.join().expect("people do not panic");
    }
}
