//! A disk that is filled by somebody else while the worker works, stays full for a while, and is freed.
//!
//! The journal is written in full beforehand, so messages are still accepted and answered; session lines stay owed. A worker
//! that starts on a full disk waits. Nobody has to do anything but make room.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::faults::cuts::DISK_MIB;
use crate::faults::or_skip;
use crate::support::cases::{Random, cases};
use crate::support::loop_disk::LoopDisk;
use crate::support::report::Report;
use crate::support::stretch::{Expect, Stretch, stage};
use crate::support::waiting::came_true;
use crate::support::world::Process;

const FILLED_PER_STRETCH: usize = 20;
/// How long it is free and then full, in milliseconds.
const FREE_MS_MAX: u64 = 300;
const FULL_MS_MAX: u64 = 1200;
/// The disk is filled with pieces of this size, then with the smallest ones, until not a byte fits.
const PIECE_BYTES: usize = 1 << 20;

/// Takes all the room there is.
fn fill(file: &Path) {
    let mut filler = File::create(file).expect("a file can be made before the disk is full");
    let mut piece = PIECE_BYTES;
    while piece > 0 {
        if filler.write_all(&vec![b'x'; piece]).is_err() {
            piece /= 16;
        }
    }
}

#[test]
fn a_disk_that_fills_and_is_freed_loses_nothing() {
    let mut random = Random::for_test("full disk");
    let mut report = Report::start("full_disk", random.seed);
    let count = cases(10, 10_000).div_ceil(50);
    while report.count < count {
        let scene = stage(&mut random, 20);
        let disk = LoopDisk::create(&scene.world.data(), DISK_MIB);
        let Some(_disk) = or_skip("full disk", disk) else { return };
        let mut stretch = Stretch::begin(scene);
        for _ in 0..FILLED_PER_STRETCH.min(count - report.count) {
            fill_and_free(&mut stretch, &mut random, &mut report);
            report.count += 1;
        }
        stretch.end(Expect::KILLS, &mut report);
    }
    report.finish();
}

/// One filling. In half of the cases the worker is killed and started again while the disk is full.
fn fill_and_free(stretch: &mut Stretch, random: &mut Random, report: &mut Report) {
    let filler = stretch.scene.world.data().join("filler");
    let mut process = stretch.scene.start();
    came_true(Duration::from_millis(random.between(0, FREE_MS_MAX)), || !process.is_running());
    fill(&filler);
    let before = stretch.scene.telegram.sent_count();
    if random.chance(500) {
        live_on_full(&mut process, random);
        stretch.kill(process, "a full disk");
        process = stretch.scene.start();
    }
    live_on_full(&mut process, random);
    let sent = stretch.scene.telegram.sent_count() - before;
    report.count_of("sent_while_full", sent);
    std::fs::remove_file(&filler).expect("what is full can be made empty");
    came_true(Duration::from_millis(random.between(0, FREE_MS_MAX)), || !process.is_running());
    stretch.kill(process, "a full disk");
}

fn live_on_full(process: &mut Process, random: &mut Random) {
    came_true(Duration::from_millis(random.between(0, FULL_MS_MAX)), || !process.is_running());
}
