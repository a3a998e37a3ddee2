//! What an event or a note means for the numbers. Pure; one `match` over each.

use crate::base::clock::{Wall, millis};
use crate::base::id::ChannelId;
use crate::base::message::{Outcome, Path};
use crate::observe::event::{Event, TurnRecord};
use crate::observe::metrics::Id;
use crate::observe::metrics_registry::Registry;
use crate::observe::note::Note;
use crate::observe::telemetry::LATENCY_BOUNDS_MS;

/// Of problems that are no channel's.
const PROCESS: ChannelId = ChannelId::Console;

impl Registry {
    /// Counts an event.
    // long: one match over every event that is counted.
    pub fn on_event(&mut self, at: Wall, event: &Event) {
        match event {
            Event::Turn(record) => self.turn(record, at),
            Event::ChannelConnected { channel, .. } => self.alive(*channel, at),
            Event::ChannelState { channel, state: "offline" } => self.set(Id::Up, &[channel.name()], 0),
            Event::ChannelPollError { channel, error, .. } => {
                self.failed(*channel, "poll", "channel_poll_error", error, at)
            }
            Event::ChannelConnectError { channel, error, .. } => {
                self.failed(*channel, "connect", "channel_connect_error", error, at);
            }
            Event::ChannelReadError { channel, error, .. } => {
                self.failed(*channel, "read", "channel_read_error", error, at)
            }
            Event::ChannelParseError { channel, error, count } => {
                self.add(Id::ChannelErrors, &[channel.name(), "parse"], *count);
                self.problem(*channel, "channel_parse_error", error, at);
            }
            Event::ChannelSendError { channel, error, .. } => {
                self.add(Id::ChannelErrors, &[channel.name(), "send"], 1);
                self.problem(*channel, "channel_send_error", error, at);
            }
            Event::ChannelParked { channel, reason, .. } => {
                self.add(Id::ChannelErrors, &[channel.name(), reason], 1);
                self.problem(*channel, "channel_parked", reason, at);
                self.of_channel(*channel).parked = Some(reason.clone());
            }
            Event::ChannelResumed { channel } => self.of_channel(*channel).parked = None,
            Event::ProviderRetry { provider, error, .. } => {
                let class = class_of(error);
                self.add(Id::Retries, &[class], 1);
                self.problem(PROCESS, "provider_retry", &format!("{provider}: {class}"), at);
            }
            Event::ProviderState { provider, to, class, .. } if *to == "open" => {
                self.problem(PROCESS, "provider_state", &format!("{provider}: {class}"), at);
            }
            Event::LimitReached { limit, .. } => self.problem(PROCESS, "limit_reached", limit, at),
            Event::CodexAccount { account, state, .. } if *state != "ready" => {
                self.problem(PROCESS, "codex_account", &format!("{account}: {state}"), at);
            }
            Event::Recovered { channel, open, replied, lines_restored, took_ms, .. } => {
                self.set(Id::RecoverySeconds, &[channel.name()], *took_ms);
                let found = [open.saturating_sub(*replied), *replied, *lines_restored];
                for (kind, count) in ["unanswered", "undelivered", "session_lines"].iter().zip(found) {
                    self.add(Id::Recovered, &[channel.name(), kind], count as u64);
                }
            }
            Event::JournalDamage { channel, detail } => {
                self.add(Id::JournalErrors, &[channel.name(), "damage"], 1);
                self.problem(*channel, "journal_damage", detail, at);
            }
            Event::Reload { status, name, .. } => {
                self.add(Id::Reloads, &[status], 1);
                if *status == "rejected" {
                    self.problem(PROCESS, "reload", name, at);
                }
            }
            Event::SessionAppendError { error, .. } => self.problem(PROCESS, "session_append_error", error, at),
            Event::SessionReadError { error, .. } => self.problem(PROCESS, "session_read_error", error, at),
            Event::SessionRepaired { .. } => self.problem(PROCESS, "session_repaired", "", at),
            Event::StorageError { what, .. } => self.problem(PROCESS, "storage_error", what, at),
            Event::TelemetryError { message } => self.problem(PROCESS, "telemetry_error", message, at),
            Event::Fatal { reason } => self.problem(PROCESS, "fatal", reason, at),
            Event::Delivered { channel, delivery, .. } => self.delivered(*channel, *delivery),
            _ => {}
        }
    }

