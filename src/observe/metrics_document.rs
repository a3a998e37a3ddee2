//! `docs/metrics.md`, made from [`METRICS`]. Only tests ask for it.

use std::fmt::Write;

use crate::observe::metrics::{Kind, METRICS, Metric, NAMES_MAX, SERIES_MAX, Words};

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = format!(
        "# Metrics\n\nFor operators: every metric, made from the table in `src/observe/metrics.rs`.\n\n\
         A worker shows them at `/metrics` of its endpoint (`RUSTY_PINCH_HEALTH_ADDR`), or writes them every minute to \
         `RUSTY_PINCH_METRICS_FILE` for the textfile collector of node_exporter. There every series has one more label, `worker`, and \
         `process_*` is left out, because node_exporter shows those names of itself. The format is that of Prometheus, version 0.0.4. \
         Alerts and a dashboard are under `packaging/monitoring`.\n\n\
         Counters begin at zero with the process. No label ever holds text, names or ids of a chat: labels take the words below, or \
         names of configured providers, at most {NAMES_MAX}; any other word is `other`. There are at most {SERIES_MAX} series; what would \
         come beyond is counted in `rusty_pinch_series_dropped_total`.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n"
    );
    for metric in METRICS {
        let Metric { name, labels, help, .. } = metric;
        let labels: Vec<String> = labels.iter().map(|(label, words)| format!("`{label}`: {}", said(*words))).collect();
        let _ = writeln!(text, "| `{name}` | {} | {} | {help} |", kind(metric.kind), labels.join("; "));
    }
    text
}

fn said(words: Words) -> String {
    match words {
        Words::Closed([one]) if one.starts_with(|c: char| c.is_ascii_digit()) => "of the program".to_owned(),
        Words::Closed([_]) => "of the build".to_owned(),
        Words::Closed(words) => words.join(", "),
        Words::Channel => "telegram, whatsapp".to_owned(),
        Words::Provider => "a configured provider".to_owned(),
    }
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Counter => "counter".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::Histogram(bounds) => {
            let seconds: Vec<String> = bounds.iter().map(|bound| (*bound as f64 / 1000.0).to_string()).collect();
            format!("histogram, bounds {} s", seconds.join(" "))
        }
    }
}
