//! Files with the modes, locks and atomic replacement we insist on: folders 0700, files 0600, no symbolic links.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, OFlags};
use rustix::process::umask;

use crate::base::clock::Clock;
use crate::sys::entropy;

/// Everything the process creates is for its owner alone. Called once, before the first thread.
pub fn private_by_default() {
    umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Creates a folder and its parents, each with mode 0700 unless it exists. The names of new ones are on the medium when it
/// returns: what is flushed in a folder is lost with the folder's own name.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }?;
    match File::open(parent) {
        // A parent of somebody else, which we may only pass through.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// Opens a file of ours for reading and writing, creating it with mode 0600. Never through a symbolic link.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)
}

/// Opens a file of ours for appending, creating it with mode 0600. Never through a symbolic link.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow()).open(path)
}

/// Opens an existing file of ours for reading. Never through a symbolic link.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(no_follow()).open(path)
}

fn no_follow() -> i32 {
    flags(OFlags::NOFOLLOW)
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// Reads a file of at most `bytes_max`, and what is known of it; a longer one is an error, not a cut.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Metadata)> {
    read(path, bytes_max, OFlags::empty())
}

/// The same, of a file that must not be a symbolic link.
pub fn read_bounded_itself(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Metadata)> {
    read(path, bytes_max, OFlags::NOFOLLOW).map_err(|error| {
        let is_link = rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP);
        if is_link {
            io::Error::new(io::ErrorKind::InvalidInput, "is a symbolic link: name the file itself")
        } else {
            error
        }
    })
}

fn read(path: &Path, bytes_max: u64, way: OFlags) -> io::Result<(Vec<u8>, Metadata)> {
    // A pipe that nobody writes to would keep us waiting.
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK | way)).open(path)?;
    let known = file.metadata()?;
    if !known.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {bytes_max} bytes")));
    }
    Ok((bytes, known))
}

/// Whether a file could be read and what is in it is not ours, so that it may be kept aside.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge)
}

/// Replaces a file in one step: readers see the old content or the new. Not flushed: what is written this way can
/// be counted again. Writers of one file keep each other out, by a lock or by being one; so those that are killed leave one
/// temporary file in all, and the next one uses it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, None, None, false)
}

/// The same; on the medium when it returns, the content before the name.
pub fn replace_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, None, None, true)?;
    flush_name(path)
}

/// The name of a file in its folder is on the medium when this returns.
pub fn flush_name(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// The same, of a file that everybody may read.
pub fn replace_for_all(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, Some(Permissions::from_mode(0o644)), None, false)
}

/// The same, of a file that belongs to this user and group and has this mode; on the medium when it returns.
pub fn replace_as(path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<()> {
    replace_with(path, content, Some(Permissions::from_mode(mode)), Some(owner), false)?;
    flush_disk(path)
}

fn replace_with(
    path: &Path,
    content: &[u8],
    permissions: Option<Permissions>,
    owner: Option<(u32, u32)>,
    flushed: bool,
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let written = open(temporary).and_then(|mut file| {
        file.set_len(0)?;
        file.write_all(content)?;
        // Before the mode, which lets the group in.
        owner.map_or(Ok(()), |(user, group)| fchown(&file, Some(user), Some(group)))?;
        permissions.map_or(Ok(()), |permissions| file.set_permissions(permissions))?;
        if flushed { file.sync_all() } else { Ok(()) }
    });
    let outcome = written.and_then(|()| fs::rename(temporary, path));
    if outcome.is_err() {
        let _ = fs::remove_file(temporary);
    }
    outcome
}

/// Everything that was written to the disk that `path` is on, by anybody, is on the medium when this returns: one wait
/// instead of one for every file.
pub fn flush_disk(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Drops what the page cache holds of a file and need not write: the next reader sees what the medium has.
pub fn forget_clean(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fadvise(open_to_read(path)?, 0, None, Advice::DontNeed)?)
}

/// Takes the lock on `path`, waiting at most `patience`. `None`: somebody else holds it.
pub fn lock(path: &Path, patience: Duration, clock: &dyn Clock) -> io::Result<Option<File>> {
    /// Between two tries for a lock that somebody else holds.
    const PAUSE: Duration = Duration::from_millis(5);
    let file = open(path)?;
    let last = clock.mono().after(patience);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if clock.mono() >= last => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
        }
        pause(PAUSE);
    }
}

/// The same, in a folder that is made if it is not there, for whoever cannot go on without it.
///
/// # Errors
/// Of the disk, or `WouldBlock` with this `sentence` while somebody else holds it.
pub fn hold(path: &Path, patience: Duration, clock: &dyn Clock, sentence: &str) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    lock(path, patience, clock)?.ok_or_else(|| io::Error::new(io::ErrorKind::WouldBlock, sentence))
}

/// Whether a process holds the lock on `path`. Creates nothing.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    match File::open(path)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a file can be made in `folder`: makes one and removes it. Nothing that is there is touched, links included.
pub fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".rusty-pinch-probe-{:016x}", entropy::seed()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)
}

/// Whether files in an existing folder can be made and removed.
pub fn may_change(folder: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether an existing file can be written to. One that is not there can.
pub fn may_write(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Bytes that we may still write where `path` is.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let known = rustix::fs::statvfs(path)?;
    Ok(known.f_bavail.saturating_mul(known.f_frsize))
}

/// A short wait that nothing has to end early.
pub fn pause(delay: Duration) {
    let (_stopper, stop) = crate::sys::stop::pair();
    stop.wait(delay);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::system_clock::SystemClock;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replacing_leaves_one_private_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("latest.json");
        replace(&path, b"one").expect("written");
        replace(&path, b"two").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::metadata(&path).expect("known").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("LOCK");
        let clock = SystemClock::new();
        let held = lock(&path, Duration::ZERO, &clock).expect("no error");
        assert!(held.is_some() && is_locked(&path).expect("no error"));
        assert!(lock(&path, Duration::ZERO, &clock).expect("no error").is_none());
        drop(held);
        assert!(!is_locked(&path).expect("no error"));
        assert!(lock(&path, Duration::ZERO, &clock).expect("no error").is_some());
    }

    #[test]
    fn links_are_not_followed_and_large_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, b"12345").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        assert!(open(&link).is_err());
        assert!(read_bounded_itself(&link, 5).is_err_and(|error| error.to_string().contains("symbolic link")));
        assert_eq!(read_bounded_itself(&target, 5).expect("read").0, b"12345");
        assert_eq!(read_bounded(&target, 5).expect("read").0, b"12345");
        assert_eq!(
            read_bounded(&target, 4).map(|_| ()).map_err(|error| error.kind()),
            Err(io::ErrorKind::FileTooLarge)
        );
    }
}
