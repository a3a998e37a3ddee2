//! The campaign: the worker is killed, or asked to stop, at random moments under load, and started again.
//!
//! Afterwards the judge wants 0 lost, 0 repeated without a mark, 0 repeated with another text. The load has eight
//! chats, random latencies of the provider, failing calls, replies in two parts, and answers of `sendMessage` that get
//! lost. `RP_TEST_CASES` sets the number of kills; the promise of the first issue is 100 kills and 20 stops.
//!
//! Seen to fail within 20 kills when a worker does not record one of: the message before its offset (lost), the reply
//! before it is sent (another text), the send before its request (no mark), the answer of a send (overtaken), or when
//! it does not look for its session line before it writes it again (twice).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::cases::{Random, cases, say};
use crate::support::checker::{Rules, Verdict};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::scene::{STOP_CEILING, Scene};
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, holds, now, since, spawn};

const CHATS: usize = 8;
/// Open messages per chat; over 32 the worker would refuse.
const OPEN_PER_CHAT_MAX: usize = 8;
/// Characters of a reply that needs two parts.
const LONG_REPLY: usize = 5000;
/// How long the server keeps most answers of `sendMessage` back after it took the message.
const ANSWER_TIME: Duration = Duration::from_millis(25);

/// People who write all the time until they are asked to rest.
struct People {
    rest: Gate,
    thread: JoinHandle<()>,
}

impl People {
    fn start(scene: &Arc<Scene>, mut random: Random) -> People {
        let rest = Gate::closed();
        let (scene, until_rest) = (Arc::clone(scene), rest.clone());
        let thread = spawn("people", move || {
            let mut count = 0;
            // What each chat must get, in messages: an answer of two parts is two of them.
            let mut expected = [0; CHATS];
            while !until_rest.wait(Duration::from_millis(random.between(1, 12))) {
                let chat = random.index(CHATS);
                let number = chat as i64 + 1;
                if expected[chat] < scene.telegram.distinct_count_to(number) + OPEN_PER_CHAT_MAX {
                    let (length, parts) = if random.chance(30) { ("long", 2) } else { ("short", 1) };
                    scene.telegram.say(number, &format!("{length} message {count}"));
                    expected[chat] += parts;
                    count += 1;
                }
            }
        });
        People { rest, thread }
    }

    fn rest(self) {
        self.rest.open();
        self.thread.join().expect("people do not panic");
    }
}

fn stage(test: &str, lost_per_mille: u64) -> Arc<Scene> {
    let mut scene = Scene::new(test);
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "5");
    scene.provider.latency(0, 30);
    scene.provider.rule(Rule::when("").status(503).per_mille(30));
    scene.provider.rule(Rule::when("long message").reply(Reply::Long(LONG_REPLY)));
    // Real answers take a while, and a kill while one is under way is what the marks are for.
    scene.telegram.fault(Fault::lost_answer().on("sendMessage").per_mille(lost_per_mille));
    scene.telegram.fault(Fault::late_answer(Wait::For(ANSWER_TIME)).on("sendMessage").per_mille(700));
    Arc::new(scene)
}

/// Lets the last worker finish everything, and judges.
#[track_caller]
fn finish(scene: &Scene, rules: Rules) -> Verdict {
    scene.telegram.clear_faults();
    let process = scene.start_polling();
    scene.until_answered();
    scene.stop(process);
    let verdict = scene.judge(rules);
    assert!(verdict.notices * 20 <= verdict.messages, "{} of {} are notices", verdict.notices, verdict.messages);
    verdict
}

#[test]
fn kills_at_random_moments_lose_nothing_and_repeat_nothing_unmarked() {
    let scene = stage("kills", 20);
    let mut random = scene.random.clone();
    let kills = cases(10, 10_000);
    let people = People::start(&scene, Random::from_seed(random.next()));
    for _ in 0..kills {
        let mut process = scene.start();
        let life = Duration::from_millis(random.between(0, 400));
        holds("the worker runs", life, || process.is_running());
        scene.kill(process);
    }
    people.rest();
    let Verdict { messages, marked, notices, .. } = finish(&scene, Rules::KILLS);
    let seed = random.seed;
    say(&format!(
        "kills: seed {seed}: {kills} kills, {messages} messages, {marked} marked repeats, {notices} notices, 0 lost"
    ));
}

#[test]
fn stops_at_random_moments_lose_nothing_and_repeat_nothing() {
    let scene = stage("stops", 0);
    let mut random = scene.random.clone();
    // A fifth of the kills: 100 kills go with 20 stops.
    let stops = cases(25, 5000).div_ceil(5);
    let people = People::start(&scene, Random::from_seed(random.next()));
    let mut longest = Duration::ZERO;
    for round in 0..stops {
        let mut process = scene.start();
        process.until_it_heeds_signals();
        let life = Duration::from_millis(random.between(0, 500));
        holds("the worker runs", life, || process.is_running());
        let started = now();
        process.terminate();
        let status = process.wait_within(STOP_CEILING);
        longest = longest.max(since(started));
        assert_eq!(status.code(), Some(0), "seed {}, stop {round}: {:#?}", random.seed, process.last_words());
    }
    people.rest();
    let Verdict { messages, notices, .. } = finish(&scene, Rules::CALM);
    let seed = random.seed;
    say(&format!(
        "stops: seed {seed}: {stops} stops, longest {longest:?}, {messages} messages, {notices} notices, 0 repeats"
    ));
}
