//! All checks of a level, several at a time where they do not disturb each other, and what is written down of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::digest::sha256;
use crate::base::rng::Rng;
use crate::sys::files;
use crate::sys::queue::{Receiver, Sender, bounded};
use crate::sys::thread::spawn;
use crate::validate::bridge::Bridge;
use crate::validate::checklist::{CHECKS, Level, Verdict};
use crate::validate::evidence::{Evidence, Observed, Run};
use crate::validate::place::{Place, SETTINGS};
use crate::validate::program::{Real, Settings};
use crate::validate::simulated::Simulated;
use crate::validate::stage::{Outcome, Stage, TOKEN};
use crate::validate::{endurance, links, messages};

/// Checks at a time. The long ones mostly wait.
const LANES: usize = 3;

/// Largest program that is hashed, in bytes; a larger one is not ours.
const BINARY_BYTES_MAX: u64 = 512 << 20;

type Body = fn(&mut Stage) -> Outcome;

/// What shows each check, in the order of [`CHECKS`].
const BODIES: [Body; CHECKS.len()] = [
    links::hello,
    links::bounded,
    messages::latency,
    messages::denied,
    messages::chatter,
    messages::offences,
    links::restarts,
    links::half_open,
    messages::duplicates,
    messages::disconnected,
    messages::order,
    messages::scripts,
    links::untrusted,
    links::stops,
    endurance::kills,
    endurance::soak,
    links::parked,
    messages::silence_of_the_log,
];

/// The long ones first, by their place in [`CHECKS`], so that all lanes end at about the same time.
const ORDER: [usize; CHECKS.len()] = [15, 7, 14, 6, 13, 9, 16, 5, 17, 10, 2, 8, 3, 4, 11, 12, 1, 0];

/// What all checks of a run share.
#[derive(Clone)]
pub struct Means {
    /// What goes into every line.
    pub run: Run,
    /// The program whose worker is looked at.
    pub binary: PathBuf,
    /// Where everything temporary is.
    pub folder: PathBuf,
    /// The folder of the bridge's program.
    pub bridge: PathBuf,
    /// Where programs are found.
    pub path: String,
    /// Where the evidence is.
    pub out: PathBuf,
    /// The real clock.
    pub clock: Arc<dyn Clock>,
    /// Set when the operator has had enough.
    pub cancel: Cancel,
}

/// What the lines of a run have in common.
///
/// # Errors
/// When the program's own file cannot be read.
pub fn describe(level: Level, seed: u64, binary: &Path, settings: &[(String, String)]) -> io::Result<Run> {
    let (bytes, _) = files::read_bounded(binary, BINARY_BYTES_MAX)?;
    let own = SETTINGS.iter().map(|(name, value)| format!("{name}={value}\n"));
    let all: String = own.chain(settings.iter().map(|(name, value)| format!("{name}={value}\n"))).collect();
    let (binary, settings) = (sha256(&[&bytes]), sha256(&[all.as_bytes()]));
    Ok(Run { level, id: format!("{seed:016x}"), binary, settings })
}

/// Runs the checks of these places in [`CHECKS`], telling of each when it is over.
///
/// # Errors
/// When there is no thread.
pub fn run(means: &Means, places: &[usize], tell: &mut dyn FnMut(usize, Evidence)) -> io::Result<()> {
    let (jobs_in, jobs) = bounded(CHECKS.len());
    let (done, results) = bounded(CHECKS.len());
    let (exits, _) = bounded(LANES);
    for at in ORDER.iter().filter(|at| places.contains(at)) {
        let _ = jobs_in.try_send(*at);
    }
    drop(jobs_in);
    for _ in 0..LANES {
        let (means, jobs, done) = (means.clone(), jobs.clone(), done.clone());
        spawn("check", exits.clone(), move || lane(&means, &jobs, &done))?;
    }
    drop(done);
    results.iter().for_each(|(at, evidence)| tell(at, evidence));
    Ok(())
}

fn lane(means: &Means, jobs: &Receiver<usize>, done: &Sender<(usize, Evidence)>) -> Result<(), String> {
    for at in jobs.iter() {
        let evidence = one(means, at);
        done.send((at, evidence)).map_err(|_| "nobody listens".to_owned())?;
    }
    Ok(())
}

/// One check, from an empty folder to its evidence.
fn one(means: &Means, at: usize) -> Evidence {
    let check = &CHECKS[at];
    let finished = |verdict, observed, note, artifacts| {
        let at = means.clock.wall();
        Evidence { check: check.id, verdict, at, observed, note, artifacts }
    };
    if !endurance::is_for(means.run.level, check.id) {
        return finished(Verdict::Skip, Observed::new(), "left to live".to_owned(), Vec::new());
    }
    let mut stage = match stage(means, at) {
        Ok(stage) => stage,
        Err(why) => return finished(Verdict::Fail, Observed::new(), why, Vec::new()),
    };
    let outcome = BODIES[at](&mut stage);
    let observed = std::mem::take(&mut stage.observed);
    match outcome {
        Ok(()) => finished(Verdict::Pass, observed, String::new(), Vec::new()),
        Err(why) => finished(Verdict::Fail, observed, why, keep(&stage.place.log(), &means.out, check.id)),
    }
}

fn stage(means: &Means, at: usize) -> Result<Stage, String> {
    let folder = means.folder.join(CHECKS[at].id);
    let clock = Arc::clone(&means.clock);
    let no_folder = |_| "its folder cannot be made".to_owned();
    let mut place = Place::new(folder.join("worker"), &means.binary, Arc::clone(&clock)).map_err(no_folder)?;
    place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "*");
    place.set_token(TOKEN).map_err(no_folder)?;
    let bridge: Box<dyn Bridge> = if means.run.level == Level::Bridge {
        let (folder, path) = (means.bridge.clone(), means.path.clone());
        let settings = Settings { folder, place: place.path("bridge"), path, token: TOKEN.to_owned() };
        Box::new(Real::start(settings, Arc::clone(&clock))?)
    } else {
        let bridge = Simulated::start(TOKEN, true, Arc::clone(&clock));
        Box::new(bridge.map_err(|error| format!("no bridge ({:?})", error.kind()))?)
    };
    let seed = u64::from_str_radix(&means.run.id, 16).unwrap_or_default().wrapping_add(at as u64);
    Ok(Stage {
        level: means.run.level,
        place,
        bridge,
        clock,
        rng: Rng::from_seed(seed),
        cancel: means.cancel.clone(),
        observed: Observed::new(),
        sent: Vec::new(),
        written: 0,
    })
}

/// What a worker said goes beside the evidence, and its digest into it.
pub fn keep(log: &Path, out: &Path, id: &str) -> Vec<(String, String)> {
    let kept = PathBuf::from(format!("{}.{id}.log", out.display()));
    let copy = || {
        let (bytes, _) = files::read_bounded(log, BINARY_BYTES_MAX)?;
        files::replace(&kept, &bytes)?;
        io::Result::Ok(vec![(kept.display().to_string(), sha256(&[&bytes]))])
    };
    copy().unwrap_or_default()
}

/// Removes what a run has left.
pub fn clear(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}
