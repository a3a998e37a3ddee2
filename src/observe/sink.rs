//! Where events go: standard error, one JSON object per line, through env_logger as the one backend of the `log`
//! crate. Events are always written; lines of the `log` crate obey RUST_LOG (default: warn). Secrets are taken out
//! last, so that no way of logging gets around it. A standard error that is closed is no error.

use std::io::Write;
use std::sync::Arc;

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

use crate::base::clock::{Clock, Wall};
use crate::base::text;
use crate::observe::event::{self, DETAIL_CHARS_MAX, Event, Level, Log};
use crate::observe::redact::Redactor;

/// Marks a log record whose message is an event's finished line.
const EVENT_TARGET: &str = "rusty_pinch::event";

/// The [`Log`] of the running program. Create it once, before the first thread.
pub struct Sink;

impl Sink {
    /// Installs the backend and a panic hook that writes an event instead of a page of text.
    pub fn install(redactor: Redactor, clock: Arc<dyn Clock>) -> Sink {
        let mut builder = Builder::new();
        builder.filter_level(LevelFilter::Warn).parse_default_env().filter_module(EVENT_TARGET, LevelFilter::Info);
        builder.target(Target::Stderr).write_style(WriteStyle::Never);
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
        std::panic::set_hook(Box::new(|panic| log::error!(target: "panic", "{panic}")));
        Sink
    }
}

impl Log for Sink {
    fn emit(&self, at: Wall, event: &Event) {
        log::info!(target: EVENT_TARGET, "{}", event.to_line(at));
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
