//! The caller and what it shares, in one process: clocks that a test moves, and providers from a script.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::{Clock, ManualClock, Mono, WALL_FLOOR, Wall};
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::message::{Message, Role};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::config::keys::Source;
use rusty_pinch::config::settings::Config;
use rusty_pinch::observe::event::{Event, Log};
use rusty_pinch::provider::caller::Caller;
use rusty_pinch::provider::chain::Link;
use rusty_pinch::provider::class::Class;
use rusty_pinch::provider::effort::Effort;
use rusty_pinch::provider::shared::Shared;
use rusty_pinch::provider::standing::{Standing, Who};
use rusty_pinch::provider::{Attempt, Completion, Prompt, Provider, ProviderError};
use rusty_pinch::sys::system_clock::SystemClock;
use rusty_pinch::sys::{files, stop};

use crate::support::cases::{Random, cases, say};
use crate::support::fake_provider::{FakeProvider, Rule};
use crate::support::waiting::{lock, now, since, until};

const START: Wall = Wall(WALL_FLOOR.0 + 100 * 24 * 3_600_000);

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Log for Heard {
    fn emit(&self, _at: Wall, event: &Event) {
        lock(&self.0).push(event.clone());
    }
}

/// A calendar and a boot that a test sets beside a monotonic clock.
struct JumpingClock {
    mono: AtomicU64,
    wall: AtomicU64,
    boot: Option<&'static str>,
}

impl JumpingClock {
    fn at(wall: u64, boot: Option<&'static str>) -> Arc<JumpingClock> {
        Arc::new(JumpingClock { mono: AtomicU64::new(0), wall: AtomicU64::new(wall), boot })
    }

    fn pass(&self, delay: Duration, is_frozen: bool) {
        let millis = u64::try_from(delay.as_millis()).expect("short");
        self.mono.fetch_add(millis, Ordering::SeqCst);
        self.wall.fetch_add(if is_frozen { 0 } else { millis }, Ordering::SeqCst);
    }

