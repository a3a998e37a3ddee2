//! [`Stage`]: a worker, a bridge, and what a check does with them.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::base::rng::Rng;
use crate::sys::files;
use crate::validate::bridge::{Bridge, Wish};
use crate::validate::checklist::Level;
use crate::validate::evidence::Observed;
use crate::validate::judge::{self, Sent, answered};
use crate::validate::place::{LOOK, Place, Worker};

/// Who writes: on the list in every check.
pub const ANNA: &str = "4917000000001@s.whatsapp.net";

/// The token that both sides hold. Also what the log is searched for.
pub const TOKEN: &str = "validation-token-5f0c1d7e";

/// A link has to stand within this, and to be back within it.
pub const LINKED: Duration = Duration::from_secs(10);
/// The same after a failure.
pub const BACK: Duration = Duration::from_secs(65);
/// An answer has to be there within this; what a check claims is shorter.
pub const ANSWERED: Duration = Duration::from_secs(30);
/// A worker that was told to end has to be gone within this.
pub const STOPPED: Duration = Duration::from_secs(10);

/// How a check ends: what it claims was seen, or what was not.
pub type Outcome = Result<(), String>;

/// Everything that a check has.
pub struct Stage {
    /// What the worker is put before.
    pub level: Level,
    /// Where workers are.
    pub place: Place,
    /// The other side.
    pub bridge: Box<dyn Bridge>,
    /// The real clock.
    pub clock: Arc<dyn Clock>,
    /// Seeded by the run.
    pub rng: Rng,
    /// Set when the operator has had enough.
    pub cancel: Cancel,
    /// What was measured.
    pub observed: Observed,
    /// All that the bridge was asked to send.
    pub sent: Vec<Sent>,
    /// Messages that were written.
    pub written: u64,
}

impl Stage {
    /// Notes a number.
    pub fn saw(&mut self, name: &'static str, number: u64) {
        self.observed.push((name, number));
    }

    /// Now.
    pub fn now(&self) -> Mono {
        self.clock.mono()
    }

    /// Waits until something is true; how long that took.
    ///
    /// # Errors
    /// It was not in time, or the operator has had enough.
    pub fn until(
        &mut self,
        limit: Duration,
        what: &str,
        is_true: &mut dyn FnMut(&mut Stage) -> bool,
    ) -> Result<Duration, String> {
        let begun = self.now();
        let end = begun.after(limit);
        loop {
            let news = self.bridge.sent();
            self.sent.extend(news);
            if is_true(self) {
                return Ok(begun.until(self.now()));
            }
            if self.cancel.requested() {
                return Err("interrupted".to_owned());
            }
            if self.now() >= end {
                return Err(format!("not within {} s: {what}", limit.as_secs()));
            }
            files::pause(LOOK);
        }
    }

    /// Waits, whatever happens.
    ///
    /// # Errors
    /// The operator has had enough.
    pub fn rest(&mut self, time: Duration) -> Outcome {
        let end = self.now().after(time);
        self.until(time * 2 + LINKED, "the end of a pause", &mut |stage| stage.now() >= end).map(drop)
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&mut self, arguments: &[&str]) -> Result<Worker, String> {
        self.place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &self.bridge.url());
        self.place.start(arguments).map_err(|error| format!("the worker does not start ({:?})", error.kind()))
    }

    /// Starts a worker and waits until it may send.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn start_linked(&mut self) -> Result<Worker, String> {
        let mut worker = self.start(&[])?;
        self.linked(&mut worker, 1, LINKED)?;
        Ok(worker)
    }

    /// Waits until a worker has been online so often; how long that took.
    ///
    /// # Errors
    /// When that takes too long, or it ends.
    pub fn linked(&mut self, worker: &mut Worker, times: usize, limit: Duration) -> Result<Duration, String> {
        let took = self.until(limit, "the link", &mut |_| worker.count(ONLINE) >= times || !worker.runs())?;
        if worker.runs() { Ok(took) } else { Err("the worker has ended".to_owned()) }
    }

    /// Writes the next message; its number.
    ///
    /// # Errors
    /// When the bridge does not take it.
    pub fn write(&mut self, chat: &str) -> Result<u64, String> {
        self.written += 1;
        let number = self.written;
        self.bridge.write(chat, &format!("WA{number}"), &judge::message(number))?;
        Ok(number)
    }

    /// Waits for the answer to a message; how long that took.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn answered(&mut self, number: u64) -> Result<Duration, String> {
        self.until(ANSWERED, "an answer", &mut |stage| stage.answers(number) > 0)
    }

    /// How often a message was answered so far.
    pub fn answers(&self, number: u64) -> usize {
        self.sent.iter().filter(|sent| answered(&sent.text).is_some_and(|(one, _)| one == number)).count()
    }

    /// Writes a message and waits for its answer; how long that took.
    ///
    /// # Errors
    /// As of both.
    pub fn ask(&mut self, chat: &str) -> Result<Duration, String> {
        let number = self.write(chat)?;
        self.answered(number)
    }

    /// SIGTERM; the worker has to end well and in time. How long that took.
    ///
    /// # Errors
    /// It did not.
    pub fn stop(&mut self, mut worker: Worker) -> Result<Duration, String> {
        worker.terminate();
        let took = self.until(STOPPED, "the end of the worker", &mut |_| !worker.runs())?;
        self.ended_well(&mut worker)?;
        Ok(took)
    }

    /// Its exit code has to be 0.
    ///
    /// # Errors
    /// It is another one.
    pub fn ended_well(&mut self, worker: &mut Worker) -> Outcome {
        match worker.code() {
            Some(0) => Ok(()),
            Some(code) => Err(format!("the worker exited {code}")),
            None => Err("a signal ended the worker".to_owned()),
        }
    }

    /// As [`Bridge::wish`].
    ///
    /// # Errors
    /// As there.
    pub fn wish(&mut self, wish: Wish) -> Outcome {
        self.bridge.wish(wish)
    }
}

/// What a worker says when it may send.
const ONLINE: &str = r#""state":"online""#;

/// Fails with a sentence unless something is true.
///
/// # Errors
/// The sentence.
pub fn ensure(is_true: bool, sentence: &str) -> Outcome {
    if is_true { Ok(()) } else { Err(sentence.to_owned()) }
}
