//! The kinds of values of variables ([`Kind`]), what fits each, and what is said of a value that does not. No sentence holds the
//! value: it may be a secret in the wrong place.

use crate::base::sorted::SortedSet;
use crate::config::endpoint::{self, Endpoint, EndpointError};

/// Requests of an account.
pub const REQUESTS: Kind = Kind::Count { min: 1, max: 1_000_000 };

/// Accounts of Codex.
pub const ACCOUNTS_MAX: usize = 32;

/// Longest value accepted, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// 1, true, yes, on or 0, false, no, off.
    Flag,
    /// A whole number in a range.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number with a fraction in a range.
    Decimal {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Items separated by commas; blank ones are dropped.
    List,
    /// Words separated by white space.
    Words,
    /// One of a few words, in any case.
    Choice(&'static [&'static str]),
    /// Some of a few words, separated by commas, each with a colon and a model behind it, if one is named.
    Chain(&'static [&'static str]),
    /// The base URL of an HTTP server.
    Url,
    /// The URL of a websocket.
    Bridge,
    /// A host and a port.
    Address,
    /// The name of another variable.
    Variable,
    /// A bot's token, never shown.
    Token,
    /// Accounts of Codex.
    Accounts,
}

impl Kind {
    /// Whether a value must not be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Kind::Secret | Kind::Token)
    }
}

/// What is wrong with a value as it was found; `None` if it fits.
pub fn problem(kind: Kind, value: &str, allow_insecure: bool) -> Option<String> {
    if value.len() > VALUE_BYTES_MAX {
        Some(format!("is longer than {VALUE_BYTES_MAX} bytes"))
    } else if value.contains('\u{fffd}') {
        Some("is not UTF-8 text".to_owned())
    } else if value.trim().chars().any(char::is_control) {
        Some("holds a control character, such as a line break".to_owned())
    } else {
        misfit(kind, value.trim(), allow_insecure)
    }
}

/// What is wrong with a trimmed value; `None` if it fits. Never holds the value.
pub fn misfit(kind: Kind, value: &str, allow_insecure: bool) -> Option<String> {
    match kind {
        Kind::Text | Kind::List | Kind::Words => None,
        Kind::Url => Endpoint::parse(value, allow_insecure).err().map(|error| error.to_string()),
        Kind::Bridge => endpoint::check_websocket(value, allow_insecure).err().map(|error| match error {
            EndpointError::OtherScheme => "must start with ws:// or wss:// and name a host".to_owned(),
            EndpointError::HasUserInfo => {
                "must not hold a user name or password: put it into RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN".to_owned()
            }
            EndpointError::Insecure => {
                "uses plain ws outside the private network: use wss, or set RUSTY_PINCH_ALLOW_INSECURE_HTTP=true"
                    .to_owned()
            }
            other => other.to_string(),
        }),
        Kind::Address if endpoint::check_address(value).is_ok() => None,
        Kind::Address => Some("must be a host and a port, such as 127.0.0.1:8080".to_owned()),
        Kind::Variable if is_variable(value) => None,
        Kind::Variable => Some("must be the name of a variable, made of letters, digits and '_'".to_owned()),
        Kind::Token if is_token(value) => None,
        Kind::Token => Some("must look like 123456:AbC-dEf as BotFather gave it, without spaces or slashes".to_owned()),
        Kind::Accounts => wrong_account(value).map(|number| {
            format!(
                "must hold at most {ACCOUNTS_MAX} times id|key variable|requests|model|home, separated by ';', each id \
                 once, and account {number} does not fit"
            )
        }),
        // It becomes part of a header or a URL.
        Kind::Secret if value.bytes().all(|byte| byte.is_ascii_graphic()) => None,
        Kind::Secret => Some("must be one word of ASCII characters, as keys and tokens are".to_owned()),
        Kind::Chain(words) => value.split(',').map(str::trim).filter(|item| !item.is_empty()).find_map(|item| {
            let (name, model) = item.split_once(':').unwrap_or((item, ""));
            let misfit = misfit(Kind::Choice(words), name.trim(), allow_insecure);
            let spaced = || model.trim().contains(char::is_whitespace).then(|| "has a space in a model".to_owned());
            misfit.or_else(spaced)
        }),
        Kind::Flag if flag(value).is_some() => None,
        Kind::Flag => Some("must be true or false (also 1, yes, on, 0, no, off)".to_owned()),
        Kind::Count { min, max } if value.parse().is_ok_and(|number| (min..=max).contains(&number)) => None,
        Kind::Count { min, max: u64::MAX } => Some(format!("must be a whole number from {min}")),
        Kind::Count { min, max } => Some(format!("must be a whole number from {min} to {max}")),
        Kind::Decimal { min, max } if value.parse().is_ok_and(|number| (min..=max).contains(&number)) => None,
        Kind::Decimal { min, max } => Some(format!("must be a number from {min} to {max}")),
        Kind::Choice(words) if words.contains(&value.to_ascii_lowercase().as_str()) => None,
        Kind::Choice(words) => Some(format!("must be one of: {}", words.join(", "))),
    }
}

