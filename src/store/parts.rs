//! The files of one session, and reading backwards across them: `<stem>.1.jsonl`, `<stem>.2.jsonl` and so on are full
//! and never written again; `<stem>.jsonl` comes last and is appended to.
//!
//! A folder may hold thousands of sessions, so it is not listed for a turn: the ordinal of the oldest line of a file says
//! whether there can be files before it. A session whose current file is missing has older ones if it has a first one;
//! whoever removes old files leaves the current one in place.

use std::io;
use std::ops::ControlFlow;

use crate::store::storage::Storage;
use crate::store::transcript::{LINE_BYTES_MAX, Line};

/// How far back a reader looks at most, over all files of a session.
pub const READ_BACK_BYTES_MAX: u64 = 8 << 20;

/// Read at a time. The first block is small, because most readers want only the last line or two.
pub const BLOCK_BYTES: u64 = 16 * 1024;
/// See [`BLOCK_BYTES`].
pub const FIRST_BLOCK_BYTES: u64 = 4 * 1024;

/// The place of the current file among those of its session.
pub const CURRENT: u64 = u64::MAX;

/// The file that is appended to.
pub fn current(stem: &str) -> String {
    format!("{stem}.jsonl")
}

/// A file that is full.
pub fn full(stem: &str, number: u64) -> String {
    format!("{stem}.{number}.jsonl")
}

/// The stem of a session file, and its place among the files of the session.
pub fn parse(name: &str) -> Option<(&str, u64)> {
    let name = name.strip_suffix(".jsonl")?;
    let Some((stem, digits)) = name.split_once('.') else { return Some((name, CURRENT)) };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    // A number that leaves room for many more: what is not ours is not counted on from.
    let number: u32 = digits.parse().ok().filter(|_| plain)?;
    Some((stem, number.into()))
}

/// The numbers of the full files, in no order: there are few, and nobody needs more than the next. Lists the folder.
pub fn numbers(storage: &dyn Storage, stem: &str) -> io::Result<Vec<u64>> {
    let number = |name: &String| match parse(name) {
        Some((of, place)) if of == stem && place != CURRENT => Some(place),
        _ => None,
    };
    Ok(storage.list()?.iter().filter_map(number).collect())
}

/// The full files that a reader goes on with. Lists the folder only if `oldest`, the first ordinal in the current file, leaves
/// a doubt that there are others.
fn older(storage: &dyn Storage, stem: &str, oldest: Option<u64>) -> io::Result<Vec<u64>> {
    match oldest {
        Some(1) => Ok(Vec::new()),
        // A new session, or one that the earlier runtime began.
        None if storage.len(&full(stem, 1))? == 0 => Ok(Vec::new()),
        _ => numbers(storage, stem),
    }
}

/// Hands every line to `visit`, last one first, until it has enough or [`READ_BACK_BYTES_MAX`] were read; says whether
/// the beginning of the session was reached. A damaged line is handed over as `None`.
///
/// # Errors
/// Of the disk, or `UnexpectedEof` if a writer renamed a file while it was read: reading again helps.
pub fn read_back(
    storage: &dyn Storage,
    stem: &str,
    visit: &mut dyn FnMut(Option<Line>) -> ControlFlow<()>,
) -> io::Result<bool> {
    let mut walk = Walk { storage, visit, bytes_left: READ_BACK_BYTES_MAX, oldest: None };
    if walk.file(&current(stem))?.is_break() {
        return Ok(false);
    }
    let older = older(storage, stem, walk.oldest)?;
    let mut place = CURRENT;
    while let Some(number) = older.iter().copied().filter(|number| *number < place).max() {
        place = number;
        if walk.file(&full(stem, number))?.is_break() {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Walk<'a> {
    storage: &'a dyn Storage,
    visit: &'a mut dyn FnMut(Option<Line>) -> ControlFlow<()>,
    bytes_left: u64,
    /// Of the line visited last.
    oldest: Option<u64>,
}

impl Walk<'_> {
    fn file(&mut self, name: &str) -> io::Result<ControlFlow<()>> {
        let len = self.storage.len(name)?;
        let floor = len.saturating_sub(self.bytes_left);
        self.bytes_left -= len - floor;
        let mut start = len;
        let mut block_bytes = FIRST_BLOCK_BYTES;
        // The beginning of a line whose end was in a block read before.
        let mut carried: Vec<u8> = Vec::new();
        while start > floor {
            let block_start = start.saturating_sub(block_bytes).max(floor);
            block_bytes = BLOCK_BYTES;
            let block = read_block(self.storage, name, block_start, start)?;
            let mut pieces = block.rsplit(|&byte| byte == b'\n').peekable();
            while let Some(piece) = pieces.next() {
                carried.splice(0..0, piece.iter().copied());
                if carried.len() > LINE_BYTES_MAX {
                    // Too long to be a line: forget its bytes, keep looking for its start.
                    carried = vec![0];
                }
                if pieces.peek().is_some() && self.line(&std::mem::take(&mut carried)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            start = block_start;
        }
        Ok(if floor > 0 { ControlFlow::Break(()) } else { self.line(&carried) })
    }

    fn line(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        let line = Line::decode(bytes);
        if let Some(line) = &line {
            self.oldest = line.n;
        }
        (self.visit)(line)
    }
}

/// How many lines all files of a session have.
pub fn count_lines(storage: &dyn Storage, stem: &str) -> io::Result<u64> {
    let older = older(storage, stem, None)?.into_iter().map(|number| full(stem, number));
    let mut count = 0;
    for name in older.chain([current(stem)]) {
        let len = storage.len(&name)?;
        let mut offset = 0;
        while offset < len {
            let end = (offset + BLOCK_BYTES).min(len);
            count += read_block(storage, &name, offset, end)?.iter().filter(|&&byte| byte == b'\n').count() as u64;
            offset = end;
        }
    }
    Ok(count)
}

/// Reads exactly these bytes of a file.
pub fn read_block(storage: &dyn Storage, name: &str, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
    if storage.read_at(name, start, &mut block)? < block.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, want: Option<(&str, u64)>) {
        assert_eq!(parse(name), want, "{name}");
    }

    #[test]
    fn only_names_that_we_give_are_files_of_a_session() {
        check("s.jsonl", Some(("s", CURRENT)));
        check("s.1.jsonl", Some(("s", 1)));
        check("s.4294967295.jsonl", Some(("s", 4_294_967_295)));
        for name in
            ["s", "s.json", "s.jsonl.torn-5", "s.0.jsonl", "s.01.jsonl", "s.+1.jsonl", "s..jsonl", "s.1.2.jsonl"]
        {
            check(name, None);
        }
        check("s.4294967296.jsonl", None);
        assert_eq!(parse(&current("s")).zip(parse(&full("s", 12))), Some((("s", CURRENT), ("s", 12))));
    }
}
