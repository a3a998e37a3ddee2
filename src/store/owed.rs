//! [`OwedLines`]: the session lines of answers that are on disk. Written as soon as the answer is; what cannot be
//! written stays owed and is tried again, so that a full disk delays the lines and never loses or reorders them.

use std::collections::VecDeque;
use std::io;

use crate::base::clock::Wall;
use crate::base::control::Control;
use crate::base::id::TurnId;
use crate::base::sorted::SortedSet;
use crate::observe::event::Event;
use crate::store::journal::Journal;
use crate::store::record::{Answer, Received};
use crate::store::retention::Retention;
use crate::store::sessions::{Repaired, Sessions};
use crate::store::transcript::Line;

/// The session files, and what they are owed.
#[derive(Clone)]
pub struct OwedLines {
    sessions: Sessions,
    /// In the order of the answers, which is the order of the lines.
    turns: VecDeque<TurnId>,
    /// Another process holds the lock: nothing is tried until the next [`OwedLines::retry`], so that a command that
    /// hangs costs one short wait a second and not one for every session.
    locked_out: bool,
    /// That something is owed was said; it is tried again every second until nothing is.
    said: bool,
}

struct Appended {
    lines: usize,
    repaired: Option<Repaired>,
}

impl OwedLines {
    /// Nothing is owed.
    pub fn new(sessions: Sessions) -> OwedLines {
        OwedLines { sessions, turns: VecDeque::new(), locked_out: false, said: false }
    }

    /// After a start: appends every answered turn's lines that its session file does not have. What fails stays owed.
    /// Returns for how many turns that was, and what is to be said about it.
    pub fn restore(
        &mut self,
        journal: &mut Journal,
        answered: &[(Received, Answer)],
        now: Wall,
    ) -> (usize, Vec<Event>) {
        let (mut restored, mut events) = (0, Vec::new());
        for stem_wanted in distinct(answered.iter().map(|(received, _)| stem(received))) {
            let of_session: Vec<_> = answered.iter().filter(|(received, _)| stem(received) == stem_wanted).collect();
            let turns: Vec<String> = of_session.iter().map(|(received, _)| received.id.to_string()).collect();
            // The records that could restore a line go with the next change of files, so one that is in memory only does
            // not count.
            let behind = of_session.iter().map(|(_, answer)| answer.n).min().flatten();
            let reread = self.sessions.reread(&stem_wanted);
            let present = match reread.and_then(|()| self.sessions.holds(&stem_wanted, &turns, behind)) {
                Ok(present) => present,
                Err(error) => {
                    // Which lines are there is not known, so none is written before it is.
                    self.turns.extend(of_session.iter().map(|(received, _)| received.id));
                    events.extend(self.say(&stem_wanted, &error));
                    continue;
                }
            };
            let mut failed = false;
            for (received, answer) in of_session {
                // Lines keep the order of the answers, so what follows one that fails waits, too.
                if failed {
                    self.turns.push_back(received.id);
                    continue;
                }
                match self.append(journal, received, answer, now, &present) {
                    Ok(appended) => {
                        restored += usize::from(appended.lines > 0);
                        events.extend(appended.repaired.map(repaired));
                    }
                    Err(error) => {
                        failed = true;
                        self.turns.push_back(received.id);
                        events.extend(self.say(&stem_wanted, &error));
                    }
                }
            }
        }
        (restored, events)
    }

    /// The last ordinal in the session of a message, if that can be told at once.
    pub fn last_ordinal(&self, received: &Received) -> io::Result<Option<u64>> {
        self.sessions.last_ordinal(&stem(received))
    }

    /// Appends the lines of a turn that was just answered, behind what its session is owed already.
    pub fn write(&mut self, journal: &mut Journal, turn: TurnId, now: Wall) -> Vec<Event> {
        self.turns.push_back(turn);
        if self.locked_out {
            return Vec::new();
        }
        stem_of(journal, turn).map(|stem| self.pay(journal, &stem, now, true)).unwrap_or_default()
    }

    /// Tries again what could not be appended.
    pub fn retry(&mut self, journal: &mut Journal, now: Wall) -> Vec<Event> {
        let stems = distinct(self.turns.iter().filter_map(|turn| stem_of(journal, *turn)));
        self.locked_out = false;
        let mut events = Vec::new();
        for stem in stems {
            if !self.locked_out {
                events.extend(self.pay(journal, &stem, now, false));
            }
        }
        events
    }

