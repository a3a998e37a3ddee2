//! `restore`: puts an archive in place. Everything is read and checked before anything is touched; then it is laid out
//! beside what is there, with its journals settled: what was open in them is held, neither answered nor sent. Only then do
//! the two change places (`replacing.rs`). What was there is moved aside, never deleted.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::id::ChannelId;
use crate::cli::flags::Parsed;
use crate::cli::replacing::{self, Replacement};
use crate::cli::setup::Setup;
use crate::cli::{Failure, opening, print, setup};
use crate::observe::event::Event;
use crate::observe::sink::Way;
use crate::observe::telemetry::Snapshot;
use crate::observe::telemetry_file;
use crate::store::archive::{self, FOLDERS, Manifest, TELEMETRY};
use crate::store::directory::Directory;
use crate::store::journal_files::FILES;
use crate::store::settle::{Settling, hold_letters, settle};
use crate::sys::{entropy, files};

/// Why a turn is in the outbox, and its error class.
const HELD: &str = "held";

/// How long a command that appends to a session may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(30);

const DEAD: &str = "dead";

/// Checks the archive, keeps everybody else away, and replaces what is there. Or goes on with a restore that was interrupted.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load_for(Way::Direct)?;
    setup.refuse_strangers()?;
    let data = setup.config.data.clone();
    let file = Path::new(parsed.value("file"));
    let unfinished = replacing::unfinished(&data).is_some();
    if !unfinished {
        verify(file)?;
    }
    let _locks = keep_away(&setup)?;
    let telemetry = &setup.config.telemetry_file;
    if unfinished {
        let replacement = Replacement::found(&data, telemetry).map_err(|error| half_way(&error, file))?;
        let replacement = replacement.finish(&mut || Ok(())).map_err(|error| half_way(&error, file))?;
        let first = replacement.archive();
        let same = first == full_path(file);
        print(&format!("the restore of {} is complete now\n", first.display()))?;
        let other = || Failure::Failed(format!("{} was not restored: run the command again", file.display()));
        return if same { Ok(()) } else { Err(other()) };
    }
    let is_empty = replacing::is_empty(&data).map_err(|error| storage(&data, &error))?;
    if !is_empty && !parsed.given("confirm") {
        let data = data.display();
        let remedy = "repeat it with --confirm, which moves them to a folder before-restore-…";
        return Err(Failure::Usage(format!("there are conversations in {data}: {remedy}")));
    }
    let staged = data.join(replacing::STAGED);
    let manifest = lay_out(&setup, file, &staged).inspect_err(|_| drop(fs::remove_dir_all(&staged)))?;
    let now_secs = setup.clock.wall().0 / 1000;
    let replacement = Replacement::begin(&data, telemetry, &full_path(file), now_secs, &mut || Ok(()));
    let replacement = replacement.map_err(|error| match replacing::unfinished(&data) {
        None => storage(&data, &error),
        Some(_) => half_way(&error, file),
    })?;
    let replacement = replacement.finish(&mut || Ok(())).map_err(|error| half_way(&error, file))?;
    let aside =
        if is_empty { String::new() } else { format!("; what was there is in {}", replacement.aside().display()) };
    print(&format!(
        "{} files of {} are in place{aside}\nwhat was open then is in the outbox: see 'rusty-pinch outbox list'\n",
        manifest.files.len(),
        manifest.created
    ))
}

fn half_way(error: &io::Error, file: &Path) -> Failure {
    Failure::Storage(format!(
        "{error}: the restore stopped half-way; run 'rusty-pinch restore {}' again",
        file.display()
    ))
}

fn storage(path: &Path, error: &io::Error) -> Failure {
    Failure::Storage(format!("{}: {error}; nothing was changed", path.display()))
}

fn full_path(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}

fn open(file: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 16, File::open(file)?))
}

fn verify(file: &Path) -> Result<(), Failure> {
    let outcome = open(file).and_then(|mut input| archive::read(&mut input, &mut |_, _| Ok(())));
    outcome.map(drop).map_err(|error| Failure::Failed(format!("{}: {error}; nothing was changed", file.display())))
}

