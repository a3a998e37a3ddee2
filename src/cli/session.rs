//! `session` and `session list|export|delete`. Readers create nothing; damaged lines are left out and counted on
//! standard error. A conversation is the files `<stem>.<k>.jsonl`, oldest first, and then `<stem>.jsonl`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::base::clock::Wall;
use crate::base::id::{ChannelId, SessionId};
use crate::base::text::terminal_safe;
use crate::cli::flags::Parsed;
use crate::cli::settling::settle_journal;
use crate::cli::setup::Setup;
use crate::cli::{Failure, print, setup};
use crate::observe::event::Event;
use crate::store::directory::Directory;
use crate::store::journal_files::FILES;
use crate::store::storage::{self, Storage};
use crate::store::transcript::{LINE_BYTES_MAX, Line};
use crate::store::{parts, sessions};
use crate::sys::files;

/// How often the list of files is read again, because a writer renamed one while they were opened.
const LISTS_MAX: usize = 4;

/// `session`: a JSON array of `{role, content, timestamp}`; an unknown session is an empty one.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let (setup, session) = begin(parsed)?;
    let parts = open_parts(&setup, &folder(&setup), session.stem())?;
    write_out(&setup, &session, parts, "conversation")
}

/// `session export`: everything that is kept, in one of the formats of the flag table.
pub fn export(parsed: &Parsed) -> Result<(), Failure> {
    let (setup, session) = begin(parsed)?;
    let parts = open_parts(&setup, &folder(&setup), session.stem())?;
    if parts.is_empty() {
        return Err(unknown(&session));
    }
    write_out(&setup, &session, parts, parsed.value("format"))
}

/// `session list`: a JSON array, one object a line. `lines` counts from the beginning of the conversation.
pub fn list() -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Listed {
        session: String,
        bytes: u64,
        lines: Option<u64>,
        modified: String,
    }
    let setup = setup::load()?;
    let folder = folder(&setup);
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for name in names(&setup, &folder)? {
        // A stem that is not its own session's could not be named to another command.
        let is_ours = |stem: &str| SessionId::parse(stem).is_ok_and(|session| session.stem() == stem);
        let Some((stem, _)) = parts::parse(&name).filter(|(stem, _)| is_ours(stem)) else { continue };
        let Ok(known) = fs::symlink_metadata(folder.join(&name)) else { continue };
        if !known.is_file() {
            continue;
        }
        let (bytes, modified) = found.entry(stem.to_owned()).or_default();
        *bytes += known.len();
        let since = known.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        *modified = (*modified).max(u64::try_from(since.as_millis()).unwrap_or(0));
    }
    let storage = Directory::reading(&folder);
    let lines = |stem: &str| {
        let session = SessionId::parse(stem).ok()?;
        sessions::history(&storage, &session, 0, 0, &|_| false).ok().map(|history| history.last_ordinal)
    };
    let rows = found.into_iter().map(|(session, (bytes, modified))| {
        let listed = Listed { lines: lines(&session), session, bytes, modified: Wall(modified).rfc3339() };
        format!("\n  {}", serde_json::to_string(&listed).expect("text and numbers"))
    });
    let rows: Vec<String> = rows.collect();
    print(&if rows.is_empty() { "[]\n".to_owned() } else { format!("[{}\n]\n", rows.join(",")) })
}

/// `session delete`: the files of a conversation, and what was ever kept aside of them.
pub fn delete(parsed: &Parsed) -> Result<(), Failure> {
    if !parsed.given("confirm") {
        return Err(Failure::Usage("session delete cannot be undone: repeat it with --confirm".to_owned()));
    }
    let (setup, session) = begin(parsed)?;
    setup.refuse_strangers()?;
    let folder = folder(&setup);
    let _worker = keep_worker_away(&setup, session.stem())?;
    let stem = session.stem();
    let is_ours = |name: &str| {
        let file = name.split_once(".torn-").map_or(name, |(file, _)| file);
        parts::parse(file).is_some_and(|(known, _)| known == stem)
    };
    if !names(&setup, &folder)?.iter().any(|name| is_ours(name)) {
        return Err(unknown(&session));
    }
    let storage_failed = |error: io::Error| Failure::Storage(format!("session {stem}: {error}"));
    let mut storage = Directory::open(&folder).map_err(storage_failed)?;
    if !storage.lock().map_err(storage_failed)? {
        return Err(Failure::Locked("another process writes to the sessions: try again".to_owned()));
    }
    let mut count = 0;
    // The first file goes last: as long as it is there, the others are found by it.
    for last in [false, true] {
        let is_first = |name: &str| name == parts::full(stem, 1);
        for name in names(&setup, &folder)?.into_iter().filter(|name| is_ours(name) && is_first(name) == last) {
            fs::remove_file(folder.join(name)).map_err(storage_failed)?;
            count += 1;
        }
        storage.sync_dir().map_err(storage_failed)?;
    }
    print(&format!("session {stem} is deleted ({count} files)\n"))
}

