//! `session`: prints a conversation as a JSON array of `{role, content, timestamp}`. Reads only; damaged lines are left
//! out and counted on standard error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use serde::Serialize;

use crate::base::id::SessionId;
use crate::cli::flags::Parsed;
use crate::cli::{Failure, setup};
use crate::observe::event::Event;
use crate::store::transcript::{LINE_BYTES_MAX, Line};

#[derive(Serialize)]
struct Shown<'a> {
    role: &'a str,
    content: &'a str,
    timestamp: &'a str,
}

/// Prints the session, one line at a time, so that its size does not matter.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let session = SessionId::parse(parsed.value("session")).map_err(|error| Failure::Usage(error.to_string()))?;
    let setup = setup::load()?;
    let path = setup.config.data.join("sessions").join(format!("{}.jsonl", session.stem()));
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match File::open(&path) {
        Ok(file) => copy(BufReader::new(file), &mut out),
        Err(error) if error.kind() == io::ErrorKind::NotFound => out.write_all(b"[]\n").map(|()| 0),
        Err(error) => return Err(Failure::Failed(format!("{}: {error}", path.display()))),
    };
    match outcome.and_then(|bad| out.flush().map(|()| bad)) {
        Ok(0) => Ok(()),
        Ok(bad) => {
            let message = format!("{bad} damaged lines of session {} were left out", session.stem());
            setup.log.emit(setup.clock.wall(), &Event::Log { target: "session".to_owned(), message });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("{}: {error}", path.display()))),
    }
}

/// Returns how many lines were left out.
fn copy(mut input: impl BufRead, out: &mut impl Write) -> io::Result<u64> {
    let (mut bad, mut separator, mut bytes) = (0, "[\n", Vec::new());
    loop {
        bytes.clear();
        if input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Some(line) = Line::decode(line) else {
            bad += 1;
            continue;
        };
        let shown = Shown { role: &line.role, content: &line.content, timestamp: &line.timestamp };
        write!(out, "{separator}  {}", serde_json::to_string(&shown)?)?;
        separator = ",\n";
    }
    out.write_all(if separator == "[\n" { b"[]\n" } else { b"\n]\n" })?;
    Ok(bad)
}
