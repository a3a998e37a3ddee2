//! The model check: every order in which two messages, crashes and network faults can meet, around the real state
//! machines. docs/durability.md says what is searched and what is not.
//!
//! ```text
//! world ──updates──▶ process: poller, schedule, lanes, and a ledger of `ledgers` ──texts──▶ world judges what arrives
//!                       ▲ start                                       │ calls
//!                       └── image ◀── kill, or a power cut ── disk ◀──┘
//! ```
//! `search` goes through all states, breadth first. A state is judged when nothing is left to do in it, and from every
//! state such an end must still be reachable. `every_broken_rule_is_found` breaks a rule of the process at a time.

use rusty_pinch::base::message::Mode;
use rusty_pinch::store::journal_files::FILE_BYTES;

use crate::support::cases::{is_long_run, say};
use crate::support::waiting::{now, since};

use disk::BLOCK_BYTES;
use search::{Search, Verdict};
use world::Letter;

mod disk;
mod ledgers;
mod meaning;
mod process;
mod search;
mod sender;
mod world;

/// A rule that is broken on purpose, in the model's process and not in the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The reader may acknowledge what is not flushed.
    ReceiptBeforeSync,
    /// A reply is sent that is not flushed.
    ReplyBeforeSync,
    /// The offset never goes back.
    OffsetByMax,
    /// A power cut is not told from a kill.
    SameBoot,
    /// That a send begins is written when it has ended.
    SendingKept,
    /// A notice is written down as sent, and nobody gets it.
    NoticeDropped,
}

/// What is searched.
#[derive(Clone, Debug)]
pub struct Setting {
    pub letters: Vec<Letter>,
    /// Kills and power cuts in one run, at most.
    pub crashes: u8,
    /// Lost requests, lost responses and refused connections in one run, at most.
    pub faults: u8,
    pub journal_bytes: u64,
    /// Whether a power cut may leave a part of a write.
    pub torn: bool,
    /// Whether the server may give a message again under another number; a fault, too.
    pub repeats: bool,
    /// Where the first process polls: the bot was quiet for a week, and numbers have started over.
    pub offset_at_start: Option<u64>,
    /// What becomes of a part that may have arrived.
    pub mode: Mode,
    pub flaw: Option<Flaw>,
}

impl Setting {
    pub fn changes_files(&self) -> bool {
        self.journal_bytes < FILE_BYTES
    }
}

