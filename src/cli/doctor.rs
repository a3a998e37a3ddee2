//! `doctor`: the configuration as `key: value` lines, then what is wrong, each with a remedy. Exit 1 if something that
//! must work cannot; warnings alone exit 0. Creates nothing but a probe file that it removes again.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::cli::{Failure, print, setup};
use crate::config::settings::{Config, ProviderKind};
use crate::provider::caller::missing;

/// What a check found.
enum Finding {
    Warning(String),
    Error(String),
}

/// Prints the report.
pub fn run() -> Result<(), Failure> {
    let config = setup::load()?.config;
    let findings = check(&config);
    let failed = findings.iter().any(|finding| matches!(finding, Finding::Error(_)));
    let status = match (failed, findings.is_empty()) {
        (true, _) => "error",
        (false, true) => "ok",
        (false, false) => "warning",
    };
    let mut text = settings(&config);
    let _ = writeln!(text, "status: {status}");
    for finding in &findings {
        let _ = match finding {
            Finding::Warning(sentence) => writeln!(text, "- warning: {sentence}"),
            Finding::Error(sentence) => writeln!(text, "- error: {sentence}"),
        };
    }
    print(&text)?;
    if failed { Err(Failure::Failed(String::new())) } else { Ok(()) }
}

/// The lines and their order are those of contract §3.1, without the parts that are gone.
fn settings(config: &Config) -> String {
    let provider = &config.provider;
    let lines: [(&str, String); 17] = [
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
    ];
    let body: String = lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("Rusty Pinch Doctor\n{body}")
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
