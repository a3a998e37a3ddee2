//! [`KEYS`]: every variable once, with its kind, range, default and meaning. Parsing, `doctor` and the documents come
//! from this table. (Variables of features that do not exist yet are not here; docs/guarantees.md says which.)

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

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
}

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
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Some(default), doc }
}

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: None, doc }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

/// The providers, in the order of the documents.
pub const PROVIDERS: &[&str] = &["codex", "openrouter", "openai", "groq", "vllm", "compatible", "local", "offline"];

/// Every variable of ours.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("RUSTY_PINCH_PROVIDER", Kind::Choice(PROVIDERS), "codex", "Who answers. `local` echoes and needs nothing."),
    unset("RUSTY_PINCH_MODEL", Kind::Text, "The model; each provider has its own default."),
    unset("RUSTY_PINCH_API_KEY", Kind::Secret, "Key for any HTTP provider, after the provider's own variable."),
    unset("RUSTY_PINCH_OPENAI_API_KEY", Kind::Secret, "Key for `openai`."),
    unset("RUSTY_PINCH_OPENROUTER_API_KEY", Kind::Secret, "Key for `openrouter`."),
    unset("RUSTY_PINCH_GROQ_API_KEY", Kind::Secret, "Key for `groq`."),
    unset("RUSTY_PINCH_COMPATIBLE_API_KEY", Kind::Secret, "Key for `compatible` and `vllm`; may be left out."),
    unset("RUSTY_PINCH_API_BASE", Kind::Text, "Base URL of the provider, before every other source."),
    unset("RUSTY_PINCH_OPENAI_API_BASE", Kind::Text, "Base URL of `openai`."),
    unset("RUSTY_PINCH_OPENROUTER_API_BASE", Kind::Text, "Base URL of `openrouter`."),
    unset("RUSTY_PINCH_GROQ_API_BASE", Kind::Text, "Base URL of `groq`."),
    unset("RUSTY_PINCH_COMPATIBLE_API_BASE", Kind::Text, "Base URL of `compatible` and `vllm`."),
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
    unset("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", Kind::Secret, "The bot's token from BotFather."),
    unset("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", Kind::List, "Ids of people or chats who are answered; `*` is everyone, empty is nobody."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", Kind::Text, "https://api.telegram.org", "Base URL of the Bot API."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_TIMEOUT_SECS", count(1, 50), "30", "Seconds the server may hold a poll."),
    key("RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS", count(1, 3600), "60", "Seconds a poll may take in all, if longer than the poll itself."),
    key("RUSTY_PINCH_CODEX_ENABLED", Kind::Flag, "true", "Whether the `codex` provider may run the Codex program."),
    key("RUSTY_PINCH_CODEX_CLI_BIN", Kind::Text, "codex", "The Codex program."),
    key("RUSTY_PINCH_CODEX_CLI_ARGS", Kind::Words, "exec --skip-git-repo-check", "Its first arguments; may be empty."),
    key("RUSTY_PINCH_CODEX_MODEL_FLAG", Kind::Text, "--model", "The flag before the model; may be empty."),
    unset("RUSTY_PINCH_CODEX_MODEL", Kind::Text, "The model for Codex; default: the model, if the provider is `codex`."),
    key("RUSTY_PINCH_CODEX_TIMEOUT_SECS", count(1, 3600), "120", "Seconds one run of Codex may take."),
    unset("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", Kind::Text, "Variable whose value Codex gets as CODEX_API_KEY."),
];

/// Variables of others that we read, each after ours.
#[rustfmt::skip]
pub const FOREIGN: &[(&str, Kind)] = &[
    ("OPENAI_API_KEY", Kind::Secret), ("OPENROUTER_API_KEY", Kind::Secret), ("GROQ_API_KEY", Kind::Secret),
    ("OPENAI_API_BASE", Kind::Text), ("OPENROUTER_API_BASE", Kind::Text), ("GROQ_API_BASE", Kind::Text),
    ("PICOCLAW_PROVIDERS_OPENAI_API_KEY", Kind::Secret), ("PICOCLAW_PROVIDERS_OPENROUTER_API_KEY", Kind::Secret),
    ("PICOCLAW_PROVIDERS_GROQ_API_KEY", Kind::Secret), ("PICOCLAW_PROVIDERS_OPENAI_API_BASE", Kind::Text),
    ("PICOCLAW_PROVIDERS_OPENROUTER_API_BASE", Kind::Text), ("PICOCLAW_PROVIDERS_GROQ_API_BASE", Kind::Text),
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
pub type Environment = BTreeMap<String, (String, Source)>;

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

    /// A flag of the table.
    pub fn flag(&self, name: &str) -> Result<bool, KeyError> {
        self.parsed(name, "must be true or false (also 1, yes, on, 0, no, off)", |value| {
            match value.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Some(true),
                "0" | "false" | "no" | "off" => Some(false),
                _ => None,
            }
        })
        .map(|flag| flag.unwrap_or(false))
    }

    /// A whole number of the table, within its range.
    pub fn count(&self, name: &str) -> Result<Option<u64>, KeyError> {
        let (min, max) = match kind_of(name) {
            Kind::Count { min, max } => (min, max),
            _ => (0, u64::MAX),
        };
        self.parsed(name, &format!("must be a whole number from {min} to {max}"), |value| {
            value.parse().ok().filter(|number| (min..=max).contains(number))
        })
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
        let (min, max) = match kind_of(name) {
            Kind::Decimal { min, max } => (min, max),
            _ => (f64::MIN, f64::MAX),
        };
        self.parsed(name, &format!("must be a number from {min} to {max}"), |value| {
            value.parse().ok().filter(|number| (min..=max).contains(number))
        })
    }

    /// One of the words of the table, in lower case.
    pub fn choice(&self, name: &str) -> Result<String, KeyError> {
        let words = match kind_of(name) {
            Kind::Choice(words) => words,
            _ => &[],
        };
        self.parsed(name, &format!("must be one of: {}", words.join(", ")), |value| {
            let value = value.to_ascii_lowercase();
            words.contains(&value.as_str()).then_some(value)
        })
        .map(Option::unwrap_or_default)
    }

    /// Items between commas, trimmed, without blank ones.
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).map(|(value, _)| value).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn parsed<T>(&self, name: &str, problem: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, KeyError> {
        let Some((value, source)) = self.text(name) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(KeyError { name: name.to_owned(), source, problem: problem.to_owned() }),
        }
    }
}

fn kind_of(name: &str) -> Kind {
    KEYS.iter().find(|key| key.name == name).map_or(Kind::Text, |key| key.kind)
}

/// Every variable that is read: ours, then those of others.
pub fn known_names() -> impl Iterator<Item = (&'static str, Kind)> {
    KEYS.iter().map(|key| (key.name, key.kind)).chain(FOREIGN.iter().copied())
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
                Kind::Text | Kind::Secret | Kind::List | Kind::Words => {}
            }
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
