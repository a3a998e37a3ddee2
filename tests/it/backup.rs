//! Backup and restore as an operator does them: while workers run, into another folder, with open turns, with archives
//! that are damaged, with too little room, and killed at every step.
//!
//! Seen to fail: sessions that are read behind the journals without the lock (messages twice); counters that are read
//! behind the journals (a turn too many); letters that are not marked; a marker that nobody looks at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;

use crate::disks::Volume;
use crate::support::cases::say;
use crate::support::command::{local, run};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{API_KEY, Rule};
use crate::support::fake_telegram::TOKEN;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{CEILING, Gate, lock, until};
use crate::support::world::{World, contains};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// From here on the commands of this world work on another data folder.
fn move_to(world: &mut World, place: &str) -> PathBuf {
    let data = world.path(place);
    world.set("RUSTY_PINCH_DATA_DIR", &text(&data));
    data
}

#[track_caller]
fn rows(world: &World, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&run(world, arguments, 0).stdout).expect("a JSON array")
}

fn total_turns(world: &World) -> u64 {
    let stats: Value = serde_json::from_str(&run(world, &["stats"], 0).stdout).expect("JSON");
    stats["telemetry"]["total_turns"].as_u64().expect("a number")
}

/// Every file of a data folder but for locks, which belong to places.
fn files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![data.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_lock = path.ends_with("LOCK") || path.ends_with(".lock") || path.ends_with("latest.json.lock");
            if path.is_dir() {
                left.push(path);
            } else if !is_lock {
                found.insert(path.clone(), fs::read(path).expect("there"));
            }
        }
    }
    found
}

#[test]
fn an_archive_is_made_while_the_worker_runs_and_brings_everything_back_elsewhere() {
    let mut scene = Scene::new("backup");
    let process = scene.start_polling();
    for chat in [41, 42] {
        scene.telegram.say(chat, "hello");
        scene.telegram.until_sent_to(chat, 1);
    }
    run(&scene.world, &["run", "--session", &"long ".repeat(30), "--message", "hello"], 0);
    until("all is counted", || total_turns(&scene.world) == 3);
    let archive = scene.world.path("backup.tar");
    let told = run(&scene.world, &["backup", &text(&archive)], 0).stdout;
    assert!(told.contains("6 files"), "{told}");
    assert_eq!(fs::metadata(&archive).expect("there").permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&archive).expect("there");
    assert!(!contains(&bytes, TOKEN) && !contains(&bytes, API_KEY), "a secret is in the archive");
    if let Ok(listed) = Command::new("tar").arg("tf").arg(&archive).output() {
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names: Vec<&str> = listed.lines().collect();
        assert_eq!((names.len(), names.last()), (7, Some(&"manifest.json")), "{listed}");
        assert!(names.contains(&"sessions/telegram_41.jsonl") && !listed.contains("LOCK"), "{listed}");
        assert!(names.iter().any(|name| name.len() > 150), "{listed}");
    }
    let again = run(&scene.world, &["backup", &text(&archive)], 1);
    assert!(again.stderr[0].contains("exists") && fs::read(&archive).expect("there") == bytes);
    assert!(!scene.world.path("backup.tar.tmp").exists());

    scene.stop(process);
    let before = rows(&scene.world, &["session", "--session", "telegram:41"]);
    let old = scene.world.data();
    let new = move_to(&mut scene.world, "elsewhere");
    run(&scene.world, &["restore", &text(&archive)], 0);
    assert_eq!(rows(&scene.world, &["session", "--session", "telegram:41"]), before);
    let sessions = |data: &Path| files(&data.join("sessions")).into_values().collect::<Vec<_>>();
    assert_eq!((sessions(&new).len(), sessions(&new)), (3, sessions(&old)));
    assert_eq!((total_turns(&scene.world), rows(&scene.world, &["outbox", "list"])), (3, vec![]));
    run(&scene.world, &["journal", "verify"], 0);
    // What was answered before is known, and the conversation goes on.
    let process = scene.start_polling();
    scene.telegram.redeliver(&scene.telegram.posted()[0]);
    scene.telegram.say(41, "and on");
    scene.telegram.until_sent_to(41, 2);
    scene.telegram.until_confirmed();
    scene.stop(process);
    assert!(scene.telegram.sent_to(41)[1].text.contains("to and on"));
    assert_eq!((rows(&scene.world, &["session", "--session", "telegram:41"]).len(), total_turns(&scene.world)), (4, 4));
}

