//! [`Condition`]: what a channel's events and notes say about whether messages can arrive and be kept. Pure: it is handed
//! what happened and when, and asked why the channel is not ready.

use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::ChannelId;
use crate::base::sorted::SortedSet;
use crate::observe::event::Event;
use crate::observe::note::Note;

/// A channel whose last good poll is older than this, or whose link is down for longer, is not ready.
pub const SILENT_MAX: Duration = Duration::from_secs(120);

/// Room that a worker wants on the disk of its data folder, in bytes; with less it is not ready.
pub const DISK_FREE_MIN: u64 = 64 << 20;

/// Everything that keeps a worker from being ready, each with what it means. What parks a channel is named as in its event.
#[rustfmt::skip]
pub const REASONS: &[(&str, &str)] = &[
    ("starting", "The worker has not come to its first good poll or link yet."),
    ("stopping", "The worker was told to end."),
    ("configuration", "A setting does not fit; the worker waits until it is mended."),
    ("wedged", "A thread has not shown that it lives for too long; a watchdog restarts the worker."),
    ("journal", "The folder of the journal cannot be written to."),
    ("disk_low", "Less than 64 MiB are free where the data folder is."),
    ("no_poll", "The server has not answered a poll for two minutes."),
    ("no_link", "The link to the bridge, or the bridge's own, is down for two minutes."),
    ("pending_grows", "Messages wait at the server and do not become fewer, although it answers polls with none."),
    ("conflict", "Another program reads this bot."),
    ("auth", "The other side rejects the token, or forbids us to connect."),
    ("webhook_set", "The bot has a webhook, so it cannot be polled."),
    ("allowlist_empty", "Nobody may write."),
    ("not_linked", "No phone is linked to the bridge."),
    ("logged_out", "The account of the bridge was logged out."),
    ("replaced", "Another program has taken the bridge's place."),
    ("disk_full", "The disk was full at the start; the worker waits."),
    ("disk_readonly", "The data folder could not be written to at the start; the worker waits."),
    ("storage", "The disk failed; the worker waits before it ends."),
    ("crash_loop", "The worker was started too often in a short time; it waits before it works."),
];

/// What stands before and behind the table of reasons in docs/production-healthcheck.md.
pub const MARKS: [&str; 2] = ["<!-- reasons: made from src/observe/condition.rs -->\n", "<!-- end of reasons -->"];

/// That table.
pub fn table() -> String {
    let rows = REASONS.iter().map(|(reason, meaning)| format!("| `{reason}` | {meaning} |\n"));
    "| reason | what it means |\n|---|---|\n".to_owned() + &rows.collect::<String>()
}

/// What does not end when something else parks a channel.
const NOBODY: &str = "allowlist_empty";

/// What is known beside a channel's own events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// What the process as a whole is doing, if it does not work: a name from [`REASONS`].
    pub phase: Option<&'static str>,
    /// No thread is overdue.
    pub is_live: bool,
    /// The journal's folder can be written to.
    pub is_writable: bool,
    /// Bytes that are free there, where that is known.
    pub free_bytes: Option<u64>,
}

/// What is known of one channel. Numbers are counted elsewhere (`metrics_registry.rs`).
#[derive(Clone, Debug)]
pub struct Condition {
    channel: ChannelId,
    started: Mono,
    is_up: bool,
    /// When the last poll was answered or the link showed that it lives.
    last_ok: Option<Mono>,
    /// What a person has to mend: [`NOBODY`], and what was said last.
    parked: SortedSet<String>,
}

impl Condition {
    /// Nothing happened yet.
    pub fn new(channel: ChannelId, now: Mono) -> Condition {
        Condition { channel, started: now, is_up: false, last_ok: None, parked: SortedSet::new() }
    }

    /// An event of this channel; whether it changed anything that somebody waits for.
    pub fn on_event(&mut self, event: &Event) -> bool {
        match event {
            Event::ChannelParked { reason, .. } => {
                // The other end has one reason at a time: a new one takes the place of the last.
                self.parked.retain(|other| other == reason || other == NOBODY || reason == NOBODY);
                self.parked.insert(reason.clone())
            }
            Event::ChannelResumed { .. } => !std::mem::take(&mut self.parked).is_empty(),
            Event::ChannelPollError { .. } | Event::ChannelState { state: "offline", .. } => {
                std::mem::replace(&mut self.is_up, false)
            }
            _ => false,
        }
    }

    /// A note of this channel; whether it changed anything that somebody waits for.
    pub fn on_note(&mut self, note: Note<'_>, now: Mono) -> bool {
        match note {
            Note::Polled { .. } | Note::LinkAlive { .. } => {
                self.last_ok = Some(now);
                !std::mem::replace(&mut self.is_up, true)
            }
            Note::LinkDown { .. } => std::mem::replace(&mut self.is_up, false),
            _ => false,
        }
    }

    /// Whether this parks it.
    pub fn is_parked_by(&self, reason: &str) -> bool {
        self.parked.contains(reason)
    }

