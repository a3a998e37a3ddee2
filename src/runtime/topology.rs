//! Every queue with its bound, every thread, in one function.
//!
//! ```text
//! reader ─inbox─▶ dispatcher ─jobs─▶ turn workers        waits point one way: anyone may wait for the writer, and the
//!    ▲ receipts      │  ▲ notices        │               writer waits only for the disk. What points back (receipts,
//!    └───────────────┘  │ appends        │ appends       notices, lanes) is as long as what can fill it, and is never
//!                       └──── writer ◀───┘               waited on.
//!                               │  ▲ deliveries
//!                        outbox ▼  │
//!                             senders
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::id::ChannelId;
use crate::base::message::Outbound;
use crate::base::rng::Rng;
use crate::channel::ends::{ReaderEnds, SenderEnds};
use crate::observe::board::Gauge;
use crate::observe::event::Log;
use crate::store::exchange::Left;
use crate::store::ledger::Ledger;
use crate::store::writer::{Writer, WriterEnds, sender_of};
use crate::sys::heartbeat::{self, Heart, Pulse};
use crate::sys::queue::{Receiver, Sender, bounded, push};
use crate::sys::stop::Stop;
use crate::sys::thread::{Exit, spawn};
use crate::turn::answer::Answerer;
use crate::turn::dispatcher::{self, ChannelEnds, DispatcherEnds};
use crate::turn::machine::Names;
use crate::turn::schedule::Limits;
use crate::turn::under_way::UnderWay;
use crate::turn::worker::{self, WorkerEnds};

/// Bounds of the queues that may make somebody wait, and of the one that drops.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Messages not yet accepted. Full: the reader waits, so we stop polling.
    pub inbox: usize,
    /// Records not yet written. Full: the dispatcher and the turn workers wait for the disk.
    pub appends: usize,
    /// Deliveries not yet written. Full: senders wait for the disk.
    pub deliveries: usize,
    /// Somebody is being answered. Full: dropped.
    pub typing: usize,
    /// Messages a reader hands over before it waits for their receipts.
    pub batch: usize,
}

/// The bounds of the product.
pub const BOUNDS: Bounds = Bounds { inbox: 16, appends: 16, deliveries: 64, typing: 64, batch: 100 };

/// Open turns of one channel.
pub const CREDITS: usize = 256;

/// Accepted or refused; replied; closed; delivered.
const NOTICES_PER_TURN: usize = 4;

/// Threads that send, each with its own chats.
pub const SENDERS: usize = 2;

/// Work of a thread that holds the ends `E`.
pub type Work<E> = Box<dyn FnOnce(E) -> Result<(), String> + Send>;

/// A channel.
pub struct Channel {
    /// Which one.
    pub id: ChannelId,
    /// Its threads.
    pub threads: Threads,
}

/// How a channel divides its work.
pub enum Threads {
    /// One thread reads messages, others send replies.
    Apart {
        /// Reads messages.
        reader: Work<ReaderEnds>,
        /// Send replies.
        senders: Vec<Work<SenderEnds>>,
    },
    /// One thread does both, because there is one connection.
    Joint(Work<(ReaderEnds, SenderEnds)>),
}

/// Everything that `start` wires.
pub struct Plan {
    /// What the schedule keeps to.
    pub limits: Limits,
    /// What the queues hold.
    pub bounds: Bounds,
    /// The journal and the sessions.
    pub ledger: Ledger,
    /// What an earlier process left.
    pub left: Left,
    /// One for each turn worker, and what ends its turn early.
    pub answerers: Vec<(Answerer, Cancel)>,
    /// The one of the control lane.
    pub controller: Answerer,
    /// What refusals name.
    pub names: Names,
    /// The way in and out.
    pub channel: Channel,
    /// Where counters are kept.
    pub telemetry_file: PathBuf,
    /// Names turns that are taken up again.
    pub rng: Rng,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub log: Arc<dyn Log>,
    /// The order to stop.
    pub stop: Stop,
}

