//! Settings that fit and still do not do what they seem to say. Each sentence names its variable; none holds a value
//! that could be secret.

use crate::config::keys::{Environment, Reader, Source};
use crate::config::settings::Config;

/// What an operator should know, though nothing keeps the program from working.
pub fn remarks(environment: &Environment, config: &Config) -> Vec<String> {
    let reader = Reader(environment);
    let number = |name| reader.number(name).unwrap_or(0);
    let mut remarks = Vec::new();
    if number("RUSTY_PINCH_RETRY_MAX_BACKOFF_MS") < number("RUSTY_PINCH_RETRY_BACKOFF_MS") {
        remarks.push(
            "RUSTY_PINCH_RETRY_MAX_BACKOFF_MS is smaller than RUSTY_PINCH_RETRY_BACKOFF_MS, which is used for both",
        );
    }
    if config.provider.silence.is_none() {
        remarks.push("RUSTY_PINCH_REQUEST_TIMEOUT_SECS is 0: a silent server is waited for until the turn's deadline");
    }
    if number("RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS") < config.telegram.request_timeout.as_secs() {
        remarks.push("RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS is too short for RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_TIMEOUT_SECS: ten seconds more than the poll are used");
    }
    if config.telegram.allow_from.iter().any(|entry| !is_id(entry)) {
        remarks.push("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM holds an entry that is no id: ids are numbers between commas, and names are never matched");
    }
    if reader.text("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV").is_some_and(|(name, _)| !is_set(environment, &name)) {
        remarks
            .push("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV names a variable that is not set: Codex uses its own login");
    }
    remarks.into_iter().map(str::to_owned).collect()
}

fn is_id(entry: &str) -> bool {
    let digits = entry.strip_prefix('-').unwrap_or(entry);
    entry == "*" || !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_set(environment: &Environment, name: &str) -> bool {
    environment.get(name).is_some_and(|(value, source)| !value.trim().is_empty() && *source != Source::Default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], want: &[&str]) {
        let of = |(name, value): &(&str, &str)| ((*name).to_owned(), ((*value).to_owned(), Source::Environment));
        let environment: Environment = pairs.iter().map(of).collect();
        let config = Config::load(&environment).expect("it fits");
        let remarks = remarks(&environment, &config);
        let named: Vec<&str> = remarks.iter().filter_map(|remark| remark.split(' ').next()).collect();
        assert_eq!(named, want);
    }

    #[test]
    fn what_does_not_do_what_it_seems_to_say_is_named() {
        check(&[], &[]);
        check(&[("RUSTY_PINCH_RETRY_BACKOFF_MS", "5000")], &["RUSTY_PINCH_RETRY_MAX_BACKOFF_MS"]);
        check(&[("RUSTY_PINCH_REQUEST_TIMEOUT_SECS", "0")], &["RUSTY_PINCH_REQUEST_TIMEOUT_SECS"]);
        let timeout = "RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS";
        check(&[(timeout, "5")], &[timeout]);
        let allow = "RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM";
        check(&[(allow, "7, -100, *")], &[]);
        for list in ["@ada", "7 8", "+7", "7,-"] {
            check(&[(allow, list)], &[allow]);
        }
        let variable = "RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV";
        check(&[(variable, "MY_KEY")], &[variable]);
        check(&[(variable, "MY_KEY"), ("MY_KEY", "sk-x")], &[]);
    }
}
