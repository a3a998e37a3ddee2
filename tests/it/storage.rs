//! Crash and fault injection on the torn disk: the real `Ledger` in a scripted run of three chats and twelve messages,
//! with replies of several parts, refusals, a blocked chat and repeats.
//!
//! Pass one counts the calls, pass two lets the process die at each of them. Whatever the disk may look like then, the
//! next process opens it, goes on until everything is quiet, and `judge` says whether somebody was lied to.
//!
//! Seen to fail, each with this breakage of the product:
//! - session lines that count as present when one of the pair is: lines lost;
//! - a dead letter whose folder is not synced: gone after a power cut;
//! - a failed append that later ones of its session overtake: order of lines;
//! - lines of an earlier process that a change of files does not sync: lines lost;
//! - a session file that cannot be read at start and counts as empty: lines twice;
//! - ambiguity without the other boot, or a send that is not recorded: unmarked repeats;
//! - a full session file that is not flushed before it is renamed, or whose old name is used before the folder is flushed:
//!   lines lost in the middle;
//! - dedupe or ordinals that stop at the current file of a session: lines twice.
//!
//! No copy of a message arrives here; the storm and the campaign have them.

use crate::support::cases::{Random, cases, say};
use crate::support::torn_disk::{CHANGES, Image, TornDisk};

use campaign::{Campaign, Count};
use world::{Kind, Letter, World};

mod appends;
mod campaign;
mod judge;
mod life;
mod rotation;
mod world;

/// So many messages of this size nearly fill a journal file.
const FULL: usize = 14;
const BIG: usize = 290_000;

const ORDINARY: [(&str, Kind); 12] = [
    ("10", Kind::Parts(1)),
    ("20", Kind::Parts(2)),
    ("10", Kind::Parts(3)),
    ("30", Kind::Parts(1)),
    ("10", Kind::Refused { told: true }),
    ("20", Kind::Parts(1)),
    ("30", Kind::Blocked),
    ("10", Kind::Parts(1)),
    ("20", Kind::Refused { told: false }),
    ("30", Kind::Parts(2)),
    ("20", Kind::Parts(1)),
    ("10", Kind::Parts(1)),
];

fn letters(kinds: &[(&str, Kind)], first: u64, filler: usize) -> Vec<Letter> {
    let letter = |((chat, kind), update): (&(&str, Kind), u64)| Letter {
        update,
        chat: (*chat).to_string(),
        text: format!("question {update}"),
        filler,
        kind: *kind,
    };
    kinds.iter().zip(first..).map(letter).collect()
}

/// Session files are full after a turn or two.
const SESSION_BYTES_MAX: usize = 1024;

/// A chat whose session the earlier runtime began, and how many lines it wrote.
const OLD: (&str, usize) = ("10", 6);

/// A chat whose session ends in half a line, which has to be kept aside.
const TORN: &str = "20";

/// A disk with a journal in which nothing ever happened, and with the session of the earlier runtime.
fn started_once() -> TornDisk {
    let disk = TornDisk::default();
    let line = |number| {
        let content = world::old_content(number);
        format!("{{\"role\":\"user\",\"content\":\"{content}\",\"timestamp\":\"2026-01-01T00:00:00+00:00\"}}\n")
    };
    let (name, lines) = (format!("telegram_{}.jsonl", OLD.0), (0..OLD.1).map(line).collect::<String>());
    let mut sessions = disk.folder("sessions");
    let written = sessions.append(&name, lines.as_bytes()).and_then(|()| sessions.sync(&name));
    let torn = format!("telegram_{TORN}.jsonl");
    let written = written.and_then(|()| sessions.append(&torn, b"{\"role\":\"us")).and_then(|()| sessions.sync(&torn));
    written.and_then(|()| sessions.sync_dir()).expect("nothing fails");
    assert!(life::Life::open(&disk, World::new(Vec::new(), Random::from_seed(1)), "first").is_ok());
    disk.forget_blank_ends();
    disk
}

/// The world around such a disk.
fn around(letters: Vec<Letter>, random: Random) -> World {
    let mut world = World::new(letters, random);
    world.old = Some((OLD.0.to_string(), OLD.1));
    world
}

fn report(name: &str, count: &Count) {
    say(&format!("{name}: {} crash points or failures, {} images recovered", count.points, count.images));
}

#[test]
fn no_crash_at_any_call_breaks_a_promise() {
    let random = Random::for_test("no_crash_at_any_call_breaks_a_promise");
    let mut count = Count::default();
    for run in 0..cases(1, 500) {
        let world = around(letters(&ORDINARY, 100, 0), Random::from_seed(random.seed.wrapping_add(run as u64)));
        count += Campaign { base: started_once(), world, first: 1 }.every_crash(u64::MAX, usize::MAX);
    }
    assert!(count.points > 40 && count.images > 400, "too little was tried: {count:?}");
    let tried: Vec<&str> = count.kinds.iter().copied().collect();
    assert_eq!(tried, CHANGES, "a kind of call at which no process died");
    report("no_crash_at_any_call_breaks_a_promise", &count);
}

