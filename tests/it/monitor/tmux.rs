//! The monitor in tmux, a terminal as people use it, beside a worker: both sizes, every key, and what is left on the screen, in the mode
//! of the terminal and on the line. Where tmux is not installed, `skip:` says so.
//!
//! What tmux makes of our bytes is judged, not the bytes: its screen, whether the cursor is shown, which of its two screens.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::cases::{is_long_run, say};
use crate::support::scene::Scene;
use crate::support::waiting::{CEILING, came_true, until};
use crate::support::world::{Process, World};

/// What a slow line carries in a second, in bytes, at one look a second.
const BYTES_PER_LOOK_MAX: u64 = 4096;
const LOOKS: u64 = 60;

/// A shell in tmux: notes the mode of its terminal, shows the monitor, notes it again, and waits.
struct Pane<'a> {
    scene: &'a Scene,
}

impl<'a> Pane<'a> {
    fn open(scene: &'a Scene, interval: &str) -> Pane<'a> {
        let pane = Pane { scene };
        let product = World::product_path();
        let script = format!(
            "stty -a >before; sh -c 'echo $$ >pid; exec {} monitor --interval-ms {interval}'; code=$?; stty -a >after; \
             echo $code >code; read line",
            product.display()
        );
        pane.ask(&["-f", "/dev/null", "-u", "new-session", "-d", "-x", "80", "-y", "24", &script]);
        pane
    }

    fn ask(&self, words: &[&str]) -> String {
        let socket = self.scene.world.path("tmux").to_string_lossy().into_owned();
        let mut command = self.scene.world.command_of("tmux".as_ref(), &["-S", &socket]);
        let done = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let done = done.expect("tmux starts");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    fn shown(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn until_shows(&self, words: &str) {
        let mut last = String::new();
        let came = came_true(CEILING, || {
            last = self.shown();
            last.contains(words)
        });
        assert!(came, "never shown: {words:?}; but\n{last}");
    }

    /// Whether the other screen is up and the cursor is shown, and the size.
    fn state(&self) -> String {
        self.ask(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{pane_width}x#{pane_height}"])
    }

    fn press(&self, key: &str) {
        self.ask(&["send-keys", key]);
    }

    fn resize(&self, columns: &str, rows: &str) {
        self.ask(&["resize-window", "-x", columns, "-y", rows]);
    }

    fn noted(&self, file: &str) -> String {
        fs::read_to_string(self.scene.world.path("home").join(file)).unwrap_or_default()
    }

    /// The program has ended well and left everything as it was.
    #[track_caller]
    fn assert_given_back(&self) {
        until("the monitor ends", || self.noted("code").ends_with('\n'));
        assert_eq!(self.noted("code"), "0\n", "{}", self.shown());
        assert!(self.noted("before").contains("icanon"), "{}", self.noted("before"));
        assert_eq!(self.noted("after"), self.noted("before"));
        assert_eq!(self.state(), "0 1 80x24\n");
        let shown = self.shown();
        assert_eq!(shown.trim(), "monitor stopped", "nothing else is left on the screen");
    }
}

impl Drop for Pane<'_> {
    fn drop(&mut self) {
        self.ask(&["kill-server"]);
    }
}

/// A worker that has answered somebody; `None` without tmux.
fn stage(name: &str) -> Option<(Scene, Process)> {
    if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
        say("skip: tmux is not installed");
        return None;
    }
    let mut scene = Scene::new(name);
    scene.world.set("LANG", "C.UTF-8");
    let worker = scene.start_polling();
    scene.telegram.say(42, "hello");
    scene.until_answered();
    Some((scene, worker))
}

#[test]
fn in_tmux_both_sizes_and_all_keys_work_and_quit_leaves_no_trace() {
    let Some((scene, mut worker)) = stage("tmux keys") else { return };
    let pane = Pane::open(&scene, "100");
    pane.until_shows("telegram: up");
    assert_eq!(pane.state(), "1 0 80x24\n");
    pane.resize("40", "10");
    pane.until_shows("q p ? Tab");
    pane.until_shows("telegram: up");
    assert_eq!(pane.state(), "1 0 40x10\n");
    assert!(pane.shown().lines().all(|line| line.chars().count() <= 40), "{}", pane.shown());
    pane.resize("80", "24");
    pane.until_shows("1 all  2 app");
    for (key, words) in [
        ("2", "queues"),
        ("3", "reconnects="),
        ("4", "fd_count"),
        ("5", "loadavg"),
        ("6", "data_dir"),
        ("Tab", "telegram: up"),
        ("?", "paint everything anew"),
        ("?", "[APP]"),
        ("p", "PAUSED"),
    ] {
        pane.press(key);
        pane.until_shows(words);
    }
    // While it is paused nothing changes, so what was painted bit by bit must be what is painted at once on a blank screen.
    let before = pane.shown();
    pane.ask(&["send-keys", "-R"]);
    assert_ne!(pane.shown(), before);
    pane.press("r");
    until("the same is painted anew", || pane.shown() == before);
    pane.press("p");
    until("it goes on", || !pane.shown().contains("PAUSED"));
    worker.kill();
    until("the worker is missed", || !pane.shown().contains("telegram: up"));
    pane.press("q");
    pane.assert_given_back();
}

#[test]
fn in_tmux_a_line_carries_little_and_sigterm_leaves_no_trace() {
    let Some((scene, worker)) = stage("tmux signal") else { return };
    let (interval, window) = if is_long_run() { ("1000", LOOKS) } else { ("50", LOOKS / 20) };
    let pane = Pane::open(&scene, interval);
    pane.until_shows("telegram: up");
    let out = scene.world.path("home/out");
    pane.ask(&["pipe-pane", "cat >out"]);
    until("bytes arrive", || fs::metadata(&out).is_ok_and(|file| file.len() > 0));
    let before = fs::metadata(&out).map_or(0, |file| file.len());
    scene.telegram.say(43, "what is there to show?");
    came_true(Duration::from_secs(window), || false);
    let bytes = fs::metadata(&out).expect("it is there").len() - before;
    say(&format!("{bytes} bytes in {LOOKS} looks at 80x24, one every {interval} ms"));
    assert!(bytes > 0 && bytes <= LOOKS * BYTES_PER_LOOK_MAX, "{bytes} bytes in {LOOKS} looks");
    let monitor = pane.noted("pid").trim().parse().ok().and_then(Pid::from_raw).expect("a process");
    kill_process(monitor, Signal::TERM).expect("it runs");
    pane.assert_given_back();
    drop(pane);
    scene.stop(worker);
}
