//! [`Storage`] over a real folder. Journal files stay open; session files are opened for each use.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::store::storage::Storage;
use crate::sys::files;
use crate::sys::system_clock::SystemClock;

/// How long a one-shot command waits for another process's append.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Files kept open for writing in place; there are two.
const OPEN_MAX: usize = 4;

/// A folder.
pub struct Directory {
    root: PathBuf,
    open: HashMap<String, File>,
    held: Option<File>,
    patience: Duration,
    clock: Arc<dyn Clock>,
}

impl Directory {
    /// Creates the folder (mode 0700) if need be.
    pub fn open(root: &Path) -> io::Result<Directory> {
        files::make_folder(root)?;
        Ok(Directory::reading(root))
    }

    /// For readers: creates nothing.
    pub fn reading(root: &Path) -> Directory {
        Directory {
            root: root.to_owned(),
            open: HashMap::new(),
            held: None,
            patience: LOCK_PATIENCE,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Waits at most so long for the lock.
    pub fn patient_for(self, patience: Duration) -> Directory {
        Directory { patience, ..self }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn kept_open(&mut self, name: &str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            let file = files::open(&self.path(name))?;
            self.open.insert(name.to_owned(), file);
        }
        Ok(&self.open[name])
    }
}

/// A missing file reads as empty.
fn or_empty<T: Default>(outcome: io::Result<T>) -> io::Result<T> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        other => other,
    }
}

impl Storage for Directory {
    fn handle(&self) -> Box<dyn Storage> {
        Box::new(Directory::reading(&self.root).patient_for(self.patience))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            // A name that is not text is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        or_empty(fs::metadata(self.path(name)).map(|known| known.len()))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match files::open_to_read(&self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.kept_open(name)?.write_all_at(bytes, offset)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let mut file = files::open_to_append(&path)?;
        let before = file.metadata()?.len();
        let outcome = file.write_all(bytes);
        if outcome.is_err() {
            // Half a line helps nobody; if it cannot be taken back, the next append repairs it.
            let _ = file.set_len(before);
        }
        outcome
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        files::open(&self.path(name))?.set_len(len)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.retain(|name, _| name != from && name != to);
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        or_empty(fs::remove_file(self.path(name)))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        match self.open.get(name) {
            Some(file) => file.sync_data(),
            None => or_empty(files::open_to_read(&self.path(name)).and_then(|file| file.sync_data())),
        }
    }

    fn reread(&mut self, name: &str) -> io::Result<()> {
        or_empty(files::forget_clean(&self.path(name)))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }

    fn lock(&mut self) -> io::Result<bool> {
        self.held = files::lock(&self.path(".lock"), self.patience, self.clock.as_ref())?;
        Ok(self.held.is_some())
    }

    fn unlock(&mut self) {
        self.held = None;
    }
}