#[test]
fn what_was_open_is_held_and_neither_answered_nor_sent() {
    let scene = Scene::new("held");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("first").after(Wait::Until(gate.clone())));
    scene.telegram.fault(Fault::too_many_requests(3600).on("sendMessage").for_chat(42));
    scene.telegram.fault(Fault::status(403, "Forbidden: bot was blocked by the user").on("sendMessage").for_chat(43));
    let mut process = scene.start_polling();
    scene.telegram.say(41, "first");
    scene.telegram.say(42, "second");
    scene.telegram.say(43, "third");
    let state =
        || rows(&scene.world, &["outbox", "list"]).iter().map(|row| row["state"].to_string()).collect::<String>();
    until("all three are where they stay", || state() == r#""waiting""answered""dead""#);
    let archive = scene.world.path("backup.tar");
    run(&scene.world, &["backup", &text(&archive)], 0);
    let busy = run(&scene.world, &["restore", &text(&archive), "--confirm"], 75);
    assert!(busy.stderr[0].contains(&format!("\\\"pid\\\":{}", process.id())), "{busy:?}");
    process.kill();
    gate.open();
    scene.telegram.clear_faults();
    let refused = run(&scene.world, &["restore", &text(&archive)], 2);
    assert!(refused.stderr.concat().contains("--confirm"), "{refused:?}");
    run(&scene.world, &["restore", &text(&archive), "--confirm"], 0);

    let held = rows(&scene.world, &["outbox", "list"]);
    let mut told: Vec<(&str, &str)> =
        held.iter().map(|row| (row["chat"].as_str().expect("a chat"), row["why"].as_str().expect("why"))).collect();
    told.sort_unstable();
    assert_eq!((told[0], told[1], told[2].0), (("41", "held"), ("42", "held"), "43"), "{held:?}");
    assert!(held.iter().all(|row| row["state"] == "dead"), "{held:?}");
    let process = scene.start_polling();
    scene.telegram.say(44, "fourth");
    scene.telegram.until_sent_to(44, 1);
    assert_eq!([41, 42, 43].map(|chat| scene.telegram.sent_count_to(chat)), [0; 3], "sent by itself");
    for row in &held {
        run(&scene.world, &["outbox", "retry", "--turn", row["turn"].as_str().expect("a name")], 0);
    }
    [41, 42, 43].iter().for_each(|chat| scene.telegram.until_sent_to(*chat, 1));
    until("nothing is left", || rows(&scene.world, &["outbox", "list"]).is_empty());
    scene.stop(process);
    let sent = |chat| scene.telegram.sent_to(chat)[0].text.clone();
    assert!(sent(41).contains("to first") && !sent(41).contains('\u{21bb}'), "{}", sent(41));
    // The worker went on behind the archive, as far as anybody can know.
    assert!(sent(42).contains("to second") && sent(42).starts_with('\u{21bb}'), "{}", sent(42));
    assert!(sent(43).contains("to third") && sent(43).starts_with('\u{21bb}'), "{}", sent(43));
    let session = String::from_utf8(scene.world.session(41)).expect("text");
    assert!(session.lines().count() == 4 && session.contains("(not answered: held)"), "{session}");
    assert_eq!(scene.world.session(42).iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_eq!(total_turns(&scene.world), 5, "three, the fourth, and the first once more");
}

/// Every message that was accepted before a backup began is in a session of the archive, once, whatever went on meanwhile.
#[test]
fn a_backup_under_load_has_every_message_once_and_every_turn_counted() {
    const BACKUPS: usize = 4;
    let mut scene = Scene::new("backup under load");
    let accepted = Arc::new(Mutex::new(Vec::<i64>::new()));
    let seen = Arc::clone(&accepted);
    scene.telegram.on_forget(move |updates| lock(&seen).extend_from_slice(updates));
    let process = scene.start_polling();
    let mut accepted_before = Vec::new();
    for number in 0..BACKUPS {
        for message in 0..24 {
            scene.telegram.say(40 + message % 4, &format!("message {number}-{message}."));
        }
        until("some of them are accepted", || lock(&accepted).len() > 24 * number + 8);
        accepted_before.push(lock(&accepted).clone());
        run(&scene.world, &["backup", &text(&scene.world.path(&format!("{number}.tar")))], 0);
    }
    scene.until_answered();
    scene.stop(process);
    let posted = scene.telegram.posted();
    for (number, accepted) in accepted_before.into_iter().enumerate() {
        let data = move_to(&mut scene.world, &format!("data-{number}"));
        run(&scene.world, &["restore", &text(&scene.world.path(&format!("{number}.tar")))], 0);
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        for chat in 40..44 {
            let session = rows(&scene.world, &["session", "--session", &format!("telegram:{chat}")]);
            for line in session.iter().filter(|line| line["role"] == "user") {
                *asked.entry(line["content"].as_str().expect("text").to_owned()).or_default() += 1;
            }
        }
        let missing: Vec<&str> = posted
            .iter()
            .filter(|posted| accepted.contains(&posted.update) && !asked.contains_key(&posted.text))
            .map(|posted| posted.text.as_str())
            .collect();
        assert_eq!(missing, Vec::<&str>::new(), "not in archive {number}");
        assert!(asked.values().all(|count| *count == 1), "twice in archive {number}: {asked:?}");
        assert_eq!(total_turns(&scene.world), asked.len() as u64, "archive {number}");
        run(&scene.world, &["journal", "verify"], 0);
        assert!(data.join("journal/telegram/a.jnl").exists());
    }
}

/// The worker ends, and writes its counters, while the archive is written behind the journals.
#[test]
fn what_is_counted_while_an_archive_is_written_is_no_part_of_it() {
    const JOURNALS: u64 = 8 << 20;
    let mut scene = Scene::new("counted meanwhile");
    let worker = scene.start_polling();
    scene.telegram.say(42, "first");
    scene.telegram.until_sent_to(42, 1);
    until("it is closed", || rows(&scene.world, &["outbox", "list"]).is_empty());
    let long = fs::File::create(scene.world.data().join("sessions/long.1.jsonl")).expect("made");
    long.set_len(64 << 20).expect("a file of zeros");
    let archive = scene.world.path("backup.tar");
    let mut backup = scene.world.start(&["backup", &text(&archive)]);
    let written = scene.world.path("backup.tar.tmp");
    until("the journals are in it", || fs::metadata(&written).is_ok_and(|known| known.len() > JOURNALS));
    backup.signal(Signal::STOP);
    scene.telegram.say(42, "second");
    scene.telegram.until_sent_to(42, 2);
    scene.stop(worker);
    assert_eq!(total_turns(&scene.world), 2);
    backup.signal(Signal::CONT);
    assert_eq!(backup.wait_within(CEILING).code(), Some(0), "{:?}", backup.last_words());
    move_to(&mut scene.world, "elsewhere");
    run(&scene.world, &["restore", &text(&archive)], 0);
    assert_eq!((rows(&scene.world, &["session", "--session", "telegram:42"]).len(), total_turns(&scene.world)), (2, 1));
}

#[test]
fn a_restore_refuses_what_it_cannot_trust_and_changes_nothing() {
    let world = local();
    run(&world, &["run", "--message", "one"], 0);
    let archive = world.path("good.tar");
    run(&world, &["backup", &text(&archive)], 0);
    run(&world, &["run", "--message", "two"], 0);
    let before = files(&world.data());
    let good = fs::read(&archive).expect("there");
    let damaged = world.path("damaged.tar");
    let middle = good.windows(3).position(|bytes| bytes == b"one").expect("there");
    let changed = |at: usize| good.iter().enumerate().map(|(place, byte)| byte ^ u8::from(place == at)).collect();
    for bytes in [changed(middle), good[..good.len() / 2].to_vec(), changed(0), b"no archive".to_vec(), Vec::new()] {
        fs::write(&damaged, bytes).expect("written");
        let refused = run(&world, &["restore", &text(&damaged), "--confirm"], 1);
        assert!(refused.stderr[0].contains("nothing was changed"), "{refused:?}");
    }
    run(&world, &["restore", &text(&world.path("none.tar")), "--confirm"], 1);
    run(&world, &["restore", &text(&archive)], 2);
    assert_eq!(files(&world.data()), before);

    run(&world, &["restore", &text(&archive), "--confirm"], 0);
    assert_eq!((rows(&world, &["session"]).len(), total_turns(&world)), (2, 1));
    let aside = fs::read_dir(world.data()).expect("there").flatten().map(|entry| entry.path());
    let aside = aside.filter(|path| path.to_string_lossy().contains("before-restore-")).collect::<Vec<_>>();
    let kept: Vec<Vec<u8>> = files(&aside[0]).into_values().collect();
    assert!(before.values().filter(|old| kept.contains(old)).count() >= 2, "{aside:?}");
    // Into an empty folder nothing has to be confirmed.
    let mut world = world;
    move_to(&mut world, "empty");
    run(&world, &["backup", &text(&world.path("nothing.tar"))], 1);
    run(&world, &["restore", &text(&archive)], 0);
    assert_eq!(rows(&world, &["session"]).len(), 2);
}

#[test]
fn an_archive_half_in_place_stops_everything_until_the_restore_is_finished() {
    let mut scene = Scene::new("half in place");
    let data = scene.world.data();
    run(&scene.world, &["run", "--message", "one"], 0);
    let archive = scene.world.path("good.tar");
    run(&scene.world, &["backup", &text(&archive)], 0);
    let marker = format!(
        r#"{{"archive":{:?},"aside":{:?},"moved_aside":false}}"#,
        text(&archive),
        text(&data.join("before-restore-5"))
    );
    fs::create_dir_all(data.join("restore-new/sessions")).expect("made");
    fs::write(data.join("restore-new/sessions/new.jsonl"), "").expect("written");
    fs::write(data.join("restore-in-progress"), marker).expect("written");
    let remedy = format!("run 'rusty-pinch restore {}' again", text(&archive));
    let elsewhere = scene.world.path("x.tar");
    for command in [
        &["run", "--message", "two"][..],
        &["session"],
        &["stats"],
        &["outbox", "list"],
        &["journal", "verify"],
        &["backup", &text(&elsewhere)],
        &["channels", "telegram"],
    ] {
        let refused = run(&scene.world, command, 78);
        assert!(refused.stderr.concat().contains(&remedy), "{command:?}: {refused:?}");
    }
    assert!(run(&scene.world, &["doctor", "--quiet"], 1).stdout.contains("half in place"));
    run(&scene.world, &["restore", &text(&archive)], 0);
    run(&scene.world, &["doctor", "--quiet"], 0);
    assert_eq!(rows(&scene.world, &["session", "list"])[0]["session"], "new");
    assert!(data.join("before-restore-5/sessions/default.jsonl").exists());
    move_to(&mut scene.world, "unused");
}

/// A restore holds the lock of the sessions. It is killed while a backup waits for that.
#[test]
fn a_backup_that_waited_for_a_restore_looks_again() {
    let world = local();
    run(&world, &["run", "--message", "one"], 0);
    let archive = world.path("waits.tar");
    let restore = lock_sessions(&world);
    let mut backup = world.start(&["backup", &text(&archive)]);
    until("it is begun", || world.path("waits.tar.tmp").exists());
    fs::write(world.data().join("restore-in-progress"), "{}").expect("written");
    drop(restore);
    assert_eq!(backup.wait_within(CEILING).code(), Some(75), "{:?}", backup.last_words());
    assert!(backup.last_words().concat().contains("half in place") && !archive.exists());
}

/// What was paid for is kept, if that takes no longer than half a minute.
#[test]
fn an_answer_waits_for_a_backup_that_holds_the_sessions() {
    let world = local();
    run(&world, &["run", "--message", "one"], 0);
    let backup = lock_sessions(&world);
    let mut command = world.start(&["run", "--message", "two"]);
    until("it says that it waits", || command.lines().concat().contains("waiting for it"));
    drop(backup);
    assert_eq!(command.wait_within(CEILING).code(), Some(0), "{:?}", command.last_words());
    assert_eq!(rows(&world, &["session"]).len(), 4);
}

fn lock_sessions(world: &World) -> fs::File {
    let file = fs::File::create(world.data().join("sessions/.lock")).expect("there");
    file.lock().expect("free");
    file
}

/// SIGKILL at every change of a name that a restore makes.
#[test]
fn a_restore_that_is_killed_at_any_change_of_a_name_is_undone_or_can_be_finished() {
    let mut world = local();
    run(&world, &["run", "--message", "one"], 0);
    let archive = world.path("good.tar");
    run(&world, &["backup", &text(&archive)], 0);
    let mut half_way = 0;
    for number in 1.. {
        move_to(&mut world, &format!("data-{number}"));
        run(&world, &["run", "--message", "two"], 0);
        run(&world, &["run", "--message", "three"], 0);
        let plain = world.command(&["restore", &text(&archive), "--confirm"]);
        let mut traced = Command::new("strace");
        let names = "?rename,?renameat,?renameat2";
        traced.args(["-f", "-o", "/dev/null", "-e", &format!("trace={names}")]);
        traced.args(["-e", &format!("inject={names}:signal=SIGKILL:when={number}")]);
        traced.arg(plain.get_program()).args(plain.get_args()).env_clear();
        traced.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let Ok(output) = traced.output() else { return say("skip: no strace") };
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(0) {
            break;
        }
        if told.contains("PTRACE") || told.contains("ptrace") {
            return say("skip: strace may not trace here");
        }
        let session = world.run(&["session"]);
        match session.code {
            Some(0) => assert_eq!(rows(&world, &["session"]).len(), 4, "killed at {number}: {told}"),
            _ => {
                assert_eq!(session.code, Some(78), "{session:?}");
                half_way += 1;
                run(&world, &["restore", &text(&archive)], 0);
                assert_eq!((rows(&world, &["session"]).len(), total_turns(&world)), (2, 1), "killed at {number}");
            }
        }
    }
    assert!(half_way >= 4, "{half_way}");
}

#[test]
fn a_full_disk_ends_a_backup_in_one_sentence_and_leaves_nothing() {
    let world = local();
    let line = r#"{"role":"user","content":"x","timestamp":"t"}"#.to_owned() + "\n";
    fs::create_dir_all(world.data().join("sessions")).expect("made");
    fs::write(world.data().join("sessions/long.jsonl"), line.repeat(10_000)).expect("written");
    let Some(volume) = Volume::mount(world.path("volume"), "size=100k,mode=700") else { return };
    let target = world.path("volume/backup.tar");
    let refused = run(&world, &["backup", &text(&target)], 74);
    assert!(refused.stderr.len() == 1 && refused.stderr[0].contains("make room"), "{refused:?}");
    assert_eq!(fs::read_dir(world.path("volume")).expect("there").count(), 0);
    drop(volume);
}

#[test]
fn journal_verify_tells_what_is_in_the_journals() {
    let scene = Scene::new("verify");
    assert_eq!(run(&scene.world, &["journal", "verify"], 0).stdout, "[]\n");
    let process = scene.start_polling();
    scene.telegram.say(42, "hello");
    scene.telegram.until_sent_to(42, 1);
    until("the turn is closed", || rows(&scene.world, &["outbox", "list"]).is_empty());
    let told = rows(&scene.world, &["journal", "verify", "--channel", "telegram"]);
    scene.stop(process);
    let files: Vec<&str> = told.iter().filter_map(|row| row["file"].as_str()).collect();
    assert_eq!((files, &told[0]["channel"]), (vec!["a.jnl", "b.jnl"], &"telegram".into()));
    let records = &told[0]["records"];
    assert_eq!(["ckp", "rx", "try", "rep"].map(|kind| records[kind].as_u64()), [Some(1); 4], "{told:?}");
    assert_eq!((&told[0]["first_seq"], &told[0]["damage"], &told[1]["frames"]), (&1.into(), &Value::Null, &0.into()));
    assert_eq!(run(&scene.world, &["journal", "verify", "--channel", "whatsapp"], 0).stdout, "[]\n");

    let path = scene.world.data().join("journal/telegram/a.jnl");
    let mut bytes = fs::read(&path).expect("there");
    bytes[4096 + 60] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let damaged = run(&scene.world, &["journal", "verify"], 1);
    assert!(damaged.stdout.contains("\"tail\":\"hole\"") && damaged.stdout.contains("byte 4096"), "{damaged:?}");
    assert!(damaged.stderr[0].contains("the telegram journal is damaged"), "{damaged:?}");
    assert_eq!(fs::read(&path).expect("there"), bytes);
    // A backup says so and takes it as it is; what can be read of it comes back.
    let archive = scene.world.path("backup.tar");
    assert!(run(&scene.world, &["backup", &text(&archive)], 0).stderr[0].contains("damaged"));
    run(&scene.world, &["restore", &text(&archive), "--confirm"], 0);
    run(&scene.world, &["journal", "verify"], 0);
}
