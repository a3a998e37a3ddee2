//! The facts as JSON, for `--json`. Keys are never renamed and never change their type; what is unknown is null. Pure.

use serde_json::{Value, json};

use crate::monitor::facts::{Facts, FolderSize, Host, Process, Worker};
use crate::monitor::history::used;

/// The version of this format: higher when a key is gone or means something else.
const VERSION: u32 = 1;

/// The whole document.
pub fn document(facts: &Facts) -> Value {
    let application = &facts.application;
    let resting = application
        .resting
        .iter()
        .map(|(name, class, until)| json!({"provider": name, "class": class, "until": until.rfc3339()}));
    let storage = &facts.storage;
    let sizes_are_complete = is_complete(storage.data_size) && is_complete(storage.workspace_size);
    json!({
        "version": VERSION,
        "at": facts.at.rfc3339(),
        "asked": {
            "interval_ms": facts.asked.interval_ms,
            "pid": facts.asked.pid,
            "process_match": facts.asked.process_match,
        },
        "application": {
            "provider": application.provider,
            "model": application.model,
            "telemetry_file": application.telemetry_file.display().to_string(),
            "telemetry": counters(facts),
            "tokens": {"used": application.tokens, "most": application.tokens_most},
            "resting": resting.collect::<Vec<_>>(),
        },
        "workers": facts.workers.iter().map(|found| worker(found, facts)).collect::<Vec<_>>(),
        "process": facts.process.as_ref().map(process),
        "host": host(&facts.host),
        "storage": {
            "data_dir": storage.data.display().to_string(),
            "workspace": storage.workspace.display().to_string(),
            "data_bytes": storage.data_size.map(|size| size.bytes),
            "workspace_bytes": storage.workspace_size.map(|size| size.bytes),
            "sizes_are_complete": sizes_are_complete,
            "disk_bytes": storage.disk.map(|(total, _)| total),
            "disk_free_bytes": storage.disk.map(|(_, free)| free),
            "journal_bytes": storage.journal,
        },
    })
}

fn is_complete(size: Option<FolderSize>) -> bool {
    size.is_some_and(|size| !size.is_partial)
}

/// With the names of `stats`.
fn counters(facts: &Facts) -> Option<Value> {
    let known = facts.application.counters.as_ref()?;
    let last = known.last_turn.as_ref().map(|turn| {
        json!({
            "request_id": turn.request_id,
            "session_id": turn.session_id,
            "path": turn.path,
            "status": turn.status,
            "error": turn.error,
            "timestamp": turn.timestamp,
        })
    });
    Some(json!({
        "total_turns": known.total_turns,
        "ok_turns": known.ok_turns,
        "error_turns": known.error_turns,
        "provider_turns": known.provider_turns,
        "tool_turns": known.tool_turns,
        "updated_at": known.updated_at,
        "latency_ms": {"p50": known.latency_ms(50), "p90": known.latency_ms(90), "p99": known.latency_ms(99)},
        "last_turn": last,
    }))
}

/// The worker's own document, and whether to believe it.
fn worker(worker: &Worker, facts: &Facts) -> Value {
    // By way of text, because the worker writes it that way, too: one serializer of it in the program.
    let text = serde_json::to_vec(&worker.status).unwrap_or_default();
    let status: Value = serde_json::from_slice(&text).unwrap_or_default();
    json!({"stale": worker.is_stale(facts.at), "status": status})
}

fn process(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "command": process.command,
        "cpu_percent": process.cpu_percent.map(rounded),
        "rss_bytes": process.resident,
        "vms_bytes": process.virtual_size,
        "threads": process.threads,
        "fd_count": process.descriptors,
        "read_bytes": process.io.map(|(read, _)| read),
        "written_bytes": process.io.map(|(_, written)| written),
    })
}

fn host(host: &Host) -> Value {
    let machine = &host.machine;
    let memory = machine.memory;
    let power = machine.throttled.map(
        |bits| json!({"now": bits.now().collect::<Vec<_>>(), "since_switched_on": bits.before().collect::<Vec<_>>()}),
    );
    json!({
        "loadavg": host.load,
        "cores": host.cores,
        "cpu_percent": host.cpu_percent.map(rounded),
        "memory_bytes": memory.map(|memory| memory.total),
        "memory_available_bytes": memory.map(|memory| memory.available),
        "memory_used_percent": memory.map(|memory| rounded(used(memory.total, memory.available))),
        "swap_bytes": memory.map(|memory| memory.swap_total),
        "swap_free_bytes": memory.map(|memory| memory.swap_free),
        "container_used_bytes": host.limit.map(|(used, _)| used),
        "container_limit_bytes": host.limit.map(|(_, most)| most),
        "temperature_celsius": machine.temperature_milli.map(|milli| milli as f64 / 1000.0),
        "power": power,
        "clock_synchronised": host.synchronised,
        "uptime_secs": host.uptime_secs,
        "board": machine.model,
    })
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
