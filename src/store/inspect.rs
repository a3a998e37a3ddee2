//! What is damaged on disk, found by looking only: for `doctor`. A worker may write meanwhile.

use std::io;

use crate::store::commit_log;
use crate::store::parts::{self, read_block};
use crate::store::storage::Storage;
use crate::store::transcript::Line;

/// How much of the end of a session file is looked at.
const TAIL_BYTES_MAX: u64 = 64 * 1024;

/// How many session files are looked at, current ones first.
const FILES_MAX: usize = 1000;

/// Damage in a journal that is gone when we look again was a frame being written.
const LOOKS_MAX: usize = 3;

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
}

/// Looks at the folder `sessions`. A folder that is not there has no damage.
pub fn session_damage(storage: &dyn Storage) -> io::Result<SessionDamage> {
    let names = names(storage)?;
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
    let bad_files = names(storage)?.iter().filter(|name| name.contains(".bad-")).count();
    let mut damage = commit_log::look(storage)?.damage;
    for _ in 1..LOOKS_MAX {
        if damage.is_some() {
            damage = commit_log::look(storage)?.damage;
        }
    }
    Ok(JournalDamage { bad_files, damage })
}

fn names(storage: &dyn Storage) -> io::Result<Vec<String>> {
    match storage.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::commit_log::{CommitLog, FILES};
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

    #[test]
    fn a_journal_is_judged_without_writing_and_an_unfinished_frame_is_no_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = || Directory::open(folder.path()).expect("a folder");
        let (mut log, _) = CommitLog::open(Box::new(storage()), "0123456789abcdef", "test", 7).expect("opens");
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
        active.write_all_at(b"####", 2 * 4096 + 100).expect("damaged");
        fs::write(folder.path().join("a.jnl.bad-5"), "").expect("written");
        let found = journal_damage(&storage()).expect("read");
        assert_eq!((found.bad_files, found.damage.is_some_and(|damage| damage.contains("byte 8192"))), (1, true));
        assert_eq!(listing(folder.path()).len(), before.len() + 1, "nothing but what we made");
    }
}
