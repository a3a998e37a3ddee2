//! What the queues hold when the disk stands still: the product's own threads between two ends that never stop giving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusty_pinch::sys::queue::{bounded, select};

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::{Clock, Mono, Wall};
use rusty_pinch::base::id::{ChannelId, TurnId};
use rusty_pinch::base::message::{Delivery, Job};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::ends::{ReaderEnds, SenderEnds};
use rusty_pinch::config::keys::Source;
use rusty_pinch::config::settings::Config;
use rusty_pinch::observe::event::{Event, Log};
use rusty_pinch::provider::caller::Caller;
use rusty_pinch::provider::shared::Shared;
use rusty_pinch::runtime::topology::{Bounds, Channel, Plan, Started, Threads, Work, start};
use rusty_pinch::store::exchange::{Append, Folders, Left};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;
use rusty_pinch::sys::heartbeat;
use rusty_pinch::sys::stop::{self, Stop};
use rusty_pinch::sys::system_clock::SystemClock;
use rusty_pinch::turn::answer::Answerer;
use rusty_pinch::turn::machine::Names;
use rusty_pinch::turn::schedule::Limits;
use rusty_pinch::turn::under_way::UnderWay;
use rusty_pinch::turn::worker::{self, Task, WorkerEnds};

use crate::support::lanes::inbound;
use crate::support::torn_disk::TornDisk;
use crate::support::waiting::{CEILING, Gate, holds, until};

/// Far more than all queues of this test hold.
const MANY: usize = 60;
const BOUNDS: Bounds = Bounds { inbox: 1, appends: 2, deliveries: 3, typing: 1, batch: MANY };
const NOW: Wall = Wall(1_700_000_000_000);
/// How long nothing more may come through.
const WINDOW: Duration = Duration::from_millis(150);

struct Silent;

impl Log for Silent {
    fn emit(&self, _at: Wall, _event: &Event) {}
}

/// The disk that stands still in a flush, and what came through since.
#[derive(Clone)]
struct Standstill {
    /// From here on the next flush stands still.
    begins: Gate,
    stands: Gate,
    ends: Gate,
    handed_over: Arc<AtomicUsize>,
    reported: Arc<AtomicUsize>,
}

impl Standstill {
    fn new() -> Standstill {
        let [begins, stands, ends] = [Gate::closed(), Gate::closed(), Gate::closed()];
        Standstill { begins, stands, ends, handed_over: Arc::default(), reported: Arc::default() }
    }

    fn disk(&self) -> TornDisk {
        let still = self.clone();
        TornDisk::default().before_sync(Arc::new(move || {
            if still.begins.is_open() {
                still.stands.open();
                still.ends.wait(CEILING);
            }
        }))
    }

    /// Hands over one message, and all others once the disk stands.
    fn reader(&self) -> Work<ReaderEnds> {
        let still = self.clone();
        Box::new(move |ends| {
            let mut rng = Rng::from_seed(1);
            for update in 0..MANY as u64 {
                let message = inbound(TurnId::mint(NOW, &mut rng), update, "10", "question".to_string(), NOW);
                select! {
                    send(ends.inbox.raw(), Box::new(message)) -> sent => sent.map_err(|_| "the dispatcher has left")?,
                    recv(ends.stop.receiver()) -> _ => return Ok(()),
                }
                if update == 0 {
                    still.stands.wait(CEILING);
                } else {
                    still.handed_over.fetch_add(1, Ordering::SeqCst);
                }
            }
            Ok(())
        })
    }

