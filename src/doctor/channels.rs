//! Whether a channel can start, and whom it answers. Pure.

use crate::config::settings::Config;
use crate::config::whatsapp_settings::BridgeDialect;
use crate::doctor::facts::Facts;
use crate::doctor::report::Check;

pub(super) fn telegram(config: &Config, facts: &Facts) -> Vec<Check> {
    let telegram = &config.telegram;
    let mut checks = Vec::new();
    if telegram.enabled && telegram.token.is_none() {
        let remedy = "set RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN; if it is a credential of the unit, which commands by hand do not \
                      see, name its file in RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN_FILE";
        checks.push(Check::error("channel.telegram", "telegram is enabled without a token", remedy));
    }
    if let Some(error) = &facts.pairing_error {
        // That a stranger cannot read it has a reason of its own.
        if facts.stranger_to.is_none() {
            let remedy = "remove pairing.json from the data folder, and pair people again";
            checks.push(Check::error("channel.telegram", format!("pairing.json cannot be read: {error}"), remedy));
        }
    } else if telegram.enabled && telegram.allow_from.is_empty() && facts.paired == 0 {
        let remedy = "run 'rusty-pinch pair telegram', or list the ids that may write in \
                      RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM";
        checks.push(Check::error("channel.telegram", "telegram answers nobody", remedy));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            "channel.telegram",
            match (telegram.enabled, facts.paired) {
                (false, _) => "telegram is off".to_owned(),
                (true, 0) => "telegram can start".to_owned(),
                (true, paired) => format!("telegram can start; paired with a code: {paired} (pair telegram --list)"),
            },
        ));
    }
    if telegram.allow_from.iter().any(|entry| entry == "*") {
        let sentence = "telegram answers everyone, because the allowlist holds '*'";
        checks.push(Check::warning("channel.everyone", sentence, "list the ids that may write"));
    }
    checks
}

pub(super) fn whatsapp(config: &Config) -> Vec<Check> {
    const ID: &str = "channel.whatsapp";
    let whatsapp = &config.whatsapp;
    let mut checks = Vec::new();
    if whatsapp.enabled && whatsapp.bridge.is_none() {
        let remedy = "set RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL";
        checks.push(Check::error(ID, "whatsapp is enabled without a bridge", remedy));
    }
    if whatsapp.enabled && whatsapp.allow_from.is_empty() {
        let remedy = "list who may write in RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM";
        checks.push(Check::error(ID, "whatsapp answers nobody", remedy));
    }
    if whatsapp.enabled && whatsapp.dialect == BridgeDialect::P && whatsapp.token.is_some() {
        let remedy = "leave RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT at auto if the bridge wants the token";
        checks.push(Check::warning(ID, "a bridge of dialect p gets no token, although one is set", remedy));
    }
    if checks.is_empty() {
        checks.push(Check::ok(ID, if whatsapp.enabled { "whatsapp can start" } else { "whatsapp is off" }));
    }
    if whatsapp.enabled && whatsapp.allow_from.iter().any(|entry| entry == "*") {
        let sentence = "whatsapp answers everyone, because the allowlist holds '*'";
        checks.push(Check::warning("channel.everyone", sentence, "list the numbers that may write"));
    }
    checks
}
