//! The mode of the terminal: raw while keys are read, and as it was afterwards, however the process ends. There is one
//! terminal, so what it was like is kept in one place, which the hook of a panic and the thread of the signals can reach.
//!
//! [`Raw`] restores when it is dropped; [`restore`] does it from anywhere, once. [`line()`] reads an answer.

use std::io;
use std::sync::{Mutex, PoisonError, TryLockError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::base::cancel::Cancel;

/// How long a line is waited for between two looks at whether it is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// What the terminal was like, and what to write to it when it becomes that again.
struct Before {
    mode: Termios,
    farewell: &'static [u8],
}

static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

/// As long as it lives, the terminal has another mode: keys arrive one at a time and are not shown, or lines are not shown.
#[derive(Debug)]
#[must_use]
pub struct Raw(());

impl Raw {
    /// Changes the mode of standard input. `farewell` is written to standard output at the end; it must be shorter than
    /// what any terminal takes at once.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn enter(farewell: &'static [u8]) -> io::Result<Raw> {
        Raw::change(farewell, Termios::make_raw)
    }

    /// Lines and signals are as usual, and only the end of a line is shown of what is typed.
    ///
    /// # Errors
    /// As [`Raw::enter`].
    pub fn unseen() -> io::Result<Raw> {
        Raw::change(b"", |mode| {
            mode.local_modes.remove(LocalModes::ECHO);
            mode.local_modes.insert(LocalModes::ECHONL);
        })
    }

    fn change(farewell: &'static [u8], change: fn(&mut Termios)) -> io::Result<Raw> {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = tcgetattr(stdio::stdin())?;
        let mut changed = mode.clone();
        change(&mut changed);
        tcsetattr(stdio::stdin(), OptionalActions::Now, &changed)?;
        *before = Some(Before { mode, farewell });
        Ok(Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. Whether it was raw. Waits for nothing: not for a thread that is at it, and not for a
/// terminal that takes no more, which then misses the farewell.
pub fn restore() -> bool {
    let mut before = match BEFORE.try_lock() {
        Ok(before) => before,
        Err(TryLockError::Poisoned(before)) => before.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    let Some(Before { mode, farewell }) = before.take() else { return false };
    // A terminal that is gone needs nothing.
    let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &mode);
    let mut ready = [PollFd::from_borrowed_fd(stdio::stdout(), PollFlags::OUT)];
    let takes_more = poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
    if takes_more && !farewell.is_empty() {
        // Not through the standard library, whose lock the thread that panics may hold.
        let _ = rustix::io::write(stdio::stdout(), farewell);
    }
    true
}

/// A line of standard input, of `bytes_max` at most; what is longer is the next one. `None`: there are no more, or this is cancelled.
/// Read byte by byte: what a buffer has taken could not be waited for.
pub fn line(bytes_max: usize, cancel: &Cancel) -> Option<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < bytes_max {
        if cancel.requested() {
            return None;
        }
        let mut ready = [PollFd::from_borrowed_fd(stdio::stdin(), PollFlags::IN)];
        if poll(&mut ready, Some(&LOOK)).is_ok_and(|count| count > 0) {
            let mut byte = [0];
            match rustix::io::read(stdio::stdin(), &mut byte) {
                Ok(1..) => line.push(byte[0]),
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => break,
            }
        }
    }
    (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
}

/// Columns and rows of standard output; `None` where nobody says.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdio::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
