//! The keys of the terminal: for a line that is typed, and for a screen; and the spinner while a turn runs. The only file
//! that names termion. `sys::terminal` changes the mode, and restores it after signals and bugs, too.
//!
//! Raw mode ends with each line, so a turn can be interrupted as always.

use std::io::{self, IsTerminal, Stdin, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use termion::event::Key as Pressed;
use termion::input::{Keys, TermRead};

use crate::cli::editor::{Editor, Key, Outcome};
use crate::cli::environment;
use crate::monitor::layout;
use crate::sys::queue::{Receiver, bounded};
use crate::sys::stop::{self, Stopper};
use crate::sys::terminal::{Raw, size};
use crate::sys::thread::spawn;

/// Keys that wait to be taken; the thread that reads them waits, too.
const KEYS_WAITING_MAX: usize = 16;

const PROMPT: &str = "> ";

/// Where the terminal does not say how wide it is.
const COLUMNS_DEFAULT: u16 = 80;

/// Between two frames of the spinner; a shorter turn shows none.
const FRAME: Duration = Duration::from_millis(120);

/// A terminal with a person at it.
pub struct Terminal {
    /// Kept, because it may have read one byte ahead.
    keys: Keys<Stdin>,
    editor: Editor,
}

impl Terminal {
    /// `None`: input or output is no terminal, or one that cannot move its cursor.
    pub fn open() -> Option<Terminal> {
        is_usable().then(|| Terminal { keys: io::stdin().keys(), editor: Editor::default() })
    }

    /// A line; `None` at the end of input. Ends with the cursor at the start of a new line.
    pub fn read_line(&mut self) -> io::Result<Option<String>> {
        let _raw = Raw::enter(b"")?;
        let mut screen = io::stdout().lock();
        let line = loop {
            self.paint(&mut screen)?;
            let Some(pressed) = self.keys.next().transpose()? else { break None };
            let Some(key) = meaning(pressed) else { continue };
            if key == Key::Enter {
                // The cursor leaves from the end, or the answer would be written over the rest of the line.
                self.editor.press(Key::End);
                self.paint(&mut screen)?;
            }
            match self.editor.press(key) {
                Outcome::Editing => {}
                Outcome::Line(line) => break Some(line),
                Outcome::End => break None,
            }
        };
        screen.write_all(b"\r\n")?;
        screen.flush()?;
        Ok(line)
    }

    /// Writes the text behind the cursor last, and the terminal itself knows where the cursor was: `ESC 7` remembers,
    /// `ESC [K` clears what is left of the line, `ESC 8` goes back.
    fn paint(&self, screen: &mut impl Write) -> io::Result<()> {
        let columns = size().map_or(COLUMNS_DEFAULT, |(columns, _)| columns);
        let (front, behind) = self.editor.view(usize::from(columns).saturating_sub(PROMPT.len() + 1));
        write!(screen, "\r{PROMPT}{front}\x1b7{behind}\x1b[K\x1b8")?;
        screen.flush()
    }
}

fn meaning(pressed: Pressed) -> Option<Key> {
    Some(match pressed {
        Pressed::Char('\n' | '\r') => Key::Enter,
        Pressed::Char(letter) => Key::Letter(letter),
        Pressed::Left | Pressed::Ctrl('b') => Key::Left,
        Pressed::Right | Pressed::Ctrl('f') => Key::Right,
        Pressed::Home | Pressed::Ctrl('a') => Key::Home,
        Pressed::End | Pressed::Ctrl('e') => Key::End,
        Pressed::Backspace | Pressed::Ctrl('h') => Key::Backspace,
        Pressed::Delete => Key::Delete,
        Pressed::Up | Pressed::Ctrl('p') => Key::Older,
        Pressed::Down | Pressed::Ctrl('n') => Key::Newer,
        Pressed::Ctrl('u') => Key::CutToStart,
        Pressed::Ctrl('k') => Key::CutToEnd,
        Pressed::Ctrl('w') => Key::CutWord,
        Pressed::Ctrl('c') => Key::Clear,
        Pressed::Ctrl('d') => Key::DeleteOrEnd,
        _ => return None,
    })
}

/// Turns on standard error until it is dropped.
pub struct Spinner {
    running: Option<(Stopper, JoinHandle<()>)>,
}

impl Spinner {
    /// Nothing turns where nobody looks, or where the person asked for plain output.
    pub fn start() -> Spinner {
        let is_wanted = io::stderr().is_terminal() && can_move() && is_blank("NO_COLOR");
        Spinner { running: is_wanted.then(turning).flatten() }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some((stopper, thread)) = self.running.take() {
            drop(stopper);
            let _ = thread.join();
        }
    }
}

/// Each frame ends at the start of the line, so that a line of the log just covers it. `None`: no thread to be had.
fn turning() -> Option<(Stopper, JoinHandle<()>)> {
    let (stopper, stop) = stop::pair();
    let (exits, _) = bounded(1);
    let thread = spawn("spinner", exits, move || {
        let mut end: &[u8] = b"";
        for frame in ["-\r", "\\\r", "|\r", "/\r"].into_iter().cycle() {
            if stop.wait(FRAME) {
                break;
            }
            let _ = io::stderr().write_all(frame.as_bytes());
            end = b"\x1b[K";
        }
        let _ = io::stderr().write_all(end);
        Ok(())
    });
    Some((stopper, thread.ok()?))
}

/// Input and output are a terminal that can move its cursor.
pub fn is_usable() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && can_move()
}

/// Keys for a screen, read on a thread of their own.
pub struct Keyboard {
    /// What was pressed; closed when the terminal is gone.
    pub keys: Receiver<layout::Key>,
}

impl Keyboard {
    /// Reads from now on, and as long as the process lives. Whoever presses keys faster than they are taken waits.
    pub fn start() -> io::Result<Keyboard> {
        let (sender, keys) = bounded(KEYS_WAITING_MAX);
        let (exits, _) = bounded(1);
        spawn("keys", exits, move || {
            for pressed in io::stdin().keys().map_while(Result::ok) {
                let Some(key) = screen_meaning(pressed) else { continue };
                if sender.send(key).is_err() {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(Keyboard { keys })
    }
}

fn screen_meaning(pressed: Pressed) -> Option<layout::Key> {
    use layout::Key;
    Some(match pressed {
        Pressed::Char('q' | 'Q') | Pressed::Esc | Pressed::Ctrl('c') => Key::Quit,
        Pressed::Char('p' | ' ') => Key::Pause,
        Pressed::Char('?' | 'h') => Key::Help,
        Pressed::Char(digit @ '1'..='9') => Key::View(usize::from(digit as u8 - b'1')),
        Pressed::Char('\t') | Pressed::Right => Key::NextView,
        Pressed::BackTab | Pressed::Left => Key::PreviousView,
        Pressed::Up | Pressed::Char('k') => Key::Up,
        Pressed::Down | Pressed::Char('j') => Key::Down,
        Pressed::PageUp => Key::PageUp,
        Pressed::PageDown => Key::PageDown,
        Pressed::Home | Pressed::Char('g') => Key::Home,
        Pressed::End | Pressed::Char('G') => Key::End,
        Pressed::Char('r') | Pressed::Ctrl('l') => Key::Redraw,
        _ => return None,
    })
}

fn can_move() -> bool {
    let variables = environment::process_variables();
    variables.get("TERM").is_some_and(|(term, _)| !matches!(term.as_str(), "" | "dumb" | "unknown"))
}

fn is_blank(name: &str) -> bool {
    environment::process_variables().get(name).is_none_or(|(value, _)| value.is_empty())
}
