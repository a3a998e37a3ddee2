//! A stretch of a campaign: one world and one data folder, people who write, and many lives of the worker in a row. At its
//! end all faults are off, the last worker finishes everything, and the judges look.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::cases::Random;
use crate::support::checker::{ATTEMPTS_CUT_MAX, Rules, Verdict, judge};
use crate::support::checker_traces::{
    Bounds, Exit, Forgotten, Struck, Traces, is_machine_calm, judge_traces, recoveries,
};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{API_KEY, Reply, Rule, UPSTREAM_CANARY};
use crate::support::fake_telegram::TOKEN;
use crate::support::journal_text;
use crate::support::people::People;
use crate::support::report::{Report, folder};
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{CEILING, came_true, lock};
use crate::support::world::{Process, Sample};

/// Characters of a reply that needs two parts.
const LONG_REPLY: usize = 5000;
/// How long the server keeps most answers of `sendMessage` back after it took the message.
const ANSWER_TIME: Duration = Duration::from_millis(25);
/// Attempts of the provider after the first, as configured.
const RETRIES: usize = 5;
/// One in so many confirmations of updates is compared with the journal; to read it is work.
const LOOK_AT_EVERY: usize = 8;
/// Crashes of which a power cut takes the record: the name of a first attempt is not flushed.
const UNCOUNTED_MAX: usize = 3;

/// How a worker may end by itself: as asked, or because its disk failed.
pub const ENDS: [&str; 2] = ["0", "74"];

pub struct Stretch {
    pub scene: Arc<Scene>,
    people: Option<People>,
    samples: Vec<Sample>,
    pub exits: Vec<Exit>,
    pub struck: Vec<Struck>,
    forgotten: Arc<Mutex<Vec<Forgotten>>>,
    was_machine_calm: bool,
}

/// What is judged at the end, besides the promises that always hold.
#[derive(Clone, Copy)]
pub struct Expect {
    pub rules: Rules,
    pub is_recovery_timed: bool,
}

impl Expect {
    pub const CALM: Expect = Expect { rules: Rules::CALM, is_recovery_timed: true };
    pub const KILLS: Expect = Expect { rules: Rules::KILLS, ..Expect::CALM };
    pub const TRACED: Expect = Expect { is_recovery_timed: false, ..Expect::KILLS };
    pub const FAILING_CALLS: Expect = Expect { rules: Rules::FAILING_CALLS, ..Expect::TRACED };
    pub const AT_MOST_ONCE: Expect = Expect { rules: Rules::AT_MOST_ONCE, ..Expect::KILLS };
    pub const POWER_CUTS: Expect = Expect { rules: Rules::POWER_CUTS, ..Expect::KILLS };
}

pub fn stage(random: &mut Random, lost_per_mille: u64) -> Scene {
    let mut scene = Scene::with(Random::from_seed(random.next()));
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", &RETRIES.to_string());
    scene.provider.latency(0, 30);
    scene.provider.rule(Rule::when("").status(503).per_mille(30));
    scene.provider.rule(Rule::when("long message").reply(Reply::Long(LONG_REPLY)));
    // Real answers take a while, and a kill while one is under way is what the marks are for.
    scene.telegram.fault(Fault::lost_answer().on("sendMessage").per_mille(lost_per_mille));
    scene.telegram.fault(Fault::late_answer(Wait::For(ANSWER_TIME)).on("sendMessage").per_mille(700));
    scene
}

/// Nothing goes wrong by itself, so that what is logged tells of the faults.
pub fn quiet_stage(random: &mut Random) -> Scene {
    let scene = stage(random, 0);
    scene.provider.clear_rules();
    scene.provider.rule(Rule::when("long message").reply(Reply::Long(LONG_REPLY)));
    scene
}

impl Stretch {
    /// People begin to write.
    pub fn begin(scene: Scene) -> Stretch {
        let mut random = scene.random.clone();
        let scene = Arc::new(scene);
        let forgotten = watch_confirmations(&scene);
        let people = Some(People::start(&scene, Random::from_seed(random.next())));
        let (samples, exits, struck) = (Vec::new(), Vec::new(), Vec::new());
        Stretch { scene, people, samples, exits, struck, forgotten, was_machine_calm: true }
    }

    pub fn sample(&mut self, process: &Process) {
        self.samples.extend(process.sample());
        self.was_machine_calm &= is_machine_calm();
    }

    /// SIGKILL, when the worker still runs; else its end is kept for the judge.
    pub fn kill(&mut self, mut process: Process, cause: &str) {
        self.sample(&process);
        if !process.is_running() {
            self.note_end(&mut process, cause);
        }
        self.scene.kill(process);
    }

    pub fn note_end(&mut self, process: &mut Process, cause: &str) -> String {
        let code = process.code_within(CEILING);
        // A signal that comes before the first line of ours meets a process that the kernel is still making.
        if code == "signal 15" && process.lines().is_empty() {
            return code;
        }
        self.exits.push(Exit { code: code.clone(), cause: cause.to_string() });
        code
    }

    pub fn people_rest(&mut self) {
        if let Some(people) = self.people.take() {
            people.rest();
        }
    }

    /// Everything becomes quiet and is judged; what was found is added to the report.
    pub fn end(mut self, expect: Expect, report: &mut Report) {
        let (problems, traces) = self.quiet_and_judged(expect, CEILING, report);
        report.messages += self.scene.telegram.posted().len();
        report.recoveries_ms.extend(recoveries(&traces.lines));
        report.add_lines(&traces.lines);
        report.count_of("journal_frames", journal_text::read(&traces.journal).last_seq as usize);
        let peak = self.samples.iter().map(|sample| sample.resident_kib).max();
        report.peak_kib = report.peak_kib.max(peak.unwrap_or_default());
        for exit in &traces.exits {
            *report.exits.entry(exit.code.clone()).or_default() += 1;
        }
        if !problems.is_empty() {
            self.keep_evidence(&traces, report);
        }
        let seed = self.scene.random.seed;
        report.add_problems(problems.into_iter().map(|problem| format!("stretch {seed}: {problem}")));
    }