/// Every lock there is: of each channel's worker, of the sessions, of the counters.
fn keep_away(setup: &Setup) -> Result<Vec<File>, Failure> {
    let data = &setup.config.data;
    let mut locks = Vec::new();
    for channel in ChannelId::WITH_WORKER {
        let folder = data.join("journal").join(channel.name());
        files::make_folder(&folder).map_err(|error| storage(&folder, &error))?;
        locks.push(opening::lock_or_name_holder(channel, &folder, setup)?);
    }
    let sessions = data.join("sessions");
    let lock = files::make_folder(&sessions)
        .and_then(|()| files::lock(&sessions.join(".lock"), PATIENCE, setup.clock.as_ref()))
        .map_err(|error| storage(&sessions, &error))?;
    let busy = || Failure::Locked("another process holds the lock of the sessions: try again".to_owned());
    locks.push(lock.ok_or_else(busy)?);
    let telemetry = &setup.config.telemetry_file;
    let lock = telemetry_file::lock(telemetry, setup.clock.as_ref());
    locks.push(lock.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => Failure::Locked(format!("{error}: try again")),
        _ => storage(telemetry, &error),
    })?);
    Ok(locks)
}

/// The archive as a data folder of its own, in which nothing is open.
fn lay_out(setup: &Setup, file: &Path, staged: &Path) -> Result<Manifest, Failure> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            storage(staged, &io::Error::other(format!("{error}: make room")))
        }
        _ => storage(staged, &error),
    };
    // What a restore left that was killed before it touched anything.
    replacing::remove_tree(staged).map_err(failed)?;
    for folder in FOLDERS.into_iter().chain(["telemetry"]) {
        files::make_folder(&staged.join(folder)).map_err(failed)?;
    }
    let manifest = open(file).and_then(|mut input| {
        archive::read(&mut input, &mut |name, member| {
            let mut target = files::open(&staged.join(name))?;
            io::copy(member, &mut target).map(drop)
        })
    });
    let manifest = manifest.map_err(failed)?;
    let mut dead = Directory::open(&staged.join(DEAD)).map_err(failed)?;
    for folder in FOLDERS.into_iter().filter(|folder| *folder == DEAD || folder.starts_with("spool")) {
        hold_letters(&Directory::reading(&staged.join(folder)), &mut dead).map_err(failed)?;
        if folder != DEAD {
            fs::remove_dir_all(staged.join(folder)).map_err(failed)?;
        }
    }
    let telemetry = staged.join(TELEMETRY);
    if !telemetry.exists() {
        files::replace(&telemetry, Snapshot::default().to_json().as_bytes()).map_err(failed)?;
    }
    for channel in ChannelId::WITH_WORKER {
        hold(setup, staged, channel)?;
    }
    Ok(manifest)
}

fn hold(setup: &Setup, staged: &Path, channel: ChannelId) -> Result<(), Failure> {
    let journal = staged.join("journal").join(channel.name());
    if !FILES.iter().any(|name| journal.join(name).exists()) {
        return Ok(());
    }
    let failed = |error: &dyn Display| Failure::Storage(format!("{}: {error}; nothing was changed", journal.display()));
    let open = |folder: &Path| Directory::open(folder).map(Box::new).map_err(|error| failed(&error));
    let settling = Settling {
        journal: open(&journal)?,
        sessions: open(&staged.join("sessions"))?,
        telemetry: &staged.join(TELEMETRY),
        boot: &entropy::boot_id(),
        name: format!("{}-{:016x}", channel.name(), entropy::seed()),
        close: &|_| Some(HELD),
        letters: Some(open(&staged.join(DEAD))?),
    };
    match settle(settling, setup.clock.as_ref()).map_err(|error| failed(&error))? {
        Err(damage) => Err(failed(&damage)),
        Ok(closed) => {
            closed.into_iter().for_each(|record| setup.log.emit(setup.clock.wall(), &Event::Turn(Box::new(record))));
            Ok(())
        }
    }
}