/// K19: recovery is redo only, so it may be cut off as often as you like.
#[test]
fn a_crash_within_recovery_is_recovered_from() {
    let mut random = Random::for_test("a_crash_within_recovery_is_recovered_from");
    let world = around(letters(&ORDINARY, 100, 0), Random::from_seed(random.seed));
    let campaign = Campaign { base: started_once(), world, first: 1 };
    let count = campaign.crashes_within_recovery(cases(25, 5_000), &mut random);
    assert!(count.images > 20, "too little was tried: {count:?}");
    report("a_crash_within_recovery_is_recovered_from", &count);
}

#[test]
fn a_failure_within_recovery_is_recovered_from() {
    let mut random = Random::for_test("a_failure_within_recovery_is_recovered_from");
    let world = around(letters(&ORDINARY, 100, 0), Random::from_seed(random.seed));
    let campaign = Campaign { base: started_once(), world, first: 1 };
    let count = campaign.failures_within_recovery(cases(200, 5_000).max(200), &mut random);
    assert!(count.images > 100, "too little was tried: {count:?}");
    report("a_failure_within_recovery_is_recovered_from", &count);
}

/// K17, K18: the journal is filled until one more reply does not fit; then on until the next file is in use.
#[test]
fn a_crash_around_the_journal_switch_loses_nothing() {
    let random = Random::for_test("a_crash_around_the_journal_switch_loses_nothing");
    let mut all = letters(&[("10", Kind::Parts(1)); FULL], 100, BIG);
    all.extend(letters(&[("10", Kind::Parts(1)), ("20", Kind::Parts(1)), ("30", Kind::Parts(1))], 200, BIG));
    let campaign = Campaign { base: started_once(), world: around(all, random.clone()), first: 1 };
    let count = campaign.around_the_switch(cases(30, 5_000));
    assert!(count.images > 20, "too little was tried: {count:?}");
    report("a_crash_around_the_journal_switch_loses_nothing", &count);
}

/// The journal is written full of blanks before it holds anything; a crash in there is a first start again.
#[test]
fn a_crash_within_the_first_start_is_a_first_start_again() {
    let random = Random::for_test("a_crash_within_the_first_start_is_a_first_start_again");
    let world = World::new(letters(&ORDINARY[..3], 100, 0), random.clone());
    let campaign = Campaign { base: TornDisk::default(), world, first: 128 };
    let count = campaign.every_crash(138, 4);
    assert!(count.images > 20, "too little was tried: {count:?}");
    report("a_crash_within_the_first_start_is_a_first_start_again", &count);
}

/// Reads are calls, too. A process that gives up is started again; one that goes on has to make good.
#[test]
fn no_failing_call_loses_what_was_acknowledged() {
    let random = Random::for_test("no_failing_call_loses_what_was_acknowledged");
    let world = around(letters(&ORDINARY, 100, 0), random.clone());
    let count = Campaign { base: started_once(), world, first: 1 }.every_failure(3);
    assert!(count.points > 100, "too little was tried: {count:?}");
    report("no_failing_call_loses_what_was_acknowledged", &count);
}

/// What a flush dropped is still shown to the next process, and nothing may be built on it.
#[test]
fn a_flush_that_failed_is_not_believed_by_the_next_process() {
    let mut random = Random::for_test("a_flush_that_failed_is_not_believed_by_the_next_process");
    let world = around(letters(&ORDINARY, 100, 0), Random::from_seed(random.seed));
    let campaign = Campaign { base: started_once(), world, first: 1 };
    let count = campaign.failed_flushes_and_a_power_cut(cases(8, 500), &mut random);
    assert!(count.points > 15 && count.images > 100, "too little was tried: {count:?}");
    report("a_flush_that_failed_is_not_believed_by_the_next_process", &count);
}

/// The control of the whole file: a disk that keeps everything, where nothing may be marked, repeated or copied.
#[test]
fn a_run_without_trouble_is_judged_good() {
    let random = Random::for_test("a_run_without_trouble_is_judged_good");
    let disk = started_once().image(&Image::Killed);
    let world = around(letters(&ORDINARY, 100, 0), random);
    let (world, ended) = campaign::live(&disk, world, "boot0");
    ended.expect("nothing fails");
    judge::judge(&world, &world, &disk, None).expect("a good run");
    assert_eq!((world.copies, disk.names("dead").len()), (0, world.dead.len()));
}