    /// What is wrong at the quiet end, and what shows it.
    pub fn quiet_and_judged(
        &mut self,
        expect: Expect,
        ceiling: Duration,
        report: &mut Report,
    ) -> (Vec<String>, Traces) {
        self.people_rest();
        self.scene.telegram.clear_faults();
        let process = self.scene.start_polling();
        let mut problems: Vec<String> = self.scene.unanswered_after(ceiling);
        problems.iter_mut().for_each(|text| text.insert_str(0, "I1: no complete answer in time: "));
        if !came_true(ceiling, || self.scene.telegram.unconfirmed_count() == 0) {
            problems.push("I1: the worker does not confirm every update".to_string());
        }
        // Behind a notice there may be more parts, of which nobody outside knows.
        let world = &self.scene.world;
        let is_open = || !journal_text::read(&world.journal()).open.is_empty();
        if expect.rules.is_at_most_once && !came_true(ceiling, || !is_open()) {
            problems.push("I1: a reply is open, and all is quiet".to_string());
        }
        self.sample(&process);
        self.scene.stop(process);
        let verdict = judge(&self.scene.evidence(), expect.rules);
        problems.extend(unexplained(&verdict, expect.rules, &self.scene.world.all_lines()));
        problems.extend(verdict.problems);
        report.count_of("doubted", verdict.doubted);
        report.marked += verdict.marked;
        report.repeats += verdict.repeated;
        report.notices += verdict.notices;
        let traces = self.traces();
        let uncounted = if expect.rules.was_power_cut { UNCOUNTED_MAX } else { 0 };
        let calls_max = (1 + RETRIES) * (1 + ATTEMPTS_CUT_MAX + uncounted);
        let bounds = Bounds { codes: &ENDS, calls_max, is_recovery_timed: expect.is_recovery_timed };
        problems.extend(judge_traces(&traces, bounds, &[TOKEN, API_KEY, UPSTREAM_CANARY]));
        (problems, traces)
    }

    fn traces(&self) -> Traces {
        let world = &self.scene.world;
        let mut traces = Traces {
            files: world.files(),
            lines: world.all_lines(),
            stdout: world.all_stdout(),
            exits: self.exits.clone(),
            samples: self.samples.clone(),
            forgotten: lock(&self.forgotten).clone(),
            survivors: world.survivors(),
            journal: world.journal(),
            struck: self.struck.clone(),
            was_machine_calm: self.was_machine_calm,
            ..Traces::default()
        };
        for asked in self.scene.provider.asked() {
            *traces.asked.entry(asked.text).or_default() += 1;
        }
        traces
    }

    /// What a person needs to understand a failure, beside the report.
    fn keep_evidence(&self, traces: &Traces, report: &mut Report) {
        let place = folder().join(format!("failed-{}", self.scene.random.seed));
        let _ = std::fs::create_dir_all(&place);
        let sent: Vec<_> =
            self.scene.telegram.sent().iter().map(|sent| format!("{} {:?}", sent.chat, sent.text)).collect();
        let _ = std::fs::write(place.join("lines.jsonl"), traces.lines.join("\n"));
        let _ = std::fs::write(place.join("sent.txt"), sent.join("\n"));
        for (path, bytes) in &traces.files {
            let name: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
            let _ = std::fs::write(place.join(name.join("-in-")), bytes);
        }
        report.note("stretches_with_problems");
    }
}

/// A message that was interrupted too often is judged by itself. Any other apology tells of calls that failed: there may be
/// some only where calls were made to fail, or where a provider was left alone after a row of failures.
fn unexplained(verdict: &Verdict, rules: Rules, lines: &[String]) -> Option<String> {
    let count = verdict.notices - verdict.interrupted;
    let unasked = lines.iter().filter(|line| is_unasked(line)).count();
    let was_left_alone = lines.iter().any(|line| line.contains("\"event\":\"provider_state\""));
    let may_fail = rules.may_calls_fail || was_left_alone;
    let most = if may_fail { verdict.messages / 10 + unasked } else { 0 };
    (count > most).then(|| format!("{count} of {} are apologies, and {most} explained", verdict.messages))
}

/// Compares what the server is told to forget with what the journal holds at that moment.
fn watch_confirmations(scene: &Arc<Scene>) -> Arc<Mutex<Vec<Forgotten>>> {
    let forgotten = Arc::new(Mutex::new(Vec::new()));
    let (seen, world, count) = (Arc::clone(&forgotten), Arc::downgrade(scene), AtomicUsize::new(0));
    scene.telegram.on_forget(move |ids| {
        let is_looked_at = !ids.is_empty() && count.fetch_add(1, Ordering::SeqCst) % LOOK_AT_EVERY == 0;
        let Some(scene) = world.upgrade().filter(|_| is_looked_at) else { return };
        // A disk that was cut off cannot be read; what was on it shows after the next start.
        if let (Some(update), Some(on_disk)) = (ids.last(), journal_text::position(&scene.world.journal())) {
            lock(&seen).push(Forgotten { update: *update, on_disk });
        }
    });
    forgotten
}

/// Whether a turn failed without asking: its provider was left alone after a row of failures, which is right.
fn is_unasked(line: &str) -> bool {
    let turn: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    turn["event"] == "turn" && turn["attempts"] == 0 && !turn["error"].is_null() && turn["error"] != "interrupted"
}
