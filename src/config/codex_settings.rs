//! [`CodexSettings`]: what the operator decided about the Codex program.

use std::time::Duration;

use crate::config::chain::Entry;
use crate::config::codex_accounts::{self, Account};
use crate::config::codex_environment;
use crate::config::keys::{KeyError, Reader};
use crate::config::settings::{ProviderSettings, default_model};

/// Settings of the Codex program.
#[derive(Clone, Debug)]
pub struct CodexSettings {
    /// Whether it may run at all.
    pub enabled: bool,
    /// The program.
    pub binary: String,
    /// Its first arguments.
    pub arguments: Vec<String>,
    /// The flag before the model; empty: the model stands alone.
    pub model_flag: String,
    /// The model of accounts that have none of their own, if one is to be named.
    pub model: Option<String>,
    /// Time for one run.
    pub timeout: Duration,
    /// Its whole environment, but for what differs from account to account.
    pub environment: Vec<(String, String)>,
    /// Who it may be; never empty.
    pub accounts: Vec<Account>,
    /// How long an account's requests are counted together.
    pub window: Duration,
    /// An account with no more than this share of its requests left is used only if no other has more.
    pub reserve_percent: u64,
    /// Arguments of a look at an account.
    pub look_arguments: Vec<String>,
    /// Between two looks at an account that was rejected.
    pub look_interval: Duration,
}

/// The checked settings. `entry`: where Codex stands in the chain, if it does; `first`: who stands there first.
///
/// # Errors
/// The first value that does not fit.
pub fn read(reader: &Reader<'_>, entry: Option<&Entry>, first: &ProviderSettings) -> Result<CodexSettings, KeyError> {
    let own = |name| reader.text(name).map(|(value, _)| value);
    let words = |name| own(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let model = entry.and_then(|entry| entry.model.clone()).or_else(|| own("RUSTY_PINCH_CODEX_MODEL"));
    let usual =
        || entry.map(|entry| if entry.is_first { first.model.clone() } else { default_model(entry.kind).to_owned() });
    Ok(CodexSettings {
        enabled: reader.flag("RUSTY_PINCH_CODEX_ENABLED")?,
        binary: own("RUSTY_PINCH_CODEX_CLI_BIN").unwrap_or_default(),
        arguments: words("RUSTY_PINCH_CODEX_CLI_ARGS"),
        model_flag: own("RUSTY_PINCH_CODEX_MODEL_FLAG").unwrap_or_default(),
        model: model.or_else(usual),
        timeout: reader.seconds("RUSTY_PINCH_CODEX_TIMEOUT_SECS")?,
        environment: codex_environment::read(reader),
        accounts: codex_accounts::read(reader)?,
        window: reader.seconds("RUSTY_PINCH_CODEX_RATE_WINDOW_SECS")?,
        reserve_percent: reader.number("RUSTY_PINCH_CODEX_RATE_LIMIT_THRESHOLD_PERCENT")?,
        look_arguments: words("RUSTY_PINCH_CODEX_HEALTHCHECK_ARGS"),
        look_interval: reader.seconds("RUSTY_PINCH_CODEX_HEALTHCHECK_INTERVAL_SECS")?,
    })
}
