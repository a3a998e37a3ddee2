//! The product on a stage: a folder of its own, a small environment, loopback servers at the other ends.
//!
//! The environment is always the same few names, so that instructions repeat: the loader and the product read it all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::instruments::Books;
use crate::support::cases::Random;
use crate::support::fake_provider::{API_KEY, FakeProvider};
use crate::support::fake_telegram::{FakeTelegram, TOKEN};
use crate::support::waiting::came_true;

/// A polite stop has this long.
const STOP_CEILING: Duration = Duration::from_secs(10);

pub struct Stage {
    folder: TempDir,
    environment: BTreeMap<String, String>,
}

impl Stage {
    /// In the system's folder for temporary files, with the provider `local`.
    pub fn new() -> Stage {
        Stage::in_folder(&std::env::temp_dir())
    }

    /// In this folder, whose file system is part of what is measured.
    pub fn in_folder(folder: &Path) -> Stage {
        let folder = tempfile::Builder::new().prefix("figures-").tempdir_in(folder).expect("a temporary folder");
        let mut stage = Stage { folder, environment: BTreeMap::new() };
        stage.environment.insert("PATH".to_string(), "/usr/bin:/bin".to_string());
        for (name, place) in [("HOME", "home"), ("DATA_DIR", "data"), ("WORKSPACE", "workspace"), ("RUN_DIR", "run")] {
            let path = stage.path(place);
            fs::create_dir_all(&path).expect("a folder in our own folder");
            let path = path.to_string_lossy().into_owned();
            match name {
                "HOME" => drop(stage.environment.insert(name.to_string(), path)),
                _ => stage.set(name, &path),
            }
        }
        stage.set("PROVIDER", "local");
        stage
    }

    /// One of the product's variables.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(format!("RUSTY_PINCH_{name}"), value.to_string());
    }

    pub fn path(&self, place: &str) -> PathBuf {
        self.folder.path().join(place)
    }

    pub fn ask(&mut self, provider: &FakeProvider) {
        self.set("PROVIDER", "compatible");
        self.set("MODEL", "fake-model");
        self.set("COMPATIBLE_API_BASE", &provider.url());
        self.set("COMPATIBLE_API_KEY", API_KEY);
    }

    pub fn listen_to(&mut self, telegram_url: &str) {
        let settings = [("ENABLED", "true"), ("TOKEN", TOKEN), ("ALLOW_FROM", "*"), ("API_BASE", telegram_url)];
        for (name, value) in settings {
            self.set(&format!("CHANNELS_TELEGRAM_{name}"), value);
        }
        // Limits of spending are not the subject here, and would refuse the load.
        for name in ["TURNS_PER_MINUTE", "TURNS_PER_DAY", "TOKENS_PER_DAY"] {
            self.set(name, "0");
        }
    }

    pub fn product_path() -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_rusty-pinch"))
    }

    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.environment).current_dir(self.path("home")).stdin(Stdio::null());
        command
    }

    /// Runs the product to its end and returns its standard output.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(&Stage::product_path()).args(arguments).output().expect("the product starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a Telegram worker, under the tool in front if there is one.
    pub fn worker(&self, front: &[&str]) -> Worker {
        let product = Stage::product_path().to_string_lossy().into_owned();
        let words: Vec<&str> = front.iter().copied().chain([product.as_str(), "channels", "telegram"]).collect();
        let said = self.path("stderr");
        let file = File::create(&said).expect("our own folder");
        let mut command = self.command(Path::new(words[0]));
        command.args(&words[1..]).stdout(Stdio::null()).stderr(file);
        Worker { child: command.spawn().expect("the worker starts"), said }
    }
}

pub struct Worker {
    child: Child,
    said: PathBuf,
}

impl Worker {
    pub fn books(&self) -> Books {
        Books(self.child.id())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be asked").is_none()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    #[track_caller]
    pub fn until(&mut self, what: &str, ceiling: Duration, mut condition: impl FnMut() -> bool) {
        let happened = came_true(ceiling, || condition() || !self.is_running());
        let said = self.said();
        let tail: Vec<&str> = said.lines().rev().take(10).collect();
        assert!(happened && self.is_running(), "in vain: {what}; last words, latest first: {tail:#?}");
    }

    /// SIGTERM to the worker itself, which may be a child of ours or of the tool in front.
    #[track_caller]
    pub fn stop(mut self, process: Books) {
        signal(process, Signal::TERM);
        let mut status = None;
        let ended = came_true(STOP_CEILING, || {
            status = self.child.try_wait().expect("our own child can be asked");
            status.is_some()
        });
        assert!(ended && status.is_some_and(|status| status.success()), "a polite stop: {status:?}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What a killed strace traced would run on.
        self.books().children().into_iter().for_each(|child| signal(child, Signal::KILL));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(process: Books, signal: Signal) {
    let id = i32::try_from(process.0).ok().and_then(Pid::from_raw).expect("a process has an id");
    // It may be gone already; whoever waits for its end sees that.
    let _ = kill_process(id, signal);
}

/// Both fake servers.
pub fn fakes() -> (FakeTelegram, FakeProvider) {
    let mut random = Random::from_seed(1);
    (FakeTelegram::start(&mut random), FakeProvider::start(&mut random))
}
