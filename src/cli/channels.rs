//! `channels`: opens the journal, starts every thread, and waits. Returns when it is told to stop.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use crossbeam_channel::bounded;

use crate::base::cancel::Cancel;
use crate::base::id::ChannelId;
use crate::base::rng::Rng;
use crate::channel::allowlist::Allowlist;
use crate::channel::outbound::Lanes;
use crate::channel::telegram_client::TelegramClient;
use crate::channel::telegram_sender::TelegramSender;
use crate::channel::telegram_worker::{Reader, ReaderSettings};
use crate::cli::flags::Parsed;
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, environment};
use crate::config::keys::Reader as KeyReader;
use crate::config::secret::Secret;
use crate::config::settings::Config;
use crate::net::http_client::HttpClient;
use crate::observe::event::Event;
use crate::observe::sink::Way;
use crate::observe::telemetry_file;
use crate::provider::caller::Caller;
use crate::runtime::supervise::{Ended, Supervised, supervise};
use crate::runtime::topology::{BOUNDS, CREDITS, Channel, Plan, SENDERS, Work, start};
use crate::store::directory::Directory;
use crate::store::journal::Counting;
use crate::store::ledger::{Folders, Ledger, Opening};
use crate::sys::signal;
use crate::sys::stop::{self, Stop};
use crate::sys::{entropy, files};
use crate::turn::answer::Answerer;
use crate::turn::machine::Names;
use crate::turn::schedule::Limits;

/// How long a starting worker waits for one that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long the writer waits for a command that appends to a session. Then the lines stay owed and everything else goes on.
const SESSIONS_PATIENCE: Duration = Duration::from_millis(100);

/// How long an ending worker waits for whoever reads its standard error.
const LOG_PATIENCE: Duration = Duration::from_millis(200);

/// Threads beside the workers: writer, dispatcher, reader, signal, senders.
const OTHER_THREADS: usize = 4 + SENDERS;

