//! The runbook of docs/key-rotation.md, step by step and command by command, while people write. Seen to fail: a swap that does
//! nothing, a refused key that is put to use all the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use crate::secrets::{KEY, put, reloads, smoke};
use crate::support::cases::{cases, say};
use crate::support::checker::Rules;
use crate::support::repository::{read, root};
use crate::support::scene::Scene;
use crate::support::waiting::{CEILING, now, since, until};
use crate::support::world::{Process, World};

/// Chats that people write in all the time, and how much before each command.
const CHATS: i64 = 4;
const BURST: i64 = 4;

/// The commands of the runbook, by step.
fn runbook() -> BTreeMap<usize, Vec<String>> {
    let text = read(&root().join("docs/key-rotation.md"));
    let steps = text.split("\n## Step ").skip(1).map(|part| part.split("\n## ").next().unwrap_or_default());
    let commands = |step: &str| {
        let blocks = step.split("```bash\n").skip(1).filter_map(|block| block.split("```").next());
        blocks.flat_map(str::lines).map(str::to_owned).collect::<Vec<String>>()
    };
    let numbered = steps.map(|step| {
        let number = step.split(':').next().and_then(|number| number.parse().ok());
        (number.expect("a step has a number"), commands(step))
    });
    numbered.collect()
}

/// What the page says for an installed package, said for this world.
fn translated(line: &str, world: &World, process: &Process) -> String {
    let is_root = rustix::process::geteuid().is_root();
    let folder = world.path("secrets.d");
    let group = format!("-g {}", rustix::process::getegid().as_raw());
    let here = line
        .replace("sudo -u rusty-pinch rusty-pinch", "\"$0\"")
        .replace("sudo ", "")
        .replace("/etc/rusty-pinch/secrets.d", &folder.to_string_lossy())
        .replace("systemctl reload rusty-pinch-telegram", &format!("kill -HUP {}", process.id()))
        .replace("-g rusty-pinch", &group);
    // A file of root may be shared with our group; here everything is ours.
    if is_root { here } else { here.replace("-m 640", "-m 600") }
}

/// Carries out one line; `input` is what the operator types.
#[track_caller]
fn carry_out(line: &str, world: &World, process: &Process, input: &Path) -> String {
    let script = format!("{} < '{}'", translated(line, world, process), input.display());
    let prefix: Vec<OsString> = ["/bin/sh", "-c", &script].map(Into::into).into();
    let mut child = world.start_through(&prefix, &[]);
    let status = child.wait_within(CEILING);
    assert_eq!(status.code(), Some(0), "{script}: {} {:#?}", child.stdout(), child.lines());
    child.stdout()
}

fn write_in_all_chats(scene: &Scene, round: usize) {
    for number in 0..CHATS * BURST {
        scene.telegram.say(number % CHATS + 1, &format!("round {round} message {number}"));
    }
}

/// The fingerprint that `doctor --secrets` shows.
fn shown_fingerprint(text: &str) -> String {
    let part = text.split(&format!("{KEY}\n")).nth(1).unwrap_or_default();
    let line = part.lines().find_map(|line| line.strip_prefix("  fingerprint: "));
    line.unwrap_or_else(|| panic!("no fingerprint: {text}")).to_owned()
}

#[test]
fn the_runbook_of_key_rotation_costs_no_turn_and_a_refused_key_changes_nothing() {
    let mut scene = Scene::new("RB-ROT");
    let rotations = cases(10, 100);
    let steps = runbook();
    assert_eq!(steps.keys().copied().collect::<Vec<_>>(), (0..=6).collect::<Vec<_>>());
    let key = |round: usize| format!("sk-rotation-{round:04}-canary-0123456789");
    let folder = scene.world.path("secrets.d");
    std::fs::create_dir(&folder).expect("a folder");
    let file = put(&folder.join("OPENROUTER_API_KEY"), &key(0));
    scene.world.unset(KEY);
    scene.world.set(&format!("{KEY}_FILE"), &file.to_string_lossy());
    scene.provider.latency(5, 30);
    scene.provider.accept(&[&key(0)]);
    let input = scene.world.path("typed");
    let started = now();
    let process = scene.start_polling();
    let run = |step: usize| -> String {
        steps[&step].iter().map(|line| carry_out(line, &scene.world, &process, &input)).collect()
    };
    put(&input, "");
    let mut fingerprint = shown_fingerprint(&run(0));
    for round in 1..=rotations {
        // A mistake first: a key that the provider does not know.
        put(&input, "sk-mistyped-canary-0123456789abcdef");
        run(2);
        write_in_all_chats(&scene, 2 * round);
        run(3);
        until("the refusal", || reloads(&process, KEY).len() == 2 * round - 1);
        let refused = reloads(&process, KEY).swap_remove(2 * round - 2);
        assert_eq!((&refused["status"], &refused["probe"]), (&"rejected".into(), &"refused".into()), "{refused}");
        smoke(&scene, 90);
        // Step 1: the new key, beside the old one.
        scene.provider.accept(&[&key(round - 1), &key(round)]);
        put(&input, &key(round));
        run(2);
        write_in_all_chats(&scene, 2 * round + 1);
        run(3);
        until("the new key is used", || reloads(&process, KEY).len() == 2 * round);
        let told = reloads(&process, KEY).swap_remove(2 * round - 1);
        assert_eq!((&told["status"], &told["probe"]), (&"ok".into(), &"ok".into()), "{told}");
        let text = run(4);
        let shown = shown_fingerprint(&text);
        assert!(text.contains("Rusty Pinch Doctor") && shown != fingerprint, "{text}");
        assert_eq!(told["fp"], Value::from(shown.as_str()));
        fingerprint = shown;
        smoke(&scene, 91);
        assert_eq!(super::last_key(&scene), key(round));
        // Step 5, when every call that began with the old key is over.
        scene.until_answered_but_not_confirmed();
        scene.provider.accept(&[&key(round)]);
        smoke(&scene, 92);
    }
    scene.until_answered();
    let elapsed = since(started);
    scene.stop(process);
    let unsent = scene.world.all_events("channel_send_error");
    assert!(unsent.is_empty(), "{unsent:#?}");
    let verdict = scene.judge(Rules::CALM);
    let failed = scene.world.all_events("turn").iter().filter(|turn| !turn["error"].is_null()).count();
    assert_eq!((verdict.notices, failed), (0, 0), "no turn fails");
    assert_eq!(scene.world.all_events("turn").len(), verdict.messages);
    for line in scene.world.all_lines() {
        assert!(!line.contains("canary"), "{line}");
    }
    say(&format!(
        "RB-ROT: {rotations} rotations, {rotations} refused keys, {} turns, 0 failed, {elapsed:?}",
        verdict.messages
    ));
}
