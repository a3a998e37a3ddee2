//! The storm: the real threads, queues, writer, turn workers and supervisor between fake ends, with tiny random bounds,
//! stalls, stops and crashes, until every message is answered.
//!
//! A seed is a town: messages, bounds, numbers of threads, and how its first processes end. After each end the next
//! process gets the disk as it is, or as a power cut leaves it. `verdict` says what must hold in the end.
//!
//! Seen to fail, each with this breakage of the product: a credit returned with the answer instead of the delivery; a
//! reply that another one of its chat steps over; reopened turns not seated; a receipt before the record; two turns of a
//! session at once; outboxes that stay open at a stop; a supervisor without patience; calls that are not cancelled; a send
//! that is not recorded; no dedupe; ambiguity without the other boot; a poison message never given up.
//! Not caught here: a notices or outbox bound that is too short, suspects that do not run alone.

use std::sync::{Arc, Mutex};

use crate::support::cases::{Random, cases, say};
use crate::support::torn_disk::{Image, TornDisk};
use crate::support::waiting;

use plan::{End, Plan, Poison};
use process::Process;
use town::Town;

mod bounds;
mod ends;
mod model;
mod plan;
mod process;
mod town;
mod verdict;

/// Far more processes than any town needs.
const PROCESSES_MAX: usize = 24;
/// Towns at the same time: they mostly wait.
const AT_ONCE: usize = 12;

/// One town from its first process to its last; the number of processes.
fn storm(plan: Plan) -> Result<usize, String> {
    let mut random = Random::from_seed(plan.seed ^ 0xd15c);
    let town = Town::new(plan);
    let mut disk = TornDisk::default();
    drop(process::open(&town, &disk, 0));
    disk.forget_blank_ends();
    let pause = town.clone();
    disk = disk.before_sync(Arc::new(move || {
        if pause.chance(30) {
            let gate = waiting::Gate::closed();
            gate.wait(std::time::Duration::from_millis(pause.between(1, 30)));
        }
    }));
    let mut boot = 0;
    for number in 0..PROCESSES_MAX {
        let end = town.plan.ends.get(number).copied().unwrap_or(End::Quiet);
        let credits = &town.plan.credits;
        let credits = credits.get(number).or(credits.last()).copied().unwrap_or(1);
        disk = Process::start(&town, &disk, boot, credits, random.next()).run(end, &mut random)?;
        boot += usize::from(matches!(end, End::PowerCut { .. }));
        // One that ends at once leaves its counting to the next.
        if matches!(end, End::Kill { .. } | End::PowerCut { .. }) {
            continue;
        }
        // What the next process would find, and mend.
        let look = disk.image(&Image::Killed);
        if town.all_done() && process::open(&town, &look, boot).1.reopened.is_empty() {
            verdict::judge(&town, &look)?;
            return Ok(number + 1);
        }
    }
    Err(format!("not everything is answered after {PROCESSES_MAX} processes"))
}

/// Runs towns side by side and complains about the first that is wrong, with its seed.
fn storms(plans: Vec<Plan>) -> usize {
    let plans = Arc::new(Mutex::new(plans));
    let results = Arc::new(Mutex::new((0, Vec::new())));
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (plans, results) = (Arc::clone(&plans), Arc::clone(&results));
            waiting::spawn("town", move || {
                loop {
                    let Some(plan) = waiting::lock(&plans).pop() else { return };
                    let about = format!("{plan:?}");
                    let outcome = storm(plan);
                    let mut results = waiting::lock(&results);
                    match outcome {
                        Ok(processes) => results.0 += processes,
                        Err(wrong) => results.1.push(format!("{wrong}\n    in {about}")),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().is_ok(), "a town panicked");
    }
    let results = waiting::lock(&results);
    results.1.iter().for_each(|wrong: &String| say(wrong));
    assert!(results.1.is_empty(), "{} towns went wrong, see above", results.1.len());
    results.0
}

#[test]
fn everything_is_answered_once_and_in_order_whatever_happens() {
    let random = Random::for_test("everything_is_answered_once_and_in_order_whatever_happens");
    let count = cases(30, 5_000);
    let plans = (0..count as u64).map(|number| Plan::random(random.seed.wrapping_add(number))).collect();
    let processes = storms(plans);
    say(&format!("everything_is_answered_once_and_in_order_whatever_happens: {count} towns, {processes} processes"));
}

/// The poison message is given up after three processes, and all others are answered.
#[test]
fn one_message_among_fifty_that_ends_processes_is_given_up() {
    let mut random = Random::for_test("one_message_among_fifty_that_ends_processes_is_given_up");
    let plans = [Poison::Panic, Poison::Kill].map(|poison| {
        let mut plan = Plan::calm(random.next());
        plan.letters = plan::letters(50, |_| random.between(1, 5));
        plan.poison = Some((plan.letters[random.index(50)].update, poison));
        plan
    });
    // The three that end, and the one that answers; the kill may come before the first attempt is noted.
    let processes = storms(plans.into());
    assert!((8..=9).contains(&processes), "{processes} processes");
}

/// No reply gets into one chat before all others are done; they have to get theirs meanwhile, also through the same
/// sender. Credits are a channel's, so there are more than the chat can hold.
#[test]
fn a_throttled_chat_holds_up_nobody_else() {
    let mut random = Random::for_test("a_throttled_chat_holds_up_nobody_else");
    let plan = |seed: u64| {
        let mut plan = Plan::calm(seed);
        plan.letters = plan::letters(20, |number| if number < 4 { 1 } else { 2 + number % 3 });
        plan.throttled = Some(plan.letters[0].chat.clone());
        plan.credits = vec![6];
        plan.senders = 1 + (seed % 2) as usize;
        plan
    };
    let plans = (0..cases(4, 200)).map(|_| plan(random.next())).collect();
    storms(plans);
}

/// Every call is under way when the stop comes, and then takes longer than a stop may. A model is cancelled, and its
/// turn is not held against the message; a network is not waited for.
#[test]
fn a_stop_keeps_its_time_whatever_stalls() {
    let mut random = Random::for_test("a_stop_keeps_its_time_whatever_stalls");
    let mut plans = Vec::new();
    for (network_stalls, model_stalls) in [(0, 1000), (1000, 0), (500, 500)] {
        let mut plan = Plan { network_stalls, model_stalls, ..Plan::calm(random.next()) };
        plan.letters = plan::letters(12, |number| number % 4);
        plan.ends = [10, 15, 20].map(|after| End::Stop { after }).into();
        plans.push(plan);
    }
    storms(plans);
}
