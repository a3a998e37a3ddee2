//! A process under test: a folder of its own, an environment of its own, and everything it said.
//!
//! The child sees nothing of our environment but PATH. Its standard error outlives it: `World` keeps the lines of every
//! process it started, in order, for the judge.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::cases::product;
use crate::support::fake_provider::API_KEY;
use crate::support::waiting::{CEILING, came_true, lock, now, spawn, until, until_within};

/// What the processes of one world said on standard error.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

pub struct World {
    folder: TempDir,
    environment: BTreeMap<String, String>,
    said: Said,
    stdout: Arc<Mutex<Vec<u8>>>,
    starts: Mutex<Vec<Instant>>,
    /// A worker that is cut short again and again is to be taken for one that crashes.
    pub crashes_count: bool,
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment = BTreeMap::new();
        let (said, stdout, starts) = (Said::default(), Arc::default(), Mutex::default());
        let mut world = World { folder, environment, said, stdout, starts, crashes_count: false };
        world.set("PATH", path_of_the_test_run().as_str());
        for (name, place) in [
            ("HOME", "home"),
            ("RUSTY_PINCH_DATA_DIR", "data"),
            ("RUSTY_PINCH_WORKSPACE", "workspace"),
            ("RUSTY_PINCH_RUN_DIR", "run"),
        ] {
            let path = world.path(place);
            DirBuilder::new().mode(0o700).create(&path).expect("a folder in our own folder");
            world.set(name, &path.to_string_lossy());
        }
        world
    }

    /// One that asks the server at this address.
    pub fn asking(url: &str) -> World {
        let mut world = World::new();
        world.set_all(&[
            ("PROVIDER", "compatible"),
            ("MODEL", "fake-model"),
            ("COMPATIBLE_API_BASE", url),
            ("COMPATIBLE_API_KEY", API_KEY),
        ]);
        world
    }

    /// For tests whose subject is neither: who failed is soon asked again, and no limit of spending refuses the load.
    pub fn be_quick_and_generous(&mut self) {
        self.set_all(&[
            ("RETRY_BACKOFF_MS", "10"),
            ("RETRY_MAX_BACKOFF_MS", "50"),
            ("TURNS_PER_MINUTE", "0"),
            ("TURNS_PER_DAY", "0"),
            ("TOKENS_PER_DAY", "0"),
        ]);
    }

    /// Settings of the product, by what their names have behind `RUSTY_PINCH_`.
    pub fn set_all(&mut self, settings: &[(&str, &str)]) {
        settings.iter().for_each(|(name, value)| self.set(&format!("RUSTY_PINCH_{name}"), value));
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_string(), value.to_string());
    }

    pub fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    pub fn path(&self, place: &str) -> PathBuf {
        self.folder.path().join(place)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The binary built with these tests, unless another one was named.
    pub fn product_path() -> PathBuf {
        PathBuf::from(product().unwrap_or_else(|| env!("CARGO_BIN_EXE_rusty-pinch").to_string()))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_through(&[], arguments)
    }

    /// The product, started by other programs that become it (`prefix`: their names and arguments).
    fn command_through(&self, prefix: &[OsString], arguments: &[&str]) -> Command {
        let mut words = prefix.to_vec();
        words.push(World::product_path().into());
        words.extend(arguments.iter().map(OsString::from));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(&self.environment).current_dir(self.path("home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Another program, in the environment of the product.
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.environment).current_dir(self.path("home"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Process {
        self.start_through(&[], arguments)
    }

    pub fn start_through(&self, prefix: &[OsString], arguments: &[&str]) -> Process {
        lock(&self.starts).push(now());
        if arguments.first() == Some(&"channels") && !self.crashes_count {
            self.forget_cut_short();
        }
        let child = self.command_through(prefix, arguments).spawn().expect("the product starts");
        Process::new(child, &self.said, &self.stdout)
    }

    /// What workers that were killed left in their lock files: whoever finds that, after many starts, rests before it works. A
    /// test that kills has nothing to wait for.
    fn forget_cut_short(&self) {
        let data = self.environment.get("RUSTY_PINCH_DATA_DIR").map_or_else(|| self.data(), PathBuf::from);
        for channel in ["telegram", "whatsapp"] {
            let lock = data.join("journal").join(channel).join("LOCK");
            let said = std::fs::read_to_string(&lock).unwrap_or_default();
            let pid = said.split(['{', ':', ',']).nth(2).unwrap_or_default().to_string();
            if !Path::new("/proc").join(pid).join("stat").exists() {
                let _ = OpenOptions::new().write(true).truncate(true).open(&lock);
            }
        }
    }

    /// When each process was started, in order.
    pub fn starts(&self) -> Vec<Instant> {
        lock(&self.starts).clone()
    }

    /// Starts a command that reads what is written to the second value.
    pub fn start_reading(&self, arguments: &[&str]) -> (Process, ChildStdin) {
        let child = self.command(arguments).stdin(Stdio::piped()).spawn();
        let mut child = child.expect("the product starts");
        let input = child.stdin.take().expect("it is a pipe");
        (Process::new(child, &self.said, &self.stdout), input)
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut process = self.start(arguments);
        let status = process.wait_within(CEILING);
        Finished { code: status.code(), stdout: process.stdout(), stderr: process.lines() }
    }

    /// Every complete line that any process of this world wrote on standard error.
    pub fn all_lines(&self) -> Vec<String> {
        lock(&self.said.0).clone()
    }

    pub fn all_events(&self, name: &str) -> Vec<Value> {
        events(&self.all_lines(), name)
    }

    /// Everything that any process of this world wrote on standard output.
    pub fn all_stdout(&self) -> Vec<u8> {
        lock(&self.stdout).clone()
    }

    pub fn session_path(&self, chat: i64) -> PathBuf {
        self.data().join("sessions").join(format!("telegram_{chat}.jsonl"))
    }

    /// The bytes of a chat's session; empty when there is none.
    pub fn session(&self, chat: i64) -> Vec<u8> {
        std::fs::read(self.session_path(chat)).unwrap_or_default()
    }

    /// What is in a folder goes away, as with a tmpfs when the power is cut.
    pub fn empty(&self, place: &str) {
        std::fs::remove_dir_all(self.path(place)).expect("it is our folder");
        DirBuilder::new().mode(0o700).create(self.path(place)).expect("a folder in our own folder");
    }

    /// The bytes of the journal's two files; none when one of them cannot be read, as on a disk that was just cut off.
    pub fn journal(&self) -> Vec<Vec<u8>> {
        let folder = self.data().join("journal").join("telegram");
        let files = ["a.jnl", "b.jnl"].iter().map(|name| std::fs::read(folder.join(name)));
        files.collect::<std::io::Result<_>>().unwrap_or_default()
    }

    /// Processes that still have this world's folder in their environment: there must be none when nothing runs.
    pub fn survivors(&self) -> Vec<String> {
        let place = self.folder.path().to_string_lossy().into_owned();
        let is_ours = |id: &String| {
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            contains(&environment, &place)
        };
        let entries = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
        let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let ids = ids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        ids.filter(is_ours).collect()
    }

    /// Every file in the world's folder, with its bytes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        collect_files(self.folder.path(), &mut found);
        found
    }
}

/// Whether a file in this folder, at any depth, holds these bytes.
pub fn folder_contains(folder: &Path, needle: &str) -> bool {
    let mut found = Vec::new();
    collect_files(folder, &mut found);
    found.iter().any(|(_, bytes)| contains(bytes, needle))
}

#[allow(clippy::disallowed_methods, reason = "the child needs a PATH; nothing else is handed on")]
fn path_of_the_test_run() -> String {
    std::env::var("PATH").unwrap_or_default()
}

/// By way of text, because the search of text is fast in an unoptimised build too.
pub fn contains(haystack: &[u8], needle: &str) -> bool {
    String::from_utf8_lossy(haystack).contains(needle)
}

fn collect_files(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path, bytes));
        }
    }
}

