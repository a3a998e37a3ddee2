//! A Telegram worker between its two fake servers: the stage of most tests.

use std::ffi::OsString;
use std::time::Duration;

use crate::support::cases::Random;
use crate::support::checker::{Evidence, Rules, Verdict, judge};
use crate::support::fake_provider::FakeProvider;
use crate::support::fake_telegram::{FakeTelegram, TOKEN};
use crate::support::waiting::{CEILING, came_true, until};
use crate::support::world::{Process, World};

/// A polite stop has this long in every state.
pub const STOP_CEILING: Duration = Duration::from_secs(10);

pub struct Scene {
    pub world: World,
    pub telegram: FakeTelegram,
    pub provider: FakeProvider,
    pub random: Random,
}

impl Scene {
    pub fn new(test: &str) -> Scene {
        Scene::with(Random::for_test(test))
    }

    pub fn with(mut random: Random) -> Scene {
        let telegram = FakeTelegram::start(&mut random);
        let provider = FakeProvider::start(&mut random);
        let mut world = World::asking(&provider.url());
        world.be_quick_and_generous();
        world.set_all(&[
            ("CHANNELS_TELEGRAM_ENABLED", "true"),
            ("CHANNELS_TELEGRAM_TOKEN", TOKEN),
            ("CHANNELS_TELEGRAM_ALLOW_FROM", "*"),
            ("CHANNELS_TELEGRAM_API_BASE", &telegram.url()),
        ]);
        Scene { world, telegram, provider, random }
    }

    pub fn start(&self) -> Process {
        self.world.start(&["channels", "telegram"])
    }

    /// A worker that other programs start and become.
    pub fn start_through(&self, prefix: &[OsString]) -> Process {
        self.world.start_through(prefix, &["channels", "telegram"])
    }

    /// Starts a worker and waits until it polls.
    #[track_caller]
    pub fn start_polling(&self) -> Process {
        self.start_polling_through(&[])
    }

    #[track_caller]
    pub fn start_polling_through(&self, prefix: &[OsString]) -> Process {
        // The server may still hold the poll of an earlier worker, so what counts is a new one.
        let polls = self.telegram.count_of("getUpdates");
        let mut process = self.start_through(prefix);
        let is_polling =
            came_true(STOP_CEILING, || self.telegram.count_of("getUpdates") > polls || !process.is_running());
        assert!(is_polling && process.is_running(), "the worker does not poll: {:#?}", process.last_words());
        process
    }

    /// SIGTERM; the worker must end well and in time.
    #[track_caller]
    pub fn stop(&self, mut process: Process) {
        process.terminate();
        let status = process.wait_within(STOP_CEILING);
        assert_eq!(status.code(), Some(0), "exit of a polite stop; last words: {:#?}", process.last_words());
    }

    /// Kills the worker and waits until the servers have seen the last of it: what it had sent is handled before the
    /// next worker speaks, or the order at the server would not be the order of sending.
    #[track_caller]
    pub fn kill(&self, mut process: Process) {
        process.kill();
        drop(process);
        until("the connections of a killed worker end", || {
            // Again and again: the server may read the last poll of a dead worker only now.
            self.telegram.interrupt_polls();
            self.telegram.server().open_count() == 0 && self.provider.server().open_count() == 0
        });
    }

    /// Waits until every message posted has its complete answer and the worker has confirmed every update.
    #[track_caller]
    pub fn until_answered(&self) {
        self.until_answered_but_not_confirmed();
        self.telegram.until_confirmed();
    }

    #[track_caller]
    pub fn until_answered_but_not_confirmed(&self) {
        let missing = self.unanswered_after(CEILING);
        let count = self.telegram.posted().len();
        assert!(
            missing.is_empty(),
            "seed {}: of {count} messages {} have no answer: {missing:?}",
            self.random.seed,
            missing.len()
        );
    }

    /// Waits at most so long; what has no complete answer then.
    pub fn unanswered_after(&self, ceiling: Duration) -> Vec<String> {
        let count = self.telegram.posted().len();
        let mut judged_at = usize::MAX;
        let mut looks = 0;
        let is_complete = || {
            // To understand everything sent is work: when there is something new, and now and then.
            let sent = self.telegram.sent_count();
            looks += 1;
            let is_worth_it = std::mem::replace(&mut judged_at, sent) != sent || looks % 64 == 0;
            sent >= count && is_worth_it && self.evidence().unanswered().is_empty()
        };
        if came_true(ceiling, is_complete) { Vec::new() } else { self.evidence().unanswered() }
    }

    /// How many messages of a chat wait for their answer, if every answer is one message.
    pub fn open_in(&self, chat: i64) -> usize {
        self.telegram.posted_count(chat).saturating_sub(self.telegram.distinct_count_to(chat))
    }

    pub fn evidence(&self) -> Evidence {
        Evidence::collect(&self.telegram, &self.provider, &self.world)
    }

    #[track_caller]
    pub fn judge(&self, rules: Rules) -> Verdict {
        let verdict = judge(&self.evidence(), rules);
        assert!(
            verdict.problems.is_empty(),
            "seed {}: {} problems, first of them:\n{}",
            self.random.seed,
            verdict.problems.len(),
            verdict.problems[..verdict.problems.len().min(20)].join("\n"),
        );
        verdict
    }
}
