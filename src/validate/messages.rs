//! Checks of single messages: latency, the list, noise, repeats, marks, order, scripts, and what the log says of them.

use std::time::Duration;

use serde_json::Value;

use crate::base::clock::millis;
use crate::channel::outbound::REPEAT_MARK;
use crate::validate::bridge::Wish;
use crate::validate::checklist::Level;
use crate::validate::judge::judge;
use crate::validate::place::text_from;
use crate::validate::stage::{ANNA, ANSWERED, BACK, Outcome, Stage, TOKEN, ensure};

/// Somebody who is not on the list.
const STRANGER: &str = "4917000000666@s.whatsapp.net";

/// Messages of WA-03, and the slowest time that 95 of 100 have to keep.
const TIMED: usize = 40;
const SOON: Duration = Duration::from_secs(2);

/// Messages of WA-11, and how many of them are written at once: a chat may have 32 open.
const ORDERED: u64 = 100;
const ROUND: u64 = 20;

/// How long a turn takes at most, if nothing is wrong.
const TURN: Duration = Duration::from_secs(1);

/// Words of the long text of WA-12.
const WORDS: usize = 160;

/// Scripts that are easily spoilt: a family joined by marks, a flag, Arabic, Hebrew, Devanagari, a letter with a mark that
/// combines, a character beyond 16 bits.
const SCRIPTS: &str = "👩‍👩‍👧‍👦🇩🇪العربية-עברית-हिन्दी-e\u{301}𝔘";

/// WA-03.
pub fn latency(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    let mut times = Vec::new();
    for _ in 0..TIMED {
        times.push(stage.ask(ANNA)?);
    }
    times.sort();
    let p95 = times[TIMED * 95 / 100];
    stage.saw("messages", TIMED as u64);
    stage.saw("p50_ms", millis(times[TIMED / 2]));
    stage.saw("p95_ms", millis(p95));
    ensure(p95 < SOON, "answers are slow")?;
    stage.stop(worker).map(drop)
}

/// WA-04.
pub fn denied(stage: &mut Stage) -> Outcome {
    let number = ANNA.split('@').next().unwrap_or_default();
    stage.place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", number);
    let worker = stage.start_linked()?;
    for _ in 0..3 {
        stage.write(STRANGER)?;
    }
    stage.ask(ANNA)?;
    let told = |line: &str| line.contains("\"channel_denied\"") && line.contains(STRANGER);
    let is_over = &mut |stage: &mut Stage| stage.sent.len() > 1 || worker.said().lines().any(told);
    stage.until(ANSWERED, "the operator is told", is_over)?;
    let strangers = stage.sent.iter().filter(|sent| sent.to == STRANGER).count();
    stage.saw("answers_to_strangers", strangers as u64);
    ensure(strangers == 0 && stage.sent.len() == 1, "somebody else was answered")?;
    stage.stop(worker)?;
    ensure(stage.sent.len() == 1, "somebody else was answered at the end")
}

/// WA-05.
pub fn chatter(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    stage.wish(Wish::Chatter)?;
    stage.ask(ANNA)?;
    let errors = worker.count("_error\"");
    stage.saw("errors", errors as u64);
    ensure(stage.sent.len() == 1 && errors == 0, "something else than the message had an effect")?;
    stage.stop(worker).map(drop)
}

/// WA-06.
pub fn offences(stage: &mut Stage) -> Outcome {
    let mut worker = stage.start_linked()?;
    stage.wish(Wish::Offend)?;
    let number = stage.write(ANNA)?;
    let took =
        stage.until(BACK, "an answer after all that", &mut |stage| stage.answers(number) > 0 || !worker.runs())?;
    stage.saw("answered_ms", millis(took));
    stage.saw("links", worker.count("\"channel_connected\"") as u64);
    ensure(worker.runs(), "the worker has ended")?;
    stage.stop(worker).map(drop)
}

/// WA-09.
pub fn duplicates(stage: &mut Stage) -> Outcome {
    let text = "message 1";
    let worker = stage.start_linked()?;
    for _ in 0..3 {
        stage.bridge.write(ANNA, "WA1", text)?;
    }
    stage.written = 1;
    stage.ask(ANNA)?;
    stage.stop(worker)?;
    let worker = stage.start_linked()?;
    stage.bridge.write(ANNA, "WA1", text)?;
    stage.ask(ANNA)?;
    stage.stop(worker)?;
    stage.saw("answers", stage.answers(1) as u64);
    ensure(stage.answers(1) == 1, "a message that came twice was not answered once")
}

