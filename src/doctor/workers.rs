//! Checks of the workers that run: the documents they leave of themselves, crash loops, programs that were replaced, and
//! what a metrics collector would read. Pure: facts in, verdicts out.

use std::time::Duration;

use crate::base::clock::Wall;
use crate::base::text::terminal_safe;
use crate::config::settings::Config;
use crate::doctor::facts::{Facts, JournalFacts, MetricsFile, WorkerFacts};
use crate::doctor::report::Check;
use crate::doctor::service::{OF_ALL, Unit};
use crate::observe::condition::REASONS;
use crate::observe::status::WRITTEN_EVERY;
use crate::store::crash_loop;

/// A document is believed for so long.
const FRESH: Duration = Duration::from_secs(3 * WRITTEN_EVERY.as_secs());

/// All of them.
pub fn checks(config: &Config, facts: &Facts) -> Vec<Check> {
    let enabled = |channel: &str| match channel {
        "telegram" => config.telegram.enabled,
        _ => config.whatsapp.enabled,
    };
    let mut checks: Vec<Check> =
        facts.journals.iter().map(|journal| running(journal, enabled(journal.channel), facts)).collect();
    for journal in facts.journals.iter().filter(|journal| journal.running) {
        let worker = facts.workers.iter().find(|worker| worker.status.channel.id == journal.channel);
        checks.extend(worker.map_or_else(|| vec![silent(journal)], |worker| told(worker, facts)));
    }
    checks.extend(facts.journals.iter().map(|journal| crash_loop(journal, facts)));
    checks
}

/// The unit of a channel's worker. Where that of all channels is in use, starting another one would end the rest of them.
fn unit(facts: &Facts, channel: &str) -> String {
    let is_of_all = |unit: &Unit| unit.name == OF_ALL && (unit.enabled || unit.active == "active");
    match facts.units.iter().flatten().any(is_of_all) {
        true => OF_ALL.trim_end_matches(".service").to_owned(),
        false => format!("rusty-pinch-{channel}"),
    }
}

/// A worker that ran before and should run is missed; one that never did is not.
fn running(journal: &JournalFacts, enabled: bool, facts: &Facts) -> Check {
    const ID: &str = "journal.worker";
    let channel = journal.channel;
    match (journal.running, enabled) {
        (true, _) => Check::ok(ID, format!("the {channel} worker runs")),
        (false, false) => Check::ok(ID, format!("the {channel} worker does not run, and {channel} is off")),
        (false, true) => {
            let unit = unit(facts, channel);
            let remedy = format!("start it: 'sudo systemctl start {unit}', or 'rusty-pinch channels {channel}'");
            Check::warning(ID, format!("the {channel} worker does not run"), remedy)
        }
    }
}

fn silent(journal: &JournalFacts) -> Check {
    let channel = journal.channel;
    let remedy = "nothing in its first seconds; else see whether its RUSTY_PINCH_RUN_DIR is the one of this command";
    Check::warning("worker.status", format!("the {channel} worker runs and has not left a document of itself"), remedy)
}

fn told(worker: &WorkerFacts, facts: &Facts) -> Vec<Check> {
    let status = &worker.status;
    let channel = terminal_safe(&status.channel.id);
    let age = Wall(status.at).until(facts.now);
    if age > FRESH {
        let sentence = format!("the {channel} worker has said nothing of itself for {} s", age.as_secs());
        let unit = unit(facts, &channel);
        let remedy = format!("it hangs: 'sudo systemctl restart {unit}'; no message is lost by that");
        return vec![Check::error("worker.status", sentence, remedy), replaced(worker, &channel, facts)];
    }
    vec![
        Check::ok("worker.status", format!("the {channel} worker said {} s ago how it is", age.as_secs())),
        ready(worker, &channel),
        degraded(worker, &channel),
        replaced(worker, &channel, facts),
    ]
}

fn joined(words: &[String]) -> String {
    terminal_safe(&words.join(", "))
}

fn ready(worker: &WorkerFacts, channel: &str) -> Check {
    const ID: &str = "worker.ready";
    let reasons = joined(&worker.status.reasons);
    match worker.status.ready {
        true => Check::ok(ID, format!("messages of {channel} can arrive")),
        false => {
            let first = worker.status.reasons.first();
            let meaning = REASONS.iter().find(|(name, _)| first.is_some_and(|first| first == name));
            let meaning = meaning.map_or("", |(_, meaning)| *meaning);
            let sentence = format!("messages of {channel} cannot arrive ({reasons}). {meaning}");
            // That is over soon, or has another name then.
            let is_passing =
                worker.status.reasons.iter().all(|reason| ["starting", "stopping"].contains(&reason.as_str()));
            let check = if is_passing { Check::warning } else { Check::error };
            check(
                ID,
                sentence.trim_end().trim_end_matches('.').to_owned(),
                "see docs/runbook.md, 'Not ready'".to_owned(),
            )
        }
    }
}

