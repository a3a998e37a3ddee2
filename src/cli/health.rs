//! `health`: whether the workers of this data folder live, from the documents they leave in the run folder. For the health check of a
//! container, so it is fast, asks nobody, and needs no process to be visible. Alive is not ready: an outage of a server, or a
//! second reader of the bot, is nothing that a restart would mend; `--ready` asks for that as well.

use std::path::Path;
use std::time::Duration;

use crate::base::clock::{Clock, Wall};
use crate::base::id::ChannelId;
use crate::cli::flags::Parsed;
use crate::cli::{Failure, environment, print};
use crate::config::keys::Reader;
use crate::config::settings;
use crate::config::surroundings::Surroundings;
use crate::observe::status::Status;
use crate::observe::status_file;
use crate::sys::system_clock::SystemClock;
use crate::sys::users;

/// Prints one sentence, or fails with one.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let found = environment::look();
    let reader = Reader(&found.variables);
    let (data, run) = settings::folders(&reader);
    let wanted = ChannelId::WITH_WORKER.into_iter().filter(|channel| match parsed.value("channel") {
        "" => is_enabled(&reader, *channel),
        name => channel.name() == name,
    });
    let asked = Asked {
        wanted: wanted.map(ChannelId::name).collect(),
        age_max: Duration::from_secs(parsed.count("max-age").unwrap_or(0)),
        ready: parsed.given("ready"),
    };
    let statuses = status_file::read(&run, &data);
    match judge(&statuses, &asked, SystemClock::new().wall()) {
        Ok(sentence) => print(&(sentence + "\n")),
        Err(sentence) if statuses.is_empty() => Err(Failure::Failed(sentence + &blindness(&found, &data))),
        Err(sentence) => Err(Failure::Failed(sentence)),
    }
}

/// Why there may be a word that we do not find: settings or folders are somebody else's. Blank if nothing speaks for it.
fn blindness(found: &Surroundings, data: &Path) -> String {
    let of_owner = || users::stranger_to(data).map(|id| format!("use 'sudo -u {} rusty-pinch …'", users::name(id)));
    let why = found.problems.first().map(|problem| problem.sentence.clone()).or_else(of_owner);
    why.map_or(String::new(), |why| ["; ", &why].concat())
}

/// Asked apart from the rest of the configuration, which may not fit.
pub fn is_enabled(reader: &Reader<'_>, channel: ChannelId) -> bool {
    let name = format!("RUSTY_PINCH_CHANNELS_{}_ENABLED", channel.name().to_ascii_uppercase());
    reader.flag(&name).unwrap_or(false)
}

/// What is asked.
struct Asked {
    /// Channels that must have a worker; none: those that left a document, and there must be one.
    wanted: Vec<&'static str>,
    /// How old a document may be.
    age_max: Duration,
    /// Whether they must be ready, too.
    ready: bool,
}

fn judge(found: &[Status], asked: &Asked, now: Wall) -> Result<String, String> {
    let of = |name: &str| found.iter().find(|status| status.channel.id == name);
    if let Some(missing) = asked.wanted.iter().find(|name| of(name).is_none()) {
        return Err(format!("{missing}: no worker has left a word of itself"));
    }
    let judged: Vec<&Status> = match asked.wanted.is_empty() {
        true => found.iter().collect(),
        false => asked.wanted.iter().filter_map(|name| of(name)).collect(),
    };
    if judged.is_empty() {
        return Err("no worker has left a word of itself".to_owned());
    }
    let sentences: Result<Vec<String>, String> =
        judged.into_iter().map(|status| sentence(status, asked, now)).collect();
    sentences.map(|sentences| sentences.join("; "))
}

fn sentence(status: &Status, asked: &Asked, now: Wall) -> Result<String, String> {
    let name = &status.channel.id;
    // Whichever way the clock was set.
    let age = Duration::from_millis(now.0.abs_diff(status.at));
    if age > asked.age_max {
        return Err(format!("{name}: the worker's last word of itself is {} s old", age.as_secs()));
    }
    let reasons = status.reasons.join(", ");
    let is_wedged = status.reasons.iter().any(|reason| reason == "wedged");
    if is_wedged || asked.ready && !status.ready {
        return Err(format!("{name}: {reasons}"));
    }
    Ok(if status.ready { format!("{name} is ready") } else { format!("{name} lives and is not ready: {reasons}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::ChannelStatus;

    fn status(id: &str, at: u64, reasons: &[&str]) -> Status {
        Status {
            at,
            ready: reasons.is_empty(),
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            channel: ChannelStatus { id: id.to_owned(), ..ChannelStatus::default() },
            ..Status::default()
        }
    }

    #[track_caller]
    fn check(found: &[Status], wanted: &[&'static str], ready: bool, want: Result<&str, &str>) {
        let asked = Asked { wanted: wanted.to_vec(), age_max: Duration::from_secs(90), ready };
        let got = judge(found, &asked, Wall(100_000));
        assert_eq!(got.as_deref().map_err(String::as_str), want);
    }

    #[test]
    fn alive_is_who_wrote_lately_and_has_no_wedged_thread() {
        let telegram = |at, reasons: &[&str]| [status("telegram", at, reasons)];
        check(&telegram(99_000, &[]), &["telegram"], false, Ok("telegram is ready"));
        check(&telegram(10_000, &[]), &["telegram"], false, Ok("telegram is ready"));
        check(&telegram(9_999, &[]), &[], false, Err("telegram: the worker's last word of itself is 90 s old"));
        check(&telegram(99_000, &["conflict"]), &[], false, Ok("telegram lives and is not ready: conflict"));
        check(&telegram(99_000, &["conflict"]), &[], true, Err("telegram: conflict"));
        check(&telegram(99_000, &["wedged"]), &[], false, Err("telegram: wedged"));
        check(&telegram(191_000, &[]), &[], false, Err("telegram: the worker's last word of itself is 91 s old"));
    }

    #[test]
    fn every_channel_that_should_run_must_have_a_worker() {
        let both = [status("telegram", 99_000, &[]), status("whatsapp", 99_000, &["no_link"])];
        let sentence = "telegram is ready; whatsapp lives and is not ready: no_link";
        check(&both, &["telegram", "whatsapp"], false, Ok(sentence));
        check(&both, &[], false, Ok(sentence));
        check(&both, &["telegram"], true, Ok("telegram is ready"));
        check(&both[..1], &["telegram", "whatsapp"], false, Err("whatsapp: no worker has left a word of itself"));
        check(&[], &[], false, Err("no worker has left a word of itself"));
    }
}