/// WA-10. A reply cannot go while the bridge has no link of its own, so it has not left when the bridge breaks off.
pub fn disconnected(stage: &mut Stage) -> Outcome {
    let mut worker = stage.start_linked()?;
    stage.wish(Wish::Lose)?;
    stage.until(ANSWERED, "the worker knows", &mut |_| worker.count("\"state\":\"offline\"") > 0)?;
    let first = stage.write(ANNA)?;
    stage.rest(TURN)?;
    ensure(stage.answers(first) == 0, "a reply went although nothing could be sent")?;
    stage.wish(Wish::Crash)?;
    stage.linked(&mut worker, 2, BACK)?;
    stage.answered(first)?;
    let settled = "\"event\":\"turn\"";
    stage.until(ANSWERED, "a confirmation", &mut |_| worker.count(settled) > 0)?;
    stage.wish(Wish::Withhold)?;
    let second = stage.write(ANNA)?;
    stage.answered(second)?;
    stage.wish(Wish::Crash)?;
    stage.wish(Wish::Confirm)?;
    stage.linked(&mut worker, 3, BACK)?;
    stage.until(BACK, "the repeat", &mut |stage| stage.answers(second) > 1)?;
    stage.stop(worker)?;
    let found = judge(&stage.sent, stage.written);
    stage.saw("marked", found.marked);
    stage.saw("unmarked", found.unmarked);
    let is_good = found.lost + found.unmarked + found.altered == 0 && found.marked == 1;
    ensure(is_good, "a reply was lost, or repeated without the mark")?;
    let marks = stage.sent.iter().filter(|sent| sent.text.starts_with(REPEAT_MARK)).count();
    ensure(marks == 1, "a reply that had not left is marked")
}

/// WA-11.
pub fn order(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    for number in 1..=ORDERED {
        stage.write(ANNA)?;
        if number % ROUND == 0 {
            stage.answered(number)?;
        }
    }
    stage.answered(ORDERED)?;
    stage.stop(worker)?;
    let found = judge(&stage.sent, ORDERED);
    stage.saw("messages", ORDERED);
    stage.saw("misplaced", found.misplaced);
    ensure(found.lost + found.misplaced + found.marked + found.unmarked == 0, "an answer is missing or misplaced")
}

/// WA-12.
pub fn scripts(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    let words: Vec<String> = (0..WORDS).map(|number| format!("{number:04}{SCRIPTS}")).collect();
    let text = words.join(" ");
    stage.bridge.write(ANNA, "WA1", &text)?;
    let complete = |stage: &mut Stage| {
        let all: Vec<&str> = stage.sent.iter().map(|sent| sent.text.as_str()).collect();
        let all = all.join("\n");
        let mut rest = all.as_str();
        words.iter().all(|word| {
            let found = rest.find(word.as_str());
            rest = found.map_or("", |at| &rest[at + word.len()..]);
            found.is_some()
        })
    };
    stage.until(ANSWERED, "a complete echo", &mut { complete })?;
    stage.saw("bytes", text.len() as u64);
    stage.saw("parts", stage.sent.len() as u64);
    stage.stop(worker).map(drop)
}

/// WA-18.
pub fn silence_of_the_log(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    stage.ask(ANNA)?;
    stage.wish(Wish::Chatter)?;
    if stage.level == Level::Sim {
        stage.wish(Wish::Offend)?;
    }
    stage.write(STRANGER)?;
    stage.until(BACK, "an answer", &mut |stage| stage.answers(2) > 0)?;
    // Its status goes with it.
    let read = |stage: &Stage, place: &str| text_from(&stage.place.path(place), 0).unwrap_or_default();
    let status = read(stage, "run/whatsapp.status.json");
    ensure(!status.is_empty(), "the worker shows no status")?;
    stage.stop(worker)?;
    let (counters, bridge) = (read(stage, "data/telemetry/latest.json"), read(stage, "bridge/log"));
    let log = text_from(&stage.place.log(), 0).map_err(|_| "the log cannot be read".to_owned())?;
    let mut numbers = 0;
    for line in log.lines() {
        let line = serde_json::from_slice(line.as_bytes()).map_err(|_| "a line of the log is no JSON".to_owned())?;
        numbers += astray("", &line);
    }
    for text in bridge.lines().chain([status.as_str(), &counters]).filter(|text| !text.is_empty()) {
        let value = serde_json::from_slice(text.as_bytes()).unwrap_or_else(|_| Value::from(text));
        numbers += astray("", &value);
    }
    let secrets = [TOKEN, "linking-code-canary", "message 1", "Received"];
    let all = [&log, &status, &counters, &bridge];
    let leaks = secrets.iter().filter(|secret| all.iter().any(|text| text.contains(**secret))).count();
    stage.saw("lines", log.lines().count() as u64);
    stage.saw("leaks", (leaks + numbers) as u64);
    ensure(leaks == 0, "a secret or a text is in the log")?;
    ensure(numbers == 0, "a number stands in a field that is not for ids")
}

/// How often a number of somebody stands in fields that are not for ids.
fn astray(name: &str, value: &Value) -> usize {
    match value {
        _ if ["chat_id", "sender_id", "session_id"].contains(&name) => 0,
        Value::Object(fields) => fields.iter().map(|(name, value)| astray(name, value)).sum(),
        Value::Array(all) => all.iter().map(|value| astray(name, value)).sum(),
        other => {
            let text = other.to_string();
            let is_there = |id: &&str| text.contains(id.split('@').next().unwrap_or_default());
            [ANNA, STRANGER].into_iter().filter(is_there).count()
        }
    }
}
