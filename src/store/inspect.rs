//! What is damaged on disk, found by looking only: for `doctor` and `journal verify`. A worker may write meanwhile.

use std::io;

use serde::Serialize;

use crate::base::clock::Wall;
use crate::base::sorted::{SortedMap, SortedSet};
use crate::store::frame::{self, Scan, Tail};
use crate::store::journal_files::{self, FILES};
use crate::store::parts::{self, read_block};
use crate::store::record::Record;
use crate::store::storage::{Storage, list_if_there};
use crate::store::transcript::Line;

/// How much of the end of a session file is looked at.
const TAIL_BYTES_MAX: u64 = 64 * 1024;

/// How many session files are looked at, current ones first.
const FILES_MAX: usize = 1000;

/// What is wrong with the session files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionDamage {
    /// Session files there are.
    pub files: usize,
    /// Those that were not looked at, because there are very many.
    pub passed_over: usize,
    /// Those that cannot be read.
    pub unreadable: usize,
    /// Lines that readers pass over, near the ends of the files.
    pub bad_lines: u64,
    /// Torn ends that were kept aside.
    pub torn_files: usize,
}

/// What is wrong with the journal of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalDamage {
    /// Journal files that were kept aside because they were damaged.
    pub bad_files: usize,
    /// Damage that is there now, and that the next start will report.
    pub damage: Option<String>,
    /// When workers started: those that the journal remembers.
    pub starts: Vec<Wall>,
}

/// Looks at the folder `sessions`. A folder that is not there has no damage.
pub fn session_damage(storage: &dyn Storage) -> io::Result<SessionDamage> {
    let names = list_if_there(storage)?;
    let torn_files = names.iter().filter(|name| name.contains(".jsonl.torn-")).count();
    let place = |name: &String| parts::parse(name).map(|(_, place)| place);
    let current = names.iter().filter(|name| place(name) == Some(parts::CURRENT));
    let full = names.iter().filter(|name| place(name).is_some_and(|place| place != parts::CURRENT));
    let files: Vec<&String> = current.chain(full).collect();
    let mut found = SessionDamage { files: files.len(), torn_files, ..SessionDamage::default() };
    found.passed_over = files.len().saturating_sub(FILES_MAX);
    for name in files.into_iter().take(FILES_MAX) {
        match bad_lines(storage, name) {
            Ok(count) => found.bad_lines += count,
            Err(_) => found.unreadable += 1,
        }
    }
    Ok(found)
}

/// An unfinished last line is none: the next append mends it.
fn bad_lines(storage: &dyn Storage, name: &str) -> io::Result<u64> {
    let len = storage.len(name)?;
    let start = len.saturating_sub(TAIL_BYTES_MAX);
    let bytes = read_block(storage, name, start, len)?;
    let mut lines = bytes.split(|&byte| byte == b'\n');
    if start > 0 {
        // Most likely the end of a line only.
        lines.next();
    }
    lines.next_back();
    let is_bad = |line: &&[u8]| !line.iter().all(u8::is_ascii_whitespace) && Line::decode(line).is_none();
    Ok(lines.filter(is_bad).count() as u64)
}

/// Looks at the folder `journal/<channel>`. A folder that is not there has no damage.
pub fn journal_damage(storage: &dyn Storage) -> io::Result<JournalDamage> {
    let bad_files = list_if_there(storage)?.iter().filter(|name| name.contains(".bad-")).count();
    let found = journal_files::look(storage)?;
    let mut starts = SortedSet::new();
    for record in &found.records {
        match record {
            Record::Boot(start) => drop(starts.insert(start.ts)),
            Record::Ckp(checkpoint) => starts.extend(checkpoint.starts.iter().map(|start| start.ts)),
            _ => {}
        }
    }
    Ok(JournalDamage { bad_files, damage: found.damage, starts: starts.into_iter().map(Wall).collect() })
}

/// What is in one file of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JournalFile {
    /// Its name.
    pub file: &'static str,
    /// Whole frames from its beginning on.
    pub frames: usize,
    /// The number of the first.
    pub first_seq: Option<u64>,
    /// The number of the last.
    pub last_seq: Option<u64>,
    /// Records in them, by kind.
    pub records: SortedMap<String, u64>,
    /// How it ends: `clean`, `torn` (an unfinished write, which is no damage) or `hole`.
    pub tail: &'static str,
    /// What the next start would report. A hole in the older file harms nobody.
    pub damage: Option<String>,
}

