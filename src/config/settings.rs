//! [`Config`]: the checked configuration. `Config::load` turns an [`Environment`] into it or names what is wrong.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::message::Mode;
use crate::config::chain::Entry;
use crate::config::codex_settings::CodexSettings;
use crate::config::endpoint::Endpoint;
use crate::config::health_settings::HealthSettings;
use crate::config::keys::{Environment, FOREIGN, KEYS, KeyError, Reader, Source};
use crate::config::limits::SpendingLimits;
use crate::config::live_secret::{KnownSecrets, LiveSecret};
use crate::config::secret::Secret;
use crate::config::values::Kind;
use crate::config::whatsapp_settings::WhatsAppSettings;
use crate::config::{chain, codex_accounts, codex_environment, codex_settings, surroundings};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// The Codex program.
    Codex,
    /// openrouter.ai.
    OpenRouter,
    /// api.openai.com.
    OpenAi,
    /// api.groq.com.
    Groq,
    /// A vLLM server.
    Vllm,
    /// Any server that speaks chat completions.
    Compatible,
    /// An echo, for smoke tests.
    Local,
}

/// A key, and the variable and source it came from.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The key, which SIGHUP may replace.
    pub secret: LiveSecret,
    /// The variable.
    pub name: &'static str,
    /// Where its value came from.
    pub source: Source,
}

/// Settings of provider calls.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Who answers.
    pub kind: ProviderKind,
    /// The name as configured (`offline` is another name of `local`).
    pub name: String,
    /// The model; never empty.
    pub model: String,
    /// Base URL of an HTTP provider.
    pub base: Option<Endpoint>,
    /// Key of an HTTP provider.
    pub key: Option<Credential>,
    /// Longest silence within an attempt; `None`: only the deadline counts.
    pub silence: Option<Duration>,
    /// Attempts in all; at least 1.
    pub attempts: u32,
    /// Largest first delay between attempts.
    pub backoff: Duration,
    /// Largest delay between attempts.
    pub backoff_max: Duration,
    /// Time for the whole turn.
    pub deadline: Duration,
    /// Sampling temperature, if one is to be sent.
    pub temperature: Option<f64>,
    /// Whether answers are read as they come.
    pub streams: bool,
}

/// Settings of the Telegram worker.
#[derive(Clone, Debug)]
pub struct TelegramSettings {
    /// Whether the worker may run.
    pub enabled: bool,
    /// The bot's token.
    pub token: Option<Credential>,
    /// Who is answered.
    pub allow_from: Vec<String>,
    /// Base URL of the Bot API.
    pub base: Endpoint,
    /// How long the server may hold a poll.
    pub poll_timeout: Duration,
    /// How long a poll may take in all.
    pub request_timeout: Duration,
}

/// How much of a conversation the model sees.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Lines.
    pub lines: usize,
    /// Bytes of their contents.
    pub bytes: usize,
}

/// Everything the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is asked first.
    pub provider: ProviderSettings,
    /// Who is asked when that fails, in order.
    pub fallbacks: Vec<ProviderSettings>,
    /// The Codex program.
    pub codex: CodexSettings,
    /// The Telegram worker.
    pub telegram: TelegramSettings,
    /// The WhatsApp worker.
    pub whatsapp: WhatsAppSettings,
    /// What is done about a send whose outcome is unknown.
    pub delivery: Mode,
    /// Prompt building.
    pub history: HistoryLimits,
    /// What may be asked and spent.
    pub spending: SpendingLimits,
    /// Sessions, journal, telemetry.
    pub data: PathBuf,
    /// The operator's files.
    pub workspace: PathBuf,
    /// Counters.
    pub telemetry_file: PathBuf,
    /// The health endpoint.
    pub health: HealthSettings,
    /// Where the metrics are written, if they are.
    pub metrics_file: Option<PathBuf>,
    /// What only concerns running processes.
    pub run: PathBuf,
    /// Turns at the same time.
    pub workers: usize,
    /// Longest stop.
    pub drain: Duration,
    /// Whether a worker stays up, not working, on a fault that only a person can mend.
    pub park_on_fatal: bool,
    /// Days that session lines are kept; 0 is for ever.
    pub retention_days: u64,
    /// Seed of jitter.
    pub seed: Option<u64>,
    /// Whatever is secret among the variables, so that no output ever holds it.
    pub secrets: KnownSecrets,
}

