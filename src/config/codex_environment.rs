//! What Codex needs of our environment, and nothing else: its model can run commands that see it.

use crate::config::keys::Reader;

/// Handed on as they are.
#[rustfmt::skip]
const PASSED: &[&str] = &[
    "PATH", "HOME", "CODEX_HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
];

/// Where Codex looks for its key.
pub const KEY: &str = "CODEX_API_KEY";

/// Its whole environment.
pub fn read(reader: &Reader<'_>) -> Vec<(String, String)> {
    let value = |name: &str| reader.0.get(name).map(|(value, _)| value.clone());
    let passed = PASSED.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?)));
    let key = value(&key_variable(reader)).filter(|key| !key.trim().is_empty());
    passed.chain(key.map(|key| (KEY.to_owned(), key.trim().to_owned()))).collect()
}

/// The variable whose value Codex gets as its key.
pub fn key_variable(reader: &Reader<'_>) -> String {
    let named = reader.text("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV");
    named.map_or_else(|| KEY.to_owned(), |(name, _)| name)
}
