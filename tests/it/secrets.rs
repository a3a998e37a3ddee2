//! Where secrets come from, how they change in a running worker, and that nobody else gets to see them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::scene::Scene;
use crate::support::waiting::until;
use crate::support::world::{Process, World};

/// Secrets in every source, through everything that can fail.
mod canaries;
/// `doctor --secrets` and `doctor --probe`.
mod doctor;
/// SIGHUP, case by case.
mod reload;
/// docs/key-rotation.md, carried out.
mod rotation;

const KEY: &str = "RUSTY_PINCH_COMPATIBLE_API_KEY";
const TOKEN_NAME: &str = "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN";

/// A file for us alone, complete before it has its name.
fn put(path: &Path, text: &str) -> PathBuf {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(&new, path).expect("renamed");
    path.to_owned()
}

/// A secret that comes from a file of its own, in place of the variable.
fn in_file(world: &mut World, name: &str, value: &str) -> PathBuf {
    let folder = world.path("secrets.d");
    fs::create_dir_all(&folder).expect("a folder");
    let path = put(&folder.join(name), value);
    world.unset(name);
    world.set(&format!("{name}_FILE"), &path.to_string_lossy());
    path
}

/// The lines about one secret.
fn reloads(process: &Process, name: &str) -> Vec<Value> {
    let lines = process.lines().into_iter().filter(|line| line.contains("\"event\":\"reload\""));
    let events = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
    events.filter(|event| event["name"] == name).collect()
}

/// Sends SIGHUP and waits for the line about one secret.
#[track_caller]
fn reload(process: &Process, name: &str) -> Value {
    let before = reloads(process, name).len();
    process.signal(rustix::process::Signal::HUP);
    until("a line about the reload", || reloads(process, name).len() > before);
    reloads(process, name).swap_remove(before)
}

/// A message of this chat is answered.
#[track_caller]
fn smoke(scene: &Scene, chat: i64) {
    let count = scene.telegram.sent_count_to(chat);
    scene.telegram.say(chat, &format!("smoke {count}"));
    scene.telegram.until_sent_to(chat, count + 1);
    let text = scene.telegram.sent_to(chat)[count].text.clone();
    assert!(text.starts_with("reply #"), "{text}");
}

/// The key of the last call of the provider.
fn last_key(scene: &Scene) -> String {
    let asked = scene.provider.asked();
    asked.last().and_then(|asked| asked.header("authorization")).unwrap_or_default().replace("Bearer ", "")
}
