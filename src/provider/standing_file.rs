//! `provider/standing.json`: the [`Book`] of every process of the data folder. Read when it has changed; changed under a lock,
//! by adding to what others wrote meanwhile. A damaged file is kept aside: to forget an opening costs one request.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::moment::Moment;
use crate::provider::kept::{Book, Kept, parse, render};
use crate::sys::files;

/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How long another process may keep a turn waiting. After that the change is only known here.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which content a file has: when it was changed, its number and its length. All zero: there is none.
pub type Stamp = [i64; 4];

/// The file in a data folder.
pub fn path(data: &Path) -> PathBuf {
    data.join("provider").join("standing.json")
}

/// Which content the file has now.
pub fn stamp(path: &Path) -> Stamp {
    let known = fs::metadata(path);
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    known.map_or([0; 4], |known| [known.mtime(), known.mtime_nsec(), number(known.ino()), number(known.len())])
}

/// The book; empty if there is no file.
///
/// # Errors
/// Of the disk, or damage.
pub fn read(path: &Path) -> io::Result<Book> {
    match files::read_bounded_itself(path, FILE_BYTES_MAX) {
        Ok((bytes, _)) => parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "is damaged")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Book::new()),
        Err(error) => Err(error),
    }
}

/// Writes one entry into the file, beside those of others, and gives back the whole book.
pub fn update(path: &Path, key: &str, kept: Kept, clock: &dyn Clock) -> io::Result<Book> {
    let _held = hold(path, clock)?;
    let mut book = sound(path)?.unwrap_or_default();
    book.insert(key.to_owned(), kept);
    files::replace(path, &render(book.clone(), &Moment::now(clock)))?;
    Ok(book)
}

/// Reads again what was found damaged: another process may have written a sound one since. `None`: it still was, and is set aside.
pub fn mend(path: &Path, clock: &dyn Clock) -> io::Result<Option<Book>> {
    let _held = hold(path, clock)?;
    sound(path)
}

fn hold(path: &Path, clock: &dyn Clock) -> io::Result<File> {
    files::hold(&path.with_extension("lock"), PATIENCE, clock, "another process holds its lock")
}

/// Under the lock: the book, or `None` for a damaged one, which is kept for whoever wants to know; the last one only.
fn sound(path: &Path) -> io::Result<Option<Book>> {
    match read(path) {
        Err(error) if files::is_damage(&error) => fs::rename(path, path.with_extension("json.damaged")).map(|()| None),
        other => other.map(Some),
    }
}