/// Answers Telegram messages until told to stop.
pub fn telegram(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load_for(Way::Queued)?;
    let token = ready(&setup.config)?;
    work(setup, &token, parsed.count("max-messages"))
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
fn ready(config: &Config) -> Result<Secret, Failure> {
    if !config.telegram.enabled {
        let sentence = "telegram is disabled: set RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true";
        return Err(Failure::Configuration(sentence.to_owned()));
    }
    config.telegram.token.clone().ok_or_else(|| {
        Failure::Configuration("telegram has no token: set RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN".to_owned())
    })
}

fn work(setup: Setup, token: &Secret, messages_max: Option<u64>) -> Result<(), Failure> {
    let data = setup.config.data.clone();
    let folder = data.join("journal").join("telegram");
    setup.refuse_strangers()?;
    let _lock = take_lock(&folder, &setup)?;
    let (exits, exits_out) = bounded(setup.config.workers + OTHER_THREADS);
    let signals = signal::listen(exits.clone()).map_err(|error| Failure::Storage(format!("signals: {error}")))?;
    announce(&setup, messages_max);
    setup.end_orphans();
    let (ledger, opening) = open(&data, &folder, &setup)?;
    let (stopper, stop) = stop::pair();
    let calls = (0..setup.config.workers).map(|_| Cancel::new()).collect();
    let orders = Orders { poll: Cancel::new(), calls, stop };
    let limits = Limits { workers: setup.config.workers, credits: CREDITS, messages_max };
    let started = start(plan(&setup, token, ledger, opening, &orders, limits), &exits);
    let supervised = Supervised {
        channel: ChannelId::Telegram,
        exits: exits_out,
        threads: started.threads,
        signals,
        stopper,
        poll: orders.poll,
        calls: orders.calls,
        reload: started.reload,
        drain: setup.config.drain,
    };
    let ended = supervise(supervised, &setup.clock, &setup.log);
    setup.log.flush(LOG_PATIENCE);
    match ended {
        Ended::Signal | Ended::MaxMessages => Ok(()),
        Ended::Storage => Err(Failure::Storage("the journal cannot be written".to_owned())),
    }
}

/// One worker per channel and data folder. The lock is the kernel's, so it goes with the process.
fn take_lock(folder: &Path, setup: &Setup) -> Result<fs::File, Failure> {
    let storage = |error: io::Error| Failure::Storage(format!("{}: {error}", folder.display()));
    files::make_folder(folder).map_err(storage)?;
    let path = folder.join("LOCK");
    let Some(mut file) = files::lock(&path, LOCK_PATIENCE, setup.clock.as_ref()).map_err(storage)? else {
        let holder = fs::read_to_string(&path).unwrap_or_default();
        let holder: String = holder.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(Failure::Locked(format!("another worker of this channel runs on {}: {holder}", folder.display())));
    };
    let holder = format!(
        "{{\"pid\":{},\"boot\":\"{}\",\"since\":\"{}\"}}\n",
        std::process::id(),
        entropy::boot_id(),
        setup.clock.wall().rfc3339()
    );
    file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(storage)?;
    Ok(file)
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

fn open(data: &Path, journal: &Path, setup: &Setup) -> Result<(Ledger, Opening), Failure> {
    let directory = |folder: &Path| {
        Directory::open(folder)
            .map(|directory| Box::new(directory.patient_for(SESSIONS_PATIENCE)))
            .map_err(|error| Failure::Storage(format!("{}: {error}", folder.display())))
    };
    let folders = Folders {
        journal: directory(journal)?,
        sessions: directory(&data.join("sessions"))?,
        dead: directory(&data.join("dead"))?,
    };
    let begun = setup.clock.mono();
    // Counters that cannot be read are counted anew; the writer keeps the damaged file aside.
    let counted = telemetry_file::read(&setup.config.telemetry_file).unwrap_or_default().sources;
    let counting = Counting { name: format!("telegram-{:016x}", entropy::seed()), counted };
    let (ledger, opening) = Ledger::open(folders, &entropy::boot_id(), counting, setup.clock.wall())
        .map_err(|error| Failure::Storage(format!("{}: {error}", journal.display())))?;
    let emit = |event: &Event| setup.log.emit(setup.clock.wall(), event);
    if let Some(detail) = opening.damage.clone() {
        emit(&Event::JournalDamage { channel: ChannelId::Telegram, detail });
    }
    for repaired in &opening.repaired {
        emit(&Event::SessionRepaired { session: repaired.session.clone(), bytes: repaired.bytes });
    }
    emit(&Event::Recovered {
        channel: ChannelId::Telegram,
        open: opening.reopened.len(),
        replied: opening.reopened.iter().filter(|reopened| reopened.reply.is_some()).count(),
        lines_restored: opening.lines_restored,
        frames: opening.frames,
        took_ms: u64::try_from(begun.until(setup.clock.mono()).as_millis()).unwrap_or(u64::MAX),
    });
    Ok((ledger, opening))
}

/// How the supervisor reaches the threads.
struct Orders {
    poll: Cancel,
    calls: Vec<Cancel>,
    stop: Stop,
}

fn plan(setup: &Setup, token: &Secret, ledger: Ledger, opening: Opening, orders: &Orders, limits: Limits) -> Plan {
    let config = &setup.config;
    let mut rng = setup.rng.clone();
    let answerers = orders.calls.iter().map(|cancel| {
        let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
        let caller = Caller::new(config, rng.split(), Arc::clone(&clock), orders.stop.clone(), log);
        let sessions = Directory::reading(&config.data.join("sessions"));
        (Answerer::new(config, caller, Box::new(sessions), clock), cancel.clone())
    });
    Plan {
        limits,
        bounds: BOUNDS,
        ledger,
        reopened: opening.reopened,
        answerers: answerers.collect(),
        names: Names { provider: config.provider.name.clone(), model: config.provider.model.clone() },
        channel: channel(setup, token, opening.next_positions, orders, &mut rng),
        telemetry_file: config.telemetry_file.clone(),
        clock: Arc::clone(&setup.clock),
        log: Arc::clone(&setup.log),
        stop: orders.stop.clone(),
    }
}

fn channel(
    setup: &Setup,
    token: &Secret,
    next_positions: BTreeMap<u64, u64>,
    orders: &Orders,
    rng: &mut Rng,
) -> Channel {
    let telegram = &setup.config.telegram;
    let client = |cancel: Cancel| {
        let transport = Box::new(HttpClient::new(telegram.base.is_secure()));
        TelegramClient::new(transport, telegram.base.as_str(), token, cancel)
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
