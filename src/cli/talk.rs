//! `run`, `repl` and `tools`: conversation on a terminal or from a script.

use std::io::{self, BufRead, Read, StdinLock};

use crate::base::id::SessionId;
use crate::base::message::{INBOUND_BYTES_MAX, Reply};
use crate::cli::flags::Parsed;
use crate::cli::one_shot::OneShot;
use crate::cli::terminal::{Spinner, Terminal};
use crate::cli::{Failure, print, setup};
use crate::sys::signal;
use crate::tool;

/// `run`: answers one message; a failed turn prints what a person would be told and exits 1.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let session = session(parsed)?;
    answer_once(&session, parsed.value("message"))
}

/// `tools run`: the same as the message `/tool NAME ARGS`.
pub fn run_tool(parsed: &Parsed) -> Result<(), Failure> {
    let session = session(parsed)?;
    answer_once(&session, format!("/tool {} {}", parsed.value("name"), parsed.value("args")).trim_end())
}

fn answer_once(session: &SessionId, text: &str) -> Result<(), Failure> {
    let (reply, kept) = turn(&mut OneShot::new(setup::load()?)?, session, text)?;
    // An answer that was paid for is shown, also when it cannot be kept.
    print(&format!("{}\n", reply.text))?;
    kept?;
    match reply.summary.error {
        // The event on standard error has said all there is to say.
        Some(_) => Err(Failure::Failed(String::new())),
        None => Ok(()),
    }
}

fn turn(one_shot: &mut OneShot, session: &SessionId, text: &str) -> Result<(Reply, Result<(), Failure>), Failure> {
    let _spinner = Spinner::start();
    one_shot.turn(session, text)
}

/// `tools list`.
pub fn list_tools() -> Result<(), Failure> {
    let lines: String = tool::all()
        .iter()
        .map(|tool| format!("{} - {}\n  usage: {}\n", tool.name(), tool.description(), tool.usage()))
        .collect();
    print(&lines)
}

/// `repl`: survives failed turns; ends at end of input.
pub fn repl(parsed: &Parsed) -> Result<(), Failure> {
    let session = session(parsed)?;
    let mut one_shot = OneShot::new(setup::load()?)?;
    print(&format!("Rusty Pinch, session {}. 'exit' or end of input ends it.\n", session.stem()))?;
    let mut input = Terminal::open().map_or_else(|| Input::Plain(io::stdin().lock()), Input::Terminal);
    if let Input::Terminal(_) = input {
        let watched = signal::restore_on_terminate(!one_shot.takes_signals());
        watched.map_err(|error| Failure::Failed(format!("signals: {error}")))?;
    }
    loop {
        let Some(line) = input.next()? else { return Ok(()) };
        match line.trim() {
            "" => {}
            word if word.eq_ignore_ascii_case("exit") || word.eq_ignore_ascii_case("quit") => return print("Bye.\n"),
            text => match turn(&mut one_shot, &session, text) {
                Ok((reply, kept)) => {
                    print(&format!("{}\n", reply.text))?;
                    kept?;
                }
                Err(Failure::Usage(problem)) => print(&format!("{problem}\n"))?,
                Err(failure) => return Err(failure),
            },
        }
    }
}

/// Where lines come from.
enum Input {
    /// A pipe or a file, read as it is.
    Plain(StdinLock<'static>),
    /// A person, who can edit them.
    Terminal(Terminal),
}

impl Input {
    /// Prompts and reads; `None` at end of input, with the prompt's line ended.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Input::Terminal(terminal) => {
                terminal.read_line().map_err(|error| Failure::Failed(format!("terminal: {error}")))
            }
            Input::Plain(input) => {
                print("> ")?;
                let line = read_line(input)?;
                if line.is_none() {
                    print("\n")?;
                }
                Ok(line)
            }
        }
    }
}

/// `None` at end of input. A line longer than a message may be is read to its end and reported by the turn.
fn read_line(input: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let unreadable = |error: io::Error| Failure::Failed(format!("standard input: {error}"));
    let mut bytes = Vec::new();
    let limit = INBOUND_BYTES_MAX as u64 + 2;
    if input.by_ref().take(limit).read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
        return Ok(None);
    }
    if bytes.len() as u64 == limit && !bytes.ends_with(b"\n") {
        input.skip_until(b'\n').map_err(unreadable)?;
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn session(parsed: &Parsed) -> Result<SessionId, Failure> {
    SessionId::parse(parsed.value("session")).map_err(|error| Failure::Usage(error.to_string()))
}
