//! [`Repeats`]: how many lines a program in trouble may write. The same trouble again is told once in [`EVERY`], with the
//! number of lines that were left out in between; all lines together are [`LINES_PER_SECOND`] at most. Turns, what
//! ends the program, damage, and answers to an operator are always written. Pure: the time is handed in, and the sink acts.

use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::sorted::SortedMap;
use crate::observe::event::Event;

/// The same event of the same class is written once in this time.
pub const EVERY: Duration = Duration::from_secs(10);

/// Lines that may be written in a second, beside turns and what ends the program. As many may come at once.
pub const LINES_PER_SECOND: u64 = 20;

/// Troubles that are told apart. Beyond that the one told longest ago is forgotten, and may be told again.
pub const KNOWN_MAX: usize = 128;

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written; so many of its kind were left out before it.
    Write {
        /// Left out since the last one was written.
        suppressed: u64,
    },
    /// It is left out and counted.
    Leave,
}

#[derive(Debug)]
struct Known {
    written: Mono,
    suppressed: u64,
}

/// What was written and left out lately.
#[derive(Debug)]
pub struct Repeats {
    known: SortedMap<String, Known>,
    /// Thousandths of a line that may be written now.
    allowance: u64,
    filled: Mono,
    /// Left out, because there were too many of all kinds.
    too_many: u64,
}

impl Default for Repeats {
    fn default() -> Repeats {
        Repeats { known: SortedMap::new(), allowance: LINES_PER_SECOND * 1000, filled: Mono(0), too_many: 0 }
    }
}

impl Repeats {
    /// Whether an event is written whatever was written before: what is promised, and the answer to what an operator did.
    pub fn is_exempt(event: &Event) -> bool {
        let is_promised = matches!(
            event,
            Event::Turn(_) | Event::Delivered { .. } | Event::Fatal { .. } | Event::JournalDamage { .. }
        );
        let is_answer =
            matches!(event, Event::Reload { .. } | Event::ChannelPairing { .. } | Event::ChannelSignal { .. });
        is_promised || is_answer || matches!(event, Event::LogDropped { .. } | Event::LogSuppressed { .. })
    }

    /// Decides about an event that is not exempt.
    pub fn decide(&mut self, event: &Event, now: Mono) -> Verdict {
        let identity = identity(event);
        if let Some(known) = identity.as_ref().and_then(|identity| self.known.get_mut(identity))
            && known.written.until(now) < EVERY
        {
            known.suppressed += 1;
            return Verdict::Leave;
        }
        if !self.may_write(now) {
            self.too_many += 1;
            return Verdict::Leave;
        }
        let Some(identity) = identity else { return Verdict::Write { suppressed: 0 } };
        let before = self.known.insert(identity, Known { written: now, suppressed: 0 });
        Verdict::Write { suppressed: before.map_or(0, |known| known.suppressed) }
    }

    /// What was left out and will not be told by a line of its kind any more: the kind has been quiet for [`EVERY`], there are
    /// too many kinds, or (`all`) the program ends. To be written as it is.
    pub fn settle(&mut self, now: Mono, all: bool) -> Vec<Event> {
        let mut events = Vec::new();
        if self.known.len() > KNOWN_MAX || all || self.known.values().any(|known| known.written.until(now) >= EVERY) {
            while self.known.len() > KNOWN_MAX {
                let oldest = self.known.iter().min_by_key(|(_, known)| known.written).map(|(name, _)| name.clone());
                let Some(oldest) = oldest else { break };
                let lines = self.known.remove(&oldest).map_or(0, |known| known.suppressed);
                events.extend(told(&oldest, lines));
            }
            self.known.retain(|identity, known| {
                let is_over = all || known.written.until(now) >= EVERY;
                events.extend(told(identity, if is_over { known.suppressed } else { 0 }));
                !is_over
            });
        }
        if self.too_many > 0 && (all || self.may_write(now)) {
            events.push(Event::LogDropped { lines: std::mem::take(&mut self.too_many), reason: "too_many" });
        }
        events
    }

    fn may_write(&mut self, now: Mono) -> bool {
        let gained = u64::try_from(self.filled.until(now).as_millis()).unwrap_or(u64::MAX);
        self.filled = self.filled.max(now);
        let most = LINES_PER_SECOND * 1000;
        self.allowance = gained.saturating_mul(LINES_PER_SECOND).saturating_add(self.allowance).min(most);
        let may = self.allowance >= 1000;
        self.allowance -= if may { 1000 } else { 0 };
        may
    }
}

fn told(identity: &str, lines: u64) -> Option<Event> {
    let (of, class) = identity.split_once(' ').unwrap_or((identity, ""));
    (lines > 0).then(|| Event::LogSuppressed { of: of.to_owned(), class: class.to_owned(), lines })
}

