//! How much of long sessions is read: bytes, not time.

use rusty_pinch::base::clock::Wall;
use rusty_pinch::store::exchange::{Effect, Folders, Opening};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;
use rusty_pinch::store::storage::Storage;
use rusty_pinch::store::transcript::Line;

use super::{BOOT, NOW, accept, inbound, reply};
use crate::support::torn_disk::{Image, TornDisk};

const CHATS: u64 = 40;
/// Of each session. The product's limit is eight times as much; nothing may depend on it.
const SESSION_BYTES: usize = 1 << 20;
/// That may be read of each session: its end, twice or three times.
const READ_MAX: usize = 64 * 1024;

fn open(disk: &TornDisk) -> (Ledger, Opening) {
    let folder = |name| disk.folder(name);
    let folders = Folders {
        journal: folder("journal"),
        sessions: folder("sessions"),
        dead: folder("dead"),
        spool: folder("spool"),
    };
    Ledger::open(folders, BOOT, Counting::default(), NOW).expect("opens")
}

/// Long conversations of ours.
fn fill(sessions: &mut dyn Storage) {
    let mut text = String::new();
    for n in 1.. {
        let [mut line, _] =
            Line::pair("rp-00000000000000000000000001", (&"x".repeat(2000), Wall(0)), ("", Wall(0)), None);
        line.n = Some(n);
        text.push_str(&line.encode());
        if text.len() >= SESSION_BYTES {
            break;
        }
    }
    (0..CHATS).for_each(|chat| sessions.append(&format!("telegram_{chat}.jsonl"), text.as_bytes()).expect("written"));
}

#[test]
fn a_start_reads_the_ends_of_sessions_only_however_many_miss_their_last_lines() {
    let disk = TornDisk::default();
    fill(disk.folder("sessions").as_mut());
    let (mut ledger, _) = open(&disk);
    for chat in 0..CHATS {
        // Killed between the flush of the answer and the lines.
        let first = inbound(chat, &chat.to_string());
        ledger.write([accept(&first)], NOW).expect("written");
        ledger.write([reply(&first, 1, None)], NOW).expect("written");
    }
    let disk = disk.image(&Image::Killed);
    disk.forget_blank_ends();
    let (_, opening) = open(&disk);
    assert_eq!(opening.lines_restored, CHATS as usize);
    let read = disk.bytes_read();
    assert!(read < CHATS as usize * READ_MAX, "{read} bytes");
}

/// What cannot be appended is tried every second, by the thread that everybody waits for.
#[test]
fn a_try_at_lines_that_are_owed_reads_the_end_of_the_session_only() {
    for call in 1.. {
        let disk = TornDisk::default();
        fill(disk.folder("sessions").as_mut());
        disk.forget_blank_ends();
        let (mut ledger, _) = open(&disk);
        let first = inbound(1, "1");
        ledger.write([accept(&first), reply(&first, 1, None)], NOW).expect("written");
        disk.fail_at(disk.counts().1 + call, 1);
        let Ok(effects) = ledger.sync(NOW) else { continue };
        if !effects.iter().any(|effect| matches!(effect, Effect::Event(_))) {
            assert!(call > 3, "nothing was owed");
            return;
        }
        let before = disk.bytes_read();
        ledger.retry_owed(NOW).expect("written");
        let read = disk.bytes_read() - before;
        assert!(ledger.journal().get(first.turn).is_some_and(|open| !open.line_owed));
        assert!(read < READ_MAX, "call {call} fails: {read} bytes");
    }
}
