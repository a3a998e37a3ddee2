//! The campaign: the worker is killed, or asked to stop, at random moments under load, and started again.
//!
//! Afterwards the judges want 0 lost, 0 repeated without a mark, 0 repeated with another text, and the rest of I1 to I12.
//! The load has eight chats, random latencies of the provider, failing calls, replies in two parts, and answers of
//! `sendMessage` that get lost. `RP_TEST_CASES` sets the number of kills; a fifth of it is the number of stops. Other
//! faults are in `faults`.
//!
//! Seen to fail within 20 kills when a worker does not record one of: the message before its offset (lost), the reply
//! before it is sent (another text), the send before its request (no mark), the answer of a send (overtaken), or when
//! it does not look for its session line before it writes it again (twice). Within 10 kills when what may have arrived is sent
//! again where nothing may come twice, within 40 when a message is given up after one interruption.

use std::time::Duration;

use crate::support::cases::{Random, cases};
use crate::support::report::Report;
use crate::support::scene::STOP_CEILING;
use crate::support::stretch::{Expect, Stretch, stage};
use crate::support::waiting::{came_true, now, since};

/// Kills and stops with one data folder; then a fresh one, so that judging stays cheap.
const LIVES_PER_STRETCH: usize = 250;

/// Fewer in the other mode: each notice lets people write one message more, until a worker would refuse.
const LIVES_AT_MOST_ONCE: usize = 50;

/// Milliseconds to live: mostly short, because starts are where a crash finds the most to do.
fn life(random: &mut Random) -> Duration {
    let longest = match random.between(0, 19) {
        0 => 400,
        1..=5 => 150,
        _ => 100,
    };
    Duration::from_millis(random.between(0, longest))
}

#[test]
fn kills_at_random_moments_lose_nothing_and_repeat_nothing_unmarked() {
    let mut random = Random::for_test("kills");
    let mut report = Report::start("kills", random.seed);
    let kills = cases(10, 10_000);
    while report.count < kills {
        let mut stretch = Stretch::begin(stage(&mut random, 20));
        for _ in 0..LIVES_PER_STRETCH.min(kills - report.count) {
            let mut process = stretch.scene.start();
            // It must not end by itself; if it does, the judge hears of it.
            came_true(life(&mut random), || !process.is_running());
            stretch.kill(process, "nothing");
            report.count += 1;
        }
        stretch.end(Expect::KILLS, &mut report);
    }
    report.finish();
}

/// No repeat at all, and for everything an answer or a notice.
#[test]
fn kills_repeat_nothing_at_all_where_nothing_may_come_twice() {
    let mut random = Random::for_test("kills at most once");
    let mut report = Report::start("kills_at_most_once", random.seed);
    let kills = cases(10, 10_000).div_ceil(2);
    while report.count < kills {
        let mut scene = stage(&mut random, 20);
        scene.world.set("RUSTY_PINCH_DELIVERY", "at_most_once");
        let mut stretch = Stretch::begin(scene);
        for _ in 0..LIVES_AT_MOST_ONCE.min(kills - report.count) {
            let mut process = stretch.scene.start_polling();
            came_true(life(&mut random), || !process.is_running());
            stretch.kill(process, "nothing");
            report.count += 1;
        }
        stretch.end(Expect::AT_MOST_ONCE, &mut report);
    }
    report.finish();
}

#[test]
fn stops_at_random_moments_lose_nothing_and_repeat_nothing() {
    let mut random = Random::for_test("stops");
    let mut report = Report::start("stops", random.seed);
    // A fifth of the kills: 100 kills go with 20 stops.
    let stops = cases(25, 5000).div_ceil(5);
    let mut longest = Duration::ZERO;
    while report.count < stops {
        let mut stretch = Stretch::begin(stage(&mut random, 0));
        for _ in 0..LIVES_PER_STRETCH.min(stops - report.count) {
            let mut process = stretch.scene.start();
            process.until_it_heeds_signals();
            came_true(Duration::from_millis(random.between(0, 500)), || !process.is_running());
            stretch.sample(&process);
            let started = now();
            process.terminate();
            let status = process.wait_within(STOP_CEILING);
            longest = longest.max(since(started));
            assert_eq!(status.code(), Some(0), "seed {}: {:#?}", random.seed, process.last_words());
            report.count += 1;
        }
        stretch.end(Expect::CALM, &mut report);
    }
    report.details.insert("longest_stop_ms".to_string(), longest.as_millis() as usize);
    report.finish();
}
