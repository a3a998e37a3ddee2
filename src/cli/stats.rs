//! `stats`: prints the counters, the latest turn and what was spent today as JSON, with the keys of contract §3.2. Reads only.

use serde_json::{Value, json};

use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, print};
use crate::observe::event::Event;
use crate::observe::telemetry::Snapshot;
use crate::observe::telemetry_file;
use crate::provider::spending::Spent;
use crate::provider::spending_file;
use crate::sys::files;

/// Prints the snapshot. `bus` and `prompt_cache` count nothing any more.
pub fn run() -> Result<(), Failure> {
    let setup = setup::load()?;
    let path = &setup.config.telemetry_file;
    let snapshot = match telemetry_file::read(path) {
        // Whoever reads us gets numbers; the next turn keeps the file aside and counts anew.
        Err(error) if files::is_damage(&error) => {
            let message = format!("{}: {error}", path.display());
            setup.log.emit(setup.clock.wall(), &Event::TelemetryError { message });
            Snapshot::default()
        }
        other => other.map_err(|error| Failure::Failed(setup.about(path, &error)))?,
    };
    let mut telemetry = serde_json::to_value(&snapshot).expect("counters are JSON");
    let last_turn = telemetry.as_object_mut().and_then(|object| object.remove("last_turn")).unwrap_or(Value::Null);
    let percentiles =
        json!({"p50": snapshot.latency_ms(50), "p90": snapshot.latency_ms(90), "p99": snapshot.latency_ms(99)});
    if let Some(object) = telemetry.as_object_mut() {
        object.remove("latencies");
        object.remove("sources");
        object.insert("latency_ms".to_owned(), percentiles);
    }
    telemetry["file"] = path.display().to_string().into();
    let spending = spending(&setup);
    let stats = json!({
        "bus": {"consumed": 0, "depth": 0, "dropped": 0, "published": 0},
        "last_turn": last_turn,
        "prompt_cache": {"hits": 0, "misses": 0},
        "spending": spending,
        "telemetry": telemetry,
    });
    print(&format!("{stats:#}\n"))
}

/// What was spent today. A file that cannot be read is told, and counts as nothing.
fn spending(setup: &Setup) -> Value {
    let spent = spending_file::read(&setup.config.data).unwrap_or_else(|error| {
        let what = spending_file::NAME.to_owned();
        setup.log.emit(setup.clock.wall(), &Event::StorageError { what, error: error.to_string() });
        Spent::default()
    });
    let (limits, now) = (&setup.config.spending, spending_file::now_of(setup.clock.wall()));
    json!({
        "by_provider": spent.by_provider(now.wall),
        "day": now.wall.rfc3339()[..10],
        "senders_limited": spent.senders_limited(limits, now),
        "tokens": spent.tokens(now.wall),
        "tokens_limit": limits.tokens_per_day,
    })
}
