//! [`Standing`]: what all turns of a process know of every provider, by kind, place and credential: its breaker, the time
//! before which it does not want to be asked, and how many further attempts it may still be burdened with.
//!
//! One lock for what is known, held for the moment of a look; another one for the file, which may keep a turn waiting for
//! another process, at most a tenth of a second. What was found that a restart must not forget is in
//! `provider/standing.json`, see [`crate::provider::kept`]. A provider that answers from here, like the echo, has no standing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::moment::Moment;
use crate::base::rng::Rng;
use crate::base::sorted::SortedMap;
use crate::observe::event::{Event, Log};
use crate::observe::metrics_registry::ProviderStanding;
use crate::provider::ProviderError;
use crate::provider::breaker::{Breaker, Cause, Opening, Outcome, Pass, REST_MAX, State};
use crate::provider::budget::Budget;
use crate::provider::class::{Class, Effect, Reason};
use crate::provider::kept::{Book, KEYS_MAX, Kept};
use crate::provider::standing_file::{self, Stamp};
use crate::sys::files;

/// Whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Kind, place and fingerprint of the credential.
    pub key: &'a str,
    /// The name as configured, for the log.
    pub provider: &'a str,
}

/// Why a provider is not asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// What it did.
    pub class: Class,
    /// How long it is left alone; zero while another turn tries it.
    pub wait: Duration,
    /// Whether it named that time itself, so that waiting is worth while.
    pub is_named: bool,
}

/// Shared by all turns.
pub struct Standing {
    known: Mutex<Known>,
    /// Held while the file is read or changed and its content taken over, so that no older content comes after a newer one.
    file: Mutex<Stamp>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
}

struct Known {
    /// At most [`KEYS_MAX`].
    entries: SortedMap<String, Entry>,
    /// By which key each provider was asked last.
    keys: SortedMap<String, String>,
    rng: Rng,
}

#[derive(Clone)]
struct Entry {
    breaker: Breaker,
    budget: Budget,
    not_before: Mono,
    is_overloaded: bool,
    /// The failure that counted last.
    class: Class,
    /// What the file said when it was last looked at.
    seen: Option<Kept>,
    /// The file does not say yet what was found here.
    is_unsaved: bool,
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            breaker: Breaker::default(),
            budget: Budget::new(),
            not_before: Mono(0),
            is_overloaded: false,
            class: Class::Server,
            seen: None,
            is_unsaved: false,
        }
    }
}

impl Entry {
    /// Why it is open.
    fn reason(&self) -> Class {
        match self.breaker.cause() {
            Cause::Failures => self.class,
            cause => cause.class(),
        }
    }

    fn rest(&self, now: Mono) -> Option<Rest> {
        let class = if self.is_overloaded { Class::Overloaded } else { Class::RateLimited };
        let wait = now.until(self.not_before);
        (!wait.is_zero()).then_some(Rest { class, wait, is_named: true })
    }

    /// Everything that a restart must not forget, to be compared.
    fn essence(&self, now: Mono) -> (Option<Cause>, Mono, Mono) {
        let end = self.breaker.opening(now).map(|opening| (opening.cause, now.after(opening.left)));
        (end.map(|(cause, _)| cause), end.map_or(Mono(0), |(_, end)| end.max(now)), self.not_before.max(now))
    }

    fn kept(&self, now: Mono, moment: Moment) -> Kept {
        let not_before = now.until(self.not_before);
        Kept::new(self.breaker.opening(now), self.breaker.openings(now), not_before, self.is_overloaded, moment)
    }

    fn adopt(&mut self, kept: &Kept, now: Mono, moment: &Moment) {
        self.breaker.adopt(kept.opening(moment), kept.openings, now);
        (self.not_before, self.is_overloaded) = (now.after(kept.not_before(moment)), kept.is_overloaded);
        (self.seen, self.is_unsaved) = (Some(kept.clone()), false);
    }

    /// Whether somebody else found something. What is not written yet gives way only to a longer rest.
    fn is_news(&self, kept: &Kept, now: Mono, moment: &Moment) -> bool {
        let opening = |opening: Option<Opening>| opening.map_or(Duration::ZERO, |opening| opening.left);
        let ours = opening(self.breaker.opening(now)).max(now.until(self.not_before));
        let theirs = || opening(kept.opening(moment)).max(kept.not_before(moment));
        self.seen.as_ref() != Some(kept) && (!self.is_unsaved || theirs() > ours)
    }

