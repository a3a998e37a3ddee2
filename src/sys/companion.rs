//! [`Companion`]: a child process that runs beside us while we do something else. It writes into files, so nobody has to read
//! along. It ends with its value, by SIGKILL, and as every child of ours (`child.rs`) with the thread that started it.

use std::fs;
use std::io;
use std::process::{Child, ChildStdin, Stdio};

use rustix::process::Signal;

use crate::sys::child::{End, Program, end_of, kill_group, start_with};
use crate::sys::children;

/// A child that runs, or has ended.
#[derive(Debug)]
pub struct Companion {
    child: Child,
    end: Option<End>,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Memory in KiB that is in use and in the machine.
    pub resident_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open files.
    pub files: u64,
}

impl Companion {
    /// Starts it, with its input, output and standard error as given.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn start(program: &Program, streams: [Stdio; 3]) -> io::Result<Companion> {
        start_with(program, None, streams).map(|child| Companion { child, end: None })
    }

    /// The other end of its input, once, if that is a pipe.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Why it ended; `None`: it runs.
    pub fn ended(&mut self) -> Option<End> {
        if self.end.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            children::forget_own(&self.child);
            self.end = Some(end_of(status));
        }
        self.end
    }

    /// Sends it, and what it started, a signal.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_group(&self.child, signal);
        }
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.end.is_none()
            && let Ok(status) = self.child.wait()
        {
            children::forget_own(&self.child);
            self.end = Some(end_of(status));
        }
    }

    /// What it uses now; `None`: it has ended.
    pub fn sample(&self) -> Option<Sample> {
        let folder = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let files = fs::read_dir(format!("{folder}/fd")).ok()?.count();
        Some(Sample { resident_kib: field("VmRSS:")?, threads: field("Threads:")?, files: u64::try_from(files).ok()? })
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.kill();
    }
}
