//! `monitor` as scripts, cron and Compose use it: frames and JSON on a pipe.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use rusty_pinch::base::clock::Clock;
use rusty_pinch::base::id::ChannelId;
use rusty_pinch::observe::status::{ChannelStatus, Status};
use rusty_pinch::observe::status_file;
use rusty_pinch::sys::system_clock::SystemClock;
use serde_json::Value;

use crate::support::command::{local, run};
use crate::support::waiting::{now, since, until};
use crate::support::world::World;

/// A process with a command line of our choice, until it is dropped.
struct Named(Child);

impl Named {
    fn start(name: &str, script: &str) -> Named {
        let mut command = Command::new("/bin/sh");
        command.arg0(name).args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Named(command.spawn().expect("there is a shell"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for ever, which is until its input ends.
const WAITS: &str = "read line; true";

fn json(world: &World, arguments: &[&str]) -> Value {
    let printed = run(world, &[&["monitor", "--once", "--json"], arguments].concat(), 0).stdout;
    serde_json::from_str(&printed).expect("JSON")
}

#[test]
fn once_prints_one_frame_with_a_real_figure_of_processor_time() {
    let world = local();
    run(&world, &["run", "--message", "hello"], 0);
    let busy = Named::start("busy", "while :; do :; done");
    let found = json(&world, &["--pid", &busy.pid()]);
    let percent = found["process"]["cpu_percent"].as_f64().expect("a figure");
    assert!(percent > 0.0, "{found:#}");
    let frame = run(&world, &["monitor", "--once", "--pid", &busy.pid()], 0).stdout;
    let starts = ["Rusty Pinch Monitor", "time: ", "[APP]", "turns: total=1 ok=1", "[PROCESS]", "[HOST]", "[STORAGE]"];
    for start in starts {
        assert!(frame.lines().any(|line| line.starts_with(start)), "{start} is not in:\n{frame}");
    }
    assert!(!frame.contains('\u{1b}') && !frame.contains("cpu: n/a"), "{frame}");
}

/// The quickest of a few, because the machine may have other things to do.
#[test]
fn once_takes_less_than_a_third_of_a_second() {
    let world = local();
    let times: Vec<Duration> = (0..8)
        .map(|_| {
            let start = now();
            run(&world, &["monitor", "--once", "--json"], 0);
            since(start)
        })
        .collect();
    assert!(times.iter().any(|time| *time <= Duration::from_millis(300)), "{times:?}");
}

/// Scripts rely on names and kinds of these; more may come.
#[test]
fn the_document_has_its_keys_also_when_nothing_is_known() {
    let world = local();
    let number = |value: &Value| value.is_number() || value.is_null();
    let text = |value: &Value| value.is_string() || value.is_null();
    for arguments in [&["--pid", "4194305"][..], &["--process-match", "rusty-pinch"]] {
        let found = json(&world, arguments);
        assert_eq!(found["version"], 1);
        let numbers = [
            "/application/tokens/used",
            "/application/tokens/most",
            "/asked/interval_ms",
            "/asked/pid",
            "/host/cores",
            "/host/cpu_percent",
            "/host/memory_bytes",
            "/host/memory_available_bytes",
            "/host/swap_bytes",
            "/host/temperature_celsius",
            "/host/uptime_secs",
            "/host/container_limit_bytes",
            "/storage/data_bytes",
            "/storage/workspace_bytes",
            "/storage/disk_bytes",
            "/storage/disk_free_bytes",
            "/storage/journal_bytes",
        ];
        let texts =
            ["/at", "/application/provider", "/application/model", "/host/loadavg", "/host/board", "/storage/data_dir"];
        for pointer in numbers {
            assert!(found.pointer(pointer).is_some_and(number), "{pointer} in {found:#}");
        }
        for pointer in texts {
            assert!(found.pointer(pointer).is_some_and(text), "{pointer} in {found:#}");
        }
        let keys = ["/process", "/application/telemetry", "/host/power", "/host/clock_synchronised", "/workers"];
        assert!(keys.iter().all(|pointer| found.pointer(pointer).is_some()), "{found:#}");
    }
    assert!(json(&world, &["--pid", "4194305"])["process"].is_null());
    let frame = run(&world, &["monitor", "--once", "--pid", "4194305"], 0).stdout;
    assert!(frame.contains("telemetry: unavailable") && frame.contains("process: not found (pid 4194305)"), "{frame}");
}

#[test]
fn a_worker_that_reports_is_preferred_to_a_search() {
    let world = local();
    let name = format!("fake-{}", std::process::id());
    let (first, second) = (Named::start(&name, WAITS), Named::start(&name, WAITS));
    let found = || json(&world, &["--process-match", &name])["process"]["pid"].to_string();
    let lowest = first.0.id().min(second.0.id()).to_string();
    assert_eq!(found(), lowest, "the lowest number that matches");
    let at = SystemClock::new().wall().0;
    let report = |pid: u32, at: u64| {
        let channel = ChannelStatus { id: "telegram".into(), ..ChannelStatus::default() };
        let status = Status { pid, at, channel, data: status_file::absolute(&world.data()), ..Status::default() };
        status_file::write(&world.path("run"), ChannelId::Telegram, &status).expect("written");
    };
    for named in [&first, &second] {
        report(named.0.id(), at);
        assert_eq!(found(), named.pid());
    }
    report(first.0.id().max(second.0.id()), 1000);
    assert_eq!(found(), lowest, "a report of long ago is not believed");
    report(u32::MAX, at);
    assert_eq!(found(), lowest, "a process that is gone is not believed");
}

#[test]
fn a_hostile_command_line_is_text() {
    let world = local();
    let named = Named::start("\u{1b}]0;owned\u{7}\n[HOST]\nmemory: none", WAITS);
    let frame = run(&world, &["monitor", "--once", "--pid", &named.pid()], 0).stdout;
    assert!(frame.contains("command: \\u{1b}]0;owned\\u{7} [HOST] memory: none"), "{frame}");
    assert!(!frame.contains('\u{1b}'), "{frame}");
}

/// A shell that starts us may have a key in its command line.
#[test]
fn a_secret_of_ours_in_a_command_line_is_not_shown_in_part_or_whole() {
    let mut world = local();
    let secret = "canary-4f1d8e0b7a6c5d4e3f2a";
    world.set("RUSTY_PINCH_OPENAI_API_KEY", secret);
    for filler in [0, 485] {
        let named = Named::start(&format!("{}RUSTY_PINCH_OPENAI_API_KEY={secret}", "x".repeat(filler)), WAITS);
        for form in [&["--json"][..], &[]] {
            let pid = named.pid();
            let arguments = [&["monitor", "--once", "--pid", &pid], form].concat();
            let printed = run(&world, &arguments, 0).stdout;
            assert!(printed.contains("RUSTY_PINCH_") || filler > 0, "{printed}");
            assert!(!printed.contains("canary"), "{printed}");
        }
    }
}

#[test]
fn without_a_terminal_each_tick_is_a_frame() {
    let mut world = local();
    for (term, begin) in [(None, "\u{1b}[2J\u{1b}[HRusty Pinch"), (Some("dumb"), "Rusty Pinch")] {
        if let Some(term) = term {
            world.set("TERM", term);
        }
        let mut process = world.start(&["monitor", "--interval-ms", "50"]);
        until("three frames", || process.stdout().matches("Rusty Pinch Monitor").count() >= 3);
        process.signal(Signal::INT);
        assert_eq!(process.wait_within(Duration::from_secs(20)).code(), Some(0));
        let printed = process.stdout();
        assert!(printed.starts_with(begin) && printed.ends_with("monitor stopped\n"), "{printed}");
        assert_eq!(printed.contains('\u{1b}'), term.is_none());
    }
}

#[test]
fn json_without_once_is_an_object_a_line() {
    let world = local();
    let mut process = world.start(&["monitor", "--json", "--interval-ms", "50"]);
    until("two lines", || process.stdout().matches('\n').count() >= 2);
    process.terminate();
    assert_eq!(process.wait_within(Duration::from_secs(20)).code(), Some(0));
    let printed = process.stdout();
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() >= 2 && lines.iter().all(|line| line["version"] == 1), "{printed}");
}
