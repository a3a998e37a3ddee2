//! `outbox list|show|retry|drop`: what is not settled, and what a person can do about it. Lists and shows without waiting for
//! the worker. A retry is a file for the worker, which takes it within a second or at its next start. What is open belongs to
//! the worker, so it is dropped only while none runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::clock::Wall;
use crate::base::id::{ChannelId, TurnId};
use crate::cli::flags::Parsed;
use crate::cli::settling::settle_journal;
use crate::cli::setup::Setup;
use crate::cli::{Failure, print, setup};
use crate::store::dead;
use crate::store::directory::Directory;
use crate::store::journal_files::FILES;
use crate::store::outbox::{self, Item, State};
use crate::store::storage::Storage;
use crate::sys::{entropy, files};

/// The error class of a message that a person dropped.
const DROPPED: &str = "dropped";

/// `outbox list`: a JSON array, one object a line, without the texts.
pub fn list() -> Result<(), Failure> {
    let setup = setup::load()?;
    let (items, unreadable) = items(&setup)?;
    let rows = items.iter().map(|item| {
        let Item { state, why, open } = item;
        let parts = open.rep.as_ref().map(|answer| answer.parts().len());
        json!({
            "turn": item.turn().to_string(),
            "state": state.name(),
            "channel": open.rx.ch.name(),
            "chat": open.rx.chat,
            "received": Wall(open.rx.ts).rfc3339(),
            "parts": parts,
            "confirmed": open.ack,
            "why": why,
        })
    });
    let unreadable = unreadable.into_iter().map(|name| json!({"turn": name, "state": "unreadable"}));
    let rows: Vec<String> = rows.chain(unreadable).map(|row| format!("\n  {row}")).collect();
    print(&if rows.is_empty() { "[]\n".to_owned() } else { format!("[{}\n]\n", rows.join(",")) })
}

/// `outbox show`: all that is known of one turn.
pub fn show(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    let item = item(&setup, parsed)?;
    let record = serde_json::to_value(&item.open).unwrap_or(Value::Null);
    let shown = json!({"turn": item.turn().to_string(), "state": item.state.name(), "why": item.why, "record": record});
    print(&format!("{shown:#}\n"))
}

/// `outbox retry`: hands a dead letter to the worker of its channel.
pub fn retry(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    setup.refuse_strangers()?;
    let item = item(&setup, parsed)?;
    let (turn, channel) = (item.turn(), item.open.rx.ch);
    if item.state != State::Dead {
        return Err(Failure::Failed(format!("{turn} is {}: only what is dead can be tried again", item.state.name())));
    }
    let data = &setup.config.data;
    let (from, to) = (data.join("dead"), spool(&setup, channel));
    let failed = |error: io::Error| Failure::Storage(format!("{turn}: {error}"));
    let mut target = Directory::open(&to).map_err(failed)?;
    fs::rename(from.join(dead::file_name(turn)), to.join(format!("{turn}.{:016x}.json", entropy::seed())))
        .map_err(failed)?;
    // The new name first: two files for one letter are one too many, and none would be one too few.
    target.sync_dir().map_err(failed)?;
    Directory::open(&from).and_then(|mut folder| folder.sync_dir()).map_err(failed)?;
    let when = if is_running(&setup, channel) { "within a second" } else { "when it starts" };
    print(&format!("{turn} is taken up by the {} worker {when}\n", channel.name()))
}

/// `outbox drop`: a letter is removed; an open turn is closed, which takes a worker that is stopped.
pub fn drop(parsed: &Parsed) -> Result<(), Failure> {
    if !parsed.given("confirm") {
        return Err(Failure::Usage("outbox drop cannot be undone: repeat it with --confirm".to_owned()));
    }
    let setup = setup::load()?;
    setup.refuse_strangers()?;
    let item = item(&setup, parsed)?;
    let (turn, channel) = (item.turn(), item.open.rx.ch);
    match item.state {
        State::Dead => remove_letter(&setup.config.data.join("dead"), turn)?,
        State::Retry => remove_letter(&spool(&setup, channel), turn)?,
        State::Waiting | State::Answered | State::Unknown => close(&setup, channel, turn)?,
    }
    print(&format!("{turn} is dropped\n"))
}

fn remove_letter(folder: &Path, turn: TurnId) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Storage(format!("{turn}: {error}"));
    let mut storage = Directory::open(folder).map_err(failed)?;
    for name in dead::names(&storage).map_err(failed)?.into_iter().filter(|name| dead::turn_of(name) == Some(turn)) {
        storage.remove(&name).map_err(failed)?;
    }
    storage.sync_dir().map_err(failed)
}

fn close(setup: &Setup, channel: ChannelId, turn: TurnId) -> Result<(), Failure> {
    let name = channel.name();
    let journal = setup.config.data.join("journal").join(name);
    let failed = |error| Failure::Storage(format!("{}: {error}", journal.display()));
    let lock = files::lock(&journal.join("LOCK"), Duration::ZERO, setup.clock.as_ref());
    let Some(_lock) = lock.map_err(failed)? else {
        return Err(Failure::Locked(format!(
            "{turn} is open and the {name} worker is at it: stop the worker, then drop"
        )));
    };
    settle_journal(setup, channel, &|open| (open == turn).then_some(DROPPED))
}

fn item(setup: &Setup, parsed: &Parsed) -> Result<Item, Failure> {
    let given = parsed.value("turn");
    let wanted = TurnId::parse(given)
        .ok_or_else(|| Failure::Usage("--turn takes a name as 'outbox list' shows it: rp-…".to_owned()))?;
    let (items, _) = items(setup)?;
    let found = items.into_iter().find(|item| item.turn() == wanted);
    found.ok_or_else(|| Failure::Failed(format!("{wanted} is not in the outbox; 'outbox list' names what is")))
}

/// Of every channel: what is open, what is on its way back, what is dead.
fn items(setup: &Setup) -> Result<(Vec<Item>, Vec<String>), Failure> {
    let data = &setup.config.data;
    let failed = |error: io::Error| Failure::Storage(format!("{}: {error}", data.display()));
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    let mut add = |(found, damaged): (Vec<Item>, Vec<String>)| {
        items.extend(found);
        unreadable.extend(damaged);
    };
    for channel in ChannelId::WITH_WORKER {
        let journal = data.join("journal").join(channel.name());
        if journal.join(FILES[0]).exists() {
            add((outbox::of_journal(&Directory::reading(&journal)).map_err(failed)?, Vec::new()));
        }
        add(outbox::of_letters(&Directory::reading(&spool(setup, channel)), State::Retry).map_err(failed)?);
    }
    add(outbox::of_letters(&Directory::reading(&data.join("dead")), State::Dead).map_err(failed)?);
    Ok((items, unreadable))
}

pub(super) fn spool(setup: &Setup, channel: ChannelId) -> PathBuf {
    setup.config.data.join("spool").join(channel.name())
}

pub(super) fn is_running(setup: &Setup, channel: ChannelId) -> bool {
    has_worker(&setup.config.data, channel)
}

/// The same, of a data folder.
pub(super) fn has_worker(data: &Path, channel: ChannelId) -> bool {
    let lock = data.join("journal").join(channel.name()).join("LOCK");
    files::is_locked(&lock).unwrap_or(false)
}