    fn jump(&self, step: i64) {
        let wall = self.wall.load(Ordering::SeqCst).saturating_add_signed(step);
        self.wall.store(wall, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn mono(&self) -> Mono {
        Mono(self.mono.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        Wall(self.wall.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Option<(String, u64)> {
        self.boot.map(|boot| (boot.to_string(), self.mono().0))
    }
}

fn standing(data: &Path, clock: Arc<dyn Clock>) -> Standing {
    Standing::new(data, Rng::from_seed(5), clock, Arc::new(Heard::default()))
}

fn config(base: &str) -> Config {
    let pairs = [
        ("RUSTY_PINCH_PROVIDER", "compatible"),
        ("RUSTY_PINCH_API_BASE", base),
        ("RUSTY_PINCH_RETRY_BACKOFF_MS", "1"),
        ("RUSTY_PINCH_RETRY_MAX_BACKOFF_MS", "1"),
        ("RUSTY_PINCH_TURNS_PER_DAY", "0"),
        ("RUSTY_PINCH_TOKENS_PER_DAY", "0"),
    ];
    let environment = pairs.map(|(name, value)| (name.to_string(), (value.to_string(), Source::Environment)));
    let mut config = Config::load(&environment.into()).expect("a configuration");
    // A clock that only a test moves must not be waited for.
    (config.provider.backoff, config.provider.backoff_max) = (Duration::ZERO, Duration::ZERO);
    config
}

fn ask(caller: &mut Caller, clock: &dyn Clock, deadline: u64) -> (Result<String, ProviderError>, Effort) {
    let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
    let messages = [Message { role: Role::User, content: "hello".into() }];
    let prompt = Prompt { turn, system: "", messages: &messages, history: 0, ordinal: 0 };
    let mut effort = Effort::default();
    let deadline = clock.mono().after(Duration::from_secs(deadline));
    let outcome = caller.ask(&prompt, deadline, &Cancel::new(), &mut effort);
    (outcome.map(|completion| completion.text), effort)
}

/// P5: a hundred turns in ten minutes, of which a naive client makes three hundred requests.
#[test]
fn a_dead_provider_costs_few_requests() {
    let mut random = Random::for_test("P5");
    let server = FakeProvider::start(&mut random);
    server.rule(Rule::when("").status(500));
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::starting_at(START));
    let shared: Arc<dyn Clock> = clock.clone();
    let log: Arc<dyn Log> = Arc::new(Heard::default());
    let (_stopper, stop) = stop::pair();
    let mut config = config(&server.url());
    config.data = folder.path().to_owned();
    let of_process = Shared::new(&config, Duration::ZERO, &mut Rng::from_seed(5), &shared, &log);
    let mut caller = Caller::new(&config, &of_process, Rng::from_seed(1), shared, stop, log);
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let before = server.asked_count();
        let begun = now();
        let (outcome, effort) = ask(&mut caller, clock.as_ref(), 180);
        let error = outcome.expect_err("it is dead");
        assert_eq!((error.class, effort.attempts as usize), (Class::Server, server.asked_count() - before));
        if effort.attempts == 0 {
            slowest = slowest.max(since(begun));
            assert!(error.retry_after.is_some_and(|wait| !wait.is_zero()), "{error:?}");
        }
        clock.advance(Duration::from_secs(6));
    }
    say(&format!(
        "{} requests for 100 turns; the slowest turn that asked nobody took {slowest:?}",
        server.asked_count()
    ));
    assert!((5..=30).contains(&server.asked_count()), "{} requests", server.asked_count());
    assert!(slowest < Duration::from_millis(200), "a turn that asks nobody took {slowest:?}");
}

/// Waits as long as it may, then fails.
struct Stalled(Arc<ManualClock>, Class);

impl Provider for Stalled {
    fn complete(&mut self, _prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        let left = self.0.mono().until(attempt.deadline);
        let is_over = left <= Duration::from_secs(60);
        self.0.advance(left.min(Duration::from_secs(60)));
        Err(ProviderError::new(if is_over { Class::Deadline } else { self.1 }, "stalled"))
    }
}

/// P4, for the chain: however long each provider stalls, the turn ends at its deadline.
#[test]
fn a_stalled_chain_ends_at_the_deadline() {
    for (deadline, class) in
        [(5, Class::TimeoutFirstByte), (100, Class::TimeoutIdle), (180, Class::TimeoutFirstByte), (3600, Class::Server)]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::starting_at(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let settings = config("http://127.0.0.1:1").provider;
        let links = (0..8).map(|number| {
            let mut settings = settings.clone();
            settings.name = format!("provider-{number}");
            Link::new(Box::new(Stalled(clock.clone(), class)), &settings)
        });
        let (_stopper, stop) = stop::pair();
        let standing = Arc::new(standing(folder.path(), shared.clone()));
        let log: Arc<dyn Log> = Arc::new(Heard::default());
        let mut caller = Caller::over(links.collect(), &settings, standing, Rng::from_seed(1), shared, stop, log);
        let begun = clock.mono();
        let (outcome, effort) = ask(&mut caller, clock.as_ref(), deadline);
        let took = begun.until(clock.mono());
        assert!(outcome.is_err() && took <= Duration::from_secs(deadline + 1), "{deadline}: {took:?}");
        assert!((1..=6).contains(&effort.attempts), "{effort:?}");
    }
}

const KEY: Who<'static> = Who { key: "compatible http://x -", provider: "compatible" };
const OTHER: Who<'static> = Who { key: "compatible http://y -", provider: "compatible" };

fn fail(standing: &Standing, class: Class, retry_after: Option<u64>) {
    let pass = standing.admit(KEY).expect("it may be asked");
    let retry_after = retry_after.map(Duration::from_secs);
    standing.settle(KEY, pass, Some(&ProviderError { class, retry_after, detail: String::new(), unasked: false }));
}

/// P6: threads at the same instant, again and again.
#[test]
fn one_thread_of_thirty_two_gets_the_probe() {
    const THREADS: usize = 32;
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::starting_at(START));
    let standing = standing(folder.path(), clock.clone());
    (0..5).for_each(|_| fail(&standing, Class::Server, None));
    for round in 0..cases(20, 500) {
        clock.advance(Duration::from_secs(900));
        let barrier = Barrier::new(THREADS);
        let admitted: Vec<_> = std::thread::scope(|scope| {
            let one = || {
                barrier.wait();
                standing.admit(KEY).ok()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("it ends")).collect()
        });
        assert_eq!(admitted.len(), 1, "round {round}");
        assert!(standing.admit(KEY).is_err_and(|rest| rest.wait.is_zero()), "the probe is under way");
        standing.settle(KEY, admitted[0], Some(&ProviderError::new(Class::Server, "")));
    }
}

/// FC-6: what the calendar does while a provider is left alone, in one process and over a restart. The monotonic clock
/// decides in the process; after a restart no timer is longer than it was, and none lasts for ever.
#[test]
fn no_clock_keeps_a_provider_closed_for_ever() {
    const YEARS: i64 = 10 * 365 * 24 * 3_600_000;
    let starts = [0, WALL_FLOOR.0 + 1, START.0];
    let jumps = [0, 3_600_000, -3_600_000, YEARS, -YEARS];
    let opened =
        [(Class::Auth, None), (Class::Server, None), (Class::Quota, Some(7200)), (Class::RateLimited, Some(600))];
    let mut count = 0;
    for (start, jump) in starts.iter().flat_map(|start| jumps.map(|jump| (*start, jump))) {
        for (class, retry_after) in opened {
            for (is_frozen, boot) in [(false, Some("one")), (true, None)] {
                let folder = tempfile::tempdir().expect("a folder");
                let clock = JumpingClock::at(start, boot);
                let before = standing(folder.path(), clock.clone());
                (0..if class == Class::Server { 5 } else { 1 }).for_each(|_| fail(&before, class, retry_after));
                let told = format!("start {start}, jump {jump}, {class:?}, frozen {is_frozen}, boot {boot:?}");
                let rest = before.admit(KEY).expect_err(&told);
                clock.jump(jump);
                assert_eq!(before.admit(KEY).expect_err(&told), rest, "a jump changes nothing in the process: {told}");
                clock.pass(rest.wait, is_frozen);
                assert!(before.is_free(KEY, Duration::ZERO), "{told}");

                let again = JumpingClock::at(clock.wall().0, Some("two"));
                let after = standing(folder.path(), again.clone());
                after.refresh();
                if let Err(rest_after) = after.admit(KEY) {
                    assert!(rest_after.wait <= rest.wait, "{told}: {rest_after:?}");
                    let went_back = again.wall().0 + 300_000 < start;
                    let is_doubtful = start < WALL_FLOOR.0 || again.wall() < WALL_FLOOR || went_back;
                    assert!(!is_doubtful || rest_after.wait <= Duration::from_secs(60), "{told}: {rest_after:?}");
                    again.pass(rest_after.wait, true);
                    assert!(after.is_free(KEY, Duration::ZERO), "{told}");
                }
                count += 1;
            }
        }
    }
    assert!(count >= 60, "{count} cases");
}

/// The budget of further attempts is shared by everybody who uses a credential.
#[test]
fn further_attempts_are_counted_for_all_turns_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::starting_at(START));
    let standing = standing(folder.path(), clock);
    let other = Who { key: "compatible http://x 0011aabb", provider: "compatible" };
    assert_eq!((0..100).filter(|_| standing.may_retry(KEY, false)).count(), 10);
    assert!(standing.may_retry(other, false));
}

