//! `backup`: everything that is kept, in one archive, while workers and commands go on.
//!
//! What moves between files is read first where it comes from, so that it may be in the archive twice and never not at all:
//! counters before journals (what was counted later is counted again from the journal), given up letters before the spool
//! before the journal, and letters once more behind it. A restore between would mix two data folders: it is noticed. Nobody
//! appends to a session while the journals and the current
//! session files are read; a worker keeps such lines in its journal meanwhile. Full session files never change.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::id::ChannelId;
use crate::cli::flags::Parsed;
use crate::cli::setup::Setup;
use crate::cli::{Failure, print, replacing, setup};
use crate::observe::event::Event;
use crate::store::archive::{self, FOLDERS, Manifest, TELEMETRY, Writer};
use crate::store::directory::Directory;
use crate::store::journal_files::{self, FILES};
use crate::store::parts;
use crate::store::storage::{self, Storage};
use crate::sys::{entropy, files};

/// How long a command that appends to a session may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(30);

const SESSIONS: &str = FOLDERS[0];

/// Read and written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes the archive under a temporary name, and gives it its own when it is whole and on the medium.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    setup.refuse_strangers()?;
    let target = Path::new(parsed.value("file"));
    let temporary = PathBuf::from(format!("{}.tmp", target.display()));
    let of_temporary = |error| about(&temporary, error);
    let lock = files::lock(&temporary, Duration::ZERO, setup.clock.as_ref()).map_err(of_temporary).map_err(trouble)?;
    let Some(mut file) = lock else {
        return Err(Failure::Locked(format!("another backup writes {}: wait for it", temporary.display())));
    };
    // Asked only now, because another backup may just have come to its end.
    let outcome = if fs::symlink_metadata(target).is_ok() {
        Err(Failure::Failed(format!("{} exists: name a file that does not", target.display())))
    } else {
        write(&setup, &mut file).and_then(|made| publish(&file, &temporary, target).map(|()| made)).map_err(trouble)
    };
    if outcome.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    let files = outcome?.files;
    let bytes: u64 = files.iter().map(|entry| entry.bytes).sum();
    print(&format!("{}: {} files, {bytes} bytes\n", target.display(), files.len()))
}

fn trouble(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::WouldBlock => Failure::Locked(error.to_string()),
        ErrorKind::NotFound => Failure::Failed(error.to_string()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Failure::Storage(format!("{error}: make room, or name a file on another disk"))
        }
        _ => Failure::Storage(error.to_string()),
    }
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn publish(file: &File, temporary: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let published = file.sync_all().and_then(|()| fs::rename(temporary, target));
    published.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| about(target, error))
}

fn write(setup: &Setup, file: &mut File) -> io::Result<Manifest> {
    // What a backup left that was killed.
    file.set_len(0)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let data = &setup.config.data;
    let mut backup = Backup { data, writer: Writer::new(&mut out, setup.clock.wall()) };
    let mut sessions = nobody_appends(data)?;
    // Only now: a restore may have come to an end, or been killed, while we waited for the lock that it held.
    let before = restored(data)?;
    backup.letters()?;
    let counters = fs::symlink_metadata(&setup.config.telemetry_file).is_ok();
    if counters {
        backup.file(TELEMETRY, &setup.config.telemetry_file)?;
    }
    let full = backup.while_nobody_appends(setup)?;
    sessions.unlock();
    for name in full {
        backup.file(&format!("{SESSIONS}/{name}"), &data.join(SESSIONS).join(name))?;
    }
    backup.letters()?;
    if restored(data)? != before {
        return Err(io::Error::new(ErrorKind::WouldBlock, "an archive was restored meanwhile: try again"));
    }
    if backup.writer.count() == usize::from(counters) {
        let text = format!("there are no conversations in {}: set RUSTY_PINCH_DATA_DIR", data.display());
        return Err(io::Error::new(ErrorKind::NotFound, text));
    }
    let manifest = backup.writer.finish(&entropy::boot_id())?;
    out.flush()?;
    Ok(manifest)
}