fn events(lines: &[String], name: &str) -> Vec<Value> {
    let objects = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(|object| object["event"] == name).collect()
}

#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: Vec<String>,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub resident_kib: usize,
    pub threads: usize,
    pub files: usize,
}

pub struct Process {
    child: Child,
    own: Said,
    stdout: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn new(mut child: Child, all: &Said, all_stdout: &Arc<Mutex<Vec<u8>>>) -> Process {
        let own = Said::default();
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stderr.take() {
            let targets = [own.clone(), all.clone()];
            readers.push(spawn("stderr", move || keep_lines(pipe, &targets)));
        }
        if let Some(pipe) = child.stdout.take() {
            let targets = [Arc::clone(&stdout), Arc::clone(all_stdout)];
            readers.push(spawn("stdout", move || keep_bytes(pipe, &targets)));
        }
        Process { child, own, stdout, readers }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be asked").is_none()
    }

    /// What it uses now; None when it is ending, or has not yet let go of what it was born with: until its program runs,
    /// a child has the name and the open files of the test.
    pub fn sample(&self) -> Option<Sample> {
        let folder = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let name = status.lines().next()?.strip_prefix("Name:")?.trim();
        if !["rusty-pinch", "strace"].contains(&name) {
            return None;
        }
        let files = std::fs::read_dir(format!("{folder}/fd")).ok()?.count();
        Some(Sample { resident_kib: field("VmRSS:")?, threads: field("Threads:")?, files })
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
        // The child may be gone already; the test sees that in its exit status.
        let _ = kill_process(id, signal);
    }

