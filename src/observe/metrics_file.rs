//! The text file for node_exporter's textfile collector: a thread replaces it every [`WRITTEN_EVERY`], and the worker once more
//! when it ends. It stays then: from its age the collector's `node_textfile_mtime_seconds` tells that nobody writes it any more.
//! Readable for everybody, because the collector is another user.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::observe::event::{Event, Log};
use crate::observe::metrics_log::Metrics;
use crate::sys::files;
use crate::sys::heartbeat::Heart;
use crate::sys::queue::bounded;
use crate::sys::stop::Stop;
use crate::sys::thread::spawn;

/// How often the file is replaced.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// How long one round may take, its wait included: the disk may stand still.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// How many times in a row it may fail before that is said again.
const FAILURES_SAID_EVERY: u32 = 60;

/// Of several workers each has a file of its own: its name stands before the suffix.
pub fn of_worker(path: &Path, worker: &str) -> PathBuf {
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    name.push(".");
    name.push(worker);
    if let Some(suffix) = path.extension() {
        name.push(".");
        name.push(suffix);
    }
    path.with_file_name(name)
}

/// The file of a worker.
#[derive(Clone)]
pub struct TextFile {
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Where they are written.
    pub path: PathBuf,
    /// What the label `worker` says.
    pub worker: &'static str,
}

impl TextFile {
    /// Writes the numbers of this moment.
    ///
    /// # Errors
    /// Of the disk.
    pub fn write(&self) -> io::Result<()> {
        // The collector reads names that end in `.prom`, so it never sees the file before it is whole.
        files::replace_for_all(&self.path, self.metrics.exposition(Some(self.worker)).as_bytes())
    }

    /// Starts the `metrics` thread, which ends with the order to stop and reports nothing.
    ///
    /// # Errors
    /// When the system has no thread left to give.
    pub fn start(&self, clock: Arc<dyn Clock>, heart: Heart, stop: Stop) -> io::Result<()> {
        let (exits, _) = bounded(1);
        let file = self.clone();
        spawn("metrics", exits, move || {
            let mut failures = 0;
            loop {
                heart.within(ROUND_MAX);
                match file.write() {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        if failures % FAILURES_SAID_EVERY == 0 {
                            let what = format!("the file of metrics, {}", file.path.display());
                            file.metrics.emit(clock.wall(), &Event::StorageError { what, error: error.to_string() });
                        }
                        failures += 1;
                    }
                }
                if stop.wait(WRITTEN_EVERY) {
                    return Ok(());
                }
            }
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_name_of_a_worker_stands_before_the_suffix() {
        for (path, wanted) in
            [("/a/b.prom", "/a/b.telegram.prom"), ("b", "b.telegram"), ("/a.d/b.c.prom", "/a.d/b.c.telegram.prom")]
        {
            assert_eq!(of_worker(Path::new(path), "telegram"), Path::new(wanted));
        }
    }

    #[test]
    fn the_file_is_replaced_whole_and_readable_for_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.prom");
        for text in ["one\n", "two\n"] {
            files::replace_for_all(&path, text.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