    fn settle(&mut self, pass: Pass, error: Option<&ProviderError>, (now, trusted): (Mono, bool), rng: &mut Rng) {
        let outcome = outcome(error, trusted);
        match error {
            None => self.budget.on_success(now),
            Some(error) => {
                if matches!(outcome, Outcome::Failed) {
                    self.class = error.class;
                }
                if let Some(asked) = error.retry_after.filter(|_| error.class.sets_not_before()) {
                    self.not_before = self.not_before.max(now.after(asked.min(REST_MAX)));
                    // To whoever is told to wait, a server in trouble that names a time is a busy one.
                    self.is_overloaded = error.class != Class::RateLimited;
                }
            }
        }
        self.breaker.settle(pass, outcome, now, rng);
    }
}

impl Standing {
    /// Nothing is read before somebody is asked.
    pub fn new(data: &Path, rng: Rng, clock: Arc<dyn Clock>, log: Arc<dyn Log>) -> Standing {
        let known = Known { entries: SortedMap::new(), keys: SortedMap::new(), rng };
        Standing { known: Mutex::new(known), file: Mutex::default(), path: standing_file::path(data), clock, log }
    }

    /// Takes over what other processes found, or an earlier one, and writes what could not be written before.
    pub fn refresh(&self) {
        self.look();
        let unsaved: Vec<String> = {
            let known = locked(&self.known);
            known.entries.iter().filter(|(_, entry)| entry.is_unsaved).map(|(key, _)| key.clone()).collect()
        };
        // Whoever could not write it has complained. One wait is enough: what is left has its turn at the next look.
        let _ = unsaved.iter().try_for_each(|key| self.keep(key));
    }

    fn look(&self) {
        let mut seen = locked(&self.file);
        let stamp = standing_file::stamp(&self.path);
        if stamp == *seen {
            return;
        }
        *seen = stamp;
        match standing_file::read(&self.path) {
            Ok(book) => self.adopt(&book),
            Err(error) => {
                match files::is_damage(&error).then(|| standing_file::mend(&self.path, self.clock.as_ref())) {
                    Some(Ok(Some(book))) => self.adopt(&book),
                    _ => self.complain(&error),
                }
            }
        }
    }

    /// Asks for the right to ask. Whoever gets it tells [`Standing::settle`] what came of it.
    pub fn admit(&self, who: Who<'_>) -> Result<Pass, Rest> {
        let now = self.clock.mono();
        let (admitted, change) = {
            let mut known = locked(&self.known);
            known.asked(who);
            let entry = known.entry(who.key);
            if let Some(rest) = entry.rest(now) {
                return Err(rest);
            }
            let before = entry.breaker.state();
            let admitted = entry.breaker.admit(now);
            let reason = entry.reason();
            let refused = |wait| Rest { class: reason, wait, is_named: false };
            (admitted.map_err(|refusal| refused(refusal.wait)), change(before, entry, now))
        };
        self.tell(who, change);
        admitted
    }

    /// Whether [`Standing::admit`] would give the right after `delay`.
    pub fn is_free(&self, who: Who<'_>, delay: Duration) -> bool {
        self.rest(who, delay).is_none()
    }

    /// Why it would not.
    pub fn rest(&self, who: Who<'_>, delay: Duration) -> Option<Rest> {
        let now = self.clock.mono().after(delay);
        let mut known = locked(&self.known);
        let entry = known.entry(who.key);
        let closed = || entry.breaker.clone().admit(now).err();
        let refused = || Some(Rest { class: entry.reason(), wait: closed()?.wait, is_named: false });
        entry.rest(now).or_else(refused)
    }

    /// What came of an attempt.
    pub fn settle(&self, who: Who<'_>, pass: Pass, error: Option<&ProviderError>) {
        let (now, trusted) = (self.clock.mono(), self.clock.is_trusted());
        let (is_new, change) = {
            let mut known = locked(&self.known);
            let mut rng = known.rng.split();
            let entry = known.entry(who.key);
            let (before, essence) = (entry.breaker.state(), entry.essence(now));
            entry.settle(pass, error, (now, trusted), &mut rng);
            let is_new = entry.essence(now) != essence;
            entry.is_unsaved |= is_new;
            (is_new, change(before, entry, now))
        };
        self.tell(who, change);
        if is_new && let Err(error) = self.keep(who.key) {
            self.complain(&error);
        }
    }

    /// Whether another attempt may burden this provider; it is counted then.
    pub fn may_retry(&self, who: Who<'_>, after_timeout: bool) -> bool {
        let now = self.clock.mono();
        locked(&self.known).entry(who.key).budget.may_retry(now, after_timeout)
    }

