//! FC-12: every signal that an operator or a system sends, at random instants under load. A stop takes at most 10 s and ends with 0,
//! a second one ends at once, a reload loses nothing, and a process that was frozen goes on where it was.
//!
//! `RP_TEST_CASES` is the number of lives. Seen to fail: without the handler of SIGINT.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::cases::{Random, cases};
use crate::support::checker::Rules;
use crate::support::report::Report;
use crate::support::scene::{STOP_CEILING, Scene};
use crate::support::waiting::{came_true, holds, now, since, until};
use crate::support::world::Process;

const CHATS: u64 = 5;
const OPEN_PER_CHAT_MAX: usize = 16;

/// What is sent in one life, before its end; and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Terminate,
    Interrupt,
    /// Two in a row: the second means now.
    Twice,
}

struct Life {
    reloads: u64,
    freezes: u64,
    end: End,
}

fn life(random: &mut Random) -> Life {
    let end = match random.between(0, 9) {
        0..=3 => End::Terminate,
        4..=7 => End::Interrupt,
        _ => End::Twice,
    };
    Life { reloads: random.between(0, 3), freezes: random.between(0, 1), end }
}

fn write(scene: &Scene, random: &mut Random, name: &str) {
    for index in 0..random.between(0, 6) {
        let chat = random.between(1, CHATS) as i64;
        if scene.open_in(chat) < OPEN_PER_CHAT_MAX {
            scene.telegram.say(chat, &format!("{name} message {index}"));
        }
    }
}

/// Signals at random instants while people write.
fn live(scene: &Scene, process: &mut Process, life: &Life, random: &mut Random, name: &str) {
    let mut signals = [vec![Signal::HUP; life.reloads as usize], vec![Signal::STOP; life.freezes as usize]].concat();
    while !signals.is_empty() {
        let signal = signals.swap_remove(random.index(signals.len()));
        write(scene, random, &format!("{name} of {}", signals.len()));
        let pause = Duration::from_millis(random.between(0, 60));
        holds("the worker runs", pause, || process.is_running());
        process.signal(signal);
        if signal == Signal::STOP {
            came_true(Duration::from_millis(random.between(0, 80)), || false);
            process.signal(Signal::CONT);
        }
    }
    let pause = Duration::from_millis(random.between(0, 150));
    holds("the worker runs", pause, || process.is_running());
}

/// The exit, and how long it took.
fn end(process: &mut Process, end: End) -> (String, Duration) {
    let started = now();
    let signal = if end == End::Interrupt { Signal::INT } else { Signal::TERM };
    process.signal(signal);
    if end == End::Twice {
        // Two that are sent at once may be delivered as one, so the second is sent until the process ends.
        until("it ends", || {
            process.signal(Signal::TERM);
            !process.is_running()
        });
    }
    (process.code_within(STOP_CEILING), since(started))
}

#[test]
fn signals_at_random_instants_are_heeded_in_time_and_lose_nothing() {
    let scene = Scene::new("FC-12");
    let mut random = scene.random.clone();
    let mut report = Report::start("signals", random.seed);
    scene.provider.latency(0, 60);
    let count = cases(8, 2000);
    let mut longest = Duration::ZERO;
    for round in 0..count {
        let plan = life(&mut random);
        let mut process = scene.start();
        process.until_it_heeds_signals();
        live(&scene, &mut process, &plan, &mut random, &format!("round {round}"));
        let (code, took) = end(&mut process, plan.end);
        longest = longest.max(took);
        let is_good = match plan.end {
            // The first may have been enough.
            End::Twice => code == "143" || code == "0",
            End::Terminate | End::Interrupt => code == "0",
        };
        let problem = (!is_good).then(|| format!("round {round}: {:?} ended with {code}", plan.end));
        report.add_problems(problem.into_iter());
        for (name, number) in [("reloads", plan.reloads), ("freezes", plan.freezes)] {
            report.count_of(name, number as usize);
        }
        report.note(&format!("{:?}", plan.end));
        *report.exits.entry(code).or_default() += 1;
        report.count += 1;
        // What a second signal cut off is like a kill: the server must have seen the last of it.
        scene.kill(process);
    }
    let process = scene.start_polling();
    scene.until_answered();
    scene.stop(process);
    let verdict = scene.judge(Rules::KILLS);
    (report.messages, report.marked, report.repeats) = (verdict.messages, verdict.marked, verdict.repeated);
    report.notices = verdict.notices;
    report.count_of("longest_stop_ms", longest.as_millis() as usize);
    report.add_lines(&scene.world.all_lines());
    report.finish();
}

/// Nothing ends here, so nothing may be repeated, marked or missing.
#[test]
fn reloads_and_freezes_under_load_lose_and_repeat_nothing() {
    let scene = Scene::new("reloads");
    let mut random = scene.random.clone();
    scene.provider.latency(0, 30);
    let mut process = scene.start_polling();
    for round in 0..cases(6, 500) {
        let plan = Life { reloads: 4, freezes: 1, end: End::Terminate };
        live(&scene, &mut process, &plan, &mut random, &format!("round {round}"));
    }
    scene.until_answered();
    // Signals that wait are few; one more is heard.
    process.signal(Signal::HUP);
    until("a reload is told", || !process.events("reload").is_empty());
    scene.telegram.say(1, "the last one");
    scene.until_answered();
    scene.stop(process);
    assert_eq!(scene.judge(Rules::CALM).notices, 0);
}

/// A machine that sleeps freezes its processes: the poll that was under way is asked again, and nobody has to help.
#[test]
fn a_worker_that_was_frozen_in_a_poll_goes_on() {
    let scene = Scene::new("frozen");
    let process = scene.start_polling();
    scene.telegram.say(42, "before");
    scene.until_answered();
    scene.telegram.until_polling();
    process.signal(Signal::STOP);
    scene.telegram.say(42, "while it was frozen");
    holds("it is frozen", Duration::from_millis(300), || scene.telegram.sent_count() == 1);
    process.signal(Signal::CONT);
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}

/// A stop that comes while it is frozen is heeded afterwards.
#[test]
fn a_stop_of_a_frozen_worker_is_heeded_when_it_goes_on() {
    let scene = Scene::new("frozen stop");
    let mut process = scene.start_polling();
    process.signal(Signal::STOP);
    process.terminate();
    holds("it is frozen", Duration::from_millis(200), || process.is_running());
    process.signal(Signal::CONT);
    assert_eq!(process.code_within(STOP_CEILING), "0");
}