    /// Why messages cannot arrive, or not be kept; in the order of [`REASONS`], those of a person last.
    pub fn reasons(&self, grounds: Grounds, now: Mono) -> Vec<String> {
        let Grounds { phase, is_live, is_writable, free_bytes } = grounds;
        let is_silent = self.last_ok.unwrap_or(self.started).until(now) >= SILENT_MAX;
        let silent = match (self.last_ok, is_silent, self.channel) {
            (None, false, _) => Some("starting"),
            (Some(_), false, _) => None,
            (_, true, ChannelId::WhatsApp) => Some("no_link"),
            (_, true, _) => Some("no_poll"),
        };
        // What is said of the whole process explains the silence.
        let named = [
            phase.or(silent.filter(|_| self.parked.is_empty() || self.last_ok.is_some())),
            (!is_live).then_some("wedged"),
            (!is_writable).then_some("journal"),
            free_bytes.is_some_and(|free| free < DISK_FREE_MIN).then_some("disk_low"),
        ];
        named.into_iter().flatten().map(str::to_owned).chain(self.parked.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEGRAM: ChannelId = ChannelId::Telegram;
    const WELL: Grounds = Grounds { phase: None, is_live: true, is_writable: true, free_bytes: Some(1 << 40) };

    fn parked(reason: &str) -> Event {
        Event::ChannelParked { channel: TELEGRAM, reason: reason.into(), remedy: String::new(), retry_ms: 0 }
    }

    fn polled(condition: &mut Condition, at: u64) -> bool {
        condition.on_note(Note::Polled { channel: TELEGRAM, waiting: None }, Mono(at))
    }

    #[track_caller]
    fn check(condition: &Condition, grounds: Grounds, at: u64, want: &[&str]) {
        assert_eq!(condition.reasons(grounds, Mono(at)), want);
    }

    #[test]
    fn ready_is_who_polled_within_two_minutes() {
        let mut condition = Condition::new(TELEGRAM, Mono(0));
        check(&condition, WELL, 0, &["starting"]);
        check(&condition, WELL, 120_000, &["no_poll"]);
        assert!(polled(&mut condition, 130_000));
        check(&condition, WELL, 249_999, &[]);
        check(&condition, WELL, 250_000, &["no_poll"]);
        assert!(!polled(&mut condition, 260_000), "it is as it was");
        check(&condition, WELL, 260_000, &[]);
    }

    #[test]
    fn a_link_may_be_down_for_two_minutes() {
        let mut condition = Condition::new(ChannelId::WhatsApp, Mono(0));
        let note = Note::LinkAlive { channel: ChannelId::WhatsApp };
        assert!(condition.on_note(note, Mono(5)));
        assert!(condition.on_note(Note::LinkDown { channel: ChannelId::WhatsApp }, Mono(6)));
        check(&condition, WELL, 120_004, &[]);
        check(&condition, WELL, 120_005, &["no_link"]);
        assert!(condition.on_note(note, Mono(120_006)));
        check(&condition, WELL, 120_006, &[]);
    }

    #[test]
    fn what_parks_is_a_reason_until_it_is_over() {
        let mut condition = Condition::new(TELEGRAM, Mono(0));
        assert!(condition.on_event(&parked("auth")));
        assert!(!condition.on_event(&parked("auth")), "it is no news");
        check(&condition, WELL, 0, &["auth"]);
        polled(&mut condition, 1);
        assert!(condition.on_event(&Event::ChannelResumed { channel: TELEGRAM }));
        check(&condition, WELL, 1, &[]);
    }

    /// Seen to fail with reasons that stay until all is well.
    #[test]
    fn a_new_reason_takes_the_place_of_the_last_but_nobody_is_put_on_the_list_by_it() {
        let mut condition = Condition::new(TELEGRAM, Mono(0));
        for (reason, want) in [
            ("conflict", &["conflict"][..]),
            ("auth", &["auth"]),
            ("allowlist_empty", &["allowlist_empty", "auth"]),
            ("webhook_set", &["allowlist_empty", "webhook_set"]),
        ] {
            assert!(condition.on_event(&parked(reason)));
            assert!(!condition.on_event(&parked(reason)), "it is no news");
            check(&condition, WELL, 0, want);
        }
    }

    #[test]
    fn every_ground_is_a_reason_and_every_reason_has_a_row() {
        let mut condition = Condition::new(TELEGRAM, Mono(0));
        polled(&mut condition, 0);
        check(&condition, Grounds { phase: Some("stopping"), ..WELL }, 0, &["stopping"]);
        check(&condition, Grounds { is_live: false, ..WELL }, 0, &["wedged"]);
        check(&condition, Grounds { is_writable: false, ..WELL }, 0, &["journal"]);
        check(&condition, Grounds { free_bytes: Some(DISK_FREE_MIN - 1), ..WELL }, 0, &["disk_low"]);
        check(&condition, Grounds { free_bytes: None, ..WELL }, 0, &[]);
        for name in ["starting", "stopping", "wedged", "journal", "disk_low", "no_poll", "no_link"] {
            assert!(REASONS.iter().any(|(reason, _)| *reason == name), "{name}");
        }
    }
}
