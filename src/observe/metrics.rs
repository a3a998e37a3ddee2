//! [`METRICS`]: every metric once, with its kind, its unit, its labels and what they may say. The registry, the exposition and
//! `docs/metrics.md` come from this table. Pure.
//!
//! Labels take words of closed sets, or names that the operator configured; never anything that came from a chat.

/// Series of one exposition, counted as its lines without comments. What would come beyond is dropped and counted.
pub const SERIES_MAX: usize = 300;

/// Names that a label of configured names takes before the rest is [`OTHER`].
pub const NAMES_MAX: usize = 8;

/// What stands for a word that is not in its set.
pub const OTHER: &str = "other";

/// Most labels of a metric.
pub const LABELS_MAX: usize = 3;

/// Which metric; also its place in [`METRICS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says what each one is")]
pub enum Id {
    Build,
    Started,
    Turns,
    TurnSeconds,
    Requests,
    RequestSeconds,
    Tokens,
    TokensToday,
    TokensTodayMax,
    Breaker,
    NotBefore,
    Retries,
    RetryTokens,
    Up,
    LastOk,
    Waiting,
    ChannelErrors,
    Reconnects,
    Updates,
    Pending,
    Oldest,
    Deliveries,
    Commits,
    Fsync,
    JournalBytes,
    JournalErrors,
    BadLines,
    RecoverySeconds,
    Recovered,
    ToolCalls,
    Reloads,
    LogDropped,
    ClockSynced,
    DiskFree,
    SeriesDropped,
    Cpu,
    Rss,
    Descriptors,
    Threads,
}

/// What its values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bounds, in thousandths of its unit, smallest first; one without a bound follows.
    Histogram(&'static [u64]),
}

/// How a number is kept and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    Whole,
    /// Kept in thousandths: milliseconds of seconds.
    Thousandths,
}

/// What a label may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// One of these; anything else is [`OTHER`].
    Closed(&'static [&'static str]),
    /// A channel of this process.
    Channel,
    /// The name of a provider, as configured: the first [`NAMES_MAX`].
    Provider,
}

/// A label.
pub type Label = (&'static str, Words);

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its place in the table.
    pub id: Id,
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// How a number is kept and shown.
    pub scale: Scale,
    /// Its labels.
    pub labels: &'static [Label],
    /// Whether every series of its labels is there from the start, so that the first event is seen as an increase.
    pub is_eager: bool,
    /// One sentence.
    pub help: &'static str,
}

const CHANNEL: Label = ("channel", Words::Channel);
const KEY: Label = ("key", Words::Provider);
const GEN_AI_PROVIDER: Label = ("gen_ai_provider_name", Words::Provider);
const PATH: Label = ("path", Words::Closed(&["provider", "tool"]));

/// The channels that have a worker, in the order of their places.
pub const CHANNELS: &[&str] = &["telegram", "whatsapp"];

/// Classes of failure of a provider, and `ok`.
pub const CLASSES: &[&str] = &[
    "ok",
    "dns",
    "connect",
    "tls",
    "timeout_first_byte",
    "timeout_idle",
    "deadline",
    "stream_cut",
    "server",
    "overloaded",
    "rate_limited",
    "quota",
    "auth",
    "forbidden",
    "model_not_found",
    "context_length",
    "content_filter",
    "invalid_request",
    "malformed",
    "too_large",
    "spawn",
    "exit",
    "not_configured",
    "sender_limit",
    "token_limit",
    "cancelled",
];

/// What goes wrong with a channel: the exchange itself, then what only a person can mend.
pub const CHANNEL_CLASSES: &[&str] = &[
    "poll",
    "connect",
    "read",
    "parse",
    "send",
    "conflict",
    "auth",
    "webhook_set",
    "allowlist_empty",
    "logged_out",
    "replaced",
    "not_linked",
    "disk_full",
    "disk_readonly",
    "storage",
    "pending_grows",
    "crash_loop",
    OTHER,
];

/// The built-in tools.
pub const TOOLS: &[&str] = &["model_info", "session_tail", "time_now", OTHER];

/// Bounds of a turn, in milliseconds.
const TURN_BOUNDS: &[u64] = &[100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 300_000, 600_000];

/// Bounds of a request, in milliseconds: those that OpenTelemetry names for `gen_ai.client.operation.duration`.
const REQUEST_BOUNDS: &[u64] = &[10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480, 40_960, 81_920];

/// Bounds of a flush, in milliseconds.
const FLUSH_BOUNDS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

const VERSION: Label = ("version", Words::Closed(&[env!("CARGO_PKG_VERSION")]));
const GIT: Label = (
    "git",
    Words::Closed(&[match option_env!("RUSTY_PINCH_GIT") {
        Some(git) => git,
        None => "unknown",
    }]),
);
const TARGET: Label = ("target", Words::Closed(&[env!("RUSTY_PINCH_TARGET")]));

