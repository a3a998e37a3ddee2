//! What must hold when everything is answered, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet};

use rusty_pinch::observe::telemetry_file;
use rusty_pinch::turn::machine::STOPPED_TEXT;
use serde_json::Value;

use super::model::{MANY_WORDS, WORDS};
use super::plan::Poison;
use super::town::{Arrived, Town};
use crate::support::torn_disk::TornDisk;

/// A text as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told<'a> {
    update: u64,
    /// Which answer, and the first word of the part; an apology is 0 and 0.
    nonce: u64,
    word: u64,
    text: &'a str,
    marked: bool,
}

pub fn judge(town: &Town, disk: &TornDisk) -> Result<(), String> {
    let seen = town.seen();
    let turns: BTreeMap<String, u64> = seen.turns.iter().map(|(turn, update)| (turn.to_string(), *update)).collect();
    let told: Vec<(&str, Told<'_>)> =
        seen.arrived.iter().map(|arrived| (arrived.chat.as_str(), read(arrived, &turns, town))).collect();
    let dead: BTreeSet<u64> =
        disk.names("dead").iter().filter_map(|name| turns.get(name.trim_end_matches(".json")).copied()).collect();
    let chats: BTreeSet<&str> = town.plan.letters.iter().map(|letter| letter.chat.as_str()).collect();
    for chat in chats {
        let of_chat: Vec<&Told<'_>> = told.iter().filter(|(of, _)| *of == chat).map(|(_, told)| told).collect();
        let updates: Vec<u64> =
            town.plan.letters.iter().filter(|letter| letter.chat == chat).map(|letter| letter.update).collect();
        order(&of_chat, town.plan.power_cuts() > 0)?;
        for update in &updates {
            let parts: Vec<&Told<'_>> = of_chat.iter().filter(|told| told.update == *update).copied().collect();
            let answer = answer(*update, &parts, dead.contains(update), town)?;
            let session = disk.read(&format!("sessions/telegram_{chat}.jsonl"));
            lines(*update, &session, &turns, answer.as_deref(), town)?;
        }
        session_order(
            &disk.read(&format!("sessions/telegram_{chat}.jsonl")),
            &turns,
            &updates,
            town.plan.power_cuts(),
        )?;
    }
    for (turn, count) in &seen.closed {
        if *count != 1 {
            return Err(format!("{turn} was reported closed {count} times"));
        }
    }
    if town.plan.is_polite() && seen.closed.len() != town.plan.letters.len() {
        return Err(format!("{} of {} turns were reported closed", seen.closed.len(), town.plan.letters.len()));
    }
    drop(seen);
    let counted = telemetry_file::read(&town.counters()).map_err(|error| error.to_string())?.total_turns;
    if counted != town.plan.letters.len() as u64 {
        return Err(format!("{counted} of {} turns are counted", town.plan.letters.len()));
    }
    given_up(town, &dead)
}

fn read<'a>(arrived: &'a Arrived, turns: &BTreeMap<String, u64>, town: &Town) -> Told<'a> {
    let text = arrived.text.as_str();
    let (update, marked) = (arrived.update, arrived.marked);
    if town.plan.letter(update).is_stop() {
        return Told { update, nonce: 0, word: 0, text, marked };
    }
    if let Some((_, reference)) = text.split_once("(ref ") {
        let update = turns[reference.trim_end_matches(')')];
        return Told { update, nonce: 0, word: 0, text, marked };
    }
    let first = text.split(' ').next().expect("a split gives something");
    let numbers: Vec<u64> = first.split('.').map(|number| number.parse().expect("a text of this run")).collect();
    let [update, nonce, word] = numbers[..] else { panic!("not a text of this run: {first}") };
    Told { update, nonce, word, text, marked }
}

