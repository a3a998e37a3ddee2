//! `channels`: opens the journal, starts every thread, and waits. Returns when it is told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::base::cancel::Cancel;
use crate::base::id::ChannelId;
use crate::base::rng::Rng;
use crate::channel::allowlist::Allowlist;
use crate::channel::outbound::Lanes;
use crate::channel::telegram_client::TelegramClient;
use crate::channel::telegram_sender::TelegramSender;
use crate::channel::telegram_worker::{Reader, ReaderSettings};
use crate::cli::flags::Parsed;
use crate::cli::opening::{self, Opened};
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, environment, reload};
use crate::config::keys::Reader as KeyReader;
use crate::config::live_secret::LiveSecret;
use crate::config::settings::Config;
use crate::net::http_client::HttpClient;
use crate::observe::event::Event;
use crate::observe::sink::Way;
use crate::provider::caller::{Caller, Shared};
use crate::provider::pool::{Looks, Pool};
use crate::provider::spending_file::{BELIEVED_AFTER, Spending};
use crate::provider::standing::Standing;
use crate::runtime::supervise::{Ended, Supervised, supervise};
use crate::runtime::topology::{BOUNDS, CREDITS, Channel, Plan, SENDERS, Work, start};
use crate::store::directory::Directory;
use crate::store::exchange::Opening;
use crate::store::ledger::Ledger;
use crate::sys::signal::{self, Signal};
use crate::sys::stop::{self, Stop};
use crate::turn::answer::Answerer;
use crate::turn::machine::Names;
use crate::turn::schedule::Limits;

/// Why a worker ends whose disk failed; the event before it says more.
const UNWRITABLE: &str = "the journal cannot be written";

/// How long an ending worker waits for whoever reads its standard error.
const LOG_PATIENCE: Duration = Duration::from_millis(200);

/// Threads beside the workers: writer, dispatcher, reader, senders.
const OTHER_THREADS: usize = 3 + SENDERS;

/// Answers Telegram messages until told to stop.
pub fn telegram(parsed: &Parsed) -> Result<(), Failure> {
    // Before anything else, so that an order to end is never the end of a process that had not got that far. The thread
    // lives as long as the process and reports nothing.
    let (exits, _) = bounded(1);
    let signals = signal::listen(exits).map_err(|error| Failure::Storage(format!("signals: {error}")))?;
    let setup = setup::load_for(Way::Queued)?;
    let token = ready(&setup.config)?;
    work(setup, &token, &signals, parsed.count("max-messages"))
}

/// Every channel that is enabled: Telegram is the only one there is, so far.
pub fn all(parsed: &Parsed) -> Result<(), Failure> {
    let surroundings = environment::read()?;
    let whatsapp = KeyReader(&surroundings.variables).flag("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED");
    match whatsapp.map_err(|error| Failure::Configuration(error.to_string()))? {
        true => whatsapp_worker(),
        false => telegram(parsed),
    }
}

/// There is none yet.
pub fn whatsapp_worker() -> Result<(), Failure> {
    let sentence = "this version has no WhatsApp worker yet; 'channels telegram' answers Telegram";
    Err(Failure::Configuration(sentence.to_owned()))
}

/// What has to be configured before anything can start.
fn ready(config: &Config) -> Result<LiveSecret, Failure> {
    if !config.telegram.enabled {
        let sentence = "telegram is disabled: set RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true";
        return Err(Failure::Configuration(sentence.to_owned()));
    }
    config.telegram.token.as_ref().map(|token| token.secret.clone()).ok_or_else(|| {
        Failure::Configuration("telegram has no token: set RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN".to_owned())
    })
}

