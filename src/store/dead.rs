//! Dead letters: turns that were given up, each as a file `dead/<turn>.json` that a person can read. The way back is in
//! `spool.rs`.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::store::record::OpenRecord;
use crate::store::storage::{Storage, list_if_there, read_all};

/// A larger file is no letter.
const LETTER_BYTES_MAX: u64 = 1 << 20;

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
    owed: Vec<Letter>,
}

impl DeadLetters {
    /// Nothing is owed.
    pub fn new(storage: Box<dyn Storage>) -> DeadLetters {
        DeadLetters { storage, owed: Vec::new() }
    }

    /// Writes a letter. On an error it is owed.
    pub fn write(&mut self, letter: Letter) -> io::Result<()> {
        let outcome = write(self.storage.as_mut(), &letter);
        if outcome.is_err() {
            self.owed.push(letter);
        }
        outcome
    }

    /// Tries what is owed again; returns the turns whose letters are written now.
    pub fn retry(&mut self) -> Vec<TurnId> {
        let storage = self.storage.as_mut();
        self.owed.extract_if(.., |letter| write(storage, letter).is_ok()).map(|letter| letter.open.rx.id).collect()
    }

    /// Removes letters that are older than [`LETTER_AGE_MAX`] or more than [`LETTERS_MAX`].
    pub fn tidy(&mut self, now: Wall) -> io::Result<()> {
        let names = names(self.storage.as_ref())?;
        let too_many = names.len().saturating_sub(LETTERS_MAX);
        for (place, name) in names.iter().enumerate() {
            let old = |since: Wall| since.until(now) > LETTER_AGE_MAX;
            // The turn of a letter from an archive may be much older than the letter.
            let is_old = turn_of(name).is_some_and(|turn| old(turn.minted()))
                && read(self.storage.as_ref(), name).is_ok_and(|letter| old(Wall(letter.ts)));
            if place < too_many || is_old {
                self.storage.remove(name)?;
            }
        }
        Ok(())
    }
}

/// Writes a letter and makes it durable. Readers see a whole one or none.
pub fn write(storage: &mut dyn Storage, letter: &Letter) -> io::Result<()> {
    let name = file_name(letter.open.rx.id);
    let mut bytes = serde_json::to_vec_pretty(letter).expect("a letter is text and numbers");
    bytes.push(b'\n');
    let temporary = format!("{name}.tmp");
    // A process that was killed here may have left a longer one.
    storage.remove(&temporary)?;
    storage.write_at(&temporary, 0, &bytes)?;
    storage.sync(&temporary)?;
    storage.rename(&temporary, &name)?;
    storage.sync_dir()
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
