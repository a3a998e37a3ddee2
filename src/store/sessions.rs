//! [`Sessions`]: the session files. Appending under the folder's lock, repairing a damaged end, beginning a new file when
//! one is full, reading from the end.
//!
//! A damaged line never stops a session: readers pass over it. An end without a newline is completed if it is a whole
//! line, else kept aside as `<name>.torn-<unix seconds>` and cut off.
//!
//! A full file is flushed, then renamed, then the folder is flushed, and only then does a line go into a new file of the
//! old name. So a power cut never takes lines that stand before others that it leaves, and only the current file of a
//! session can hold what is not on the medium.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::base::clock::Wall;
use crate::base::id::SessionId;
use crate::base::sorted::SortedSet;
use crate::store::parts::{self, BLOCK_BYTES, FIRST_BLOCK_BYTES, read_back, read_block};
use crate::store::retention::Retention;
use crate::store::storage::Storage;
use crate::store::transcript::{LINE_BYTES_MAX, Line, NEW};

/// A file that would grow beyond this is renamed, and a new one begun.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// Lines without an ordinal that are looked at one by one; in a longer file of the earlier runtime newlines are counted.
const UNNUMBERED_LINES_MAX: u64 = 64;

/// How often a reader begins again because a writer renamed the file that it was reading.
const READINGS_MAX: usize = 3;

/// How long a torn end is kept.
const TORN_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// What happened to a session file beyond the append itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The file's stem.
    pub session: String,
    /// Bytes kept aside.
    pub bytes: u64,
}

/// The end of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// The ordinal of the last line: how many lines the session has.
    pub last_ordinal: u64,
    /// Damaged lines among those that were read.
    pub bad_lines: u64,
}

/// All session files of a data folder.
#[derive(Clone)]
pub struct Sessions {
    storage: Box<dyn Storage>,
    file_bytes_max: u64,
    retention: Retention,
    /// Current files with lines that may not be on the medium.
    unsynced: SortedSet<String>,
    /// Names of files may not be.
    folder_unsynced: bool,
    /// A flush failed: what the medium holds is only known after reading it anew.
    flush_failed: bool,
}

impl Sessions {
    /// Over the folder `sessions/`.
    pub fn new(storage: Box<dyn Storage>) -> Sessions {
        Sessions::with_files_of(storage, FILE_BYTES_MAX)
    }

    /// With files of another size, so that tests need not write megabytes.
    pub fn with_files_of(storage: Box<dyn Storage>, file_bytes_max: u64) -> Sessions {
        let (unsynced, retention) = (SortedSet::new(), Retention::default());
        Sessions { storage, file_bytes_max, retention, unsynced, folder_unsynced: false, flush_failed: false }
    }

