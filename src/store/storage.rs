//! [`Storage`]: what we ask of a disk. The product implements it over real files (`directory.rs`); tests implement it
//! with crash images and failures at call *n*.

use std::io;

/// A flat folder of files. A file that does not exist reads as empty.
pub trait Storage: Send {
    /// Another handle of the same folder. Two that write know nothing of each other; who copies one keeps them apart.
    fn handle(&self) -> Box<dyn Storage>;
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Bytes in a file; 0 when it does not exist.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`, creating the file if need be. In the page cache when it returns.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Writes all of `bytes` behind the end of the file, creating it if need be, in one system call.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Gives a file another name, in one step, which is on the medium after [`Storage::sync_dir`]. A file that has the
    /// name is replaced.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file away; one that is gone already is no error.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// The file's content is on the medium when this returns. Nothing to do if there is no such file.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// What is clean in the page cache is read from the medium the next time: after a flush that failed, and that this
    /// or another process was told of, the two may differ. Nothing to do if there is no such file.
    fn reread(&mut self, name: &str) -> io::Result<()>;
    /// The folder's entries are on the medium when this returns.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// Keeps other processes from writing here, waiting a bounded time for one that does. `false`: it still does.
    fn lock(&mut self) -> io::Result<bool>;
    /// Lets them again.
    fn unlock(&mut self);
}

impl Clone for Box<dyn Storage> {
    fn clone(&self) -> Box<dyn Storage> {
        self.as_ref().handle()
    }
}

/// Names of all files; a folder that is not there has none.
pub fn list_if_there(storage: &dyn Storage) -> io::Result<Vec<String>> {
    match storage.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Reads a whole file, or its first `bytes_max` bytes.
pub fn read_all(storage: &dyn Storage, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(storage.len(name)?.min(bytes_max)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let read = storage.read_at(name, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
