//! Power cuts: the worker lives on an ext4 of its own, the file system is shut down at a random instant without flushing
//! anything, the worker is killed, the disk is mounted anew (ext4 replays its journal), and the kernel's boot id is
//! another one.
//!
//! In half of the cuts the worker sees the disk fail before it dies, as with a card that is pulled; in the others it is
//! killed first. The folder of the run is emptied, as a tmpfs is.

use std::time::Duration;

use crate::faults::or_skip;
use crate::support::cases::{Random, cases};
use crate::support::loop_disk::{Boot, Cutter, LoopDisk};
use crate::support::report::Report;
use crate::support::scene::Scene;
use crate::support::stretch::{Expect, Stretch, stage};
use crate::support::waiting::came_true;
use crate::support::world::Process;

/// Room for a journal: a worker does not make one with less than 64 MiB free.
pub const DISK_MIB: u64 = 96;
const LIFE_MS_MAX: u64 = 200;
/// A journal changes files after about two hundred cuts, so a stretch has several such changes.
const CUTS_PER_STRETCH: usize = 1000;

/// A disk, what cuts it, and the boot of the machine it is in.
pub struct Machine {
    disk: LoopDisk,
    cutter: Cutter,
    pub boot: Boot,
}

impl Machine {
    /// With the data folder of a scene on its disk.
    pub fn new(scene: &Scene, random: &mut Random) -> Result<Machine, String> {
        let mut cutter = Cutter::start()?;
        let disk = LoopDisk::create(&scene.world.data(), DISK_MIB)?;
        // Once for nothing, to see whether it can be done.
        cutter.cut(&disk)?;
        disk.unmount();
        disk.mount()?;
        Ok(Machine { disk, cutter, boot: Boot::new(random)? })
    }

    /// The power goes off; the worker is dead, the disk is as the next boot finds it.
    pub fn cut(&mut self, stretch: &mut Stretch, mut process: Process, random: &mut Random) {
        stretch.sample(&process);
        if random.chance(500) {
            process.kill();
        }
        self.cutter.cut(&self.disk).expect("it could be cut before");
        stretch.scene.kill(process);
        self.disk.unmount();
        self.disk.mount().expect("ext4 replays its journal");
        stretch.scene.world.empty("run");
    }
}

#[test]
fn power_cuts_lose_nothing_and_repeat_nothing_unmarked() {
    let mut random = Random::for_test("power cuts");
    let mut report = Report::start("power_cuts", random.seed);
    let cuts = (cases(10, 25_000) * 2).div_ceil(5);
    while report.count < cuts {
        let scene = stage(&mut random, 20);
        let Some(mut machine) = or_skip("power cuts", Machine::new(&scene, &mut random)) else { return };
        let mut stretch = Stretch::begin(scene);
        for _ in 0..CUTS_PER_STRETCH.min(cuts - report.count) {
            let mut process = stretch.scene.start_through(&machine.boot.prefix());
            let life = Duration::from_millis(random.between(0, LIFE_MS_MAX));
            came_true(life, || !process.is_running());
            machine.cut(&mut stretch, process, &mut random);
            machine.boot.again(&mut random);
            report.count += 1;
        }
        stretch.end(Expect::POWER_CUTS, &mut report);
    }
    report.finish();
}
