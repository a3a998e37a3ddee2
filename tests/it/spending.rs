//! Limits of spending from outside: who is refused, with which words, and that nothing is asked then; the count of tokens
//! over processes and kills; no request without a message.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::id::TurnId;
use rusty_pinch::config::limits::SpendingLimits;
use rusty_pinch::provider::spending::{Now, Spent};
use serde_json::{Value, json};

use crate::support::cases::{Random, cases};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::Scene;
use crate::support::waiting::{Gate, holds, spawn, until};
use crate::support::world::World;

/// Tokens of a usual answer of the fake provider.
const TOKENS: u64 = 12;
const MINUTE_LIMIT: &str = "Sorry, you have reached your 20 questions a minute. Please try again in about ";

fn stats(world: &World) -> Value {
    let finished = world.run(&["stats"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let stats: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    stats["spending"].clone()
}

fn spent_by(world: &World) -> Value {
    stats(world)["by_provider"]["compatible"].clone()
}

/// A scene in which the limits are as delivered.
fn limited(test: &str) -> Scene {
    let mut scene = Scene::new(test);
    for name in ["TURNS_PER_MINUTE", "TURNS_PER_DAY", "TOKENS_PER_DAY"] {
        scene.world.unset(&format!("RUSTY_PINCH_{name}"));
    }
    scene
}

/// The text of the last message to a chat, once there are so many.
fn last_to(scene: &Scene, chat: i64, count: usize) -> String {
    scene.telegram.until_sent_to(chat, count);
    scene.telegram.sent_to(chat)[count - 1].text.clone()
}

#[test]
fn the_twenty_first_question_in_a_minute_is_refused_in_words_and_asks_nobody() {
    let scene = limited("sender-limit");
    let mut process = scene.start_polling();
    (0..20).for_each(|number| drop(scene.telegram.say(42, &format!("question {number}"))));
    scene.telegram.until_sent_to(42, 20);
    scene.telegram.say(42, "question 20");
    let told = last_to(&scene, 42, 21);
    assert!(told.starts_with(MINUTE_LIMIT) && told.contains(" second"), "{told}");
    assert_eq!(scene.provider.asked_count(), 20);
    // The same person elsewhere is the same person; what asks no model is free, and so is everybody else.
    scene.telegram.say_as(-100_500, 42, "question 21");
    assert!(last_to(&scene, -100_500, 1).starts_with(MINUTE_LIMIT));
    scene.telegram.say(42, "/tool time_now");
    assert!(last_to(&scene, 42, 22).starts_with("[tool:time_now]"));
    scene.telegram.say(43, "hello");
    assert!(last_to(&scene, 43, 1).starts_with("reply #20 to hello"));
    scene.kill(process);
    process = scene.start_polling();
    scene.telegram.say(42, "question 22");
    assert!(last_to(&scene, 42, 23).starts_with(MINUTE_LIMIT), "a restart resets nothing");
    assert_eq!(scene.provider.asked_count(), 21);
    scene.telegram.until_confirmed();
    scene.stop(process);
    let turns = scene.world.all_events("turn");
    let refused: Vec<&Value> = turns.iter().filter(|turn| turn["error"] == "sender_limit").collect();
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|turn| turn["attempts"] == 0 && turn["path"] == "provider"), "{refused:?}");
    let events = scene.world.all_events("limit_reached");
    assert_eq!(events.len(), 2, "once by each process: {events:?}");
    let wanted = json!(["turns_per_minute", 20, "telegram", "42"]);
    assert_eq!(json!([events[0]["limit"], events[0]["most"], events[0]["channel"], events[0]["sender_id"]]), wanted);
    assert_eq!(stats(&scene.world)["senders_limited"], 1);
    assert!(scene.world.session(42).windows(14).any(|bytes| bytes == b"\"sender_limit\""), "it is in the session");
}

#[test]
fn a_turn_that_a_kill_interrupted_is_counted_once() {
    let mut scene = limited("interrupted");
    scene.world.set("RUSTY_PINCH_TURNS_PER_DAY", "2");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
    scene.telegram.say(42, "slow question");
    for times in 1..=2 {
        let mut process = scene.start_polling();
        until("the question is asked", || scene.provider.asked_count() == times);
        process.kill();
    }
    gate.open();
    let process = scene.start_polling();
    scene.telegram.until_sent_to(42, 1);
    scene.telegram.say(42, "one more");
    assert!(last_to(&scene, 42, 2).contains("to one more"));
    scene.telegram.say(42, "and one too many");
    assert!(
        last_to(&scene, 42, 3)
            .starts_with("Sorry, you have reached your 2 questions a day. Please try again in about ")
    );
    scene.stop(process);
}