    /// Reports that nobody waits for, of a turn that nobody knows.
    fn sender(&self) -> Work<SenderEnds> {
        let still = self.clone();
        Box::new(move |ends| {
            let turn = TurnId::mint(NOW, &mut Rng::from_seed(2));
            still.stands.wait(CEILING);
            for _ in 0..MANY {
                let report = Delivery::Unsent { turn, part: 0, ambiguous: false, resends: 0 };
                ends.deliveries.send(report).map_err(|_| "the writer has left")?;
                still.reported.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        })
    }

    fn came_through(&self) -> (usize, usize) {
        (self.handed_over.load(Ordering::SeqCst), self.reported.load(Ordering::SeqCst))
    }
}

/// One that repeats what it is asked.
fn idle_answerer(disk: &TornDisk, clock: &Arc<dyn Clock>, stop: &Stop) -> Answerer {
    let environment = [("RUSTY_PINCH_PROVIDER".to_string(), ("local".to_string(), Source::Environment))];
    let config = Config::load(&environment.into()).expect("a configuration");
    let (mut rng, log): (Rng, Arc<dyn Log>) = (Rng::from_seed(4), Arc::new(Silent));
    let shared = Shared::new(&config, Duration::ZERO, &mut rng, clock, &log);
    let caller = Caller::new(&config, &shared, rng, Arc::clone(clock), stop.clone(), Arc::clone(&log));
    Answerer::new(&config, caller, disk.folder("sessions"), Arc::clone(clock), log)
}

/// Two records wait for the disk, one is in the dispatcher's hand, one in the inbox; three reports wait.
#[test]
fn a_disk_that_stands_still_makes_everybody_wait_at_the_bounds() {
    let still = Standstill::new();
    let disk = still.disk();
    let folders = Folders {
        journal: disk.folder("journal"),
        sessions: disk.folder("sessions"),
        dead: disk.folder("dead"),
        spool: disk.folder("spool"),
    };
    let counting = Counting { name: "bounds".to_string(), ..Counting::default() };
    let (ledger, _) = Ledger::open(folders, "0000000000000000", counting, NOW).expect("a disk that works");
    let counters = tempfile::tempdir().expect("a temporary folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (stopper, stop) = stop::pair();
    still.begins.open();
    let plan = Plan {
        limits: Limits { workers: 0, credits: 2 * MANY, messages_max: None },
        bounds: BOUNDS,
        ledger,
        left: Left::default(),
        answerers: Vec::new(),
        controller: idle_answerer(&disk, &clock, &stop),
        names: Names { provider: String::new(), model: String::new() },
        channel: Channel {
            id: ChannelId::Telegram,
            threads: Threads::Apart { reader: still.reader(), senders: vec![still.sender()] },
        },
        telemetry_file: counters.path().join("latest.json"),
        rng: Rng::from_seed(3),
        clock: Arc::clone(&clock),
        log: Arc::new(Silent),
        stop,
    };
    let (exits, exits_out) = bounded(16);
    let seen = Arc::clone(&clock);
    let Started { threads, pulses, gauges, .. } = start(plan, &exits).expect("threads");
    let wanted = (BOUNDS.appends + 1 + BOUNDS.inbox, BOUNDS.deliveries);
    until("the queues are full", || {
        let (handed_over, reported) = still.came_through();
        handed_over >= wanted.0 && reported >= wanted.1
    });
    holds("no more comes through", WINDOW, || still.came_through() == wanted);
    let overdue = |later: u64| -> Vec<&str> {
        let then = Mono(seen.mono().0 + later * 1000);
        let overdue = pulses.iter().filter(|pulse| pulse.look(then).is_overdue());
        overdue.map(|pulse| pulse.name()).collect()
    };
    assert_eq!(overdue(11), ["writer"], "it waits for the disk, and the others for it");
    assert_eq!(overdue(31), ["writer", "dispatcher"]);
    let full: Vec<&str> = gauges.iter().filter(|gauge| (gauge.length)() == gauge.bound).map(|one| &*one.name).collect();
    assert!(["inbox", "appends", "deliveries"].iter().all(|name| full.contains(name)), "{full:?}");
    drop(gauges);
    still.ends.open();
    until("everything came through", || still.came_through() == (MANY - 1, MANY));
    drop(stopper);
    for _ in 0..threads {
        exits_out.recv_timeout(CEILING).expect("every thread leaves");
    }
}

/// What ends a process at the first attempt counts from the first time: neither a provider nor a tool is asked before the record.
#[test]
fn no_attempt_begins_before_the_writer_has_it() {
    let (disk, clock): (TornDisk, Arc<dyn Clock>) = (TornDisk::default(), Arc::new(SystemClock::new()));
    let (_stopper, stop) = stop::pair();
    let message = inbound(TurnId::mint(NOW, &mut Rng::from_seed(1)), 1, "10", "poison".to_string(), NOW);
    for answers in [false, true] {
        let ((jobs, jobs_out), (appends, appended), (answer, lane)) = (bounded(1), bounded(2), bounded(1));
        jobs.send(Task::Turn(Job { inbound: message.clone(), interrupted: 0, carried_over: false })).expect("room");
        drop(jobs);
        let heart = heartbeat::pair("turn-0", Arc::clone(&clock)).0;
        let (cancel, under_way) = (Cancel::new(), UnderWay::default());
        let stop = stop.clone();
        let answerer = idle_answerer(&disk, &clock, &stop);
        let ends = WorkerEnds { jobs: jobs_out, appends, lane, lane_number: 7, cancel, under_way, stop, heart };
        // A writer that leaves, or has answered.
        if answers {
            answer.send(()).expect("room");
        }
        drop(answer);
        worker::run(answerer, &ends).expect("it ends with its jobs");
        drop(ends);
        let appended: Vec<Append> = appended.iter().collect();
        assert!(matches!(appended[0], Append::Begin { lane: 7, .. }), "{appended:?}");
        assert_eq!(appended.len(), 1 + usize::from(answers), "{appended:?}");
    }
}
