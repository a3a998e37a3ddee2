//! FC-7: many turns of many chats with faults, and nothing grows but what people wrote.
//!
//! The real binary between its fake servers. One turn in twenty meets a fault: a refused, cut or senseless answer of the provider, a
//! refused, lost or reset send, a broken poll. At each quiet lap the worker is measured. `RP_TEST_CASES` is the number of turns;
//! `make soak-turns` makes a hundred thousand and leaves target/campaign/soak_turns.json.
//!
//! Seen to fail: with one descriptor for each message that is not closed.

use std::path::Path;
use std::time::Duration;

use crate::support::cases::{cases, warn};
use crate::support::checker::{Rules, judge};
use crate::support::checker_traces::is_machine_calm;
use crate::support::fake_http::Shape;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::report::Report;
use crate::support::scene::Scene;
use crate::support::slope::slope;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{came_true, now, since, until_within};
use crate::support::world::Process;

const CHATS: usize = 50;
/// The worker refuses more than 32; it learns a moment after the server that a message is answered.
const OPEN_PER_CHAT_MAX: usize = 24;
/// Measured at the end of each: in a long run, and in a short one, where every quiet moment costs seconds of backoff.
const LAPS: [usize; 2] = [20, 2];
/// What is learned about first (caches, the ring of known messages) is full after this share of the laps.
const WARM_PER_LAPS: usize = 5;
/// Below this many turns a slope says nothing.
const TURNS_FOR_A_SLOPE: usize = 50_000;
const SLOPE_KIB_MAX: usize = 1024;
const GROWTH_KIB_MAX: usize = 40 * 1024;
const FILES_MORE_MAX: usize = 2;
/// The journal has its size from the start; counters, locks and the document of status change by little.
const DISK_MORE_MAX: u64 = 256 * 1024;
/// Writes so much that the session goes on in another file.
const TALKER: i64 = 1;
/// Each two of them become four characters: an answer of one part.
const LONG_SPACES: usize = 1500;
/// Without a queue and without the provider.
const OVERHEAD_MS_MAX: u64 = 25;
const LAP_CEILING: Duration = Duration::from_secs(1200);

/// One quiet moment.
#[derive(Clone, Copy)]
struct Lap {
    turns: usize,
    resident_kib: usize,
    threads: usize,
    files: usize,
    /// Of sessions, and of everything else in the data folder.
    sessions: u64,
    rest: u64,
}

struct Town {
    scene: Scene,
    posted: usize,
    laps: Vec<Lap>,
}

fn stage() -> Scene {
    let mut scene = Scene::new("soak");
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "5");
    scene.provider.be_brief();
    scene.telegram.be_brief();
    // Rules are tried in order, so the shares add up to 25 of a thousand, and so do those of the sends.
    scene.provider.rule(Rule::when("").status(503).per_mille(12));
    scene.provider.rule(Rule::when("").reply(Reply::Spoil(Shape::ResetHalfway)).per_mille(10));
    scene.provider.rule(Rule::when("").reply(Reply::Malformed("<html>".to_string())).per_mille(3));
    scene.telegram.fault(Fault::lost_answer().on("sendMessage").per_mille(10));
    scene.telegram.fault(Fault::web_page(502).on("sendMessage").per_mille(5));
    scene.telegram.fault(Fault::too_many_requests(1).on("sendMessage").per_mille(5));
    scene.telegram.fault(Fault::reset().on("sendMessage").per_mille(5));
    scene.telegram.fault(Fault::half_answer().on("getUpdates").per_mille(15));
    scene.telegram.fault(Fault::reset().on("getUpdates").per_mille(10));
    scene
}

