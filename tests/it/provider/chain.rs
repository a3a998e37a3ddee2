//! The chain, run as an operator would: which provider answers, what is told, and what the next process knows.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::cases::{Random, cases};
use crate::support::fake_provider::{FakeProvider, Reply, Rule};
use crate::support::scene::Scene;
use crate::support::waiting::{now, since, until};
use crate::support::world::World;

/// Two servers: `compatible` comes first and `openai` second.
struct Two {
    world: World,
    first: FakeProvider,
    second: FakeProvider,
}

impl Two {
    fn new(test: &str) -> Two {
        let mut random = Random::for_test(test);
        let (first, second) = (FakeProvider::start(&mut random), FakeProvider::start(&mut random));
        let mut world = World::new();
        world.set_all(&[
            ("PROVIDER_CHAIN", "compatible:one,openai:two"),
            ("COMPATIBLE_API_BASE", &first.url()),
            ("COMPATIBLE_API_KEY", "key-of-the-first-0123456789"),
            ("OPENAI_API_BASE", &second.url()),
            ("OPENAI_API_KEY", "key-of-the-second-0123456789"),
            ("RETRY_BACKOFF_MS", "1"),
            ("RETRY_MAX_BACKOFF_MS", "2"),
            ("TURNS_PER_MINUTE", "0"),
            ("TURNS_PER_DAY", "0"),
            ("TOKENS_PER_DAY", "0"),
        ]);
        Two { world, first, second }
    }

    /// One turn in a process of its own: exit code, its `event=turn`, and what was printed.
    fn turn(&self) -> (Option<i32>, Value, String) {
        let finished = self.world.run(&["run", "--message", "hello"]);
        let turn = self.world.all_events("turn").pop().unwrap_or_else(|| panic!("no turn: {finished:?}"));
        (finished.code, turn, finished.stdout)
    }

    fn asked(&self) -> (usize, usize) {
        (self.first.asked_count(), self.second.asked_count())
    }

    fn only_the_first(&mut self) {
        self.world.set("RUSTY_PINCH_PROVIDER_CHAIN", "compatible:one");
    }

    fn file(&self) -> std::path::PathBuf {
        self.world.data().join("provider").join("standing.json")
    }

    /// What the file says, with its openings in the past.
    fn let_the_openings_pass(&self) {
        let mut book: Value = serde_json::from_slice(&fs::read(self.file()).expect("a file")).expect("JSON");
        for (_, kept) in book["providers"].as_object_mut().expect("providers") {
            kept["until"] = kept["written"]["wall"].clone();
        }
        fs::write(self.file(), book.to_string()).expect("written");
    }
}

#[track_caller]
fn answered_by(turn: &Value, provider: &str, model: &str, from: Option<&str>) {
    assert_eq!((&turn["provider"], &turn["model"], &turn["status"]), (&provider.into(), &model.into(), &"ok".into()));
    assert_eq!(turn["fallback_from"].as_str(), from, "{turn}");
}

#[test]
fn a_failing_provider_is_followed_by_the_next_and_the_turn_says_so() {
    let two = Two::new("fallback");
    two.first.rule(Rule::when("").status(500).times(3));
    let (code, turn, _) = two.turn();
    assert_eq!((code, two.asked()), (Some(0), (3, 1)));
    answered_by(&turn, "openai", "two", Some("compatible"));
    assert_eq!(turn["attempts"], 4);
    let retries: Vec<Value> =
        two.world.all_events("provider_retry").iter().map(|event| event["provider"].clone()).collect();
    assert_eq!(retries, ["compatible"; 3]);
    // Each got its own key and its own model.
    let (first, second) = (two.first.asked(), two.second.asked());
    assert_eq!(first[0].header("authorization"), Some("Bearer key-of-the-first-0123456789"));
    assert_eq!(second[0].header("authorization"), Some("Bearer key-of-the-second-0123456789"));
    assert_eq!((&first[0].body["model"], &second[0].body["model"]), (&"one".into(), &"two".into()));
    // Three failures do not open anything: the next turn begins with the first again.
    let (_, turn, _) = two.turn();
    answered_by(&turn, "compatible", "one", None);
    assert_eq!(two.asked(), (4, 1));
}