    /// Lines are kept for so long from here on; for ever by default.
    pub fn keep_for(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// Removes torn ends that were kept aside more than [`TORN_AGE_MAX`] ago, and files that are beyond the retention.
    ///
    /// # Errors
    /// Of the disk, or `WouldBlock` while another process holds the folder's lock. What was not removed is the next time.
    pub fn tidy(&mut self, now: Wall) -> io::Result<()> {
        self.remove_torn(now)?;
        if self.retention == Retention::default() {
            return Ok(());
        }
        if !self.storage.lock()? {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds the lock of the sessions"));
        }
        let outcome = self.remove_expired(now);
        self.storage.unlock();
        outcome
    }

    /// In the order in which what is left can be found if this ends half way.
    fn remove_expired(&mut self, now: Wall) -> io::Result<()> {
        for name in self.retention.expired(self.storage.as_ref(), now)? {
            self.storage.remove(&name)?;
            // What is gone need not be flushed.
            self.unsynced.remove(&name);
            self.flush(|storage| storage.sync_dir())?;
        }
        Ok(())
    }

    fn remove_torn(&mut self, now: Wall) -> io::Result<()> {
        let since =
            |name: &str| Some(Wall(name.rsplit_once(".jsonl.torn-")?.1.parse::<u64>().ok()?.saturating_mul(1000)));
        for name in self.storage.list()? {
            if since(&name).is_some_and(|since| since.until(now) > TORN_AGE_MAX) {
                self.storage.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Whether the session can be read, before somebody is asked for the next line of it. One that is new can.
    pub fn check_readable(&self, session: &SessionId) -> io::Result<()> {
        self.storage.read_at(&parts::current(session.stem()), 0, &mut [0]).map(|_| ())
    }

    /// Appends lines in one write, numbering them. In the page cache when it returns.
    ///
    /// # Errors
    /// Of the disk, or `WouldBlock` while another process holds the folder's lock; nothing was then written.
    pub fn append(&mut self, session: &SessionId, lines: &mut [Line], now_secs: u64) -> io::Result<Option<Repaired>> {
        self.check()?;
        if !self.storage.lock()? {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds the lock of the sessions"));
        }
        let outcome = self.append_locked(session.stem(), lines, now_secs);
        self.storage.unlock();
        outcome
    }

    fn append_locked(&mut self, stem: &str, lines: &mut [Line], now_secs: u64) -> io::Result<Option<Repaired>> {
        let name = parts::current(stem);
        let mut len = self.storage.len(&name)?;
        let mut repaired = None;
        let last = match ordinal_at_end(self.storage.as_ref(), &name, len)? {
            Some(last) => last,
            None => {
                repaired = self.repair_end(stem, &name, now_secs)?;
                len = self.storage.len(&name)?;
                last_ordinal(self.storage.as_ref(), stem)?
            }
        };
        let mut bytes = String::new();
        for (line, ordinal) in lines.iter_mut().zip(last + 1..) {
            line.n = Some(ordinal);
            bytes.push_str(&line.encode());
        }
        let is_full = len > 0 && len + bytes.len() as u64 > self.file_bytes_max;
        if is_full || self.retention.is_full(self.storage.as_ref(), &name, len, Wall(now_secs.saturating_mul(1000)))? {
            self.put_away(stem, &name)?;
            len = 0;
        }
        if len == 0 && last > 0 {
            // Also if another process renamed the file and did not come this far: its name must not be used again
            // before the medium knows the new one.
            self.flush(|storage| storage.sync_dir())?;
        }
        self.storage.append(&name, bytes.as_bytes())?;
        self.unsynced.insert(name);
        Ok(repaired)
    }

    /// Gives the current file the next free number.
    fn put_away(&mut self, stem: &str, name: &str) -> io::Result<()> {
        let newest = parts::numbers(self.storage.as_ref(), stem)?.into_iter().max().unwrap_or(0);
        self.flush(|storage| storage.sync(name))?;
        self.storage.rename(name, &parts::full(stem, newest + 1))
    }

    /// Makes the file end with a newline.
    fn repair_end(&mut self, stem: &str, name: &str, now_secs: u64) -> io::Result<Option<Repaired>> {
        let len = self.storage.len(name)?;
        let start = tail_start(self.storage.as_ref(), name, len)?;
        if start == len {
            return Ok(None);
        }
        let tail_len = len - start;
        if tail_len <= LINE_BYTES_MAX as u64
            && Line::decode(&read_block(self.storage.as_ref(), name, start, len)?).is_some()
        {
            // The earlier runtime wrote the newline separately and may have been killed in between.
            self.storage.append(name, b"\n")?;
            return Ok(None);
        }
        let aside = format!("{name}.torn-{now_secs}");
        let mut offset = start;
        while offset < len {
            let end = (offset + BLOCK_BYTES).min(len);
            let block = read_block(self.storage.as_ref(), name, offset, end)?;
            self.storage.append(&aside, &block)?;
            offset = end;
        }
        self.flush(|storage| storage.sync(&aside))?;
        self.storage.truncate(name, start)?;
        self.flush(|storage| {
            storage.sync(name)?;
            storage.sync_dir()
        })?;
        Ok(Some(Repaired { session: stem.to_owned(), bytes: tail_len }))
    }

    /// Every append so far is on the medium when this returns.
    pub fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        let unsynced = std::mem::take(&mut self.unsynced);
        let folder_unsynced = std::mem::take(&mut self.folder_unsynced);
        if unsynced.is_empty() && !folder_unsynced {
            return Ok(());
        }
        self.flush(|storage| {
            unsynced.iter().try_for_each(|name| storage.sync(name))?;
            storage.sync_dir()
        })
    }

    fn flush(&mut self, work: impl FnOnce(&mut dyn Storage) -> io::Result<()>) -> io::Result<()> {
        let outcome = work(self.storage.as_mut());
        self.flush_failed |= outcome.is_err();
        outcome
    }

    /// # Errors
    /// If a flush failed. It is never tried again, because the kernel may have dropped what it could not write, and then
    /// says that all is well: whoever asks ends the process.
    pub fn check(&self) -> io::Result<()> {
        if self.flush_failed { Err(io::Error::other("a session file could not be flushed")) } else { Ok(()) }
    }

    /// Makes a reader see what is on the medium of a file that an earlier process appended to, and not what it could not
    /// flush; what it did not try to flush is flushed first.
    ///
    /// # Errors
    /// If the file cannot be read; [`Sessions::check`] tells whether the flush failed.
    pub fn reread(&mut self, stem: &str) -> io::Result<()> {
        let name = parts::current(stem);
        self.storage.read_at(&name, 0, &mut [0])?;
        self.folder_unsynced = true;
        self.flush(|storage| storage.sync(&name))?;
        self.storage.reread(&name)
    }

    /// The ordinal of the last line, if it is a whole one of ours; 0 of a new session.
    pub fn last_ordinal(&self, stem: &str) -> io::Result<Option<u64>> {
        let mut last = Some(0);
        read_back(self.storage.as_ref(), stem, &mut |line| {
            last = line.and_then(|line| line.n);
            ControlFlow::Break(())
        })?;
        Ok(last)
    }

    /// Which lines of these turns the session has, by turn and role. All of them stand `behind` this ordinal, if that is
    /// known; it keeps a full disk or a start from reading whole sessions for what is not there.
    pub fn holds(&self, stem: &str, turns: &[String], behind: Option<u64>) -> io::Result<SortedSet<(String, String)>> {
        let mut found = SortedSet::new();
        read_back(self.storage.as_ref(), stem, &mut |line| {
            let Some(Line { rid, role, n, .. }) = line else { return ControlFlow::Continue(()) };
            match rid.filter(|rid| turns.contains(rid)) {
                Some(rid) => drop(found.insert((rid, role))),
                None if n.is_some_and(|n| behind.is_some_and(|behind| n <= behind)) => return ControlFlow::Break(()),
                None => {}
            }
            // Two lines of each turn.
            if found.len() == 2 * turns.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }
}

/// The ordinal of the last line, if the file ends with a short whole one of ours, as nearly always.
fn ordinal_at_end(storage: &dyn Storage, name: &str, len: u64) -> io::Result<Option<u64>> {
    let start = len.saturating_sub(FIRST_BLOCK_BYTES);
    let block = read_block(storage, name, start, len)?;
    let Some(lines) = block.strip_suffix(b"\n") else { return Ok(None) };
    let line = match lines.iter().rposition(|&byte| byte == b'\n') {
        Some(newline) => &lines[newline + 1..],
        None if start == 0 => lines,
        None => return Ok(None),
    };
    Ok(Line::decode(line).and_then(|line| line.n))
}

/// Where the last, unfinished line starts; `len` if there is none.
fn tail_start(storage: &dyn Storage, name: &str, len: u64) -> io::Result<u64> {
    let mut start = len;
    let mut block_bytes = FIRST_BLOCK_BYTES;
    while start > 0 {
        let block_start = start.saturating_sub(block_bytes);
        block_bytes = BLOCK_BYTES;
        let block = read_block(storage, name, block_start, start)?;
        if let Some(newline) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(block_start + newline as u64 + 1);
        }
        start = block_start;
    }
    Ok(0)
}

/// The ordinal of the last line. Files of the earlier runtime have none: their lines are counted, once.
fn last_ordinal(storage: &dyn Storage, stem: &str) -> io::Result<u64> {
    let mut ordinal = None;
    let mut behind = 0;
    let whole = read_back(storage, stem, &mut |line| match line {
        Some(Line { n: Some(n), .. }) => {
            ordinal = Some(n);
            ControlFlow::Break(())
        }
        Some(_) => {
            behind += 1;
            if behind > UNNUMBERED_LINES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        None => ControlFlow::Continue(()),
    })?;
    match ordinal {
        Some(n) => Ok(n + behind),
        None if whole => Ok(behind),
        None => parts::count_lines(storage, stem),
    }
}

/// The last `lines_max` lines that `wanted` accepts and whose contents fit into `bytes_max`. Stops early at a line that
/// starts the conversation over.
pub fn history(
    storage: &dyn Storage,
    session: &SessionId,
    lines_max: usize,
    bytes_max: usize,
    wanted: &dyn Fn(&Line) -> bool,
) -> io::Result<History> {
    let read = || read_history(storage, session.stem(), lines_max, bytes_max, wanted);
    let renamed = |outcome: &io::Result<History>| {
        outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    };
    let mut outcome = read();
    for _ in 1..READINGS_MAX {
        if renamed(&outcome) {
            outcome = read();
        }
    }
    outcome
}

fn read_history(
    storage: &dyn Storage,
    stem: &str,
    lines_max: usize,
    bytes_max: usize,
    wanted: &dyn Fn(&Line) -> bool,
) -> io::Result<History> {
    let mut history = History::default();
    let mut bytes_left = bytes_max;
    let mut last_known = None;
    read_back(storage, stem, &mut |line| {
        let Some(line) = line else {
            history.bad_lines += 1;
            return ControlFlow::Continue(());
        };
        last_known.get_or_insert(line.n);
        if line.mark.as_deref() == Some(NEW) || lines_max == 0 || line.content.len() > bytes_left {
            return ControlFlow::Break(());
        }
        if wanted(&line) {
            bytes_left -= line.content.len();
            history.lines.push(line);
        }
        if history.lines.len() >= lines_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    history.lines.reverse();
    history.last_ordinal = match last_known {
        Some(Some(n)) => n,
        Some(None) => last_ordinal(storage, stem)?,
        None => 0,
    };
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;
    use crate::store::inspect;

    const OLD: &str = r#"{"role":"user","content":"old","timestamp":"2026-01-01T00:00:00+00:00"}"#;

    struct Fixture {
        folder: tempfile::TempDir,
        sessions: Sessions,
        session: SessionId,
    }

    fn fixture(content: &[u8]) -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("s.jsonl"), content).expect("written");
        let storage = Box::new(Directory::open(folder.path()).expect("a folder"));
        Fixture {
            sessions: Sessions::with_files_of(storage, 1000),
            session: SessionId::parse("s").expect("a name"),
            folder,
        }
    }

    fn line(content: &str) -> Line {
        Line {
            role: "user".into(),
            content: content.into(),
            timestamp: "t".into(),
            rid: Some(format!("rid-{content}")),
            n: None,
            error: None,
            mark: None,
        }
    }

    impl Fixture {
        fn append(&mut self, content: &str) -> Option<Repaired> {
            self.sessions.append(&self.session, &mut [line(content)], 77).expect("appended")
        }

        /// In the order of the lines.
        fn names(&self) -> Vec<String> {
            let names = self.sessions.storage.list().expect("listed");
            let mut places: Vec<u64> = names.iter().filter_map(|name| Some(parts::parse(name)?.1)).collect();
            places.sort_unstable();
            let name = |place| if place == parts::CURRENT { parts::current("s") } else { parts::full("s", place) };
            places.into_iter().map(name).collect()
        }

        fn history(&self, lines_max: usize) -> History {
            history(self.sessions.storage.as_ref(), &self.session, lines_max, 1 << 20, &|_| true).expect("read")
        }
    }

    fn contents(history: &History) -> Vec<&str> {
        history.lines.iter().map(|line| line.content.as_str()).collect()
    }

    #[test]
    fn lines_are_numbered_and_read_from_the_end() {
        let mut fixture = fixture(b"");
        (0..50).for_each(|number| assert_eq!(fixture.append(&format!("line {number}")), None));
        let history = fixture.history(3);
        assert_eq!(contents(&history), ["line 47", "line 48", "line 49"]);
        assert_eq!(history.last_ordinal, 50);
    }

    #[test]
    fn a_file_of_the_earlier_runtime_goes_on() {
        let mut fixture = fixture(format!("{OLD}\n\n{OLD}").as_bytes());
        assert_eq!(fixture.history(9).last_ordinal, 2);
        assert_eq!(fixture.append("new"), None);
        let history = fixture.history(9);
        assert_eq!((contents(&history), history.last_ordinal), (vec!["old", "old", "new"], 3));
    }

    #[test]
    fn torn_and_damaged_lines_are_kept_aside_or_passed_over() {
        let torn = &OLD.as_bytes()[..30];
        for (damage, aside) in
            [(torn, true), (&[0; 100][..], true), (&[0xff, 0xfe, b'\n'][..], false), (b"{}\n", false)]
        {
            let mut fixture = fixture(&[OLD.as_bytes(), b"\n", damage].concat());
            assert_eq!(fixture.append("new").map(|repaired| repaired.bytes), aside.then_some(damage.len() as u64));
            assert_eq!(contents(&fixture.history(9)), ["old", "new"]);
            let found = inspect::session_damage(fixture.sessions.storage.as_ref()).expect("read");
            assert_eq!((found.bad_lines, found.torn_files), (u64::from(!aside), usize::from(aside)));
            assert_eq!(fixture.folder.path().join("s.jsonl.torn-77").exists(), aside);
        }
    }

    /// Each of two begins new files under the other.
    #[test]
    fn torn_ends_of_long_ago_go() {
        let mut fixture = fixture(b"");
        let day = 24 * 3600;
        for days in [9, 11, 100] {
            let name = format!("s.jsonl.torn-{}", days * day);
            std::fs::write(fixture.folder.path().join(name), "half").expect("written");
        }
        fixture.sessions.tidy(Wall(100 * day * 1000)).expect("tidied");
        let mut left = fixture.sessions.storage.list().expect("listed");
        left.sort();
        assert_eq!(
            left,
            ["s.jsonl".to_owned(), format!("s.jsonl.torn-{}", 100 * day), format!("s.jsonl.torn-{}", 11 * day)]
        );
    }

    #[test]
    fn another_writer_is_noticed() {
        let mut fixture = fixture(b"");
        let storage = Directory::open(fixture.folder.path()).expect("a folder");
        let mut other = Sessions::with_files_of(Box::new(storage), 1000);
        for number in 1..=40 {
            fixture.append(&format!("line {number}"));
            std::mem::swap(&mut fixture.sessions, &mut other);
        }
        let ordinals: Vec<_> = fixture.history(99).lines.iter().map(|line| line.n).collect();
        assert_eq!(ordinals, (1..=40).map(Some).collect::<Vec<_>>());
        assert!(fixture.names().len() > 3, "{:?}", fixture.names());
    }

    #[test]
    fn a_full_file_gets_the_next_number_and_the_session_goes_on() {
        let mut fixture = fixture(format!("{OLD}\n").as_bytes());
        (2..=60).for_each(|number| assert_eq!(fixture.append(&format!("line {number}")), None));
        let names = fixture.names();
        assert!(names.len() >= 5 && names[names.len() - 1] == "s.jsonl", "{names:?}");
        for name in &names {
            let len = std::fs::metadata(fixture.folder.path().join(name)).expect("known").len();
            assert!((1..=1000).contains(&len), "{name} has {len} bytes");
        }
        let history = fixture.history(30);
        assert_eq!((history.lines[0].content.as_str(), history.lines.len()), ("line 31", 30));
        assert_eq!((history.last_ordinal, fixture.history(99).lines.len()), (60, 60));
        let turns = ["rid-line 3".to_owned(), "rid-line 60".to_owned(), "rid-none".to_owned()];
        let found = fixture.sessions.holds("s", &turns, None).expect("read");
        assert_eq!(found.into_iter().map(|(rid, _)| rid).collect::<Vec<_>>(), turns[..2]);
    }

    /// A process ended between the two steps, or old files were removed.
    #[test]
    fn a_session_goes_on_without_its_current_file_and_without_its_oldest() {
        let mut fixture = fixture(b"");
        (1..=20).for_each(|number| drop(fixture.append(&format!("line {number}"))));
        let newest = fixture.names().len() as u64;
        let path = |name: String| fixture.folder.path().join(name);
        std::fs::rename(path(parts::current("s")), path(parts::full("s", newest))).expect("renamed");
        assert_eq!(fixture.history(99).lines.len(), 20);
        fixture.append("line 21");
        let history = fixture.history(99);
        assert_eq!((history.lines.len(), history.last_ordinal), (21, 21));
        std::fs::remove_file(fixture.folder.path().join(parts::full("s", 1))).expect("removed");
        let history = fixture.history(99);
        assert_eq!((history.lines[0].n.is_some_and(|n| n > 1), history.last_ordinal), (true, 21));
        (22..=40).for_each(|number| drop(fixture.append(&format!("line {number}"))));
        assert!(fixture.names().contains(&parts::full("s", newest + 1)) && fixture.history(1).last_ordinal == 40);
    }

    /// The earlier runtime had no limit: its file becomes a full one as it is, however long.
    #[test]
    fn a_long_file_of_the_earlier_runtime_is_put_away_unchanged() {
        let old = format!("{OLD}\n").repeat(100);
        let mut fixture = fixture(old.as_bytes());
        fixture.append("line 101");
        assert_eq!(std::fs::read_to_string(fixture.folder.path().join("s.1.jsonl")).expect("read"), old);
        let history = fixture.history(3);
        assert_eq!((contents(&history), history.last_ordinal), (vec!["old", "old", "line 101"], 101));
        // It went on after a way back to the earlier runtime.
        let path = fixture.folder.path().join("s.jsonl");
        let new = std::fs::read_to_string(&path).expect("read");
        std::fs::write(&path, new + &old).expect("written");
        fixture.append("line 202");
        assert_eq!(fixture.history(1).last_ordinal, 202);
    }

    #[test]
    fn a_new_session_costs_no_listing_and_a_full_one_only_where_its_files_meet() {
        let mut fixture = fixture(b"");
        // Whoever may not list a folder can still open what is in it.
        let lists = |fixture: &Fixture, lines_max| {
            let storage = Watched { folder: Directory::reading(fixture.folder.path()), before_reading: None.into() };
            history(&storage, &fixture.session, lines_max, 1 << 20, &|_| true).is_err()
        };
        assert!(!lists(&fixture, 20));
        fixture.append("line 1");
        assert!(!lists(&fixture, 20));
        (2..=13).for_each(|number| drop(fixture.append(&format!("line {number}"))));
        let in_current = std::fs::read(fixture.folder.path().join("s.jsonl")).expect("read");
        let in_current = in_current.iter().filter(|byte| **byte == b'\n').count();
        assert!((1..13).contains(&in_current));
        assert_eq!((lists(&fixture, in_current), lists(&fixture, in_current + 1)), (false, true));
    }

    /// The reader knows how long the file is and has read none of it.
    #[test]
    fn a_file_that_is_put_away_while_it_is_read_is_read_again() {
        let mut fixture = fixture(b"");
        (1..=4).for_each(|number| drop(fixture.append(&format!("line {number}"))));
        let Fixture { folder, mut sessions, session } = fixture;
        let of_writer = session.clone();
        let meanwhile = move || {
            sessions.file_bytes_max = 1;
            sessions.append(&of_writer, &mut [line("line 5")], 77).expect("appended");
            sessions.append(&of_writer, &mut [line("line 6")], 77).expect("appended");
        };
        let reader = Directory::reading(folder.path());
        let storage = Watched { folder: reader, before_reading: Some(Box::new(meanwhile) as _).into() };
        let history = history(&storage, &session, 1, 1 << 20, &|_| true).expect("read");
        assert_eq!((contents(&history), history.last_ordinal), (vec!["line 6"], 6));
    }

    type Meanwhile = Option<Box<dyn FnOnce() + Send>>;

    /// A folder that cannot be listed, and in which something happens before it is first read from.
    struct Watched {
        folder: Directory,
        before_reading: std::cell::RefCell<Meanwhile>,
    }

    impl Storage for Watched {
        fn handle(&self) -> Box<dyn Storage> {
            self.folder.handle()
        }
        fn list(&self) -> io::Result<Vec<String>> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn len(&self, name: &str) -> io::Result<u64> {
            self.folder.len(name)
        }
        fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            if let Some(meanwhile) = self.before_reading.take() {
                meanwhile();
            }
            self.folder.read_at(name, offset, buffer)
        }
        fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.folder.write_at(name, offset, bytes)
        }
        fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.folder.append(name, bytes)
        }
        fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
            self.folder.truncate(name, len)
        }
        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.folder.rename(from, to)
        }
        fn remove(&mut self, name: &str) -> io::Result<()> {
            self.folder.remove(name)
        }
        fn sync(&mut self, name: &str) -> io::Result<()> {
            self.folder.sync(name)
        }
        fn reread(&mut self, name: &str) -> io::Result<()> {
            self.folder.reread(name)
        }
        fn sync_dir(&mut self) -> io::Result<()> {
            self.folder.sync_dir()
        }
        fn lock(&mut self) -> io::Result<bool> {
            self.folder.lock()
        }
        fn unlock(&mut self) {
            self.folder.unlock();
        }
    }