/// A running worker may hold lines that it would write again, and the journal of a stopped one may. Its lock is held
/// until the files are gone.
fn keep_worker_away(setup: &Setup, stem: &str) -> Result<Option<File>, Failure> {
    let of = |channel: &ChannelId| stem.strip_prefix(channel.name()).is_some_and(|rest| rest.starts_with('_'));
    let Some(channel) = ChannelId::WITH_WORKER.into_iter().find(of) else { return Ok(None) };
    let journal = setup.config.data.join("journal").join(channel.name());
    if !journal.join(FILES[0]).exists() {
        return Ok(None);
    }
    let failed = |error| Failure::Storage(format!("{}: {error}", journal.display()));
    let lock = files::lock(&journal.join("LOCK"), Duration::ZERO, setup.clock.as_ref());
    let Some(lock) = lock.map_err(failed)? else {
        return Err(Failure::Failed(format!(
            "the {} worker is running and could write the conversation back: stop it, then delete",
            channel.name()
        )));
    };
    settle_journal(setup, channel, &|_| None)?;
    Ok(Some(lock))
}

fn begin(parsed: &Parsed) -> Result<(Setup, SessionId), Failure> {
    let session = SessionId::parse(parsed.value("session")).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((setup::load()?, session))
}

fn folder(setup: &Setup) -> PathBuf {
    setup.config.data.join("sessions")
}

fn unknown(session: &SessionId) -> Failure {
    Failure::Failed(format!("there is no session {}; 'session list' names them", session.stem()))
}

/// A missing folder has no files.
fn names(setup: &Setup, folder: &Path) -> Result<Vec<String>, Failure> {
    let listed = storage::list_if_there(&Directory::reading(folder));
    listed.map_err(|error| Failure::Failed(setup.about(folder, &error)))
}

/// Opens all files of a session at once, so that a rotation during the reading changes nothing.
fn open_parts(setup: &Setup, folder: &Path, stem: &str) -> Result<Vec<File>, Failure> {
    let list = || {
        let found = names(setup, folder)?.into_iter().filter_map(|name| {
            let (known, place) = parts::parse(&name)?;
            (known == stem).then_some((place, name))
        });
        Ok(found.collect::<BTreeMap<u64, String>>())
    };
    let mut listed = list()?;
    for _ in 0..LISTS_MAX {
        let open = |name: &String| files::open_to_read(&folder.join(name));
        let opened: io::Result<Vec<File>> = listed.values().map(open).collect();
        let now = list()?;
        match opened {
            Ok(opened) if now == listed => return Ok(opened),
            Err(error) if now == listed => return Err(Failure::Failed(format!("session {stem}: {error}"))),
            _ => listed = now,
        }
    }
    Err(Failure::Failed(format!("session {stem}: its files keep changing")))
}

/// Writes the session one line at a time, so that its size does not matter.
fn write_out(setup: &Setup, session: &SessionId, parts: Vec<File>, format: &str) -> Result<(), Failure> {
    let out = io::stdout().lock();
    let is_terminal = out.is_terminal();
    let mut printer = Printer { out: BufWriter::new(out), is_terminal, format, lines: 0, damaged: 0 };
    match parts.into_iter().try_for_each(|file| printer.file(BufReader::new(file))).and_then(|()| printer.finish()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        outcome => outcome.map_err(|error| Failure::Failed(format!("session {}: {error}", session.stem())))?,
    }
    if printer.damaged > 0 {
        let message = format!("{} damaged lines of session {} were left out", printer.damaged, session.stem());
        setup.log.emit(setup.clock.wall(), &Event::Log { target: "session".to_owned(), message });
    }
    Ok(())
}

struct Printer<'a, W: Write> {
    out: W,
    is_terminal: bool,
    format: &'a str,
    lines: u64,
    damaged: u64,
}

impl<W: Write> Printer<'_, W> {
    fn file(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let (mut bytes, limit) = (Vec::new(), LINE_BYTES_MAX + 1);
        while input.by_ref().take(limit as u64).read_until(b'\n', &mut bytes)? > 0 {
            if bytes.len() == limit && !bytes.ends_with(b"\n") {
                input.skip_until(b'\n')?;
            }
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            if !line.iter().all(u8::is_ascii_whitespace) {
                match Line::decode(line) {
                    Some(known) => self.line(&known, line)?,
                    None => self.damaged += 1,
                }
            }
            bytes.clear();
        }
        Ok(())
    }

    fn line(&mut self, line: &Line, bytes: &[u8]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shown<'a> {
            role: &'a str,
            content: &'a str,
            timestamp: &'a str,
        }
        let Line { role, content, timestamp, .. } = line;
        let separator = if self.lines == 0 { "[\n" } else { ",\n" };
        let stored = String::from_utf8_lossy(bytes);
        let text = match self.format {
            "jsonl" => format!("{stored}\n"),
            "json" => format!("{separator}  {stored}"),
            "markdown" => format!("## {role}, {timestamp}\n\n{content}\n\n"),
            _ => format!("{separator}  {}", serde_json::to_string(&Shown { role, content, timestamp })?),
        };
        self.lines += 1;
        let text = if self.is_terminal { terminal_safe(&text) } else { text };
        self.out.write_all(text.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        let end = match (self.format, self.lines) {
            ("jsonl" | "markdown", _) => "",
            (_, 0) => "[]\n",
            _ => "\n]\n",
        };
        self.out.write_all(end.as_bytes())?;
        self.out.flush()
    }
}
