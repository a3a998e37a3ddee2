//! [`Sessions`]: the session files. Appending under the folder's lock, repairing a damaged end, reading from the end.
//!
//! A damaged line never stops a session: readers pass over it and count it. An end without a newline is completed if
//! it is a whole line, else kept aside as `<name>.torn-<unix seconds>` and cut off.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::ControlFlow;

use crate::base::id::SessionId;
use crate::store::storage::Storage;
use crate::store::transcript::{LINE_BYTES_MAX, Line};

/// Sessions whose length and ordinal are remembered; beyond that all are forgotten and read again.
const KNOWN_MAX: usize = 1024;

/// How far back a reader looks at most.
pub const READ_BACK_BYTES_MAX: u64 = 8 << 20;

/// Read at a time. The first block is small, because most readers want only the last line or two.
const BLOCK_BYTES: u64 = 16 * 1024;
const FIRST_BLOCK_BYTES: u64 = 4 * 1024;

/// Lines without an ordinal that are looked at one by one; in a longer file of the earlier runtime newlines are counted.
const UNNUMBERED_LINES_MAX: u64 = 64;

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
    /// Lines passed over because they are damaged, as far as was read.
    pub bad_lines: u64,
}

/// All session files of a data folder.
#[derive(Clone)]
pub struct Sessions {
    storage: Box<dyn Storage>,
    /// Stem to length and ordinal of the last line, true as long as the length is.
    known: HashMap<String, (u64, u64)>,
    unsynced: BTreeSet<String>,
}

impl Sessions {
    /// Over the folder `sessions/`.
    pub fn new(storage: Box<dyn Storage>) -> Sessions {
        Sessions { storage, known: HashMap::new(), unsynced: BTreeSet::new() }
    }

    /// Appends lines in one write, numbering them. In the page cache when it returns.
    ///
    /// # Errors
    /// Of the disk, or `WouldBlock` while another process holds the folder's lock; nothing was then written.
    pub fn append(&mut self, session: &SessionId, lines: &mut [Line], now_secs: u64) -> io::Result<Option<Repaired>> {
        if !self.storage.lock()? {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds the lock of the sessions"));
        }
        let outcome = self.append_locked(session.stem(), lines, now_secs);
        self.storage.unlock();
        outcome
    }

    fn append_locked(&mut self, stem: &str, lines: &mut [Line], now_secs: u64) -> io::Result<Option<Repaired>> {
        let name = file_name(stem);
        let mut len = self.storage.len(&name)?;
        let mut repaired = None;
        let last = match self.known.get(stem) {
            Some(&(known_len, last)) if known_len == len => last,
            _ => {
                repaired = self.repair_end(stem, &name, now_secs)?;
                len = self.storage.len(&name)?;
                last_ordinal(self.storage.as_ref(), &name)?
            }
        };
        let mut bytes = String::new();
        for (line, ordinal) in lines.iter_mut().zip(last + 1..) {
            line.n = Some(ordinal);
            bytes.push_str(&line.encode());
        }
        self.known.remove(stem);
        self.storage.append(&name, bytes.as_bytes())?;
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(stem.to_owned(), (len + bytes.len() as u64, last + lines.len() as u64));
        self.unsynced.insert(name);
        Ok(repaired)
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
        self.storage.sync(&aside)?;
        self.storage.truncate(name, start)?;
        self.storage.sync(name)?;
        self.storage.sync_dir()?;
        Ok(Some(Repaired { session: stem.to_owned(), bytes: tail_len }))
    }

