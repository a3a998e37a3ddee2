//! [`CommitLog`]: two files of frames, written in turn, always whole and never growing.
//!
//! Both files are written once in full, so that a commit changes no metadata and costs one flush. Frames go into the
//! active file until one does not fit; then everything open goes into the first frame of the *other* file, and that file
//! is active. The old one stays as it was until the next switch, so a torn switch loses nothing.
//!
//! Small records that nobody waits for (`snd`, `ack`, `fin`) share an unsynced frame, which is written again in place
//! while it fits one block: the kernel copies a block in one piece, so a killed process cannot leave half of it. A
//! synced frame is never touched again. After the first error everything is refused: what the disk holds is then only
//! known after reading it anew.

use std::fmt;
use std::io;

use crate::store::frame::{self, BLOCK_BYTES, Tail};
use crate::store::record::{Checkpoint, Record};
use crate::store::storage::{Storage, read_all};

/// Size of each file of the product; a test that wants many changes of files takes smaller ones.
pub const FILE_BYTES: u64 = 4 << 20;

/// Their names.
pub const FILES: [&str; 2] = ["a.jnl", "b.jnl"];

const FILL_BYTES: usize = 64 * 1024;

/// Why the journal cannot go on.
#[derive(Debug)]
pub enum LogError {
    /// The disk refused.
    Io(io::Error),
    /// Something was refused before, and nothing is accepted since.
    Latched,
    /// Everything open does not fit into one file. The limits of `turn/schedule.rs` keep it from happening.
    TooLarge,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io(error) => write!(f, "{error}"),
            LogError::Latched => f.write_str("an earlier write failed"),
            LogError::TooLarge => f.write_str("what is open does not fit into a journal file"),
        }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> LogError {
        LogError::Io(error)
    }
}

/// What opening found.
#[derive(Debug, Default)]
pub struct Found {
    /// All records, from the checkpoint on.
    pub records: Vec<Record>,
    /// Frames read.
    pub frames: u64,
    /// What was damaged, for a person.
    pub damage: Option<String>,
}

/// The log, ready to append.
#[derive(Clone)]
pub struct CommitLog {
    storage: Box<dyn Storage>,
    file_bytes: u64,
    boot: String,
    active: usize,
    offset: u64,
    seq: u64,
    last_crc: u32,
    synced_seq: u64,
    reopenable: Option<Reopenable>,
    dirty: bool,
    latched: bool,
}

/// The last frame, while it may be written again with more in it.
#[derive(Clone)]
struct Reopenable {
    offset: u64,
    prev: u32,
    records: usize,
    body: Vec<u8>,
}

impl CommitLog {
    /// Opens the log, creating its files the first time (with this `name`), and reads what is in it.
    ///
    /// # Errors
    /// Only of the disk. Damage is reported in [`Found`], and the damaged files are kept as `*.bad-<now>`.
    pub fn open(
        storage: Box<dyn Storage>,
        boot: &str,
        name: &str,
        now_secs: u64,
    ) -> Result<(CommitLog, Found), LogError> {
        CommitLog::open_sized(storage, FILE_BYTES, boot, name, now_secs)
    }

    /// The same with files of this size, a multiple of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// As [`CommitLog::open`].
    pub fn open_sized(
        storage: Box<dyn Storage>,
        file_bytes: u64,
        boot: &str,
        name: &str,
        now_secs: u64,
    ) -> Result<(CommitLog, Found), LogError> {
        let mut log = CommitLog {
            storage,
            file_bytes,
            boot: boot.to_owned(),
            active: 0,
            offset: 0,
            seq: 0,
            last_crc: 0,
            synced_seq: 0,
            reopenable: None,
            dirty: false,
            latched: false,
        };
        // What the last process wrote and did not flush is readable now; make it durable before anyone acts on it.
        for name in FILES {
            if log.storage.len(name)? > 0 {
                log.storage.sync(name)?;
            }
        }
        let found = log.read()?;
        if found.damage.is_some() {
            log.keep_damaged(now_secs)?;
        }
        if found.frames == 0 {
            log.create_files()?;
            log.switch(&Checkpoint { name: name.to_owned(), ..Checkpoint::default() })?;
        }
        Ok((log, found))
    }

