//! Checks that take long: kills at random moments, and a soak.

use std::time::Duration;

use crate::sys::companion::Sample;
use crate::validate::bridge::Wish;
use crate::validate::checklist::Level;
use crate::validate::judge::{Findings, judge};
use crate::validate::stage::{ANNA, ANSWERED, BACK, Outcome, Stage, ensure};

/// Kills of WA-15.
const KILLS: u64 = 200;

/// A worker lives this long at most, in milliseconds; it is linked after a tenth of that.
const LIFE_MILLIS_MAX: u64 = 300;

/// Chats of WA-15.
const CHATS: u64 = 4;

/// One worker of so many lives until nothing is open: a message that is under way in three ends is given up, for good reason,
/// and a chat with 32 open ones is told to wait.
const CALM_EVERY: u64 = 3;

/// How long the soak is.
const SOAK: Duration = Duration::from_secs(120);

/// How long a worker runs before the first look at what it uses.
pub const WARM_UP: Duration = Duration::from_secs(30);

/// One message in this time, and a broken link after so many of them.
const PACE: Duration = Duration::from_millis(100);
const LINK_MESSAGES: u64 = 400;

/// What may have grown after the warm-up: pages that a heap has not given back, a descriptor for a moment.
const GROWTH_KIB_MAX: u64 = 2048;
const GROWTH_FILES_MAX: u64 = 2;

/// WA-15.
pub fn kills(stage: &mut Stage) -> Outcome {
    for number in 1..=KILLS {
        let mut worker = stage.start(&[])?;
        let life = Duration::from_millis(20 + stage.rng.up_to(LIFE_MILLIS_MAX));
        for _ in 0..=stage.rng.up_to(2) {
            let chat = format!("491700000000{}@s.whatsapp.net", stage.written % CHATS);
            stage.write(&chat)?;
        }
        stage.rest(life)?;
        if number % CALM_EVERY == 0 {
            stage.until(BACK, "an answer to all that is open", &mut |stage| {
                judge(&stage.sent, stage.written).lost == 0
            })?;
            // What is wrong now does not become right.
            faultless(judge(&stage.sent, stage.written))?;
        }
        worker.kill();
    }
    let worker = stage.start_linked()?;
    let written = stage.written;
    let done = &mut |stage: &mut Stage| {
        stage.bridge.unacked().is_none_or(|count| count == 0) && judge(&stage.sent, written).lost == 0
    };
    let ended = stage.until(BACK, "all answers", done).map(drop);
    stage.stop(worker)?;
    let found = judge(&stage.sent, written);
    for (name, number) in [
        ("kills", KILLS),
        ("messages", written),
        ("lost", found.lost),
        ("marked_repeats", found.marked),
        ("unmarked_repeats", found.unmarked),
        ("altered_repeats", found.altered),
    ] {
        stage.saw(name, number);
    }
    ended?;
    faultless(found)
}

fn faultless(found: Findings) -> Outcome {
    ensure(found.lost + found.unmarked + found.altered == 0, "a message was lost, or repeated without the mark")
}

/// WA-16. Nothing at level `bridge`: a day of a real account shows more.
pub fn soak(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    let begun = stage.now();
    let mut first: Option<Sample> = None;
    while begun.until(stage.now()) < SOAK {
        let number = stage.write(ANNA)?;
        let due = stage.now().after(PACE);
        let answered = &mut |stage: &mut Stage| stage.answers(number) > 0 && stage.now() >= due;
        stage.until(BACK + ANSWERED, "an answer", answered)?;
        // Only the last are needed, so that ours do not grow, either.
        stage.sent.clear();
        if number.is_multiple_of(LINK_MESSAGES) {
            stage.wish(Wish::Crash)?;
        }
        if first.is_none() && begun.until(stage.now()) >= WARM_UP {
            first = worker.sample();
        }
    }
    let (Some(first), Some(last)) = (first, worker.sample()) else { return Err("the worker has ended".to_owned()) };
    stage.stop(worker)?;
    for (name, number) in [
        ("messages", stage.written),
        ("seconds", SOAK.as_secs()),
        ("resident_kib_before", first.resident_kib),
        ("resident_kib_after", last.resident_kib),
        ("files_before", first.files),
        ("files_after", last.files),
        ("threads_before", first.threads),
        ("threads_after", last.threads),
    ] {
        stage.saw(name, number);
    }
    flat(first, last)
}

/// Whether nothing has grown.
///
/// # Errors
/// Something has.
pub fn flat(first: Sample, last: Sample) -> Outcome {
    ensure(last.resident_kib <= first.resident_kib + GROWTH_KIB_MAX, "memory has grown")?;
    ensure(last.files <= first.files + GROWTH_FILES_MAX, "open files have grown")?;
    ensure(last.threads <= first.threads, "threads have grown")
}

/// Whether a check is not for this level.
pub fn is_for(level: Level, id: &str) -> bool {
    (level, id) != (Level::Bridge, "WA-16")
}
