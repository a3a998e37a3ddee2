//! [`Place`]: the folder and the environment of one worker, and the worker in it. Nothing of the operator's data is touched.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::base::clock::{Clock, Mono};
use crate::base::id::ChannelId;
use crate::observe::status_file;
use crate::sys::child::{End, Program};
use crate::sys::companion::{Companion, Sample};
use crate::sys::files;

/// What every worker has, with the value for it; the rest depends on the check.
#[rustfmt::skip]
pub const SETTINGS: [(&str, &str); 6] = [
    ("RUSTY_PINCH_PROVIDER", "local"),
    ("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "true"),
    ("RUSTY_PINCH_CHANNELS_WHATSAPP_RECONNECT_MS", "500"),
    ("RUSTY_PINCH_TURNS_PER_MINUTE", "0"),
    ("RUSTY_PINCH_TURNS_PER_DAY", "0"),
    ("RUSTY_PINCH_TOKENS_PER_DAY", "0"),
];

/// How often something that is waited for is looked at.
pub const LOOK: Duration = Duration::from_millis(10);

/// Largest log of a worker that is looked at, in bytes.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// A folder that goes with its value.
pub struct Place {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    binary: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Place {
    /// Makes the folder and what is in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: PathBuf, binary: &Path, clock: Arc<dyn Clock>) -> io::Result<Place> {
        let mut place = Place { folder, environment: Vec::new(), binary: binary.to_owned(), clock };
        for (name, folder) in [
            ("HOME", "home"),
            ("RUSTY_PINCH_DATA_DIR", "data"),
            ("RUSTY_PINCH_WORKSPACE", "workspace"),
            ("RUSTY_PINCH_RUN_DIR", "run"),
        ] {
            let folder = place.path(folder);
            files::make_folder(&folder)?;
            place.set(name, &folder.to_string_lossy());
        }
        SETTINGS.iter().for_each(|(name, value)| place.set(name, value));
        Ok(place)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Sets a variable of workers that are started from here on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The token, in a file of its own, so that it is in no environment.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_token(&mut self, token: &str) -> io::Result<()> {
        let path = self.path("token");
        files::replace(&path, token.as_bytes())?;
        self.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN_FILE", &path.to_string_lossy());
        Ok(())
    }

    /// Where workers say what they say.
    pub fn log(&self) -> PathBuf {
        self.path("worker.log")
    }

    /// What the worker leaves of itself: whether it is ready, and what parks its channel.
    pub fn status(&self) -> Option<(bool, Option<String>)> {
        let status = status_file::read(&self.path("run"), &self.path("data")).pop()?;
        Some((status.ready, status.channel.parked))
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, arguments: &[&str]) -> io::Result<Worker> {
        // What a killed worker leaves in its lock makes one that is started too often rest, which is right, and not what is looked at.
        let lock = self.path("data").join("journal").join(ChannelId::WhatsApp.name()).join("LOCK");
        let _ = fs::write(lock, "");
        let log = files::open_to_append(&self.log())?;
        let program = Program {
            binary: self.binary.to_string_lossy().into_owned(),
            arguments: ["channels", "whatsapp"].iter().chain(arguments).map(|word| (*word).to_owned()).collect(),
            environment: self.environment.clone(),
            directory: Some(self.path("home")),
            ..Program::default()
        };
        let begin = log.metadata()?.len();
        let child = Companion::start(&program, [Stdio::null(), Stdio::null(), Stdio::from(log)])?;
        Ok(Worker { child, log: self.log(), begin, started: self.clock.mono() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A worker; it is killed with its value.
pub struct Worker {
    child: Companion,
    log: PathBuf,
    begin: u64,
    /// When.
    pub started: Mono,
}

impl Worker {
    /// What it said so far.
    pub fn said(&self) -> String {
        text_from(&self.log, self.begin).unwrap_or_default()
    }

    /// How often it said something.
    pub fn count(&self, part: &str) -> usize {
        self.said().matches(part).count()
    }

    /// Its exit code; `None`: it runs, or a signal ended it.
    pub fn code(&mut self) -> Option<i32> {
        match self.child.ended() {
            Some(End::Exited(code)) => Some(code),
            _ => None,
        }
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.ended().is_none()
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        self.child.signal(Signal::TERM);
    }

    /// SIGSTOP, or SIGCONT.
    pub fn hold(&mut self, is_held: bool) {
        self.child.signal(if is_held { Signal::STOP } else { Signal::CONT });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// What it uses now.
    pub fn sample(&self) -> Option<Sample> {
        self.child.sample()
    }
}

/// What a file holds from a place on. What is not UTF-8 is replaced.
///
/// # Errors
/// When it cannot be read.
pub fn text_from(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