impl Town {
    /// People of all chats write until so many messages were written in all, then everything is answered.
    fn walk(&mut self, turns: usize) {
        let mut random = self.scene.random.clone();
        while self.posted < turns {
            let mut chat = 0;
            until_within("room in a chat", LAP_CEILING, || {
                chat = random.between(1, CHATS as u64) as i64;
                self.scene.open_in(chat) < OPEN_PER_CHAT_MAX
            });
            let text = match chat {
                TALKER => format!("{:LONG_SPACES$}", format!("message {}", self.posted)).replace("  ", " and"),
                _ => format!("message {}", self.posted),
            };
            self.scene.telegram.say(chat, text.trim());
            self.posted += 1;
        }
        let telegram = &self.scene.telegram;
        let is_quiet = || (1..=CHATS as i64).all(|chat| self.scene.open_in(chat) == 0);
        // An apology that a chat got twice counts once, so a chat may look open for ever: then the count of the log decides.
        let is_over = || is_quiet() || self.scene.world.all_events("turn").len() >= turns;
        let mut looks = 0;
        let answered = came_true(LAP_CEILING, || {
            looks += 1;
            if looks % 5000 == 0 { is_over() } else { is_quiet() }
        });
        assert!(answered, "seed {}: not all of {turns} turns ended", self.scene.random.seed);
        assert!(came_true(LAP_CEILING, || telegram.unconfirmed_count() == 0), "updates are not confirmed");
        self.scene.random = random;
    }

    fn measure(&mut self, process: &Process) {
        let data = self.scene.world.data();
        let sessions = size_of(&data.join("sessions"));
        let sample = process.sample().expect("the worker runs");
        self.laps.push(Lap {
            turns: self.posted,
            resident_kib: sample.resident_kib,
            threads: sample.threads,
            files: sample.files,
            sessions,
            rest: size_of(&data) - sessions,
        });
    }

    /// From a message's arrival at one fake server to its answer there, one after another, without faults; sorted.
    fn alone(&self, count: usize) -> Vec<u64> {
        self.scene.telegram.clear_faults();
        self.scene.provider.clear_rules();
        let mut times: Vec<u64> = (0..count).map(|index| self.time_of_one(index)).collect();
        times.sort_unstable();
        times
    }

