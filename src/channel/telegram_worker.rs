//! The `tg-poll` thread: finds out who the bot is, polls, hands messages over, and waits until they are on disk before
//! it polls on. What it decides stands in `telegram.rs` and `telegram_api.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock::{Clock, Mono, Wall};
use crate::base::control;
use crate::base::id::{ChannelId, TurnId};
use crate::base::message::Inbound;
use crate::base::rng::Rng;
use crate::base::sorted::SortedMap;
use crate::channel::ends::ReaderEnds;
use crate::channel::telegram::{BATCH_MAX, PollFailure, Poller, Step};
use crate::channel::telegram_api::{self as api, Incoming, Update};
use crate::channel::telegram_client::TelegramClient;
use crate::channel::telegram_people::People;
use crate::channel::telegram_witness::{ASKED_EVERY, Verdict, Witness};
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::sys::queue::select;

/// Limit of `getMe` and `getWebhookInfo`.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Limit of `setMyCommands`: a courtesy may not keep messages waiting for long.
const MENU_TIMEOUT: Duration = Duration::from_secs(2);

/// After a menu that the server did not take it is offered again.
const MENU_AGAIN: Duration = Duration::from_secs(3600);

/// How often a reader without room looks whether there is some.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// How often a parked reader says so.
const PARKED_EVERY: Duration = Duration::from_secs(60);

/// How much longer than the server may hold it a poll may take: what it brought is handed over, and that may wait for the
/// disk.
const BEYOND_POLL: Duration = Duration::from_secs(40);

/// How much longer than its own limit any other round may take.
const BEYOND_ROUND: Duration = Duration::from_secs(10);

/// What the reader is told at start.
pub struct ReaderSettings {
    /// Who is answered.
    pub people: People,
    /// How long the server may hold a poll.
    pub poll_timeout: Duration,
    /// How long a poll may take in all.
    pub request_timeout: Duration,
    /// By bot, the position behind the last message on disk.
    pub next_positions: SortedMap<u64, u64>,
}

/// The thread's state.
pub struct Reader {
    client: TelegramClient,
    settings: ReaderSettings,
    ends: ReaderEnds,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
    rng: Rng,
    /// The bot's name, which stands behind a word that is for us in a group.
    name: String,
    /// When the menu is told to the server; `None`: it was.
    menu_due: Option<Mono>,
    /// What was last said to park it, and when.
    parked_said: Option<(String, Mono)>,
    witness: Witness,
}

impl Reader {
    /// A reader that has asked nothing yet.
    pub fn new(
        client: TelegramClient,
        settings: ReaderSettings,
        ends: ReaderEnds,
        clock: Arc<dyn Clock>,
        log: Arc<dyn Log>,
        rng: Rng,
    ) -> Reader {
        let (menu_due, witness) = (Some(clock.mono()), Witness::new(clock.mono()));
        Reader { client, settings, ends, clock, log, rng, name: String::new(), menu_due, parked_said: None, witness }
    }

    /// Runs until the order to stop.
    pub fn run(mut self) -> Result<(), String> {
        self.settings.people.look();
        let Some(bot) = self.introduce() else { return Ok(()) };
        let mut poller = Poller::new(self.settings.next_positions.get(&bot).copied(), self.rng.split());
        while !self.ends.stop.requested() {
            self.ends.heart.within(self.round_max());
            match poller.step(self.clock.mono()) {
                Step::Wait { until } => self.wait(&mut poller, until),
                Step::Poll { offset } => self.poll(&mut poller, bot, offset),
            }
        }
        Ok(())
    }

    /// How long one round may take: a poll, or a wait that ends with a word about what parks us.
    fn round_max(&self) -> Duration {
        let polling = self.settings.poll_timeout + BEYOND_POLL;
        polling.max(self.settings.request_timeout.max(PARKED_EVERY) + BEYOND_ROUND)
    }

    /// Asks who the bot is and whether a webhook is set, until both answers let us poll. `None`: we are stopping.
    fn introduce(&mut self) -> Option<u64> {
        let mut poller = Poller::new(None, self.rng.split());
        loop {
            self.ends.heart.within(self.round_max());
            let outcome = self.who_am_i();
            if self.ends.stop.requested() {
                return None;
            }
            match outcome {
                Ok(me) => {
                    if poller.parked().is_some() {
                        self.resumed();
                    }
                    self.emit(&Event::ChannelConnected {
                        channel: ChannelId::Telegram,
                        account: Some(me.id),
                        name: Some(me.name.clone()),
                    });
                    self.name = me.name;
                    return Some(me.id);
                }
                Err((failure, error)) => self.failed(&mut poller, failure, error),
            }
            while let Step::Wait { until } = poller.step(self.clock.mono()) {
                self.ends.heart.within(self.round_max());
                self.wait(&mut poller, until);
                if self.ends.stop.requested() {
                    return None;
                }
            }
        }
    }

