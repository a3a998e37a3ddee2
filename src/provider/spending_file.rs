//! [`Spending`]: what was spent, in `<data>/provider/spending.json`, which every process of the data folder reads before a
//! request and adds to under a lock after it. Not flushed: a power cut costs the last seconds, a kill the request under
//! way. What cannot be written is kept, at most [`UNWRITTEN_MAX`] changes of it, counts here, and is written later.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::clock::{Clock, Mono, Wall};
use crate::base::id::{ChannelId, TurnId};
use crate::config::limits::SpendingLimits;
use crate::config::settings::Config;
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::provider::cost::Tokens;
use crate::provider::spending::{FILE_BYTES_MAX, Limit, Now, Refusal, Spent};
use crate::sys::files;

/// The file, as it is named to people.
pub const NAME: &str = "provider/spending.json";

const FILE: &str = "spending.json";
const LOCK: &str = "spending.lock";
/// There is one: the last.
const DAMAGED: &str = "spending.json.damaged";

/// How long another process may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Changes that wait for the disk; beyond that the oldest is lost.
const UNWRITTEN_MAX: usize = 1024;

/// Shortest time between two complaints about the disk.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Senders of whom it is remembered that their limit was logged; beyond that one may be logged again.
const TOLD_MAX: usize = 1024;

/// A difference between calendar and monotonic clock that changed by more than this is a jump.
const JUMP_MS: u64 = 60_000;

/// A worker believes a clock that is behind what was counted when it has gone evenly for so long: after a start it may
/// not have been set yet. One that a time service calls wrong is believed after [`BELIEVED_ANYWAY`].
pub const BELIEVED_AFTER: Duration = Duration::from_secs(600);

/// Nobody is refused for longer because of a clock.
const BELIEVED_ANYWAY: Duration = Duration::from_secs(24 * 3600);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Through which channel.
    pub channel: ChannelId,
    /// The channel's name for the person.
    pub sender: &'a str,
}

/// What may be asked and spent by this process.
pub struct Spending {
    folder: PathBuf,
    limits: SpendingLimits,
    believed_after: Duration,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
    state: Mutex<State>,
}

