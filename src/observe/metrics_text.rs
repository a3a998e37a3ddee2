//! The registry as text: the exposition format of Prometheus, version 0.0.4. Pure.
//!
//! For the text file of node_exporter every series gets a label `worker`, because the exporter puts several workers' files
//! together and refuses a series that is there twice; and `process_*` is left out, because those names are its own.

use crate::base::clock::Wall;
use crate::base::id::ChannelId;
use crate::observe::metrics::{CHANNELS, Id, Kind, METRICS, Metric, Scale, Words};
use crate::observe::metrics_registry::{Numbers, Registry, Series};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most bytes of an exposition; [`super::metrics::SERIES_MAX`] lines with names of 64 bytes stay far below.
pub const BYTES_MAX: usize = 64 * 1024;

/// All metrics, each with its help and type. `worker`: for node_exporter, by this name.
pub fn exposition(registry: &Registry, now: Wall, worker: Option<&str>) -> String {
    let mut text = String::with_capacity(BYTES_MAX / 4);
    for metric in METRICS {
        let series = registry.series(metric.id);
        if series.is_empty() || worker.is_some() && metric.name.starts_with("process_") {
            continue;
        }
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        text += "# HELP ";
        text += metric.name;
        text += " ";
        escape(&mut text, metric.help, false);
        text += "\n# TYPE ";
        text += metric.name;
        text += " ";
        text += kind;
        text += "\n";
        for one in series {
            push_series(&mut text, registry, metric, one, now, worker);
        }
    }
    text
}

fn push_series(
    text: &mut String,
    registry: &Registry,
    metric: &Metric,
    series: &Series,
    now: Wall,
    worker: Option<&str>,
) {
    let mut labels = String::new();
    for (at, label) in metric.labels.iter().enumerate() {
        push_label(&mut labels, label.0, registry.word(series, at, *label));
    }
    if let Some(worker) = worker {
        push_label(&mut labels, "worker", worker);
    }
    let number = |value: u64| if metric.scale == Scale::Thousandths { thousandths(value) } else { value.to_string() };
    match (&series.numbers, metric.kind) {
        (Numbers::Many(counts, sum), Kind::Histogram(bounds)) => {
            let mut seen = 0;
            let bounds = bounds.iter().map(|bound| thousandths(*bound)).chain(["+Inf".to_owned()]);
            for (count, bound) in counts.iter().zip(bounds) {
                seen += count;
                let mut labels = labels.clone();
                push_label(&mut labels, "le", &bound);
                push_line(text, metric.name, "_bucket", &labels, &seen.to_string());
            }
            push_line(text, metric.name, "_sum", &labels, &number(*sum));
            push_line(text, metric.name, "_count", &labels, &seen.to_string());
        }
        (Numbers::One(value), _) => {
            let value = if metric.id == Id::Oldest { age(registry, metric, series, now) } else { *value };
            push_line(text, metric.name, "", &labels, &number(value));
        }
        (Numbers::Many(..), _) => {}
    }
}

/// Milliseconds since the oldest open message of the channel was received.
fn age(registry: &Registry, metric: &Metric, series: &Series, now: Wall) -> u64 {
    let label = metric.labels.iter().enumerate().find(|(_, (_, words))| *words == Words::Channel);
    let name = label.map_or("", |(at, label)| registry.word(series, at, *label));
    let channel = ChannelId::WITH_WORKER.into_iter().find(|channel| channel.name() == name);
    debug_assert!(CHANNELS.contains(&name));
    let oldest = channel.and_then(|channel| registry.oldest_at(channel));
    oldest.map_or(0, |oldest| now.0.saturating_sub(oldest))
}

fn push_label(labels: &mut String, name: &str, word: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, word, true);
    labels.push('"');
}

fn push_line(text: &mut String, name: &str, ending: &str, labels: &str, value: &str) {
    text.push_str(name);
    text.push_str(ending);
    if !labels.is_empty() {
        text.push('{');
        text.push_str(labels);
        text.push('}');
    }
    text.push(' ');
    text.push_str(value);
    text.push('\n');
}

/// As the format wants it: backslash and newline, and the quote where the text stands in quotes.
fn escape(text: &mut String, plain: &str, in_quotes: bool) {
    for c in plain.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if in_quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

/// Without zeros at the end: 1500 is `1.5`.
fn thousandths(value: u64) -> String {
    let (whole, rest) = (value / 1000, value % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = (1000 + rest).to_string();
    [&whole.to_string(), ".", digits[1..].trim_end_matches('0')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_exact_and_short() {
        let shown = [0, 1, 10, 320, 1000, 1500, 81_920, u64::MAX].map(thousandths);
        assert_eq!(shown, ["0", "0.001", "0.01", "0.32", "1", "1.5", "81.92", "18446744073709551.615"]);
    }

    #[test]
    fn names_of_operators_are_escaped() {
        let mut registry = Registry::new(&[ChannelId::Telegram], &["a\"b\\c\nd"], Wall(0));
        registry.add(Id::Requests, &["a\"b\\c\nd", "ok"], 1);
        let text = exposition(&registry, Wall(0), None);
        let wanted = "rusty_pinch_provider_requests_total{provider=\"a\\\"b\\\\c\\nd\",class=\"ok\"} 1\n";
        assert!(text.contains(wanted), "{text}");
    }
}
