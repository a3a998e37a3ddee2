//! What was written into the journal and not flushed is there after a kill, also one within a later write. It is what
//! the mark of a begun send relies on.

use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::rng::Rng;
use rusty_pinch::store::commit_log::CommitLog;
use rusty_pinch::store::frame::BLOCK_BYTES;
use rusty_pinch::store::record::{Checkpoint, Received, Record};

use crate::support::cases::{Random, cases, say};
use crate::support::lanes::inbound;
use crate::support::torn_disk::{Image, TornDisk};

const FILE_BYTES: u64 = 64 * BLOCK_BYTES as u64;
const RECORDS: usize = 24;
const SYNC_EVERY: usize = 6;

fn records(random: &mut Random) -> Vec<Record> {
    let mut rng = Rng::from_seed(random.next());
    let mut record = |update| {
        // Many fit into one block, some fill two.
        let len = if random.chance(600) { random.between(1, 300) } else { random.between(300, 6000) };
        let turn = TurnId::mint(Wall(1), &mut rng);
        Record::Rx(Received::new(&inbound(turn, update, "10", "x".repeat(len as usize), Wall(1))))
    };
    (0..RECORDS as u64).map(&mut record).collect()
}

fn open(disk: &TornDisk) -> Option<(CommitLog, Vec<Record>)> {
    let opened = CommitLog::open_sized(disk.folder("journal"), FILE_BYTES, "0123456789abcdef", "test").ok()?;
    Some((opened.0, opened.1.records))
}

/// Writes until the process dies; how many records it was told are written.
fn write(disk: &TornDisk, records: &[Record]) -> usize {
    let Some((mut log, _)) = open(disk) else { return 0 };
    // A start goes on in the other file.
    if log.switch(&Checkpoint::default()).is_err() {
        return 0;
    }
    let mut written = 0;
    for record in records {
        if log.append(&[record.to_line()]).is_err() {
            break;
        }
        written += 1;
        if written % SYNC_EVERY == 0 && log.sync().is_err() {
            break;
        }
    }
    written
}

#[test]
fn what_was_written_survives_a_kill_within_any_later_write() {
    let mut random = Random::for_test("what_was_written_survives_a_kill_within_any_later_write");
    let fresh = TornDisk::default();
    assert!(open(&fresh).is_some());
    let mut images = 0;
    for _ in 0..cases(4, 2000) {
        let records = records(&mut random);
        let whole = fresh.image(&Image::Killed);
        assert_eq!(write(&whole, &records), RECORDS);
        for death in 1..=whole.counts().0 {
            let disk = fresh.image(&Image::Killed);
            disk.die_at(death);
            let written = write(&disk, &records);
            for image in disk.images(&mut random).into_iter().filter(|image| !image.is_power_cut()) {
                let (_, mut found) = open(&disk.image(&image)).expect("a disk that works");
                found.retain(|record| matches!(record, Record::Rx(_)));
                assert!(
                    found.len() >= written && found[..] == records[..found.len()],
                    "seed {}: {written} were written before call {death}, {} are there after {image:?}",
                    random.seed,
                    found.len()
                );
                images += 1;
            }
        }
    }
    say(&format!("what_was_written_survives_a_kill_within_any_later_write: {images} images"));
}