/// Every value that does not fit. Variables of others are looked at only where they are used.
pub fn problems(environment: &Environment) -> Vec<KeyError> {
    let reader = Reader(environment);
    let ours = environment.keys().filter(|name| name.starts_with("RUSTY_PINCH_"));
    let ours = ours.filter_map(|name| KEYS.iter().find(|key| key.name == name));
    let mut problems: Vec<KeyError> = ours.filter_map(|key| reader.check(key).err()).collect();
    // A list that does not fit is told once, by itself or by its key's check.
    let entries = chain::entries(&reader).unwrap_or_else(|error| {
        if problems.iter().all(|problem| problem.name != error.name) {
            problems.push(error);
        }
        Vec::new()
    });
    let uses_codex = entries.iter().any(|entry| entry.kind == ProviderKind::Codex);
    let set = |name: &&'static str| reader.text(name).is_some();
    let of_codex = codex_accounts::key_variables(&reader).into_iter();
    let of_codex = of_codex.filter(|name| uses_codex || name != codex_environment::KEY);
    let used =
        |entry: &Entry| [chain::key_names_at(entry.kind, entry.is_first).find(set), entry.base_names().find(set)];
    let of_providers = entries.iter().flat_map(used).flatten().map(str::to_owned);
    for name in of_providers.chain(of_codex) {
        let kind = FOREIGN.iter().find(|(foreign, _)| *foreign == name).map_or(Kind::Secret, |(_, kind)| *kind);
        let is_ours = KEYS.iter().any(|key| key.name == name);
        if !is_ours {
            problems.extend(reader.check_value(&name, kind).err());
        }
    }
    problems
}

impl Config {
    /// Checks every value. The first one that is wrong is the error.
    pub fn load(environment: &Environment) -> Result<Config, KeyError> {
        Config::load_with(environment, surroundings::secrets(environment))
    }

    /// The same, with the secrets of more places than these variables.
    pub fn load_with(environment: &Environment, secrets: Vec<Secret>) -> Result<Config, KeyError> {
        if let Some(error) = problems(environment).into_iter().next() {
            return Err(error);
        }
        let reader = Reader(environment);
        let insecure = reader.flag("RUSTY_PINCH_ALLOW_INSECURE_HTTP")?;
        let (data, run) = folders(&reader);
        let telemetry_file = match reader.text("RUSTY_PINCH_TELEMETRY_FILE") {
            Some((file, _)) => PathBuf::from(file),
            None => data.join("telemetry").join("latest.json"),
        };
        let entries = chain::entries(&reader)?;
        let mut providers = Vec::new();
        for entry in &entries {
            providers.push(entry.settings(&reader, insecure)?);
        }
        let fallbacks = providers.split_off(1);
        let provider = providers.pop().expect("a chain is never empty");
        let of_codex = entries.iter().find(|entry| entry.kind == ProviderKind::Codex);
        Ok(Config {
            run,
            codex: codex_settings::read(&reader, of_codex, &provider)?,
            provider,
            fallbacks,
            telegram: telegram(&reader, insecure)?,
            whatsapp: WhatsAppSettings::load(&reader)?,
            delivery: match reader.choice("RUSTY_PINCH_DELIVERY")?.as_str() {
                "at_most_once" => Mode::AtMostOnce,
                _ => Mode::AtLeastOnce,
            },
            history: HistoryLimits {
                lines: size(reader.number("RUSTY_PINCH_HISTORY_LINES")?),
                bytes: size(reader.number("RUSTY_PINCH_HISTORY_BYTES")?),
            },
            spending: SpendingLimits::load(&reader)?,
            data,
            workspace: path(&reader, "RUSTY_PINCH_WORKSPACE"),
            telemetry_file,
            health: HealthSettings::load(&reader)?,
            metrics_file: reader.text("RUSTY_PINCH_METRICS_FILE").map(|(file, _)| PathBuf::from(file)),
            workers: size(reader.number("RUSTY_PINCH_WORKERS")?),
            drain: reader.seconds("RUSTY_PINCH_DRAIN_SECS")?,
            park_on_fatal: reader.choice("RUSTY_PINCH_ON_FATAL")? == "park",
            retention_days: reader.number("RUSTY_PINCH_RETENTION_DAYS")?,
            seed: reader.count("RUSTY_PINCH_SEED")?,
            secrets: KnownSecrets::new(secrets),
        })
    }

    /// Everyone who may be asked, in order.
    pub fn chain(&self) -> impl Iterator<Item = &ProviderSettings> {
        std::iter::once(&self.provider).chain(&self.fallbacks)
    }