/// What was started.
pub struct Started {
    /// Threads that will each report their exit.
    pub threads: usize,
    /// Makes the reader look again at what parks it.
    pub reload: Sender<()>,
    /// How they show that they live.
    pub pulses: Vec<Pulse>,
    /// Queues that make somebody wait, and those to the senders. Whoever keeps them keeps their receiving ends: they are to be let go of
    /// when the order to stop is given, so that nobody hands anything to a thread that has left.
    pub gauges: Vec<Gauge>,
}

/// Those who look at the threads that are being started.
struct Pulses {
    seen: Vec<Pulse>,
    clock: Arc<dyn Clock>,
}

impl Pulses {
    fn heart(&mut self, name: &str) -> Heart {
        let (heart, pulse) = heartbeat::pair(name, Arc::clone(&self.clock));
        self.seen.push(pulse);
        heart
    }
}

/// A look at a queue.
fn gauge<T: Send + 'static>(name: &str, queue: &Receiver<T>) -> Gauge {
    let (bound, queue) = (queue.capacity().unwrap_or(0), queue.clone());
    Gauge { name: name.to_owned(), bound, length: Box::new(move || queue.len()) }
}

/// A queue whose bound makes somebody wait.
fn queue<T: Send + 'static>(bound: usize) -> (Sender<T>, Receiver<T>) {
    bounded(if cfg!(rp_break = "unbounded_queue") { 1 << 16 } else { bound })
}

/// Each sender has one of its own, so that a chat's replies pass through one thread.
fn outboxes_for(senders: usize, open_max: usize) -> (Vec<Sender<Outbound>>, Vec<Receiver<Outbound>>) {
    if cfg!(rp_break = "one_outbox") {
        let (outbox, outbox_out) = bounded(open_max);
        return (vec![outbox; senders], vec![outbox_out; senders]);
    }
    (0..senders).map(|_| bounded(open_max)).unzip()
}

