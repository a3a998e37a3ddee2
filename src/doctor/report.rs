//! [`Report`]: settings and checks as text for a person, lines for cron, or JSON for a program.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// Every id a check can have, with what it is about.
#[rustfmt::skip]
pub const CHECKS: &[(&str, &str)] = &[
    ("config.value", "a variable's value does not fit its key"),
    ("config.unknown", "a variable that is not one of ours"),
    ("config.no_effect", "a variable that has no effect any more"),
    ("config.duplicate", "a name that the env file sets twice"),
    ("config.surprise", "a value that fits and does not do what it seems to say"),
    ("config.env_file", "who can read and write the env file"),
    ("secret.mode", "who can read the file of a secret"),
    ("secret.shadowed", "a secret that another source of a different value hides"),
    ("provider.ready", "the provider has its key and its base"),
    ("provider.chain", "who is asked, in which order"),
    ("provider.standing", "a provider is left alone after what it did"),
    ("provider.codex", "the Codex program is there"),
    ("provider.codex_login", "each account of the Codex program can be used"),
    ("channel.telegram", "Telegram has its token and people to answer"),
    ("channel.whatsapp", "WhatsApp has its bridge and people to answer"),
    ("channel.everyone", "an allowlist that lets everyone in"),
    ("network.proxy", "a proxy is used"),
    ("memory.available", "memory for a turn"),
    ("memory.swap", "swap for a moment of want"),
    ("hardware.power", "Raspberry Pi: the voltage, now and since it was switched on"),
    ("hardware.throttled", "Raspberry Pi: whether heat or want of power slows it down"),
    ("hardware.temperature", "the temperature of the board"),
    ("service.active", "each unit that systemd knows runs, and was not given up"),
    ("service.watchdog", "a unit is restarted when it hangs"),
    ("service.restarts", "how often systemd restarted a unit by itself"),
    ("service.file", "which file a unit comes from: the package's, or one that hides it"),
    ("path.writable", "a folder that must be writable is"),
    ("path.mode", "who can read and write the data folder"),
    ("path.owner", "whose the data folder is"),
    ("path.restoring", "an archive is only half in place"),
    ("disk.free", "room for the journal and the sessions"),
    ("disk.read_only", "the medium was not made read-only by the kernel"),
    ("clock.plausible", "the clock is not in the past"),
    ("clock.synchronised", "the clock is kept right"),
    ("journal.damage", "what was found damaged in a channel's journal"),
    ("journal.worker", "whether a channel's worker runs"),
    ("worker.status", "a worker that runs says how it is"),
    ("worker.ready", "messages can arrive"),
    ("worker.degraded", "what impairs a worker"),
    ("worker.crash_loop", "how often a worker was started of late"),
    ("upgrade.pending", "a worker runs the program that is on disk"),
    ("metrics.endpoint", "somebody listens where the health endpoint is to be"),
    ("metrics.file", "the file for metrics is written"),
    ("session.damage", "lines of conversations that cannot be read"),
    ("dead.letters", "replies that were given up"),
    ("spending", "tokens spent today, and how many may be"),
    ("telemetry.file", "the counters can be read"),
    ("probe.provider", "with `--probe`: the provider answers and accepts the key, or Codex has an account"),
    ("probe.telegram", "with `--probe`: Telegram accepts the token"),
    ("probe.webhook", "with `--probe`: no webhook keeps messages from the worker"),
    ("probe.bridge", "with `--probe`: the WhatsApp bridge can be reached"),
];

/// Version of the JSON: it goes up when a field goes away or means something else.
const SCHEMA: u32 = 1;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and could surprise.
    Warning,
    /// Something that must work cannot.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// One of [`CHECKS`].
    pub id: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub sentence: String,
    /// What to do about it; blank if nothing is to be done.
    pub remedy: String,
}

impl Check {
    /// As it should be.
    pub fn ok(id: &'static str, sentence: impl Into<String>) -> Check {
        Check { id, level: Level::Ok, sentence: sentence.into(), remedy: String::new() }
    }

    /// Works, and could surprise.
    pub fn warning(id: &'static str, sentence: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { id, level: Level::Warning, sentence: sentence.into(), remedy: remedy.into() }
    }

    /// Something that must work cannot.
    pub fn error(id: &'static str, sentence: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { id, level: Level::Error, sentence: sentence.into(), remedy: remedy.into() }
    }
}

/// All that doctor has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// Names and values, in the order of contract §3.1.
    pub settings: Vec<(&'static str, String)>,
    /// In the order they were looked at.
    pub checks: Vec<Check>,
}

impl Report {
    /// The worst level.
    pub fn level(&self) -> Level {
        self.checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
    }

    /// Settings, the status, and a line for each check that is not as it should be.
    pub fn text(&self) -> String {
        let mut text = String::from("Rusty Pinch Doctor\n");
        for (name, value) in &self.settings {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
        let _ = writeln!(text, "status: {}", self.level().name());
        text + &self.problems()
    }

    /// The lines of what is not as it should be; blank if all is well.
    pub fn problems(&self) -> String {
        let mut text = String::new();
        for Check { id, level, sentence, remedy } in self.checks.iter().filter(|check| check.level > Level::Ok) {
            let separator = if remedy.is_empty() { "" } else { "; " };
            let _ = writeln!(text, "- {} {id}: {sentence}{separator}{remedy}", level.name());
        }
        text
    }

    /// `{"schema", "status", "version", "settings": {…}, "checks": [{"id", "level", "sentence", "remedy"}]}`, with the checks that
    /// are as they should be.
    pub fn json(&self) -> String {
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        let checks = self.checks.iter().map(|Check { id, level, sentence, remedy }| {
            json!({"id": id, "level": level.name(), "sentence": sentence, "remedy": remedy})
        });
        let report = json!({
            "schema": SCHEMA,
            "status": self.level().name(),
            "version": env!("CARGO_PKG_VERSION"),
            "settings": settings.collect::<Map<_, _>>(),
            "checks": checks.collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_is_the_status_and_what_is_well_is_not_printed() {
        let mut report = Report { settings: vec![("provider", "local".to_owned())], checks: Vec::new() };
        report.checks.push(Check::ok("disk.free", "9 GiB are free"));
        assert_eq!(report.text(), "Rusty Pinch Doctor\nprovider: local\nstatus: ok\n");
        report.checks.push(Check::warning("config.unknown", "X is set", "remove it"));
        assert_eq!(report.problems(), "- warning config.unknown: X is set; remove it\n");
        report.checks.push(Check::error("path.writable", "no", ""));
        assert_eq!((report.level(), report.problems().lines().count()), (Level::Error, 2));
        let parsed: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!((&parsed["status"], &parsed["checks"][0]["id"]), (&"error".into(), &"disk.free".into()));
    }
}