/// Both files of the journal in this folder; none if there is no journal.
pub fn journal_files(storage: &dyn Storage) -> io::Result<Vec<JournalFile>> {
    if !list_if_there(storage)?.iter().any(|name| FILES.contains(&name.as_str())) {
        return Ok(Vec::new());
    }
    let files = [journal_files::snapshot(storage, FILES[0])?, journal_files::snapshot(storage, FILES[1])?];
    let damage = journal_files::found_in(&files).damage;
    let of = |(file, bytes): (&'static str, &Vec<u8>)| {
        // A sentence about both files names none of them.
        let is_about = |damage: &&String| FILES.iter().all(|name| *name == file || !damage.starts_with(name));
        JournalFile { file, damage: damage.as_ref().filter(is_about).cloned(), ..journal_file(&frame::scan(bytes)) }
    };
    Ok(FILES.into_iter().zip(&files).map(of).collect())
}

fn journal_file(scan: &Scan<'_>) -> JournalFile {
    let mut records = SortedMap::new();
    let lines = scan.frames.iter().flat_map(|frame| frame.body.split(|&byte| byte == b'\n'));
    for line in lines.filter(|line| !line.is_empty()) {
        *records.entry(Record::kind(line).unwrap_or("unreadable").to_owned()).or_default() += 1;
    }
    JournalFile {
        frames: scan.frames.len(),
        first_seq: scan.frames.first().map(|frame| frame.seq),
        last_seq: scan.frames.last().map(|frame| frame.seq),
        records,
        tail: match scan.tail {
            Tail::Clean => "clean",
            // Without a first frame, what stands behind it is of an earlier use of the file.
            Tail::Hole { .. } if !scan.frames.is_empty() => "hole",
            Tail::Torn { .. } | Tail::Hole { .. } => "torn",
        },
        ..JournalFile::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::commit_log::CommitLog;
    use crate::store::directory::Directory;
    use crate::store::record::Checkpoint;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    const GOOD: &str = "{\"role\":\"user\",\"content\":\"x\",\"timestamp\":\"t\"}\n";

    fn listing(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
        let mut found: Vec<_> =
            entries.map(|entry| (entry.file_name(), fs::read(entry.path()).expect("a file"))).collect();
        found.sort();
        found
    }

    #[test]
    fn damaged_lines_and_torn_ends_are_counted_and_nothing_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).expect("written");
        write("a.jsonl", &format!("{GOOD}\n{{}}\n{GOOD}nonsense\n{{\"unfinished"));
        write("a.1.jsonl", &format!("{GOOD}\0\0\n"));
        write("a.jsonl.torn-5", "half");
        write("b.jsonl.torn-6", "half");
        write("b.txt", "not ours\n");
        // Damage far from the end is not looked for; the line that is cut by the limit is no damage.
        write("c.jsonl", &format!("nonsense\n{}", GOOD.repeat(2000)));
        let before = listing(folder.path());
        let found = session_damage(&Directory::reading(folder.path())).expect("read");
        assert_eq!(found, SessionDamage { files: 3, passed_over: 0, unreadable: 0, bad_lines: 3, torn_files: 2 });
        assert_eq!(listing(folder.path()), before);
        let none = Directory::reading(&folder.path().join("none"));
        assert_eq!(session_damage(&none).expect("nothing there"), SessionDamage::default());
        assert_eq!(journal_damage(&none).expect("nothing there"), JournalDamage::default());
    }

    #[test]
    fn full_files_are_passed_over_first_when_there_are_very_many() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: String| fs::write(folder.path().join(name), "nonsense\n").expect("written");
        (0..FILES_MAX).for_each(|number| write(format!("s{number}.jsonl")));
        (1..4).for_each(|number| write(format!("s0.{number}.jsonl")));
        let found = session_damage(&Directory::reading(folder.path())).expect("read");
        let bad_lines = FILES_MAX as u64;
        assert_eq!(
            found,
            SessionDamage { files: FILES_MAX + 3, passed_over: 3, unreadable: 0, bad_lines, torn_files: 0 }
        );
    }

    /// A worker that commits much while somebody reads certain blocks.
    struct Busy {
        folder: Directory,
        log: std::cell::RefCell<CommitLog>,
        reads: std::cell::Cell<usize>,
    }

    impl Storage for Busy {
        fn handle(&self) -> Box<dyn Storage> {
            self.folder.handle()
        }
        fn list(&self) -> io::Result<Vec<String>> {
            self.folder.list()
        }
        fn len(&self, name: &str) -> io::Result<u64> {
            self.folder.len(name)
        }
        fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            // In the middle of what is read, as the kernel may do it.
            let (first, second) = buffer.split_at_mut(buffer.len() / 2);
            let read = self.folder.read_at(name, offset, first)?;
            self.reads.set(self.reads.get() + 1);
            let commits = if self.reads.get() % 16 == 8 { 24 } else { 0 };
            for _ in 0..commits {
                let (mut log, line) = (self.log.borrow_mut(), "{\"t\":\"x\"}\n".to_owned());
                if !log.fits(line.len()) {
                    log.switch(&Checkpoint::default()).expect("switched");
                }
                log.append(&[line]).and_then(|()| log.sync()).expect("written");
            }
            Ok(read + self.folder.read_at(name, offset + read as u64, second)?)
        }
        fn write_at(&mut self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn append(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn truncate(&mut self, _: &str, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn rename(&mut self, _: &str, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn remove(&mut self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync(&mut self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn reread(&mut self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync_dir(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn lock(&mut self) -> io::Result<bool> {
            Ok(false)
        }
        fn unlock(&mut self) {}
    }

    #[test]
    fn a_busy_worker_is_never_taken_for_damage() {
        // In memory, if that is possible: thousands of flushes.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let storage = || Directory::open(folder.path()).expect("a folder");
        let (log, _) = CommitLog::open(Box::new(storage()), "0123456789abcdef", "test").expect("opens");
        let busy = Busy { folder: storage(), log: std::cell::RefCell::new(log), reads: std::cell::Cell::new(0) };
        let files = journal_files(&busy).expect("read");
        assert!(files.iter().all(|file| file.damage.is_none() && file.tail != "hole"), "{files:?}");
        assert_eq!(journal_damage(&busy).expect("read"), JournalDamage::default());
    }

    #[test]
    fn a_journal_is_judged_without_writing_and_an_unfinished_frame_is_no_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = || Directory::open(folder.path()).expect("a folder");
        let (mut log, _) = CommitLog::open(Box::new(storage()), "0123456789abcdef", "test").expect("opens");
        log.switch(&Checkpoint::default()).expect("switched");
        for _ in 0..3 {
            log.append(&["{\"t\":\"x\"}\n".to_owned()]).expect("written");
            log.sync().expect("flushed");
        }
        // The log stays open: a worker is running.
        let active = fs::OpenOptions::new().write(true).open(folder.path().join(FILES[1])).expect("there");
        active.write_all_at(b"{\"v\":1,\"seq\":", 4 * 4096).expect("half a frame");
        let before = listing(folder.path());
        assert_eq!(journal_damage(&storage()).expect("read"), JournalDamage::default());
        let [first, second] = <[JournalFile; 2]>::try_from(journal_files(&storage()).expect("read")).expect("two");
        let records = |pairs: &[(&str, u64)]| pairs.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        assert_eq!((first.frames, first.tail, first.records, first.damage), (1, "clean", records(&[("ckp", 1)]), None));
        assert_eq!((second.first_seq, second.last_seq, second.tail, second.damage), (Some(2), Some(5), "torn", None));
        assert_eq!((second.frames, second.records), (4, records(&[("ckp", 1), ("x", 3)])));
        active.write_all_at(b"####", 2 * 4096 + 100).expect("damaged");
        let files = journal_files(&storage()).expect("read");
        assert_eq!((files[0].damage.as_ref(), files[0].tail, files[1].tail), (None, "clean", "hole"));
        assert!(files[1].damage.as_ref().is_some_and(|damage| damage.contains("byte 8192")), "{files:?}");
        fs::write(folder.path().join("a.jnl.bad-5"), "").expect("written");
        let found = journal_damage(&storage()).expect("read");
        assert_eq!((found.bad_files, found.damage.is_some_and(|damage| damage.contains("byte 8192"))), (1, true));
        assert_eq!(listing(folder.path()).len(), before.len() + 1, "nothing but what we made");
    }
}
