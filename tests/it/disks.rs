//! Disks that are full, read-only or gone: a worker waits for what a person can mend and goes on by itself. Needs root and
//! loop or tmpfs mounts; says so where there are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::cases::say;
use crate::support::scene::Scene;
use crate::support::waiting::until;

/// A small file system that goes away with the value.
pub struct Volume(PathBuf);

impl Volume {
    pub fn mount(path: PathBuf, options: &str) -> Option<Volume> {
        fs::create_dir_all(&path).expect("a folder");
        let mount = ["-t", "tmpfs", "-o", options, "tmpfs"];
        if run("mount", &mount, &path) {
            return Some(Volume(path));
        }
        say("skip: this user cannot mount a file system");
        None
    }

    fn remount(&self, options: &str) {
        assert!(run("mount", &["-o", &format!("remount,{options}")], &self.0), "remount {options}");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A test that failed may have left a process in it.
        run("umount", &["--lazy"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) -> bool {
    let status = Command::new(program).args(arguments).arg(last).output();
    status.is_ok_and(|output| output.status.success())
}

/// A worker that finds the disk so, says why, and works as soon as it is otherwise.
fn parks_until(name: &str, first: &str, reason: &str, then: &str) {
    let mut scene = Scene::new(name);
    let Some(volume) = Volume::mount(scene.world.path("volume"), first) else { return };
    scene.world.set("RUSTY_PINCH_DATA_DIR", &volume.0.join("data").to_string_lossy());
    let process = scene.start();
    until("it says why it waits", || {
        let parked = process.events("channel_parked");
        parked.iter().any(|event| event["reason"] == reason)
    });
    scene.telegram.say(42, "while the disk was not there");
    volume.remount(then);
    scene.telegram.until_sent_to(42, 1);
    scene.telegram.until_confirmed();
    assert_eq!(scene.world.all_events("channel_resumed").len(), 1);
    scene.stop(process);
    drop(volume);
}

#[test]
fn a_full_disk_is_waited_for_before_the_journal_is_made() {
    parks_until("full disk", "size=60m,mode=700", "disk_full", "size=100m");
}

#[test]
fn a_read_only_disk_is_waited_for() {
    parks_until("read-only disk", "ro,size=100m,mode=700", "disk_readonly", "rw");
}

#[test]
fn a_worker_that_waits_for_its_disk_stops_when_told() {
    let mut scene = Scene::new("stop of a parked worker");
    let Some(volume) = Volume::mount(scene.world.path("volume"), "ro,size=100m,mode=700") else { return };
    scene.world.set("RUSTY_PINCH_DATA_DIR", &volume.0.join("data").to_string_lossy());
    let process = scene.start();
    until("it waits", || !process.events("channel_parked").is_empty());
    scene.stop(process);
}

/// The first unexplained failure ends the process; a second one soon after keeps it up, so that a supervisor does not
/// wear the medium down.
#[test]
fn a_disk_that_fails_twice_in_a_row_is_left_alone() {
    let scene = Scene::new("failing disk");
    // A file where the journal's folder should be is nothing that we can explain.
    fs::write(scene.world.data().join("journal"), "in the way").expect("written");
    let first = scene.world.run(&["channels", "telegram"]);
    assert_eq!(first.code, Some(74), "{first:?}");
    let mut second = scene.start();
    until("it waits", || second.events("channel_parked").iter().any(|event| event["reason"] == "storage"));
    second.terminate();
    assert_eq!(second.wait_within(Duration::from_secs(10)).code(), Some(0));
}
