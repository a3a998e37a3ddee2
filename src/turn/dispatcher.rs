//! The dispatcher thread: waits for messages and notices, lets [`Schedule`] decide, and passes the orders on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::id::ChannelId;
use crate::base::message::{Chat, Inbound, Typing, reply_weight};
use crate::store::exchange::{Append, Left, Notice};
use crate::store::recover::Reopened;
use crate::sys::heartbeat::Heart;
use crate::sys::queue::{Receiver, Select, Sender, push};
use crate::sys::stop::Stop;
use crate::turn::machine::{Names, dropped, history, refusal};
use crate::turn::schedule::{Action, CHAT_OPEN_MAX, Limits, Schedule};
use crate::turn::under_way::UnderWay;
use crate::turn::worker::Task;

/// How long one round may take: it may have to wait for the disk.
const ROUND_MAX: Duration = Duration::from_secs(30);

/// The dispatcher's ends to one channel.
pub struct ChannelEnds {
    /// The channel.
    pub channel: ChannelId,
    /// From its reader.
    pub inbox: Receiver<Inbound>,
    /// To its reader: the origin of a message that is now durable.
    pub receipts: Sender<u64>,
    /// How many more messages it may bring; its reader looks before it asks for more.
    pub room: Arc<AtomicUsize>,
    /// To its senders, by chat: somebody is being answered, or is not any more (`None`). Dropped when full.
    pub typing: Vec<Sender<Typing>>,
}

/// The dispatcher's ends of the queues.
pub struct DispatcherEnds {
    /// Every channel of the process.
    pub channels: Vec<ChannelEnds>,
    /// From the writer.
    pub notices: Receiver<Notice>,
    /// To the writer.
    pub appends: Sender<Append>,
    /// To the turn workers.
    pub jobs: Sender<Task>,
    /// To the thread of the control lane.
    pub controls: Sender<Task>,
    /// Which turns were started, and how they are ended.
    pub under_way: UnderWay,
    /// The order to stop.
    pub stop: Stop,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What refusals name.
    pub names: Names,
    /// How it shows that it lives.
    pub heart: Heart,
}

/// Runs until the order to stop, or until a bounded run has answered its messages.
///
/// # Errors
/// When the writer has left before us.
pub fn run(limits: Limits, left: Left, ends: DispatcherEnds) -> Result<(), String> {
    let mut schedule = Schedule::new(limits);
    left.held.iter().for_each(|held| schedule.on_held(held));
    for Reopened { job, reply } in left.reopened {
        let weight = reply.map(|outbound| reply_weight("", &outbound.parts) * 2);
        schedule.on_reopened(job, weight);
    }
    serve(&mut schedule, &ends)
}

fn serve(schedule: &mut Schedule, ends: &DispatcherEnds) -> Result<(), String> {
    let by_id: HashMap<ChannelId, &ChannelEnds> =
        ends.channels.iter().map(|channel| (channel.channel, channel)).collect();
    loop {
        ends.heart.within(ROUND_MAX);
        while let Some(action) = schedule.next_action() {
            perform(action, schedule, &by_id, ends)?;
        }
        for channel in &ends.channels {
            channel.room.store(schedule.room(channel.channel), Ordering::SeqCst);
        }
        if schedule.is_finished() {
            return Ok(());
        }
        let wanted: Vec<&ChannelEnds> =
            ends.channels.iter().filter(|channel| schedule.room(channel.channel) > 0).collect();
        let mut select = Select::new();
        select.recv(ends.stop.receiver());
        select.recv(ends.notices.raw());
        wanted.iter().for_each(|channel| {
            select.recv(channel.inbox.raw());
        });
        ends.heart.rests();
        let ready = select.ready();
        if ends.stop.requested() {
            return Ok(());
        }
        match ready {
            0 => {}
            1 => match ends.notices.try_recv() {
                Ok(notice) => apply(schedule, notice),
                Err(error) if error.is_disconnected() => return Err("the writer has left".to_owned()),
                Err(_) => {}
            },
            number => {
                // A reader that has left is noticed by the supervisor, not here.
                let received = wanted.get(number - 2).and_then(|channel| channel.inbox.try_recv().ok());
                received.into_iter().for_each(|inbound| schedule.on_inbound(inbound, ends.clock.mono()));
            }
        }
    }
}

fn apply(schedule: &mut Schedule, notice: Notice) {
    match notice {
        Notice::Accepted(job) => schedule.on_accepted(job),
        Notice::Refused(inbound) => schedule.on_refused(&inbound),
        Notice::Duplicate(inbound) => schedule.on_duplicate(&inbound),
        Notice::Replied { turn, weight } => schedule.on_replied(turn, weight),
        Notice::Closed(turn) => schedule.on_closed(turn),
        Notice::Delivered(turn) => schedule.on_delivered(turn),
        Notice::Readmission(readmission) => schedule.on_readmission(readmission),
    }
}

fn perform(
    action: Action,
    schedule: &mut Schedule,
    channels: &HashMap<ChannelId, &ChannelEnds>,
    ends: &DispatcherEnds,
) -> Result<(), String> {
    match action {
        Action::Accept(inbound) => append(ends, Append::Accept(inbound))?,
        Action::Refuse { inbound, told } => {
            let reply = match inbound.is_history() {
                true => history(&inbound, &ends.names),
                false => refusal(&inbound, CHAT_OPEN_MAX, &ends.names),
            };
            let reply = Box::new(reply);
            append(ends, Append::Refuse { inbound, reply, told })?;
        }
        Action::Readmit(readmission) => append(ends, Append::Readmit(readmission))?,
        Action::Receipt { channel, origin } => {
            if let Some(channel) = channels.get(&channel) {
                push(&channel.receipts, origin);
            }
        }
        Action::Start(job) => {
            if let Some(channel) = channels.get(&job.inbound.channel) {
                show_typing(channel, &job.inbound.chat, (job.inbound.turn, Some(job.inbound.chat.clone())));
            }
            ends.under_way.order(job.inbound.turn);
            push(&ends.jobs, Task::Turn(job));
        }
        Action::Control(order) => push(&ends.controls, Task::Control(order)),
        Action::Stop { turn, chat } => {
            if !ends.under_way.stop(turn) {
                schedule.on_too_late(turn);
            }
            channels.values().for_each(|channel| show_typing(channel, &chat, (turn, None)));
        }
        Action::Drop(inbound) => append(ends, Append::Reply(Box::new(dropped(&inbound, &ends.names))))?,
    }
    Ok(())
}

/// Only a courtesy: a full queue drops it.
fn show_typing(channel: &ChannelEnds, chat: &Chat, typing: Typing) {
    let sender = crate::store::writer::sender_of(chat, channel.typing.len());
    let _ = channel.typing.get(sender).map(|queue| queue.try_send(typing));
}

fn append(ends: &DispatcherEnds, append: Append) -> Result<(), String> {
    ends.appends.send(append).map_err(|_| "the writer has left".to_owned())
}
