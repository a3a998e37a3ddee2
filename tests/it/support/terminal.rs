//! A terminal of the kernel's, with a program on it: what it writes is kept, keys are typed, the size changes.
//!
//! `setsid --ctty`, which every Linux has, makes it the program's controlling terminal, so that signals of the terminal come
//! as they do to a person's program.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::support::waiting::{CEILING, Gate, came_true, lock, spawn, until_within};
use crate::support::world::World;

pub struct Terminal {
    master: File,
    place: PathBuf,
    before: Termios,
    seen: Arc<Mutex<Vec<u8>>>,
    reading: Gate,
}

impl Terminal {
    /// What is written is read from now on.
    pub fn open(columns: u16, rows: u16) -> Terminal {
        let terminal = Terminal::stuck(columns, rows);
        terminal.reading.open();
        terminal
    }

    /// It takes what fits into its buffer, and no more until it is released.
    pub fn stuck(columns: u16, rows: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
        let (seen, reading) = (Arc::<Mutex<Vec<u8>>>::default(), Gate::closed());
        let before = tcgetattr(&master).expect("a terminal");
        let terminal = Terminal { master: File::from(master), place: PathBuf::from(name), before, seen, reading };
        terminal.resize(columns, rows);
        let (mut master, kept) = (terminal.master.try_clone().expect("cloned"), Arc::clone(&terminal.seen));
        let reading = terminal.reading.clone();
        spawn("terminal", move || {
            reading.wait(CEILING * 4);
            let mut buffer = [0; 4096];
            // An error is the end of the last program on it.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                lock(&kept).extend_from_slice(&buffer[..length]);
            }
        });
        terminal
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("a size");
    }

    /// The product on this terminal. Errors go elsewhere.
    pub fn start(&self, world: &World, arguments: &[&str]) -> OnTerminal {
        let mut command = world.command_of(Path::new("setsid"), &["--ctty"]);
        command.arg(World::product_path()).args(arguments).stderr(Stdio::null());
        self.start_command(command)
    }

    /// Any program that `setsid` was told to become.
    pub fn start_command(&self, mut command: Command) -> OnTerminal {
        let no_control = i32::try_from(OFlags::NOCTTY.bits()).expect("small");
        let end =
            || OpenOptions::new().read(true).write(true).custom_flags(no_control).open(&self.place).expect("opens");
        command.stdin(end()).stdout(end());
        OnTerminal { child: command.spawn().expect("it starts") }
    }

    pub fn press(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// Everything that was written to it.
    pub fn seen(&self) -> Vec<u8> {
        lock(&self.seen).clone()
    }

    pub fn forget(&self) {
        lock(&self.seen).clear();
    }

    pub fn has_seen(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.seen()).contains(text)
    }

    #[track_caller]
    pub fn until_seen(&self, text: &str) {
        if !came_true(CEILING, || self.has_seen(text)) {
            panic!("never seen: {text:?}; but {:?}", String::from_utf8_lossy(&self.seen()));
        }
    }

    /// Keys arrive one at a time.
    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.master).expect("a terminal").local_modes.contains(LocalModes::ICANON)
    }

    #[track_caller]
    pub fn assert_as_before(&self) {
        let now = tcgetattr(&self.master).expect("a terminal");
        assert_eq!(format!("{now:?}"), format!("{:?}", self.before));
    }
}

pub struct OnTerminal {
    child: Child,
}

impl OnTerminal {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("an id")).expect("not zero");
        kill_process(id, signal).expect("it runs");
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until_within("the program ends", CEILING, || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        status.expect("it ended")
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