/// Wires and starts everything. Unfinished business takes its credits before the first reader starts.
///
/// # Errors
/// When the system has no thread left to give. What was started by then ends with the process.
// long: every queue and every thread, one behind the other.
pub fn start(plan: Plan, exits: &Sender<Exit>) -> io::Result<Started> {
    let Plan { limits, bounds, ledger, left, answerers, controller, names, channel, rng, clock, log, stop, .. } = plan;
    let telemetry_file = plan.telemetry_file;
    // After a power cut more turns may be open than there are credits.
    let open_max = limits.credits + left.reopened.len() + left.held.len();
    let Channel { id, threads: channel_threads } = channel;
    let senders = match &channel_threads {
        Threads::Apart { senders, .. } => senders.len(),
        Threads::Joint(_) => 1,
    };
    let workers = answerers.len();

    let (inbox, inbox_out) = queue(bounds.inbox);
    let (appends, appends_out) = queue(bounds.appends);
    let (deliveries, deliveries_out) = queue(bounds.deliveries);
    let (jobs, jobs_out) = bounded(workers);
    // One control message at a time.
    let (controls, controls_out) = bounded(1);
    let under_way = UnderWay::default();
    // One more for a wish of the spool.
    let (notices, notices_out) = bounded(NOTICES_PER_TURN * open_max + 1);
    let (receipts, receipts_out) = bounded(bounds.batch);
    let (reload, reload_out) = bounded(1);
    let (outboxes, outboxes_out) = outboxes_for(senders, open_max);
    let (typing, typing_out): (Vec<_>, Vec<_>) = (0..senders).map(|_| bounded(bounds.typing)).unzip();
    let (lanes, lanes_out): (Vec<_>, Vec<Receiver<()>>) = (0..senders + workers + 1).map(|_| bounded(1)).unzip();
    let room = Arc::new(AtomicUsize::new(0));
    let mut pulses = Pulses { seen: Vec::new(), clock: Arc::clone(&clock) };
    let (gauged, replies) = (gauge("inbox", &inbox_out), outboxes_out.iter().enumerate());
    let replies = replies.map(|(sender, outbox)| gauge(&["outbox-", &sender.to_string()].concat(), outbox));
    let mut gauges = vec![gauged, gauge("appends", &appends_out), gauge("deliveries", &deliveries_out)];
    gauges.extend([gauge("jobs", &jobs_out)].into_iter().chain(replies));

    for outbound in left.reopened.iter().filter_map(|reopened| reopened.reply.as_ref()) {
        push(&outboxes[sender_of(&outbound.chat, senders)], outbound.clone());
    }
    let heart = pulses.heart("writer");
    let writer_ends = WriterEnds { appends: appends_out, deliveries: deliveries_out, notices, outboxes, lanes, heart };
    let writer = Writer::new(id, ledger, writer_ends, telemetry_file, rng, Arc::clone(&clock), log);
    spawn("writer", exits.clone(), move || writer.run())?;

    let mut lanes_out = lanes_out.into_iter().enumerate();
    let mut sender_ends: Vec<SenderEnds> = Vec::new();
    let is_joint = matches!(channel_threads, Threads::Joint(_));
    for (number, (outbox, typing)) in outboxes_out.into_iter().zip(typing_out).enumerate() {
        let (lane_number, lane) = lanes_out.next().expect("there is a lane for every sender");
        // One thread needs one heart, and has it as the reader.
        let heart = match is_joint {
            true => heartbeat::pair("", Arc::clone(&pulses.clock)).0,
            false => pulses.heart(&format!("send-{number}")),
        };
        sender_ends.push(SenderEnds { outbox, typing, deliveries: deliveries.clone(), lane, lane_number, heart });
    }
    // The writer ends when every sender has left, so nobody else may hold this end.
    drop(deliveries);

    let turns = answerers.into_iter().enumerate();
    let turns =
        turns.map(|(number, (answerer, cancel))| (format!("turn-{number}"), answerer, cancel, jobs_out.clone()));
    // Nothing in a control message waits, so nothing has to be cancelled.
    for (name, answerer, cancel, jobs) in turns.chain([("control".to_owned(), controller, Cancel::new(), controls_out)])
    {
        let (lane_number, lane) = lanes_out.next().expect("there is a lane for every worker");
        let (appends, under_way, stop) = (appends.clone(), under_way.clone(), stop.clone());
        let heart = pulses.heart(&name);
        let ends = WorkerEnds { jobs, appends, lane, lane_number, cancel, under_way, stop, heart };
        spawn(&name, exits.clone(), move || worker::run(answerer, &ends))?;
    }

    let ends = ChannelEnds { channel: id, inbox: inbox_out, receipts, room: Arc::clone(&room), typing };
    let (channels, notices, heart) = (vec![ends], notices_out, pulses.heart("dispatcher"));
    let ends = DispatcherEnds {
        channels,
        notices,
        appends,
        jobs,
        controls,
        under_way,
        stop: stop.clone(),
        clock,
        names,
        heart,
    };
    spawn("dispatcher", exits.clone(), move || dispatcher::run(limits, left, ends))?;

    let heart = pulses.heart(if is_joint { "bridge" } else { "poll" });
    let ends = ReaderEnds { inbox, receipts: receipts_out, room, reload: reload_out, stop, heart };
    let of_channel = start_channel(channel_threads, ends, sender_ends, exits)?;
    Ok(Started { threads: 3 + workers + of_channel, reload, pulses: pulses.seen, gauges })
}

/// Starts the threads of the channel; how many there are.
fn start_channel(
    threads: Threads,
    reader_ends: ReaderEnds,
    mut sender_ends: Vec<SenderEnds>,
    exits: &Sender<Exit>,
) -> io::Result<usize> {
    match threads {
        Threads::Apart { reader, senders } => {
            let count = 1 + senders.len();
            for (number, (work, ends)) in senders.into_iter().zip(sender_ends).enumerate() {
                spawn(&format!("send-{number}"), exits.clone(), move || work(ends))?;
            }
            spawn("poll", exits.clone(), move || reader(reader_ends))?;
            Ok(count)
        }
        Threads::Joint(work) => {
            let sender_ends = sender_ends.pop().expect("there is one outbox");
            spawn("bridge", exits.clone(), move || work((reader_ends, sender_ends)))?;
            Ok(1)
        }
    }
}
