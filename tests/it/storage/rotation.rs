//! Session files alone, with two crashes in a row: whatever is left of a session is its beginning, and at least what was
//! flushed. A gap could not be mended: recovery appends, and then the order of the lines would be wrong.
//!
//! Seen to fail: a full file that is not flushed before it is renamed; a name that is used again before the folder is
//! flushed, after a rename of its own or of an earlier process; a flush that is tried again after it failed.

use rusty_pinch::base::id::SessionId;
use rusty_pinch::store::sessions::Sessions;
use rusty_pinch::store::transcript::Line;
use serde_json::Value;

use super::SESSION_BYTES_MAX;
use super::judge::whole_session;
use crate::support::cases::Random;
use crate::support::torn_disk::{Image, TornDisk};

const CHAT: &str = "10";
/// Three lines fill a file.
const CONTENT_BYTES: usize = 150;
/// Lines until the first crash, and more until the second.
const LINES: [u64; 2] = [8, 6];
/// A flush follows every so many lines.
const FLUSH_EVERY: u64 = 3;
const NOW_SECS: u64 = 5;

fn open(disk: &TornDisk) -> Sessions {
    Sessions::with_files_of(disk.folder("sessions"), SESSION_BYTES_MAX as u64)
}

fn session() -> SessionId {
    SessionId::parse(&format!("telegram:{CHAT}")).expect("a name")
}

fn line() -> Line {
    let content = "x".repeat(CONTENT_BYTES);
    let (role, timestamp) = ("user".to_string(), "2026-01-01T00:00:00+00:00".to_string());
    Line { role, content, timestamp, rid: None, n: None, error: None, mark: None }
}

/// Appends lines as a worker does that finds files of an earlier one. Returns how many were flushed, or `flushed`.
fn append(disk: &TornDisk, count: u64, mut flushed: u64) -> u64 {
    let (mut sessions, session) = (open(disk), session());
    if sessions.reread(session.stem()).is_err() {
        return flushed;
    }
    for number in 1..=count {
        let mut lines = [line()];
        if sessions.append(&session, &mut lines, NOW_SECS).is_err() {
            return flushed;
        }
        if number % FLUSH_EVERY == 0 {
            if sessions.sync().is_err() {
                return flushed;
            }
            flushed = lines[0].n.expect("numbered");
        }
    }
    flushed
}

/// How many lines there are, if they are the first ones.
fn lines_of(disk: &TornDisk) -> Result<u64, String> {
    let bytes = whole_session(CHAT, disk)?;
    // Behind the last newline is what the next append mends.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let ordinal = |line: &[u8]| serde_json::from_slice::<Value>(line).ok().and_then(|line| line["n"].as_u64());
    let ordinals: Vec<Option<u64>> = lines.map(ordinal).collect();
    let good = ordinals.iter().copied().eq((1..=ordinals.len() as u64).map(Some));
    if good { Ok(ordinals.len() as u64) } else { Err(format!("the ordinals are {ordinals:?}")) }
}

fn judge(disk: &TornDisk, flushed: u64) -> Result<u64, String> {
    match lines_of(disk)? {
        count if count < flushed => Err(format!("{count} lines are left of {flushed} that were flushed")),
        count => Ok(count),
    }
}

/// Every image of every death; garbage within a line is another matter.
fn deaths(base: &TornDisk, count: u64, flushed: u64, check: &mut dyn FnMut(&TornDisk, u64, &str)) {
    for death in 1.. {
        let disk = base.image(&Image::Killed);
        disk.die_at(death);
        let flushed = append(&disk, count, flushed);
        if !disk.is_gone() {
            return;
        }
        for image in disk.images(&mut Random::from_seed(death)) {
            if !matches!(image, Image::Garbage { .. }) {
                check(&disk.image(&image), flushed, &format!("death at call {death}, {image:?}"));
            }
        }
    }
}

#[test]
fn two_crashes_in_a_row_leave_the_beginning_of_a_session() {
    let mut images = 0;
    deaths(&TornDisk::default(), LINES[0], 0, &mut |disk, flushed, first| {
        judge(disk, flushed).unwrap_or_else(|wrong| panic!("{first}: {wrong}"));
        deaths(disk, LINES[1], flushed, &mut |disk, flushed, second| {
            images += 1;
            let count = judge(disk, flushed).unwrap_or_else(|wrong| panic!("{first}, then {second}: {wrong}"));
            append(disk, 1, flushed);
            assert_eq!(lines_of(disk), Ok(count + 1), "{first}, then {second}");
        });
    });
    assert!(images > 1000, "too little was tried: {images}");
}

/// After a failed flush the kernel may have dropped what it could not write, and the next one says that all is well.
#[test]
fn a_flush_that_failed_is_not_tried_again() {
    let mut refused = 0;
    for call in 1.. {
        let disk = TornDisk::default();
        let before = append(&disk, 2, 0);
        disk.fail_at(disk.counts().1 + call, 0);
        let mut sessions = open(&disk);
        let append = |sessions: &mut Sessions| sessions.append(&session(), &mut [line()], NOW_SECS).is_ok();
        let outcomes: Vec<bool> = (0..4).map(|_| append(&mut sessions)).collect();
        if outcomes == [true; 4] {
            break;
        }
        let latched = sessions.check().is_err();
        let first = outcomes.iter().position(|ok| !ok).expect("one failed");
        if latched {
            refused += 1;
            assert!(outcomes[first..].iter().all(|ok| !ok) && sessions.sync().is_err(), "{call}: {outcomes:?}");
        } else {
            assert_eq!(outcomes.iter().filter(|ok| !**ok).count(), 1, "{call}: {outcomes:?}");
            sessions.sync().expect("nothing fails any more");
        }
        assert!(lines_of(&disk).is_ok_and(|count| count >= before));
    }
    assert_eq!(refused, 2, "the flush of the full file, and that of its folder");
}