    /// Chooses the file with the higher checkpoint and reads it.
    fn read(&mut self) -> Result<Found, LogError> {
        let mut found = Found::default();
        let mut used = false;
        // The highest number in a file whose checkpoint cannot be read, and what that would mean.
        let mut headless: Option<(u64, String)> = None;
        for (index, name) in FILES.iter().enumerate() {
            let bytes = read_all(self.storage.as_ref(), name, self.file_bytes)?;
            used |= bytes.iter().any(|byte| !matches!(byte, 0 | b' '));
            let scan = frame::scan(&bytes);
            let (Some(first), Some(last)) = (scan.frames.first(), scan.frames.last()) else {
                if let Tail::Hole { seq, .. } = scan.tail {
                    headless = Some((
                        seq,
                        format!("{name}: its checkpoint is damaged, although commit {seq} stands behind it"),
                    ));
                }
                continue;
            };
            let records: Vec<Record> = scan.frames.iter().flat_map(|frame| records_of(frame.body)).collect();
            if !matches!(records.first(), Some(Record::Ckp(_))) || first.seq <= self.seq_of_checkpoint(&found) {
                continue;
            }
            self.active = index;
            self.offset = (last.offset + last.len) as u64;
            (self.seq, self.last_crc, self.synced_seq) = (last.seq, last.crc, last.seq);
            found = Found { records, frames: scan.frames.len() as u64, damage: damage_of(name, scan.tail) };
        }
        // Frames of an earlier use of the file are older than the other file; newer ones were promised.
        if let Some((_, what)) = headless.filter(|(seq, _)| *seq > self.seq + 1) {
            found.damage = Some(what);
        }
        if found.frames == 0 && used {
            found.damage = Some("neither journal file starts with a valid checkpoint".to_owned());
        }
        Ok(found)
    }

    /// The number of the checkpoint chosen so far; its file has one frame more than follow it.
    fn seq_of_checkpoint(&self, found: &Found) -> u64 {
        self.seq.saturating_sub(found.frames.saturating_sub(1))
    }

    fn keep_damaged(&mut self, now_secs: u64) -> Result<(), LogError> {
        for name in FILES {
            let bytes = read_all(self.storage.as_ref(), name, self.file_bytes)?;
            let copy = format!("{name}.bad-{now_secs}");
            self.storage.write_at(&copy, 0, &bytes)?;
            self.storage.sync(&copy)?;
        }
        self.storage.sync_dir()?;
        Ok(())
    }

    fn create_files(&mut self) -> Result<(), LogError> {
        let fill = vec![b' '; FILL_BYTES];
        for name in FILES {
            for offset in (0..self.file_bytes).step_by(FILL_BYTES) {
                self.storage.write_at(name, offset, &fill)?;
            }
            self.storage.sync(name)?;
        }
        self.storage.sync_dir()?;
        // The first switch goes to file 0.
        self.active = 1;
        Ok(())
    }

    /// Whether this much still fits into the active file.
    pub fn fits(&self, body_len: usize) -> bool {
        self.offset + frame::frame_len(body_len) as u64 <= self.file_bytes
    }

    /// Writes records into the page cache: they survive the end of the process.
    pub fn append(&mut self, lines: &[String]) -> Result<(), LogError> {
        self.guarded(|log| log.append_unguarded(lines))
    }

    fn append_unguarded(&mut self, lines: &[String]) -> Result<(), LogError> {
        let new_len: usize = lines.iter().map(String::len).sum();
        let joined = self.reopenable.as_ref().map_or(usize::MAX, |frame| frame.body.len().saturating_add(new_len));
        let mut frame = match self.reopenable.take() {
            Some(frame) if frame::frame_len(joined) == BLOCK_BYTES => frame,
            _ => {
                self.seq += 1;
                Reopenable { offset: self.offset, prev: self.last_crc, records: 0, body: Vec::with_capacity(new_len) }
            }
        };
        for line in lines {
            frame.body.extend_from_slice(line.as_bytes());
        }
        frame.records += lines.len();
        self.write(frame)
    }

