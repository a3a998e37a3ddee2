//! What a turn costs beyond the Codex program itself: the latency that the product tells, less the time that the same
//! program takes when it is started by hand.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::instruments::median;
use crate::report::{Figure, Report};
use crate::stage::Stage;
use crate::support::waiting::{now, since};

const RUNS: usize = 30;
const MILLISECONDS_MAX: f64 = 20.0;

/// Answers at once, in the way of the real one.
const PROGRAM: &str = r#"#!/bin/sh
cat > /dev/null
echo '{"type":"thread.started","thread_id":"x"}'
echo '{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"ok"}}'
echo '{"type":"turn.completed","usage":{"input_tokens":1,"output_tokens":1}}'
"#;

pub fn measure(report: &mut Report) {
    let mut stage = Stage::new();
    let program = stage.path("codex-stand-in");
    fs::write(&program, PROGRAM).expect("our own folder");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("our own file");
    stage.set("PROVIDER", "codex");
    stage.set("CODEX_CLI_BIN", &program.to_string_lossy());
    stage.set("CODEX_ACCOUNT_MAX_REQUESTS", "1000000");
    report.command(&format!(
        "rusty-pinch run, with a program in the place of Codex that answers at once; medians of {RUNS}"
    ));
    let alone = median((0..RUNS).map(|_| by_hand(&stage, &program)).collect());
    let turn = median((0..RUNS).map(|_| by_the_product(&stage)).collect());
    report.add(Figure::new("the program by itself", alone, "ms"));
    report.add(Figure::new("a turn beyond that", turn - alone, "ms").goal_at_most(MILLISECONDS_MAX));
}

fn by_hand(stage: &Stage, program: &Path) -> f64 {
    let begun = now();
    let mut child = stage.command(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdin.take().map(|mut input| input.write_all(b"hello")));
    assert!(child.wait_with_output().expect("it ends").status.success());
    since(begun).as_secs_f64() * 1e3
}

fn by_the_product(stage: &Stage) -> f64 {
    let output = stage.command(&Stage::product_path()).args(["run", "--message", "hello"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let turn = events.into_iter().find(|event| event["event"] == "turn").unwrap_or_else(|| panic!("no turn: {said}"));
    assert_eq!(turn["status"], "ok", "{turn}");
    turn["latency_ms"].as_f64().expect("a number")
}