    /// Waits until SIGTERM is handled: before that the kernel ends a process its own way.
    #[track_caller]
    pub fn until_it_heeds_signals(&self) {
        until("SIGTERM is handled", || self.heeds_signals());
    }

    fn heeds_signals(&self) -> bool {
        self.caught_signals() & (1 << (Signal::TERM.as_raw() - 1)) != 0
    }

    /// SIGTERM as soon as it is handled, unless the process ends before that.
    pub fn terminate_when_it_heeds(&mut self) {
        came_true(CEILING, || self.heeds_signals() || !self.is_running());
        self.terminate();
    }

    fn caught_signals(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL, and the end of everything it had said.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.wait_within(CEILING);
    }

    #[track_caller]
    pub fn wait_within(&mut self, ceiling: Duration) -> ExitStatus {
        let mut status = None;
        let ended = came_true(ceiling, || {
            status = self.child.try_wait().expect("our own child can be asked");
            status.is_some()
        });
        assert!(ended, "the process did not end within {ceiling:?}; last words: {:#?}", self.last_words());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status.expect("it ended")
    }

    /// How it ended: an exit code, or `signal` and its number.
    #[track_caller]
    pub fn code_within(&mut self, ceiling: Duration) -> String {
        let status = self.wait_within(ceiling);
        match (status.code(), status.signal()) {
            (Some(code), _) => code.to_string(),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        }
    }

    /// Complete lines of standard error so far.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.own.0).clone()
    }

    pub fn last_words(&self) -> Vec<String> {
        let lines = self.lines();
        lines[lines.len().saturating_sub(12)..].to_vec()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&lock(&self.stdout)).into_owned()
    }

    pub fn events(&self, name: &str) -> Vec<Value> {
        events(&self.lines(), name)
    }

    #[track_caller]
    pub fn until_event(&self, name: &str) -> Value {
        until(&format!("event {name}"), || !self.events(name).is_empty());
        self.events(name).swap_remove(0)
    }

    #[track_caller]
    pub fn until_event_within(&self, name: &str, ceiling: Duration) {
        until_within(&format!("event {name}"), ceiling, || !self.events(name).is_empty());
    }

    /// The command line as everybody on the machine can read it.
    pub fn command_line(&self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/cmdline", self.child.id())).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// A last line without its newline is dropped: a killed process may die while it writes.
fn keep_lines(pipe: impl Read, targets: &[Said]) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if line.pop_if(|last| *last == b'\n').is_some() {
            let text = String::from_utf8_lossy(&line).into_owned();
            targets.iter().for_each(|target| lock(&target.0).push(text.clone()));
        }
        line.clear();
    }
}

fn keep_bytes(mut pipe: impl Read, targets: &[Arc<Mutex<Vec<u8>>>]) {
    let mut window = [0; 8192];
    while let Ok(count) = pipe.read(&mut window) {
        if count == 0 {
            break;
        }
        targets.iter().for_each(|target| lock(target).extend_from_slice(&window[..count]));
    }
}