#[test]
fn a_question_that_nobody_could_be_asked_is_not_counted() {
    let mut scene = limited("taken-back");
    scene.world.set("RUSTY_PINCH_TURNS_PER_DAY", "2");
    scene.provider.rule(Rule::when("").status(401));
    let process = scene.start_polling();
    for count in 1..=4 {
        scene.telegram.say(42, "hello");
        let told = last_to(&scene, 42, count);
        assert!(told.contains("rejects my credentials"), "{count}: {told}");
    }
    assert_eq!(scene.provider.asked_count(), 1);
    scene.stop(process);
    let spent: Value =
        serde_json::from_slice(&fs::read(scene.world.data().join("provider/spending.json")).expect("a file"))
            .expect("JSON");
    assert_eq!(spent["senders"]["telegram:42"]["days"][0][1], 1, "{spent}");
}

#[test]
fn the_cap_of_tokens_holds_over_processes_and_ends_a_command_with_a_sentence() {
    let mut scene = limited("token-cap");
    scene.world.set("RUSTY_PINCH_TOKENS_PER_DAY", &(2 * TOKENS).to_string());
    let process = scene.start_polling();
    scene.telegram.say(42, "hello");
    scene.telegram.until_sent_to(42, 1);
    assert_eq!(scene.world.run(&["run", "--message", "hello"]).code, Some(0));
    let refused = scene.world.run(&["run", "--message", "hello"]);
    let sentence = "Sorry, all 24 tokens that I may use in a day are used up. Please try again in about ";
    assert!(refused.code == Some(1) && refused.stdout.starts_with(sentence), "{refused:?}");
    scene.telegram.say(42, "hello again");
    assert!(last_to(&scene, 42, 2).starts_with(sentence));
    assert_eq!(scene.world.run(&["run", "--message", "/tool time_now"]).code, Some(0));
    assert_eq!(scene.provider.asked_count(), 2);
    scene.stop(process);
    let turns = scene.world.all_events("turn");
    assert_eq!(turns.iter().filter(|turn| turn["error"] == "token_limit" && turn["attempts"] == 0).count(), 2);
    let events = scene.world.all_events("limit_reached");
    assert!(events.len() == 2 && events.iter().all(|event| event["limit"] == "tokens_per_day"), "{events:?}");
    let stats = stats(&scene.world);
    let counted = json!({ "requests": 2, "input_tokens": 10, "output_tokens": 14, "estimated_tokens": 0 });
    assert_eq!((&stats["tokens"], &stats["tokens_limit"]), (&json!(24), &json!(24)));
    assert_eq!(stats["by_provider"], json!({ "compatible": counted }));
    assert_eq!(stats["day"].as_str().map(str::len), Some(10));
    let doctor = scene.world.run(&["doctor", "--quiet"]);
    assert!(doctor.stdout.contains("warning spending: 24 of 24 tokens of today are spent: no model"), "{doctor:?}");
}

#[test]
fn every_attempt_of_a_turn_is_a_request_and_the_cap_stops_the_next_one() {
    let mut scene = limited("attempts");
    scene.world.set("RUSTY_PINCH_TOKENS_PER_DAY", "1");
    // It may have been billed, so it is estimated, and that is the end.
    scene.provider.rule(Rule::when("").status(500));
    let finished = scene.world.run(&["run", "--message", "hello"]);
    assert_eq!((finished.code, scene.provider.asked_count()), (Some(1), 1), "{finished:?}");
    let turn = scene.world.all_events("turn").swap_remove(0);
    assert_eq!((&turn["error"], &turn["attempts"]), (&json!("token_limit"), &json!(1)), "{turn}");
    let spent = spent_by(&scene.world);
    assert_eq!((&spent["requests"], &spent["input_tokens"]), (&json!(1), &json!(0)));
    assert!(spent["estimated_tokens"].as_u64().is_some_and(|tokens| tokens > 10), "{spent}");
    // What was refused was not billed.
    scene.world.set("RUSTY_PINCH_TOKENS_PER_DAY", "0");
    scene.provider.clear_rules();
    scene.provider.rule(Rule::when("").status(401));
    assert_eq!(scene.world.run(&["run", "--message", "hello"]).code, Some(1));
    let after = spent_by(&scene.world);
    assert_eq!((&after["requests"], &after["estimated_tokens"]), (&json!(2), &spent["estimated_tokens"]));
}

