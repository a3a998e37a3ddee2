//! Where events go: standard error, one JSON object per line, through env_logger as the one backend of the `log`
//! crate. Events are always written; lines of the `log` crate obey RUST_LOG (default: warn). Secrets are taken out
//! last, so that no way of logging gets around it. A standard error that is closed is no error, and one that nobody reads
//! does not stop a worker.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

use crate::base::clock::{Clock, Wall};
use crate::base::text;
use crate::observe::event::{self, DETAIL_CHARS_MAX, Event, Level, Log};
use crate::observe::redact::Redactor;
use crate::sys::thread::spawn;
use crate::sys::{files, panic};

/// Marks a log record whose message is an event's finished line.
const EVENT_TARGET: &str = "rusty_pinch::event";

/// Lines that may wait for whoever reads standard error. Beyond that they are dropped and counted: a reader that
/// stands still must not make the program stand still.
const LINES_WAITING_MAX: usize = 1024;

/// How lines get to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At once, by the one who logs: for commands that end soon.
    Direct,
    /// Through a queue and a thread: for workers.
    Queued,
}

/// How long the last line of a panicking process may wait for whoever reads standard error.
const PANIC_PATIENCE: Duration = Duration::from_millis(200);

/// The [`Log`] of the running program. Create it once, before the first thread.
#[derive(Clone)]
pub struct Sink {
    waiting: Option<Sender<Vec<u8>>>,
}

impl Sink {
    /// Installs the backend and a panic hook that writes an event instead of a page of text.
    pub fn install(redactor: Redactor, clock: Arc<dyn Clock>, way: Way) -> Sink {
        let mut builder = Builder::new();
        builder.filter_level(LevelFilter::Warn).parse_default_env().filter_module(EVENT_TARGET, LevelFilter::Info);
        let waiting = (way == Way::Queued).then(start_thread);
        let target = match &waiting {
            Some(lines) => {
                Target::Pipe(Box::new(Queue { lines: lines.clone(), dropped: 0, clock: Arc::clone(&clock) }))
            }
            None => Target::Stderr,
        };
        builder.target(target).write_style(WriteStyle::Never);
        builder.format(move |out, record| {
            let line = if record.target() == EVENT_TARGET {
                record.args().to_string()
            } else {
                foreign_line(record, clock.wall())
            };
            writeln!(out, "{}", redactor.clean(&line))
        });
        // A second installation happens only in tests; the first one stays.
        let _ = builder.try_init();
        let sink = Sink { waiting };
        let last_words = sink.clone();
        panic::end_process(move |message| {
            log::error!(target: "panic", "{message}");
            last_words.flush(PANIC_PATIENCE);
        });
        sink
    }
}

/// The `log` thread: the only one that waits for whoever reads standard error. Lives as long as the process.
fn start_thread() -> Sender<Vec<u8>> {
    let (lines, waiting) = bounded::<Vec<u8>>(LINES_WAITING_MAX);
    let (exits, _) = bounded(1);
    spawn("log", exits, move || {
        for line in waiting {
            // A standard error that is closed is no error.
            let _ = std::io::stderr().write_all(&line);
        }
        Ok(())
    });
    lines
}

/// Puts whole lines into the queue, or counts what it could not put.
struct Queue {
    lines: Sender<Vec<u8>>,
    dropped: u64,
    clock: Arc<dyn Clock>,
}

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.dropped > 0 {
            let line = Event::LogDropped { lines: self.dropped }.to_line(self.clock.wall()) + "\n";
            if self.lines.try_send(line.into_bytes()).is_ok() {
                self.dropped = 0;
            }
        }
        if self.lines.try_send(bytes.to_vec()).is_err() {
            self.dropped += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log for Sink {
    fn emit(&self, at: Wall, event: &Event) {
        log::info!(target: EVENT_TARGET, "{}", event.to_line(at));
    }

    fn flush(&self, patience: Duration) {
        const PAUSE: Duration = Duration::from_millis(5);
        let mut left = patience;
        while self.waiting.as_ref().is_some_and(|lines| !lines.is_empty()) && !left.is_zero() {
            files::pause(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
        // The last line has left the queue and may still be on its way.
        if self.waiting.is_some() {
            files::pause(PAUSE);
        }
    }
}

fn foreign_line(record: &log::Record<'_>, at: Wall) -> String {
    let message = text::shorten(&record.args().to_string(), DETAIL_CHARS_MAX);
    let level = match record.level() {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        _ => Level::Info,
    };
    event::line(&Event::Log { target: record.target().to_owned(), message }, level, at)
}
