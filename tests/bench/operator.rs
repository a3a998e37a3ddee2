//! What an operator runs beside a worker: the monitor on a terminal and for one frame, `health` of a container, `doctor`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::instruments::{Books, find, median};
use crate::report::{Figure, Report};
use crate::stage::{Stage, fakes};
use crate::support::terminal::Terminal;
use crate::support::waiting::{CEILING, came_true, now, since};

/// How long the monitor is watched, at its own pace of a look a second.
const WATCHED: Duration = Duration::from_secs(60);
const RUNS: usize = 11;

pub fn measure(report: &mut Report) {
    let (telegram, provider) = fakes();
    let mut stage = Stage::new();
    stage.ask(&provider);
    stage.listen_to(&telegram.url());
    let mut worker = stage.worker(&[]);
    worker.until("a poll", CEILING, || telegram.pending_polls() > 0);
    telegram.say(42, "hello");
    telegram.until_sent(1);
    telegram.until_polling();
    match find("setsid") {
        Some(setsid) => [(80, 24), (200, 60)].into_iter().for_each(|size| watch(report, &stage, &setsid, size)),
        None => report.skip("the monitor on a terminal", "setsid is not installed"),
    }
    report.note(&format!("each the median of {RUNS}"));
    let found: Value = serde_json::from_str(&stage.run(&["monitor", "--once", "--json"])).expect("JSON");
    assert!(found["process"]["cpu_percent"].is_number(), "a figure of processor time: {found:#}");
    for (name, goal, arguments) in [
        ("monitor --once --json", 300.0, &["monitor", "--once", "--json"][..]),
        ("health --max-age 90", 20.0, &["health", "--max-age", "90"]),
        ("doctor", 1000.0, &["doctor"]),
    ] {
        report.command(&format!("time rusty-pinch {}", arguments.join(" ")));
        let took = |_| {
            let begun = now();
            stage.run(arguments);
            since(begun).as_secs_f64() * 1e3
        };
        report.add(Figure::new(name, median((0..RUNS).map(took).collect()), "ms").goal_at_most(goal));
    }
    let books = worker.books();
    worker.stop(books);
}

fn watch(report: &mut Report, stage: &Stage, setsid: &Path, (columns, rows): (u16, u16)) {
    report.command(&format!(
        "rusty-pinch monitor at {columns}x{rows}; /proc/<id>/task/*/schedstat twice, 60 s apart; status"
    ));
    let terminal = Terminal::open(columns, rows);
    let mut command = stage.command(setsid);
    command.arg("--ctty").arg(Stage::product_path()).arg("monitor").stderr(Stdio::null());
    command.env("TERM", "xterm").env("LANG", "C.UTF-8");
    let mut process = terminal.start_command(command);
    terminal.until_seen("q quit");
    let books = Books(process.id());
    terminal.forget();
    let before = books.exact_processor_seconds();
    came_true(WATCHED, || false);
    let used = (books.exact_processor_seconds() - before) / WATCHED.as_secs_f64();
    let bytes = terminal.seen().len() as f64 / WATCHED.as_secs_f64();
    report.add(Figure::new("processor time", used * 100.0, "% of a core").goal_at_most(1.0));
    report.add(Figure::new("memory (VmRSS)", books.megabytes("VmRSS"), "MB").at_most(6.0));
    report.add(Figure::new("written to the terminal", bytes, "bytes/s").at_most(4096.0));
    process.signal(Signal::TERM);
    process.wait();
}