const fn metric(id: Id, name: &'static str, kind: Kind, labels: &'static [Label], help: &'static str) -> Metric {
    Metric { id, name, kind, scale: Scale::Whole, labels, is_eager: true, help }
}

const fn counter(id: Id, name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    metric(id, name, Kind::Counter, labels, help)
}

const fn gauge(id: Id, name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    metric(id, name, Kind::Gauge, labels, help)
}

const fn histogram(
    id: Id,
    name: &'static str,
    bounds: &'static [u64],
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    in_thousandths(metric(id, name, Kind::Histogram(bounds), labels, help))
}

/// Kept in thousandths of the unit that is shown.
const fn in_thousandths(metric: Metric) -> Metric {
    Metric { scale: Scale::Thousandths, ..metric }
}

/// There only once something happened: there are too many that never do.
const fn late(metric: Metric) -> Metric {
    Metric { is_eager: false, ..metric }
}

/// Every metric, in the order of [`Id`] and of the exposition.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    gauge(Id::Build, "rusty_pinch_build_info", &[VERSION, GIT, TARGET], "Always 1; the labels say what runs."),
    in_thousandths(gauge(Id::Started, "rusty_pinch_start_time_seconds", &[], "When the process started, in seconds since 1970.")),
    counter(Id::Turns, "rusty_pinch_turns_total", &[CHANNEL, PATH, ("status", Words::Closed(&["ok", "error"]))], "Turns closed: one for each accepted message."),
    histogram(Id::TurnSeconds, "rusty_pinch_turn_duration_seconds", TURN_BOUNDS, &[PATH], "From receipt to the end of delivery: waiting, calls of the provider, sending."),
    late(counter(Id::Requests, "rusty_pinch_provider_requests_total", &[("provider", Words::Provider), ("class", Words::Closed(CLASSES))], "Requests to a provider that are over: `ok`, or the class of the failure.")),
    histogram(Id::RequestSeconds, "gen_ai_client_operation_duration_seconds", REQUEST_BOUNDS, &[GEN_AI_PROVIDER], "How long a request to a provider took."),
    counter(Id::Tokens, "gen_ai_client_token_usage_total", &[GEN_AI_PROVIDER, ("type", Words::Closed(&["input", "output", "estimated"]))], "Tokens, as the provider counted them; `estimated` where it did not say and may have worked."),
    gauge(Id::TokensToday, "rusty_pinch_tokens_today", &[], "Tokens spent today (UTC), by all processes of the data folder."),
    gauge(Id::TokensTodayMax, "rusty_pinch_tokens_today_limit", &[], "Tokens that may be spent in a day; 0 is no limit."),
    gauge(Id::Breaker, "rusty_pinch_provider_breaker_state", &[KEY], "Whether a provider is asked: 0 yes, 1 one question tries it, 2 it is left alone."),
    in_thousandths(gauge(Id::NotBefore, "rusty_pinch_provider_not_before_timestamp_seconds", &[KEY], "A provider is left alone until then, in seconds since 1970; 0 if it is not.")),
    late(counter(Id::Retries, "rusty_pinch_retries_total", &[("class", Words::Closed(CLASSES))], "Further requests, of the same provider or of the next, by the failure before them.")),
    in_thousandths(gauge(Id::RetryTokens, "rusty_pinch_retry_budget_tokens", &[KEY], "Further attempts that a provider may still be burdened with; 10 is full.")),
    gauge(Id::Up, "rusty_pinch_channel_up", &[CHANNEL], "1 if the last exchange with the other end was good."),
    in_thousandths(gauge(Id::LastOk, "rusty_pinch_channel_last_ok_timestamp_seconds", &[CHANNEL], "When a poll was last answered or the link last showed that it lives, in seconds since 1970; the start of the process before that.")),
    gauge(Id::Waiting, "rusty_pinch_channel_waiting_messages", &[CHANNEL], "Messages that wait at the server, when it last said so."),
    counter(Id::ChannelErrors, "rusty_pinch_channel_errors_total", &[CHANNEL, ("class", Words::Closed(CHANNEL_CLASSES))], "Exchanges that failed; and, at least once a minute, what only a person can mend while it lasts."),
    counter(Id::Reconnects, "rusty_pinch_channel_reconnects_total", &[CHANNEL], "Times the channel was up again after it had been down."),
    counter(Id::Updates, "rusty_pinch_updates_total", &[CHANNEL, ("outcome", Words::Closed(&["accepted", "duplicate", "denied", "ignored", "refused"]))], "What became of what was received."),
    gauge(Id::Pending, "rusty_pinch_inbox_pending", &[CHANNEL, ("state", Words::Closed(&["unanswered", "undelivered"]))], "Messages that are not closed."),
    in_thousandths(gauge(Id::Oldest, "rusty_pinch_inbox_oldest_seconds", &[CHANNEL], "Age of the oldest message that is not closed; 0 if there is none.")),
    counter(Id::Deliveries, "rusty_pinch_delivery_total", &[CHANNEL, ("outcome", Words::Closed(&["sent", "sent_after_retry", "ambiguous_resent", "ambiguous_notice", "refused", "dead"]))], "How replies ended."),
    counter(Id::Commits, "rusty_pinch_journal_commits_total", &[CHANNEL], "Flushes of the journal that reached the medium."),
    histogram(Id::Fsync, "rusty_pinch_journal_fsync_seconds", FLUSH_BOUNDS, &[CHANNEL], "How long such a flush took."),
    counter(Id::JournalBytes, "rusty_pinch_journal_bytes_total", &[CHANNEL], "Bytes written to the journal."),
    counter(Id::JournalErrors, "rusty_pinch_journal_errors_total", &[CHANNEL, ("kind", Words::Closed(&["write", "flush", "too_large", "damage"]))], "What went wrong with the journal. All but `damage` end the process."),
    counter(Id::BadLines, "rusty_pinch_session_bad_lines_total", &[], "Damaged lines met in session files; one that stays is met again."),
    in_thousandths(gauge(Id::RecoverySeconds, "rusty_pinch_recovery_seconds", &[CHANNEL], "How long the start took to read the journal.")),
    counter(Id::Recovered, "rusty_pinch_recovered_messages_total", &[CHANNEL, ("kind", Words::Closed(&["unanswered", "undelivered", "session_lines"]))], "What the start found unfinished."),
    late(counter(Id::ToolCalls, "rusty_pinch_tool_calls_total", &[("tool", Words::Closed(TOOLS)), ("source", Words::Closed(&["user", "model"])), ("status", Words::Closed(&["ok", "error"]))], "Tools that were run, by whom they were asked for.")),
    counter(Id::Reloads, "rusty_pinch_secrets_reload_total", &[("status", Words::Closed(&["ok", "rejected", "unchanged"]))], "Secrets that were looked at again, one by one, after SIGHUP."),
    counter(Id::LogDropped, "rusty_pinch_log_dropped_total", &[], "Log lines dropped because nobody read standard error."),
    gauge(Id::ClockSynced, "rusty_pinch_clock_synced", &[], "1 if the clock can be believed."),
    gauge(Id::DiskFree, "rusty_pinch_disk_free_bytes", &[], "Bytes free where the data folder is; absent if that is not known."),
    counter(Id::SeriesDropped, "rusty_pinch_series_dropped_total", &[], "Counts that were dropped because there would be too many series."),
    in_thousandths(counter(Id::Cpu, "process_cpu_seconds_total", &[], "Processor time of the process.")),
    gauge(Id::Rss, "process_resident_memory_bytes", &[], "Memory of the process that is in RAM."),
    gauge(Id::Descriptors, "process_open_fds", &[], "Open file descriptors."),
    gauge(Id::Threads, "process_threads", &[], "Threads."),
];