    /// Session lines are kept for so long.
    pub fn keep_for(&mut self, retention: Retention) {
        self.sessions.keep_for(retention);
    }

    /// Removes what was kept aside long ago.
    pub fn tidy(&mut self, now: Wall) -> io::Result<()> {
        self.sessions.tidy(now)
    }

    /// Every append so far is on the medium when this returns.
    pub fn sync(&mut self) -> io::Result<()> {
        self.sessions.sync()
    }

    /// # Errors
    /// If a flush failed, so that nothing more can be promised.
    pub fn check(&self) -> io::Result<()> {
        self.sessions.check()
    }

    /// Appends what a session is owed, in the order of the answers, until one append fails.
    fn pay(&mut self, journal: &mut Journal, stem_wanted: &str, now: Wall, first_try: bool) -> Vec<Event> {
        let of_session = |turn: &TurnId| stem_of(journal, *turn).as_deref() == Some(stem_wanted);
        let turns: Vec<TurnId> = self.turns.iter().copied().filter(of_session).collect();
        let mut present = SortedSet::new();
        if turns.len() > 1 || !first_try {
            // An append failed before, and nobody knows how much of it is there.
            let names: Vec<String> = turns.iter().map(TurnId::to_string).collect();
            let answers = turns.iter().filter_map(|turn| journal.get(*turn)?.answer.as_ref());
            let behind = answers.map(|answer| answer.n).min().flatten();
            match self.sessions.holds(stem_wanted, &names, behind) {
                Ok(found) => present = found,
                Err(error) => return self.say(stem_wanted, &error).into_iter().collect(),
            }
        }
        let mut events = Vec::new();
        for turn in &turns {
            let answered = journal.get(*turn).and_then(|open| Some((open.received.clone(), open.answer.clone()?)));
            let Some((received, answer)) = answered else { continue };
            match self.append(journal, &received, &answer, now, &present) {
                Ok(appended) => events.extend(appended.repaired.map(repaired)),
                Err(error) => {
                    self.locked_out = error.kind() == io::ErrorKind::WouldBlock;
                    events.extend(self.say(stem_wanted, &error));
                    return events;
                }
            }
            self.turns.retain(|owed| owed != turn);
        }
        self.said &= !self.turns.is_empty();
        events
    }

    fn say(&mut self, stem: &str, error: &io::Error) -> Option<Event> {
        let event = Event::SessionAppendError { session: stem.to_owned(), error: error.to_string() };
        (!std::mem::replace(&mut self.said, true)).then_some(event)
    }

    /// Appends the lines of a turn that are not `present`: both, or after a torn append perhaps only the second.
    fn append(
        &mut self,
        journal: &mut Journal,
        received: &Received,
        answer: &Answer,
        now: Wall,
        present: &SortedSet<(String, String)>,
    ) -> io::Result<Appended> {
        let user = answer.user.as_deref().unwrap_or(&received.text);
        let rid = received.id.to_string();
        let error = answer.sum.error.as_deref();
        let mut pair = Line::pair(&rid, (user, Wall(received.ts)), (&answer.asst, Wall(answer.ts)), error);
        if let Some(word) = answer.sum.control() {
            pair = Line::marked(pair, error.is_none() && word == Control::New.name());
        }
        let missing = pair.into_iter().filter(|line| !present.contains(&(rid.clone(), line.role.clone())));
        let mut lines: Vec<Line> = missing.collect();
        let mut repaired = None;
        if !lines.is_empty() {
            repaired = self.sessions.append(&received.inbound().session(), &mut lines, now.0 / 1000)?;
        }
        journal.line_written(received.id);
        Ok(Appended { lines: lines.len(), repaired })
    }
}

fn repaired(repaired: Repaired) -> Event {
    Event::SessionRepaired { session: repaired.session, bytes: repaired.bytes }
}

fn distinct(stems: impl Iterator<Item = String>) -> SortedSet<String> {
    stems.collect()
}

fn stem_of(journal: &Journal, turn: TurnId) -> Option<String> {
    journal.get(turn).map(|open| stem(&open.received))
}

fn stem(received: &Received) -> String {
    received.inbound().session().stem().to_owned()
}