struct State {
    /// The date at the zero of the monotonic clock, at the start and now.
    zero_at_start: u64,
    zero: u64,
    /// Since when the clock has not jumped.
    even_since: Mono,
    /// As it was read last.
    known: Spent,
    unwritten: VecDeque<Change>,
    complained: Option<Mono>,
    /// Limits that were logged, and until when they are not logged again.
    told: VecDeque<((&'static str, Option<String>), Mono)>,
}

#[derive(Clone, Debug)]
enum Change {
    Look(Now),
    Turn(String, TurnId, Now),
    Back(String, TurnId),
    Request(String, Tokens, Now),
}

impl Change {
    fn apply(&self, spent: &mut Spent) {
        match self {
            Change::Look(now) => {
                spent.look(*now);
            }
            Change::Turn(sender, turn, now) => spent.take(sender, *turn, *now),
            Change::Back(sender, turn) => spent.give_back(sender, *turn),
            Change::Request(provider, tokens, now) => spent.count(provider, tokens, *now),
        }
    }
}

impl Spending {
    /// For a process that runs on: `believed_after` is [`BELIEVED_AFTER`]. For a command, which has no time to see a clock
    /// go evenly: zero. Reads nothing yet.
    pub fn new(config: &Config, believed_after: Duration, clock: Arc<dyn Clock>, log: Arc<dyn Log>) -> Spending {
        let zero = zero(clock.mono(), clock.wall());
        let state = State {
            zero_at_start: zero,
            zero,
            even_since: clock.mono(),
            known: Spent::default(),
            unwritten: VecDeque::new(),
            complained: None,
            told: VecDeque::new(),
        };
        let folder = folder(&config.data);
        Spending { folder, limits: config.spending, believed_after, clock, log, state: Mutex::new(state) }
    }

    /// Whether a turn may ask a model for the first time; counts it if it is somebody's from a channel. The command line
    /// is the operator's, and only the tokens of all are a limit there.
    pub fn admit(&self, turn: TurnId, asker: Option<Asker<'_>>) -> Result<(), Refusal> {
        let mut state = self.state();
        let now = self.now(&mut state);
        let name = asker.map(name_of);
        let outcome = self.checked(&mut state, now).and_then(|()| match &name {
            Some(name) if self.limits.turns_per_minute > 0 || self.limits.turns_per_day > 0 => {
                self.update(&mut state, now, |spent| match spent.admit(name, turn, &self.limits, now) {
                    Ok(true) => (Ok(()), Some(Change::Turn(name.clone(), turn, now))),
                    Ok(false) => (Ok(()), None),
                    Err(refusal) => (Err(refusal), None),
                })
            }
            _ => Ok(()),
        });
        outcome.inspect_err(|refusal| self.tell(&mut state, asker, *refusal))
    }

    /// Takes back what [`Spending::admit`] counted: nobody was asked.
    pub fn give_back(&self, turn: TurnId, asker: Asker<'_>) {
        let mut state = self.state();
        let now = self.now(&mut state);
        let back = || Change::Back(name_of(asker), turn);
        self.update(&mut state, now, |spent| ((), spent.has_counted(turn).then(back)));
    }

    /// Whether one more request may be made.
    pub fn check(&self) -> Result<(), Refusal> {
        let mut state = self.state();
        let now = self.now(&mut state);
        self.checked(&mut state, now).inspect_err(|refusal| self.tell(&mut state, None, *refusal))
    }

    /// Tokens of today, as far as this process has seen, and how many there may be; 0: no limit.
    pub fn today(&self) -> (u64, u64) {
        let mut state = self.state();
        let now = self.now(&mut state);
        let file = read_file(&self.folder).or_else(empty_if_damaged);
        state.known = file.unwrap_or_else(|_| std::mem::take(&mut state.known));
        (state.spent().tokens(now.wall), self.limits.tokens_per_day)
    }

    /// Counts a request.
    pub fn count(&self, provider: &str, tokens: &Tokens) {
        let Tokens { input_tokens: input, output_tokens: output, estimated_tokens: estimated, .. } = *tokens;
        self.log.note(Note::Spent { provider, input, output, estimated });
        let mut state = self.state();
        let now = self.now(&mut state);
        self.update(&mut state, now, |_| ((), Some(Change::Request(provider.to_owned(), *tokens, now))));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without the lock, because the file is always whole.
    fn checked(&self, state: &mut State, now: Now) -> Result<(), Refusal> {
        if self.limits.tokens_per_day == 0 {
            return Ok(());
        }
        // A damaged file is empty until it is written to.
        match read_file(&self.folder).or_else(empty_if_damaged) {
            Ok(spent) => state.known = spent,
            Err(error) => self.complain(state, &error),
        }
        let mut spent = state.spent();
        if spent.look(now) {
            self.update(state, now, |_| ((), None));
        }
        spent.check(&self.limits, now)
    }

    /// Reads, lets `act` decide on a change, makes it, and writes.
    fn update<T>(&self, state: &mut State, now: Now, act: impl FnOnce(&Spent) -> (T, Option<Change>)) -> T {
        let held = self.lock().and_then(|held| {
            state.known = read_file(&self.folder).or_else(|error| self.set_aside(error))?;
            Ok(held)
        });
        let held = held.inspect_err(|error| self.complain(state, error));
        let mut spent = state.spent();
        let looked = spent.look(now).then_some(Change::Look(now));
        let (value, change) = act(&spent);
        let Some(change) = change.or(looked) else { return value };
        change.apply(&mut spent);
        match held.and_then(|_held| files::replace(&self.folder.join(FILE), &spent.to_json())) {
            Ok(()) => {
                state.known = spent;
                state.unwritten.clear();
            }
            Err(error) => {
                state.unwritten.push_back(change);
                let superfluous = state.unwritten.len().saturating_sub(UNWRITTEN_MAX);
                state.unwritten.drain(..superfluous);
                self.complain(state, &error);
            }
        }
        value
    }

    fn lock(&self) -> io::Result<File> {
        let sentence = "another process holds the lock of what was spent";
        files::hold(&self.folder.join(LOCK), PATIENCE, self.clock.as_ref(), sentence)
    }

    fn set_aside(&self, error: io::Error) -> io::Result<Spent> {
        let empty = empty_if_damaged(error)?;
        fs::rename(self.folder.join(FILE), self.folder.join(DAMAGED))?;
        self.emit(&trouble(&format!("was damaged, is kept as {DAMAGED}, and is counted anew")));
        Ok(empty)
    }

    fn complain(&self, state: &mut State, error: &io::Error) {
        let now = self.clock.mono();
        if state.complained.is_none_or(|at| now >= at.after(COMPLAIN_EVERY)) {
            state.complained = Some(now);
            self.emit(&trouble(&error.to_string()));
        }
    }

    /// Once for a sender and window, and once a day for the tokens of all.
    fn tell(&self, state: &mut State, asker: Option<Asker<'_>>, refusal: Refusal) {
        let now = self.clock.mono();
        let asker = asker.filter(|_| refusal.limit != Limit::Tokens);
        let (channel, sender_id) = (asker.map(|asker| asker.channel), asker.map(|asker| asker.sender.to_owned()));
        let name = (refusal.name(), sender_id.clone());
        state.told.retain(|(_, until)| now < *until);
        if state.told.iter().any(|(known, _)| *known == name) {
            return;
        }
        if state.told.len() >= TOLD_MAX {
            state.told.pop_front();
        }
        state.told.push_back((name, now.after(refusal.wait)));
        let retry_ms = u64::try_from(refusal.wait.as_millis()).unwrap_or(u64::MAX);
        self.emit(&Event::LimitReached { limit: refusal.name(), most: refusal.most, channel, sender_id, retry_ms });
    }

    fn emit(&self, event: &Event) {
        self.log.emit(self.clock.wall(), event);
    }

    fn now(&self, state: &mut State) -> Now {
        let (mono, wall) = (self.clock.mono(), self.clock.wall());
        let zero = zero(mono, wall);
        if zero.abs_diff(state.zero) > JUMP_MS {
            state.even_since = mono;
        }
        state.zero = zero;
        let even = state.even_since.until(mono);
        // A command is not there for long enough to see that a clock stays wrong.
        let is_believed = if self.clock.is_trusted() { even >= self.believed_after } else { even >= BELIEVED_ANYWAY };
        let since = Wall(wall.0.saturating_sub(u64::try_from(even.as_millis()).unwrap_or(u64::MAX)));
        let steady = Wall(state.zero_at_start.saturating_add(mono.0));
        Now { wall, steady, believed_since: is_believed.then_some(since) }
    }
}

impl State {
    fn spent(&self) -> Spent {
        let mut spent = self.known.clone();
        self.unwritten.iter().for_each(|change| change.apply(&mut spent));
        spent
    }
}

/// What is on disk. No file is nothing spent.
///
/// # Errors
/// Of the disk, or because of what is in it: see [`files::is_damage`].
pub fn read(data: &Path) -> io::Result<Spent> {
    read_file(&folder(data))
}

/// How `stats` and `doctor`, which have no past, read the clock.
pub fn now_of(wall: Wall) -> Now {
    Now { wall, steady: wall, believed_since: Some(wall) }
}

fn name_of(asker: Asker<'_>) -> String {
    format!("{}:{}", asker.channel.name(), asker.sender)
}

fn folder(data: &Path) -> PathBuf {
    data.join("provider")
}

fn read_file(folder: &Path) -> io::Result<Spent> {
    match files::read_bounded(&folder.join(FILE), FILE_BYTES_MAX as u64) {
        Ok((bytes, _)) => {
            serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Spent::default()),
        Err(error) => Err(error),
    }
}

fn empty_if_damaged(error: io::Error) -> io::Result<Spent> {
    if files::is_damage(&error) { Ok(Spent::default()) } else { Err(error) }
}

fn trouble(error: &str) -> Event {
    Event::StorageError { what: NAME.to_owned(), error: error.to_owned() }
}

fn zero(mono: Mono, wall: Wall) -> u64 {
    wall.0.saturating_sub(mono.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Environment, Source};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// A clock whose two hands are moved apart.
    #[derive(Default)]
    struct Hands {
        mono: AtomicU64,
        wall: AtomicU64,
        distrusted: AtomicBool,
    }

    impl Hands {
        fn pass(&self, delay: Duration) {
            let millis = u64::try_from(delay.as_millis()).expect("short");
            self.mono.fetch_add(millis, Ordering::SeqCst);
            self.wall.fetch_add(millis, Ordering::SeqCst);
        }

        fn set(&self, wall: u64) {
            self.wall.store(wall, Ordering::SeqCst);
        }
    }

    impl Clock for Hands {
        fn mono(&self) -> Mono {
            Mono(self.mono.load(Ordering::SeqCst))
        }

        fn wall(&self) -> Wall {
            Wall(self.wall.load(Ordering::SeqCst))
        }

        fn is_trusted(&self) -> bool {
            !self.distrusted.load(Ordering::SeqCst)
        }
    }

    #[derive(Default)]
    struct Kept(Mutex<Vec<Event>>);

    impl Log for Kept {
        fn emit(&self, _at: Wall, event: &Event) {
            self.0.lock().expect("no panic").push(event.clone());
        }
    }

    struct Scene {
        folder: tempfile::TempDir,
        clock: Arc<Hands>,
        log: Arc<Kept>,
        turns: AtomicU64,
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: u64 = 86_400_000;
    const NOON: u64 = 20_781 * DAY + DAY / 2;
    const TOKENS: Tokens = Tokens { requests: 1, input_tokens: 6, output_tokens: 4, estimated_tokens: 0 };

    impl Scene {
        fn new() -> Scene {
            let folder = tempfile::tempdir().expect("a folder");
            let clock = Arc::new(Hands::default());
            clock.set(NOON);
            Scene { folder, clock, log: Arc::default(), turns: AtomicU64::new(0) }
        }

        /// Two turns a minute, three a day, 100 tokens.
        fn process(&self, believed_after: Duration) -> Spending {
            let data = self.folder.path().display().to_string();
            let pairs =
                [("DATA_DIR", &*data), ("TURNS_PER_MINUTE", "2"), ("TURNS_PER_DAY", "3"), ("TOKENS_PER_DAY", "100")];
            let pairs =
                pairs.map(|(name, value)| (format!("RUSTY_PINCH_{name}"), (value.to_owned(), Source::Environment)));
            let config = Config::load(&Environment::from(pairs)).expect("a configuration");
            let (clock, log) = (Arc::clone(&self.clock) as Arc<dyn Clock>, Arc::clone(&self.log) as Arc<dyn Log>);
            Spending::new(&config, believed_after, clock, log)
        }

        fn ask(&self, spending: &Spending) -> Option<Limit> {
            let number = self.turns.fetch_add(1, Ordering::SeqCst);
            let turn = TurnId::parse(&format!("rp-{number:026}")).expect("an id");
            let asker = Asker { channel: ChannelId::Telegram, sender: "42" };
            spending.admit(turn, Some(asker)).err().map(|refusal| refusal.limit)
        }

        fn told(&self) -> Vec<(&'static str, Option<String>)> {
            let events = self.log.0.lock().expect("no panic");
            let limits = events.iter().filter_map(|event| match event {
                Event::LimitReached { limit, sender_id, .. } => Some((*limit, sender_id.clone())),
                _ => None,
            });
            limits.collect()
        }

        fn troubles(&self) -> usize {
            let events = self.log.0.lock().expect("no panic");
            events.iter().filter(|event| matches!(event, Event::StorageError { .. })).count()
        }
    }

    #[test]
    fn a_restart_resets_nothing_and_a_limit_is_logged_once_for_a_window() {
        let scene = Scene::new();
        let mut process = scene.process(BELIEVED_AFTER);
        assert_eq!([(); 3].map(|()| scene.ask(&process)), [None, None, Some(Limit::Minute)]);
        process = scene.process(BELIEVED_AFTER);
        assert_eq!([(); 2].map(|()| scene.ask(&process)), [Some(Limit::Minute); 2]);
        assert_eq!(scene.told(), vec![("turns_per_minute", Some("42".to_owned())); 2], "once by each process");
        scene.clock.pass(Duration::from_secs(60));
        assert_eq!([(); 3].map(|()| scene.ask(&process)), [None, Some(Limit::Day), Some(Limit::Day)]);
        assert_eq!(scene.told().len(), 3);
        scene.clock.pass(12 * HOUR);
        assert_eq!(scene.ask(&process), None);
        let mode = fs::metadata(scene.folder.path().join(NAME)).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_tokens_of_all_processes_are_one_sum_and_the_command_line_has_no_other_limit() {
        let scene = Scene::new();
        let (one, two) = (scene.process(BELIEVED_AFTER), scene.process(Duration::ZERO));
        for _ in 0..5 {
            assert_eq!((one.check(), two.check()), (Ok(()), Ok(())));
            one.count("a", &TOKENS);
            two.count("b", &TOKENS);
        }
        let turn = TurnId::parse("rp-00000000000000000000000009").expect("an id");
        let refusal = two.admit(turn, None).expect_err("refused");
        assert_eq!((refusal.limit, refusal.wait, one.check()), (Limit::Tokens, 12 * HOUR, Err(refusal)));
        assert_eq!(scene.ask(&one), Some(Limit::Tokens));
        assert_eq!(scene.told(), [("tokens_per_day", None), ("tokens_per_day", None)]);
        scene.clock.pass(12 * HOUR);
        assert_eq!((one.check(), two.check()), (Ok(()), Ok(())));
        (0..30).for_each(|_| assert_eq!(two.admit(turn, None), Ok(())));
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_everything_counted_anew() {
        let scene = Scene::new();
        let process = scene.process(BELIEVED_AFTER);
        for damage in ["{", "[1]", &"x".repeat(FILE_BYTES_MAX + 1)] {
            process.count("a", &TOKENS);
            fs::write(scene.folder.path().join(NAME), damage).expect("written");
            assert_eq!(process.check(), Ok(()));
            process.count("a", &TOKENS);
            assert_eq!(read(scene.folder.path()).expect("is whole").tokens(Wall(NOON)), 10);
            let aside = fs::read(scene.folder.path().join("provider").join(DAMAGED)).expect("is kept");
            assert_eq!(aside, damage.as_bytes());
        }
        assert_eq!(scene.troubles(), 3);
    }

    #[test]
    fn what_cannot_be_written_counts_here_and_is_written_later() {
        let scene = Scene::new();
        let process = scene.process(BELIEVED_AFTER);
        process.count("a", &TOKENS);
        let place = scene.folder.path().join("provider");
        fs::rename(&place, scene.folder.path().join("away")).expect("renamed");
        fs::write(&place, "in the way").expect("written");
        assert_eq!([(); 3].map(|()| scene.ask(&process)), [None, None, Some(Limit::Minute)]);
        (0..9).for_each(|_| process.count("a", &TOKENS));
        assert_eq!(process.check().map_err(|refusal| refusal.limit), Err(Limit::Tokens));
        assert_eq!(scene.troubles(), 1, "said once a minute");
        fs::remove_file(&place).expect("removed");
        fs::rename(scene.folder.path().join("away"), &place).expect("renamed");
        process.count("b", &TOKENS);
        assert_eq!(read(scene.folder.path()).expect("is whole").tokens(Wall(NOON)), 110);
        assert_eq!(scene.ask(&scene.process(BELIEVED_AFTER)), Some(Limit::Tokens));
    }

    /// Hours after which a process asks again for the first time, on a clock that was a year ahead and then set right.
    #[track_caller]
    fn locked_out(believed_after: Duration, distrusted: bool, want: u32) {
        let scene = Scene::new();
        scene.clock.set(NOON + 365 * DAY);
        let process = scene.process(believed_after);
        (0..10).for_each(|_| process.count("a", &TOKENS));
        scene.clock.set(NOON);
        scene.clock.distrusted.store(distrusted, Ordering::SeqCst);
        let mut hours = 0;
        while process.check().is_err() && hours < 100 {
            scene.clock.pass(HOUR);
            hours += 1;
        }
        assert_eq!(hours, want);
    }

    #[test]
    fn no_clock_locks_anybody_out_for_longer_than_a_day() {
        locked_out(BELIEVED_AFTER, false, 12);
        locked_out(BELIEVED_AFTER, true, 24);
        locked_out(Duration::ZERO, false, 12);
    }

    #[test]
    fn a_clock_that_is_not_set_yet_resets_nothing_when_it_is() {
        let scene = Scene::new();
        (0..10).for_each(|_| scene.process(BELIEVED_AFTER).count("a", &TOKENS));
        for (boot, distrusted) in [(0, true), (NOON - DAY, true), (NOON - DAY, false), (NOON - 300 * DAY, false)] {
            scene.clock.set(boot);
            scene.clock.distrusted.store(distrusted, Ordering::SeqCst);
            let process = scene.process(BELIEVED_AFTER);
            assert!(process.check().is_err(), "before it is set");
            scene.clock.pass(Duration::from_secs(300));
            assert!(process.check().is_err(), "before it is set");
            scene.clock.set(NOON + 60_000);
            scene.clock.distrusted.store(false, Ordering::SeqCst);
            assert!(process.check().is_err(), "when it is set");
            scene.clock.pass(HOUR);
            assert!(process.check().is_err(), "an hour later");
            assert!(scene.process(Duration::ZERO).check().is_err(), "in another process");
        }
    }
}
