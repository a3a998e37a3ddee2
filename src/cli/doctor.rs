//! `doctor`: the configuration as `key: value` lines, then what is wrong, each with a remedy. Exit 1 if something that
//! must work cannot; warnings alone exit 0. Creates nothing but a probe file that it removes again.

use std::env;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::cli::flags::{Parsed, nearest};
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, print};
use crate::config::keys::{Environment, Fate, KEYS, Kind, PREFIXES_WITHOUT_EFFECT};
use crate::config::settings::{Config, ProviderKind};
use crate::provider::caller::missing;

/// What a check found.
enum Finding {
    Warning(String),
    Error(String),
}

impl Finding {
    fn level(&self) -> &'static str {
        match self {
            Finding::Warning(_) => "warning",
            Finding::Error(_) => "error",
        }
    }

    fn sentence(&self) -> &str {
        match self {
            Finding::Warning(sentence) | Finding::Error(sentence) => sentence,
        }
    }
}

/// Prints the report: as text, as JSON (`--json`), or only what is wrong (`--quiet`, for cron, which mails what is
/// printed). With `--strict` a warning fails, too.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let Setup { config, environment, .. } = setup::load()?;
    let mut findings = check(&config);
    findings.extend(check_names(&environment));
    let strict = parsed.given("strict");
    let failed = findings.iter().any(|finding| strict || matches!(finding, Finding::Error(_)));
    let status = match (failed, findings.is_empty()) {
        (true, _) => "error",
        (false, true) => "ok",
        (false, false) => "warning",
    };
    let text = if parsed.given("json") {
        as_json(&config, status, &findings)
    } else if parsed.given("quiet") {
        as_lines(&findings)
    } else {
        format!("Rusty Pinch Doctor\n{}status: {status}\n{}", as_settings(&config), as_lines(&findings))
    };
    print(&text)?;
    if failed { Err(Failure::Failed(String::new())) } else { Ok(()) }
}

fn as_lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("- {}: {}\n", finding.level(), finding.sentence())).collect()
}

