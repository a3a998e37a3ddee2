//! [`KEYS`]: every variable once, with its kind, range, default and meaning. Parsing, `doctor` and the documents come
//! from this table.

use std::fmt;
use std::time::Duration;

use crate::base::sorted::SortedMap;
use crate::config::values::{self, Kind, REQUESTS, flag, misfit};

/// One variable.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What holds when it is unset; `None`: nothing.
    pub default: Option<&'static str>,
    /// One sentence for the operator.
    pub doc: &'static str,
    /// What becomes of a value.
    pub fate: Fate,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is heeded.
    Heeded,
    /// It is accepted because earlier deployments set it, and has no effect; `doctor` says so.
    NoEffect,
    /// It is for the container's entrypoint or for Compose; nothing is said.
    Foreign,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Some(default), doc, fate: Fate::Heeded }
}

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: None, doc, fate: Fate::Heeded }
}

const fn no_effect(name: &'static str) -> Key {
    Key { name, kind: Kind::Text, default: None, doc: "Of the earlier runtime; has no effect.", fate: Fate::NoEffect }
}

const fn foreign(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Text,
        default: None,
        doc: "Read by the container's entrypoint or by Compose.",
        fate: Fate::Foreign,
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

/// The providers, in the order of the documents.
pub const PROVIDERS: &[&str] = &["codex", "openrouter", "openai", "groq", "vllm", "compatible", "local", "offline"];

/// Every variable of ours, those of the earlier runtime included.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    unset("RUSTY_PINCH_ENV_FILE", Kind::Text, "File of settings in place of the usual ones; no effect inside such a file."),
    key("RUSTY_PINCH_PROVIDER", Kind::Choice(PROVIDERS), "codex", "Who answers. `local` echoes and needs nothing."),
    unset("RUSTY_PINCH_MODEL", Kind::Text, "The model; each provider has its own default."),
    unset("RUSTY_PINCH_API_KEY", Kind::Secret, "Key for any HTTP provider, after the provider's own variable."),
    unset("RUSTY_PINCH_OPENAI_API_KEY", Kind::Secret, "Key for `openai`."),
    unset("RUSTY_PINCH_OPENROUTER_API_KEY", Kind::Secret, "Key for `openrouter`."),
    unset("RUSTY_PINCH_GROQ_API_KEY", Kind::Secret, "Key for `groq`."),
    unset("RUSTY_PINCH_COMPATIBLE_API_KEY", Kind::Secret, "Key for `compatible` and `vllm`; may be left out."),
    unset("RUSTY_PINCH_API_BASE", Kind::Url, "Base URL of the provider, before every other source."),
    unset("RUSTY_PINCH_OPENAI_API_BASE", Kind::Url, "Base URL of `openai`."),
    unset("RUSTY_PINCH_OPENROUTER_API_BASE", Kind::Url, "Base URL of `openrouter`."),
    unset("RUSTY_PINCH_GROQ_API_BASE", Kind::Url, "Base URL of `groq`."),
    unset("RUSTY_PINCH_COMPATIBLE_API_BASE", Kind::Url, "Base URL of `compatible` and `vllm`."),
    key("RUSTY_PINCH_REQUEST_TIMEOUT_SECS", count(0, 3600), "60", "Seconds one attempt may stay silent; 0 leaves only the turn's deadline."),
    key("RUSTY_PINCH_REQUEST_RETRIES", count(0, 5), "2", "Further attempts after a transient failure."),
    key("RUSTY_PINCH_RETRY_BACKOFF_MS", count(1, 30_000), "600", "Largest first delay between attempts; it doubles."),
    key("RUSTY_PINCH_RETRY_MAX_BACKOFF_MS", count(1, 30_000), "4000", "Largest delay between attempts."),
    key("RUSTY_PINCH_TURN_DEADLINE_SECS", count(5, 3600), "180", "Seconds a turn may take over all its provider calls."),
    key("RUSTY_PINCH_HISTORY_LINES", count(0, 1000), "20", "Lines of the conversation given to the model."),
    key("RUSTY_PINCH_HISTORY_BYTES", count(0, 900_000), "65536", "Bytes of the conversation given to the model."),
    unset("RUSTY_PINCH_TEMPERATURE", Kind::Decimal { min: 0.0, max: 2.0 }, "Sampling temperature; sent only if set."),
    key("RUSTY_PINCH_DATA_DIR", Kind::Text, "./data", "Folder of sessions, journal and telemetry."),
    key("RUSTY_PINCH_WORKSPACE", Kind::Text, "./workspace", "Folder for files of the operator; Codex runs in it."),
    unset("RUSTY_PINCH_TELEMETRY_FILE", Kind::Text, "Counters shown by `stats`; default: telemetry/latest.json in the data folder."),
    unset("RUSTY_PINCH_RUN_DIR", Kind::Text, "Folder for what concerns running processes only; default: RUNTIME_DIRECTORY, else run in the data folder."),
    key("RUSTY_PINCH_WORKERS", count(1, 64), "4", "Turns worked on at the same time."),
    key("RUSTY_PINCH_DRAIN_SECS", count(1, 600), "10", "Seconds a stop may take before it is forced."),
    key("RUSTY_PINCH_ON_FATAL", Kind::Choice(&["exit", "park"]), "exit", "What a worker does about a fault only a person can mend before it could start."),
    key("RUSTY_PINCH_ALLOW_INSECURE_HTTP", Kind::Flag, "false", "Allow plain http outside the private network."),
    unset("RUSTY_PINCH_SEED", count(0, u64::MAX), "Seed of jitter, to repeat a run."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", Kind::Flag, "false", "Whether `channels telegram` may run."),
    unset("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", Kind::Token, "The bot's token from BotFather."),
    unset("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", Kind::List, "Ids of people or chats who are answered; `*` is everyone, empty is nobody."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", Kind::Url, "https://api.telegram.org", "Base URL of the Bot API."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_TIMEOUT_SECS", count(1, 50), "30", "Seconds the server may hold a poll."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS", count(1, 3600), "60", "Seconds a poll may take in all, if longer than the poll itself."),
    key("RUSTY_PINCH_CODEX_ENABLED", Kind::Flag, "true", "Whether the `codex` provider may run the Codex program."),
    key("RUSTY_PINCH_CODEX_CLI_BIN", Kind::Text, "codex", "The Codex program."),
    key("RUSTY_PINCH_CODEX_CLI_ARGS", Kind::Words, "exec --skip-git-repo-check", "Its first arguments; may be empty."),
    key("RUSTY_PINCH_CODEX_MODEL_FLAG", Kind::Text, "--model", "The flag before the model; may be empty."),
    unset("RUSTY_PINCH_CODEX_MODEL", Kind::Text, "The model for Codex; default: the model, if the provider is `codex`."),
    key("RUSTY_PINCH_CODEX_TIMEOUT_SECS", count(1, 3600), "120", "Seconds one run of Codex may take."),
    unset("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", Kind::Variable, "Variable whose value the account `default` gets as CODEX_API_KEY."),
    unset("RUSTY_PINCH_CODEX_ACCOUNTS", Kind::Accounts, "Accounts of Codex: id|key variable|requests|model|home, separated by semicolons."),
    key("RUSTY_PINCH_CODEX_ACCOUNT_MAX_REQUESTS", REQUESTS, "200", "Requests of an account in one window."),
    unset("RUSTY_PINCH_CODEX_ACCOUNT_MODEL", Kind::Text, "Model of the account `default`, which is there if none are listed."),
    key("RUSTY_PINCH_CODEX_RATE_LIMIT_THRESHOLD_PERCENT", count(1, 99), "25", "Percentage of its requests below which an account is used only if no other has more left."),
    key("RUSTY_PINCH_CODEX_RATE_WINDOW_SECS", count(1, 31_536_000), "3600", "Seconds in which the requests of an account are counted together."),
    key("RUSTY_PINCH_CODEX_HEALTHCHECK_INTERVAL_SECS", count(1, 31_536_000), "300", "Seconds until an account that was rejected is looked at again; they double, up to six hours."),
    key("RUSTY_PINCH_CODEX_HEALTHCHECK_ARGS", Kind::Words, "--version", "Arguments with which Codex shows that it works; `login status` is asked beside it."),
    key("RUSTY_PINCH_DELIVERY", Kind::Choice(&["at_least_once", "at_most_once"]), "at_least_once", "A part of a reply that may have arrived is sent again, marked, or replaced by a notice."),
    key("RUSTY_PINCH_STREAM", Kind::Flag, "true", "Whether answers are read as they come."),
    unset("RUSTY_PINCH_PROVIDER_CHAIN", Kind::Chain(PROVIDERS), "Everyone who may be asked, in order, as `name` or `name:model`; the common model, base and key are those of the first."),
    key("RUSTY_PINCH_TURNS_PER_MINUTE", count(0, 1_000_000), "20", "Questions that one sender of a channel may ask a model in any minute; 0 is no limit."),
    key("RUSTY_PINCH_TURNS_PER_DAY", count(0, 1_000_000), "300", "Questions that one sender of a channel may ask a model in a day (UTC); 0 is no limit."),
    key("RUSTY_PINCH_TOKENS_PER_DAY", count(0, 1_000_000_000_000), "2000000", "Tokens that all may use in a day (UTC), over all processes of the data folder; 0 is no limit."),
    unset("RUSTY_PINCH_HEALTH_ADDR", Kind::Address, "Where a worker shows /livez, /readyz and /metrics over HTTP, for example 127.0.0.1:9464; an address that others can reach needs the token. Each worker needs an address of its own."),
    unset("RUSTY_PINCH_HEALTH_TOKEN", Kind::Secret, "What everybody who asks there must bring (Authorization: Bearer …)."),
    unset("RUSTY_PINCH_METRICS_FILE", Kind::Text, "File that a worker writes its metrics to every minute, for node_exporter (`….prom`); if several channels are enabled, each worker puts its name before the suffix."),
    key("RUSTY_PINCH_RETENTION_DAYS", count(0, 36_500), "0", "Days that lines of conversations are kept, and a quarter of them and a day more at most; 0 is for ever. A worker removes once a day what is older; a file without a date stays."),
    key("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", Kind::Flag, "false", "Whether `channels whatsapp` may run."),
    unset("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", Kind::Bridge, "Websocket of the WhatsApp bridge; ws:// only within the private network."),
    unset("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", Kind::Secret, "Token of the WhatsApp bridge; with one, dialect `n` is spoken."),
    unset("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", Kind::List, "Numbers, LIDs or groups who are answered on WhatsApp; `*` is everyone, empty is nobody."),
    key("RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT", Kind::Choice(&["auto", "p", "n"]), "auto", "Dialect of the WhatsApp bridge; `auto` finds out with its first frame."),
    unset("RUSTY_PINCH_CHANNELS_WHATSAPP_MEDIA_DIR", Kind::Text, "Folder that files of WhatsApp messages may lie in; the model is told their paths, and no others."),
    key("RUSTY_PINCH_CHANNELS_WHATSAPP_RECONNECT_MS", count(1, 600_000), "2000", "Largest first delay before the bridge is dialled again; it doubles, up to a minute."),
    Key { kind: Kind::Secret, ..no_effect("RUSTY_PINCH_ANTHROPIC_API_KEY") },
    no_effect("RUSTY_PINCH_CODEX_PROMPT_FLAG"),
    no_effect("RUSTY_PINCH_CODEX_QUEUE_CAPACITY"),
    no_effect("RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_INTERVAL_MS"),
    no_effect("RUSTY_PINCH_BUS_CAPACITY"),
    no_effect("RUSTY_PINCH_BUS_OVERFLOW"),
    no_effect("RUSTY_PINCH_SKILL_HTTP_TIMEOUT_SECS"),
    no_effect("RUSTY_PINCH_PULSE_AUTO_ALLOW_ACTIONS"),
    no_effect("RUSTY_PINCH_OTEL_EXPORTER_OTLP_ENDPOINT"),
    no_effect("OTEL_EXPORTER_OTLP_ENDPOINT"),
    no_effect("OTEL_SERVICE_NAME"),
    no_effect("OTEL_METRIC_EXPORT_INTERVAL_SECS"),
    foreign("RUSTY_PINCH_IMAGE"),
    foreign("RUSTY_PINCH_INSTALL_CODEX_CLI"),
    foreign("RUSTY_PINCH_CODEX_HOME"),
    foreign("RUSTY_PINCH_CODEX_AUTO_LOGIN"),
    foreign("RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE"),
    foreign("RUSTY_PINCH_CODEX_CHATGPT_DEVICE_AUTH"),
    foreign("RUSTY_PINCH_CODEX_LOGIN_TIMEOUT_SECS"),
    foreign("RUSTY_PINCH_CODEX_CHATGPT_AUTH_FILE"),
    Key { kind: Kind::Secret, ..foreign("RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64") },
    foreign("RUSTY_PINCH_CODEX_AUTO_LOGIN_API_KEY_ENV"),
];

/// Families of the earlier runtime's variables that have no effect.
#[rustfmt::skip]
pub const PREFIXES_WITHOUT_EFFECT: &[&str] = &[
    "RUSTY_PINCH_EVOLUTION_", "RUSTY_PINCH_PULSE_", "RUSTY_PINCH_SKILL_", "RUSTY_PINCH_BUS_", "RUSTY_PINCH_OTEL_", "OTEL_",
];

/// Variables of others that we read, each after ours.
#[rustfmt::skip]
pub const FOREIGN: &[(&str, Kind)] = &[
    ("CODEX_API_KEY", Kind::Secret),
    ("OPENAI_API_KEY", Kind::Secret), ("OPENROUTER_API_KEY", Kind::Secret), ("GROQ_API_KEY", Kind::Secret),
    ("OPENAI_API_BASE", Kind::Url), ("OPENROUTER_API_BASE", Kind::Url), ("GROQ_API_BASE", Kind::Url),
    ("PICOCLAW_PROVIDERS_OPENAI_API_KEY", Kind::Secret), ("PICOCLAW_PROVIDERS_OPENROUTER_API_KEY", Kind::Secret),
    ("PICOCLAW_PROVIDERS_GROQ_API_KEY", Kind::Secret), ("PICOCLAW_PROVIDERS_OPENAI_API_BASE", Kind::Url),
    ("PICOCLAW_PROVIDERS_OPENROUTER_API_BASE", Kind::Url), ("PICOCLAW_PROVIDERS_GROQ_API_BASE", Kind::Url),
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The process environment.
    Environment,
    /// A line of the `.env` file.
    EnvFile {
        /// Counting from 1.
        line: usize,
    },
    /// The file named by `NAME_FILE`.
    File,
    /// A systemd credential.
    Credential,
    /// The table.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Environment => f.write_str("environment"),
            Source::EnvFile { line } => write!(f, "env file, line {line}"),
            Source::File => f.write_str("the file named by its _FILE variable"),
            Source::Credential => f.write_str("systemd credential"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// The variables as the process found them: value and source by name.
pub type Environment = SortedMap<String, (String, Source)>;

/// A value that does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The variable.
    pub name: String,
    /// Where the value came from.
    pub source: Source,
    /// What is wrong and what would be right. Never the value of a secret.
    pub problem: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) {}", self.name, self.source, self.problem)
    }
}

/// The names that mean something even when they are set and empty.
const MAY_BE_EMPTY: &[&str] = &["RUSTY_PINCH_CODEX_CLI_ARGS", "RUSTY_PINCH_CODEX_MODEL_FLAG"];

/// Reads values by key. Blank means unset, except for two keys where empty means "none".
pub struct Reader<'a>(pub &'a Environment);