/// A truth in any of its spellings.
pub fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Whether a text can be the name of a variable.
pub fn is_variable(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_part) && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// The token becomes part of a URL, so nothing that would change the URL's meaning may be in it.
fn is_token(text: &str) -> bool {
    let Some((bot, secret)) = text.split_once(':') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !bot.is_empty() && bot.bytes().all(|byte| byte.is_ascii_digit()) && !secret.is_empty() && secret.chars().all(plain)
}

/// The number of the first account that does not fit, counting from 1. Only the id is needed.
fn wrong_account(text: &str) -> Option<usize> {
    let fits = |account: &str| {
        let mut fields = account.split('|').map(str::trim);
        let has_id = fields.next().is_some_and(|id| !id.is_empty());
        let variable = fields.next().is_none_or(is_variable);
        let requests = fields.next().is_none_or(|text| text.is_empty() || misfit(REQUESTS, text, false).is_none());
        has_id && variable && requests && fields.count() <= 2
    };
    let accounts = text.split(';').filter(|account| !account.trim().is_empty());
    let mut ids = SortedSet::new();
    let mut is_new = |id: &str| ids.insert(id.trim().to_owned()) && ids.len() <= ACCOUNTS_MAX;
    let all = accounts.map(|account| fits(account) && is_new(account.split('|').next().unwrap_or_default()));
    all.enumerate().find(|(_, fits)| !fits).map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fits(kind: Kind, values: &[&str]) {
        for value in values {
            assert_eq!(misfit(kind, value, false), None, "{value}");
        }
    }

    #[track_caller]
    fn refuse(kind: Kind, values: &[(&str, &str)]) {
        for (value, part) in values {
            let told = misfit(kind, value, false).unwrap_or_default();
            assert!(told.contains(part), "{value}: {told}");
        }
    }

    #[test]
    fn websockets_and_addresses() {
        fits(Kind::Bridge, &["ws://bridge:8080", "wss://example.org/ws?session=1", "WS://[::1]:1/"]);
        refuse(Kind::Bridge, &[("http://bridge", "ws://"), ("ws://", "host"), ("wss://x@h", "WHATSAPP_TOKEN")]);
        refuse(Kind::Bridge, &[("ws://h:0", "port"), ("ws:// h", "white space")]);
        fits(Kind::Address, &["127.0.0.1:8080", "0.0.0.0:1", "[::1]:65535", "localhost:8080"]);
        for value in
            ["8080", ":8080", "host", "host:", "host:0", "host:1/", "[::1]", "::1:80", "me@host:1", "http://h:1"]
        {
            refuse(Kind::Address, &[(value, "a host and a port")]);
        }
    }

    #[test]
    fn accounts_name_the_one_that_is_wrong() {
        fits(Kind::Accounts, &["a", "a|KEY|200|gpt-5|/home/a; b||10;", "a| |"]);
        for (value, part) in [
            ("|KEY", "account 1"),
            ("a;b|sk-x", "account 2"),
            ("a||0", "account 1"),
            ("a||1|m|h|x", "account 1"),
            ("a;b;a|K", "account 3"),
        ] {
            refuse(Kind::Accounts, &[(value, part)]);
        }
    }

    #[test]
    fn tokens_and_names_of_variables() {
        fits(Kind::Token, &["1:a", "123456:AbC-dEf_9"]);
        refuse(Kind::Token, &[("1:a/b", "BotFather"), ("a:1", "BotFather"), ("1:", "BotFather")]);
        fits(Kind::Variable, &["MY_KEY", "_1"]);
        refuse(Kind::Variable, &[("1A", "name of a variable"), ("A-B", "name of a variable")]);
    }
}
