//! The operator's side of the conversation: a parsed command to a function, an error to an exit code.
//!
//! Standard output carries results only. Standard error carries one JSON object per line, but for usage errors, which
//! are a sentence. A reader that closes our output early is no error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::base::id::ChannelId;
use crate::base::text::terminal_safe;
use crate::cli::flags::{Id, Parsed};
use crate::sys::panic;

// Questions to a person, or to a script.
pub mod asking;
// `backup`.
pub mod backup;
// What `channels` starts.
pub mod channel_plans;
// `channels`.
pub mod channels;
// `codex` and its commands.
pub mod codex;
// `doctor`.
pub mod doctor;
// The man page, the completions and docs/cli.md, from `flags.rs`.
pub mod document;
// One line being typed.
pub mod editor;
// The environment and the files it names.
pub mod environment;
// `setup`.
pub mod first_setup;
// Commands and options, declared once.
pub mod flags;
// `health`.
pub mod health;
// `--help`, from `flags.rs`.
pub mod help;
// `journal`.
pub mod journal;
// `monitor`.
pub mod monitor;
// A turn outside a worker.
pub mod one_shot;
// The lock and the journal of a worker.
pub mod opening;
// `outbox` and its commands.
pub mod outbox;
// `pair`.
pub mod pair;
// A worker that cannot start and stays up.
pub mod park;
// SIGHUP.
pub mod reload;
// Old and new change places.
pub mod replacing;
// `restore`.
pub mod restore;
// `send`.
pub mod send;
// `session` and its commands.
pub mod session;
// Where `setup` writes, and as whom it tries what it wrote.
pub mod setting_place;
// A journal with nothing owed.
pub mod settling;
// What every command starts with.
pub mod setup;
// `stats`.
pub mod stats;
// `run`, `repl`, `tools`.
pub mod talk;
// Keys and the spinner.
pub mod terminal;
// Whoever looks at a worker from outside.
pub mod watch;
// `channels telegram --delete-webhook`.
pub mod webhook;
// `whatsapp validate`.
pub mod whatsapp;

/// Every way a command can fail, with the sentence for the operator. The exit code follows from the kind.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// 1: the command did its work and the result is bad.
    Failed(String),
    /// 2: the arguments do not fit.
    Usage(String),
    /// 74: the disk failed.
    Storage(String),
    /// 75: another process holds the lock.
    Locked(String),
    /// 78: the configuration does not fit.
    Configuration(String),
    /// 128 and the signal's number: we were told to end.
    Stopped(u8),
}

impl Failure {
    /// What it means that a thread cannot be started.
    fn no_thread(error: io::Error) -> Failure {
        Failure::Storage(format!("the system gives this process no more threads: {error}"))
    }

    /// As in `sysexits.h`, where it has a number.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Storage(_) => 74,
            Failure::Locked(_) => 75,
            Failure::Configuration(_) => 78,
            Failure::Stopped(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(text)
            | Failure::Usage(text)
            | Failure::Storage(text)
            | Failure::Locked(text)
            | Failure::Configuration(text) => f.write_str(text),
            Failure::Stopped(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    panic::leave_no_core();
    panic::end_process(|message| report(&Failure::Failed(message.to_owned())));
    let outcome = flags::parse(std::env::args_os().skip(1)).map_err(Failure::Usage).and_then(|parsed| run(&parsed));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn run(parsed: &Parsed) -> Result<(), Failure> {
    match parsed.id {
        Id::Version => print(concat!("rusty-pinch ", env!("CARGO_PKG_VERSION"), "\n")),
        Id::Help => print(&help::text(parsed.topic.as_deref())),
        Id::Doctor => doctor::run(parsed),
        Id::Setup => first_setup::run(parsed),
        Id::Health => health::run(parsed),
        Id::Run => talk::run(parsed),
        Id::Repl => talk::repl(parsed),
        Id::Send => send::run(parsed),
        Id::Session => session::run(parsed),
        Id::SessionList => session::list(),
        Id::SessionExport => session::export(parsed),
        Id::SessionDelete => session::delete(parsed),
        Id::OutboxList => outbox::list(),
        Id::OutboxShow => outbox::show(parsed),
        Id::OutboxRetry => outbox::retry(parsed),
        Id::OutboxDrop => outbox::drop(parsed),
        Id::JournalVerify => journal::verify(parsed),
        Id::Backup => backup::run(parsed),
        Id::Restore => restore::run(parsed),
        Id::Stats => stats::run(),
        Id::Monitor => monitor::run(parsed),
        Id::CodexStatus => codex::status(),
        Id::CodexHealthcheck => codex::healthcheck(),
        Id::CodexGenerate => codex::generate(parsed),
        Id::PairTelegram => pair::telegram(parsed),
        Id::ToolsList => talk::list_tools(),
        Id::ToolsRun => talk::run_tool(parsed),
        Id::ChannelsTelegram if parsed.given("delete-webhook") => webhook::delete(),
        Id::ChannelsTelegram => park::or_park(parsed, Some(ChannelId::Telegram)),
        Id::ChannelsWhatsapp => park::or_park(parsed, Some(ChannelId::WhatsApp)),
        Id::ChannelsAll => park::or_park(parsed, None),
        Id::WhatsappValidate => whatsapp::validate(parsed),
    }
}

/// Writes a result; to a terminal without anything that could move its cursor or hide text. A reader that has closed
/// its end has seen enough.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let safe = out.is_terminal().then(|| terminal_safe(text));
    match out.write_all(safe.as_deref().unwrap_or(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn report(failure: &Failure) {
    let text = match failure {
        Failure::Failed(text) if text.is_empty() => return,
        Failure::Stopped(_) => return,
        Failure::Usage(text) => terminal_safe(&format!("rusty-pinch: {text}\nTry 'rusty-pinch --help'.\n")),
        other => setup::fatal_line(&other.to_string()) + "\n",
    };
    // There is nowhere left to complain if this fails.
    let _ = io::stderr().write_all(text.as_bytes());
}
