//! [`Spool`]: what a person wants to be taken up again. `outbox retry` moves a dead letter to
//! `spool/<channel>/<turn>.<nonce>.json`, and the worker of that channel takes it from there. The nonce makes a second
//! retry of the same turn another one; the journal remembers file names as it remembers messages, so that taking one twice
//! does nothing.

use std::io;

use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::base::rng::Rng;
use crate::store::dead;
use crate::store::exchange::Readmission;
use crate::store::storage::Storage;

/// How the key of a message begins that a command sends: it answers nobody.
pub const SENT_BY_COMMAND: &str = "send:";

/// The folder, and the files in it that are on record and can go after the flush.
#[derive(Clone)]
pub struct Spool {
    storage: Box<dyn Storage>,
    taken: Vec<String>,
}

impl Spool {
    /// Nothing is taken.
    pub fn new(storage: Box<dyn Storage>) -> Spool {
        Spool { storage, taken: Vec::new() }
    }

    /// The oldest wish, but for turns that have to `wait`. A file that cannot be read is passed over; `outbox list` shows it.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn next(&self, now: Wall, rng: &mut Rng, wait: &dyn Fn(TurnId) -> bool) -> io::Result<Option<Readmission>> {
        let names = dead::names(self.storage.as_ref())?.into_iter();
        let may_go = |name: &String| !self.taken.contains(name) && !dead::turn_of(name).is_some_and(wait);
        Ok(names.filter(may_go).find_map(|file| self.wish(file, now, rng)))
    }

    fn wish(&self, file: String, now: Wall, rng: &mut Rng) -> Option<Readmission> {
        let letter = dead::read(self.storage.as_ref(), &file).ok()?;
        let mut inbound = letter.open.rx.inbound();
        inbound.origin = None;
        let has_answer = letter.open.rep.as_ref().is_some_and(|answer| answer.given_up_as().is_none());
        if has_answer {
            return Some(Readmission { file, inbound, answered: Some(Box::new(letter.open)) });
        }
        inbound.turn = TurnId::mint(now, rng);
        inbound.key.clone_from(&file);
        (inbound.received, inbound.waited) = (now, None);
        Some(Readmission { file, inbound, answered: None })
    }

    /// Whether the wish is still there.
    pub fn has(&self, file: &str) -> bool {
        self.storage.len(file).is_ok_and(|len| len > 0)
    }

    /// The wish is on record.
    pub fn take(&mut self, file: String) {
        self.taken.push(file);
    }

    /// Whether a file can go after the flush.
    pub fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// What was taken is on the medium. A file that stays is taken for a copy when it comes again.
    pub fn remove_taken(&mut self) {
        for file in std::mem::take(&mut self.taken) {
            let _ = self.storage.remove(&file);
        }
    }
}
