//! `monitor`: what the program and its host do. On a terminal a screen that is kept up to date and has keys; elsewhere a
//! frame of plain text for each tick. Reads only, and needs no worker.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::cli::flags::Parsed;
use crate::cli::terminal::{self, Keyboard};
use crate::cli::{Failure, environment, print, setup};
use crate::config::keys::Environment;
use crate::monitor::facts::{Asked, Facts};
use crate::monitor::gather::Gatherer;
use crate::monitor::history::History;
use crate::monitor::layout::{Key, Screen};
use crate::monitor::line::Glyphs;
use crate::monitor::screen::{CLEAR, Grid};
use crate::monitor::{document, plain};
use crate::observe::sink::Way;
use crate::sys::files;
use crate::sys::queue::{Receiver, select};
use crate::sys::signal::{self, ScreenSignal};
use crate::sys::terminal::{Raw, size};

/// Between the two looks of `--once`: long enough for a figure of processor time.
const SAMPLE: Duration = Duration::from_millis(150);

/// Nothing is looked at more often; shorter intervals would make the figures of growth noise.
const INTERVAL_MIN_MS: u64 = 50;

/// Longer is the same as this.
const INTERVAL_MAX_MS: u64 = 24 * 3600 * 1000;

/// The other screen of the terminal, without a cursor.
const BEGIN: &[u8] = b"\x1b[?1049h\x1b[?25l";

/// No colours, the cursor, and the screen as it was.
const FAREWELL: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// What earlier frames began with.
const CLEAR_FRAME: &str = "\x1b[2J\x1b[H";

/// Runs until somebody quits.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    // Also while an archive is half in place: it is the hour for a look.
    let setup = setup::load_for(Way::Direct)?;
    let variables = environment::process_variables();
    let pid = parsed.count("pid").map(|pid| u32::try_from(pid).unwrap_or(u32::MAX));
    let interval_ms = parsed.count("interval-ms").unwrap_or(1000).clamp(INTERVAL_MIN_MS, INTERVAL_MAX_MS);
    let asked = Asked { interval_ms, pid, process_match: parsed.value("process-match").to_owned() };
    let refresh_ticks = parsed.count("storage-refresh-ticks").unwrap_or(10);
    let view = View {
        gatherer: Gatherer::new(setup.config, Arc::clone(&setup.clock), asked, refresh_ticks),
        clock: setup.clock,
        interval: Duration::from_millis(interval_ms),
        glyphs: Glyphs { is_utf8: is_utf8(&variables) },
        has_colour: is_blank(&variables, "NO_COLOR"),
    };
    let is_json = parsed.given("json");
    match parsed.given("once") {
        true => view.once(is_json),
        false if is_json || !terminal::is_usable() => {
            let is_dumb = variables.get("TERM").is_some_and(|(term, _)| term == "dumb");
            view.frames(is_json, is_json || is_dumb)
        }
        false => view.screen(),
    }
}

struct View {
    gatherer: Gatherer,
    clock: Arc<dyn Clock>,
    interval: Duration,
    glyphs: Glyphs,
    has_colour: bool,
}

impl View {
    /// Two looks, because processor time is a difference.
    fn once(mut self, is_json: bool) -> Result<(), Failure> {
        let start = self.clock.mono();
        self.gatherer.look();
        files::pause(self.clock.mono().until(start.after(SAMPLE)));
        let facts = self.gatherer.look();
        print(&match is_json {
            true => format!("{:#}\n", document::document(&facts)),
            false => plain::frame(&facts, self.glyphs),
        })
    }

    /// A frame for each tick until a signal, or until nobody reads any more.
    fn frames(mut self, is_json: bool, is_plain: bool) -> Result<(), Failure> {
        let signals = listen()?;
        let mut next = self.clock.mono();
        loop {
            let facts = self.gatherer.look();
            let text = match is_json {
                true => format!("{}\n", document::document(&facts)),
                false if is_plain => plain::frame(&facts, self.glyphs) + "\n",
                false => CLEAR_FRAME.to_owned() + &plain::frame(&facts, self.glyphs),
            };
            match write(text.as_bytes()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(|error| told(&error))?,
            }
            next = self.after(next);
            loop {
                match signals.recv_timeout(self.clock.mono().until(next)) {
                    Ok(ScreenSignal::Resized) => {}
                    Ok(ScreenSignal::End) if is_json => return Ok(()),
                    Ok(ScreenSignal::End) => return stopped(),
                    Err(_) => break,
                }
            }
        }
    }

