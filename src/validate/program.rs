//! The real bridge of `packaging/whatsapp-bridge` as a child process, with WhatsApp's side scripted (`--fake`, described in its
//! `src/fake.mjs`): steps on its standard input, what it does on its standard output.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::base::clock::Clock;
use crate::net::websocket::Dialer;
use crate::sys::child::Program;
use crate::sys::companion::Companion;
use crate::sys::files;
use crate::sys::stop;
use crate::validate::bridge::{Bridge, Wish};
use crate::validate::judge::Sent;
use crate::validate::place::{LOOK, text_from};
use crate::validate::simulated::quoted;

/// How long the program may take to begin, to end, or to bring a message.
const PATIENCE: Duration = Duration::from_secs(15);

/// The library's link stands, and is lost; it makes another one by itself.
const OPEN: &str = r#"{"do":"open"}"#;
const LOSS: &str = r#"{"do":"close","code":428}"#;

/// What the library hands over that is no message for us.
const CHATTER: [&str; 6] = [
    r#"{"do":"raw","message":{"key":{"id":"CHATTER1","remoteJid":"4917000000001@s.whatsapp.net","fromMe":true},"message":{"conversation":"own"}}}"#,
    r#"{"do":"raw","message":{"key":{"id":"CHATTER2","remoteJid":"status@broadcast"},"message":{"conversation":"a post"}}}"#,
    r#"{"do":"raw","message":{"key":{"id":"CHATTER3","remoteJid":"4917000000001@s.whatsapp.net"},"message":{"reactionMessage":{"text":"x"}}}}"#,
    LOSS,
    r#"{"do":"qr","qr":"2@linking-code-canary"}"#,
    OPEN,
];

/// What no library should hand over.
const OFFENCES: [&str; 4] = [
    r#"{"do":"raw","message":{}}"#,
    r#"{"do":"raw","message":{"key":null,"message":[]}}"#,
    r#"{"do":"raw","message":{"key":{"id":7,"remoteJid":{}},"messageTimestamp":"x","message":{"conversation":[1]}}}"#,
    r#"{"do":"raw","message":{"key":{"id":"OFFENCE1","remoteJid":"\u0000@s.whatsapp.net"},"message":{"conversation":"\ud800"}}}"#,
];

/// What a client says that is none: no token, another one, no JSON, too much.
const STRANGERS: [&str; 4] =
    ["", "{", r#"{"type":"auth","token":"not the token at all"}"#, r#"{"type":"send","to":"1@lid"}"#];

/// Where the program is and what it is given.
pub struct Settings {
    /// The folder with `src/main.mjs` and its libraries.
    pub folder: PathBuf,
    /// Its own folder.
    pub place: PathBuf,
    /// Where programs are found.
    pub path: String,
    /// The token.
    pub token: String,
}

/// The program, running or not.
pub struct Real {
    settings: Settings,
    port: u16,
    child: Option<Companion>,
    input: Option<ChildStdin>,
    read: u64,
    clock: Arc<dyn Clock>,
}

impl Real {
    /// Starts it, online.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Real, String> {
        files::make_folder(&settings.place).map_err(|_| "its folder cannot be made".to_owned())?;
        files::replace(&settings.place.join("token"), settings.token.as_bytes())
            .map_err(|_| "its token cannot be written".to_owned())?;
        let mut real = Real { settings, port: 0, child: None, input: None, read: 0, clock };
        real.begin()?;
        Ok(real)
    }

    fn output(&self) -> PathBuf {
        self.settings.place.join("output")
    }

    fn program(&self) -> Program {
        let place = |name: &str| self.settings.place.join(name).to_string_lossy().into_owned();
        let variables = [
            ("PATH", self.settings.path.clone()),
            ("BRIDGE_PORT", self.port.to_string()),
            ("BRIDGE_STATE_DIR", place("state")),
            ("BRIDGE_TOKEN_FILE", place("token")),
        ];
        Program {
            binary: "node".to_owned(),
            arguments: vec![main_file(&self.settings.folder).to_string_lossy().into_owned(), "--fake".to_owned()],
            environment: variables.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            directory: Some(self.settings.place.clone()),
            ..Program::default()
        }
    }

    /// One start; the port stays the same over all of them.
    fn begin(&mut self) -> Result<(), String> {
        let start = || {
            let output = files::open_to_append(&self.output())?;
            let begin = output.metadata()?.len();
            let errors = files::open_to_append(&self.settings.place.join("log"))?;
            let streams = [Stdio::piped(), Stdio::from(output), Stdio::from(errors)];
            Companion::start(&self.program(), streams).map(|child| (child, begin))
        };
        let (mut child, begin) =
            start().map_err(|error: io::Error| format!("node does not start ({:?})", error.kind()))?;
        self.input = child.input();
        self.child = Some(child);
        let mut port = None;
        self.until("the bridge begins", |real| {
            port = real.records(begin).iter().find_map(|record| record["port"].as_u64());
            port.is_some() || real.child.as_mut().is_none_or(|child| child.ended().is_some())
        })?;
        if port.is_none() {
            return Err("the bridge ends at its start: node src/main.mjs in its folder says why".to_owned());
        }
        self.port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(self.port);
        self.step(OPEN)
    }

    fn end(&mut self, signal: Signal) -> Result<(), String> {
        self.input = None;
        self.child.iter_mut().for_each(|child| child.signal(signal));
        self.until("the bridge ends", |real| real.child.as_mut().is_none_or(|child| child.ended().is_some()))?;
        self.child = None;
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<(), String> {
        let child = self.child.as_mut().ok_or("the bridge does not run")?;
        child.signal(signal);
        Ok(())
    }

    fn records(&self, begin: u64) -> Vec<Value> {
        let text = text_from(&self.output(), begin).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_slice(line.as_bytes()).ok()).collect()
    }

    fn step(&mut self, step: &str) -> Result<(), String> {
        let line = format!("{step}\n");
        let written = self.input.as_mut().map(|input| input.write_all(line.as_bytes()).and_then(|()| input.flush()));
        if matches!(written, Some(Ok(()))) {
            Ok(())
        } else {
            Err("the bridge does not listen to its script".to_owned())
        }
    }

    fn until(&mut self, what: &str, mut is_true: impl FnMut(&mut Real) -> bool) -> Result<(), String> {
        let end = self.clock.mono().after(PATIENCE);
        while !is_true(self) {
            if self.clock.mono() >= end {
                return Err(format!("not in time: {what}"));
            }
            files::pause(LOOK);
        }
        Ok(())
    }

    /// Connects as nobody should, beside the worker.
    fn send_strangers(&self) {
        let (_stopper, stop) = stop::pair();
        let Some(dialer) = Dialer::new(&self.url(), Arc::clone(&self.clock)) else { return };
        for text in STRANGERS.map(str::to_owned).into_iter().chain(["x".repeat(1 << 20)]) {
            if let Ok(mut socket) = dialer.dial(PATIENCE, PATIENCE, &stop) {
                let _ = socket.send(text, PATIENCE, &stop);
                let _ = socket.read(Duration::from_secs(1));
            }
        }
    }
}

