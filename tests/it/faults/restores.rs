//! Power cuts within a restore: the command is killed at a call that changes a name or flushes, and the file system is
//! shut down without flushing anything. The next boot finds the old conversations in place, or a restore to finish, or
//! the whole archive; and what was moved aside is there.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::faults::or_skip;
use crate::support::cases::{Random, cases, say};
use crate::support::command::{local, run};
use crate::support::loop_disk::{Cutter, LoopDisk};
use crate::support::tracer::{Injection, Tracer};
use crate::support::waiting::CEILING;
use crate::support::world::World;

const DISK_MIB: u64 = 96;
const NAMES: &str = "?rename,?renameat,?renameat2";
const FLUSHES: &str = "?fsync,?fdatasync";

fn lines(world: &World) -> usize {
    let rows: Vec<Value> = serde_json::from_str(&run(world, &["session"], 0).stdout).expect("a JSON array");
    rows.len()
}

/// The conversation that was there before the restore, wherever it is now.
fn is_kept(data: &Path) -> bool {
    let folders = fs::read_dir(data).expect("there").flatten().map(|entry| entry.path());
    let aside = folders.filter(|path| path.to_string_lossy().contains("before-restore-"));
    let mut places = aside.chain([data.to_owned()]).map(|folder| folder.join("sessions/default.jsonl"));
    places.any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains("\"three\"")))
}

/// What a restore ends with when it is killed at its `number`-th `call` and the power is cut; whether it came so far.
fn cut_at(call: &'static str, number: usize, tracer: &mut Tracer, cutter: &mut Cutter) -> Result<bool, String> {
    let world = local();
    fs::create_dir_all(world.data()).map_err(|error| error.to_string())?;
    let disk = LoopDisk::create(&world.data(), DISK_MIB)?;
    run(&world, &["run", "--message", "one"], 0);
    let archive = world.path("good.tar").to_string_lossy().into_owned();
    run(&world, &["backup", &archive], 0);
    run(&world, &["run", "--message", "two"], 0);
    run(&world, &["run", "--message", "three"], 0);
    disk.unmount();
    disk.mount()?;

    let (prefix, _) =
        tracer.prefix(&Injection { call, effect: "signal=SIGKILL", when: number.to_string(), files: Vec::new() });
    let mut restore = world.start_through(&prefix, &["restore", &archive, "--confirm"]);
    let was_whole = restore.wait_within(CEILING).success();
    cutter.cut(&disk)?;
    disk.unmount();
    disk.mount()?;

    let place = format!("cut at {call} number {number}");
    assert!(is_kept(&world.data()), "{place}: the old conversation is gone");
    let session = world.run(&["session"]);
    match session.code {
        Some(0) => {
            let found = lines(&world);
            assert!(found == 2 || found == 6 && !was_whole, "{place}: {found} lines");
        }
        _ => {
            assert!(!was_whole && session.code == Some(78), "{place}: {session:?}");
            run(&world, &["restore", &archive], 0);
            assert_eq!(lines(&world), 2, "{place}");
        }
    }
    assert!(is_kept(&world.data()), "{place}: the old conversation is gone afterwards");
    Ok(!was_whole)
}

#[test]
fn a_power_cut_within_a_restore_leaves_the_old_or_the_new_or_what_can_be_finished() {
    let mut random = Random::for_test("restores");
    let Some(mut tracer) = or_skip("restores", Tracer::new()) else { return };
    let Some(mut cutter) = or_skip("restores", Cutter::start()) else { return };
    let step = (200 / cases(20, 1000)).max(1);
    let mut cuts = 0;
    for call in [NAMES, FLUSHES] {
        let mut number = usize::try_from(random.between(1, step as u64)).expect("small");
        loop {
            let cut = cut_at(call, number, &mut tracer, &mut cutter);
            let Some(was_reached) = or_skip("restores", cut) else { return };
            cuts += 1;
            if !was_reached {
                break;
            }
            number += step;
        }
    }
    say(&format!("restores: seed {}: {cuts} cuts", random.seed));
}
