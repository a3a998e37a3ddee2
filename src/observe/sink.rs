//! Where lines go: standard error, one JSON object each. Events are always written. Lines of libraries come through
//! env_logger, the one backend of the `log` crate, and obey RUST_LOG (default: warn). Secrets are taken out last, so that
//! no way of logging gets around it. A standard error that is closed is no error, and one that nobody reads does not stop a
//! worker.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use env_logger::{Builder, WriteStyle};
use log::LevelFilter;

use crate::base::clock::{Clock, Wall};
use crate::base::text;
use crate::observe::event::{self, DETAIL_CHARS_MAX, Event, Level, Log};
use crate::observe::note::Note;
use crate::observe::redact::Redactor;
use crate::observe::repeats::{Repeats, Verdict};
use crate::sys::queue::{Sender, bounded};
use crate::sys::thread::spawn;
use crate::sys::{files, panic};

/// Lines that may wait for whoever reads standard error. Beyond that they are dropped and counted: a reader that
/// stands still must not make the program stand still.
const LINES_WAITING_MAX: usize = 1024;

/// The last of these places are for turns and for what ends the program.
const LINES_WAITING_OTHERS: usize = 768;

/// How long the last line of a panicking process may wait for whoever reads standard error.
const PANIC_PATIENCE: Duration = Duration::from_millis(200);

/// How lines get to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At once, by the one who logs: for commands that end soon.
    Direct,
    /// Through a queue and a thread: for workers.
    Queued,
}

/// The [`Log`] of the running program. Create it once, before the first thread.
#[derive(Clone)]
pub struct Sink(Arc<Inner>);

struct Inner {
    waiting: Option<Sender<Vec<u8>>>,
    /// Not told yet.
    dropped: AtomicU64,
    /// Since the start.
    dropped_in_all: AtomicU64,
    redactor: Redactor,
    clock: Arc<dyn Clock>,
    /// `None`: somebody who set RUST_LOG wants every line.
    repeats: Option<Mutex<Repeats>>,
}

impl Sink {
    /// Installs the backend, with what RUST_LOG says, and a panic hook that writes an event instead of a page of text.
    pub fn install(redactor: Redactor, clock: Arc<dyn Clock>, way: Way, rust_log: &str) -> Sink {
        let waiting = (way == Way::Queued).then(start_thread).flatten();
        let sink = Sink(Arc::new(Inner {
            waiting,
            dropped: AtomicU64::new(0),
            dropped_in_all: AtomicU64::new(0),
            redactor,
            clock,
            repeats: rust_log.trim().is_empty().then(Mutex::default),
        }));
        let (levels, ignored) = levels(rust_log);
        let mut builder = Builder::new();
        builder.filter_level(LevelFilter::Warn).parse_filters(&levels).write_style(WriteStyle::Never);
        let target = sink.clone();
        // What env_logger would write itself is nothing: the line has a way of its own.
        builder.format(move |_, record| {
            let (event, level) = foreign(record, &target.0.redactor);
            target.tell(&event, level, target.0.clock.wall());
            Ok(())
        });
        // A second installation happens only in tests and in a parked worker; the first one stays.
        let _ = builder.try_init();
        if !ignored.is_empty() {
            let message = format!("RUST_LOG: ignored: {}", ignored.join(", "));
            sink.emit(sink.0.clock.wall(), &Event::Log { target: "log".to_owned(), message });
        }
        let last_words = sink.clone();
        panic::end_process(move |message| {
            let event = Event::Log { target: "panic".to_owned(), message: message.to_owned() };
            last_words.line(&event::line(&event, Level::Error, last_words.0.clock.wall(), 0), LINES_WAITING_MAX);
            last_words.flush(PANIC_PATIENCE);
        });
        sink
    }

    /// Writes a line, unless it says the same as one just before, or there are too many. A command ends soon, and tells all.
    fn tell(&self, event: &Event, level: Level, at: Wall) {
        let repeats = self.0.waiting.as_ref().and_then(|_| self.repeats());
        let Some(mut repeats) = repeats.filter(|_| !Repeats::is_exempt(event)) else {
            return self.line(&event::line(event, level, at, 0), LINES_WAITING_MAX);
        };
        let now = self.0.clock.mono();
        let verdict = repeats.decide(event, now);
        drop(repeats);
        if let Verdict::Write { suppressed } = verdict {
            self.line(&event::line(event, level, at, suppressed), LINES_WAITING_OTHERS);
        }
        self.settle(false);
    }

    /// Tells what was left out and is over, or (`all`) what was left out at all.
    fn settle(&self, all: bool) {
        // Not waited for: the thread that panics may hold it, and its last words come this way.
        let repeats = self.0.repeats.as_ref().and_then(|repeats| repeats.try_lock().ok());
        let settled = repeats.map(|mut repeats| repeats.settle(self.0.clock.mono(), all)).unwrap_or_default();
        let at = self.0.clock.wall();
        settled.iter().for_each(|event| self.line(&event.to_line(at), LINES_WAITING_OTHERS));
    }

