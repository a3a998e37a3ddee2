//! Level `live`: the operator's own bridge and phone. A worker with an empty data folder and the echo runs beside a list of
//! questions; what a person saw is written down with what the worker said and used meanwhile, and signed with a name.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::digest::sha256;
use crate::sys::files;
use crate::validate::checklist::{CHECKS, Verdict};
use crate::validate::endurance::{WARM_UP, flat};
use crate::validate::evidence::{Evidence, Observed};
use crate::validate::place::{LOOK, Place, Worker};
use crate::validate::run::{Means, keep};
use crate::validate::stage::{LINKED, STOPPED};

/// How long the worker of WA-02 waits for a message.
const BOUNDED: Duration = Duration::from_secs(600);

/// How long the worker has to have run for WA-16.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest note of a person, in characters; the rest is cut.
const NOTE_CHARS_MAX: usize = 500;

/// Largest file of evidence, in bytes.
const EVIDENCE_BYTES_MAX: u64 = 16 << 20;

/// Asks a person; `None`: nobody is there.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// Tells of a check that is over, by its place in the list.
pub type Tell<'a> = &'a mut dyn FnMut(usize, Evidence);

/// Asks about every item that needs a person.
///
/// # Errors
/// When no worker starts.
pub fn run(means: &Means, place: &Place, wanted: &[usize], ask: Ask<'_>, tell: Tell<'_>) -> io::Result<()> {
    let mut worker = place.start(&[])?;
    let linked = until(means, LINKED, &mut || worker.count("\"state\":\"online\"") > 0);
    if wanted.contains(&0) {
        tell(0, evidence(means, 0, verdict(linked), &mut worker, String::new()));
    }
    let is_asked = |at: &usize| wanted.contains(at) && !CHECKS[*at].person.is_empty();
    for at in (0..CHECKS.len()).filter(is_asked) {
        if means.cancel.requested() {
            break;
        }
        let check = &CHECKS[at];
        let question = format!("{}: {}.\n  {}.", check.id, check.claim, check.person);
        if check.id == "WA-02" {
            worker = bounded(means, place, worker, &question, ask, tell)?;
            continue;
        }
        let question = format!("{question}\n  pass, fail or skip, and a note: ");
        let (said, note) = match check.id {
            "WA-16" => soaked(means, &worker, &question, ask),
            _ => answer(ask, &question),
        };
        tell(at, evidence(means, at, said, &mut worker, note));
    }
    worker.terminate();
    until(means, STOPPED, &mut || !worker.runs());
    Ok(())
}

/// WA-02: another worker, for one message. The one after it is given back.
fn bounded(
    means: &Means,
    place: &Place,
    mut before: Worker,
    question: &str,
    ask: Ask<'_>,
    tell: Tell<'_>,
) -> io::Result<Worker> {
    before.terminate();
    until(means, STOPPED, &mut || !before.runs());
    let mut worker = place.start(&["--max-messages", "1"])?;
    let (said, note) = answer(ask, &format!("{question}\n  Enter when it is written; or fail or skip, and a note: "));
    let said = match said {
        Verdict::Pass => verdict(until(means, BOUNDED, &mut || !worker.runs()) && worker.code() == Some(0)),
        other => other,
    };
    tell(1, evidence(means, 1, said, &mut worker, note));
    worker.terminate();
    until(means, STOPPED, &mut || !worker.runs());
    place.start(&[])
}

/// A day has to have passed between two looks at the same worker, and nothing grown.
fn soaked(means: &Means, worker: &Worker, question: &str, ask: Ask<'_>) -> (Verdict, String) {
    until(means, WARM_UP, &mut || means.clock.mono() >= worker.started.after(WARM_UP));
    let (first, begun) = (worker.sample(), means.clock.mono());
    let (said, note) = answer(ask, question);
    let ran = begun.until(means.clock.mono());
    match (said, first, worker.sample()) {
        (Verdict::Pass, _, _) if ran < DAY => (Verdict::Fail, "the worker has not run for a day".to_owned()),
        (Verdict::Pass, Some(first), Some(last)) => match flat(first, last) {
            Ok(()) => (Verdict::Pass, note),
            Err(why) => (Verdict::Fail, why),
        },
        (Verdict::Pass, ..) => (Verdict::Fail, "the worker has ended".to_owned()),
        (other, ..) => (other, note),
    }
}

/// A person's name under all that is written so far.
pub fn sign(means: &Means, log: &Path, ask: Ask<'_>) -> Evidence {
    let name = ask("Sign with your name that you saw this; empty: you do not: ").unwrap_or_default();
    let name: String = name.trim().chars().take(NOTE_CHARS_MAX).collect();
    let mut artifacts = keep(log, &means.out, "live");
    if let Ok((bytes, _)) = files::read_bounded(&means.out, EVIDENCE_BYTES_MAX) {
        artifacts.push((means.out.display().to_string(), sha256(&[&bytes])));
    }
    let verdict = if name.is_empty() { Verdict::Skip } else { Verdict::Pass };
    Evidence { check: "sign-off", verdict, at: means.clock.wall(), observed: Observed::new(), note: name, artifacts }
}

/// What a person says. Nothing, or nothing that is understood, is no pass.
fn answer(ask: Ask<'_>, question: &str) -> (Verdict, String) {
    let is_bounded = question.contains("Enter when");
    loop {
        let Some(line) = ask(question) else { return (Verdict::Skip, "nobody was there".to_owned()) };
        let (word, note) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let note = note.chars().take(NOTE_CHARS_MAX).collect();
        match word {
            "pass" | "p" => return (Verdict::Pass, note),
            "" if is_bounded => return (Verdict::Pass, note),
            "fail" | "f" => return (Verdict::Fail, note),
            "skip" | "s" => return (Verdict::Skip, note),
            _ => {}
        }
    }
}

fn evidence(means: &Means, at: usize, verdict: Verdict, worker: &mut Worker, note: String) -> Evidence {
    let said = worker.said();
    let count = |part: &str| said.matches(part).count() as u64;
    let used = worker.sample().unwrap_or_default();
    let observed = vec![
        ("worker_seconds", worker.started.until(means.clock.mono()).as_secs()),
        ("turns", count("\"event\":\"turn\"")),
        ("links", count("\"channel_connected\"")),
        ("denied", count("\"channel_denied\"")),
        ("parked", count("\"channel_parked\"")),
        ("resident_kib", used.resident_kib),
        ("files", used.files),
    ];
    Evidence { check: CHECKS[at].id, verdict, at: means.clock.wall(), observed, note, artifacts: Vec::new() }
}

fn verdict(is_good: bool) -> Verdict {
    if is_good { Verdict::Pass } else { Verdict::Fail }
}

fn until(means: &Means, limit: Duration, is_true: &mut dyn FnMut() -> bool) -> bool {
    let end = means.clock.mono().after(limit);
    while !is_true() {
        if means.clock.mono() >= end || means.cancel.requested() {
            return false;
        }
        files::pause(LOOK);
    }
    true
}
