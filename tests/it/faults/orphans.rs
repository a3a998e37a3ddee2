//! A killed worker leaves no program running: its children are ended by the next start (I9).
//!
//! The program in the place of Codex starts one of its own, as npm's `codex` does, and never answers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::support::cases::{Random, cases};
use crate::support::report::Report;
use crate::support::scene::Scene;
use crate::support::waiting::{came_true, until};

const PROGRAM: &str = "#!/bin/sh\ncat > /dev/null\nsleep 600 &\nwait\n";
const LIFE_MS_MAX: u64 = 300;

#[test]
fn killed_workers_leave_no_program_running() {
    let mut random = Random::for_test("orphans");
    let mut report = Report::start("orphans", random.seed);
    let mut scene = Scene::with(Random::from_seed(random.next()));
    let program = scene.world.path("codex");
    std::fs::write(&program, PROGRAM).expect("it is our folder");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it is our file");
    scene.world.set("RUSTY_PINCH_PROVIDER", "codex");
    scene.world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "0");
    // Interrupted turns run one at a time; those of other chats do not wait for them.
    let kills = cases(10, 10_000).div_ceil(5);
    for round in 0..kills {
        (1..=4).for_each(|chat| drop(scene.telegram.say(chat, &format!("message {round}"))));
        let mut process = scene.start();
        let life = Duration::from_millis(random.between(0, LIFE_MS_MAX));
        came_true(life, || !process.is_running());
        let running = scene.world.survivors().len();
        report.count_of("processes_at_kills", running);
        scene.kill(process);
        report.count += 1;
    }
    let process = scene.start_polling();
    until("the program runs", || scene.world.survivors().len() > 2);
    scene.stop(process);
    let left = scene.world.survivors();
    // A failure must not leave them to the machine.
    let _ = Command::new("kill").args(&left).output();
    report.add_problems(left.iter().map(|id| format!("I9: process {id} was left running")));
    report.add_lines(&scene.world.all_lines());
    report.finish();
}
