//! `doctor`: what is set, and what is wrong with it, each with a remedy. Exit 1 if something that must work cannot;
//! warnings alone exit 0, and 1 with `--strict`. Creates nothing but probe files that it removes again.

use crate::cli::flags::Parsed;
use crate::cli::{Failure, environment, print};
use crate::config::keys::{KEYS, Reader};
use crate::config::settings::Config;
use crate::config::surroundings::Surroundings;
use crate::doctor::report::{Check, Level, Report};
use crate::doctor::{checks, gather, settings};
use crate::sys::files;

/// Prints the report: as text, as JSON (`--json`), or only what is wrong (`--quiet`, for cron, which mails what is
/// printed).
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    if parsed.given("json") && parsed.given("quiet") {
        return Err(Failure::Usage("doctor prints either --json or --quiet".to_owned()));
    }
    files::private_by_default();
    let surroundings = environment::read()?;
    let config = match Config::load(&surroundings.variables) {
        Ok(config) => config,
        Err(error) => {
            show(&unusable(&surroundings, &error.to_string()), parsed)?;
            return Err(Failure::Configuration(error.to_string()));
        }
    };
    let facts = gather::facts(&config);
    let report = Report {
        settings: settings::lines(&config, &surroundings.variables),
        checks: checks::all(&config, &surroundings, &facts),
    };
    show(&report, parsed)?;
    let tolerated = if parsed.given("strict") { Level::Ok } else { Level::Warning };
    if report.level() > tolerated { Err(Failure::Failed(String::new())) } else { Ok(()) }
}

/// Every value that does not fit, so that all can be mended at once.
fn unusable(surroundings: &Surroundings, first: &str) -> Report {
    let reader = Reader(&surroundings.variables);
    let mut problems: Vec<String> =
        KEYS.iter().filter_map(|key| reader.check(key).err()).map(|error| error.to_string()).collect();
    if problems.is_empty() {
        problems.push(first.to_owned());
    }
    let checks = problems.into_iter().map(|problem| Check::error("config.value", problem, ""));
    Report { settings: Vec::new(), checks: checks.collect() }
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
