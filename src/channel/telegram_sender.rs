//! A `tg-send` thread: sends the replies of its chats, and shows "typing" where somebody is being answered. What it
//! decides stands in `outbound.rs` and `telegram_api.rs`.
//!
//! Before every send the writer is told and answers, so that a process that dies within the send leaves a trace; after
//! every send it is told what came of it. Once the outbox is closed, what can be sent at once is sent, and what has to
//! wait is left to the next process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::id::{ChannelId, TurnId};
use crate::base::message::{Chat, Outbound};
use crate::channel::ends::{SenderEnds, WriterGone};
use crate::channel::outbound::{Attempt, Lanes, Report, Sent, Step};
use crate::channel::telegram_api as api;
use crate::channel::telegram_client::TelegramClient;
use crate::observe::event::{Event, Log};
use crate::sys::queue::{RecvTimeoutError, select};

/// Limit of one send: a server that stalls holds up only this sender's chats, and only so long.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// "Typing" is first shown after this: most tools and some models answer sooner, and a call is saved.
const TYPING_AFTER: Duration = Duration::from_millis(500);

/// Limit of one "typing" call: a courtesy may not hold up a reply for long.
const TYPING_TIMEOUT: Duration = Duration::from_secs(2);

/// After a "typing" call that failed there is none for so long.
const TYPING_PAUSE: Duration = Duration::from_secs(60);

/// The server shows it for five seconds.
const TYPING_EVERY: Duration = Duration::from_secs(4);

/// A turn that shows "typing" longer than this is not coming back to say that it ended.
const TYPING_FOR: Duration = Duration::from_secs(3600);

/// How long it waits at most without a look around.
const LONG: Duration = Duration::from_secs(60);

/// How long one round may take: a wait, or calls and the disk.
const ROUND_MAX: Duration = Duration::from_secs(90);

/// The thread's state.
pub struct TelegramSender {
    client: TelegramClient,
    ends: SenderEnds,
    lanes: Lanes,
    typing: HashMap<TurnId, Typing>,
    typing_after: Mono,
    outbox_open: bool,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
}

struct Typing {
    chat: Chat,
    due: Mono,
    until: Mono,
}

impl TelegramSender {
    /// A sender that has sent nothing yet.
    pub fn new(
        client: TelegramClient,
        ends: SenderEnds,
        clock: Arc<dyn Clock>,
        log: Arc<dyn Log>,
        lanes: Lanes,
    ) -> TelegramSender {
        TelegramSender {
            client,
            ends,
            lanes,
            typing: HashMap::new(),
            typing_after: Mono(0),
            outbox_open: true,
            clock,
            log,
        }
    }

    /// Runs until the outbox is closed and nothing more can be sent at once.
    pub fn run(mut self) -> Result<(), String> {
        loop {
            self.ends.heart.within(ROUND_MAX);
            self.take_new();
            let now = self.clock.mono();
            let step = match self.lanes.step(now) {
                Step::Send(attempt) => self.send(&attempt),
                Step::GiveUp { turn, chat } => self.give_up(turn, &chat),
                Step::Wait { .. } if !self.outbox_open => return Ok(()),
                Step::Wait { until } => {
                    if !self.show_typing(now) {
                        self.wait(until);
                    }
                    Ok(())
                }
            };
            if step.is_err() {
                return Ok(());
            }
        }
    }

    /// Takes what came meanwhile. A turn's "typing" was queued before its reply, so it is taken after it.
    fn take_new(&mut self) {
        let replies: Vec<Outbound> = self.ends.outbox.try_iter().collect();
        self.take_typing();
        replies.into_iter().for_each(|outbound| self.take_reply(outbound));
    }

    fn take_typing(&mut self) {
        let now = self.clock.mono();
        while let Ok(typing) = self.ends.typing.try_recv() {
            self.note_typing(typing, now);
        }
    }

