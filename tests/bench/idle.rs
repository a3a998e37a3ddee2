//! A worker that waits in a long poll: memory, threads, children, processor time.

use std::time::Duration;

use crate::report::{Figure, Report};
use crate::stage::{Stage, fakes};
use crate::support::waiting::{CEILING, holds};

const MEMORY_MEGABYTES_MAX: f64 = 6.0;
/// How long an idle worker is watched.
const WATCHED: Duration = Duration::from_secs(5);

pub fn measure(report: &mut Report) {
    let (telegram, provider) = fakes();
    let mut stage = Stage::new();
    stage.ask(&provider);
    stage.listen_to(&telegram.url());
    report.command("rusty-pinch channels telegram; then /proc/<id>/status, task/*/children, stat twice, 5 s apart");
    let mut worker = stage.worker(&[]);
    worker.until("a poll", CEILING, || telegram.pending_polls() > 0);
    let books = worker.books();
    report.add(
        Figure::new("memory (VmRSS) in the first poll", books.megabytes("VmRSS"), "MB").at_most(MEMORY_MEGABYTES_MAX),
    );
    telegram.say(42, "hello");
    telegram.until_sent(1);
    telegram.until_polling();
    let before = books.processor_seconds();
    holds("the worker runs", WATCHED, || worker.is_running());
    let used = books.processor_seconds() - before;
    report.add(
        Figure::new("memory (VmRSS) after a turn and 5 s", books.megabytes("VmRSS"), "MB")
            .at_most(MEMORY_MEGABYTES_MAX),
    );
    report.add(Figure::new("threads", books.status("Threads"), "threads"));
    report.add(Figure::new("child processes", books.children().len() as f64, "processes").at_most(0.0));
    report.add(Figure::new("processor time in 5 s", used * 1e3, "ms").goal_at_most(20.0));
    worker.stop(books);
    measure_with_tls(report);
}

/// Against a server that speaks no TLS: the certificates of the system are loaded, nothing is answered.
fn measure_with_tls(report: &mut Report) {
    let (telegram, provider) = fakes();
    let mut stage = Stage::new();
    stage.ask(&provider);
    stage.listen_to(&telegram.url().replace("http:", "https:"));
    let mut worker = stage.worker(&[]);
    worker.until("a failed poll", CEILING, || telegram.server().connection_count() >= 2);
    report.note("with certificates loaded: API base https, where nobody speaks it");
    report.add(Figure::new("memory (VmRSS)", worker.books().megabytes("VmRSS"), "MB"));
    report.add(Figure::new("memory at its highest (VmHWM)", worker.books().megabytes("VmHWM"), "MB"));
}