    #[test]
    fn turns_are_found_and_long_lines_do_not_stop_the_search() {
        let mut fixture = fixture(b"");
        fixture.append("first");
        let path = fixture.folder.path().join("s.jsonl");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.extend(vec![b'x'; LINE_BYTES_MAX + 5]);
        bytes.push(b'\n');
        std::fs::write(&path, bytes).expect("written");
        let turns = ["rid-first".to_owned(), "rid-none".to_owned()];
        let found = SortedSet::from([("rid-first".to_owned(), "user".to_owned())]);
        assert_eq!(fixture.sessions.holds("s", &turns, None).expect("read"), found);
    }

    /// A conversation that goes on loses its beginning, and one that does not is gone; numbers go on as they were.
    #[test]
    fn old_lines_go_and_the_conversation_goes_on() {
        let mut fixture = fixture(b"");
        fixture.sessions.keep_for(Retention(4));
        let day = 24 * 3600;
        let append = |fixture: &mut Fixture, at: u64| {
            let mut lines = [Line { timestamp: Wall(at * 1000).rfc3339(), ..line(&at.to_string()) }];
            fixture.sessions.append(&fixture.session, &mut lines, at).expect("appended");
            fixture.sessions.tidy(Wall(at * 1000)).expect("tidied");
        };
        let begin = 20_000 * day;
        (0..40).for_each(|half_day| append(&mut fixture, begin + half_day * day / 2));
        let history = fixture.history(100);
        let oldest: u64 = history.lines[0].content.parse().expect("a number");
        let kept_days = (begin + 39 * day / 2 - oldest) / day;
        assert!((4..=5).contains(&kept_days), "{kept_days} days: {:?}", contents(&history));
        assert_eq!((history.last_ordinal, history.lines[0].n), (40, Some(40 - history.lines.len() as u64 + 1)));
        fixture.sessions.sync().expect("what is gone is not missed");
        fixture.sessions.tidy(Wall((begin + 100 * day) * 1000)).expect("tidied");
        assert_eq!(fixture.names(), [] as [String; 0]);
        fixture.sessions.sync().expect("what is gone is not missed");
    }
}