/// Messages of these chats, with so many parts in each reply.
fn setting(chats: &[&'static str], parts: u8, crashes: u8, faults: u8) -> Setting {
    let letters = chats.iter().zip(100..).map(|(chat, id)| Letter { id, chat, parts }).collect();
    Setting {
        letters,
        crashes,
        faults,
        journal_bytes: FILE_BYTES,
        torn: false,
        repeats: false,
        offset_at_start: None,
        mode: Mode::AtLeastOnce,
        flaw: None,
    }
}

/// Numbers that started over, far below the offset.
fn started_over(crashes: u8, faults: u8) -> Setting {
    let mut setting = setting(&["1", "1"], 1, crashes, faults);
    setting.letters.iter_mut().zip(5..).for_each(|(letter, id)| letter.id = id);
    Setting { offset_at_start: Some(1001), ..setting }
}

/// What may have arrived must never be sent again: a notice stands in its place.
fn at_most_once(setting: Setting) -> Setting {
    Setting { mode: Mode::AtMostOnce, ..setting }
}

/// Orders of events that one search must go through.
const SCHEDULES_MIN: f64 = 1e6;

fn report(name: &str, setting: &Setting, verdict: &Verdict) {
    let Verdict { states, steps, ends, schedules, ledgers, images, changes, .. } = verdict;
    let (crashes, faults) = (setting.crashes, setting.faults);
    say(&format!("{name}, {crashes} crashes, {faults} faults: {states} states, {steps} steps, {ends} ends"));
    say(&format!("  at least {schedules:.1e} schedules"));
    say(&format!("  {ledgers} ledgers, {images} disks to start from, {changes} changes of files in one run at most"));
    if let Some((wrong, trace)) = &verdict.wrong {
        say(&format!("  {wrong}"));
        trace.iter().for_each(|event| say(&format!("    {event:?}")));
    }
}

/// Nothing wrong in any state, and not fewer states than there were: a search that ends early finds nothing wrong, too.
#[track_caller]
fn holds(name: &str, setting: Setting, states_min: usize) -> Verdict {
    let begun = now();
    let verdict = Search::run(setting.clone());
    report(name, &setting, &verdict);
    say(&format!("  {:.1} s", since(begun).as_secs_f64()));
    assert_eq!(verdict.wrong, None, "{name}: {setting:?}");
    assert!(verdict.states >= states_min, "{name}: only {} states", verdict.states);
    verdict
}

#[test]
fn two_messages_two_crashes_and_a_fault_break_no_promise() {
    let verdict = holds("one chat", setting(&["1", "1"], 1, 2, 1), 150_000);
    assert!(verdict.schedules >= SCHEDULES_MIN, "{}", verdict.schedules);
}

#[test]
fn a_crash_between_parts_breaks_no_promise() {
    holds("three parts", setting(&["1"], 3, 2, 1), 30_000);
    holds("two parts of two messages", setting(&["1", "1"], 2, 1, 0), 20_000);
    if is_long_run() {
        holds("two parts of two messages", setting(&["1", "1"], 2, 2, 0), 100_000);
        holds("two parts of two messages", setting(&["1", "1"], 2, 1, 1), 200_000);
    }
}

/// Files of two and three blocks: every second or third flush changes files.
#[test]
fn a_crash_around_any_change_of_files_breaks_no_promise() {
    let tiny = |blocks: u64, setting| Setting { journal_bytes: blocks * BLOCK_BYTES as u64, torn: true, ..setting };
    let verdict = holds("two blocks", tiny(2, setting(&["1", "1"], 1, 1, 0)), 10_000);
    assert!(verdict.changes > 3, "files were changed {} times", verdict.changes);
    let verdict = holds("three blocks, two parts", tiny(3, setting(&["1"], 2, 2, 0)), 5_000);
    assert!(verdict.changes > 3, "files were changed {} times", verdict.changes);
    if is_long_run() {
        holds("two blocks", tiny(2, setting(&["1", "1"], 1, 2, 0)), 50_000);
        holds("four blocks", tiny(4, setting(&["1", "1"], 1, 2, 0)), 100_000);
    }
}

#[test]
fn a_session_that_a_power_cut_tears_is_completed_once() {
    let torn = |crashes, faults| Setting { torn: true, ..setting(&["1", "1"], 1, crashes, faults) };
    holds("torn sessions", torn(1, 0), 5_000);
    if is_long_run() {
        holds("torn sessions", torn(2, 1), 300_000);
    }
}

#[test]
fn two_chats_break_no_promise_at_any_crash() {
    holds("two chats", setting(&["1", "2"], 1, 1, 0), 40_000);
    if is_long_run() {
        holds("two chats", setting(&["1", "2"], 1, 2, 0), 200_000);
        holds("two chats", setting(&["1", "2"], 1, 1, 1), 400_000);
    }
}

#[test]
fn numbers_that_start_over_break_no_promise_at_any_crash() {
    holds("numbers start over", started_over(1, 0), 5_000);
}

#[test]
fn a_message_that_comes_again_under_another_number_is_answered_once() {
    let repeats = |chats: &[&'static str], crashes| Setting { repeats: true, ..setting(chats, 1, crashes, 1) };
    holds("a repeated message of two", repeats(&["1", "1"], 0), 5_000);
    holds("a repeated message", repeats(&["1"], 2), 5_000);
    if is_long_run() {
        holds("a repeated message of two", repeats(&["1", "1"], 1), 40_000);
    }
}

/// Nothing comes twice, and where something is missing a notice says so.
#[test]
fn where_nothing_may_come_twice_a_notice_stands_for_what_may_have_arrived() {
    holds("at most once", at_most_once(setting(&["1", "1"], 1, 1, 0)), 5_000);
    holds("at most once, two parts", at_most_once(setting(&["1"], 2, 2, 1)), 20_000);
    if is_long_run() {
        holds("at most once", at_most_once(setting(&["1", "1"], 1, 1, 1)), 90_000);
        holds("at most once, three parts", at_most_once(setting(&["1"], 3, 2, 1)), 30_000);
        holds("at most once", at_most_once(setting(&["1", "1"], 1, 2, 1)), 100_000);
    }
}

/// The negative controls. What is found, and how it comes about, is printed.
#[test]
fn every_broken_rule_is_found() {
    let one_chat = |crashes| setting(&["1", "1"], 1, crashes, 0);
    for (flaw, setting, wanted) in [
        (Flaw::ReceiptBeforeSync, one_chat(1), "silent loss"),
        (Flaw::ReplyBeforeSync, one_chat(1), "differing texts"),
        (Flaw::OffsetByMax, started_over(0, 0), "no end can be reached"),
        (Flaw::SameBoot, one_chat(1), "unmarked duplicate"),
        (Flaw::SendingKept, one_chat(1), "unmarked duplicate"),
        (Flaw::SameBoot, at_most_once(one_chat(1)), "unmarked duplicate"),
        (Flaw::SendingKept, at_most_once(one_chat(1)), "unmarked duplicate"),
        (Flaw::NoticeDropped, at_most_once(setting(&["1"], 1, 1, 0)), "silent loss"),
    ] {
        let setting = Setting { flaw: Some(flaw), ..setting };
        let verdict = Search::run(setting.clone());
        report(&format!("{flaw:?}"), &setting, &verdict);
        let found = verdict.wrong.is_some_and(|(wrong, _)| wrong.starts_with(wanted));
        assert!(found, "{flaw:?} was not found");
    }
}