#[test]
fn what_would_fail_anywhere_is_not_put_to_the_next() {
    for (status, class) in [(400, "invalid_request"), (405, "invalid_request")] {
        let two = Two::new("no fallback");
        two.first.rule(Rule::when("").status(status));
        let (code, turn, _) = two.turn();
        assert_eq!((code, two.asked(), turn["error"].as_str()), (Some(1), (1, 0), Some(class)), "{turn}");
        assert_eq!((&turn["provider"], turn.get("fallback_from")), (&"compatible".into(), None));
    }
}

#[test]
fn when_all_fail_the_turn_names_the_last_one_and_makes_six_attempts_at_most() {
    let mut two = Two::new("all fail");
    two.world.set("RUSTY_PINCH_REQUEST_RETRIES", "4");
    two.first.rule(Rule::when("").status(503));
    two.second.rule(Rule::when("").status(503));
    let (code, turn, _) = two.turn();
    assert_eq!((code, two.asked()), (Some(1), (5, 1)), "{turn}");
    assert_eq!((&turn["provider"], &turn["fallback_from"]), (&"openai".into(), &"compatible".into()));
}

/// P7: short form ten restarts, all fifty with RP_TEST_CASES.
#[test]
fn a_rejected_key_is_not_used_again_after_any_restart_and_another_one_at_once() {
    let mut two = Two::new("P7");
    two.only_the_first();
    two.first.rule(Rule::when("").status(401));
    assert_eq!(two.turn().1["error"], "auth");
    assert_eq!(two.asked(), (1, 0));
    let text = fs::read_to_string(two.file()).expect("kept");
    assert!(text.contains("\"auth\"") && !text.contains("key-of-the-first"), "{text}");
    for restart in 0..cases(10, 50) {
        let begun = now();
        let (code, turn, told) = two.turn();
        assert!(since(begun) < Duration::from_secs(2), "restart {restart}");
        assert_eq!((code, &turn["error"], &turn["attempts"]), (Some(1), &"auth".into(), &0.into()), "{turn}");
        assert!(told.contains("Please try again in about 15 minutes"), "{told}");
    }
    assert_eq!(two.asked(), (1, 0), "a rejected key was sent after a restart");
    // A worker knows it, too.
    let doctor = two.world.run(&["doctor"]).stdout;
    assert!(doctor.contains("provider.standing") && doctor.contains("auth"), "{doctor}");
    two.first.clear_rules();
    two.world.set("RUSTY_PINCH_COMPATIBLE_API_KEY", "another-key-0123456789");
    assert_eq!(two.turn().1["status"], "ok");
    two.world.set("RUSTY_PINCH_COMPATIBLE_API_KEY", "key-of-the-first-0123456789");
    assert_eq!(two.turn().1["error"], "auth", "the rejected one is still known");
}

#[test]
fn the_first_is_asked_again_as_soon_as_its_rest_is_over() {
    let two = Two::new("return");
    two.first.rule(Rule::when("").status(401).times(1));
    answered_by(&two.turn().1, "openai", "two", Some("compatible"));
    answered_by(&two.turn().1, "openai", "two", Some("compatible"));
    assert_eq!(two.asked(), (1, 2));
    let states = two.world.all_events("provider_state");
    assert_eq!(
        (&states[0]["from"], &states[0]["to"], &states[0]["class"]),
        (&"closed".into(), &"open".into(), &"auth".into())
    );
    assert!(states[0]["until"].is_string() && states.len() == 1, "{states:?}");
    two.let_the_openings_pass();
    answered_by(&two.turn().1, "compatible", "one", None);
    assert_eq!(two.asked(), (2, 2));
    let states = two.world.all_events("provider_state");
    let last: Vec<_> = states[1..].iter().map(|state| state["to"].as_str().unwrap_or_default()).collect();
    assert_eq!(last, ["half_open", "closed"]);
}

#[test]
fn a_time_that_a_provider_named_is_kept_to_across_restarts() {
    for (status, first, later) in
        [(429, "rate_limited", "rate_limited"), (503, "server", "overloaded"), (502, "server", "overloaded")]
    {
        let mut two = Two::new("not before");
        two.only_the_first();
        two.first.rule(Rule::when("").reply(Reply::Status { status, retry_after: Some("600".into()) }));
        assert_eq!(two.turn().1["error"], first);
        for _ in 0..3 {
            let (_, turn, told) = two.turn();
            assert_eq!((&turn["error"], &turn["attempts"]), (&later.into(), &0.into()), "{status}: {turn}");
            assert!(told.contains("in about 10 minutes"), "{told}");
        }
        assert_eq!(two.asked(), (1, 0), "{status}");
    }
}