fn as_settings(config: &Config) -> String {
    settings(config).iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

fn as_json(config: &Config, status: &str, findings: &[Finding]) -> String {
    let findings = findings.iter().map(|finding| json!({"level": finding.level(), "sentence": finding.sentence()}));
    let settings: serde_json::Map<_, _> =
        settings(config).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let report = json!({"status": status, "settings": settings, "checks": findings.collect::<Vec<_>>()});
    format!("{report:#}\n")
}

/// Variables that look like ours and do nothing: misspelt, of the earlier runtime, or of a later version.
fn check_names(environment: &Environment) -> Vec<Finding> {
    let ours = environment.keys().filter(|name| name.starts_with("RUSTY_PINCH_"));
    ours.filter_map(|name| name_finding(name)).map(Finding::Warning).collect()
}

fn name_finding(name: &str) -> Option<String> {
    let key = |name: &str| KEYS.iter().find(|key| key.name == name);
    let of_a_secret = name.strip_suffix("_FILE").and_then(key).is_some_and(|key| matches!(key.kind, Kind::Secret));
    if of_a_secret || name == "RUSTY_PINCH_ENV_FILE" {
        return None;
    }
    let gone = PREFIXES_WITHOUT_EFFECT.iter().any(|prefix| name.starts_with(prefix));
    match key(name).map(|key| key.fate) {
        Some(Fate::Heeded | Fate::Foreign) => None,
        Some(Fate::Later) => Some(format!("{name} is set, and this version does not heed it yet")),
        Some(Fate::NoEffect) => Some(format!("{name} is set and has no effect any more; it may be removed")),
        None if gone => Some(format!("{name} is set and has no effect any more; it may be removed")),
        None => Some(match nearest(name, KEYS.iter().map(|key| key.name)) {
            Some(known) => format!("{name} is not a variable of ours; did you mean {known}?"),
            None => format!("{name} is not a variable of ours; docs/configuration.md lists them"),
        }),
    }
}

/// The lines and their order are those of contract §3.1, without the parts that are gone.
fn settings(config: &Config) -> [(&'static str, String); 17] {
    let provider = &config.provider;
    [
        ("provider", provider.name.clone()),
        ("model", provider.model.clone()),
        ("api_base", provider.base.as_ref().map_or("<unset>", |base| base.as_str()).to_owned()),
        ("data_dir", config.data.display().to_string()),
        ("workspace", config.workspace.display().to_string()),
        ("telemetry_file", config.telemetry_file.display().to_string()),
        ("request_timeout_secs", provider.silence.map_or(0, |silence| silence.as_secs()).to_string()),
        ("request_retries", (provider.attempts - 1).to_string()),
        ("retry_backoff_ms", provider.backoff.as_millis().to_string()),
        ("retry_max_backoff_ms", provider.backoff_max.as_millis().to_string()),
        ("api_key_loaded", provider.key.is_some().to_string()),
        ("telegram_enabled", config.telegram.enabled.to_string()),
        ("telegram_allow_from_count", config.telegram.allow_from.len().to_string()),
        ("whatsapp_enabled", "false".to_owned()),
        ("whatsapp_allow_from_count", "0".to_owned()),
        ("codex_enabled", config.codex.enabled.to_string()),
        ("codex_accounts_count", "1".to_owned()),
    ]
}

fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(what) = missing(&config.provider) {
        let name = &config.provider.name;
        let upper = name.to_uppercase();
        findings.push(Finding::Error(format!(
            "provider {name}: {what}; set RUSTY_PINCH_{upper}_API_KEY and, if the server is your own, its API base"
        )));
    }
    if config.provider.kind == ProviderKind::Codex {
        findings.extend(check_codex(config));
    }
    if config.telegram.enabled && config.telegram.token.is_none() {
        let sentence = "telegram is enabled without a token; set RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN";
        findings.push(Finding::Error(sentence.to_owned()));
    }
    if config.telegram.enabled && config.telegram.allow_from.is_empty() {
        let sentence =
            "telegram answers nobody; list the ids that may write in RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM";
        findings.push(Finding::Error(sentence.to_owned()));
    }
    if config.telegram.allow_from.iter().any(|entry| entry == "*") {
        findings.push(Finding::Warning("telegram answers everyone, because the allowlist holds '*'".to_owned()));
    }
    findings.extend(check_writable(&config.data, "RUSTY_PINCH_DATA_DIR"));
    findings
}

fn check_codex(config: &Config) -> Option<Finding> {
    if !config.codex.enabled {
        let sentence =
            "the provider is codex, but RUSTY_PINCH_CODEX_ENABLED is false; set it to true or choose a provider";
        return Some(Finding::Error(sentence.to_owned()));
    }
    let binary = &config.codex.binary;
    let path = config.codex.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    let found = match binary.contains('/') {
        true => Path::new(binary).is_file(),
        false => env::split_paths(path).any(|folder| folder.join(binary).is_file()),
    };
    (!found).then(|| {
        Finding::Error(format!(
            "the program '{binary}' is not in PATH; install it (npm install -g @openai/codex), name it in \
             RUSTY_PINCH_CODEX_CLI_BIN, or choose another RUSTY_PINCH_PROVIDER"
        ))
    })
}

/// Looks without creating: a folder that does not exist yet counts as writable if its parent is.
fn check_writable(folder: &Path, variable: &str) -> Option<Finding> {
    let mut existing = folder;
    while !existing.exists() && existing != Path::new(".") {
        existing = match existing.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    let probe = existing.join(format!(".rusty-pinch-doctor-{}", std::process::id()));
    let outcome = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
    outcome.err().map(|error| {
        Finding::Error(format!(
            "{} cannot be written ({error}); change its owner or set {variable}",
            existing.display()
        ))
    })
}
