//! One process after the other: the real `topology::start` and `supervise` with the ends of this folder, from opening
//! the ledger until every thread is gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusty_pinch::sys::queue::{self, Receiver, bounded};

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::{Clock, Mono, Wall};
use rusty_pinch::base::id::{ChannelId, TurnId};
use rusty_pinch::base::message::Mode;
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::ends::{ReaderEnds, SenderEnds};
use rusty_pinch::channel::outbound::Lanes;
use rusty_pinch::config::keys::Source;
use rusty_pinch::config::settings::Config;
use rusty_pinch::observe::event::{Event, Log};
use rusty_pinch::observe::telemetry_file;
use rusty_pinch::provider::caller::Caller;
use rusty_pinch::provider::chain::Link;
use rusty_pinch::provider::standing::Standing;
use rusty_pinch::runtime::supervise::{Ended, Supervised, supervise};
use rusty_pinch::runtime::topology::{Channel, Plan as Wiring, Started, Threads, Work, start};
use rusty_pinch::store::exchange::{Folders, Left, Opening};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;
use rusty_pinch::sys::signal::Signal;
use rusty_pinch::sys::stop::{self, Stop};
use rusty_pinch::sys::system_clock::SystemClock;
use rusty_pinch::turn::answer::Answerer;
use rusty_pinch::turn::machine::Names;
use rusty_pinch::turn::schedule::Limits;

use super::ends::{Reader, Sender};
use super::model::Model;
use super::plan::End;
use super::town::{Citizen, Town};
use crate::support::cases::Random;
use crate::support::lanes::ACCOUNT;
use crate::support::torn_disk::{Image, TornDisk};
use crate::support::waiting::{self, Gate, came_true};

/// The longest that nothing at all may happen.
const STANDSTILL: Duration = Duration::from_secs(5);
/// The longest that one process may need for what one town has to ask.
const PROCESS_CEILING: Duration = Duration::from_secs(60);
/// How long a stop may take, and what a busy machine may add.
const DRAIN: Duration = Duration::from_secs(3);
const DRAIN_CEILING: Duration = Duration::from_secs(5);

/// Reports what the product says to the town.
struct Ear(Citizen);

impl Log for Ear {
    fn emit(&self, _at: Wall, event: &Event) {
        let Ear(citizen) = self;
        if citizen.is_gone() {
            return;
        }
        match event {
            Event::Turn(record) => {
                let turn = TurnId::parse(&record.request_id).expect("a turn's name");
                *citizen.town.seen().closed.entry(turn).or_default() += 1;
            }
            Event::Fatal { reason } => {
                let mut seen = citizen.town.seen();
                // Each poisoned thread may end once.
                if reason.contains("it panicked") && seen.poisoned > 0 {
                    seen.poisoned -= 1;
                } else {
                    seen.fatal.push(reason.clone());
                }
            }
            _ => {}
        }
    }
}

/// The real time, which now and then takes the dispatcher a while to read: so its queues fill up.
struct Hourglass {
    clock: SystemClock,
    citizen: Citizen,
}

impl Clock for Hourglass {
    fn mono(&self) -> Mono {
        let town = &self.citizen.town;
        if std::thread::current().name() == Some("dispatcher") && town.chance(30) {
            self.citizen.stall(town.between(100, 400));
        }
        self.clock.mono()
    }

    fn wall(&self) -> Wall {
        self.clock.wall()
    }
}

pub fn open(town: &Town, disk: &TornDisk, boot: usize) -> (Ledger, Opening) {
    let counted = telemetry_file::read(&town.counters()).expect("whole counters").sources;
    let counting = Counting { name: "storm".to_string(), counted };
    let folders = Folders {
        journal: disk.folder("journal"),
        sessions: disk.folder("sessions"),
        dead: disk.folder("dead"),
        spool: disk.folder("spool"),
    };
    Ledger::open(folders, &format!("{boot:016}"), counting, Wall(1_700_000_000_000)).expect("a disk that works")
}