#[test]
fn a_quota_is_used_up_until_the_time_that_was_named() {
    let mut two = Two::new("quota");
    two.only_the_first();
    two.first.rule(Rule::when("").reply(Reply::Status { status: 402, retry_after: Some("7200".into()) }).times(1));
    assert_eq!(two.turn().1["error"], "quota");
    let (_, turn, told) = two.turn();
    assert_eq!((&turn["error"], two.asked()), (&"quota".into(), (1, 0)));
    assert!(told.contains("in about 2 hours"), "{told}");
    two.let_the_openings_pass();
    assert_eq!(two.turn().1["status"], "ok");
}

/// A worker that runs learns what a command beside it found, and that it is over.
#[test]
fn a_worker_learns_from_a_command_beside_it() {
    let scene = Scene::new("beside");
    scene.provider.rule(Rule::when("of the command").status(401).times(1));
    let process = scene.start_polling();
    scene.telegram.say(5, "before");
    scene.provider.until_asked_about("before");
    scene.world.run(&["run", "--message", "of the command"]);
    scene.telegram.say(5, "after");
    until("the worker answers", || scene.world.all_events("turn").len() == 3);
    let turns = scene.world.all_events("turn");
    assert_eq!((&turns[2]["error"], &turns[2]["attempts"]), (&"auth".into(), &0.into()), "{turns:?}");
    assert_eq!(scene.provider.asked_about("after"), 0);
    scene.stop(process);
}

/// However many find out at the same time, nobody asks afterwards.
#[test]
fn processes_side_by_side_learn_from_each_other() {
    let mut two = Two::new("side by side");
    two.only_the_first();
    let threads = 6;
    two.first.rule(Rule::when("").status(401));
    let processes: Vec<_> = (0..threads).map(|_| two.world.start(&["run", "--message", "hello"])).collect();
    for mut process in processes {
        process.wait_within(crate::support::waiting::CEILING);
    }
    let asked = two.first.asked_count();
    assert!(asked <= threads, "{asked}");
    two.turn();
    assert_eq!(two.first.asked_count(), asked);
}

#[test]
fn a_damaged_file_is_set_aside_told_and_costs_one_request() {
    let mut two = Two::new("damaged");
    two.only_the_first();
    two.first.rule(Rule::when("").status(401));
    two.turn();
    fs::write(two.file(), "{\"v\":1,").expect("written");
    assert_eq!(two.turn().1["error"], "auth");
    assert_eq!(two.asked(), (2, 0));
    assert!(two.file().with_extension("json.damaged").exists());
    assert_eq!(two.world.all_events("storage_error").len(), 1);
    two.turn();
    assert_eq!(two.asked(), (2, 0));
}

#[test]
fn an_echo_reads_and_writes_nothing_about_providers() {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    world.run(&["run", "--message", "hello"]);
    assert!(!world.data().join("provider").exists());
}

/// An answer at the third provider, not at the fourth.
#[test]
fn three_providers_are_asked_and_no_more() {
    let mut two = Two::new("three");
    two.world.set("RUSTY_PINCH_PROVIDER_CHAIN", "compatible:a,compatible:b,compatible:c,openai:two");
    two.world.set("RUSTY_PINCH_REQUEST_RETRIES", "0");
    let missing = Reply::Status { status: 500, retry_after: None };
    two.first.rule(Rule::when("").reply(missing));
    let (code, turn, _) = two.turn();
    assert_eq!((code, two.asked()), (Some(1), (3, 0)), "{turn}");
    assert_eq!(turn["model"], "c");
}

#[test]
fn a_bad_chain_is_refused_with_78_and_a_sentence() {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER_CHAIN", "openai,local");
    let finished = world.run(&["run", "--message", "hello"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.stderr.iter().any(|line| line.contains("must not hold local")), "{finished:?}");
    world.set("RUSTY_PINCH_PROVIDER_CHAIN", "openai,codex");
    world.set("RUSTY_PINCH_PROVIDER", "groq");
    let finished = world.run(&["run", "--message", "hello"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    until("it is told", || finished.stderr.iter().any(|line| line.contains("begins with openai")));
}
