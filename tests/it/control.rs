//! The control lane: words in a chat that are for the program. The real worker between fakes; `pairing` has who may write at
//! all.

mod pairing;

use std::time::Duration;

use serde_json::{Value, json};

use crate::codex::stand_in;
use crate::support::cases::{cases, say};
use crate::support::checker::{MARK, Rules};
use crate::support::fake_bridge::Speaks;
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, holds, until};
use crate::support::world::World;
use crate::whatsapp;

/// How long a stop may take until its chat has read that it worked.
const STOP: Duration = Duration::from_secs(1);

/// A machine with many other tests may be slow once.
const TRIES: usize = 2;

fn session(world: &World, stem: &str) -> Vec<Value> {
    let path = world.data().join("sessions").join(format!("{stem}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

impl Scene {
    /// Somebody writes, and gets this answer next.
    #[track_caller]
    fn ask(&self, chat: i64, text: &str) -> String {
        let before = self.telegram.sent_count_to(chat);
        self.telegram.say(chat, text);
        self.telegram.until_sent_to(chat, before + 1);
        self.telegram.sent_to(chat)[before].text.clone()
    }
}

#[test]
fn every_word_is_answered_by_the_program_and_not_by_the_model() {
    let scene = Scene::new("control-words");
    let process = scene.start_polling();
    let help = scene.ask(42, "/help");
    assert!(help.contains("/stop - ") && help.contains("/last [PART] - "), "{help}");
    assert_eq!(scene.ask(42, "/start from-a-link"), help);
    assert_eq!(scene.ask(42, "/last"), "There is no answer in this conversation to repeat.");
    let answer = scene.ask(42, "a question");
    assert_eq!(scene.ask(42, "/last"), format!("(repeated) {answer}"));
    assert_eq!(scene.ask(42, "/last 2"), "The last answer has one part.");
    let status = scene.ask(42, "/STATUS");
    for part in ["compatible, fake-model: ready", "Open messages: ", "being answered: 0", "Tokens today: ", "Up for "] {
        assert!(status.contains(part), "{part} in {status}");
    }
    assert!(scene.ask(42, "/model").ends_with("1. compatible, fake-model"));
    assert_eq!(scene.ask(42, "/stop"), "Nothing is under way in this chat.");
    assert!(scene.ask(42, "/help me").contains("takes nothing behind it"));
    assert!(scene.ask(42, "/tool time_now").starts_with("[tool:time_now]"));
    assert_eq!(scene.provider.asked_count(), 1);
    scene.telegram.until_confirmed();
    scene.stop(process);
    // Each is a turn like any other: closed once, in its session, counted.
    let turns = scene.world.all_events("turn");
    assert_eq!(turns.len(), scene.telegram.posted().len());
    let word = turns.iter().find(|turn| turn["tool_name"] == "/status").expect("a turn");
    assert_eq!((&word["path"], &word["status"], &word["delivery"]), (&json!("tool"), &json!("ok"), &json!("sent")));
    assert_eq!(session(&scene.world, "telegram_42").len(), 2 * turns.len());
}

#[test]
fn a_new_conversation_begins_behind_a_mark_and_the_file_only_grows() {
    let scene = Scene::new("control-new");
    let process = scene.start_polling();
    scene.ask(42, "the first question");
    scene.ask(42, "/status");
    let told = |about: &str| {
        let asked = scene.provider.asked();
        let last = asked.last().expect("a question").body["messages"].to_string();
        last.contains(about)
    };
    scene.ask(42, "the second question");
    assert!(told("the first question") && !told("/status") && !told("Up for"));
    let before = std::fs::read(scene.world.data().join("sessions/telegram_42.jsonl")).expect("a session");
    assert!(scene.ask(42, "/new").starts_with("(new conversation)"));
    assert_eq!(scene.ask(42, "/last"), "There is no answer in this conversation to repeat.");
    scene.ask(42, "the third question");
    assert!(!told("the first question") && !told("the second question") && !told("/new"));
    scene.stop(process);
    let after = std::fs::read(scene.world.data().join("sessions/telegram_42.jsonl")).expect("a session");
    assert!(after.starts_with(&before), "nothing that was written is changed");
    let marks: Vec<Value> =
        session(&scene.world, "telegram_42").into_iter().filter(|line| line["mark"] == "new").collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0]["role"], "system");
    // Over a restart, too.
    let process = scene.start_polling();
    scene.ask(42, "the fourth question");
    assert!(told("the third question") && !told("the second question"));
    scene.stop(process);
}

/// One worker, and a provider that never answers: the word passes everything, ends only its own chat, and goes on.
#[test]
fn a_stop_ends_what_its_chat_waits_for_within_a_second() {
    let mut best = Duration::MAX;
    for number in 0..TRIES {
        let mut scene = Scene::new("control-stop");
        scene.world.set("RUSTY_PINCH_WORKERS", "2");
        let gate = Gate::closed();
        scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
        let process = scene.start_polling();
        scene.telegram.say(43, "slow, of somebody else");
        scene.provider.until_asked_about("slow, of somebody else");
        scene.telegram.say(42, "slow one");
        scene.provider.until_asked_about("slow one");
        scene.telegram.say(42, "that waits");
        scene.telegram.until_confirmed();
        assert!(scene.ask(42, "/status").contains("Open messages: 3, being answered: 2"), "a word passes what runs");
        let posted = scene.telegram.say(42, "/stop");
        scene.telegram.until_sent_to(42, 2);
        let told = scene.telegram.sent_to(42).swap_remove(1);
        assert_eq!(told.text, "Stopped. One message that waited is dropped: send again what still matters.");
        best = best.min(told.at - posted.at);
        // The chat goes on, and nothing of what was stopped comes later.
        assert!(scene.ask(42, "quick").starts_with("reply #"));
        gate.open();
        scene.telegram.until_sent_to(43, 1);
        scene.telegram.until_confirmed();
        scene.stop(process);
        assert_eq!((scene.telegram.sent_count_to(42), scene.telegram.sent_count_to(43)), (3, 1));
        assert_eq!(scene.provider.asked_about("that waits"), 0);
        let turns = scene.world.all_events("turn");
        let stopped: Vec<&Value> = turns.iter().filter(|turn| turn["error"] == "stopped").collect();
        assert_eq!(stopped.len(), 2, "{turns:?}");
        assert!(stopped.iter().all(|turn| turn["delivery"] == "refused" && turn["session_id"] == "telegram:42"));
        let lines = session(&scene.world, "telegram_42");
        let said: Vec<&str> = lines.iter().filter_map(|line| line["content"].as_str()).collect();
        let [one, waits, stop] =
            ["slow one", "that waits", "/stop"].map(|text| said.iter().position(|said| *said == text));
        assert!(one < waits && waits < stop && one.is_some(), "{said:?}");
        assert_eq!(said.iter().filter(|said| **said == "(Stopped.)").count(), 2);
        assert_eq!(scene.judge(Rules::CALM).stopped, 4, "two words, and what one of them ended");
        if best < STOP {
            break;
        }
        say(&format!("try {number}: {best:?}"));
    }
    assert!(best < STOP, "{best:?}");
}

/// A program that ignores SIGTERM, and its child, in place of Codex.
#[test]
fn a_stop_ends_a_program_and_its_children_within_a_second() {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let mut scene = Scene::new("control-codex");
        stand_in(&mut scene.world, "cat > asked\nsleep 600 &\ntrap '' TERM\nwhile :; do sleep 600; done");
        let process = scene.start_polling();
        scene.telegram.say(42, "hello");
        until("the program is asked", || scene.world.path("workspace").join("asked").exists());
        until("it and its children run", || scene.world.survivors().len() >= 3);
        let posted = scene.telegram.say(42, "/stop");
        scene.telegram.until_sent_to(42, 1);
        let told = scene.telegram.sent_to(42).swap_remove(0);
        assert_eq!(told.text, "Stopped.");
        best = best.min(told.at - posted.at);
        let own = process.id().to_string();
        until("nothing of it is left", || scene.world.survivors() == [own.clone()]);
        scene.stop(process);
        if best < STOP {
            break;
        }
    }
    assert!(best < STOP, "{best:?}");
}