    /// Whether turns may run the Codex program.
    pub fn uses_codex(&self) -> bool {
        self.chain().any(|settings| settings.kind == ProviderKind::Codex)
    }

    /// Where running children are noted.
    pub fn children_folder(&self) -> PathBuf {
        self.run.join("children")
    }
}

/// The data folder, and the one for what only concerns running processes.
pub fn folders(reader: &Reader<'_>) -> (PathBuf, PathBuf) {
    let data = path(reader, "RUSTY_PINCH_DATA_DIR");
    let run = reader.text("RUSTY_PINCH_RUN_DIR").or_else(|| reader.text("RUNTIME_DIRECTORY"));
    let run = run.map_or_else(|| data.join("run"), |(folder, _)| PathBuf::from(folder));
    (data, run)
}

/// Who is meant; any unknown name is Codex, because names are checked before.
pub fn kind_of(name: &str) -> ProviderKind {
    match name {
        "openrouter" => ProviderKind::OpenRouter,
        "openai" => ProviderKind::OpenAi,
        "groq" => ProviderKind::Groq,
        "vllm" => ProviderKind::Vllm,
        "compatible" => ProviderKind::Compatible,
        "local" | "offline" => ProviderKind::Local,
        _ => ProviderKind::Codex,
    }
}

/// A secret and where it came from; `None` if it is not set.
pub fn credential(reader: &Reader<'_>, name: &'static str) -> Option<Credential> {
    let (value, source) = reader.text(name)?;
    Some(Credential { secret: LiveSecret::new(Secret::new(value)), name, source })
}

/// Key variables in order of precedence (contract §15.6): the provider's own, the common one, those of others. A key of
/// another vendor is never sent to an arbitrary host.
pub fn key_names(kind: ProviderKind) -> &'static [&'static str] {
    match kind {
        ProviderKind::OpenAi => &[
            "RUSTY_PINCH_OPENAI_API_KEY",
            "RUSTY_PINCH_API_KEY",
            "OPENAI_API_KEY",
            "PICOCLAW_PROVIDERS_OPENAI_API_KEY",
        ],
        ProviderKind::OpenRouter => &[
            "RUSTY_PINCH_OPENROUTER_API_KEY",
            "RUSTY_PINCH_API_KEY",
            "OPENROUTER_API_KEY",
            "PICOCLAW_PROVIDERS_OPENROUTER_API_KEY",
        ],
        ProviderKind::Groq => {
            &["RUSTY_PINCH_GROQ_API_KEY", "RUSTY_PINCH_API_KEY", "GROQ_API_KEY", "PICOCLAW_PROVIDERS_GROQ_API_KEY"]
        }
        ProviderKind::Compatible | ProviderKind::Vllm => &["RUSTY_PINCH_COMPATIBLE_API_KEY", "RUSTY_PINCH_API_KEY"],
        ProviderKind::Codex | ProviderKind::Local => &[],
    }
}

/// Base variables in order of precedence (contract §4.3), and the default.
pub fn base_names(kind: ProviderKind) -> (&'static [&'static str], Option<&'static str>) {
    match kind {
        ProviderKind::OpenAi => (
            &[
                "RUSTY_PINCH_API_BASE",
                "RUSTY_PINCH_OPENAI_API_BASE",
                "OPENAI_API_BASE",
                "PICOCLAW_PROVIDERS_OPENAI_API_BASE",
            ],
            Some("https://api.openai.com/v1"),
        ),
        ProviderKind::OpenRouter => (
            &[
                "RUSTY_PINCH_API_BASE",
                "RUSTY_PINCH_OPENROUTER_API_BASE",
                "OPENROUTER_API_BASE",
                "PICOCLAW_PROVIDERS_OPENROUTER_API_BASE",
            ],
            Some("https://openrouter.ai/api/v1"),
        ),
        ProviderKind::Groq => (
            &["RUSTY_PINCH_API_BASE", "RUSTY_PINCH_GROQ_API_BASE", "GROQ_API_BASE", "PICOCLAW_PROVIDERS_GROQ_API_BASE"],
            Some("https://api.groq.com/openai/v1"),
        ),
        ProviderKind::Compatible | ProviderKind::Vllm => (
            &[
                "RUSTY_PINCH_API_BASE",
                "RUSTY_PINCH_COMPATIBLE_API_BASE",
                "RUSTY_PINCH_OPENAI_API_BASE",
                "RUSTY_PINCH_OPENROUTER_API_BASE",
                "OPENAI_API_BASE",
                "OPENROUTER_API_BASE",
                "PICOCLAW_PROVIDERS_OPENAI_API_BASE",
                "PICOCLAW_PROVIDERS_OPENROUTER_API_BASE",
            ],
            None,
        ),
        ProviderKind::Codex | ProviderKind::Local => (&[], None),
    }
}