    fn who_am_i(&mut self) -> Result<api::Me, (PollFailure, String)> {
        let body = self.client.ask("getMe", CALL_TIMEOUT)?;
        let me = api::me(&body).ok_or((PollFailure::Transient, "getMe: not a bot".to_owned()))?;
        let body = self.client.ask("getWebhookInfo", CALL_TIMEOUT)?;
        match api::webhook(&body) {
            Some(webhook) if !webhook.is_set => {
                // Messages can arrive from here on, also while the first poll is held.
                self.log.note(Note::Polled { channel: ChannelId::Telegram, waiting: Some(webhook.pending) });
                Ok(me)
            }
            Some(_) => Err((PollFailure::Webhook, "getWebhookInfo: a webhook is set".to_owned())),
            None => Err((PollFailure::Transient, "getWebhookInfo: not understood".to_owned())),
        }
    }

    fn poll(&mut self, poller: &mut Poller, bot: u64, offset: Option<u64>) {
        let room = self.ends.room.load(Ordering::SeqCst);
        if room == 0 {
            self.ends.stop.wait(ROOM_PAUSE);
            return;
        }
        let limit = room.min(BATCH_MAX);
        let body = api::get_updates(offset, poller.patience(self.settings.poll_timeout), limit);
        let begun = self.clock.mono();
        let outcome = self.client.call("getUpdates", &body, self.settings.request_timeout);
        if self.ends.stop.requested() {
            return;
        }
        match outcome {
            Err(error) => self.failed(poller, PollFailure::Transient, format!("getUpdates: {error}")),
            Ok((head, body)) => match (api::poll_failure(&head, &body), api::updates(&body)) {
                (Some(failure), _) => self.failed(poller, failure, format!("getUpdates: status {}", head.status)),
                (None, None) => self.failed(poller, PollFailure::Transient, "getUpdates: not understood".to_owned()),
                (None, Some((mut updates, unnamed))) => {
                    self.log.note(Note::Polled { channel: ChannelId::Telegram, waiting: None });
                    // More than was asked for is left for the next batch: the offset does not pass it.
                    updates.truncate(limit);
                    self.batch(poller, bot, updates, unnamed, begun);
                }
            },
        }
    }

    fn batch(&mut self, poller: &mut Poller, bot: u64, updates: Vec<Update>, unnamed: usize, begun: Mono) {
        if unnamed > 0 {
            self.received("ignored");
            self.emit(&Event::ChannelIgnored { channel: ChannelId::Telegram, update_id: 0, reason: "undecodable" });
        }
        let last = updates.iter().map(Update::id).max();
        if self.hand_over(bot, updates).is_none() {
            return;
        }
        let now = self.clock.mono();
        if poller.parked().is_some() {
            self.resumed();
        }
        poller.on_batch(last, begun.until(now), now);
        // A wish to look again is over: this was the look.
        let _ = self.ends.reload.try_recv();
        let verdict = match last {
            Some(_) => self.witness.on_messages(),
            None if self.witness.is_due(now) => self.ask_witness(),
            None => Verdict::Same,
        };
        self.heed(verdict);
        self.offer_menu(now);
    }

    /// Nothing came; asks whether nothing waits. That it cannot be asked is no news: the next poll shows what is wrong.
    fn ask_witness(&mut self) -> Verdict {
        let answer = self.client.ask("getWebhookInfo", CALL_TIMEOUT).ok();
        let pending = answer.and_then(|body| api::webhook(&body)).map(|webhook| webhook.pending);
        if pending.is_some() {
            self.log.note(Note::Polled { channel: ChannelId::Telegram, waiting: pending });
        }
        self.witness.on_asked(pending, self.clock.mono())
    }

