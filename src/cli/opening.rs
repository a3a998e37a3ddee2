//! What a worker does before it works: takes the lock of its channel and opens its journal, with patience. A worker that
//! is just ending is waited for; a disk that is full or read-only parks this one until a person has mended it, because an
//! exit would only be tried again at once. What it cannot explain ends the process, and when that happens twice in a short
//! time, it waits as well.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::{Mono, Wall};
use crate::base::id::ChannelId;
use crate::cli::setup::Setup;
use crate::cli::watch::Watch;
use crate::cli::{Failure, replacing};
use crate::observe::event::Event;
use crate::observe::telemetry_file;
use crate::store::commit_log::{FREE_BYTES_MIN, LogError};
use crate::store::crash_loop;
use crate::store::directory::Directory;
use crate::store::exchange::{Folders, Opening};
use crate::store::journal::Counting;
use crate::store::journal_files::FILES;
use crate::store::ledger::Ledger;
use crate::store::retention::Retention;
use crate::sys::queue::Receiver;
use crate::sys::signal::Signal;
use crate::sys::{entropy, files};

/// Graces that a worker waits for one that is just ending: thirty seconds by default.
const LOCK_GRACES: u32 = 3;

/// How often the lock is looked at.
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a disk that parked us is looked at, and how often it is said.
const DISK_LOOK_EVERY: Duration = Duration::from_secs(5);
const PARKED_EVERY: Duration = Duration::from_secs(60);

/// Two unexplained failures of the disk within this time park the worker for as long.
const FAILURES_APART: Duration = Duration::from_secs(600);

/// The file that says when the disk last failed, in seconds since 1970.
const FAILURE_NOTE: &str = "storage_failure";

/// How long the writer waits for a command that appends to a session. Then the lines stay owed and everything else goes on.
const SESSIONS_PATIENCE: Duration = Duration::from_millis(100);

/// In the mode of a folder: whoever may do this could plant a conversation, or take one away.
const ANYBODY_WRITES: u32 = 0o002;

/// What a worker calls itself in its lock file.
const WORKER: &str = "worker";

/// Bytes of the lock file that are shown.
const HOLDER_BYTES_MAX: u64 = 200;

/// The lock, held as long as this lives, and what it guards.
pub struct Opened {
    /// Of the channel.
    pub lock: File,
    /// The journal and all that goes with it.
    pub ledger: Ledger,
    /// What was found in it.
    pub opening: Opening,
    /// The last worker did not end as it should: the lock file still names it.
    pub was_cut_short: bool,
}

enum Trouble {
    /// Another process holds the lock; what it wrote about itself.
    Held(String),
    /// The disk refused.
    Disk(PathBuf, LogError),
    /// A person has to mend it first: an archive is half in place, or everybody may write here.
    Refused(String),
}

/// Waits and tries until the journal is open. `None`: we were told to end.
pub fn open(
    channel: ChannelId,
    setup: &Setup,
    watch: &Watch,
    signals: &Receiver<Signal>,
) -> Result<Option<Opened>, Failure> {
    let emit = |event: &Event| setup.log.emit(setup.clock.wall(), event);
    let lock_end = setup.clock.mono().after(setup.config.drain * LOCK_GRACES);
    let (mut waits, mut parked) = (false, None::<Mono>);
    loop {
        let delay = match attempt(channel, setup) {
            Ok(opened) => {
                watch.board.own(channel);
                if parked.is_some() {
                    emit(&Event::ChannelResumed { channel });
                }
                return Ok(Some(opened));
            }
            Err(Trouble::Held(holder)) if setup.clock.mono() >= lock_end => {
                return Err(Failure::Locked(format!(
                    "another {} worker runs on this data folder: {holder}",
                    channel.name()
                )));
            }
            Err(Trouble::Held(holder)) => {
                if !std::mem::replace(&mut waits, true) {
                    emit(&Event::ChannelWait { channel, holder });
                }
                LOCK_LOOK_EVERY
            }
            Err(Trouble::Refused(sentence)) => return Err(Failure::Configuration(sentence)),
            Err(Trouble::Disk(path, error)) => {
                let Some((reason, remedy)) = explained(&error) else {
                    return fail(channel, setup, watch, signals, &format!("{}: {error}", path.display()))
                        .map(|()| None);
                };
                // Nobody else can work there, either.
                watch.board.own(channel);
                watch.ready();
                let now = setup.clock.mono();
                if parked.is_none_or(|said| now >= said.after(PARKED_EVERY)) {
                    parked = Some(now);
                    emit(&parked_event(
                        channel,
                        reason,
                        &format!("{}: {error}; {remedy}", path.display()),
                        DISK_LOOK_EVERY,
                    ));
                }
                DISK_LOOK_EVERY
            }
        };
        if let Ok(Signal::Terminate { .. }) = signals.recv_timeout(delay) {
            return Ok(None);
        }
    }
}

/// What a person can mend without knowing us: the reason as `/readyz` will name it, and the remedy.
fn explained(error: &LogError) -> Option<(&'static str, &'static str)> {
    let LogError::Io(error) = error else { return None };
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some(("disk_full", "make room; the worker goes on by itself"))
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            Some(("disk_readonly", "make the data folder writable for this user; the worker goes on by itself"))
        }
        _ => None,
    }
}