    /// Every append so far is on the medium when this returns.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        for name in &self.unsynced {
            self.storage.sync(name)?;
        }
        self.storage.sync_dir()?;
        self.unsynced.clear();
        Ok(())
    }

    /// A file that an earlier process appended to: perhaps not on the medium yet.
    pub fn mark_unsynced(&mut self, stem: &str) {
        self.unsynced.insert(file_name(stem));
    }

    /// Which lines of these turns the session has, by turn and role, looking back as far as need be.
    pub fn holds(&self, stem: &str, turns: &[String]) -> io::Result<BTreeSet<(String, String)>> {
        let mut found = BTreeSet::new();
        read_back(self.storage.as_ref(), &file_name(stem), &mut |bytes| {
            if let Some(Line { rid: Some(rid), role, .. }) = Line::decode(bytes)
                && turns.contains(&rid)
            {
                found.insert((rid, role));
            }
            // Two lines of each turn.
            if found.len() == 2 * turns.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }
}

fn file_name(stem: &str) -> String {
    format!("{stem}.jsonl")
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
fn last_ordinal(storage: &dyn Storage, name: &str) -> io::Result<u64> {
    let mut ordinal = None;
    let mut behind = 0;
    read_back(storage, name, &mut |bytes| match Line::decode(bytes) {
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
        None if behind <= UNNUMBERED_LINES_MAX && storage.len(name)? <= READ_BACK_BYTES_MAX => Ok(behind),
        None => count_lines(storage, name),
    }
}

fn count_lines(storage: &dyn Storage, name: &str) -> io::Result<u64> {
    let len = storage.len(name)?;
    let (mut count, mut offset) = (0, 0);
    while offset < len {
        let end = (offset + BLOCK_BYTES).min(len);
        count += read_block(storage, name, offset, end)?.iter().filter(|&&byte| byte == b'\n').count() as u64;
        offset = end;
    }
    Ok(count)
}

/// Hands every line to `visit`, last one first, until it has enough or [`READ_BACK_BYTES_MAX`] were read. An
/// unfinished last line is handed over as it is; lines over [`LINE_BYTES_MAX`] as an empty one.
pub fn read_back(storage: &dyn Storage, name: &str, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let len = storage.len(name)?;
    let floor = len.saturating_sub(READ_BACK_BYTES_MAX);
    let mut start = len;
    let mut block_bytes = FIRST_BLOCK_BYTES;
    // The beginning of a line whose end was in a block read before.
    let mut carried: Vec<u8> = Vec::new();
    while start > floor {
        let block_start = start.saturating_sub(block_bytes).max(floor);
        block_bytes = BLOCK_BYTES;
        let block = read_block(storage, name, block_start, start)?;
        let mut pieces = block.rsplit(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            carried.splice(0..0, piece.iter().copied());
            if carried.len() > LINE_BYTES_MAX {
                // Too long to be a line: forget its bytes, keep looking for its start.
                carried = vec![0];
            }
            if pieces.peek().is_some() {
                let line = std::mem::take(&mut carried);
                if !line.is_empty() && visit(&line).is_break() {
                    return Ok(());
                }
            }
        }
        start = block_start;
    }
    if floor == 0 && !carried.is_empty() {
        let _ = visit(&carried);
    }
    Ok(())
}

fn read_block(storage: &dyn Storage, name: &str, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
    let read = storage.read_at(name, start, &mut block)?;
    block.truncate(read);
    Ok(block)
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
    let mut history = History::default();
    let mut bytes_left = bytes_max;
    let name = file_name(session.stem());
    let mut last_known = None;
    read_back(storage, &name, &mut |bytes| {
        let Some(line) = Line::decode(bytes) else {
            history.bad_lines += 1;
            return ControlFlow::Continue(());
        };
        last_known.get_or_insert(line.n);
        if line.mark.is_some() || history.lines.len() >= lines_max || line.content.len() > bytes_left {
            return ControlFlow::Break(());
        }
        if wanted(&line) {
            bytes_left -= line.content.len();
            history.lines.push(line);
        }
        ControlFlow::Continue(())
    })?;
    history.lines.reverse();
    history.last_ordinal = match last_known {
        Some(Some(n)) => n,
        Some(None) => last_ordinal(storage, &name)?,
        None => 0,
    };
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;

    const OLD: &str = r#"{"role":"user","content":"old","timestamp":"2026-01-01T00:00:00+00:00"}"#;

    struct Fixture {
        folder: tempfile::TempDir,
        sessions: Sessions,
        session: SessionId,
    }

    fn fixture(content: &[u8]) -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("s.jsonl"), content).expect("written");
        let storage = Directory::open(folder.path()).expect("a folder");
        Fixture { sessions: Sessions::new(Box::new(storage)), session: SessionId::parse("s").expect("a name"), folder }
    }

    impl Fixture {
        fn append(&mut self, content: &str) -> Option<Repaired> {
            let line = Line {
                role: "user".into(),
                content: content.into(),
                timestamp: "t".into(),
                rid: Some(format!("rid-{content}")),
                n: None,
                error: None,
                mark: None,
            };
            self.sessions.append(&self.session, &mut [line], 77).expect("appended")
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
            let history = fixture.history(9);
            assert_eq!((contents(&history), history.bad_lines), (vec!["old", "new"], u64::from(!aside)));
            assert_eq!(fixture.folder.path().join("s.jsonl.torn-77").exists(), aside);
        }
    }

    #[test]
    fn another_writer_is_noticed() {
        let mut fixture = fixture(b"");
        fixture.append("one");
        let storage = Directory::open(fixture.folder.path()).expect("a folder");
        let mut other = Sessions::new(Box::new(storage));
        std::mem::swap(&mut fixture.sessions, &mut other);
        fixture.append("two");
        std::mem::swap(&mut fixture.sessions, &mut other);
        fixture.append("three");
        let ordinals: Vec<_> = fixture.history(9).lines.iter().map(|line| line.n).collect();
        assert_eq!(ordinals, [Some(1), Some(2), Some(3)]);
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
        let found = BTreeSet::from([("rid-first".to_owned(), "user".to_owned())]);
        assert_eq!(fixture.sessions.holds("s", &turns).expect("read"), found);
    }
}
