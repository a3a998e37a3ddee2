//! What Codex needs of our environment, and nothing else: its model can run commands that see it.

use crate::config::keys::Reader;

/// Handed on as they are.
#[rustfmt::skip]
const PASSED: &[&str] = &[
    "PATH", "HOME", HOME, "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
];

/// Where Codex looks for its key.
pub const KEY: &str = "CODEX_API_KEY";

/// Where Codex keeps its login and its configuration.
pub const HOME: &str = "CODEX_HOME";

/// The part of its environment that all accounts share.
pub fn read(reader: &Reader<'_>) -> Vec<(String, String)> {
    PASSED.iter().filter_map(|name| Some(((*name).to_owned(), value_of(reader, name)?))).collect()
}

/// A variable of anybody's, as it is.
pub fn value_of(reader: &Reader<'_>, name: &str) -> Option<String> {
    reader.0.get(name).map(|(value, _)| value.clone())
}

/// The variable whose value Codex gets as its key, unless accounts are listed.
pub fn key_variable(reader: &Reader<'_>) -> String {
    let named = reader.text("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV");
    named.map_or_else(|| KEY.to_owned(), |(name, _)| name)
}