fn config() -> Config {
    let pairs = [
        ("RUSTY_PINCH_PROVIDER", "compatible"),
        ("RUSTY_PINCH_MODEL", "script"),
        ("RUSTY_PINCH_RETRY_BACKOFF_MS", "1"),
        ("RUSTY_PINCH_RETRY_MAX_BACKOFF_MS", "2"),
        ("RUSTY_PINCH_DATA_DIR", "/nowhere"),
    ];
    let environment = pairs.map(|(name, value)| (name.to_string(), (value.to_string(), Source::Environment)));
    Config::load(&environment.into()).expect("a configuration")
}

/// One process and what reaches it from outside.
pub struct Process {
    citizen: Citizen,
    signals: queue::Sender<Signal>,
    ended: Receiver<Ended>,
    /// Turns that it found open.
    reopened: Vec<TurnId>,
    /// The ends hold a copy of the one, and the product's threads of the other.
    token: Arc<()>,
    clock: Arc<dyn Clock>,
}

impl Process {
    pub fn start(town: &Town, disk: &TornDisk, boot: usize, credits: usize, seed: u64) -> Process {
        let mut rng = Rng::from_seed(seed);
        let citizen =
            Citizen { town: town.clone(), disk: disk.clone(), stopping: Gate::closed(), over: Gate::closed() };
        town.seen().busy.clear();
        let (ledger, opening) = open(town, disk, boot);
        let reopened = opening.reopened.iter().map(|reopened| reopened.job.inbound.turn).collect();
        let (stopper, stop) = stop::pair();
        let calls: Vec<Cancel> = (0..town.plan.workers).map(|_| Cancel::new()).collect();
        let clock: Arc<dyn Clock> = Arc::new(Hourglass { clock: SystemClock::new(), citizen: citizen.clone() });
        let log: Arc<dyn Log> = Arc::new(Ear(citizen.clone()));
        let token = Arc::new(());
        let outside = Outside { citizen: &citizen, clock: &clock, log: &log, stop: &stop, token: &token };
        let wiring = Wiring {
            limits: Limits { workers: town.plan.workers, credits, messages_max: None },
            bounds: town.plan.bounds,
            ledger,
            left: Left { reopened: opening.reopened, held: opening.held },
            answerers: calls.iter().map(|cancel| (outside.answerer(&mut rng), cancel.clone())).collect(),
            controller: outside.answerer(&mut rng),
            names: Names { provider: "compatible".to_string(), model: "script".to_string() },
            channel: outside.channel(opening.next_positions.get(&ACCOUNT).copied(), &mut rng),
            telemetry_file: town.counters(),
            rng: rng.split(),
            clock: Arc::clone(&clock),
            log: Arc::clone(&log),
            stop: stop.clone(),
        };
        let (exits, exits_out) = bounded(64);
        let Started { threads, reload, .. } = start(wiring, &exits).expect("threads");
        let (signals, signals_out) = bounded(8);
        let supervised = Supervised {
            channels: vec![ChannelId::Telegram],
            exits: exits_out,
            threads,
            signals: signals_out,
            stopper,
            poll: Cancel::new(),
            calls,
            reload,
            drain: DRAIN,
            on_stop: Box::new(|_| {}),
        };
        let (ended, ended_out) = bounded(1);
        let kept = Arc::clone(&clock);
        waiting::spawn("main", move || {
            let _ = ended.send(supervise(supervised, &clock, &log));
        });
        Process { citizen, signals, ended: ended_out, reopened, token, clock: kept }
    }

    /// Lets it run until its end is due, ends it, and gives the disk to the next one.
    pub fn run(self, end: End, random: &mut Random) -> Result<TornDisk, String> {
        self.until_due(end)?;
        if matches!(end, End::Kill { .. } | End::PowerCut { .. }) {
            self.citizen.kill();
        }
        // One that is killed has no effect any more, but its threads have to be told to go. One that ended by itself
        // does not listen.
        let _ = self.signals.send(Signal::Terminate { name: "terminate" });
        self.citizen.stopping.open();
        let ended = self.ended.recv_timeout(DRAIN_CEILING).map_err(|_| "the stop took too long".to_string())?;
        // Only a network that stalls keeps a thread from leaving by itself, and its process from waiting for it.
        if self.citizen.town.plan.network_stalls == 0 && !self.is_empty() {
            return Err(format!("{ended:?}, but not every thread has left"));
        }
        self.citizen.kill();
        self.check(ended)?;
        if !self.is_empty() {
            return Err("a thread outlives its process".to_string());
        }
        Ok(next_disk(&self.citizen.disk, end, random))
    }