/// Fails until the conversation is short enough.
struct Picky(usize, Arc<Mutex<Vec<usize>>>);

impl Provider for Picky {
    fn complete(&mut self, prompt: &Prompt<'_>, _attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        lock(&self.1).push(prompt.messages.len());
        match prompt.messages.len() > self.0 {
            true => Err(ProviderError::new(Class::ContextLength, "too long")),
            false => Ok(Completion { text: "short enough".into(), ..Completion::default() }),
        }
    }
}

#[test]
fn a_conversation_that_is_too_long_is_halved_once() {
    for (accepted, history, want) in
        [(11, 20, vec![21, 11]), (10, 20, vec![21, 11]), (1, 4, vec![5]), (5, 6, vec![7, 5])]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::starting_at(START));
        let settings = config("http://127.0.0.1:1").provider;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let links = vec![Link::new(Box::new(Picky(accepted, seen.clone())), &settings)];
        let standing = Arc::new(standing(folder.path(), clock.clone()));
        let (_stopper, stop) = stop::pair();
        let log: Arc<dyn Log> = Arc::new(Heard::default());
        let mut caller = Caller::over(links, &settings, standing, Rng::from_seed(1), clock.clone(), stop, log);
        let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
        let messages: Vec<Message> =
            (0..=history).map(|at| Message { role: Role::User, content: at.to_string() }).collect();
        let prompt = Prompt { turn, system: "", messages: &messages, history, ordinal: 0 };
        let deadline = clock.mono().after(Duration::from_secs(60));
        let outcome = caller.ask(&prompt, deadline, &Cancel::new(), &mut Effort::default());
        assert_eq!((outcome.is_ok(), lock(&seen).clone()), (want.last() <= Some(&accepted), want));
    }
}