    /// A thread that ended while it held this has left counters that are as good as any.
    fn repeats(&self) -> Option<MutexGuard<'_, Repeats>> {
        self.0.repeats.as_ref().map(|repeats| repeats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts it into the queue if less than `most` lines wait there.
    fn line(&self, line: &str, most: usize) {
        let line = self.0.redactor.clean(line) + "\n";
        let Some(waiting) = &self.0.waiting else {
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        };
        let lost = self.0.dropped.swap(0, Ordering::SeqCst);
        let news =
            (lost > 0).then(|| Event::LogDropped { lines: lost, reason: "unread" }.to_line(self.0.clock.wall()) + "\n");
        let put = |line: String| waiting.try_send(line.into_bytes()).is_ok();
        if news.is_some_and(|news| !put(news)) {
            self.0.dropped.fetch_add(lost, Ordering::SeqCst);
        }
        if waiting.len() >= most || !put(line) {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
            self.0.dropped_in_all.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The `log` thread: the only one that waits for whoever reads standard error. Ends with the last sink that has its queue.
/// `None`: the system has no thread left to give, and lines go straight out.
fn start_thread() -> Option<Sender<Vec<u8>>> {
    let (lines, waiting) = bounded::<Vec<u8>>(LINES_WAITING_MAX);
    let (exits, _) = bounded(1);
    spawn("log", exits, move || {
        for line in waiting.iter() {
            // A standard error that is closed is no error.
            let _ = std::io::stderr().write_all(&line);
        }
        Ok(())
    })
    .is_ok()
    .then_some(lines)
}

impl Log for Sink {
    fn emit(&self, at: Wall, event: &Event) {
        self.tell(event, event.level(), at);
    }

    /// A worker that is well notes something every second and logs nothing for hours.
    fn note(&self, _note: Note<'_>) {
        self.settle(false);
    }

    fn dropped(&self) -> u64 {
        self.0.dropped_in_all.load(Ordering::SeqCst)
    }

    fn flush(&self, patience: Duration) {
        self.settle(true);
        /// Between two looks whether the lines have gone.
        const PAUSE: Duration = Duration::from_millis(5);
        let mut left = patience;
        while self.0.waiting.as_ref().is_some_and(|lines| !lines.is_empty()) && !left.is_zero() {
            files::pause(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
        // The last line has left the queue and may still be on its way.
        if self.0.waiting.is_some() {
            files::pause(PAUSE);
        }
    }
}

/// The parts of RUST_LOG that name a level or a module with a level, and those that are ignored: what env_logger says about them
/// would be no JSON, and its filter of texts would hide lines.
fn levels(rust_log: &str) -> (String, Vec<&str>) {
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    let is_module =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-'));
    let good = |part: &&str| match part.split_once('=') {
        Some((module, level)) => is_module(module.trim()) && is_level(level),
        None => is_level(part) || is_module(part.trim()),
    };
    let (parts, filter) = rust_log.split_once('/').map_or((rust_log, None), |(parts, filter)| (parts, Some(filter)));
    let parts = parts.split(',').filter(|part| !part.trim().is_empty());
    let (kept, mut ignored): (Vec<&str>, Vec<&str>) = parts.partition(good);
    ignored.extend(filter);
    (kept.join(","), ignored)
}

/// What is cut off may be the end of a secret, whose beginning nobody would recognise: so it is cleaned first.
fn foreign(record: &log::Record<'_>, redactor: &Redactor) -> (Event, Level) {
    let message = text::shorten(&redactor.clean(&record.args().to_string()), DETAIL_CHARS_MAX);
    let level = match record.level() {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        _ => Level::Info,
    };
    (Event::Log { target: record.target().to_owned(), message }, level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::id::ChannelId;
    use crate::config::live_secret::KnownSecrets;
    use crate::config::secret::Secret;

    #[test]
    fn a_secret_at_the_end_of_what_is_shown_is_not_shown_in_part() {
        let secret = "canary-0123456789".to_owned();
        let known = KnownSecrets::new(vec![Secret::new(secret.clone())]);
        for before in DETAIL_CHARS_MAX - secret.len()..=DETAIL_CHARS_MAX {
            let text = "x".repeat(before) + &secret;
            let arguments = format_args!("{text}").to_string();
            let record = format_args!("{arguments}");
            let (event, _) = foreign(&log::Record::builder().args(record).build(), &Redactor::new(&known));
            let line = event.to_line(Wall(0));
            assert!(!line.contains("xcanar"), "{before}: {line}");
        }
    }

    /// Seen to fail where only the next trouble tells it.
    #[test]
    fn what_was_left_out_is_told_when_the_trouble_is_over() {
        let clock = Arc::new(ManualClock::starting_at(Wall(0)));
        let (waiting, lines) = bounded(16);
        let sink = Sink(Arc::new(Inner {
            waiting: Some(waiting),
            dropped: AtomicU64::new(0),
            dropped_in_all: AtomicU64::new(0),
            redactor: Redactor::new(&KnownSecrets::new(Vec::new())),
            clock: Arc::<ManualClock>::clone(&clock),
            repeats: Some(Mutex::default()),
        }));
        let trouble = Event::StorageError { what: "spool".to_owned(), error: "x".to_owned() };
        let told = || lines.try_iter().map(|line| String::from_utf8(line).expect("text")).collect::<Vec<_>>();
        let polled = Note::Polled { channel: ChannelId::Telegram, waiting: None };
        (0..3).for_each(|_| sink.emit(clock.wall(), &trouble));
        sink.note(polled);
        assert_eq!(told().len(), 1, "it goes on");
        clock.advance(crate::observe::repeats::EVERY);
        sink.note(polled);
        let told = told();
        assert!(told.len() == 1 && told[0].contains("log_suppressed") && told[0].contains("\"lines\":2"), "{told:?}");
    }

    #[test]
    fn only_levels_and_modules_are_taken_from_rust_log() {
        for (text, kept, ignored) in [
            ("", "", &[][..]),
            ("debug", "debug", &[]),
            ("ureq=debug,info", "ureq=debug,info", &[]),
            ("info/foo", "info", &["foo"]),
            ("garbage=verbose,warn", "warn", &["garbage=verbose"]),
            ("a b", "", &["a b"]),
        ] {
            assert_eq!(levels(text), (kept.to_owned(), ignored.to_vec()), "{text}");
        }
    }
}
