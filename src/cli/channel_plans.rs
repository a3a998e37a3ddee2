//! What `channels` starts: the parts of each channel, put together from the configuration.

use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::id::ChannelId;
use crate::base::rng::Rng;
use crate::base::sorted::SortedMap;
use crate::channel::allowlist::Allowlist;
use crate::channel::outbound::Lanes;
use crate::channel::telegram_client::TelegramClient;
use crate::channel::telegram_people::People;
use crate::channel::telegram_sender::TelegramSender;
use crate::channel::telegram_worker::{Reader, ReaderSettings};
use crate::channel::whatsapp_frame::Dialect;
use crate::channel::whatsapp_identity::Identities;
use crate::channel::whatsapp_incoming::Intake;
use crate::channel::whatsapp_limits::LIMITS;
use crate::channel::whatsapp_outgoing::Outgoing;
use crate::channel::whatsapp_worker::{Worker, WorkerSettings};
use crate::cli::Failure;
use crate::cli::setup::Setup;
use crate::config::live_secret::LiveSecret;
use crate::config::whatsapp_settings::BridgeDialect;
use crate::net::http_client::HttpClient;
use crate::net::websocket::Dialer;
use crate::observe::event::Event;
use crate::observe::metrics_log::Look;
use crate::observe::metrics_registry::Looked;
use crate::provider::caller::Caller;
use crate::provider::pool::Looks;
use crate::provider::shared;
use crate::provider::spending_file::{self, BELIEVED_AFTER};
use crate::runtime::topology::{BOUNDS, Channel, Plan, SENDERS, Threads, Work};
use crate::store::directory::Directory;
use crate::store::exchange::{Left, Opening};
use crate::store::ledger::Ledger;
use crate::sys::stop::Stop;
use crate::sys::{files, usage};
use crate::turn::answer::Answerer;
use crate::turn::machine::Names;
use crate::turn::schedule::Limits;

/// How the supervisor reaches the threads.
pub struct Orders {
    /// Ends the poll under way.
    pub poll: Cancel,
    /// End the provider calls under way, one for each turn worker.
    pub calls: Vec<Cancel>,
    /// The order to stop.
    pub stop: Stop,
}

/// What all channels of a process have in common.
pub struct Shared(shared::Shared);

impl Shared {
    /// The accounts, the standing of the providers, and what was spent.
    pub fn new(setup: &Setup, rng: &mut Rng) -> Shared {
        Shared(shared::Shared::new(&setup.config, BELIEVED_AFTER, rng, &setup.clock, &setup.log))
    }

    /// Looks up what of the metrics nobody tells of.
    pub fn metrics_look(&self, setup: &Setup) -> Look {
        let (standing, data) = (Arc::clone(&self.0.standing), setup.config.data.clone());
        let (clock, most) = (Arc::clone(&setup.clock), setup.config.spending.tokens_per_day);
        Box::new(move || {
            let usage = usage::own();
            // A file that cannot be read is said where it is written.
            let spent = spending_file::read(&data).map_or(0, |spent| spent.tokens(clock.wall()));
            Looked {
                cpu_ms: usage.cpu_ms,
                rss_bytes: usage.rss_bytes,
                descriptors: usage.descriptors,
                threads: usage.threads,
                disk_free_bytes: files::free_bytes(&data).ok(),
                providers: standing.report(),
                tokens: (spent, most),
                ..Looked::default()
            }
        })
    }

    /// The thread that looks at accounts, where there are any.
    pub fn looks(&self, setup: &Setup) -> Option<Looks> {
        (setup.config.uses_codex() && setup.config.codex.enabled).then(|| Looks::start(&self.0.pool))
    }
}

/// Whether the operator wants this channel.
pub fn is_enabled(setup: &Setup, channel: ChannelId) -> bool {
    match channel {
        ChannelId::Telegram => setup.config.telegram.enabled,
        ChannelId::WhatsApp => setup.config.whatsapp.enabled,
        ChannelId::Console => false,
    }
}

/// What has to be configured before anything can start.
pub fn ready(setup: &Setup, channel: ChannelId) -> Result<(), Failure> {
    let (name, what, is_there, variable) = match channel {
        ChannelId::WhatsApp => ("whatsapp", "bridge", setup.config.whatsapp.bridge.is_some(), "WHATSAPP_BRIDGE_URL"),
        _ => ("telegram", "token", setup.config.telegram.token.is_some(), "TELEGRAM_TOKEN"),
    };
    let sentence = if !is_enabled(setup, channel) {
        format!("{name} is disabled: set RUSTY_PINCH_CHANNELS_{}_ENABLED=true", name.to_ascii_uppercase())
    } else if !is_there {
        format!("{name} has no {what}: set RUSTY_PINCH_CHANNELS_{variable}")
    } else {
        return Ok(());
    };
    Err(Failure::Configuration(sentence))
}

