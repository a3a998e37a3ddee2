//! Many chats at once, with servers that answer at once: messages per second, processor time, memory.
//!
//! All messages are posted in one go, so the worker is never short of work. The servers run in this process; their
//! processor time is reported beside the worker's, since both share the machine.

use std::path::Path;
use std::time::Duration;

use crate::instruments::{Books, flush_milliseconds, median};
use crate::report::{Figure, Report};
use crate::stage::{Stage, fakes};
use crate::support::waiting::{CEILING, now, since};

const CHATS: usize = 60;
const PER_CHAT: usize = 50;
const RUNS: usize = 3;
const PER_SECOND_MIN: f64 = 300.0;
const MILLISECONDS_PER_MESSAGE_MAX: f64 = 1.5;
const MEMORY_MEGABYTES_MAX: f64 = 12.0;
const LOAD_CEILING: Duration = Duration::from_secs(120);
const MEMORY_DISK: &str = "/dev/shm";

/// One run. Times are of the worker unless they say otherwise.
struct Run {
    per_second: f64,
    milliseconds_per_message: f64,
    server_milliseconds_per_message: f64,
    memory: f64,
    memory_afterwards: f64,
}

pub fn measure(report: &mut Report) {
    let messages = CHATS * PER_CHAT;
    report.command(&format!("rusty-pinch channels telegram; {messages} messages of {CHATS} chats; medians of {RUNS}"));
    match Path::new(MEMORY_DISK).is_dir() {
        true => place(report, "journal on tmpfs", Path::new(MEMORY_DISK), true),
        false => report.skip("journal on tmpfs", "there is no /dev/shm"),
    }
    place(report, "journal on the disk of target/", Path::new(env!("CARGO_TARGET_TMPDIR")), false);
}

fn place(report: &mut Report, what: &str, folder: &Path, has_budget: bool) {
    let runs: Vec<Run> = (0..RUNS).map(|_| run(folder)).collect();
    let middle = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    report.note(what);
    report.add(Figure::new("one block written in place and flushed", flush_milliseconds(folder), "ms"));
    let mut rate = Figure::new("messages answered", middle(|run| run.per_second), "/s");
    let mut cost = Figure::new("processor time of a message", middle(|run| run.milliseconds_per_message), "ms");
    if has_budget {
        rate = rate.goal_at_least(PER_SECOND_MIN);
        cost = cost.goal_at_most(MILLISECONDS_PER_MESSAGE_MAX);
    }
    report.add(rate);
    report.add(cost);
    let servers = middle(|run| run.server_milliseconds_per_message);
    report.add(Figure::new("the same of the fake servers", servers, "ms"));
    let highest = runs.iter().map(|run| run.memory).fold(0.0, f64::max);
    report.add(Figure::new("memory at its highest (VmHWM)", highest, "MB").at_most(MEMORY_MEGABYTES_MAX));
    report.add(Figure::new("memory afterwards (VmRSS)", middle(|run| run.memory_afterwards), "MB"));
}

fn run(folder: &Path) -> Run {
    let (telegram, provider) = fakes();
    let mut stage = Stage::in_folder(folder);
    stage.ask(&provider);
    stage.listen_to(&telegram.url());
    let mut worker = stage.worker(&[]);
    worker.until("a poll", CEILING, || telegram.pending_polls() > 0);
    let (books, servers) = (worker.books(), Books(std::process::id()));
    let messages = CHATS * PER_CHAT;
    let (before, servers_before) = (books.processor_seconds(), servers.processor_seconds());
    let started = now();
    for number in 0..messages {
        telegram.say((number % CHATS) as i64 + 1, &format!("message {}", number / CHATS));
    }
    worker.until("every answer", LOAD_CEILING, || telegram.sent_count() >= messages);
    let elapsed = since(started).as_secs_f64();
    worker.until("every message is confirmed", CEILING, || telegram.unconfirmed_count() == 0);
    let per_message = |seconds: f64| seconds * 1e3 / messages as f64;
    let run = Run {
        per_second: messages as f64 / elapsed,
        milliseconds_per_message: per_message(books.processor_seconds() - before),
        server_milliseconds_per_message: per_message(servers.processor_seconds() - servers_before),
        memory: books.megabytes("VmHWM"),
        memory_afterwards: books.megabytes("VmRSS"),
    };
    for chat in 1..=CHATS as i64 {
        let answers = telegram.sent_to(chat);
        let is_answer = answers.iter().all(|answer| answer.text.starts_with("reply #"));
        assert!(
            answers.len() == PER_CHAT && is_answer,
            "chat {chat}: {} answers, maybe of another kind",
            answers.len()
        );
    }
    worker.stop(books);
    run
}
