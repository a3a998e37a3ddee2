//! What main waits for: signals, exits, and the end of its patience. There is no supervision tree: any thread that ends
//! early ends the process, and the next start recovers. Nothing is saved by stopping well that is lost by being killed;
//! a polite stop only makes the next start shorter.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::base::id::ChannelId;
use crate::observe::event::{Event, Log};
use crate::sys::queue::{Receiver, Sender, select};
use crate::sys::signal::Signal;
use crate::sys::stop::Stopper;
use crate::sys::thread::{Ending, Exit};

/// How long a provider call under way may still take once we are stopping.
const CALL_GRACE: Duration = Duration::from_secs(5);

/// The last part of the grace time is left for ending the process itself.
const MARGIN: Duration = Duration::from_millis(500);

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Signal,
    /// A bounded run has answered its messages.
    MaxMessages,
    /// A thread could not go on, because the disk failed.
    Storage {
        /// Whether it was told to end as well.
        told: bool,
    },
}

/// What is supervised.
pub struct Supervised {
    /// Which channels the events name.
    pub channels: Vec<ChannelId>,
    /// Where threads report.
    pub exits: Receiver<Exit>,
    /// How many will.
    pub threads: usize,
    /// What the operator asks.
    pub signals: Receiver<Signal>,
    /// Dropping it is the order to stop.
    pub stopper: Stopper,
    /// Ends the poll under way.
    pub poll: Cancel,
    /// Ends the provider calls under way.
    pub calls: Vec<Cancel>,
    /// Makes the reader look again.
    pub reload: Sender<()>,
    /// How long a stop may take.
    pub drain: Duration,
    /// Done once, when the order to stop is given; with whether somebody wanted it.
    pub on_stop: Box<dyn FnOnce(bool) + Send>,
}

/// Waits until every thread has ended, or for as long as a stop may take.
pub fn supervise(supervised: Supervised, clock: &Arc<dyn Clock>, log: &Arc<dyn Log>) -> Ended {
    let Supervised { channels, exits, threads, signals, stopper, poll, calls, reload, drain, on_stop } = supervised;
    let emit = |event: &Event| log.emit(clock.wall(), event);
    let mut order = Some((stopper, on_stop));
    let mut ended: Option<Ended> = None;
    let mut left = threads;
    let mut stop_begun: Option<Mono> = None;
    let mut was_told = false;
    while left > 0 {
        let now = clock.mono();
        let (calls_end, patience_end) = match stop_begun {
            Some(begun) => {
                let patience = drain.saturating_sub(MARGIN);
                (begun.after(CALL_GRACE.min(patience / 2)), begun.after(patience))
            }
            None => (Mono(u64::MAX), Mono(u64::MAX)),
        };
        if now >= patience_end {
            break;
        }
        if now >= calls_end {
            calls.iter().for_each(Cancel::cancel);
        }
        let next = if now < calls_end { calls_end } else { patience_end };
        let patience = now.until(next).min(Duration::from_secs(3600));
        let mut stop_now = false;
        select! {
            recv(exits.raw()) -> exit => if let Ok(exit) = exits.opened(exit) {
                left -= 1;
                stop_now = true;
                let reason = reason(&exit);
                if !matches!(exit.ending, Ending::Done) {
                    emit(&Event::Fatal { reason: format!("thread {} ended: {:?}", exit.name, exit.ending) });
                }
                ended = worse(ended, reason);
            },
            recv(signals.raw()) -> signal => match signals.opened(signal) {
                Ok(Signal::Terminate { name }) => {
                    emit(&Event::ChannelSignal { signal: name, action: "graceful_stop" });
                    ended = worse(ended, Some(Ended::Signal));
                    (was_told, stop_now) = (true, true);
                }
                // One that is waiting already is as good as two.
                Ok(Signal::Reload) => drop(reload.try_send(())),
                // The signal thread lives as long as the process.
                Err(_) => stop_now = true,
            },
            default(patience) => {}
        }
        if stop_now && let Some((stopper, on_stop)) = order.take() {
            stop_begun = Some(clock.mono());
            drop(stopper);
            poll.cancel();
            on_stop(was_told);
        }
    }
    drop(order);
    let ended = match ended.unwrap_or(Ended::Signal) {
        Ended::Storage { .. } => Ended::Storage { told: was_told },
        ended => ended,
    };
    let reason = match ended {
        Ended::Signal => "signal",
        Ended::MaxMessages => "max_messages",
        Ended::Storage { .. } => "storage",
    };
    channels.into_iter().for_each(|channel| emit(&Event::ChannelStop { channel, reason }));
    ended
}

/// What an exit means. The dispatcher leaves by itself only when a bounded run is over; when a signal made it leave, the
/// signal was the first reason and stays it.
fn reason(exit: &Exit) -> Option<Ended> {
    match (&exit.ending, exit.name.as_str()) {
        (Ending::Failed(_), _) => Some(Ended::Storage { told: false }),
        (Ending::Done, "dispatcher") => Some(Ended::MaxMessages),
        (Ending::Done, _) => None,
    }
}

/// A failed disk outweighs everything polite; the first polite reason stays.
fn worse(known: Option<Ended>, new: Option<Ended>) -> Option<Ended> {
    match (known, new) {
        (_, Some(Ended::Storage { .. })) => new,
        (known, new) => known.or(new),
    }
}
