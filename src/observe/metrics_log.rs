//! [`Metrics`]: the log of a worker, which counts what passes through it. One short lock for each event and note; what nobody
//! tells of is looked up when somebody asks for the numbers, and not while the lock is held.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::clock::{Clock, Wall};
use crate::base::id::ChannelId;
use crate::observe::event::{Event, Log};
use crate::observe::metrics_registry::{Looked, Registry};
use crate::observe::metrics_text;
use crate::observe::note::Note;
use crate::observe::status::Status;

/// Looks up what nobody tells of.
pub type Look = Box<dyn Fn() -> Looked + Send + Sync>;

/// The log, and the numbers.
pub struct Metrics {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    registry: Mutex<Registry>,
    look: Mutex<Option<Look>>,
}

impl Metrics {
    /// Passes everything on to `log`. Providers are named as configured.
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>, channels: &[ChannelId], providers: &[&str]) -> Metrics {
        let registry = Mutex::new(Registry::new(channels, providers, clock.wall()));
        Metrics { log, clock, registry, look: Mutex::new(None) }
    }

    /// From here on `look` is asked before the numbers are shown.
    pub fn look_with(&self, look: Look) {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
    }

    /// The text for `/metrics`; with the name of a worker the one for node_exporter. Nothing is looked up for `/metrics`: its thread
    /// also answers `/livez`, and must not wait for a disk that stands still. [`Metrics::fill`] does it every few seconds.
    pub fn exposition(&self, worker: Option<&str>) -> String {
        if worker.is_some() {
            self.refresh();
        }
        metrics_text::exposition(&self.registry(), self.clock.wall(), worker)
    }

    /// Fills what is counted into the document of a channel.
    pub fn fill(&self, channel: ChannelId, status: &mut Status) {
        self.refresh();
        self.registry().fill(channel, status);
    }

    fn refresh(&self) {
        let looked = self.look.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|look| look());
        if let Some(mut looked) = looked {
            looked.log_dropped = self.log.dropped();
            looked.is_clock_synced = self.clock.is_trusted();
            self.registry().look(looked);
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Metrics {
    fn emit(&self, at: Wall, event: &Event) {
        self.registry().on_event(at, event);
        self.log.emit(at, event);
    }

    fn note(&self, note: Note<'_>) {
        self.registry().on_note(self.clock.wall(), note);
        self.log.note(note);
    }

    fn dropped(&self) -> u64 {
        self.log.dropped()
    }

    fn flush(&self, patience: Duration) {
        self.log.flush(patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Nobody;

    impl Log for Nobody {
        fn emit(&self, _at: Wall, _event: &Event) {}
    }

    #[test]
    fn whoever_asks_over_the_network_waits_for_no_disk() {
        let clock = Arc::new(ManualClock::starting_at(Wall(0)));
        let metrics = Metrics::new(Arc::new(Nobody), clock, &[ChannelId::Telegram], &[]);
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        metrics.look_with(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Looked { disk_free_bytes: Some(7), ..Looked::default() }
        }));
        metrics.fill(ChannelId::Telegram, &mut Status::default());
        let text = metrics.exposition(None);
        assert!(text.contains("disk_free_bytes 7\n") && looks.load(Ordering::SeqCst) == 1, "{text}");
        metrics.exposition(Some("telegram"));
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }
}