    fn time_of_one(&self, index: usize) -> u64 {
        let chat = 2 + (index % (CHATS - 1)) as i64;
        let sent = self.scene.telegram.sent_count_to(chat);
        let started = now();
        self.scene.telegram.say(chat, &format!("alone {index}"));
        self.scene.telegram.until_sent_to(chat, sent + 1);
        since(started).as_micros() as u64
    }
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Without those at the beginning.
fn warmed(laps: &[Lap]) -> &[Lap] {
    &laps[laps.len() / WARM_PER_LAPS..]
}

/// KiB for each 100,000 turns.
fn growth(laps: &[Lap]) -> f64 {
    let points: Vec<(f64, f64)> = laps.iter().map(|lap| (lap.turns as f64, lap.resident_kib as f64)).collect();
    slope(&points) * 100_000.0
}

/// What grew although it must not.
fn grown(laps: &[Lap]) -> Vec<String> {
    let (Some(first), Some(last)) = (laps.first(), laps.last()) else { return vec!["nothing was measured".into()] };
    let warm = warmed(laps);
    let mut problems = Vec::new();
    let grown = last.resident_kib.saturating_sub(first.resident_kib);
    if grown > GROWTH_KIB_MAX {
        problems.push(format!("memory grew by {grown} KiB"));
    }
    if last.turns >= TURNS_FOR_A_SLOPE && growth(warm) > SLOPE_KIB_MAX as f64 {
        problems.push(format!("memory grows by {:.0} KiB for each 100,000 turns", growth(warm)));
    }
    if laps.iter().any(|lap| lap.threads != first.threads) {
        problems.push(format!("threads: {:?}", laps.iter().map(|lap| lap.threads).collect::<Vec<_>>()));
    }
    let (early, late) = warm.split_at(warm.len() / 2);
    let most = |laps: &[Lap]| laps.iter().map(|lap| lap.files).max().unwrap_or(usize::MAX);
    if most(late) > most(early).saturating_add(FILES_MORE_MAX) {
        problems.push(format!("descriptors: {:?}", laps.iter().map(|lap| lap.files).collect::<Vec<_>>()));
    }
    if last.rest > first.rest + DISK_MORE_MAX {
        problems.push(format!("beside sessions there were {} bytes, and are {}", first.rest, last.rest));
    }
    problems
}

/// All lines of the chat whose session went on in other files.
fn whole_session(scene: &Scene) -> Vec<u8> {
    let folder = scene.world.data().join("sessions");
    let parts = (1..).map(|number| std::fs::read(folder.join(format!("telegram_{TALKER}.{number}.jsonl"))));
    let mut bytes: Vec<u8> = parts.map_while(Result::ok).flatten().collect();
    bytes.extend(scene.world.session(TALKER));
    bytes
}

#[test]
fn many_turns_with_faults_take_no_more_of_anything() {
    let turns = cases(200, 10_000_000);
    let mut town = Town { scene: stage(), posted: 0, laps: Vec::new() };
    let mut report = Report::start("soak_turns", town.scene.random.seed);
    let started = now();
    let process = town.scene.start_polling();
    let laps = LAPS[usize::from(turns < TURNS_FOR_A_SLOPE)];
    for lap in 1..=laps {
        town.walk(turns * lap / laps);
        town.measure(&process);
        if turns >= TURNS_FOR_A_SLOPE {
            let Lap { turns, resident_kib, .. } = town.laps[lap - 1];
            warn(&format!("soak_turns: {turns} turns, {resident_kib} KiB, {} s", since(started).as_secs()));
        }
    }
    let seconds = since(started).as_secs();
    let alone = town.alone((turns / 20).clamp(10, 1000));
    let was_calm = is_machine_calm();
    town.scene.telegram.until_confirmed();
    // A reply whose confirmation was lost waits for its repeat, which a stop would leave to the next start.
    let all = town.posted + alone.len();
    until_within("all turns are closed", LAP_CEILING, || town.scene.world.all_events("turn").len() >= all);
    town.scene.stop(process);
    let mut evidence = town.scene.evidence();
    evidence.sessions.insert(TALKER, whole_session(&town.scene));
    let verdict = judge(&evidence, Rules::LOST_ANSWERS);
    (report.count, report.messages) = (town.posted, verdict.messages);
    (report.marked, report.repeats, report.notices) = (verdict.marked, verdict.repeated, verdict.notices);
    report.add_problems(verdict.problems.into_iter());
    report.add_problems(grown(&town.laps).into_iter());
    if was_calm && turns >= TURNS_FOR_A_SLOPE && percentile(&alone, 99) > OVERHEAD_MS_MAX * 1000 {
        report.add_problems([format!("p99 of the overhead is {} µs", percentile(&alone, 99))].into_iter());
    }
    report.add_lines(&evidence.lines);
    tell(&town, seconds, &alone, &mut report);
    report.finish();
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn tell(town: &Town, seconds: u64, alone: &[u64], report: &mut Report) {
    let asked = town.scene.provider.asked_count();
    let sends = town.scene.telegram.count_of("sendMessage");
    report.peak_kib = town.laps.iter().map(|lap| lap.resident_kib).max().unwrap_or_default();
    let warm = warmed(&town.laps);
    for (name, value) in [
        ("seconds_of_turns", seconds as usize),
        ("provider_calls", asked),
        ("sends", sends),
        ("slope_kib_per_100k", growth(warm).max(0.0) as usize),
        ("overhead_us_p50", percentile(alone, 50) as usize),
        ("overhead_us_p99", percentile(alone, 99) as usize),
        ("overhead_samples", alone.len()),
    ] {
        report.count_of(name, value);
    }
    for (number, lap) in town.laps.iter().enumerate() {
        for (name, value) in [
            ("kib", lap.resident_kib),
            ("threads", lap.threads),
            ("files", lap.files),
            ("sessions_bytes", lap.sessions as usize),
            ("rest_bytes", lap.rest as usize),
        ] {
            report.count_of(&format!("lap_{:02}_{name}", number + 1), value);
        }
    }
}