impl Reader<'_> {
    /// The trimmed value and its source; the default where there is one.
    pub fn text(&self, name: &str) -> Option<(String, Source)> {
        let declared = KEYS.iter().find(|key| key.name == name);
        match self.0.get(name) {
            Some((value, source)) if !value.trim().is_empty() || MAY_BE_EMPTY.contains(&name) => {
                Some((value.trim().to_owned(), source.clone()))
            }
            _ => declared.and_then(|key| key.default).map(|value| (value.to_owned(), Source::Default)),
        }
    }

    /// Checks one variable of the table as strictly as if it were used. What has no effect may hold anything.
    pub fn check(&self, key: &Key) -> Result<(), KeyError> {
        match key.fate {
            Fate::Heeded => self.check_value(key.name, key.kind),
            Fate::NoEffect | Fate::Foreign => Ok(()),
        }
    }

    /// Checks any variable. Blank is unset.
    pub fn check_value(&self, name: &str, kind: Kind) -> Result<(), KeyError> {
        let Some((value, source)) = self.0.get(name).filter(|(value, _)| !value.trim().is_empty()) else {
            return Ok(());
        };
        let allow_insecure = matches!(kind, Kind::Url | Kind::Bridge) && self.allows_insecure_http();
        let problem = values::problem(kind, value, allow_insecure);
        match problem {
            Some(problem) => Err(KeyError { name: name.to_owned(), source: source.clone(), problem }),
            None => Ok(()),
        }
    }

    fn allows_insecure_http(&self) -> bool {
        self.text("RUSTY_PINCH_ALLOW_INSECURE_HTTP").and_then(|(value, _)| flag(&value)).unwrap_or(false)
    }

    /// A flag of the table.
    pub fn flag(&self, name: &str) -> Result<bool, KeyError> {
        self.parsed(name, flag).map(|flag| flag.unwrap_or(false))
    }

    /// A whole number of the table, within its range.
    pub fn count(&self, name: &str) -> Result<Option<u64>, KeyError> {
        self.parsed(name, |value| value.parse().ok())
    }

    /// A number that has a default.
    pub fn number(&self, name: &str) -> Result<u64, KeyError> {
        self.count(name).map(|number| number.unwrap_or(0))
    }

    /// A number of seconds that has a default.
    pub fn seconds(&self, name: &str) -> Result<Duration, KeyError> {
        self.number(name).map(Duration::from_secs)
    }

    /// A number of milliseconds that has a default.
    pub fn millis(&self, name: &str) -> Result<Duration, KeyError> {
        self.number(name).map(Duration::from_millis)
    }

    /// A number with a fraction, within its range.
    pub fn decimal(&self, name: &str) -> Result<Option<f64>, KeyError> {
        self.parsed(name, |value| value.parse().ok())
    }

    /// One of the words of the table, in lower case.
    pub fn choice(&self, name: &str) -> Result<String, KeyError> {
        self.parsed(name, |value| Some(value.to_ascii_lowercase())).map(Option::unwrap_or_default)
    }

    /// Items between commas, trimmed, without blank ones.
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).map(|(value, _)| value).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, KeyError> {
        let Some((value, source)) = self.text(name) else { return Ok(None) };
        let kind = KEYS.iter().find(|key| key.name == name).map_or(Kind::Text, |key| key.kind);
        match misfit(kind, &value, false) {
            None => Ok(parse(&value)),
            Some(problem) => Err(KeyError { name: name.to_owned(), source, problem }),
        }
    }
}