    fn write(&mut self, frame: Reopenable) -> Result<(), LogError> {
        let (bytes, crc) = frame::encode(self.seq, frame.prev, self.synced_seq, &self.boot, frame.records, &frame.body);
        self.storage.write_at(FILES[self.active], frame.offset, &bytes)?;
        self.offset = frame.offset + bytes.len() as u64;
        self.last_crc = crc;
        self.dirty = true;
        self.reopenable = (bytes.len() == BLOCK_BYTES).then_some(frame);
        Ok(())
    }

    /// Makes everything appended durable. Never tried again after an error: the kernel may have dropped the pages.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        self.guarded(|log| Ok(log.storage.sync(FILES[log.active])?))?;
        self.dirty = false;
        self.synced_seq = self.seq;
        self.reopenable = None;
        Ok(())
    }

    /// Whether something is in the page cache only.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Starts the other file with everything open, durably.
    pub fn switch(&mut self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        let line = Record::Ckp(Box::new(checkpoint.clone())).to_line();
        if frame::frame_len(line.len()) as u64 > self.file_bytes {
            return Err(LogError::TooLarge);
        }
        self.active = 1 - self.active;
        self.offset = 0;
        self.reopenable = None;
        self.append(&[line])?;
        self.sync()
    }

    fn guarded(&mut self, work: impl FnOnce(&mut CommitLog) -> Result<(), LogError>) -> Result<(), LogError> {
        if self.latched {
            return Err(LogError::Latched);
        }
        let outcome = work(self);
        self.latched = outcome.is_err();
        outcome
    }
}

/// The records of a frame whose checksum held. One of a kind that this version does not know is passed over: a newer
/// version wrote it, and kinds are only ever added.
fn records_of(body: &[u8]) -> impl Iterator<Item = Record> {
    body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).filter_map(Record::parse)
}

fn damage_of(name: &str, tail: Tail) -> Option<String> {
    match tail {
        Tail::Clean | Tail::Torn { .. } => None,
        Tail::Hole { at, next_valid, .. } => {
            Some(format!("{name}: damaged at byte {at}, although a later commit stands at byte {next_valid}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;
    use std::os::unix::fs::FileExt;

    fn open(folder: &std::path::Path) -> (CommitLog, Found) {
        let storage = Directory::open(folder).expect("a folder");
        CommitLog::open(Box::new(storage), "0123456789abcdef", "test", 7).expect("opens")
    }

    /// A log that has changed files `switches` times, with some commits after each.
    fn written(switches: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, _) = open(folder.path());
        for _ in 0..switches {
            log.switch(&Checkpoint::default()).expect("switched");
            for _ in 0..5 {
                log.append(&["{\"t\":\"x\"}\n".to_owned()]).expect("written");
                log.sync().expect("flushed");
            }
        }
        folder
    }

    #[test]
    fn a_damaged_checkpoint_is_never_passed_over_in_silence() {
        let folder = written(3);
        let (log, found) = open(folder.path());
        assert_eq!((found.frames, found.damage), (6, None));
        let newest = folder.path().join(FILES[log.active]);
        drop(log);
        let file = std::fs::OpenOptions::new().write(true).open(&newest).expect("there");
        file.write_all_at(b"####", 100).expect("damaged");
        let (_, found) = open(folder.path());
        assert!(found.damage.is_some_and(|damage| damage.contains("its checkpoint is damaged")));
        assert!(newest.with_extension("jnl.bad-7").exists());
    }

    #[test]
    fn a_change_of_files_that_was_torn_is_no_damage() {
        let folder = written(2);
        let (mut log, _) = open(folder.path());
        let other = folder.path().join(FILES[1 - log.active]);
        log.switch(&Checkpoint::default()).expect("switched");
        drop(log);
        // Only the first half of the new checkpoint reached the medium; behind it are frames of the file's earlier use.
        let file = std::fs::OpenOptions::new().write(true).open(&other).expect("there");
        file.write_all_at(&[b' '; 2048], 60).expect("torn");
        let (_, found) = open(folder.path());
        assert_eq!((found.frames, found.damage), (6, None));
    }
}