    fn note_typing(&mut self, (turn, chat): (TurnId, Option<Chat>), now: Mono) {
        match chat {
            Some(chat) => {
                let typing = Typing { chat, due: now.after(TYPING_AFTER), until: now.after(TYPING_FOR) };
                self.typing.insert(turn, typing);
            }
            None => drop(self.typing.remove(&turn)),
        }
    }

    fn take_reply(&mut self, outbound: Outbound) {
        self.typing.remove(&outbound.turn);
        self.lanes.push(outbound);
    }

    /// Waits for a reply, for somebody to be answered, or for the next thing that is due.
    fn wait(&mut self, until: Option<Mono>) {
        let typing = self.typing.values().map(|typing| typing.due.max(self.typing_after));
        let due = until.into_iter().chain(typing).min();
        let now = self.clock.mono();
        let left = due.map_or(LONG, |due| now.until(due).max(Duration::from_millis(1)));
        let received = select! {
            recv(self.ends.outbox.raw()) -> received => {
                self.ends.outbox.opened(received).map_err(|_| RecvTimeoutError::Disconnected)
            }
            recv(self.ends.typing.raw()) -> typing => {
                match self.ends.typing.opened(typing) {
                    Ok(typing) => {
                        self.note_typing(typing, now);
                        Err(RecvTimeoutError::Timeout)
                    }
                    // The dispatcher has left: only the outbox matters from here on.
                    Err(_) => self.ends.outbox.recv_timeout(left),
                }
            }
            default(left) => Err(RecvTimeoutError::Timeout),
        };
        match received {
            Ok(outbound) => {
                self.take_typing();
                self.take_reply(outbound);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.outbox_open = false,
        }
    }

    /// Shows "typing" for one turn that is due; `false` if none is.
    fn show_typing(&mut self, now: Mono) -> bool {
        self.typing.retain(|_, typing| now < typing.until);
        if now < self.typing_after {
            return false;
        }
        let Some(typing) = self.typing.values_mut().filter(|typing| typing.due <= now).min_by_key(|typing| typing.due)
        else {
            return false;
        };
        typing.due = now.after(TYPING_EVERY);
        let body = api::typing(&typing.chat);
        let worked =
            self.client.call("sendChatAction", &body, TYPING_TIMEOUT).is_ok_and(|(head, _)| head.status == 200);
        if !worked {
            self.typing_after = self.clock.mono().after(TYPING_PAUSE);
        }
        true
    }

    fn send(&mut self, attempt: &Attempt) -> Result<(), WriterGone> {
        self.ends.announce(attempt)?;
        let outcome = self.client.call("sendMessage", &api::send_message(&attempt.chat, &attempt.text), SEND_TIMEOUT);
        let sent = api::send_outcome(&outcome);
        let error = match &outcome {
            Ok((head, _)) => format!("status {}", head.status),
            Err(error) => error.to_string(),
        };
        self.log_trouble(attempt, &sent, error);
        let reports = self.lanes.on_sent(&attempt.chat.id, sent, self.clock.mono());
        self.ends.record(attempt.turn, reports)
    }

    fn give_up(&mut self, turn: TurnId, chat: &str) -> Result<(), WriterGone> {
        self.lanes.on_given_up(chat);
        self.ends.record(turn, [Report::given_up()])
    }

    fn log_trouble(&self, attempt: &Attempt, sent: &Sent, error: String) {
        let action = match sent {
            Sent::Confirmed { .. } => return,
            Sent::Nothing { .. } => "retry",
            Sent::Unknown => "resend_marked",
            Sent::Refused { .. } => "give_up",
            Sent::Moved { .. } => "follow",
        };
        let event = Event::ChannelSendError {
            channel: ChannelId::Telegram,
            chat_id: attempt.chat.id.clone(),
            request_id: attempt.turn.to_string(),
            error: if let Sent::Refused { why } = sent { why.clone() } else { error },
            action,
        };
        self.log.emit(self.clock.wall(), &event);
    }
}