fn degraded(worker: &WorkerFacts, channel: &str) -> Check {
    const ID: &str = "worker.degraded";
    match worker.status.degraded.as_slice() {
        [] => Check::ok(ID, format!("nothing impairs the {channel} worker")),
        some => {
            let remedy = "see docs/runbook.md, 'Impaired', for each of them";
            Check::warning(ID, format!("the {channel} worker is impaired: {}", joined(some)), remedy)
        }
    }
}

/// By its file, where we may see that, and by the version that it names.
fn replaced(worker: &WorkerFacts, channel: &str, facts: &Facts) -> Check {
    const ID: &str = "upgrade.pending";
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = terminal_safe(&worker.status.program);
    let sentence = match (theirs == ours, worker.is_replaced) {
        (true, false) => {
            return Check::ok(ID, format!("the {channel} worker runs version {theirs}, which is this one"));
        }
        (false, _) => format!("the {channel} worker runs version {theirs}, and this one is {ours}"),
        (true, true) => format!("the program of the {channel} worker was replaced on disk since it started"),
    };
    Check::warning(ID, sentence, format!("sudo systemctl restart {}", unit(facts, channel)))
}

fn crash_loop(journal: &JournalFacts, facts: &Facts) -> Check {
    const ID: &str = "worker.crash_loop";
    let channel = journal.channel;
    let count = crash_loop::recent(journal.starts.iter().copied(), facts.now);
    let sentence = format!("the {channel} worker was started {count} times in ten minutes");
    match count < crash_loop::STARTS_MIN {
        true => Check::ok(ID, sentence),
        false => {
            let remedy = format!("see why it ends: 'journalctl -u {} | grep fatal'", unit(facts, channel));
            Check::warning(ID, sentence, remedy)
        }
    }
}

/// A metrics file is written every minute.
const METRICS_FRESH: Duration = Duration::from_secs(180);

/// What a collector of metrics would find. Nothing is said where nothing is asked for.
pub fn metrics(config: &Config, facts: &Facts) -> Vec<Check> {
    let endpoint = config.health.address.as_deref().map(|address| endpoint(address, facts));
    endpoint.into_iter().chain(facts.metrics_file.as_ref().map(|file| metrics_file(file, facts))).collect()
}

/// A worker that finds the address taken, or forbidden, goes on without.
fn endpoint(address: &str, facts: &Facts) -> Check {
    const ID: &str = "metrics.endpoint";
    let runs = |channel: &str| facts.journals.iter().any(|journal| journal.running && journal.channel == channel);
    let without = facts.workers.iter().map(|worker| &worker.status);
    let without = without.filter(|status| status.endpoint.is_none() && runs(&status.channel.id));
    let without: Vec<String> = without.map(|status| status.channel.id.clone()).collect();
    if !without.is_empty() {
        let sentence = format!("without an endpoint, although {address} is set: the worker of {}", joined(&without));
        return Check::warning(ID, sentence, "each worker needs an address of its own; it reads it when it starts");
    }
    let is_expected = facts.journals.iter().any(|journal| journal.running);
    match is_expected && facts.endpoint_answers == Some(false) {
        false => Check::ok(ID, format!("health and metrics are for {address}")),
        true => {
            let sentence = format!("a worker runs, and nobody answers at {address}");
            Check::warning(ID, sentence, "see its log for the reason; it reads the address when it starts")
        }
    }
}

fn metrics_file(file: &MetricsFile, facts: &Facts) -> Check {
    const ID: &str = "metrics.file";
    let path = file.path.display();
    if let Some(refusal) = &file.refusal {
        let sentence = format!("{path} cannot be written ({refusal})");
        return Check::error(
            ID,
            sentence,
            "make its folder, change the owner of that, or set RUSTY_PINCH_METRICS_FILE",
        );
    }
    let is_expected = facts.journals.iter().any(|journal| journal.running);
    let how = match file.written {
        None => Some("was never written".to_owned()),
        Some(at) if at.until(facts.now) > METRICS_FRESH => Some(["was last written at ", &at.rfc3339()].concat()),
        Some(_) => None,
    };
    match how.filter(|_| is_expected) {
        None => Check::ok(ID, format!("metrics are written to {path}")),
        Some(how) => {
            let sentence = format!("a worker runs, and {path} {how}; it should be every minute");
            Check::warning(ID, sentence, "see its log for the error; it reads the setting when it starts")
        }
    }
}