    /// Whether every thread is gone; some may be just leaving.
    fn is_empty(&self) -> bool {
        came_true(STANDSTILL, || Arc::strong_count(&self.token) == 1 && Arc::strong_count(&self.clock) == 1)
    }

    fn until_due(&self, end: End) -> Result<(), String> {
        let town = &self.citizen.town;
        let begun = town.progress();
        let due = |progress: u64| match end {
            End::Quiet => town.all_done() && self.reopened.iter().all(|turn| town.seen().closed.contains_key(turn)),
            End::Stop { after } | End::Kill { after } | End::PowerCut { after } => {
                progress - begun >= after || town.all_done()
            }
        };
        let start = waiting::now();
        loop {
            if waiting::since(start) > PROCESS_CEILING {
                return Err(format!("this goes on for ever: {:?}", town.seen()));
            }
            let last = town.progress();
            let mut over = false;
            let went_on = came_true(STANDSTILL, || {
                over = due(town.progress()) || !self.ended.is_empty();
                over || town.progress() != last
            });
            if over {
                return Ok(());
            }
            if !went_on {
                return Err(format!("nothing happens any more: {:?}", town.seen()));
            }
        }
    }

    /// A thread may end by itself only because of the poison message or because the process was killed.
    fn check(&self, ended: Ended) -> Result<(), String> {
        let seen = self.citizen.town.seen();
        if let Some(fatal) = seen.fatal.first() {
            return Err(format!("{ended:?}: {fatal}"));
        }
        seen.wrong.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }
}

fn next_disk(disk: &TornDisk, end: End, random: &mut Random) -> TornDisk {
    let mut image = Image::Killed;
    if matches!(end, End::PowerCut { .. }) {
        let images: Vec<Image> = disk.images(random).into_iter().filter(Image::is_power_cut).collect();
        image = images[random.index(images.len())].clone();
    }
    disk.image(&image)
}

/// What the ends are made of.
struct Outside<'a> {
    citizen: &'a Citizen,
    clock: &'a Arc<dyn Clock>,
    log: &'a Arc<dyn Log>,
    stop: &'a Stop,
    token: &'a Arc<()>,
}

impl Outside<'_> {
    fn answerer(&self, rng: &mut Rng) -> Answerer {
        let config = config();
        let (clock, log) = (Arc::clone(self.clock), Arc::clone(self.log));
        let model = Box::new(Model(self.citizen.clone()));
        let links = vec![Link::new(model, &config.provider)];
        let standing = Standing::new(Path::new("/dev/null"), rng.split(), Arc::clone(&clock), Arc::clone(&log));
        let (settings, stop) = (&config.provider, self.stop.clone());
        let caller = Caller::over(links, settings, Arc::new(standing), rng.split(), Arc::clone(&clock), stop, log);
        let sessions = self.citizen.disk.folder("sessions");
        Answerer::new(&config, caller, sessions, clock, Arc::clone(self.log))
    }

    fn channel(&self, position: Option<u64>, rng: &mut Rng) -> Channel {
        let town = &self.citizen.town;
        let reader = Reader {
            citizen: self.citizen.clone(),
            // Now and then a server starts over and delivers everything again that was not confirmed.
            position: position.filter(|_| !town.chance(300)),
            looks: town.chance(500),
            rng: rng.split(),
        };
        let token = Arc::clone(self.token);
        let reader: Work<ReaderEnds> = Box::new(move |ends| {
            let _token = token;
            reader.run(&ends)
        });
        let senders = (0..town.plan.senders).map(|_| {
            let sender = Sender {
                citizen: self.citizen.clone(),
                lanes: Lanes::new(Mode::AtLeastOnce, rng.split()),
                start: waiting::now(),
            };
            let token = Arc::clone(self.token);
            let work: Work<SenderEnds> = Box::new(move |ends| {
                let _token = token;
                sender.run(&ends)
            });
            work
        });
        Channel { id: ChannelId::Telegram, threads: Threads::Apart { reader, senders: senders.collect() } }
    }
}
