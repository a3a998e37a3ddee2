//! The settings as doctor shows them: names and order of contract §3.1, without the parts that are gone, and then where
//! each secret came from. Never a value of a secret.

use crate::config::keys::{Environment, Reader};
use crate::config::settings::Config;

/// Names and values.
pub fn lines(config: &Config, environment: &Environment) -> Vec<(&'static str, String)> {
    let reader = Reader(environment);
    let provider = &config.provider;
    let unset = || "<unset>".to_owned();
    let number = |name| reader.number(name).unwrap_or(0).to_string();
    let source = |name| reader.text(name).map_or_else(unset, |(_, source)| format!("{name} ({source})"));
    vec![
        ("provider", provider.name.clone()),
        ("model", provider.model.clone()),
        ("api_base", provider.base.as_ref().map_or_else(unset, |base| base.as_str().to_owned())),
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
        ("whatsapp_enabled", reader.flag("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED").unwrap_or(false).to_string()),
        ("whatsapp_allow_from_count", reader.list("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM").len().to_string()),
        ("codex_enabled", config.codex.enabled.to_string()),
        ("codex_accounts_count", config.codex.accounts.len().to_string()),
        ("codex_rate_limit_threshold_percent", number("RUSTY_PINCH_CODEX_RATE_LIMIT_THRESHOLD_PERCENT")),
        ("api_key_source", provider.key.as_ref().map_or_else(unset, |key| format!("{} ({})", key.name, key.source))),
        ("telegram_token_source", source("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN")),
        ("whatsapp_token_source", source("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN")),
    ]
}
