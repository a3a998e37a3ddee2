//! The figures of docs/performance.md: `make bench` prints them and fails when an enforced budget is broken.
//!
//! Enforced is what repeats: sizes, counts, instructions, memory. Times are printed beside their goals and never fail.
//! Words after `--` choose sections: `cargo bench --bench figures -- load idle`.

use std::process::ExitCode;

use crate::report::Report;

/// What a turn costs beyond the Codex program.
mod codex;
/// What reaches the medium.
mod device;
/// An idle worker: memory, threads, children, processor time.
mod idle;
/// Instructions of one-shot commands.
mod instructions;
/// The tools that measure, where the machine has them.
mod instruments;
/// Throughput, processor time and memory under load.
mod load;
/// What an operator runs: the monitor, `health`, `doctor`.
mod operator;
/// Figures, budgets, verdicts.
mod report;
/// The size of what is shipped, and of what it is built from.
mod size;
/// A folder, an environment and the product in it.
mod stage;
/// How long a start takes.
mod start;
/// Fake servers and waiting, from the integration tests.
#[path = "../it/support/mod.rs"]
#[allow(unused_imports, reason = "the tests of the fakes are not compiled here, but their imports are")]
mod support;
/// Bytes and flushes of one turn.
mod writes;

type Section = fn(&mut Report);

const SECTIONS: [(&str, Section); 10] = [
    ("size", size::measure),
    ("instructions", instructions::measure),
    ("history", instructions::measure_history),
    ("idle", idle::measure),
    ("writes", writes::measure),
    ("device", device::measure),
    ("start", start::measure),
    ("operator", operator::measure),
    ("codex", codex::measure),
    ("load", load::measure),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    size::build_what_is_shipped();
    let mut report = Report::start(&instruments::machine());
    for (name, measure) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            report.section(name);
            measure(&mut report);
        }
    }
    report.finish()
}