fn work(
    setup: Setup,
    token: &LiveSecret,
    signals: &Receiver<Signal>,
    messages_max: Option<u64>,
) -> Result<(), Failure> {
    setup.refuse_strangers()?;
    let (exits, exits_out) = bounded(setup.config.workers + OTHER_THREADS);
    announce(&setup, messages_max);
    let channel = ChannelId::Telegram;
    let Some(opened) = opening::open(channel, &setup, signals)? else { return Ok(()) };
    setup.end_orphans();
    let (stopper, stop) = stop::pair();
    let calls = (0..setup.config.workers).map(|_| Cancel::new()).collect();
    let orders = Orders { poll: Cancel::new(), calls, stop };
    let limits = Limits { workers: setup.config.workers, credits: CREDITS, messages_max };
    let Opened { lock: _lock, ledger, opening } = opened;
    let pool = Arc::new(Pool::new(&setup.config, Arc::clone(&setup.clock), Arc::clone(&setup.log)));
    let looks = (setup.config.uses_codex() && setup.config.codex.enabled).then(|| Looks::start(&pool));
    let started = start(plan(&setup, token, &pool, ledger, opening, &orders, limits), &exits).map_err(no_thread)?;
    let supervised = Supervised {
        channel,
        exits: exits_out,
        threads: started.threads,
        signals: signals.clone(),
        stopper,
        poll: orders.poll,
        calls: orders.calls,
        reload: reload::start(&setup, started.reload).map_err(no_thread)?,
        drain: setup.config.drain,
    };
    let ended = supervise(supervised, &setup.clock, &setup.log);
    drop(looks);
    let outcome = match ended {
        Ended::Signal | Ended::MaxMessages => Ok(()),
        Ended::Storage { told: true } => Err(Failure::Storage(UNWRITABLE.to_owned())),
        Ended::Storage { told: false } => opening::fail(channel, &setup, signals, UNWRITABLE),
    };
    setup.log.flush(LOG_PATIENCE);
    outcome
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::Storage(format!("the system gives this process no more threads: {error}"))
}

fn announce(setup: &Setup, messages_max: Option<u64>) {
    let telegram = &setup.config.telegram;
    let event = Event::ChannelStart {
        channel: ChannelId::Telegram,
        allow_from_count: telegram.allow_from.len(),
        max_messages: messages_max,
        poll_timeout_secs: telegram.poll_timeout.as_secs(),
        workers: setup.config.workers,
        seed: setup.seed,
        version: env!("CARGO_PKG_VERSION"),
    };
    setup.log.emit(setup.clock.wall(), &event);
}

/// How the supervisor reaches the threads.
struct Orders {
    poll: Cancel,
    calls: Vec<Cancel>,
    stop: Stop,
}

fn plan(
    setup: &Setup,
    token: &LiveSecret,
    pool: &Arc<Pool>,
    ledger: Ledger,
    opening: Opening,
    orders: &Orders,
    limits: Limits,
) -> Plan {
    let config = &setup.config;
    let mut rng = setup.rng.clone();
    let spending = Spending::new(config, BELIEVED_AFTER, Arc::clone(&setup.clock), Arc::clone(&setup.log));
    let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
    let standing = Standing::new(&config.data, rng.split(), clock, log);
    let shared = Shared { spending: Arc::new(spending), standing: Arc::new(standing), pool: Arc::clone(pool) };
    let answerers = orders.calls.iter().map(|cancel| {
        let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
        let caller = Caller::new(config, &shared, rng.split(), Arc::clone(&clock), orders.stop.clone(), log);
        let sessions = Directory::reading(&config.data.join("sessions"));
        (Answerer::new(config, caller, Box::new(sessions), clock, Arc::clone(&setup.log)), cancel.clone())
    });
    Plan {
        limits,
        bounds: BOUNDS,
        ledger,
        reopened: opening.reopened,
        answerers: answerers.collect(),
        names: Names { provider: config.provider.name.clone(), model: config.provider.model.clone() },
        channel: channel(setup, token, opening.next_positions, orders, &mut rng),
        rng: rng.split(),
        telemetry_file: config.telemetry_file.clone(),
        clock: Arc::clone(&setup.clock),
        log: Arc::clone(&setup.log),
        stop: orders.stop.clone(),
    }
}

fn channel(
    setup: &Setup,
    token: &LiveSecret,
    next_positions: BTreeMap<u64, u64>,
    orders: &Orders,
    rng: &mut Rng,
) -> Channel {
    let telegram = &setup.config.telegram;
    let client = |cancel: Cancel| {
        let transport = Box::new(HttpClient::new(telegram.base.is_secure()));
        TelegramClient::new(transport, telegram.base.as_str(), token.clone(), cancel)
    };
    let settings = ReaderSettings {
        allowlist: Allowlist::new(&telegram.allow_from),
        poll_timeout: telegram.poll_timeout,
        request_timeout: telegram.request_timeout,
        next_positions,
    };
    let (poll_client, poll_rng) = (client(orders.poll.clone()), rng.split());
    let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
    let reader: Work<_> = Box::new(move |ends| Reader::new(poll_client, settings, ends, clock, log, poll_rng).run());
    let senders = (0..SENDERS).map(|_| -> Work<_> {
        let (client, lanes) = (client(Cancel::new()), Lanes::new(setup.config.delivery, rng.split()));
        let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
        Box::new(move |ends| TelegramSender::new(client, ends, clock, log, lanes).run())
    });
    Channel { id: ChannelId::Telegram, reader, senders: senders.collect() }
}