#[test]
fn in_a_group_a_word_may_name_its_bot() {
    let scene = Scene::new("control-group");
    let process = scene.start_polling();
    scene.telegram.say_as(-100, 7, "/help@other_bot");
    scene.telegram.say_as(-100, 7, "/help@Pinch_Bot");
    scene.telegram.until_sent_to(-100, 1);
    scene.telegram.until_confirmed();
    scene.telegram.say_as(-100, 7, "an ordinary word");
    scene.telegram.until_sent_to(-100, 2);
    scene.stop(process);
    let sent = scene.telegram.sent_to(-100);
    assert!(sent[0].text.contains("/stop - ") && sent[1].text.starts_with("reply #"), "{sent:?}");
    assert_eq!(scene.provider.asked_count(), 1);
}

#[test]
fn a_stranger_who_greets_gets_nothing() {
    let mut scene = Scene::new("control-stranger");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "42");
    let process = scene.start_polling();
    for word in ["/start", "/help", "/stop", "/status"] {
        scene.telegram.say(7, word);
    }
    scene.telegram.until_confirmed();
    assert!(scene.ask(42, "/start").contains("/stop - "));
    scene.stop(process);
    assert_eq!(scene.telegram.sent_count(), 1);
    assert!(scene.world.all_events("turn").len() == 1 && session(&scene.world, "telegram_7").is_empty());
}

