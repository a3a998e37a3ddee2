//! What must hold when everything is quiet again, whatever the crash was.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SESSION_BYTES_MAX;
use super::world::{Arrived, Kind, World, old_content};
use crate::support::torn_disk::{Image, TornDisk};

/// The first thing that is wrong.
pub fn judge(world: &World, before: &World, disk: &TornDisk, image: Option<&Image>) -> Result<(), String> {
    for letter in &world.letters {
        answered(world, letter.update, disk)?;
        repeats(world, before, letter.update, image)?;
        let closed = world.closed.get(&letter.update).copied().unwrap_or(0);
        if closed > 1 || (image.is_none() && closed != 1) {
            return Err(format!("message {} was reported closed {closed} times", letter.update));
        }
    }
    sessions(world, disk, image)
}

/// Nothing is lost: every message has its whole reply, in order, or a dead letter.
fn answered(world: &World, update: u64, disk: &TornDisk) -> Result<(), String> {
    let letter = world.letter(update);
    let firsts: Vec<&Arrived> = firsts(world, update);
    let whole = |parts: usize| firsts.iter().map(|arrived| usize::from(arrived.part)).eq(0..parts);
    let dead = disk.names("dead").iter().any(|name| {
        let turn = name.trim_end_matches(".json");
        world.turns.iter().any(|(known, of)| *of == update && known.to_string() == turn)
    });
    if world.dead.contains(&update) && !dead {
        return Err(format!("message {update} was given up and has no dead letter"));
    }
    let good = match letter.kind {
        Kind::Parts(parts) => whole(parts) || dead,
        Kind::Blocked => dead,
        Kind::Refused { told: true } => whole(1) || dead,
        Kind::Refused { told: false } => firsts.is_empty(),
    };
    if good { Ok(()) } else { Err(format!("message {update} ({:?}) has this answer: {firsts:?}", letter.kind)) }
}

fn firsts(world: &World, update: u64) -> Vec<&Arrived> {
    let mut firsts: Vec<&Arrived> = Vec::new();
    for arrived in world.arrived.iter().filter(|arrived| arrived.update == update) {
        if firsts.iter().all(|known| known.part != arrived.part) {
            firsts.push(arrived);
        }
    }
    firsts
}

/// One answer only, every repeat marked, and no mark or repeat without need.
fn repeats(world: &World, before: &World, update: u64, image: Option<&Image>) -> Result<(), String> {
    let arrived: Vec<&Arrived> = world.arrived.iter().filter(|arrived| arrived.update == update).collect();
    let promised = world.promised.get(&update);
    for (at, this) in arrived.iter().enumerate() {
        let name = format!("{update}.{}.{}", this.nonce, this.part);
        if promised.is_none_or(|text| !text.split('\n').any(|part| part.starts_with(&format!("{name} ")))) {
            return Err(format!("part {name} arrived, but this is the answer: {promised:?}"));
        }
        let repeated = arrived[..at].iter().any(|earlier| earlier.part == this.part);
        if repeated && !this.marked {
            return Err(format!("part {name} arrived twice without a mark"));
        }
    }
    let power_cut = image.is_some_and(Image::is_power_cut);
    let settled = if power_cut { &before.acked_durably } else { &before.acked };
    for part in settled.iter().filter(|part| part.0 == update) {
        let begun = |world: &World| world.begun.get(part).copied().unwrap_or(0);
        if image.is_some() && begun(world) > begun(before) {
            return Err(format!("part {part:?} was confirmed before the crash and sent again"));
        }
    }
    for this in arrived.iter().filter(|this| this.marked && !power_cut) {
        let part = (update, this.part);
        // One of the attempts is the marked one itself.
        if world.unknown.get(&part).copied().unwrap_or(0) < 2 {
            return Err(format!("part {part:?} is marked, although no attempt before it stayed unknown"));
        }
    }
    Ok(())
}

/// Every turn has its two lines once, together, in the order of the messages, with the text that was sent.
fn sessions(world: &World, disk: &TornDisk, image: Option<&Image>) -> Result<(), String> {
    let mut chats: Vec<&str> = world.letters.iter().map(|letter| letter.chat.as_str()).collect();
    chats.sort_unstable();
    chats.dedup();
    for chat in chats {
        let damaged = matches!(image, Some(Image::Garbage { .. }));
        session(world, chat, &whole_session(chat, disk)?, damaged)
            .map_err(|wrong| format!("session of chat {chat}: {wrong}"))?;
    }
    Ok(())
}

