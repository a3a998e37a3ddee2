//! What is on disk: whose the folders are and who may look into them, how much is free, and what is damaged in journals,
//! sessions and counters. Pure.

use crate::config::settings::Config;
use crate::doctor::facts::{Access, Facts, Folder, JournalFacts};
use crate::doctor::report::Check;
use crate::doctor::workers;
use crate::store::commit_log::FREE_BYTES_MIN;

/// Below this a person should look.
pub(super) const DISK_BYTES_LOW: u64 = 512 << 20;

pub(super) fn restoring() -> Check {
    let remedy = "unless a restore is running, run 'rusty-pinch restore' with the same archive again";
    Check::error("path.restoring", "an archive is only half in place, and nothing works until it is", remedy)
}

fn writable(folder: &Folder) -> Check {
    let path = folder.path.display();
    match &folder.refusal {
        None => Check::ok("path.writable", format!("{path} can be written")),
        Some(refusal) => {
            let remedy = format!("change its owner, or set {}", folder.variable);
            Check::error("path.writable", format!("{path} cannot be written ({refusal})"), remedy)
        }
    }
}

/// What is in the folders. Of no use to somebody who may not look into them.
pub(super) fn contents(config: &Config, facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = facts.folders.iter().map(writable).collect();
    checks.extend(facts.locked_out.iter().map(|what| locked_out(what)));
    checks.extend(workers::checks(config, facts));
    checks.extend(facts.journals.iter().flat_map(journal));
    checks.extend(records(facts));
    checks
}

fn locked_out(what: &str) -> Check {
    let remedy = "give it to the user of the service (chown), or remove what is in the way";
    Check::error("path.writable", format!("{what} cannot be written"), remedy)
}

/// Everything else that a stranger may not do has the same reason.
pub(super) fn stranger(owner: &str, facts: &Facts) -> Check {
    let is_refused = facts.folders.iter().any(|folder| folder.refusal.is_some()) || !facts.locked_out.is_empty();
    let sentence = format!("the conversations belong to {owner}, and you are somebody else");
    let remedy = format!("use 'sudo -u {owner} rusty-pinch …'");
    let check = if is_refused { Check::error } else { Check::warning };
    check("path.owner", sentence, remedy)
}

pub(super) fn data_folder(access: &Access) -> Option<Check> {
    let path = access.path.display();
    let mode = access.mode & 0o777;
    let remedy = format!("chmod 700 {path}");
    if mode & 0o022 != 0 {
        let sentence = format!("{path} can be changed by others than its owner (mode {mode:03o})");
        Some(Check::error("path.mode", sentence, remedy))
    } else if mode & 0o055 != 0 {
        let sentence = format!("{path} can be read by others than its owner (mode {mode:03o})");
        Some(Check::warning("path.mode", sentence, remedy))
    } else {
        None
    }
}

pub(super) fn disk(free: u64, config: &Config) -> Check {
    let sentence = format!("{} MiB are free for {}", free >> 20, config.data.display());
    let remedy = "make room, or move RUSTY_PINCH_DATA_DIR";
    match free {
        DISK_BYTES_LOW.. => Check::ok("disk.free", sentence),
        FREE_BYTES_MIN.. => Check::warning("disk.free", sentence, remedy),
        _ => Check::error("disk.free", sentence, remedy),
    }
}

fn journal(journal: &JournalFacts) -> Vec<Check> {
    let JournalFacts { channel, kept_aside, damage, .. } = journal;
    let mut checks = Vec::new();
    if let Some(damage) = damage {
        let remedy =
            format!("start the {channel} worker, which keeps the files aside and goes on from the last good record");
        checks.push(Check::error("journal.damage", format!("the {channel} journal is damaged: {damage}"), remedy));
    }
    if *kept_aside > 0 {
        let sentence = format!("{kept_aside} damaged files of the {channel} journal were kept aside");
        let remedy = "look at the storage medium; what could not be read may be lost; remove the files when done";
        checks.push(Check::warning("journal.damage", sentence, remedy));
    }
    checks
}

fn records(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if facts.session_bad_lines > 0 {
        let sentence = format!("{} damaged lines near the ends of sessions are passed over", facts.session_bad_lines);
        checks.push(Check::warning("session.damage", sentence, "look at the storage medium"));
    }
    if facts.session_torn_files > 0 {
        let sentence = format!("{} torn ends of sessions were kept aside (*.torn-*)", facts.session_torn_files);
        checks.push(Check::warning("session.damage", sentence, "remove the files when you have seen them"));
    }
    if facts.session_unreadable > 0 {
        let sentence = format!("{} session files cannot be read", facts.session_unreadable);
        let remedy = "give them to the user of the service; what is no regular file has no business there";
        checks.push(Check::error("session.damage", sentence, remedy));
    }
    if let Some(error) = &facts.session_error {
        checks.push(Check::error(
            "session.damage",
            format!("the sessions cannot be listed ({error})"),
            "change their owner",
        ));
    }
    if facts.dead_letters > 0 {
        let sentence = format!("{} replies were given up", facts.dead_letters);
        checks.push(Check::warning("dead.letters", sentence, "see 'rusty-pinch outbox list'; retry or drop them"));
    }
    match &facts.telemetry_error {
        None => {}
        Some((error, true)) => {
            let remedy = "the next turn keeps the file aside and counts anew";
            checks.push(Check::warning("telemetry.file", format!("the counters are damaged ({error})"), remedy));
        }
        Some((error, false)) => {
            let remedy = "nothing is counted until it can be; change its owner, or set RUSTY_PINCH_TELEMETRY_FILE";
            checks.push(Check::error("telemetry.file", format!("the counters cannot be read ({error})"), remedy));
        }
    }
    checks
}
