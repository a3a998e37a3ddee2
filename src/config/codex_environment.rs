//! What Codex needs of our environment, and nothing else: its model can run commands that see it.

use crate::config::keys::{KeyError, Kind, Reader};

/// Handed on as they are.
#[rustfmt::skip]
const PASSED: &[&str] = &[
    "PATH", "HOME", "CODEX_HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
];

/// Its whole environment.
pub fn read(reader: &Reader<'_>) -> Result<Vec<(String, String)>, KeyError> {
    let variable = key_variable(reader)?;
    let value = |name: &str| reader.0.get(name).map(|(value, _)| value.clone());
    let passed = PASSED.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?)));
    let key = value(variable.as_deref().unwrap_or("CODEX_API_KEY")).filter(|key| !key.trim().is_empty());
    Ok(passed.chain(key.map(|key| ("CODEX_API_KEY".to_owned(), key.trim().to_owned()))).collect())
}

/// The variable whose value Codex gets as its key.
fn key_variable(reader: &Reader<'_>) -> Result<Option<String>, KeyError> {
    const NAME: &str = "RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV";
    let Some((value, source)) = reader.text(NAME) else { return Ok(None) };
    if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        // Somebody may have put the key itself here, so it is not shown.
        let problem = "must be the name of a variable, made of letters, digits and '_'".to_owned();
        return Err(KeyError { name: NAME.to_owned(), source, problem });
    }
    reader.check_value(&value, Kind::Secret)?;
    Ok(Some(value))
}
