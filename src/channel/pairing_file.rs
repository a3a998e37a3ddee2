//! [`PairingFile`]: `<data>/pairing.json`, which a worker and `pair telegram` read and change in turn. Every change is made
//! under the lock of `pairing.lock` and is on the medium when it counts.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::channel::pairing::Book;
use crate::sys::files;

const FILE: &str = "pairing.json";
const LOCK: &str = "pairing.lock";

/// Far more than all entries take.
const BYTES_MAX: u64 = 256 * 1024;

/// How long the other side may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is paired; nobody where there is no file. Also what `doctor` shows.
///
/// # Errors
/// Of the disk, or that it cannot be understood.
pub fn read(data: &Path) -> io::Result<Book> {
    match files::read_bounded_itself(&data.join(FILE), BYTES_MAX) {
        Ok((bytes, _)) => serde_json::from_slice(&bytes).map_err(|_| io::ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Book::default()),
        Err(error) => Err(error),
    }
}

/// Changes it; what `change` returns is true when this returns.
///
/// # Errors
/// Of the disk, `WouldBlock` while the other side holds the lock, or that the file cannot be understood; nothing is
/// changed then.
pub fn update<T>(data: &Path, clock: &dyn Clock, change: impl FnOnce(&mut Book) -> T) -> io::Result<T> {
    let held = files::lock(&data.join(LOCK), PATIENCE, clock)?;
    let _held = held.ok_or(io::ErrorKind::WouldBlock)?;
    let before = read(data)?;
    let mut book = before.clone();
    let value = change(&mut book);
    if book != before {
        let mut bytes = serde_json::to_vec_pretty(&book).map_err(io::Error::other)?;
        bytes.push(b'\n');
        files::replace(&data.join(FILE), &bytes)?;
        files::flush_disk(data)?;
    }
    Ok(value)
}

/// A reader that looks again only when the file has changed.
pub struct PairingFile {
    data: PathBuf,
    seen: Option<Stamp>,
}

/// What differs after any change: of the content, of who may read it, or of the file. `None`: there is none.
type Stamp = Option<(i64, i64, u64)>;

impl PairingFile {
    /// Nothing was read.
    pub fn new(data: PathBuf) -> PairingFile {
        PairingFile { data, seen: None }
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The ids that are paired, if the file was changed since it was last read. One that cannot be read changes nothing and is
    /// tried again at each look.
    ///
    /// # Errors
    /// As [`read`].
    pub fn news(&mut self) -> io::Result<Option<Vec<String>>> {
        let known = fs::metadata(self.data.join(FILE)).ok();
        let stamp = known.map(|known| (known.ctime(), known.ctime_nsec(), known.ino()));
        if self.seen == Some(stamp) {
            return Ok(None);
        }
        let book = read(&self.data)?;
        self.seen = Some(stamp);
        Ok(Some(book.ids()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::channel::pairing::{Moment, Verdict};
    use crate::sys::system_clock::SystemClock;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn both_sides_see_what_the_other_one_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, clock) = (folder.path(), SystemClock::new());
        let mut worker = PairingFile::new(data.to_owned());
        assert_eq!(worker.news().expect("none"), Some(Vec::new()));
        let now = Moment::now(&clock);
        let code = update(data, &clock, |book| book.offer(7, &now)).expect("written").expect("a code");
        let text = fs::read_to_string(data.join(FILE)).expect("there");
        assert!(!text.contains(code.reveal()), "the code itself is kept nowhere");
        assert_eq!(fs::metadata(data.join(FILE)).expect("there").permissions().mode() & 0o777, 0o600);
        let verdict =
            update(data, &clock, |book| book.judge(code.reveal(), "42", false, Wall(1), &now)).expect("written");
        assert_eq!((verdict, worker.news().expect("read")), (Verdict::Paired, Some(vec!["42".to_owned()])));
        assert_eq!(worker.news().expect("read"), None);
        assert!(update(data, &clock, |book| book.remove("42")).expect("written"));
        assert_eq!(worker.news().expect("read"), Some(Vec::new()));
        fs::write(data.join(FILE), "nonsense").expect("written");
        assert!(worker.news().is_err());
        assert!(update(data, &clock, |book| book.remove("42")).is_err());
    }

    /// Seen to fail: a stamp that is kept before the file was read, and one of the time of the content.
    #[test]
    fn what_could_not_be_read_is_tried_again_and_no_change_is_missed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut worker = PairingFile::new(folder.path().to_owned());
        fs::create_dir(folder.path().join(FILE)).expect("something that cannot be read");
        assert!(worker.news().is_err() && worker.news().is_err(), "the next look may succeed");
        fs::remove_dir(folder.path().join(FILE)).expect("ours");
        fs::write(folder.path().join(FILE), "{}").expect("written");
        assert_eq!(worker.news().expect("read"), Some(Vec::new()));
        let times = fs::metadata(folder.path().join(FILE)).and_then(|known| known.modified()).expect("a time");
        let file = fs::File::options().write(true).open(folder.path().join(FILE)).expect("there");
        let changed = br#"{"paired":[{"id":"42","at":1}]}"#;
        io::Write::write_all(&mut &file, changed).and_then(|()| file.set_modified(times)).expect("written");
        assert_eq!(worker.news().expect("read"), Some(vec!["42".to_owned()]));
    }
}
