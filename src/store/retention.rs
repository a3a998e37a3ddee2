//! [`Retention`]: how long conversations are kept (`RUSTY_PINCH_RETENTION_DAYS`). Whole files go, never parts of them: one
//! whose last line is too old. So that a conversation that goes on does not keep its beginning for ever, its current file
//! is put away, with the next line, when its first line is a quarter of the time old. A line is therefore kept for the
//! days that were asked for, and for a quarter of them and a day more at most. A file without a line that can be dated
//! is kept, and so is what would go after it.

use std::collections::BTreeMap;
use std::io;

use crate::base::clock::Wall;
use crate::store::parts::{self, FIRST_BLOCK_BYTES, read_block};
use crate::store::storage::{Storage, list_if_there};
use crate::store::transcript::{LINE_BYTES_MAX, Line};

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// `2026-11-24T00:00:00`: what of a timestamp is compared. All are UTC.
const DATE_BYTES: usize = 19;

/// For how many days lines are kept; 0 is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention(pub u64);

impl Retention {
    /// Whether the current file is put away before the next line, however short it is.
    pub fn is_full(self, storage: &dyn Storage, name: &str, len: u64, now: Wall) -> io::Result<bool> {
        let Retention(days) = self;
        if days == 0 || len == 0 {
            return Ok(false);
        }
        let first = first_line(storage, name, len)?;
        Ok(first.is_some_and(|line| is_before(&line, now, (days / 4).max(1))))
    }

    /// Files whose last line is too old, in the order in which they may go: of a session the oldest first, and its current
    /// file only when no other is left, because the others are found by it. Where a person, or a crash, took that one away, the
    /// others are found by the first, which then goes last.
    ///
    /// # Errors
    /// If the folder cannot be listed; a file that cannot be read is kept.
    pub fn expired(self, storage: &dyn Storage, now: Wall) -> io::Result<Vec<String>> {
        let Retention(days) = self;
        if days == 0 {
            return Ok(Vec::new());
        }
        let mut sessions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for name in list_if_there(storage)? {
            if let Some((stem, place)) = parts::parse(&name) {
                sessions.entry(stem.to_owned()).or_default().push(place);
            }
        }
        let mut expired = Vec::new();
        for (stem, mut places) in sessions {
            places.sort_unstable();
            if places.last() != Some(&parts::CURRENT) {
                places.reverse();
            }
            for place in places {
                let name = if place == parts::CURRENT { parts::current(&stem) } else { parts::full(&stem, place) };
                if !is_expired(storage, &name, now, days) {
                    break;
                }
                expired.push(name);
            }
        }
        Ok(expired)
    }
}

fn is_expired(storage: &dyn Storage, name: &str, now: Wall, days: u64) -> bool {
    let last = storage.len(name).and_then(|len| last_line(storage, name, len));
    last.is_ok_and(|line| line.is_some_and(|line| is_before(&line, now, days)))
}

/// Whether a line is older than so many days. A date that is none, or before 2000, says nothing.
fn is_before(line: &Line, now: Wall, days: u64) -> bool {
    let limit = Wall(now.0.saturating_sub(days.saturating_mul(DAY_MILLIS))).rfc3339();
    let date = line.timestamp.as_bytes().get(..DATE_BYTES).unwrap_or_default();
    let is_date = date.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    date.len() == DATE_BYTES && is_date && date >= b"2000".as_slice() && date < &limit.as_bytes()[..DATE_BYTES]
}

fn first_line(storage: &dyn Storage, name: &str, len: u64) -> io::Result<Option<Line>> {
    for bytes in [FIRST_BLOCK_BYTES, LINE_BYTES_MAX as u64 + 1] {
        let block = read_block(storage, name, 0, len.min(bytes))?;
        if let Some(end) = block.iter().position(|&byte| byte == b'\n') {
            return Ok(Line::decode(&block[..end]));
        }
    }
    Ok(None)
}

/// The last one that can be read.
fn last_line(storage: &dyn Storage, name: &str, len: u64) -> io::Result<Option<Line>> {
    for bytes in [FIRST_BLOCK_BYTES, LINE_BYTES_MAX as u64 + 1] {
        let block = read_block(storage, name, len.saturating_sub(bytes), len)?;
        if let Some(line) = block.rsplit(|&byte| byte == b'\n').find_map(Line::decode) {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;

    const NOW: Wall = Wall(1_796_083_200_000);

    fn line(days_ago: u64, content: &str) -> String {
        let date = Wall(NOW.0 - days_ago * DAY_MILLIS - 1000).rfc3339();
        format!("{{\"role\":\"user\",\"content\":\"{content}\",\"timestamp\":\"{date}\"}}\n")
    }

    fn folder(files: &[(&str, String)]) -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("written");
        }
        let storage = Directory::open(folder.path()).expect("a folder");
        (folder, storage)
    }

    #[test]
    fn a_file_goes_when_its_last_line_is_too_old_and_others_are_found_by_what_stays() {
        let (old, young) = (line(31, "x"), line(29, "x"));
        let both = format!("{old}{young}");
        let files = [
            ("gone.1.jsonl", old.clone()),
            ("gone.2.jsonl", old.clone()),
            ("gone.jsonl", old.clone()),
            ("half.1.jsonl", old.clone()),
            ("half.2.jsonl", both.clone()),
            ("half.3.jsonl", old.clone()),
            ("half.jsonl", young.clone()),
            // A person, or a crash, took the current file away.
            ("headless.1.jsonl", old.clone()),
            ("headless.2.jsonl", old.clone()),
            ("still.1.jsonl", old.clone()),
            ("still.2.jsonl", young.clone()),
            ("torn.jsonl", format!("{old}{{\"role\":\"user\",\"cont")),
            ("undated.jsonl", "{\"role\":\"user\",\"content\":\"x\",\"timestamp\":\"t\"}\n".to_owned()),
            ("nonsense.jsonl", "\0\0\n".to_owned()),
            ("empty.jsonl", String::new()),
            ("long.jsonl", line(31, &"x".repeat(10_000))),
            ("note.txt", old),
        ];
        let (_folder, storage) = folder(&files);
        let mut want = vec!["gone.1.jsonl", "gone.2.jsonl", "gone.jsonl", "half.1.jsonl"];
        want.extend(["headless.2.jsonl", "headless.1.jsonl", "long.jsonl", "torn.jsonl"]);
        assert_eq!(Retention(30).expired(&storage, NOW).expect("listed"), want);
        assert!(Retention(0).expired(&storage, NOW).expect("listed").is_empty());
        assert!(Retention(36_500).expired(&storage, NOW).expect("listed").is_empty());
    }

    #[test]
    fn a_file_that_spans_a_quarter_of_the_time_is_put_away() {
        let long = line(9, &"x".repeat(10_000));
        let files = [("a.jsonl", line(7, "x") + &line(1, "x")), ("b.jsonl", line(6, "x")), ("c.jsonl", long)];
        let (_folder, storage) = folder(&files);
        let is_full = |name: &str, days| {
            let len = storage.len(name).expect("known");
            Retention(days).is_full(&storage, name, len, NOW).expect("read")
        };
        assert_eq!(["a.jsonl", "b.jsonl", "c.jsonl"].map(|name| is_full(name, 28)), [true, false, true]);
        assert_eq!(["a.jsonl", "none.jsonl"].map(|name| is_full(name, 0)), [false, false]);
        assert!(is_full("b.jsonl", 1), "a day is the least");
    }
}
