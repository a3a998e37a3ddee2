//! [`Item`]: what is not settled, for a person: open turns of a journal, dead letters, and letters on their way back. Only
//! looks; a worker may write meanwhile.

use std::io;

use crate::base::id::TurnId;
use crate::store::dead;
use crate::store::journal::Counting;
use crate::store::journal_files;
use crate::store::record::OpenRecord;
use crate::store::recover;
use crate::store::storage::Storage;

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its answer.
    Waiting,
    /// Its answer is on disk, and what was begun of it was confirmed.
    Answered,
    /// A part of its answer may have arrived.
    Unknown,
    /// It was given up; `why` says why.
    Dead,
    /// A person wants it to be taken up again; its worker will.
    Retry,
}

impl State {
    /// Its name in lists.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Answered => "answered",
            State::Unknown => "unknown",
            State::Dead => "dead",
            State::Retry => "retry",
        }
    }
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it stands.
    pub state: State,
    /// Why it was given up.
    pub why: Option<String>,
    /// All that is known of it.
    pub open: OpenRecord,
}

impl Item {
    /// Its name.
    pub fn turn(&self) -> TurnId {
        self.open.rx.id
    }
}

/// The open turns of the journal in this folder, oldest first. No folder has none.
pub fn of_journal(journal: &dyn Storage) -> io::Result<Vec<Item>> {
    let found = journal_files::look(journal)?;
    let replay = recover::replay(&found.records, Counting::default());
    // Whether the session lines of what is closed are written is not in the records.
    let open = replay.journal.open().filter(|open| open.closed.is_none());
    Ok(open.map(|open| of_open(open.record())).collect())
}

fn of_open(open: OpenRecord) -> Item {
    let state = match &open.rep {
        None => State::Waiting,
        Some(_) if open.snd > open.ack => State::Unknown,
        Some(_) => State::Answered,
    };
    Item { state, why: None, open }
}

/// The letters in this folder, oldest first, and the names of files that are none.
pub fn of_letters(letters: &dyn Storage, state: State) -> io::Result<(Vec<Item>, Vec<String>)> {
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    for name in dead::names(letters)? {
        match dead::read(letters, &name) {
            Ok(letter) => items.push(Item { state, why: Some(letter.why), open: letter.open }),
            // Taken by the worker while we looked.
            Err(_) if letters.len(&name)? == 0 => {}
            Err(_) => unreadable.push(name),
        }
    }
    Ok((items, unreadable))
}