/// All files of a session, in order. Only the last may be missing: a process may have ended before it began it.
pub fn whole_session(chat: &str, disk: &TornDisk) -> Result<Vec<u8>, String> {
    let stem = format!("telegram_{chat}.");
    let names = disk.names("sessions").into_iter();
    let places: Vec<String> = names.filter_map(|name| Some(name.strip_prefix(&stem)?.to_string())).collect();
    let full = places.iter().filter(|place| !place.contains("torn") && *place != "jsonl").count();
    let mut bytes = Vec::new();
    for place in (1..=full).map(|number| format!("{number}.jsonl")).chain(["jsonl".to_string()]) {
        let file = disk.read(&format!("sessions/{stem}{place}"));
        if file.len() > SESSION_BYTES_MAX || (file.is_empty() && place != "jsonl") {
            return Err(format!("{stem}{place} has {} bytes, of {places:?}", file.len()));
        }
        bytes.extend(file);
    }
    Ok(bytes)
}

/// The lines of the earlier runtime come first, as they were; then ordinals have no gap. Returns the other lines.
fn numbered<'a>(world: &World, chat: &str, lines: &'a [Value]) -> Result<&'a [Value], String> {
    let old = world.old.as_ref().filter(|(of, _)| of == chat).map_or(0, |(_, count)| *count);
    let (first, ours) = lines.split_at_checked(old).ok_or(format!("{} of {old} old lines are left", lines.len()))?;
    for (line, number) in first.iter().zip(0..) {
        if line["content"] != old_content(number) {
            return Err(format!("old line {number} is {line}"));
        }
    }
    let ordinals: Vec<Option<u64>> = ours.iter().map(|line| line["n"].as_u64()).collect();
    let first = old as u64 + 1;
    if !ordinals.iter().copied().eq((first..first + ours.len() as u64).map(Some)) {
        return Err(format!("the ordinals are {ordinals:?}"));
    }
    Ok(ours)
}

fn session(world: &World, chat: &str, bytes: &[u8], damaged: bool) -> Result<(), String> {
    let rids: BTreeMap<String, u64> = world.turns.iter().map(|(turn, update)| (turn.to_string(), *update)).collect();
    let mut read = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Value>(line) {
            Ok(line) => read.push(line),
            Err(_) if damaged => {}
            Err(error) => return Err(format!("a bad line: {error}")),
        }
    }
    let mut lines = Vec::new();
    for line in numbered(world, chat, &read)? {
        let update = line["rid"].as_str().and_then(|rid| rids.get(rid)).copied().ok_or(format!("whose is {line}"))?;
        lines.push((update, line["role"].as_str().unwrap_or("").to_string(), line["content"].clone()));
    }
    if damaged {
        lines.sort_by_key(|line| (line.0, line.1 == "assistant"));
    }
    let order: Vec<u64> = lines.iter().step_by(2).map(|line| line.0).collect();
    for pair in lines.chunks(2) {
        let roles: Vec<&str> = pair.iter().map(|line| line.1.as_str()).collect();
        if roles != ["user", "assistant"] || pair[0].0 != pair[1].0 {
            return Err(format!("message {} has the lines {roles:?}; the order is {order:?}", pair[0].0));
        }
        let update = pair[0].0;
        if pair[0].2 != world.letter(update).text.as_str() {
            return Err(format!("the question of {update} is {}", pair[0].2));
        }
        if world.promised.get(&update).is_some_and(|text| pair[1].2 != text.as_str()) {
            return Err(format!("the answer of {update} is {}", pair[1].2));
        }
    }
    let of_chat = |refused: bool| {
        let is_refused = |kind: Kind| matches!(kind, Kind::Refused { .. });
        world.letters.iter().filter(move |letter| letter.chat == chat && is_refused(letter.kind) == refused)
    };
    let answered: Vec<u64> = of_chat(false).map(|letter| letter.update).collect();
    let in_order: Vec<u64> = order.iter().copied().filter(|update| answered.contains(update)).collect();
    let refused_once = of_chat(true).all(|letter| order.iter().filter(|update| **update == letter.update).count() == 1);
    if in_order != answered || !refused_once || order.len() != answered.len() + of_chat(true).count() {
        return Err(format!("the order is {order:?}, wanted {answered:?} and each refusal once"));
    }
    Ok(())
}
