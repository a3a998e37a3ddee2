//! `channels`: opens the journals, starts every thread, and waits. Returns when it is told to stop. What the threads of a
//! channel are made of stands in `channel_plans.rs`.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::id::ChannelId;
use crate::cli::channel_plans::{self as plans, Orders, Shared};
use crate::cli::flags::Parsed;
use crate::cli::opening::{self, Opened};
use crate::cli::setup::{self, Setup};
use crate::cli::watch::Watch;
use crate::cli::{Failure, reload};
use crate::observe::metrics_file::{TextFile, of_worker};
use crate::observe::metrics_log::Metrics;
use crate::observe::sink::Way;
use crate::runtime::supervise::{Ended, Supervised, supervise};
use crate::runtime::topology::{CREDITS, SENDERS, start};
use crate::sys::queue::{Receiver, bounded};
use crate::sys::signal::Signal;
use crate::sys::stop;
use crate::turn::schedule::Limits;

/// Why a worker ends whose disk failed; the event before it says more.
const UNWRITABLE: &str = "the journal cannot be written";

/// How long an ending worker waits for whoever reads its standard error.
const LOG_PATIENCE: Duration = Duration::from_millis(200);

/// Threads of a channel beside its turn workers, at most: writer, dispatcher, control lane, reader, senders.
const OTHER_THREADS: usize = 4 + SENDERS;

/// Answers the messages of one channel, or of all that are enabled, until told to stop.
pub fn run(parsed: &Parsed, signals: &Receiver<Signal>, only: Option<ChannelId>) -> Result<(), Failure> {
    let mut setup = setup::load_for(Way::Queued)?;
    let channels: Vec<ChannelId> = match only {
        Some(channel) => vec![channel],
        None => ChannelId::WITH_WORKER.into_iter().filter(|channel| plans::is_enabled(&setup, *channel)).collect(),
    };
    if channels.is_empty() {
        let sentence = "no channel is enabled: set RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true, \
                        RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED=true, or both";
        return Err(Failure::Configuration(sentence.to_owned()));
    }
    channels.iter().try_for_each(|channel| plans::ready(&setup, *channel))?;
    setup.refuse_strangers()?;
    let watch = Watch::begin(&mut setup, &channels)?;
    work(&setup, watch, &channels, signals, parsed.count("max-messages"))
}

/// Each channel has a journal, a writer, a dispatcher and turn workers of its own, as if it were a process of its own;
/// they share the order to stop, the providers, and what may be spent.
fn work(
    setup: &Setup,
    watch: Watch,
    channels: &[ChannelId],
    signals: &Receiver<Signal>,
    messages_max: Option<u64>,
) -> Result<(), Failure> {
    let (exits, exits_out) = bounded(channels.len() * (setup.config.workers + OTHER_THREADS));
    channels.iter().for_each(|channel| plans::announce(setup, *channel, messages_max));
    let Some(opened) = open(setup, &watch, channels, signals)? else {
        watch.end(true);
        return Ok(());
    };
    setup.end_orphans();
    let (stopper, stop) = stop::pair();
    let mut rng = setup.rng.clone();
    let shared = Shared::new(setup, &mut rng);
    let looks = shared.looks(setup);
    watch.metrics.look_with(shared.metrics_look(setup));
    let metrics_file = metrics_file(setup, &watch.metrics, channels);
    if let Some(file) = &metrics_file {
        let heart = watch.board.heart("metrics");
        file.start(Arc::clone(&setup.clock), heart, stop.clone()).map_err(Failure::no_thread)?;
    }
    let limits = Limits { workers: setup.config.workers, credits: CREDITS, messages_max };
    let poll = Cancel::new();
    let (mut threads, mut calls, mut reloads, mut locks) = (0, Vec::new(), Vec::new(), Vec::new());
    for (channel, Opened { lock, ledger, opening, .. }) in opened {
        let cancels: Vec<Cancel> = (0..setup.config.workers).map(|_| Cancel::new()).collect();
        let orders = Orders { poll: poll.clone(), calls: cancels.clone(), stop: stop.clone() };
        let plan = plans::plan(setup, channel, &shared, ledger, opening, &orders, limits, &mut rng);
        let started = start(plan, &exits).map_err(Failure::no_thread)?;
        watch.board.watch(channel, started.pulses, started.gauges);
        threads += started.threads;
        calls.extend(cancels);
        reloads.push(started.reload);
        locks.push(lock);
    }
    drop(stop);
    let supervised = Supervised {
        channels: channels.to_vec(),
        exits: exits_out,
        threads,
        signals: signals.clone(),
        stopper,
        poll,
        calls,
        reload: reload::start(setup, &watch, reloads).map_err(Failure::no_thread)?,
        drain: setup.config.drain,
        on_stop: watch.on_stop(),
    };
    watch.ready();
    let ended = supervise(supervised, &setup.clock, &setup.log);
    drop(looks);
    // What cannot be written now was told when it could not be written before.
    metrics_file.iter().for_each(|file| drop(file.write()));
    let outcome = match ended {
        Ended::Signal | Ended::MaxMessages => Ok(()),
        Ended::Storage { told: true } => Err(Failure::Storage(UNWRITABLE.to_owned())),
        Ended::Storage { told: false } => opening::fail(channels[0], setup, &watch, signals, UNWRITABLE),
    };
    if outcome.is_ok() {
        locks.iter().for_each(opening::note_end);
    }
    watch.end(outcome.is_ok());
    setup.log.flush(LOG_PATIENCE);
    drop(locks);
    outcome
}

/// The journals of all channels. `None`: we were told to end before that.
fn open(
    setup: &Setup,
    watch: &Watch,
    channels: &[ChannelId],
    signals: &Receiver<Signal>,
) -> Result<Option<Vec<(ChannelId, Opened)>>, Failure> {
    let mut opened = Vec::new();
    for channel in channels {
        let Some(found) = opening::open(*channel, setup, watch, signals)? else { return Ok(None) };
        opened.push((*channel, found));
    }
    let is_told =
        |(channel, found): &(ChannelId, Opened)| opening::rest_if_crashing(*channel, found, setup, watch, signals);
    if opened.iter().any(is_told) {
        opened.iter().for_each(|(_, found)| opening::note_end(&found.lock));
        return Ok(None);
    }
    Ok(Some(opened))
}

/// For node_exporter, if the operator wants it.
fn metrics_file(setup: &Setup, metrics: &Arc<Metrics>, channels: &[ChannelId]) -> Option<TextFile> {
    let path = setup.config.metrics_file.as_ref()?;
    let worker = if let [channel] = channels { channel.name() } else { "all" };
    let enabled = ChannelId::WITH_WORKER.into_iter().filter(|channel| plans::is_enabled(setup, *channel)).count();
    let is_one_of_several = enabled > channels.len();
    let path = if is_one_of_several { of_worker(path, worker) } else { path.clone() };
    Some(TextFile { metrics: Arc::clone(metrics), path, worker })
}
