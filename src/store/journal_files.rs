//! The two files of a journal as they are found: which of them counts, what is in it, and what is damaged. Only reads;
//! `commit_log.rs` writes them.

use std::io;

use crate::store::frame::{self, BLOCK_BYTES, Tail};
use crate::store::record::Record;
use crate::store::storage::{Storage, read_all};

/// The names of the two.
pub const FILES: [&str; 2] = ["a.jnl", "b.jnl"];

/// Size of each file of the product; a test that wants many changes of files takes smaller ones.
pub const FILE_BYTES: u64 = 4 << 20;

/// What opening found.
#[derive(Debug, Default)]
pub struct Found {
    /// All records, from the checkpoint on.
    pub records: Vec<Record>,
    /// Frames read.
    pub frames: u64,
    /// What was damaged, for a person.
    pub damage: Option<String>,
    /// A flush failed in this boot: what was written and not promised is lost, and not only by a power cut.
    pub flush_failed: bool,
}

/// The records that count, as the files are now. Writes nothing, so it may look on while a worker writes.
pub fn look(storage: &dyn Storage) -> io::Result<Found> {
    let found = choose(&mut |name| read_all(storage, name, FILE_BYTES))?.found;
    match found.damage {
        None => Ok(found),
        // Perhaps only a frame that was written while we read.
        Some(_) => choose(&mut |name| snapshot(storage, name)).map(|chosen| chosen.found),
    }
}

/// The records that count in these bytes of the two files.
pub fn found_in(files: &[Vec<u8>; 2]) -> Found {
    let of = |name: &str| files[usize::from(name == FILES[1])].clone();
    choose(&mut |name| Ok(of(name))).map(|chosen| chosen.found).unwrap_or_default()
}

/// A file as a worker would leave it if it ended now. It is read from its end, because frames are written one behind the
/// other: whatever is seen, all that was promised before it is seen as well, and no hole shows that is not there.
pub fn snapshot(storage: &dyn Storage, name: &str) -> io::Result<Vec<u8>> {
    let len = storage.len(name)?.min(FILE_BYTES);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    for (number, block) in bytes.chunks_mut(BLOCK_BYTES).enumerate().rev() {
        storage.read_at(name, (number * BLOCK_BYTES) as u64, block)?;
    }
    Ok(bytes)
}

/// The file in use and where its frames end.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) found: Found,
    pub(super) active: usize,
    pub(super) seq: u64,
    pub(super) last_crc: u32,
    /// Of the last frame.
    pub(super) boot: String,
    /// The highest number in either file, whether it counts or not.
    pub(super) highest: u64,
}

impl Chosen {
    /// The number of the checkpoint chosen so far; its file has one frame more than follow it.
    fn seq_of_checkpoint(&self) -> u64 {
        self.seq.saturating_sub(self.found.frames.saturating_sub(1))
    }
}

/// Chooses the file with the higher checkpoint and reads it.
pub(super) fn choose(read: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>) -> io::Result<Chosen> {
    let mut chosen = Chosen::default();
    let (mut used, mut highest) = (false, 0);
    // The highest number in a file whose checkpoint cannot be read, and what that would mean.
    let mut headless: Option<(u64, String)> = None;
    for (active, name) in FILES.iter().enumerate() {
        let bytes = read(name)?;
        used |= bytes.iter().any(|byte| !matches!(byte, 0 | b' '));
        let scan = frame::scan(&bytes);
        highest = scan.highest.max(highest);
        let (Some(first), Some(last)) = (scan.frames.first(), scan.frames.last()) else {
            if let Tail::Hole { seq, .. } = scan.tail {
                headless =
                    Some((seq, format!("{name}: its checkpoint is damaged, although commit {seq} stands behind it")));
            }
            continue;
        };
        let (mut records, mut unread) = (Vec::new(), None);
        for frame in &scan.frames {
            let all_read = read_records(frame.body, &mut records);
            unread = unread.or((!all_read).then_some(frame.seq));
        }
        let unread = unread.map(|seq| format!("{name}: commit {seq} is whole, but cannot be understood"));
        if !matches!(records.first(), Some(Record::Ckp(_))) {
            headless = headless.max(unread.map(|what| (first.seq + 1, what)));
            continue;
        }
        if first.seq <= chosen.seq_of_checkpoint() {
            continue;
        }
        let damage = damage_of(name, scan.tail).or(unread);
        let found = Found { records, frames: scan.frames.len() as u64, damage, flush_failed: false };
        chosen = Chosen { found, active, seq: last.seq, last_crc: last.crc, boot: last.boot.clone(), highest };
    }
    chosen.highest = highest;
    // Frames of an earlier use of the file are older than the other file; newer ones were promised.
    if let Some((_, what)) = headless.filter(|(seq, _)| *seq > chosen.seq + 1) {
        chosen.found.damage = Some(what);
    }
    if chosen.found.frames == 0 && used {
        chosen.found.damage = Some("neither journal file starts with a valid checkpoint".to_owned());
    }
    Ok(chosen)
}

/// The records of a frame whose checksum held; `false` if one cannot be read. One of a kind that this version does not
/// know is passed over: a newer version wrote it, and kinds are only ever added.
fn read_records(body: &[u8], records: &mut Vec<Record>) -> bool {
    let mut all_read = true;
    for line in body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let record = Record::parse(line);
        all_read &= record.is_some() || Record::is_of_newer_version(line);
        records.extend(record);
    }
    all_read
}

fn damage_of(name: &str, tail: Tail) -> Option<String> {
    match tail {
        Tail::Clean | Tail::Torn { .. } => None,
        Tail::Hole { at, next_valid, .. } => {
            Some(format!("{name}: damaged at byte {at}, although a later commit stands at byte {next_valid}"))
        }
    }
}