    /// A screen, until somebody quits, a signal, or the end of the terminal.
    fn screen(mut self) -> Result<(), Failure> {
        let signals = listen()?;
        // Before the mode is changed: what was typed ahead is read either way.
        let raw = Raw::enter(FAREWELL).map_err(|error| told(&error))?;
        let keyboard = Keyboard::start().map_err(|error| told(&error))?;
        write(BEGIN).map_err(|error| told(&error))?;
        let mut screen = Screen::new(self.glyphs);
        let mut history = History::default();
        let mut shown: Option<Grid> = None;
        let mut facts = Facts::default();
        let mut next = self.clock.mono();
        let ending = loop {
            if !screen.is_paused && self.clock.mono() >= next {
                facts = self.gatherer.look();
                history.add(&facts);
                next = self.after(next);
            }
            match self.paint(&mut screen, &facts, &history, shown.take()) {
                Ok(grid) => shown = Some(grid),
                Err(error) => break Err(error),
            }
            let wait =
                if screen.is_paused { Duration::from_millis(INTERVAL_MAX_MS) } else { self.clock.mono().until(next) };
            select! {
                recv(signals.raw()) -> signal => match signals.opened(signal) {
                    Ok(ScreenSignal::Resized) => {}
                    Ok(ScreenSignal::End) | Err(_) => break Ok(()),
                },
                recv(keyboard.keys.raw()) -> key => match keyboard.keys.opened(key) {
                    Ok(Key::Quit) | Err(_) => break Ok(()),
                    Ok(Key::Redraw) => shown = None,
                    Ok(key) => screen.press(key),
                },
                default(wait) => {}
            }
        };
        drop(raw);
        match ending {
            Ok(()) => stopped(),
            // The terminal is gone, and so is whoever could be told.
            Err(_) => Ok(()),
        }
    }

    /// Writes what is different from what is shown. Another size is another screen.
    fn paint(&self, screen: &mut Screen, facts: &Facts, history: &History, shown: Option<Grid>) -> io::Result<Grid> {
        let (columns, rows) = size().unwrap_or((80, 24));
        let grid = screen.draw(facts, history, columns, rows);
        let shown = shown.filter(|shown| (shown.columns(), shown.rows()) == (grid.columns(), grid.rows()));
        let change = grid.difference(shown.as_ref(), self.has_colour);
        let bytes = if shown.is_some() { change } else { [CLEAR, &change].concat() };
        if !bytes.is_empty() {
            write(&bytes)?;
        }
        Ok(grid)
    }

    /// The next tick. Those that were missed are left out.
    fn after(&self, tick: Mono) -> Mono {
        let next = tick.after(self.interval);
        if next > self.clock.mono() { next } else { self.clock.mono().after(self.interval) }
    }
}

fn listen() -> Result<Receiver<ScreenSignal>, Failure> {
    signal::watch_screen().map_err(|error| told(&error))
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn told(error: &io::Error) -> Failure {
    Failure::Failed(format!("terminal: {error}"))
}

/// As it was always said. A terminal that is gone is told nothing.
fn stopped() -> Result<(), Failure> {
    let _ = write(b"monitor stopped\n");
    Ok(())
}

/// By the first of the three variables that is set, as in every program.
fn is_utf8(variables: &Environment) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| !is_blank(variables, name));
    let locale = set.and_then(|name| variables.get(name)).map(|(value, _)| value.to_ascii_lowercase());
    locale.is_some_and(|locale| locale.contains("utf-8") || locale.contains("utf8"))
}

fn is_blank(variables: &Environment, name: &str) -> bool {
    variables.get(name).is_none_or(|(value, _)| value.is_empty())
}