    /// How each provider stands that was asked, or would have been.
    pub fn report(&self) -> Vec<ProviderStanding> {
        let (now, moment) = (self.clock.mono(), Moment::now(self.clock.as_ref()));
        let known = locked(&self.known);
        let of = |(name, key): (&String, &String)| {
            let entry = known.entries.get(key)?;
            let opening = entry.breaker.opening(now);
            let left = opening.map_or(Duration::ZERO, |opening| opening.left).max(now.until(entry.not_before));
            Some(ProviderStanding {
                name: name.clone(),
                breaker: entry.breaker.state().name(),
                class: opening.map(|_| entry.reason().name()),
                until: (!left.is_zero()).then(|| moment.date(left)),
                retry_tokens: entry.budget.left(now),
            })
        };
        known.keys.iter().filter_map(of).collect()
    }

    fn keep(&self, key: &str) -> io::Result<()> {
        let mut seen = locked(&self.file);
        let kept = {
            let mut known = locked(&self.known);
            let entry = known.entry(key);
            // From here on, because what is found meanwhile is not in this copy.
            entry.is_unsaved = false;
            entry.kept(self.clock.mono(), Moment::now(self.clock.as_ref()))
        };
        let written = standing_file::update(&self.path, key, kept.clone(), self.clock.as_ref());
        {
            let mut known = locked(&self.known);
            let entry = known.entry(key);
            match written {
                Ok(_) => entry.seen = Some(kept),
                Err(_) => entry.is_unsaved = true,
            }
        }
        let book = written?;
        *seen = standing_file::stamp(&self.path);
        self.adopt(&book);
        Ok(())
    }

    /// Only what differs from what was seen before: between two looks this process may have learned more.
    fn adopt(&self, book: &Book) {
        let (now, moment) = (self.clock.mono(), Moment::now(self.clock.as_ref()));
        let mut known = locked(&self.known);
        for (key, kept) in book {
            let entry = known.entry(key);
            if entry.is_news(kept, now, &moment) {
                entry.adopt(kept, now, &moment);
            }
        }
    }

    fn tell(&self, who: Who<'_>, change: Option<Change>) {
        let Some(Change { from, to, class, left }) = change else { return };
        let until = left.map(|left| Moment::now(self.clock.as_ref()).date(left).rfc3339());
        let (provider, class) = (who.provider.to_owned(), class.name());
        let event = Event::ProviderState { provider, from: from.name(), to: to.name(), class, until };
        self.log.emit(self.clock.wall(), &event);
    }

    fn complain(&self, error: &io::Error) {
        let what = "what is known of the providers (provider/standing.json)".to_owned();
        self.log.emit(self.clock.wall(), &Event::StorageError { what, error: error.to_string() });
    }
}

impl Known {
    fn asked(&mut self, who: Who<'_>) {
        if self.keys.get(who.provider).is_none_or(|key| key != who.key) {
            // Names are those of the configuration, so they are few.
            self.keys.insert(who.provider.to_owned(), who.key.to_owned());
        }
    }

    fn entry(&mut self, key: &str) -> &mut Entry {
        if self.entries.len() >= KEYS_MAX && !self.entries.contains_key(key) {
            // More keys than anybody has: what is forgotten costs one request.
            self.entries.pop_first();
        }
        self.entries.entry(key.to_owned()).or_default()
    }
}

struct Change {
    from: State,
    to: State,
    class: Class,
    left: Option<Duration>,
}

fn change(from: State, entry: &Entry, now: Mono) -> Option<Change> {
    let to = entry.breaker.state();
    let left = entry.breaker.opening(now).filter(|_| to == State::Open).map(|opening| opening.left);
    (from != to).then(|| Change { from, to, class: entry.reason(), left })
}

/// What the breaker is told.
fn outcome(error: Option<&ProviderError>, clock_trusted: bool) -> Outcome {
    let Some(error) = error else { return Outcome::Answered };
    match error.class.effect(clock_trusted) {
        Effect::Count => Outcome::Failed,
        Effect::Open(Reason::Auth) => Outcome::Rejected(Cause::Auth, None),
        Effect::Open(Reason::Quota) => Outcome::Rejected(Cause::Quota, error.retry_after),
        Effect::Open(Reason::Forbidden) => Outcome::Rejected(Cause::Forbidden, None),
        Effect::None => match error.class {
            Class::RateLimited
            | Class::ModelNotFound
            | Class::ContextLength
            | Class::ContentFilter
            | Class::InvalidRequest => Outcome::Alive,
            _ => Outcome::Nothing,
        },
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
