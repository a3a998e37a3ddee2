//! The terminal: raw mode while a line is typed, and the spinner while a turn runs. The only file that names termion.
//!
//! Raw mode ends with each line, so a turn can be interrupted as always. A signal or a panic at the prompt ends the
//! program without that; most shells then restore the terminal themselves.

use std::io::{self, IsTerminal, Stdin, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use termion::event::Key as Pressed;
use termion::input::{Keys, TermRead};
use termion::raw::IntoRawMode;

use crate::cli::editor::{Editor, Key, Outcome};
use crate::cli::environment;
use crate::sys::stop::{self, Stopper};
use crate::sys::thread::spawn;

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
        let is_usable = io::stdin().is_terminal() && io::stdout().is_terminal() && can_move();
        is_usable.then(|| Terminal { keys: io::stdin().keys(), editor: Editor::default() })
    }

    /// A line; `None` at the end of input. Ends with the cursor at the start of a new line.
    pub fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut screen = io::stdout().into_raw_mode()?;
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
        let columns = termion::terminal_size().map_or(0, |(columns, _)| columns);
        let columns = if columns == 0 { COLUMNS_DEFAULT } else { columns };
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

fn can_move() -> bool {
    let variables = environment::process_variables();
    variables.get("TERM").is_some_and(|(term, _)| !matches!(term.as_str(), "" | "dumb" | "unknown"))
}

fn is_blank(name: &str) -> bool {
    environment::process_variables().get(name).is_none_or(|(value, _)| value.is_empty())
}