/// The event and its class: what makes two lines say the same, whatever numbers are in them. `None`: each says something
/// else, or its sender limits itself.
fn identity(event: &Event) -> Option<String> {
    let of = |name: &str, parts: &[&str]| Some(format!("{name} {}", parts.join(" ")));
    match event {
        Event::ChannelPollError { channel, error, .. } => of("channel_poll_error", &[channel.name(), error]),
        Event::ChannelConnectError { channel, error, .. } => of("channel_connect_error", &[channel.name(), error]),
        Event::ChannelReadError { channel, error, .. } => of("channel_read_error", &[channel.name(), error]),
        Event::ChannelSendError { channel, error, action, .. } => {
            of("channel_send_error", &[channel.name(), error, action])
        }
        Event::ChannelIgnored { channel, reason, .. } => of("channel_ignored", &[channel.name(), reason]),
        Event::ProviderRetry { provider, error, .. } => of("provider_retry", &[provider, error]),
        Event::SessionAppendError { error, .. } => of("session_append_error", &[error]),
        Event::SessionReadError { error, .. } => of("session_read_error", &[error]),
        Event::StorageError { what, error } => of("storage_error", &[what, error]),
        Event::TelemetryError { message } => of("telemetry_error", &[message]),
        Event::Log { target, message } => of("log", &[target, message]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock, Wall};
    use crate::base::id::ChannelId;
    use crate::base::rng::Rng;

    fn retry(provider: &str, attempt: u32) -> Event {
        let (request_id, error) = (attempt.to_string(), "server".to_owned());
        Event::ProviderRetry { request_id, provider: provider.to_owned(), attempt, error, retry_ms: attempt.into() }
    }

    const WRITE: Verdict = Verdict::Write { suppressed: 0 };

    #[test]
    fn the_same_trouble_is_told_once_in_ten_seconds_with_what_was_left_out() {
        let (mut repeats, clock) = (Repeats::default(), ManualClock::starting_at(Wall(0)));
        assert_eq!(repeats.decide(&retry("a", 1), clock.mono()), WRITE);
        for attempt in 2..5 {
            clock.advance(Duration::from_secs(3));
            assert_eq!(repeats.decide(&retry("a", attempt), clock.mono()), Verdict::Leave);
            assert_eq!(repeats.settle(clock.mono(), false), []);
        }
        assert_eq!(repeats.decide(&retry("b", 1), clock.mono()), WRITE, "another provider is other news");
        clock.advance(Duration::from_secs(1));
        assert_eq!(repeats.decide(&retry("a", 5), clock.mono()), Verdict::Write { suppressed: 3 });
        assert_eq!(repeats.decide(&retry("a", 6), clock.mono()), Verdict::Leave);
        clock.advance(EVERY);
        let left = Event::LogSuppressed { of: "provider_retry".into(), class: "a server".into(), lines: 1 };
        assert_eq!(repeats.settle(clock.mono(), false), [left], "a trouble that is over is counted to its end");
        assert_eq!(repeats.settle(clock.mono(), true), []);
    }

    #[test]
    fn all_lines_together_have_a_limit_and_what_ends_the_program_has_none() {
        let (mut repeats, clock) = (Repeats::default(), ManualClock::starting_at(Wall(0)));
        let stop = Event::ChannelStop { channel: ChannelId::Telegram, reason: "signal" };
        let written = (0..100).filter(|_| repeats.decide(&stop, clock.mono()) == WRITE).count();
        assert_eq!(written, 20);
        assert_eq!(repeats.settle(clock.mono(), false), [], "there is no room to tell it");
        clock.advance(Duration::from_secs(60));
        assert_eq!(repeats.settle(clock.mono(), false), [Event::LogDropped { lines: 80, reason: "too_many" }]);
        let written = (0..100).filter(|_| repeats.decide(&stop, clock.mono()) == WRITE).count();
        assert_eq!(written, 19, "a minute of silence saves up no more than a second");
        assert!(Repeats::is_exempt(&Event::Fatal { reason: String::new() }) && !Repeats::is_exempt(&stop));
    }

    /// Whatever comes in whatever order: no line is lost without being counted, and no second has more than it may.
    #[test]
    fn every_event_is_written_or_counted() {
        for seed in 0..50 {
            let (mut rng, mut repeats, clock) =
                (Rng::from_seed(seed), Repeats::default(), ManualClock::starting_at(Wall(0)));
            let (mut written, mut counted, mut times) = (0, 0, Vec::new());
            for number in 0..600 {
                clock.advance(Duration::from_millis(rng.up_to(400)));
                let event = retry(&rng.up_to(200).to_string(), number);
                if let Verdict::Write { suppressed } = repeats.decide(&event, clock.mono()) {
                    written += 1;
                    counted += suppressed;
                    times.push(clock.mono());
                }
                let all = number == 599;
                for event in repeats.settle(clock.mono(), all) {
                    counted += match event {
                        Event::LogSuppressed { lines, .. } | Event::LogDropped { lines, .. } => lines,
                        other => panic!("{other:?}"),
                    };
                }
                assert!(repeats.known.len() <= KNOWN_MAX, "seed {seed}");
            }
            assert_eq!(written + counted, 600, "seed {seed}");
            let a_second = |window: &[Mono]| window[0].until(window[40]) >= Duration::from_secs(1);
            assert!(times.windows(41).all(a_second), "seed {seed}");
        }
    }
}
