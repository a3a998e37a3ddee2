//! `whatsapp validate`: prepares a run, prints what comes of each item, and decides about the exit code.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::base::cancel::Cancel;
use crate::cli::flags::Parsed;
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, print};
use crate::config::whatsapp_settings::BridgeDialect;
use crate::sys::{entropy, files, signal, terminal};
use crate::validate::checklist::{CHECKS, Level, Verdict, passes};
use crate::validate::evidence::Evidence;
use crate::validate::live;
use crate::validate::place::Place;
use crate::validate::program::main_file;
use crate::validate::run::{self, Means};

/// Variables of the operator's that a worker at level `live` has, too.
const PASSED_ON: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "RUSTY_PINCH_ALLOW_INSECURE_HTTP"];

/// What folders of runs begin with. The number of their process follows.
const FOLDER: &str = "rusty-pinch-validate-";

/// Longest line of a person, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// `whatsapp validate`. Exits 0 only if the gate of the level is passed.
pub fn validate(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    let level = Level::parse(parsed.value("level"));
    let (out, bridge) = (PathBuf::from(parsed.value("out")), PathBuf::from(parsed.value("bridge")));
    if level == Level::Bridge && !main_file(&bridge).is_file() {
        let sentence =
            format!("there is no src/main.mjs in {}: name the bridge's folder with --bridge", bridge.display());
        return Err(Failure::Usage(sentence));
    }
    let wanted = wanted(parsed.value("only"))?;
    let signalled = |error: io::Error| Failure::Failed(format!("signals: {error}"));
    let cancel = Cancel::new();
    let taken = signal::cancel_on_terminate(cancel.clone()).map_err(signalled)?;
    let means = means(&setup, level, out, bridge, cancel)?;
    let outcome = work(&setup, &means, &wanted);
    run::clear(&means.folder);
    match taken.load(std::sync::atomic::Ordering::SeqCst) {
        0 => outcome,
        number => Err(Failure::Stopped(u8::try_from(number).unwrap_or(0))),
    }
}

fn means(setup: &Setup, level: Level, out: PathBuf, bridge: PathBuf, cancel: Cancel) -> Result<Means, Failure> {
    let failed = |what: &Path, error: io::Error| Failure::Failed(format!("{}: {error}", what.display()));
    let seed = entropy::seed();
    let binary = std::env::current_exe().map_err(|error| Failure::Failed(format!("this program: {error}")))?;
    let described =
        run::describe(level, seed, &binary, &if level == Level::Live { settings(setup)? } else { Vec::new() });
    let temporary = std::env::temp_dir();
    clear_dead(&temporary);
    let folder = temporary.join(format!("{FOLDER}{}-{seed:016x}", std::process::id()));
    files::make_folder(&folder).map_err(|error| failed(&folder, error))?;
    // The evidence is of this run alone.
    files::replace(&out, b"").map_err(|error| failed(&out, error))?;
    let path = setup.surroundings.variables.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", |(path, _)| path);
    Ok(Means {
        run: described.map_err(|error| failed(&binary, error))?,
        binary,
        folder,
        bridge: std::path::absolute(&bridge).unwrap_or(bridge),
        path: path.to_owned(),
        out,
        clock: setup.clock.clone(),
        cancel,
    })
}

/// A run that was killed has left what people wrote and a token.
fn clear_dead(temporary: &Path) {
    let entries = std::fs::read_dir(temporary).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            run::clear(&entry.path());
        }
    }
}

/// The places in the list that are named, or all.
fn wanted(only: &str) -> Result<Vec<usize>, Failure> {
    if only.is_empty() {
        return Ok((0..CHECKS.len()).collect());
    }
    let place = |id: &str| CHECKS.iter().position(|check| check.id == id);
    let unknown =
        || Failure::Usage(format!("--only takes ids from {} to {}", CHECKS[0].id, CHECKS[CHECKS.len() - 1].id));
    only.split(',').map(|id| place(id.trim()).ok_or_else(unknown)).collect()
}