/// The first line of a channel.
pub fn announce(setup: &Setup, channel: ChannelId, messages_max: Option<u64>) {
    let (telegram, whatsapp) = (&setup.config.telegram, &setup.config.whatsapp);
    let is_telegram = channel == ChannelId::Telegram;
    let reconnect_ms = u64::try_from(whatsapp.reconnect.as_millis()).unwrap_or(u64::MAX);
    let event = Event::ChannelStart {
        channel,
        allow_from_count: if is_telegram { telegram.allow_from.len() } else { whatsapp.allow_from.len() },
        max_messages: messages_max,
        poll_timeout_secs: is_telegram.then_some(telegram.poll_timeout.as_secs()),
        bridge_url: (!is_telegram).then(|| whatsapp.bridge_origin()),
        reconnect_ms: (!is_telegram).then_some(reconnect_ms),
        workers: setup.config.workers,
        seed: setup.seed,
        version: env!("CARGO_PKG_VERSION"),
    };
    setup.log.emit(setup.clock.wall(), &event);
}

/// Everything of a channel.
#[expect(clippy::too_many_arguments, reason = "it is the one place where all parts of a channel meet")]
pub fn plan(
    setup: &Setup,
    id: ChannelId,
    shared: &Shared,
    ledger: Ledger,
    opening: Opening,
    orders: &Orders,
    limits: Limits,
    rng: &mut Rng,
) -> Plan {
    let config = &setup.config;
    let mut answerer = || {
        let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
        let caller = Caller::new(config, &shared.0, rng.split(), Arc::clone(&clock), orders.stop.clone(), log);
        let sessions = Directory::reading(&config.data.join("sessions"));
        Answerer::new(config, caller, Box::new(sessions), clock, Arc::clone(&setup.log))
    };
    let answerers = orders.calls.iter().map(|cancel| (answerer(), cancel.clone())).collect();
    let controller = answerer();
    let threads = match id {
        ChannelId::WhatsApp => whatsapp(setup, rng),
        _ => telegram(setup, opening.next_positions, orders, rng),
    };
    Plan {
        limits,
        bounds: BOUNDS,
        ledger,
        left: Left { reopened: opening.reopened, held: opening.held },
        answerers,
        controller,
        names: Names { provider: config.provider.name.clone(), model: config.provider.model.clone() },
        channel: Channel { id, threads },
        rng: rng.split(),
        telemetry_file: config.telemetry_file.clone(),
        clock: Arc::clone(&setup.clock),
        log: Arc::clone(&setup.log),
        stop: orders.stop.clone(),
    }
}

fn telegram(setup: &Setup, next_positions: SortedMap<u64, u64>, orders: &Orders, rng: &mut Rng) -> Threads {
    let telegram = &setup.config.telegram;
    let token = telegram.token.as_ref().map(|token| token.secret.clone()).expect("it was checked that there is one");
    let client = |cancel: Cancel| {
        let transport = Box::new(HttpClient::new(telegram.base.is_secure()));
        TelegramClient::new(transport, telegram.base.as_str(), LiveSecret::clone(&token), cancel)
    };
    let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
    let settings = ReaderSettings {
        people: People::new(Allowlist::new(&telegram.allow_from), setup.config.data.clone(), clock, log),
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
    Threads::Apart { reader, senders: senders.collect() }
}

fn whatsapp(setup: &Setup, rng: &mut Rng) -> Threads {
    let whatsapp = &setup.config.whatsapp;
    let url = whatsapp.bridge.as_deref().unwrap_or_default();
    let settings = WorkerSettings {
        dialer: Dialer::new(url, Arc::clone(&setup.clock)).expect("the URL was checked"),
        token: whatsapp.token.as_ref().map(|token| token.secret.clone()),
        dialect: match whatsapp.dialect {
            BridgeDialect::Auto => None,
            BridgeDialect::P => Some(Dialect::P),
            BridgeDialect::N => Some(Dialect::N),
        },
        reconnect: whatsapp.reconnect,
        limits: LIMITS,
        intake: Intake::new(Identities::new(&whatsapp.allow_from), whatsapp.media.clone()),
        identities: setup.config.data.join("identities.json"),
    };
    let outgoing = Outgoing::new(Lanes::new(setup.config.delivery, rng.split()));
    let (clock, log, rng) = (Arc::clone(&setup.clock), Arc::clone(&setup.log), rng.split());
    Threads::Joint(Box::new(move |ends| Worker::new(settings, outgoing, ends, clock, log, rng).run()))
}
