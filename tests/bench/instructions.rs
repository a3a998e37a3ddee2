//! Instructions of one-shot commands, counted by callgrind: the same on a busy machine as on an idle one.
//!
//! Always the release binary, a cleared environment of a few names, and a data folder that an earlier command made.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::instruments::{count_once, find, median, millions_of_instructions, millions_of_nothing};
use crate::report::{Figure, Report};
use crate::stage::{Stage, fakes};

const VERSION_MAX: f64 = 0.5;
const LOCAL_MAX: f64 = 1.0;
const HTTP_MAX: f64 = 2.5;
/// A turn that reads all the history that a model may see.
const FULL_HISTORY_MAX: f64 = 1.5;
/// The cost of a turn may differ this much between a short and a long session.
const HISTORY_PER_CENT_MAX: f64 = 5.0;
const SESSION_LINES: [usize; 3] = [20, 1_000, 100_000];
/// Turns of the product at the end of a prepared session, so that all the history it reads is its own.
const OWN_TURNS: usize = 10;

fn valgrind(report: &Report) -> Option<PathBuf> {
    let found = find("valgrind");
    if found.is_none() {
        report.skip("instructions", "valgrind is not installed");
    }
    found
}

pub fn measure(report: &mut Report) {
    let Some(valgrind) = valgrind(report) else { return };
    let mut stage = Stage::new();
    report.command("valgrind --tool=callgrind <program>; median of 3; data folder exists; new session each");
    if let Some(count) = millions_of_nothing(&valgrind, &stage) {
        report.add(Figure::new("a C program that does nothing", count, "M instr"));
    }
    let version = millions_of_instructions(&valgrind, &stage, &["--version"]);
    report.add(Figure::new("--version", version, "M instr").at_most(VERSION_MAX));

    stage.run(&["run", "--message", "hi", "--session", "earlier"]);
    let local = first_turn(&valgrind, &stage);
    report.add(Figure::new("run --message hi, provider local", local, "M instr").at_most(LOCAL_MAX));

    let (_telegram, provider) = fakes();
    stage.ask(&provider);
    let http = first_turn(&valgrind, &stage);
    assert_eq!(provider.asked_count(), 3, "one call of the provider for each turn");
    report.add(Figure::new("run --message hi, provider over plain HTTP", http, "M instr").at_most(HTTP_MAX));
}

/// The middle one of three first turns, each in a session of its own.
fn first_turn(valgrind: &Path, stage: &Stage) -> f64 {
    let turn = |number: usize| {
        let session = format!("new-{number}");
        let count =
            count_once(valgrind, stage, &Stage::product_path(), &["run", "--message", "hi", "--session", &session]);
        fs::remove_file(stage.path(&format!("data/sessions/{session}.jsonl"))).expect("the turn was stored");
        count
    };
    median((0..3).map(turn).collect())
}

/// A turn at the end of a short, a long and a very long session; then the first turn after an upgrade.
pub fn measure_history(report: &mut Report) {
    let Some(valgrind) = valgrind(report) else { return };
    let stage = Stage::new();
    report.command("valgrind --tool=callgrind rusty-pinch run --message hi --session lines-<n>; median of 3");
    let counts = SESSION_LINES.map(|lines| {
        let session = prepare(&stage, lines);
        let count = millions_of_instructions(&valgrind, &stage, &["run", "--message", "hi", "--session", &session]);
        let figure = Figure::new(&format!("a turn after {lines} lines"), count, "M instr");
        report.add(figure.at_most(FULL_HISTORY_MAX));
        count
    });
    for (lines, count) in SESSION_LINES.iter().zip(counts).skip(1) {
        let per_cent = (count / counts[0] - 1.0).abs() * 100.0;
        let name = format!("difference from 20 to {lines} lines");
        report.add(Figure::new(&name, per_cent, "%").at_most(HISTORY_PER_CENT_MAX));
    }
    let longest = SESSION_LINES[2];
    write_old_lines(&stage, "old", longest);
    let arguments = ["run", "--message", "hi", "--session", "old"];
    let count = count_once(&valgrind, &stage, &Stage::product_path(), &arguments);
    report.note("lines of the earlier runtime have no numbers: the first turn counts them, once");
    report.add(Figure::new(&format!("the first turn after {longest} such lines"), count, "M instr"));
}

/// A session of so many lines: old ones in front, at its end what the product itself wrote.
fn prepare(stage: &Stage, lines: usize) -> String {
    let session = format!("lines-{lines}");
    write_old_lines(stage, &session, lines - 2 * OWN_TURNS);
    for number in 0..OWN_TURNS {
        let message = format!("question {number} about the weather and what to cook");
        stage.run(&["run", "--message", &message, "--session", &session]);
    }
    session
}

/// As the earlier runtime wrote them: three keys.
fn write_old_lines(stage: &Stage, session: &str, lines: usize) {
    let folder = stage.path("data/sessions");
    fs::create_dir_all(&folder).expect("our own folder");
    let mut file = BufWriter::new(fs::File::create(folder.join(format!("{session}.jsonl"))).expect("our own folder"));
    for number in 0..lines {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        let content = format!("line {number} of a talk about the weather and what to cook");
        let line = format!(r#"{{"role":"{role}","content":"{content}","timestamp":"2026-01-01T00:00:00+00:00"}}"#);
        writeln!(file, "{line}").expect("room for a session");
    }
    file.flush().expect("room for a session");
}