    fn heed(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Same => {}
            Verdict::Trouble => self.say_parked(
                "pending_grows",
                "messages wait at the server and polls bring none: restart the worker, and look what stands between it and the server",
                ASKED_EVERY,
            ),
            Verdict::Over => self.resumed(),
        }
    }

    /// Tells the server once what the menu of a chat is, when polling is known to work. Nothing depends on it.
    fn offer_menu(&mut self, now: Mono) {
        if self.menu_due.is_none_or(|due| now < due) {
            return;
        }
        let outcome = self.client.call("setMyCommands", &api::set_commands(), MENU_TIMEOUT);
        let is_known = outcome.is_ok_and(|(head, body)| api::poll_failure(&head, &body).is_none());
        self.menu_due = (!is_known).then_some(now.after(MENU_AGAIN));
    }

    /// Gives every message that is to be answered to the dispatcher, then waits until all are on disk. `None`: we are
    /// stopping, and the server has to send them again.
    fn hand_over(&mut self, bot: u64, updates: Vec<Update>) -> Option<()> {
        self.settings.people.look();
        let mut expected: HashMap<u64, usize> = HashMap::new();
        for update in updates {
            match update {
                // Stickers and joins of a busy group are no news to an operator.
                Update::Ignored { id, why } if why != "undecodable" => {
                    self.received("ignored");
                    log::debug!("update {id} is ignored: {why}");
                }
                Update::Ignored { id, why } => {
                    self.received("ignored");
                    self.emit(&Event::ChannelIgnored { channel: ChannelId::Telegram, update_id: id, reason: why });
                }
                Update::Text(mut incoming) => {
                    let Some(text) = control::addressed(&incoming.text, &self.name) else {
                        self.received("ignored");
                        log::debug!("update {} is ignored: it names another bot", incoming.id);
                        continue;
                    };
                    incoming.text = text;
                    if !self.settings.people.welcomes(&mut incoming) {
                        self.received("denied");
                        continue;
                    }
                    *expected.entry(incoming.id).or_default() += 1;
                    let inbound = self.inbound(bot, incoming);
                    select! {
                        send(self.ends.inbox.raw(), Box::new(inbound)) -> sent => sent.ok()?,
                        recv(self.ends.stop.receiver()) -> _ => return None,
                    }
                }
            }
        }
        while !expected.is_empty() {
            let origin = select! {
                recv(self.ends.receipts.raw()) -> receipt => self.ends.receipts.opened(receipt).ok()?,
                recv(self.ends.stop.receiver()) -> _ => return None,
            };
            if let Some(count) = expected.get_mut(&origin) {
                *count -= 1;
                if *count == 0 {
                    expected.remove(&origin);
                }
            }
        }
        Some(())
    }

    fn inbound(&mut self, bot: u64, incoming: Incoming) -> Inbound {
        let received = self.clock.wall();
        let written = Wall(incoming.date.saturating_mul(1000));
        // A message without a date has not waited.
        let waited = if incoming.date == 0 { Duration::ZERO } else { written.until(received) };
        Inbound {
            turn: TurnId::mint(received, &mut self.rng),
            channel: ChannelId::Telegram,
            account: bot,
            origin: Some(incoming.id),
            key: format!("tg:{bot}:{}:{}", incoming.chat.id, incoming.message_id),
            chat: incoming.chat,
            sender: incoming.sender,
            text: incoming.text,
            received,
            waited: self.clock.is_trusted().then_some(waited),
        }
    }

    fn failed(&mut self, poller: &mut Poller, failure: PollFailure, error: String) {
        let delay = poller.on_failure(failure, self.clock.mono());
        let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.emit(&Event::ChannelPollError {
            channel: ChannelId::Telegram,
            error,
            failures: poller.failures(),
            retry_ms,
        });
        self.remind_if_parked(poller);
    }

    fn remind_if_parked(&mut self, poller: &Poller) {
        let now = self.clock.mono();
        let Some(parked) = poller.parked() else { return };
        let is_known = |(reason, said): &(String, Mono)| reason == parked.name() && now < said.after(PARKED_EVERY);
        if self.parked_said.as_ref().is_some_and(is_known) {
            return;
        }
        let until = match poller.step(now) {
            Step::Wait { until } => until,
            Step::Poll { .. } => now,
        };
        self.say_parked(parked.name(), parked.remedy(), now.until(until));
    }

    /// What parked it is over, but for what nobody has mended yet.
    fn resumed(&mut self) {
        self.parked_said = None;
        self.emit(&Event::ChannelResumed { channel: ChannelId::Telegram });
        self.settings.people.look_anew();
    }

    fn say_parked(&mut self, reason: &str, remedy: &str, retry: Duration) {
        self.parked_said = Some((reason.to_owned(), self.clock.mono()));
        self.emit(&Event::ChannelParked {
            channel: ChannelId::Telegram,
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
            retry_ms: u64::try_from(retry.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Waits until `until`, the order to stop, or a reload; says once a minute why, while parked.
    fn wait(&mut self, poller: &mut Poller, until: Mono) {
        let left = self.clock.mono().until(until).min(PARKED_EVERY);
        select! {
            recv(self.ends.reload.raw()) -> reload => match reload {
                Ok(_) => poller.on_reload(),
                // Nobody is left who could reload: the order to stop comes next.
                Err(_) => drop(self.ends.stop.wait(left)),
            },
            recv(self.ends.stop.receiver()) -> _ => {}
            default(left) => self.remind_if_parked(poller),
        }
    }

    fn received(&self, outcome: &'static str) {
        self.log.note(Note::Received { channel: ChannelId::Telegram, outcome });
    }

    fn emit(&self, event: &Event) {
        self.log.emit(self.clock.wall(), event);
    }
}