fn parked_event(channel: ChannelId, reason: &str, remedy: &str, retry: Duration) -> Event {
    let retry_ms = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
    Event::ChannelParked { channel, reason: reason.to_owned(), remedy: remedy.to_owned(), retry_ms }
}

fn attempt(channel: ChannelId, setup: &Setup) -> Result<Opened, Trouble> {
    let data = &setup.config.data;
    let journal = data.join("journal").join(channel.name());
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Trouble::Disk(path, LogError::Io(error))
    };
    files::make_folder(&journal).map_err(disk(&journal))?;
    if fs::metadata(data).is_ok_and(|found| found.permissions().mode() & ANYBODY_WRITES != 0) {
        let path = data.display();
        return Err(Trouble::Refused(format!("everybody on this machine can change {path}: chmod 700 {path}")));
    }
    let (lock, was_cut_short) = take_lock(&journal.join("LOCK"), WORKER, setup)?;
    // Only now: as long as it runs, a restore holds the lock.
    if let Some(sentence) = replacing::unfinished(data) {
        return Err(Trouble::Refused(sentence));
    }
    let is_new = !journal.join(FILES[0]).exists();
    if is_new && files::free_bytes(&journal).is_ok_and(|free| free < FREE_BYTES_MIN) {
        let error = io::Error::new(ErrorKind::StorageFull, "too little room to make the journal");
        return Err(disk(&journal)(error));
    }
    let directory = |folder: &Path| {
        let opened = Directory::open(folder).map_err(disk(folder))?;
        Ok(Box::new(opened.patient_for(SESSIONS_PATIENCE)))
    };
    let folders = Folders {
        journal: directory(&journal)?,
        sessions: directory(&data.join("sessions"))?,
        dead: directory(&data.join("dead"))?,
        spool: directory(&data.join("spool").join(channel.name()))?,
    };
    let (ledger, opening) = ledger(channel, folders, setup).map_err(|error| Trouble::Disk(journal, error))?;
    Ok(Opened { lock, ledger, opening, was_cut_short })
}

/// For a command that needs the worker to stay away.
pub fn lock_or_name_holder(channel: ChannelId, journal: &Path, setup: &Setup) -> Result<File, Failure> {
    take_lock(&journal.join("LOCK"), "command", setup).map(|(lock, _)| lock).map_err(|trouble| match trouble {
        Trouble::Held(holder) => {
            Failure::Locked(format!("the {} worker runs ({holder}): stop it, and try again", channel.name()))
        }
        Trouble::Disk(path, error) => Failure::Storage(format!("{}: {error}", path.display())),
        Trouble::Refused(sentence) => Failure::Configuration(sentence),
    })
}

/// One worker per channel and data folder. The lock is the kernel's, so it goes with the process; what stands in the file stays, until
/// [`note_end`], so it also says whether the last worker was cut short. (The run folder may be empty after each restart.)
fn take_lock(path: &Path, role: &str, setup: &Setup) -> Result<(File, bool), Trouble> {
    let disk = |error: io::Error| Trouble::Disk(path.to_owned(), LogError::Io(error));
    let Some(mut lock) = files::lock(path, Duration::ZERO, setup.clock.as_ref()).map_err(disk)? else {
        return Err(Trouble::Held(holder(path)));
    };
    let was_cut_short = holder(path).contains(&format!("\"role\":\"{WORKER}\""));
    let (process, boot) = (std::process::id(), entropy::boot_id());
    let since = setup.clock.wall().rfc3339();
    let holder = format!("{{\"pid\":{process},\"boot\":\"{boot}\",\"since\":\"{since}\",\"role\":\"{role}\"}}\n");
    lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes())).map_err(disk)?;
    Ok((lock, was_cut_short))
}

/// What the last one that took the lock wrote about itself.
fn holder(lock: &Path) -> String {
    let bytes = files::read_bounded(lock, HOLDER_BYTES_MAX).map(|(bytes, _)| bytes).unwrap_or_default();
    String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect()
}

/// The worker ends as it should. What cannot be noted counts as cut short, which only matters to one that is started often.
pub fn note_end(lock: &File) {
    let _ = lock.set_len(0);
}

fn ledger(channel: ChannelId, folders: Folders, setup: &Setup) -> Result<(Ledger, Opening), LogError> {
    let begun = setup.clock.mono();
    // Counters that cannot be read are counted anew; the writer keeps the damaged file aside.
    let counted = telemetry_file::read(&setup.config.telemetry_file).unwrap_or_default().sources;
    let counting = Counting { name: format!("{}-{:016x}", channel.name(), entropy::seed()), counted };
    let (mut ledger, opening) = Ledger::open(folders, &entropy::boot_id(), counting, setup.clock.wall())?;
    ledger.keep_sessions_for(Retention(setup.config.retention_days));
    let emit = |event: &Event| setup.log.emit(setup.clock.wall(), event);
    if let Some(detail) = opening.damage.clone() {
        emit(&Event::JournalDamage { channel, detail });
    }
    opening.events.iter().for_each(emit);
    emit(&Event::Recovered {
        channel,
        open: opening.reopened.len(),
        replied: opening.reopened.iter().filter(|reopened| reopened.reply.is_some()).count(),
        lines_restored: opening.lines_restored,
        frames: opening.frames,
        took_ms: u64::try_from(begun.until(setup.clock.mono()).as_millis()).unwrap_or(u64::MAX),
    });
    Ok((ledger, opening))
}