/// The sessions, locked.
fn nobody_appends(data: &Path) -> io::Result<Directory> {
    let folder = data.join(SESSIONS);
    let mut sessions = Directory::reading(&folder).patient_for(PATIENCE);
    if folder.is_dir() && !sessions.lock().map_err(|error| about(&folder, error))? {
        let text = "another process holds the lock of the sessions: try again";
        return Err(io::Error::new(ErrorKind::WouldBlock, text));
    }
    Ok(sessions)
}

/// What was moved aside by every restore so far.
///
/// # Errors
/// Also if one is not complete.
fn restored(data: &Path) -> io::Result<Vec<String>> {
    match replacing::unfinished(data) {
        Some(sentence) => Err(io::Error::new(ErrorKind::WouldBlock, sentence)),
        None => Ok(names(data)?.into_iter().filter(|name| name.starts_with(replacing::ASIDE)).collect()),
    }
}

struct Backup<'a> {
    data: &'a Path,
    writer: Writer<'a>,
}

impl Backup<'_> {
    /// Given up, and on their way back. One that is gone when we open it has moved on.
    fn letters(&mut self) -> io::Result<()> {
        for folder in FOLDERS.into_iter().filter(|folder| folder.starts_with("dead") || folder.starts_with("spool")) {
            for name in names(&self.data.join(folder))? {
                let (name, path) = (format!("{folder}/{name}"), self.data.join(folder).join(&name));
                if archive::bytes_max(&name).is_some() && !self.writer.has(&name) {
                    match self.file(&name, &path) {
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        outcome => outcome?,
                    }
                }
            }
        }
        Ok(())
    }

    /// The sessions' current files and what was kept aside of them, and the journals. Returns the names of full files.
    fn while_nobody_appends(&mut self, setup: &Setup) -> io::Result<Vec<String>> {
        let folder = self.data.join(SESSIONS);
        let listed = names(&folder)?;
        let is_full = |name: &String| parts::parse(name).is_some_and(|(_, place)| place != parts::CURRENT);
        let (full, current): (Vec<String>, Vec<String>) = listed.into_iter().partition(is_full);
        for name in current {
            let path = folder.join(&name);
            let name = format!("{SESSIONS}/{name}");
            if archive::bytes_max(&name).is_some() {
                self.file(&name, &path)?;
            }
        }
        for channel in ChannelId::WITH_WORKER.map(ChannelId::name) {
            self.journal(channel, setup)?;
        }
        Ok(full)
    }

    fn journal(&mut self, channel: &str, setup: &Setup) -> io::Result<()> {
        let folder = format!("journal/{channel}");
        let path = self.data.join(&folder);
        let storage = Directory::reading(&path);
        let read = |name| journal_files::snapshot(&storage, name).map_err(|error| about(&path, error));
        let files = [read(FILES[0])?, read(FILES[1])?];
        for (name, bytes) in FILES.iter().zip(&files).filter(|(_, bytes)| !bytes.is_empty()) {
            self.writer.add(&format!("{folder}/{name}"), bytes.len() as u64, &mut &bytes[..])?;
        }
        if let Some(damage) = journal_files::found_in(&files).damage {
            let message = format!("the {channel} journal is damaged, and so it is in the archive: {damage}");
            setup.log.emit(setup.clock.wall(), &Event::Log { target: "backup".to_owned(), message });
        }
        for name in names(&path)?.into_iter().filter(|name| !FILES.contains(&name.as_str())) {
            let (name, path) = (format!("{folder}/{name}"), path.join(name));
            if archive::bytes_max(&name).is_some() {
                self.file(&name, &path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let open = || {
            let file = files::open_to_read(path)?;
            Ok((file.metadata()?.len(), file))
        };
        let (bytes, mut file) = open().map_err(|error| about(path, error))?;
        self.writer.add(name, bytes, &mut file)
    }
}

/// In order, so that archives of the same are the same. A missing folder has none.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let listed = storage::list_if_there(&Directory::reading(folder));
    let mut names = listed.map_err(|error| about(folder, error))?;
    names.sort();
    Ok(names)
}
