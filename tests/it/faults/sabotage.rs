//! The campaign proves itself: each test breaks one promise from outside the product, and the judges must notice.
//!
//! What they notice when evidence is doctored is in `support/checker_proof` and `support/checker_traces_proof`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::faults::cuts::Machine;
use crate::faults::or_skip;
use crate::support::cases::Random;
use crate::support::report::Report;
use crate::support::stretch::{Expect, Stretch, stage};
use crate::support::tracer::{Injection, Tracer};
use crate::support::waiting::came_true;

/// Tries until the sabotage must have been noticed.
const TRIES_MAX: usize = 12;
const LIVES: usize = 12;
/// How long a worker gets to answer everything; what is lost is not worth a long wait.
const QUIET_TIME: Duration = Duration::from_secs(4);
const LIFE: Duration = Duration::from_millis(250);

/// Tries with fresh worlds until a judge complains about one of these.
#[track_caller]
fn is_noticed(name: &'static str, wants: &[&str], mut attempt: impl FnMut(&mut Random) -> Option<Vec<String>>) {
    let mut random = Random::for_test(name);
    let mut seen = Vec::new();
    for _ in 0..TRIES_MAX {
        let Some(problems) = attempt(&mut random) else { return };
        if problems.iter().any(|problem| wants.iter().any(|want| problem.contains(want))) {
            return;
        }
        seen.extend(problems);
    }
    panic!("seed {}: nobody noticed {wants:?}: {seen:?}", random.seed);
}

fn judged(mut stretch: Stretch, expect: Expect) -> Vec<String> {
    stretch.quiet_and_judged(expect, QUIET_TIME, &mut Report::start("sabotage", 0)).0
}

/// Power cuts in a machine whose boot id `changes`, with workers that start through more words.
fn power_cuts(
    random: &mut Random,
    changes: bool,
    mut more: impl FnMut() -> Vec<std::ffi::OsString>,
) -> Option<Vec<String>> {
    let scene = stage(random, 0);
    let mut machine = or_skip("sabotage", Machine::new(&scene, random))?;
    let mut stretch = Stretch::begin(scene);
    for _ in 0..LIVES {
        let prefix = [machine.boot.prefix(), more()].concat();
        let process = stretch.scene.start_polling_through(&prefix);
        came_true(LIFE, || stretch.scene.telegram.unconfirmed_count() == usize::MAX);
        machine.cut(&mut stretch, process, random);
        if changes {
            machine.boot.again(random);
        }
    }
    Some(judged(stretch, Expect::POWER_CUTS))
}

/// A disk that says it has flushed and has not.
#[test]
fn flushes_that_are_only_promised_are_noticed_as_lost_messages() {
    let Some(mut tracer) = or_skip("sabotage", Tracer::new()) else { return };
    let lie = Injection { call: "fdatasync", effect: "retval=0", when: "1+".to_string(), files: Vec::new() };
    is_noticed("lying flushes", &["was lost", "without a mark", "different texts"], |random| {
        power_cuts(random, true, || tracer.prefix(&lie).0)
    });
}

/// A power cut that looks like a kill: what was sent and not flushed is sent again without a mark.
#[test]
fn a_boot_that_looks_like_the_last_one_is_noticed_as_unmarked_repeats() {
    is_noticed("same boot", &["without a mark"], |random| power_cuts(random, false, Vec::new));
}

/// A data folder that was put back from an older copy.
#[test]
fn an_older_data_folder_is_noticed() {
    is_noticed("older data", &["was lost", "without a mark", "different texts", "people wrote"], |random| {
        let scene = stage(random, 0);
        let copy = tempfile::tempdir().expect("a temporary folder");
        let mut stretch = Stretch::begin(scene);
        live(&mut stretch);
        let data = stretch.scene.world.data();
        copy_folder(&data, &copy.path().join("data"));
        live(&mut stretch);
        std::fs::remove_dir_all(&data).expect("it is our folder");
        copy_folder(&copy.path().join("data"), &data);
        Some(judged(stretch, Expect::KILLS))
    });
}

/// A journal that somebody deleted.
#[test]
fn a_deleted_journal_is_noticed() {
    is_noticed("deleted journal", &["was lost", "people wrote"], |random| {
        let mut stretch = Stretch::begin(stage(random, 0));
        live(&mut stretch);
        std::fs::remove_dir_all(stretch.scene.world.data().join("journal")).expect("it is our folder");
        Some(judged(stretch, Expect::KILLS))
    });
}

fn live(stretch: &mut Stretch) {
    let mut process = stretch.scene.start_polling();
    came_true(LIFE, || !process.is_running());
    stretch.kill(process, "nothing");
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cp copies a folder");
}
