//! Threads with names (≤ 15 letters, as the kernel shows them) that always report how they ended.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::sys::queue::Sender;

/// Stack of every thread of ours. The deepest recursion is reading JSON, which serde_json ends at 128 levels.
const STACK_BYTES: usize = 512 * 1024;

/// How a thread ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its work was over.
    Done,
    /// It could not go on, and says why.
    Failed(String),
}

/// A thread's last word.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    /// The thread.
    pub name: String,
    /// How it ended.
    pub ending: Ending,
}

/// Starts a thread. Its exit is reported on `exits`. The queue must have room for every thread, so that reporting never
/// waits.
///
/// # Errors
/// When the system has no thread left to give.
pub fn spawn<F>(name: &str, exits: Sender<Exit>, work: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() -> Result<(), String> + Send + 'static,
{
    start(name, exits, Box::new(work))
}

/// One type for all that threads do: what starts a thread is two kilobytes, and there would be two dozen of it.
type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;

fn start(name: &str, exits: Sender<Exit>, work: Work) -> io::Result<JoinHandle<()>> {
    let ending = Ending::Failed("it panicked".to_owned());
    let report = Report { exits, exit: Some(Exit { name: name.to_owned(), ending }) };
    let run = move || {
        let mut report = report;
        let ending = work().map_or_else(Ending::Failed, |()| Ending::Done);
        if let Some(exit) = &mut report.exit {
            exit.ending = ending;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the one place that starts threads")]
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(run)
}

/// Reports when it is dropped, so also where a panic unwinds, as it does in tests (`sys/panic.rs`).
struct Report {
    exits: Sender<Exit>,
    exit: Option<Exit>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let _ = self.exit.take().map(|exit| self.exits.try_send(exit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::queue::bounded;

    #[test]
    fn every_ending_is_reported() {
        let (exits, reports) = bounded(3);
        let ended = |thread: io::Result<JoinHandle<()>>| drop(thread.expect("it starts").join());
        ended(spawn("a", exits.clone(), || Ok(())));
        ended(spawn("b", exits.clone(), || Err("no disk".to_owned())));
        ended(spawn("c", exits, || panic!("a bug")));
        let endings: Vec<Ending> = reports.try_iter().map(|exit| exit.ending).collect();
        assert_eq!(endings, [Ending::Done, Ending::Failed("no disk".into()), Ending::Failed("it panicked".into())]);
    }
}