/// Ends a worker whose disk failed. The second time within [`FAILURES_APART`] it stays up for as long, not working: a
/// supervisor would only wear the medium down. SIGHUP ends the wait, for a person who has mended it.
pub fn fail(
    channel: ChannelId,
    setup: &Setup,
    watch: &Watch,
    signals: &Receiver<Signal>,
    reason: &str,
) -> Result<(), Failure> {
    // The run folder may be in memory, and empty after a restart; the other may be on the disk that fails.
    let folders = [&setup.config.run, &setup.config.data.join("run")].map(|run| run.join(channel.name()));
    if failed_just_before(&folders, setup.clock.wall().0 / 1000) {
        let remedy = format!("{reason}; look at the storage medium (dmesg), then send SIGHUP or restart");
        if rest(channel, setup, watch, signals, ("storage", &remedy), FAILURES_APART) {
            return Ok(());
        }
    }
    Err(Failure::Storage(reason.to_owned()))
}

/// A worker that was started too often in a short time, and whose last one was cut short, rests before it works. Whether it was
/// told to end meanwhile.
pub fn rest_if_crashing(
    channel: ChannelId,
    opened: &Opened,
    setup: &Setup,
    watch: &Watch,
    signals: &Receiver<Signal>,
) -> bool {
    let starts = opened.ledger.journal().starts().map(|start| Wall(start.ts));
    let time = crash_loop::rest(starts, setup.clock.wall()).filter(|_| opened.was_cut_short);
    let Some(time) = time else { return false };
    let remedy = "it was started again and again: look what ends it (rusty-pinch doctor, the log before each channel_start), \
                  then send SIGHUP or wait";
    let is_told = rest(channel, setup, watch, signals, ("crash_loop", remedy), time);
    setup.log.emit(setup.clock.wall(), &Event::ChannelResumed { channel });
    is_told
}

/// Says why, and does not work for so long, alive to whoever asks. Whether it was told to end; SIGHUP ends the rest.
fn rest(
    channel: ChannelId,
    setup: &Setup,
    watch: &Watch,
    signals: &Receiver<Signal>,
    (reason, remedy): (&str, &str),
    time: Duration,
) -> bool {
    setup.log.emit(setup.clock.wall(), &parked_event(channel, reason, remedy, time));
    watch.ready();
    matches!(signals.recv_timeout(time), Ok(Signal::Terminate { .. }))
}

/// Notes this failure in each folder, and says whether there was another one shortly before. A note that cannot be written is none.
fn failed_just_before(folders: &[PathBuf], now_secs: u64) -> bool {
    let is_recent = |folder: &PathBuf| {
        let before =
            fs::read_to_string(folder.join(FAILURE_NOTE)).ok().and_then(|text| text.trim().parse::<u64>().ok());
        before.is_some_and(|before| now_secs.abs_diff(before) < FAILURES_APART.as_secs())
    };
    let is_again = folders.iter().any(is_recent);
    for folder in folders {
        let note = || files::replace(&folder.join(FAILURE_NOTE), now_secs.to_string().as_bytes());
        let _ = files::make_folder(folder).and_then(|()| note());
    }
    is_again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_in_a_short_time_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let folders = ["run", "data"].map(|place| folder.path().join(place));
        let seen: Vec<bool> = [1000, 1599, 2500, 2499].map(|now| failed_just_before(&folders, now)).into();
        assert_eq!(seen, [false, true, false, true]);
        for (one, other) in [(0, 1), (1, 0)] {
            fs::remove_dir_all(&folders[one]).expect("as after a restart of a container, or on a broken disk");
            assert!(failed_just_before(&folders, 2500));
            fs::write(folders[other].join(FAILURE_NOTE), "nonsense").expect("written");
            assert!(failed_just_before(&folders, 2500));
        }
        folders.iter().for_each(|folder| fs::write(folder.join(FAILURE_NOTE), "nonsense").expect("written"));
        assert!(!failed_just_before(&folders, 2500));
    }

    #[test]
    fn only_what_a_person_can_mend_is_waited_for() {
        let reason = |kind: ErrorKind| explained(&LogError::Io(kind.into())).map(|(reason, _)| reason);
        assert_eq!(reason(ErrorKind::StorageFull), Some("disk_full"));
        assert_eq!(reason(ErrorKind::ReadOnlyFilesystem), Some("disk_readonly"));
        assert_eq!(reason(ErrorKind::PermissionDenied), Some("disk_readonly"));
        assert_eq!(reason(ErrorKind::Other), None);
        assert_eq!(explained(&LogError::Flush(ErrorKind::StorageFull.into())), None);
    }
}
