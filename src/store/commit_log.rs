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
//!
//! After a flush that failed, Linux shows pages that are not on the medium and are not written again, and the next flush
//! says that all is well. So a start in the same boot flushes, has both files read from the medium once more, and begins
//! the other file with everything it found open: nothing is built on a page that only an earlier process was told about.
//! If something is missing then, so may be notes that only memory had; that is said, as damage is.

use std::fmt;
use std::io;

use crate::base::id::CRC32C;
use crate::store::frame::{self, BLOCK_BYTES};
use crate::store::journal_files::{Chosen, FILE_BYTES, FILES, Found, choose};
use crate::store::record::{Checkpoint, Record};
use crate::store::storage::{Storage, read_all};

/// Room that must be free before the files are made: theirs, and as much for what follows.
pub const FREE_BYTES_MIN: u64 = 64 << 20;

/// A new file is filled with blanks in pieces of this.
const FILL_BYTES: usize = 64 * 1024;

/// The longest frame that is written again: what the kernel copies in one piece.
const RESEALED_BYTES_MAX: usize = if cfg!(rp_break = "reseal_two_blocks") { 2 * BLOCK_BYTES } else { BLOCK_BYTES };

/// Why the journal cannot go on.
#[derive(Debug)]
pub enum LogError {
    /// The disk refused.
    Io(io::Error),
    /// The disk refused to flush. What it holds now is known only after reading it anew.
    Flush(io::Error),
    /// Something was refused before, and nothing is accepted since.
    Latched,
    /// Everything open does not fit into one file. The limits of `turn/schedule.rs` keep it from happening.
    TooLarge,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io(error) => write!(f, "{error}"),
            LogError::Flush(error) => write!(f, "fsync: {error}"),
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

/// What the medium has. What the last process wrote and did not flush is made durable before anyone acts on it.
fn on_medium(storage: &mut dyn Storage, file_bytes: u64, boot: &str) -> Result<Chosen, LogError> {
    let in_memory = choose(&mut |name| read_all(storage, name, file_bytes))?;
    for name in FILES {
        storage.sync(name).map_err(LogError::Flush)?;
    }
    if in_memory.boot != boot {
        // Nobody wrote since the kernel read it.
        return Ok(in_memory);
    }
    for name in FILES {
        storage.reread(name)?;
    }
    let mut chosen = choose(&mut |name| read_all(storage, name, file_bytes))?;
    chosen.found.flush_failed = (chosen.seq, chosen.last_crc) != (in_memory.seq, in_memory.last_crc);
    Ok(chosen)
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
    latched: bool,
    /// Bytes written since the last flush.
    unsynced_bytes: u64,
    /// Bytes that were flushed since somebody asked.
    flushed: Option<u64>,
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
    /// Opens the log, creating its files the first time (with this `name`), and reads what is in it. Unless they are
    /// new, nothing fits behind what was found: whoever goes on begins with [`CommitLog::switch`].
    ///
    /// # Errors
    /// Only of the disk. Damage is reported in [`Found`], and the damaged files are kept as `*.bad-<checksum>`.
    pub fn open(storage: Box<dyn Storage>, boot: &str, name: &str) -> Result<(CommitLog, Found), LogError> {
        CommitLog::open_sized(storage, FILE_BYTES, boot, name)
    }

    /// The same with files of this size, a multiple of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// As [`CommitLog::open`].
    pub fn open_sized(
        mut storage: Box<dyn Storage>,
        file_bytes: u64,
        boot: &str,
        name: &str,
    ) -> Result<(CommitLog, Found), LogError> {
        let Chosen { found, active, last_crc, highest: seq, .. } = on_medium(storage.as_mut(), file_bytes, boot)?;
        let mut log = CommitLog {
            storage,
            file_bytes,
            boot: boot.to_owned(),
            active,
            offset: file_bytes,
            seq,
            last_crc,
            synced_seq: seq,
            reopenable: None,
            latched: false,
            unsynced_bytes: 0,
            flushed: None,
        };
        if found.damage.is_some() {
            log.keep_damaged()?;
        }
        if found.frames == 0 {
            log.create_files()?;
            log.switch(&Checkpoint { name: name.to_owned(), ..Checkpoint::default() })?;
        }
        Ok((log, found))
    }

    /// Keeps both files aside under names that say what is in them, so that the same damage is kept once, however often
    /// it is found. What cannot be kept whole takes no room.
    fn keep_damaged(&mut self) -> Result<(), LogError> {
        for name in FILES {
            let bytes = read_all(self.storage.as_ref(), name, self.file_bytes)?;
            let copy = format!("{name}.bad-{:08x}", CRC32C.checksum(&bytes));
            let written = self.storage.write_at(&copy, 0, &bytes);
            if let Err(error) = written {
                self.storage.remove(&copy)?;
                return Err(error.into());
            }
            self.storage.sync(&copy).map_err(LogError::Flush)?;
        }
        self.storage.sync_dir().map_err(LogError::Flush)
    }

    fn create_files(&mut self) -> Result<(), LogError> {
        let fill = vec![b' '; FILL_BYTES];
        for name in FILES {
            for offset in (0..self.file_bytes).step_by(FILL_BYTES) {
                self.storage.write_at(name, offset, &fill)?;
            }
            self.storage.sync(name).map_err(LogError::Flush)?;
        }
        self.storage.sync_dir().map_err(LogError::Flush)?;
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
            Some(frame) if frame::frame_len(joined) <= RESEALED_BYTES_MAX => frame,
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
        self.unsynced_bytes += bytes.len() as u64;
        self.reopenable = (bytes.len() <= RESEALED_BYTES_MAX).then_some(frame);
        Ok(())
    }

    /// Makes everything appended durable. Never tried again after an error: the kernel may have dropped the pages.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if !self.is_dirty() {
            return Ok(());
        }
        self.guarded(|log| log.storage.sync(FILES[log.active]).map_err(LogError::Flush))?;
        self.flushed = Some(self.flushed.unwrap_or(0) + std::mem::take(&mut self.unsynced_bytes));
        self.synced_seq = self.seq;
        self.reopenable = None;
        Ok(())
    }

    /// Bytes that reached the medium since this was last asked; `None` if there was no flush.
    pub fn take_flushed(&mut self) -> Option<u64> {
        self.flushed.take()
    }

    /// Whether something is in the page cache only.
    pub fn is_dirty(&self) -> bool {
        self.unsynced_bytes > 0
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;
    use std::os::unix::fs::FileExt;

    fn open(folder: &std::path::Path) -> (CommitLog, Found) {
        let storage = Directory::open(folder).expect("a folder");
        CommitLog::open(Box::new(storage), "0123456789abcdef", "test").expect("opens")
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
        // Found again, it is kept once; what comes after it is sound.
        let kept = || std::fs::read_dir(folder.path()).expect("listed").count() - FILES.len();
        assert_eq!(kept(), 2);
        assert!(open(folder.path()).1.damage.is_some() && kept() == 2);
        let (mut log, _) = open(folder.path());
        log.switch(&Checkpoint::default()).expect("switched");
        assert_eq!(open(folder.path()).1.damage, None, "numbers were used again");
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

    #[test]
    fn a_record_that_is_whole_and_cannot_be_read_is_damage() {
        for (line, is_damage) in [("{\"t\":\"ack\"}\n", true), ("{\"t\":\"of a newer version\"}\n", false)] {
            let folder = written(1);
            let (mut log, _) = open(folder.path());
            log.switch(&Checkpoint::default()).expect("switched");
            log.append(&[line.to_owned()]).and_then(|()| log.sync()).expect("written");
            assert_eq!(open(folder.path()).1.damage.is_some(), is_damage, "{line}");
        }
    }
}