/// Answers or fails as its script says, and by its last word from then on; counts how often it was asked.
struct Scripted(&'static [Option<Class>], Arc<AtomicU64>);

impl Provider for Scripted {
    fn complete(&mut self, _prompt: &Prompt<'_>, _attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        let number = usize::try_from(self.1.fetch_add(1, Ordering::SeqCst)).expect("few");
        match self.0[number.min(self.0.len() - 1)] {
            Some(class) => Err(ProviderError::new(class, "scripted")),
            None => Ok(Completion { text: "an answer".into(), ..Completion::default() }),
        }
    }
}

/// Every look at it is a fifth of a second later, so that waits are short.
struct HurriedClock(AtomicU64);

impl Clock for HurriedClock {
    fn mono(&self) -> Mono {
        Mono(self.0.fetch_add(200, Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        START
    }
}

/// So many questions of one turn to a chain of such providers: what came of the last, and how often each was asked.
fn questions(count: usize, scripts: &[&'static [Option<Class>]]) -> (Result<String, Class>, Vec<u64>, Effort) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(HurriedClock(AtomicU64::new(0)));
    let mut settings = config("http://127.0.0.1:1").provider;
    let asked: Vec<_> = scripts.iter().map(|_| Arc::new(AtomicU64::new(0))).collect();
    let link = |(at, script): (usize, &&'static [Option<Class>])| {
        settings.name = at.to_string();
        Link::new(Box::new(Scripted(script, Arc::clone(&asked[at]))), &settings)
    };
    let links = scripts.iter().enumerate().map(link).collect();
    let (_stopper, stop) = stop::pair();
    let log: Arc<dyn Log> = Arc::new(Heard::default());
    let standing = Arc::new(standing(folder.path(), clock.clone()));
    let mut caller = Caller::over(links, &settings, standing, Rng::from_seed(1), clock.clone(), stop, log);
    let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
    let messages = [Message { role: Role::User, content: "hello".into() }];
    let prompt = Prompt { turn, system: "", messages: &messages, history: 0, ordinal: 0 };
    let (deadline, mut effort) = (clock.mono().after(Duration::from_secs(3600)), Effort::default());
    let mut ask = || caller.ask(&prompt, deadline, &Cancel::new(), &mut effort);
    let outcome = (0..count).map(|_| ask()).last().expect("a question");
    let outcome = outcome.map(|completion| completion.text).map_err(|error| error.class);
    (outcome, asked.iter().map(|count| count.load(Ordering::SeqCst)).collect(), effort)
}

const WELL: Option<Class> = None;
const TROUBLE: Option<Class> = Some(Class::Server);
const NO_MODEL: Option<Class> = Some(Class::ModelNotFound);

/// A model that asks for tools puts several questions in a turn.
#[test]
fn six_attempts_and_three_providers_are_for_all_questions_of_a_turn() {
    let script: &[_] = &[TROUBLE, TROUBLE, WELL, TROUBLE, TROUBLE, WELL, WELL];
    let (outcome, asked, effort) = questions(2, &[script]);
    assert_eq!((outcome.is_ok(), asked, effort.attempts), (true, vec![6], 6));
    let (outcome, asked, effort) = questions(3, &[script]);
    assert_eq!((outcome, asked, effort.attempts), (Err(Class::Server), vec![6], 6));
    let (outcome, asked, _) = questions(2, &[&[NO_MODEL], &[NO_MODEL], &[WELL, NO_MODEL], &[WELL]]);
    assert_eq!((outcome, asked), (Err(Class::ModelNotFound), vec![2, 2, 2, 0]));
}

/// Whoever stands beyond the third place will not answer, so the third is asked again.
#[test]
fn a_provider_that_is_never_asked_takes_no_attempts_from_another() {
    let busy: &[_] = &[Some(Class::Overloaded), WELL];
    let (outcome, asked, _) = questions(1, &[&[NO_MODEL], &[NO_MODEL], busy, &[WELL]]);
    assert_eq!((outcome.is_ok(), asked), (true, vec![1, 1, 2, 0]));
    let (outcome, asked, _) = questions(1, &[&[NO_MODEL], busy, &[WELL], &[WELL]]);
    assert_eq!((outcome.is_ok(), asked), (true, vec![1, 1, 1, 0]));
}

/// Two processes of one data folder: what one finds out, good or bad, the other knows; what it found itself it keeps.
#[test]
fn what_one_process_finds_out_the_other_knows_until_it_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::starting_at(START));
    let (one, other) = (standing(folder.path(), clock.clone()), standing(folder.path(), clock.clone()));
    let is_free = |standing: &Standing| {
        standing.refresh();
        standing.is_free(KEY, Duration::ZERO)
    };
    for round in 0..3 {
        fail(&one, Class::Auth, None);
        assert!(!is_free(&other), "round {round}");
        clock.advance(Duration::from_secs(6 * 3600));
        let probe = one.admit(KEY).expect("the rest is over");
        one.settle(KEY, probe, None);
        assert!(is_free(&other), "round {round}");
        // The other way round, and a time that was named.
        fail(&other, Class::RateLimited, Some(60));
        assert!(!is_free(&other) && !is_free(&one), "round {round}");
        clock.advance(Duration::from_secs(60));
        assert!(is_free(&other) && is_free(&one), "round {round}");
    }
}

/// While another process holds the lock, nothing is written and nothing set aside; what was found is kept and written later.
#[test]
fn what_could_not_be_written_is_not_lost_to_an_older_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (one, other) = (standing(folder.path(), clock.clone()), standing(folder.path(), clock.clone()));
    // A rest that is over at once, so that the file has an older entry.
    let pass = one.admit(KEY).expect("it may be asked");
    let named =
        ProviderError { retry_after: Some(Duration::from_millis(1)), ..ProviderError::new(Class::RateLimited, "") };
    one.settle(KEY, pass, Some(&named));
    other.refresh();
    until("its rest is over", || one.is_free(KEY, Duration::ZERO));
    let lock = folder.path().join("provider/standing.lock");
    let held = files::lock(&lock, Duration::ZERO, clock.as_ref()).expect("no error").expect("free");
    fail(&one, Class::Auth, None);
    drop(held);
    let pass = other.admit(OTHER).expect("it may be asked");
    other.settle(OTHER, pass, Some(&ProviderError::new(Class::Auth, "")));
    let older_of_another = ProviderError { retry_after: Some(Duration::from_secs(1)), ..named };
    let pass = other.admit(KEY).expect("it does not know");
    other.settle(KEY, pass, Some(&older_of_another));
    one.refresh();
    assert!(one.admit(KEY).is_err_and(|rest| rest.class == Class::Auth), "it was found here and is not over");
    assert!(!one.is_free(OTHER, Duration::ZERO));
    other.refresh();
    assert!(other.admit(KEY).is_err_and(|rest| rest.class == Class::Auth));
    let later = standing(folder.path(), clock);
    later.refresh();
    assert!(!later.is_free(KEY, Duration::from_secs(60)), "it is written as soon as it can be");
}

/// A damaged file is nobody's to move without the lock, and one that is too long is damaged, too.
#[test]
fn a_damaged_file_is_set_aside_under_the_lock_only() {
    for damage in [b"{\"v\":1".to_vec(), vec![b' '; (64 << 10) + 1]] {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let path = folder.path().join("provider/standing.json");
        std::fs::create_dir(folder.path().join("provider")).expect("made");
        std::fs::write(&path, &damage).expect("written");
        let lock = path.with_extension("lock");
        let held = files::lock(&lock, Duration::ZERO, clock.as_ref()).expect("no error").expect("free");
        standing(folder.path(), clock.clone()).refresh();
        assert_eq!(std::fs::read(&path).expect("still there"), damage);
        drop(held);
        standing(folder.path(), clock.clone()).refresh();
        assert_eq!(std::fs::read(path.with_extension("json.damaged")).expect("set aside"), damage);
        std::fs::write(&path, &damage).expect("written");
        fail(&standing(folder.path(), clock.clone()), Class::Auth, None);
        let again = standing(folder.path(), clock);
        again.refresh();
        assert!(!again.is_free(KEY, Duration::ZERO));
    }
}