    /// Counts what is no event.
    pub fn on_note(&mut self, at: Wall, note: Note<'_>) {
        match note {
            Note::Polled { channel, waiting } => {
                self.alive(channel, at);
                if let Some(waiting) = waiting {
                    self.set(Id::Waiting, &[channel.name()], waiting);
                    self.of_channel(channel).waiting = Some(waiting);
                }
            }
            Note::LinkAlive { channel } => self.alive(channel, at),
            Note::LinkDown { channel } => self.set(Id::Up, &[channel.name()], 0),
            Note::Received { channel, outcome } => self.add(Id::Updates, &[channel.name(), outcome], 1),
            Note::Committed { channel, bytes, flush } => {
                self.add(Id::Commits, &[channel.name()], 1);
                self.add(Id::JournalBytes, &[channel.name()], bytes);
                self.observe(Id::Fsync, &[channel.name()], millis(flush));
            }
            Note::JournalFailed { channel, kind } => self.add(Id::JournalErrors, &[channel.name(), kind], 1),
            Note::Open { channel, unanswered, undelivered, oldest } => {
                self.set(Id::Pending, &[channel.name(), "unanswered"], unanswered as u64);
                self.set(Id::Pending, &[channel.name(), "undelivered"], undelivered as u64);
                self.of_channel(channel).oldest_at = oldest.map(|oldest| oldest.0);
            }
            Note::Asked { provider, class, took } => {
                self.add(Id::Requests, &[provider, class], 1);
                self.observe(Id::RequestSeconds, &[provider], millis(took));
            }
            Note::Spent { provider, input, output, estimated } => {
                for (kind, tokens) in [("input", input), ("output", output), ("estimated", estimated)] {
                    self.add(Id::Tokens, &[provider, kind], tokens);
                }
            }
            Note::ToolCalled { tool, source, ok } => {
                self.add(Id::ToolCalls, &[tool, source, if ok { "ok" } else { "error" }], 1);
            }
            Note::BadLines { lines } => self.add(Id::BadLines, &[], lines),
        }
    }

    fn of_channel(&mut self, channel: ChannelId) -> &mut crate::observe::metrics_registry::OfChannel {
        self.channels.entry(channel).or_default()
    }

    fn delivered(&mut self, channel: ChannelId, outcome: Outcome) {
        self.add(Id::Deliveries, &[channel.name(), outcome_name(outcome)], 1);
    }

    fn turn(&mut self, record: &TurnRecord, at: Wall) {
        let channel = record.channel.unwrap_or(PROCESS);
        let path = match record.path {
            Path::Provider => "provider",
            Path::Tool => "tool",
        };
        self.add(Id::Turns, &[channel.name(), path, &record.status], 1);
        let parts = [record.queue_ms, record.latency_ms, record.send_ms];
        self.observe(Id::TurnSeconds, &[path], parts.into_iter().flatten().fold(0, u64::saturating_add));
        if let Some(outcome) = record.delivery {
            self.delivered(channel, outcome);
        }
        let of_channel = self.of_channel(channel);
        if let Some(latency) = record.latency_ms {
            of_channel.latencies[LATENCY_BOUNDS_MS.partition_point(|bound| *bound < latency)] += 1;
        }
        (of_channel.last, of_channel.last_at) = (Some(record.request_id.clone()), Some(at.0));
        if let Some(error) = &record.error {
            self.problem(channel, "turn", error, at);
        }
    }

    /// The other end answered.
    fn alive(&mut self, channel: ChannelId, at: Wall) {
        let name = [channel.name()];
        let is_up = self.number(Id::Up, &name) == 1;
        self.set(Id::Up, &name, 1);
        self.set(Id::LastOk, &name, at.0);
        let was_up = std::mem::replace(&mut self.of_channel(channel).was_up, true);
        if was_up && !is_up {
            self.add(Id::Reconnects, &name, 1);
        }
    }

    fn failed(&mut self, channel: ChannelId, class: &str, event: &str, error: &str, at: Wall) {
        self.set(Id::Up, &[channel.name()], 0);
        self.add(Id::ChannelErrors, &[channel.name(), class], 1);
        self.problem(channel, event, error, at);
    }
}

/// The class at the beginning of an error of a provider.
fn class_of(error: &str) -> &str {
    error.split(':').next().unwrap_or(error)
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Sent => "sent",
        Outcome::SentAfterRetry => "sent_after_retry",
        Outcome::AmbiguousResent => "ambiguous_resent",
        Outcome::AmbiguousNotice => "ambiguous_notice",
        Outcome::Refused => "refused",
        Outcome::Dead => "dead",
    }
}
