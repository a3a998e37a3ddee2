//! A turn worker: the loop around [`Answerer`]. Takes a job, answers it, hands the answer to the writer. The thread of the
//! control lane is one, too, with a queue of its own.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::message::Job;
use crate::provider::spending_file::Asker;
use crate::store::exchange::Append;
use crate::sys::heartbeat::Heart;
use crate::sys::queue::{Receiver, Sender};
use crate::sys::stop::Stop;
use crate::turn::answer::{Answerer, Question};
use crate::turn::control_lane::Order;
use crate::turn::machine;
use crate::turn::under_way::UnderWay;

/// What a worker is given to do.
#[derive(Debug)]
pub enum Task {
    /// To answer a message.
    Turn(Job),
    /// To obey a control message.
    Control(Box<Order>),
}

/// What a turn may take beyond its deadline: the disk before and after it, and a program that is slow to end.
const BEYOND_DEADLINE: Duration = Duration::from_secs(30);

/// A worker's ends of the queues.
pub struct WorkerEnds {
    /// From the dispatcher.
    pub jobs: Receiver<Task>,
    /// To the writer.
    pub appends: Sender<Append>,
    /// The writer's answer to a `Begin`.
    pub lane: Receiver<()>,
    /// Which lane that is.
    pub lane_number: usize,
    /// How the turn under way is ended early.
    pub cancel: Cancel,
    /// Which turns a person wants to be ended.
    pub under_way: UnderWay,
    /// The order to stop.
    pub stop: Stop,
    /// How it shows that it lives.
    pub heart: Heart,
}

/// Runs until the dispatcher has left. A job not begun by then stays on disk and is reopened by the next process.
pub fn run(mut answerer: Answerer, ends: &WorkerEnds) -> Result<(), String> {
    for task in ends.jobs.iter() {
        let (job, order) = match &task {
            Task::Turn(job) => (job, None),
            Task::Control(order) => (&order.job, Some(order.as_ref())),
        };
        ends.under_way.begin(job.inbound.turn, &ends.cancel);
        // Looked at behind the begin: a cancel of everything comes after this order, and must not be taken back by one.
        if ends.stop.requested() {
            continue;
        }
        ends.heart.within(answerer.deadline() + BEYOND_DEADLINE);
        // The writer leaves before us only if the disk failed; it says so itself.
        if work(&mut answerer, job, order, ends).is_none() {
            break;
        }
        ends.heart.rests();
    }
    Ok(())
}

/// `None`: the writer has left.
fn work(answerer: &mut Answerer, job: &Job, order: Option<&Order>, ends: &WorkerEnds) -> Option<()> {
    let turn = job.inbound.turn;
    // Every attempt is on record before it begins: it may be what ends this process. The first waits for the page cache only,
    // which outlives a process; from the second on the writer flushes before it answers.
    ends.appends.send(Append::Begin { turn, lane: ends.lane_number }).ok()?;
    ends.lane.recv().ok()?;
    let session = job.inbound.session();
    let question = Question {
        turn,
        session: &session,
        text: &job.inbound.text,
        received: job.inbound.received,
        waited: job.inbound.waited,
        interrupted: job.interrupted,
        asker: Some(Asker { channel: job.inbound.channel, sender: &job.inbound.sender }),
        order,
    };
    let outcome = answerer.answer(&question, &ends.cancel);
    let append = match (ends.under_way.end(turn), outcome) {
        (true, Ok(reply) | Err(reply)) => Append::Reply(Box::new(machine::stopped(*reply))),
        (false, Ok(reply)) => Append::Reply(reply),
        (false, Err(_)) => Append::Abandon { turn },
    };
    ends.appends.send(append).ok()
}