/// What is asked where nobody named a model.
pub fn default_model(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Codex => "gpt-5-codex",
        ProviderKind::OpenAi => "gpt-4o-mini",
        _ => "openrouter/qwen/qwen3-coder",
    }
}

fn telegram(reader: &Reader<'_>, insecure: bool) -> Result<TelegramSettings, KeyError> {
    const BASE: &str = "RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE";
    const TOKEN: &str = "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN";
    let (base, source) = reader.text(BASE).unwrap_or((String::new(), Source::Default));
    let poll_timeout = reader.seconds("RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_TIMEOUT_SECS")?;
    Ok(TelegramSettings {
        enabled: reader.flag("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED")?,
        token: credential(reader, TOKEN),
        allow_from: reader.list("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM"),
        base: endpoint(BASE, &base, source, insecure)?,
        poll_timeout,
        // The server may hold a poll for its whole timeout; ten seconds more tell a slow server from a dead one.
        request_timeout: reader
            .seconds("RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS")?
            .max(poll_timeout + Duration::from_secs(10)),
    })
}

fn endpoint(name: &str, text: &str, source: Source, insecure: bool) -> Result<Endpoint, KeyError> {
    Endpoint::parse(text, insecure).map_err(|error| KeyError {
        name: name.to_owned(),
        source,
        problem: error.to_string(),
    })
}

fn path(reader: &Reader<'_>, name: &str) -> PathBuf {
    PathBuf::from(reader.text(name).map(|(value, _)| value).unwrap_or_default())
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, KeyError> {
        let environment = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), ((*value).to_owned(), Source::Environment)))
            .collect();
        Config::load(&environment)
    }

    #[test]
    fn nothing_set_is_a_complete_configuration() {
        let config = load(&[]).expect("defaults fit");
        assert_eq!((config.provider.kind, config.provider.model.as_str()), (ProviderKind::Codex, "gpt-5-codex"));
        assert_eq!(config.codex.arguments, ["exec", "--skip-git-repo-check"]);
        assert_eq!(config.telemetry_file, PathBuf::from("./data/telemetry/latest.json"));
        assert_eq!(config.telegram.base.as_str(), "https://api.telegram.org");
    }

    #[test]
    fn the_providers_own_key_beats_the_common_one() {
        let keys =
            [("RUSTY_PINCH_PROVIDER", "OpenAI"), ("RUSTY_PINCH_API_KEY", "b"), ("RUSTY_PINCH_OPENAI_API_KEY", "a")];
        let key = load(&keys).expect("loads").provider.key.expect("a key");
        assert_eq!((key.name, key.secret.current().reveal()), ("RUSTY_PINCH_OPENAI_API_KEY", "a"));
    }

    #[test]
    fn another_vendors_key_is_not_sent_to_a_compatible_host() {
        let keys =
            [("RUSTY_PINCH_PROVIDER", "compatible"), ("OPENAI_API_KEY", "x"), ("RUSTY_PINCH_OPENAI_API_KEY", "y")];
        assert!(load(&keys).expect("loads").provider.key.is_none());
    }

    #[track_caller]
    fn refuse(name: &str, value: &str, part: &str) {
        let error = load(&[(name, value)]).expect_err("refused").to_string();
        assert!(error.starts_with(name) && error.contains(part) && !error.contains("canary"), "{error}");
    }

    #[test]
    fn wrong_values_are_named_and_secrets_are_not_shown() {
        refuse("RUSTY_PINCH_PROVIDER", "antropic", "must be one of: codex, openrouter");
        refuse("RUSTY_PINCH_REQUEST_RETRIES", "4294967295", "from 0 to 5");
        refuse("RUSTY_PINCH_REQUEST_TIMEOUT_SECS", "-1", "from 0 to 3600");
        refuse("RUSTY_PINCH_TEMPERATURE", "NaN", "from 0 to 2");
        refuse("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", "y", "true or false");
        refuse("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "1:canary/../x", "BotFather");
        refuse("RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", "http://example.org", "plain http");
    }
}