impl Id {
    /// Its row.
    pub fn metric(self) -> &'static Metric {
        &METRICS[self as usize]
    }
}

impl Words {
    /// How many words there may be; channels and names are those of the process.
    pub fn closed(self) -> Option<&'static [&'static str]> {
        match self {
            Words::Closed(words) => Some(words),
            Words::Channel => Some(CHANNELS),
            Words::Provider => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_stands_in_its_place() {
        for (at, metric) in METRICS.iter().enumerate() {
            assert_eq!(metric.id as usize, at, "{}", metric.name);
            assert!(std::ptr::eq(metric.id.metric(), metric));
        }
    }

    #[test]
    fn names_and_labels_follow_the_rules_of_prometheus() {
        let word = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        for Metric { name, kind, scale, labels, help, .. } in METRICS {
            assert!(word(name) && help.ends_with('.') && labels.len() <= LABELS_MAX, "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let is_unit =
                ["_seconds", "_seconds_total", "_bytes", "_bytes_total"].iter().any(|unit| name.ends_with(unit));
            assert!(is_unit || *scale == Scale::Whole || name.ends_with("_tokens"), "{name}");
            if let Kind::Histogram(bounds) = kind {
                assert!(bounds.is_sorted() && *scale == Scale::Thousandths, "{name}");
            }
            for (label, words) in *labels {
                assert!(word(label) && *label != "le" && *label != "worker", "{name}: {label}");
                let words = words.closed().unwrap_or_default();
                assert!(words.len() < usize::from(u8::MAX), "{name}: {label}");
            }
        }
    }
}
