//! Dead letters: turns that were given up, each as a file `dead/<turn>.json` that a person can read. The way back is in
//! `spool.rs`.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::base::message::Outcome;
use crate::store::commit_log::LogError;
use crate::store::record::OpenRecord;
use crate::store::storage::{Storage, list_if_there, read_all};

/// A larger file is no letter.
pub const LETTER_BYTES_MAX: u64 = 1 << 20;

/// Letters kept. Beyond that the oldest go.
pub const LETTERS_MAX: usize = 1000;

/// How long a letter is kept.
pub const LETTER_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// A turn that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Why, for a person.
    pub why: String,
    /// Milliseconds since 1970.
    pub ts: u64,
    /// All that is known of the turn.
    pub open: OpenRecord,
}

/// The folder, and the letters that could not be written yet: a turn is closed only when its letter is.
#[derive(Clone)]
pub struct DeadLetters {
    storage: Box<dyn Storage>,
    /// And how their turns are to be closed.
    owed: Vec<(Letter, Outcome)>,
    /// Why nothing more can be promised.
    flush_failed: Option<io::ErrorKind>,
}

impl DeadLetters {
    /// Nothing is owed.
    pub fn new(storage: Box<dyn Storage>) -> DeadLetters {
        DeadLetters { storage, owed: Vec::new(), flush_failed: None }
    }

    /// Writes a letter; its turn may be closed then. On an error it is owed.
    pub fn write(&mut self, letter: Letter, outcome: Outcome) -> io::Result<()> {
        let written = self.put(&letter);
        if written.is_err() {
            self.owed.push((letter, outcome));
        } else {
            // What is too many now and cannot be removed is removed with the next one, or within a day.
            let _ = self.keep_to_limit();
        }
        written
    }

    fn put(&mut self, letter: &Letter) -> io::Result<()> {
        put(self.storage.as_mut(), letter).map_err(|error| match error {
            LogError::Flush(error) => {
                self.flush_failed = Some(error.kind());
                error
            }
            error => io::Error::other(error.to_string()),
        })
    }

    /// # Errors
    /// If a flush failed. It is never tried again: whoever asks ends the process, and the next one gives the turn up anew.
    pub fn check(&self) -> Result<(), LogError> {
        self.flush_failed.map_or(Ok(()), |kind| Err(LogError::Flush(kind.into())))
    }

    /// Whether a turn only waits for its letter.
    pub fn owes(&self, turn: TurnId) -> bool {
        self.owed.iter().any(|(letter, _)| letter.open.rx.id == turn)
    }

    /// Tries what is owed again; returns the turns whose letters are written now, and how they are to be closed.
    pub fn retry(&mut self) -> Vec<(TurnId, Outcome)> {
        let owed = std::mem::take(&mut self.owed);
        let (written, owed): (Vec<_>, Vec<_>) = owed.into_iter().partition(|(letter, _)| self.put(letter).is_ok());
        self.owed = owed;
        written.into_iter().map(|(letter, outcome)| (letter.open.rx.id, outcome)).collect()
    }

    fn keep_to_limit(&mut self) -> io::Result<()> {
        let names = names(self.storage.as_ref())?;
        let too_many = names.len().saturating_sub(LETTERS_MAX);
        names[..too_many].iter().try_for_each(|name| self.storage.remove(name))
    }

    /// Removes letters that are older than [`LETTER_AGE_MAX`] or more than [`LETTERS_MAX`].
    pub fn tidy(&mut self, now: Wall) -> io::Result<()> {
        self.keep_to_limit()?;
        for name in &names(self.storage.as_ref())? {
            let old = |since: Wall| since.until(now) > LETTER_AGE_MAX;
            // The turn of a letter from an archive may be much older than the letter.
            let is_old = turn_of(name).is_some_and(|turn| old(turn.minted()))
                && read(self.storage.as_ref(), name).is_ok_and(|letter| old(Wall(letter.ts)));
            if is_old {
                self.storage.remove(name)?;
            }
        }
        Ok(())
    }
}

/// Writes a letter and makes it durable. Readers see a whole one or none.
pub fn write(storage: &mut dyn Storage, letter: &Letter) -> io::Result<()> {
    put(storage, letter).map_err(|error| match error {
        LogError::Io(error) | LogError::Flush(error) => error,
        error => io::Error::other(error.to_string()),
    })
}

fn put(storage: &mut dyn Storage, letter: &Letter) -> Result<(), LogError> {
    let name = file_name(letter.open.rx.id);
    let mut bytes = serde_json::to_vec_pretty(letter).expect("a letter is text and numbers");
    bytes.push(b'\n');
    let temporary = format!("{name}.tmp");
    // A process that was killed here may have left a longer one.
    storage.remove(&temporary)?;
    storage.write_at(&temporary, 0, &bytes)?;
    // If this fails, all of it is written again, into another file.
    storage.sync(&temporary)?;
    storage.rename(&temporary, &name)?;
    storage.sync_dir().map_err(LogError::Flush)
}

/// The file of a letter.
pub fn file_name(turn: TurnId) -> String {
    format!("{turn}.json")
}

/// The turn that a file of the spool or of the dead letters names.
pub fn turn_of(name: &str) -> Option<TurnId> {
    TurnId::parse(name.strip_suffix(".json")?.split('.').next()?)
}

/// A letter.
///
/// # Errors
/// Of the disk, or that the file holds none.
pub fn read(storage: &dyn Storage, name: &str) -> io::Result<Letter> {
    let bytes = read_all(storage, name, LETTER_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Names of all letters, oldest first: a turn's name begins with its time. No folder has no letters.
pub fn names(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = list_if_there(storage)?.into_iter().filter(|name| turn_of(name).is_some()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::store::directory::Directory;

    fn letter(turn: TurnId, ts: u64) -> Vec<u8> {
        let rx = format!(
            r#"{{"id":"{turn}","key":"k","acct":1,"ch":"telegram","chat":"2","from":"3","text":"x","ts":{ts}}}"#
        );
        let open = format!(r#"{{"rx":{rx},"n":1,"owed":false,"snd":0,"ack":0,"k":0}}"#);
        format!(r#"{{"why":"blocked","ts":{ts},"open":{open}}}"#).into_bytes()
    }

    #[test]
    fn old_letters_go_and_so_do_those_beyond_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut rng = Rng::from_seed(1);
        let day = 24 * 3600 * 1000;
        let now = Wall(1000 * day);
        // The last one is old and came out of an archive a few days ago.
        let ages = [(0, 0), (89, 89), (91, 91), (400, 5)];
        let turns = ages.map(|(days, written)| {
            let turn = TurnId::mint(Wall(now.0 - days * day), &mut rng);
            std::fs::write(folder.path().join(file_name(turn)), letter(turn, now.0 - written * day)).expect("written");
            turn
        });
        std::fs::write(folder.path().join("note.txt"), "of a person").expect("written");
        let mut letters = DeadLetters::new(Box::new(Directory::open(folder.path()).expect("a folder")));
        letters.tidy(now).expect("tidied");
        let storage = Directory::reading(folder.path());
        assert_eq!(names(&storage).expect("listed"), [turns[3], turns[1], turns[0]].map(file_name));
        assert!(folder.path().join("note.txt").exists());
    }
}