fn work(setup: &Setup, means: &Means, wanted: &[usize]) -> Result<(), Failure> {
    let level = means.run.level;
    let verdicts = RefCell::new(vec![None; CHECKS.len()]);
    let failed = RefCell::new(Ok(()));
    let mut tell = |at: usize, evidence: Evidence| {
        verdicts.borrow_mut()[at] = Some(evidence.verdict);
        let written = write(means, &evidence).and_then(|()| print(&sentence(&evidence)));
        if written.is_err() {
            *failed.borrow_mut() = written;
        }
    };
    let is_shown = |at: &usize| level != Level::Live || *at > 0 && CHECKS[*at].person.is_empty();
    let places: Vec<usize> = wanted.iter().copied().filter(is_shown).collect();
    let no_worker = |error: io::Error| Failure::Failed(format!("nothing can be started: {error}"));
    run::run(means, &places, &mut tell).map_err(no_worker)?;
    let mut is_signed = false;
    if level == Level::Live {
        let place = place(setup, means)?;
        let mut ask = |question: &str| ask(question, &means.cancel);
        live::run(means, &place, wanted, &mut ask, &mut tell).map_err(no_worker)?;
        let signature = live::sign(means, &place.log(), &mut ask);
        is_signed = signature.verdict == Verdict::Pass;
        write(means, &signature)?;
    }
    failed.into_inner()?;
    summarise(means, &verdicts.borrow(), is_signed)
}

fn summarise(means: &Means, verdicts: &[Option<Verdict>], is_signed: bool) -> Result<(), Failure> {
    let count = |verdict| verdicts.iter().filter(|found| **found == Some(verdict)).count();
    let is_passed = passes(means.run.level, verdicts, is_signed);
    print(&format!(
        "{}: {}/{} passed, {} failed, {} skipped: {}. Evidence: {}\n",
        means.run.level.name(),
        count(Verdict::Pass),
        CHECKS.len(),
        count(Verdict::Fail),
        count(Verdict::Skip),
        if is_passed { "the gate is passed" } else { "the gate is not passed" },
        means.out.display(),
    ))?;
    if is_passed { Ok(()) } else { Err(Failure::Failed(String::new())) }
}

fn write(means: &Means, evidence: &Evidence) -> Result<(), Failure> {
    let written =
        files::open_to_append(&means.out).and_then(|mut file| file.write_all(evidence.line(&means.run).as_bytes()));
    written.map_err(|error| Failure::Failed(format!("{}: {error}", means.out.display())))
}

fn sentence(evidence: &Evidence) -> String {
    let claim = CHECKS.iter().find(|check| check.id == evidence.check).map_or("", |check| check.claim);
    let mut sentence = format!("{} {}", evidence.check, evidence.verdict.name());
    match evidence.note.as_str() {
        "" => sentence.push_str(&format!(": {claim}")),
        note => sentence.push_str(&format!(": {note} ({claim})")),
    }
    evidence.observed.iter().for_each(|(name, number)| sentence.push_str(&format!(" {name}={number}")));
    sentence + "\n"
}

/// Prints a question and takes a line; `None`: there are no more, or the operator has had enough.
fn ask(question: &str, cancel: &Cancel) -> Option<String> {
    if !cancel.requested() {
        print(question).ok()?;
    }
    terminal::line(LINE_BYTES_MAX, cancel)
}

/// What the operator's own bridge needs, without the token.
fn settings(setup: &Setup) -> Result<Vec<(String, String)>, Failure> {
    let whatsapp = &setup.config.whatsapp;
    let Some(url) = &whatsapp.bridge else {
        return Err(Failure::Configuration(
            "whatsapp has no bridge: set RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL".to_owned(),
        ));
    };
    let dialect = match whatsapp.dialect {
        BridgeDialect::Auto => "auto",
        BridgeDialect::P => "p",
        BridgeDialect::N => "n",
    };
    let of_ours = |name: &str, value: &str| (format!("RUSTY_PINCH_CHANNELS_WHATSAPP_{name}"), value.to_owned());
    let list = whatsapp.allow_from.join(",");
    let mut settings = vec![of_ours("BRIDGE_URL", url), of_ours("ALLOW_FROM", &list), of_ours("DIALECT", dialect)];
    for name in PASSED_ON {
        let known = setup.surroundings.variables.get(name);
        settings.extend(known.map(|(value, _)| (name.to_owned(), value.clone())));
    }
    Ok(settings)
}

fn place(setup: &Setup, means: &Means) -> Result<Place, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", means.folder.display()));
    let mut place = Place::new(means.folder.join("live"), &means.binary, means.clock.clone()).map_err(failed)?;
    settings(setup)?.iter().for_each(|(name, value)| place.set(name, value));
    if let Some(token) = &setup.config.whatsapp.token {
        place.set_token(token.secret.current().reveal()).map_err(failed)?;
    }
    Ok(place)
}