/// First in, first out: no reply overtakes another one of its chat.
fn order(of_chat: &[&Told<'_>], power_cut: bool) -> Result<(), String> {
    let mut places: Vec<(u64, u64)> = Vec::new();
    for told in of_chat {
        let place = (told.update, told.word);
        // After a power cut what was sent last may be sent again, in the same order.
        if !power_cut || !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_sorted() { Ok(()) } else { Err(format!("replies came in this order: {places:?}")) }
}

/// One whole answer, every repeat marked and the same; what was given up may miss its end. Returns the text, if whole.
fn answer(update: u64, parts: &[&Told<'_>], dead: bool, town: &Town) -> Result<Option<String>, String> {
    if parts.is_empty() && !dead && town.plan.may_be_stopped(town.plan.letter(update)) {
        return Ok(Some(STOPPED_TEXT.to_string()));
    }
    let mut firsts: Vec<&Told<'_>> = Vec::new();
    for (at, told) in parts.iter().enumerate() {
        let earlier = parts[..at].iter().find(|earlier| earlier.word == told.word);
        match earlier {
            Some(_) if !told.marked => return Err(format!("{update} came twice without a mark")),
            Some(earlier) if earlier.text != told.text => return Err(format!("{update} came in two versions")),
            Some(_) => {}
            None => firsts.push(told),
        }
        if told.nonce != parts[0].nonce {
            return Err(format!("{update} was answered twice: {parts:?}"));
        }
        if told.marked && town.plan.is_polite() && town.plan.losses == 0 {
            return Err(format!("{update} is marked without need"));
        }
    }
    let text = firsts.iter().map(|told| told.text).collect::<Vec<&str>>().join(" ");
    let apology = firsts.first().is_some_and(|told| told.nonce == 0);
    let words = if apology { 0 } else { text.split(' ').filter(|word| !word.is_empty()).count() as u64 };
    let in_order = text.split(' ').zip(0..words).all(|(word, at)| word.ends_with(&format!(".{at:05}")));
    let whole = (apology || words == WORDS || words == MANY_WORDS) && in_order;
    if !whole && !dead {
        return Err(format!("{update} has only this answer: {firsts:?}"));
    }
    Ok(whole.then_some(text))
}

/// Lines that cannot be read are passed over, as the product does: a power cut may spoil the two of its last append.
fn parse(session: &[u8], turns: &BTreeMap<String, u64>, cuts: usize) -> Result<Vec<(u64, String, String)>, String> {
    let mut known = Vec::new();
    let mut spoilt = Vec::new();
    for line in session.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Value>(line) {
            Ok(line) => {
                let text = |key: &str| line[key].as_str().unwrap_or("").to_string();
                let update = turns.get(&text("rid")).copied().ok_or_else(|| format!("whose line is {line}"))?;
                known.push((update, text("role"), text("content")));
            }
            Err(error) => spoilt.push(error),
        }
    }
    if spoilt.len() > 2 * cuts {
        return Err(format!("after {cuts} power cuts there are these bad session lines: {spoilt:?}"));
    }
    Ok(known)
}

/// Both lines, once, one after the other, as they were said.
fn lines(
    update: u64,
    session: &[u8],
    turns: &BTreeMap<String, u64>,
    answer: Option<&str>,
    town: &Town,
) -> Result<(), String> {
    let all = parse(session, turns, town.plan.power_cuts())?;
    let lines: Vec<_> = all.iter().filter(|line| line.0 == update).collect();
    let [asked, answered] = lines[..] else { return Err(format!("{update} has {} session lines", lines.len())) };
    if asked.1 != "user" || answered.1 != "assistant" || asked.2 != town.plan.letter(update).text {
        return Err(format!("{update} has these session lines: {lines:?}"));
    }
    if answer.is_some_and(|answer| answer != answered.2) {
        return Err(format!("{update} was told {answer:?}, the session says {:?}", answered.2));
    }
    Ok(())
}

fn session_order(session: &[u8], turns: &BTreeMap<String, u64>, updates: &[u64], cuts: usize) -> Result<(), String> {
    let order: Vec<u64> = parse(session, turns, cuts)?.iter().map(|line| line.0).collect();
    let wanted: Vec<u64> = updates.iter().flat_map(|update| [*update, *update]).collect();
    if order == wanted { Ok(()) } else { Err(format!("the session goes {order:?}, wanted {wanted:?}")) }
}

/// Replies are given up only where the network gave reason to; messages only if they end processes.
fn given_up(town: &Town, dead: &BTreeSet<u64>) -> Result<(), String> {
    let seen = town.seen();
    let poison = town.plan.poison.map(|(update, _)| update);
    for update in dead.iter().filter(|update| Some(**update) != poison) {
        let blocked = town.plan.blocked.as_deref() == Some(town.plan.chat(*update));
        let tries = seen.begun.iter().filter(|((turn, _), _)| seen.turns[turn] == *update).map(|(_, tries)| *tries);
        if !blocked && tries.max().unwrap_or(0) < 3 {
            return Err(format!("the reply to {update} was given up without need"));
        }
    }
    let interrupted = seen.arrived.iter().filter(|arrived| arrived.text.contains("interrupted several times"));
    for arrived in interrupted {
        if !poison.is_some_and(|update| dead.contains(&update)) {
            return Err(format!("what was given up has no letter: {}", arrived.text));
        }
        let turns = seen.turns.iter().filter(|(_, update)| Some(**update) == poison);
        if !turns.into_iter().any(|(turn, _)| arrived.text.contains(&turn.to_string())) {
            return Err(format!("an innocent message was given up: {}", arrived.text));
        }
    }
    let Some((update, poison)) = town.plan.poison else { return Ok(()) };
    let asked = seen.asked.get(&update).copied().unwrap_or(0);
    let cuts = town.plan.power_cuts();
    let exact = poison == Poison::Panic && town.plan.ends.is_empty();
    // An attempt that a power cut wipes out is not counted, nor one that kills before the writer has noted it: only the
    // first is begun without waiting for that.
    let unnoted = usize::from(poison == Poison::Kill);
    if asked > 3 + cuts + unnoted || (exact && asked != 3) {
        return Err(format!("the poison message was tried {asked} times"));
    }
    Ok(())
}
