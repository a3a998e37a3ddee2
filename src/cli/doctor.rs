//! `doctor`: what is set, and what is wrong with it, each with a remedy. Exit 1 if something that must work cannot;
//! warnings alone exit 0, and 1 with `--strict`. Creates nothing but probe files that it removes again.

use crate::cli::flags::Parsed;
use crate::cli::{Failure, environment, print};
use crate::config::surroundings::Surroundings;
use crate::config::{rotation, settings};
use crate::doctor::report::{Check, Level, Report};
use crate::doctor::{self, checks, gather, names, probe, secret_table};
use crate::sys::files;

/// Prints the report: as text, as JSON (`--json`), or only what is wrong (`--quiet`, for cron, which mails what is
/// printed).
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    if parsed.given("json") && parsed.given("quiet") {
        return Err(Failure::Usage("doctor prints either --json or --quiet".to_owned()));
    }
    if parsed.given("secrets") && ["quiet", "probe", "strict"].iter().any(|other| parsed.given(other)) {
        return Err(Failure::Usage("doctor --secrets goes with --json only".to_owned()));
    }
    files::private_by_default();
    let surroundings = environment::look();
    if parsed.given("secrets") {
        return show_secrets(&surroundings, parsed);
    }
    let config = match (surroundings.config(), surroundings.problems.first()) {
        (Ok(config), None) => config,
        (_, Some(problem)) => return unusable(&surroundings, &problem.sentence, parsed),
        (Err(error), None) => return unusable(&surroundings, &error.to_string(), parsed),
    };
    let facts = gather::facts(&config, &surroundings.variables);
    let mut checks = checks::all(&config, &surroundings, &facts);
    if parsed.given("probe") {
        checks.extend(probe::checks(&config, &surroundings));
    }
    let report = Report { settings: doctor::settings::lines(&config, &surroundings.variables), checks };
    show(&report, parsed)?;
    let tolerated = if parsed.given("strict") { Level::Ok } else { Level::Warning };
    if report.level() > tolerated { Err(Failure::Failed(String::new())) } else { Ok(()) }
}

/// Also while something does not fit, which may be what somebody is looking for.
fn show_secrets(surroundings: &Surroundings, parsed: &Parsed) -> Result<(), Failure> {
    let config = surroundings.config().map_err(|error| error.to_string());
    let rows = secret_table::rows(surroundings, &config.as_ref().map(rotation::slots).unwrap_or_default());
    print(&if parsed.given("json") { secret_table::json(&rows) } else { secret_table::text(&rows) })?;
    match (surroundings.problems.first(), config) {
        (Some(problem), _) => Err(Failure::Configuration(problem.sentence.clone())),
        (None, Err(error)) => Err(Failure::Configuration(error)),
        (None, Ok(_)) => Ok(()),
    }
}

/// Everything that does not fit, so that all can be mended at once; the first of it is the failure.
fn unusable(surroundings: &Surroundings, first: &str, parsed: &Parsed) -> Result<(), Failure> {
    let mut checks: Vec<Check> = surroundings
        .problems
        .iter()
        .map(|problem| Check::error(problem.check, problem.sentence.as_str(), ""))
        .collect();
    for error in settings::problems(&surroundings.variables) {
        let check = Check::error("config.value", error.to_string(), "");
        // What names a file was looked at before.
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    // Values that fit by themselves and not together are found where the configuration is made of them.
    if checks.is_empty() {
        checks.push(Check::error("config.value", first, ""));
    }
    checks.extend(names::checks(surroundings));
    show(&Report { settings: Vec::new(), checks }, parsed)?;
    Err(Failure::Configuration(first.to_owned()))
}

fn show(report: &Report, parsed: &Parsed) -> Result<(), Failure> {
    print(&if parsed.given("json") {
        report.json()
    } else if parsed.given("quiet") {
        report.problems()
    } else {
        report.text()
    })
}
