//! [`Memory`]: the file of learned identities. It is not flushed: to lose it costs one message that names a person in
//! both ways, and a damaged one is read as if there were none.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::clock::Mono;
use crate::channel::whatsapp_identity::Identities;
use crate::sys::files;

/// Shortest time between two writes.
const EVERY: Duration = Duration::from_secs(10);

/// Longest file that is read: far more than all pairs take.
const BYTES_MAX: u64 = 256 * 1024;

/// The file, and when it is to be written.
pub struct Memory {
    path: PathBuf,
    due: Option<Mono>,
}

impl Memory {
    /// Nothing is to be written.
    pub fn new(path: PathBuf) -> Memory {
        Memory { path, due: None }
    }

    /// Reads it into `identities`; `false` if it is damaged or cannot be read.
    pub fn restore(&self, identities: &mut Identities) -> bool {
        match files::read_bounded(&self.path, BYTES_MAX) {
            Ok((file, _)) => identities.restore(&file),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// There is something new.
    pub fn changed(&mut self, now: Mono) {
        self.due.get_or_insert(now.after(EVERY));
    }

    /// Writes it, if that is due or the `last` time.
    ///
    /// # Errors
    /// When it cannot be written; that is not tried again before there is something new.
    pub fn keep(&mut self, identities: &Identities, now: Mono, last: bool) -> io::Result<()> {
        match self.due {
            Some(due) if due <= now || last => {
                self.due = None;
                files::replace(&self.path, &identities.to_file())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_told_and_one_that_is_not_there_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let restores = |path: PathBuf| Memory::new(path).restore(&mut Identities::new(&["1".to_owned()]));
        assert!(restores(folder.path().join("none.json")));
        assert!(!restores(folder.path().to_owned()), "a folder in its place");
    }
}