/// The secrets that are read, each also from a file and from a credential.
pub fn secret_names() -> impl Iterator<Item = &'static str> {
    let ours = KEYS.iter().filter(|key| key.fate == Fate::Heeded).map(|key| (key.name, key.kind));
    ours.chain(FOREIGN.iter().copied()).filter(|(_, kind)| kind.is_secret()).map(|(name, _)| name)
}

/// All of them, those that are not read too.
pub fn all_secret_names() -> impl Iterator<Item = &'static str> {
    let ours = KEYS.iter().map(|key| (key.name, key.kind));
    ours.chain(FOREIGN.iter().copied()).filter(|(_, kind)| kind.is_secret()).map(|(name, _)| name)
}

/// Whether a variable's value is a secret, read or not.
pub fn is_secret(name: &str) -> bool {
    all_secret_names().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), ((*value).to_owned(), Source::Environment))).collect()
    }

    #[test]
    fn names_are_declared_once_and_every_default_fits_its_kind() {
        let empty = Environment::new();
        let reader = Reader(&empty);
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(at + 1).all(|other| other.name != key.name), "{} is declared twice", key.name);
            assert!(key.doc.ends_with('.'), "{} has no sentence", key.name);
            match key.kind {
                Kind::Flag => assert!(reader.flag(key.name).is_ok(), "{}", key.name),
                Kind::Count { .. } => assert!(reader.count(key.name).is_ok(), "{}", key.name),
                Kind::Decimal { .. } => assert!(reader.decimal(key.name).is_ok(), "{}", key.name),
                Kind::Choice(_) => assert!(reader.choice(key.name).is_ok(), "{}", key.name),
                _ => {}
            }
            let default = key.default.filter(|default| !default.is_empty());
            assert_eq!(default.and_then(|default| misfit(key.kind, default, false)), None, "{}", key.name);
        }
    }

    #[test]
    fn a_bad_number_names_key_source_and_range() {
        let environment = environment(&[("RUSTY_PINCH_WORKERS", "many"), ("RUSTY_PINCH_DRAIN_SECS", "0")]);
        let reader = Reader(&environment);
        let error = reader.number("RUSTY_PINCH_WORKERS").map_err(|error| error.to_string());
        assert_eq!(error, Err("RUSTY_PINCH_WORKERS (environment) must be a whole number from 1 to 64".to_owned()));
        assert!(reader.number("RUSTY_PINCH_DRAIN_SECS").is_err());
    }

    #[test]
    fn blank_means_unset_except_where_empty_means_none() {
        let environment = environment(&[("RUSTY_PINCH_WORKERS", " "), ("RUSTY_PINCH_CODEX_CLI_ARGS", "")]);
        let reader = Reader(&environment);
        assert_eq!(reader.number("RUSTY_PINCH_WORKERS"), Ok(4));
        assert_eq!(reader.text("RUSTY_PINCH_CODEX_CLI_ARGS"), Some((String::new(), Source::Environment)));
    }
}
