//! What is said of the process, the host and the disk. Labels that earlier frames had are kept (contract §11). Pure.

use std::time::Duration;

use crate::monitor::facts::{Facts, FolderSize, Host};
use crate::monitor::history::{Graph, used};
use crate::monitor::line::{Line, Section, Tone, bytes, known, line, percent, span, tenths};

/// Less free space than this is a matter for somebody, in bytes.
const DISK_LOW: u64 = 512 << 20;

/// A Raspberry Pi slows down from here, in thousandths of a degree.
const HOT_MILLI: i64 = 80_000;

/// The process.
pub fn process(facts: &Facts) -> Section {
    let Some(process) = &facts.process else {
        let asked = &facts.asked;
        let what = match asked.pid {
            Some(pid) => format!("not found (pid {pid})"),
            None => format!("not found (nothing that we may see matches '{}')", asked.process_match),
        };
        return Section { title: "PROCESS", lines: vec![line("process", what).tone(Tone::Warning).vital()] };
    };
    let (read, written) = process.io.map_or((None, None), |(read, written)| (Some(bytes(read)), Some(bytes(written))));
    let io = format!("read={} write={}", known(read), known(written));
    let lines = vec![
        line("pid", process.pid.to_string()),
        line("command", &process.command),
        line("cpu", percent(process.cpu_percent)).vital().graph(Graph::Cpu),
        line("rss", known(process.resident.map(bytes))).vital().graph(Graph::Resident).joined(),
        line("vms", known(process.virtual_size.map(bytes))).joined(),
        line("io", io).graph(Graph::Written),
        line("fd_count", known(process.descriptors)).joined(),
        line("threads", known(process.threads)).joined(),
    ];
    Section { title: "PROCESS", lines }
}

/// The host.
pub fn host(facts: &Facts) -> Section {
    let host = &facts.host;
    let machine = &host.machine;
    let memory = machine.memory.map(|memory| {
        let share = used(memory.total, memory.available);
        let text = format!("{} of {} used", bytes(memory.total.saturating_sub(memory.available)), bytes(memory.total));
        line("memory", text).vital().graph(Graph::Memory).warning_if(share > 90.0)
    });
    let swap = machine.memory.map(|memory| {
        let text = format!(
            "{} of {} used",
            bytes(memory.swap_total.saturating_sub(memory.swap_free)),
            bytes(memory.swap_total)
        );
        line("swap", text)
    });
    let mut lines = vec![
        line("loadavg", known(host.load.clone())),
        line("cores", known(host.cores)).joined(),
        line("host_cpu", percent(host.cpu_percent)).brief().graph(Graph::HostCpu),
        memory.unwrap_or_else(|| line("memory", "n/a")),
        swap.unwrap_or_else(|| line("swap", "n/a")),
    ];
    lines.extend(host.limit.map(|(used, most)| {
        line("container", format!("{} of {} used", bytes(used), bytes(most))).warning_if(used > most / 10 * 9)
    }));
    lines.extend(machine.temperature_milli.map(|milli| {
        line("temperature", tenths(milli / 100) + " C").brief().graph(Graph::Temperature).warning_if(milli >= HOT_MILLI)
    }));
    lines.extend(power(host));
    lines.push(clock(host));
    lines.extend(host.uptime_secs.map(|seconds| line("uptime", span(Duration::from_secs(seconds)))));
    lines.extend(machine.model.as_ref().map(|model| line("board", model)));
    Section { title: "HOST", lines }
}

/// Only a Raspberry Pi says something of it.
fn power(host: &Host) -> Option<Line> {
    let bits = host.machine.throttled?;
    let (now, before) = (bits.now().collect::<Vec<_>>().join(", "), bits.before().collect::<Vec<_>>().join(", "));
    Some(match (now.is_empty(), before.is_empty()) {
        (true, true) => line("power", "good").brief().tone(Tone::Good),
        (true, false) => line("power", format!("good; since switched on: {before}")).brief().tone(Tone::Warning),
        (false, _) => line("power", format!("NOW: {now}; since switched on: {before}")).bad_if(true),
    })
}

fn clock(host: &Host) -> Line {
    match host.synchronised {
        Some(true) => line("clock", "set by a time service"),
        Some(false) => line("clock", "NOT SET by the time service yet").brief().tone(Tone::Warning),
        None => line("clock", "n/a"),
    }
}

/// The disk.
pub fn storage(facts: &Facts) -> Section {
    let storage = &facts.storage;
    let size = |size: Option<FolderSize>| {
        let of = |size: FolderSize| (if size.is_partial { ">=" } else { "" }).to_owned() + &bytes(size.bytes);
        known(size.map(of))
    };
    let sizes = format!("data={} workspace={}", size(storage.data_size), size(storage.workspace_size));
    let disk = storage.disk.map(|(total, free)| {
        let share = percent(Some(used(total, free)));
        let text = format!("{} free of {}, {share} used", bytes(free), bytes(total));
        line("filesystem", text).vital().bad_if(free < DISK_LOW)
    });
    let lines = vec![
        line("data_dir", storage.data.display().to_string()),
        line("workspace", storage.workspace.display().to_string()),
        line("dir_size", sizes),
        disk.unwrap_or_else(|| line("filesystem", "n/a")),
        line("journals", storage.journal.map_or("none found".to_owned(), bytes)),
    ];
    Section { title: "STORAGE", lines }
}