/// What is started in a folder.
pub fn main_file(folder: &Path) -> PathBuf {
    folder.join("src/main.mjs")
}

impl Bridge for Real {
    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }

    fn write(&mut self, chat: &str, id: &str, text: &str) -> Result<(), String> {
        let begin = self.output().metadata().map_or(0, |known| known.len());
        let [id_text, chat, text] = [id, chat, text].map(quoted);
        self.step(&format!(r#"{{"do":"message","id":{id_text},"from":{chat},"text":{text}}}"#))?;
        self.until("the bridge has a message", |real| {
            real.records(begin).iter().any(|record| record["event"] == "brought" && record["id"] == id)
        })
    }

    fn sent(&mut self) -> Vec<Sent> {
        let text = text_from(&self.output(), self.read).unwrap_or_default();
        // What has no end yet is read the next time.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        let records = text[..whole].lines().filter_map(|line| serde_json::from_slice::<Value>(line.as_bytes()).ok());
        let word = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        records
            .filter(|record| record["event"] == "send")
            .map(|record| Sent { to: word(&record, "to"), text: word(&record, "text") })
            .collect()
    }

    fn wish(&mut self, wish: Wish) -> Result<(), String> {
        match wish {
            Wish::Stop => self.end(Signal::TERM),
            Wish::Start => self.begin(),
            Wish::Crash => self.end(Signal::KILL).and_then(|()| self.begin()),
            Wish::Freeze => self.signal(Signal::STOP),
            Wish::Thaw => self.signal(Signal::CONT),
            Wish::Withhold => self.step(r#"{"do":"confirm","mode":"never"}"#),
            Wish::Confirm => self.step(r#"{"do":"confirm","mode":"at_once"}"#),
            Wish::Chatter => CHATTER.iter().try_for_each(|step| self.step(step)),
            Wish::Offend => {
                OFFENCES.iter().try_for_each(|step| self.step(step))?;
                self.send_strangers();
                Ok(())
            }
            Wish::Lose => self.step(LOSS),
            Wish::LogOut => self.step(r#"{"do":"close","code":401}"#),
            Wish::Replace => self.step(r#"{"do":"close","code":440}"#),
            // What only a person can end ends with another start, as a person would end it.
            Wish::Online => self.end(Signal::TERM).and_then(|()| self.begin()),
        }
    }

    fn unacked(&mut self) -> Option<usize> {
        None
    }

    fn under_way(&mut self) -> Option<usize> {
        None
    }
}