#[test]
fn the_menu_is_told_once_and_a_server_that_does_not_want_it_is_no_matter() {
    let scene = Scene::new("control-menu");
    let process = scene.start_polling();
    scene.ask(42, "hello");
    scene.ask(42, "hello again");
    let menus = scene.telegram.calls("setMyCommands");
    assert_eq!(menus.len(), 1, "once per start");
    let commands = menus[0].body["commands"].as_array().expect("a list").clone();
    assert_eq!(commands[0]["command"], "stop");
    assert!(commands.iter().all(|command| command["description"].as_str().is_some_and(|text| !text.is_empty())));
    scene.stop(process);
    scene.telegram.fault(Fault::status(500, "Internal Server Error").on("setMyCommands"));
    let process = scene.start_polling();
    scene.ask(42, "and again");
    scene.ask(42, "once more");
    assert_eq!(scene.telegram.count_of("setMyCommands"), 2, "not at once again");
    scene.stop(process);
}

/// Killed anywhere between the word and its reply: what was asked is stopped or answered, once, and the word is answered.
#[test]
fn a_crash_around_a_stop_loses_and_repeats_nothing() {
    let mut scene = Scene::new("control-kill");
    for number in 0..cases(3, 200) {
        let (chat, question, gate) = (100 + number as i64, format!("slow {number}!"), Gate::closed());
        scene.provider.rule(Rule::when(&question).after(Wait::Until(gate.clone())));
        let mut process = scene.start_polling();
        scene.telegram.say(chat, &question);
        scene.provider.until_asked_about(&question);
        scene.telegram.say(chat, "/stop");
        let after = scene.random.between(0, 12);
        holds("not yet", Duration::from_millis(after), || true);
        process.kill();
        gate.open();
        scene.kill(process);
        let process = scene.start_polling();
        let stem = format!("telegram_{chat}");
        until("both are in the session", || session(&scene.world, &stem).len() == 4);
        let lines = session(&scene.world, &stem);
        let answer = lines.iter().find(|line| line["role"] == "assistant" && line["mark"].is_null());
        let is_stopped = answer.expect("an answer")["error"] == "stopped";
        let told = || -> (Vec<String>, Vec<String>) {
            let sent = scene.telegram.sent_to(chat).into_iter();
            let texts = sent.map(|sent| sent.text.trim_start_matches(MARK).to_owned());
            texts.partition(|text| text.starts_with("reply #"))
        };
        until("all is told", || !told().1.is_empty() && told().0.is_empty() == is_stopped);
        scene.telegram.until_confirmed();
        scene.stop(process);
        let (answers, mut words) = told();
        words.dedup();
        let known = ["Stopped.", "Nothing is under way in this chat."];
        let dropped = "One message that waited is dropped: send again what still matters.";
        assert!(words.len() == 1 && (known.contains(&words[0].as_str()) || words[0] == dropped), "{words:?}");
        assert_eq!((answers.is_empty(), session(&scene.world, &stem).len()), (is_stopped, 4), "{lines:?}");
    }
    scene.judge(Rules::KILLS);
}

#[test]
fn the_words_are_the_same_on_whatsapp() {
    let scene = whatsapp::Scene::new("control-whatsapp", Speaks::N);
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("slow").after(Wait::Until(gate)));
    let process = scene.start_linked();
    assert!(scene.ask(whatsapp::ANNA, "m1", "/help").contains("/stop - "));
    scene.bridge.write(whatsapp::ANNA, "m2", "slow one");
    scene.provider.until_asked_about("slow one");
    assert_eq!(scene.ask(whatsapp::ANNA, "m3", "/stop"), "Stopped.");
    assert!(scene.ask(whatsapp::ANNA, "m4", "quick").starts_with("reply #"));
    scene.stop(process);
}