#[test]
fn eight_processes_at_once_count_exactly() {
    const PROCESSES: usize = 8;
    let scene = std::sync::Arc::new(limited("eight"));
    let rounds = cases(2, 100);
    let threads = (0..PROCESSES).map(|number| {
        let scene = std::sync::Arc::clone(&scene);
        spawn("runs", move || {
            for round in 0..rounds {
                let session = format!("s{number}");
                let finished = scene.world.run(&["run", "--session", &session, "--message", &format!("round {round}")]);
                assert_eq!(finished.code, Some(0), "{finished:?}");
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("every run is well"));
    let requests = (PROCESSES * rounds) as u64;
    let counted = json!({ "requests": requests, "input_tokens": 5 * requests, "output_tokens": 7 * requests, "estimated_tokens": 0 });
    assert_eq!(spent_by(&scene.world), counted);
}

#[test]
fn a_kill_loses_no_more_than_the_request_under_way() {
    let mut scene = limited("killed");
    let (mut done, kills) = (0, cases(12, 2000));
    for number in 0..kills {
        let mut process = scene.world.start(&["run", "--session", "s", "--message", &format!("question {number}")]);
        let delay = scene.random.between(0, 400);
        holds("it runs, or is done", Duration::from_millis(delay), || true);
        process.kill();
        // An answer is printed after its request was counted.
        done += usize::from(!process.stdout().is_empty());
    }
    assert_eq!(scene.world.run(&["run", "--message", "the last"]).code, Some(0));
    let (least, most) = (done as u64 + 1, scene.provider.asked_count() as u64);
    let counted = spent_by(&scene.world)["requests"].as_u64().expect("a number");
    assert!((least..=most).contains(&counted), "{least} to {most} were asked, {counted} counted");
    assert!(scene.world.all_events("storage_error").is_empty(), "the file was whole after every kill");
}

#[test]
fn no_model_is_asked_without_a_message() {
    let scene = limited("idle");
    let quiet =
        || holds("nobody is asked", Duration::from_millis(300), || scene.provider.server().connection_count() == 0);
    let process = scene.start_polling();
    quiet();
    process.until_it_heeds_signals();
    process.signal(Signal::HUP);
    quiet();
    scene.telegram.say(42, "/tool time_now");
    scene.telegram.until_sent_to(42, 1);
    scene.kill(process);
    let process = scene.start_polling();
    quiet();
    scene.stop(process);
    for arguments in [&["doctor"][..], &["stats"], &["session", "list"], &["tools", "list"]] {
        scene.world.run(arguments);
    }
    quiet();
    assert_eq!(scene.provider.asked_count(), 0);
}

#[test]
fn an_echo_and_a_tool_leave_the_file_alone() {
    let mut scene = limited("local");
    assert_eq!(scene.world.run(&["run", "--message", "/tool time_now"]).code, Some(0));
    scene.world.set("RUSTY_PINCH_PROVIDER", "local");
    assert_eq!(scene.world.run(&["run", "--message", "hello"]).code, Some(0));
    let place = scene.world.data().join("provider");
    assert!(!place.exists());
    fs::create_dir(&place).expect("our own folder");
    fs::write(place.join("spending.json"), "damaged").expect("our own folder");
    let finished = scene.world.run(&["run", "--message", "hello"]);
    assert!(finished.code == Some(0) && scene.world.all_events("storage_error").is_empty(), "{finished:?}");
    assert_eq!(fs::read(place.join("spending.json")).expect("it is left"), b"damaged");
    assert_eq!(stats(&scene.world)["tokens"], 0);
    assert_eq!(scene.world.all_events("storage_error").len(), 1, "stats says that it cannot be read");
}

#[test]
fn never_more_than_the_limit_in_any_minute_whatever_the_clock_says() {
    let mut random = Random::for_test("any-minute");
    for _ in 0..cases(40, 100_000) {
        let most = random.between(1, 80);
        let limits = SpendingLimits { turns_per_minute: most, ..SpendingLimits::default() };
        let (mut spent, mut admitted) = (Spent::default(), Vec::new());
        let (mut steady, mut skew) = (1_800_000_000_000_u64, 0);
        for number in 0..random.between(100, 600) {
            let pause = if random.chance(50) { 70_000 } else { 2 * 60_000 / most };
            steady += random.between(0, pause);
            if random.chance(20) {
                skew = random.between(0, 400 * 86_400_000);
            }
            let believed_since = random.chance(500).then_some(Wall(steady + skew));
            let now = Now { wall: Wall(steady + skew), steady: Wall(steady), believed_since };
            let turn = TurnId::parse(&format!("rp-{number:026}")).expect("an id");
            if spent.admit("t:1", turn, &limits, now) == Ok(true) {
                spent.take("t:1", turn, now);
                admitted.push(steady);
            }
            if random.chance(100) {
                spent = serde_json::from_slice(&spent.to_json()).expect("what was written can be read");
            }
        }
        let most = usize::try_from(most).expect("few");
        let too_close = admitted.windows(most + 1).find(|turns| turns[most] - turns[0] < 60_000);
        assert_eq!(too_close, None, "seed {}: more than {most} in a minute", random.seed);
    }
}
