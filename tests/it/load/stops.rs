//! C8: a polite stop takes at most 10 s and ends with 0, whatever the worker is doing; then nothing is lost or repeated.

use std::time::Duration;

use crate::support::cases::{cases, say};
use crate::support::checker::Rules;
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::{STOP_CEILING, Scene};
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, holds, now, since, until};
use crate::support::world::Process;

/// Stops, says how long it took, and lets a second run finish what the first left.
#[track_caller]
fn stop_and_finish(scene: &Scene, process: Process, rules: Rules, ceiling: Duration) {
    let started = now();
    scene.stop(process);
    let elapsed = since(started);
    assert!(elapsed <= ceiling, "stopped after {elapsed:?}, wanted {ceiling:?}");
    scene.telegram.clear_faults();
    scene.provider.clear_rules();
    let process = scene.start_polling();
    scene.until_answered();
    scene.stop(process);
    scene.judge(rules);
}

#[test]
fn a_stop_inside_a_long_poll_is_immediate() {
    let scene = Scene::new("stop in a poll");
    let process = scene.start_polling();
    scene.telegram.say(42, "before");
    scene.until_answered();
    scene.telegram.until_polling();
    stop_and_finish(&scene, process, Rules::CALM, Duration::from_secs(1));
}

#[test]
fn a_stop_inside_a_provider_call_gives_it_five_seconds_and_runs_it_later() {
    let scene = Scene::new("stop in a call");
    scene.provider.rule(Rule::when("slow").after(Wait::Until(Gate::closed())));
    let process = scene.start_polling();
    for chat in 1..=6 {
        scene.telegram.say(chat, &format!("slow {chat}"));
    }
    until("four calls", || scene.provider.asked_count() == 4);
    scene.telegram.until_confirmed();
    stop_and_finish(&scene, process, Rules::CALM, STOP_CEILING);
}

/// A call that ends within the 5 s is answered before the stop, and is not made again.
#[test]
fn a_stop_lets_a_short_call_finish() {
    let scene = Scene::new("stop in a short call");
    scene.provider.rule(Rule::when("short").after(Wait::For(Duration::from_millis(1500))));
    let process = scene.start_polling();
    scene.telegram.say(42, "short");
    scene.provider.until_asked_about("short");
    scene.stop(process);
    assert_eq!(scene.telegram.sent_count(), 1, "answered before the end");
    let process = scene.start_polling();
    scene.until_answered();
    scene.stop(process);
    assert_eq!(scene.provider.asked_count(), 1);
    scene.judge(Rules::CALM);
}

#[test]
fn a_stop_inside_a_stalled_send_is_in_time() {
    let scene = Scene::new("stop in a send");
    scene.telegram.fault(Fault::stall().on("sendMessage").times(1));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    scene.telegram.say(42, "second");
    scene.telegram.until_sent(1);
    stop_and_finish(&scene, process, Rules::LOST_ANSWERS, STOP_CEILING);
}

#[test]
fn a_stop_while_a_chat_must_wait_is_immediate() {
    let scene = Scene::new("stop in a wait");
    scene.telegram.fault(Fault::too_many_requests(3600).on("sendMessage"));
    let process = scene.start_polling();
    scene.telegram.say(42, "first");
    scene.telegram.say(43, "second");
    until("both refused", || scene.telegram.calls("sendMessage").len() >= 2);
    scene.telegram.until_confirmed();
    stop_and_finish(&scene, process, Rules::CALM, Duration::from_secs(6));
}

#[test]
fn a_stop_inside_a_backoff_is_immediate() {
    let mut scene = Scene::new("stop in a backoff");
    scene.world.set("RUSTY_PINCH_RETRY_BACKOFF_MS", "30000");
    scene.world.set("RUSTY_PINCH_RETRY_MAX_BACKOFF_MS", "30000");
    scene.provider.rule(Rule::when("").status(503));
    scene.telegram.fault(Fault::web_page(502).on("getUpdates"));
    let process = scene.start();
    until("a broken poll", || !scene.telegram.calls("getUpdates").is_empty());
    scene.telegram.say(42, "hello");
    stop_and_finish(&scene, process, Rules::CALM, Duration::from_secs(6));
}

#[test]
fn a_stop_before_the_first_answer_of_the_api_is_in_time() {
    let scene = Scene::new("stop in getMe");
    scene.telegram.fault(Fault::stall().on("getMe"));
    let process = scene.start();
    until("getMe", || !scene.telegram.calls("getMe").is_empty());
    stop_and_finish(&scene, process, Rules::CALM, Duration::from_secs(6));
}

#[test]
fn a_second_signal_ends_at_once() {
    let scene = Scene::new("second signal");
    scene.provider.rule(Rule::when("").after(Wait::Until(Gate::closed())));
    let mut process = scene.start_polling();
    scene.telegram.say(42, "slow");
    scene.provider.until_asked_about("slow");
    let started = now();
    // Two signals in a row may be delivered as one, so the second is sent until it works.
    until("the process ends", || {
        process.terminate();
        !process.is_running()
    });
    assert!(since(started) < Duration::from_secs(2), "{:?}", since(started));
    assert_eq!(process.wait_within(STOP_CEILING).code(), Some(128 + 15));
}

/// At random instants under load; the numbers for a long run come from `RP_TEST_CASES`.
#[test]
fn stops_at_random_instants_are_in_time() {
    let scene = Scene::new("C8");
    let mut random = scene.random.clone();
    scene.provider.latency(0, 60);
    let count = cases(8, 1000);
    let mut longest = Duration::ZERO;
    for round in 0..count {
        let mut process = scene.start();
        process.until_it_heeds_signals();
        for index in 0..random.between(0, 6) {
            let chat = random.between(1, 5) as i64;
            if scene.open_in(chat) < 16 {
                scene.telegram.say(chat, &format!("round {round} message {index}"));
            }
        }
        let life = Duration::from_millis(random.between(0, 250));
        holds("the worker runs", life, || process.is_running());
        let started = now();
        process.terminate();
        let status = process.wait_within(STOP_CEILING);
        longest = longest.max(since(started));
        assert_eq!(status.code(), Some(0), "seed {}, round {round}: {:#?}", random.seed, process.last_words());
    }
    let process = scene.start_polling();
    scene.until_answered();
    scene.stop(process);
    let verdict = scene.judge(Rules::CALM);
    say(&format!("C8: {count} stops, longest {longest:?}, {} messages", verdict.messages));
}
