//! What `setup` asks, as a table, and what an answer becomes. Pure: [`Draft`] takes the answers and says what is to be written.

use crate::config::keys::{Environment, FOREIGN, KEYS, Reader, Source};
use crate::config::secret::Secret;
use crate::config::settings::{ProviderKind, base_names, default_model, key_names, kind_of};
use crate::config::values::{self, Kind};

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4096;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it")]
pub enum Topic {
    Provider,
    Base,
    Model,
    Key,
    Token,
    People,
}

/// A question.
#[derive(Debug)]
pub struct Question {
    /// What it is about.
    pub topic: Topic,
    /// The option that answers it; of a secret it names a file.
    pub option: &'static str,
    /// As a person is asked.
    pub text: &'static str,
}

/// Every question, in order. Which of them are asked depends on the provider.
#[rustfmt::skip]
pub const QUESTIONS: &[Question] = &[
    Question { topic: Topic::Provider, option: "provider", text: "Who answers (codex, openrouter, openai, groq, vllm, compatible, local)" },
    Question { topic: Topic::Base, option: "base", text: "Base URL of the server, such as http://192.168.1.2:8000/v1" },
    Question { topic: Topic::Model, option: "model", text: "Model" },
    Question { topic: Topic::Key, option: "key-file", text: "Key of the provider (not shown)" },
    Question { topic: Topic::Token, option: "bot-token-file", text: "Token of the bot, from @BotFather (not shown)" },
    Question { topic: Topic::People, option: "allow-from", text: "Telegram ids that may write to the bot, separated by commas; none: pair one now" },
];

const PROVIDER: &str = "RUSTY_PINCH_PROVIDER";
const ENABLED: &str = "RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED";

impl Topic {
    /// Whether the answer must not be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Topic::Key | Topic::Token)
    }

    /// Whether there may be no answer.
    pub fn is_optional(self, kind: ProviderKind) -> bool {
        self == Topic::People || self == Topic::Key && is_own_server(kind)
    }

    /// The variables that may hold the answer, in order of precedence, and the one for a new answer; `None`: it is not asked.
    fn names(self, kind: ProviderKind) -> Option<(&'static [&'static str], &'static str)> {
        let own: (&'static [&'static str], &'static str) = match self {
            Topic::Provider => (&[PROVIDER], PROVIDER),
            Topic::Base if is_own_server(kind) => (base_names(kind).0, "RUSTY_PINCH_COMPATIBLE_API_BASE"),
            Topic::Model if base_names(kind).1.is_some() || is_own_server(kind) => {
                (&["RUSTY_PINCH_MODEL"], "RUSTY_PINCH_MODEL")
            }
            Topic::Key => (key_names(kind), key_names(kind).first()?),
            Topic::Token => (&["RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN"], "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN"),
            Topic::People => {
                (&["RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM"], "RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM")
            }
            Topic::Base | Topic::Model => return None,
        };
        Some(own)
    }
}

fn is_own_server(kind: ProviderKind) -> bool {
    matches!(kind, ProviderKind::Vllm | ProviderKind::Compatible)
}

/// Codex is built for 64-bit processors; `architecture` as Rust names it. The sentence for the others.
pub fn no_codex(architecture: &str) -> Option<String> {
    let processor = match architecture {
        "x86_64" | "aarch64" => return None,
        "arm" => "32-bit ARM",
        other => other,
    };
    Some(format!("there is no Codex for {processor}: choose another provider, such as openrouter"))
}

/// What is known and what was answered.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// As found, and over it what was answered.
    pub variables: Environment,
    /// What is to be written: a variable and its value, all of them to be handled like secrets.
    pub changes: Vec<(&'static str, Secret)>,
}

impl Draft {
    /// The first who is asked.
    pub fn kind(&self) -> ProviderKind {
        let reader = Reader(&self.variables);
        let chain = reader.list("RUSTY_PINCH_PROVIDER_CHAIN").into_iter().next();
        let name = chain.or_else(|| reader.text(PROVIDER).map(|(name, _)| name)).unwrap_or_default();
        kind_of(name.split(':').next().unwrap_or_default().trim().to_ascii_lowercase().as_str())
    }

    /// Whether a list of providers is set, which no single answer can replace.
    pub fn has_chain(&self) -> bool {
        !Reader(&self.variables).list("RUSTY_PINCH_PROVIDER_CHAIN").is_empty()
    }

    /// Whether the question is asked.
    pub fn asks(&self, topic: Topic) -> bool {
        let is_in_chain = self.has_chain() && matches!(topic, Topic::Provider | Topic::Model);
        !is_in_chain && topic.names(self.kind()).is_some()
    }

    /// What is set already: the variable, its value and where that is.
    pub fn current(&self, topic: Topic) -> Option<(&'static str, String, Source)> {
        let (names, _) = topic.names(self.kind())?;
        let set =
            |name: &&'static str| Reader(&self.variables).text(name).map(|(value, source)| (*name, value, source));
        names.iter().find_map(set).filter(|(_, _, source)| *source != Source::Default)
    }

    /// What is taken where nothing is set and nothing is answered.
    pub fn default(&self, topic: Topic, architecture: &str) -> Option<&'static str> {
        let kind = self.kind();
        match topic {
            Topic::Provider if no_codex(architecture).is_none() => Some("codex"),
            Topic::Provider => Some("openrouter"),
            Topic::Model if matches!(kind, ProviderKind::OpenAi | ProviderKind::OpenRouter) => {
                Some(default_model(kind))
            }
            _ => None,
        }
    }

    /// What is wrong with an answer, as far as it can be seen without asking anybody. Never holds the answer.
    pub fn problem(&self, topic: Topic, answer: &str, architecture: &str) -> Option<String> {
        let name = self.target(topic)?;
        let of_others = || FOREIGN.iter().find(|(other, _)| *other == name).map(|(_, kind)| *kind);
        let kind = KEYS.iter().find(|key| key.name == name).map(|key| key.kind).or_else(of_others);
        let misfit = values::problem(kind.unwrap_or(Kind::Text), answer, false);
        let is_id = |id: &str| id == "*" || id.parse::<i64>().is_ok_and(|id| id != 0);
        if let Some(problem) = misfit {
            Some(format!("{name} {problem}"))
        } else if answer.contains('\'') {
            Some(format!("{name} must not hold a quote"))
        } else if topic == Topic::People && !answer.split(',').map(str::trim).all(is_id) {
            Some("an id is a number, such as 42 or -100123: leave it out to pair by a code".to_owned())
        } else if topic == Topic::Provider && kind_of(answer.to_ascii_lowercase().as_str()) == ProviderKind::Codex {
            no_codex(architecture)
        } else if topic == Topic::Provider && self.sends_elsewhere(answer) {
            Some("RUSTY_PINCH_API_BASE names the server of the provider that is set: take it out first".to_owned())
        } else {
            None
        }
    }

    /// The key of a new provider would go to the server of the old one.
    fn sends_elsewhere(&self, provider: &str) -> bool {
        let is_other = kind_of(provider.to_ascii_lowercase().as_str()) != self.kind();
        let has_base = Reader(&self.variables).text("RUSTY_PINCH_API_BASE").is_some();
        is_other && has_base && self.current(Topic::Provider).is_some()
    }

    fn target(&self, topic: Topic) -> Option<&'static str> {
        let (_, primary) = topic.names(self.kind())?;
        Some(self.current(topic).map_or(primary, |(name, _, _)| name))
    }

    /// Takes an answer.
    pub fn answer(&mut self, topic: Topic, answer: &str) {
        let before = self.kind();
        let Some(name) = self.target(topic) else { return };
        self.set(name, answer);
        if self.kind() != before && Reader(&self.variables).text("RUSTY_PINCH_MODEL").is_some() {
            // Of another provider. Blank is unset.
            self.set("RUSTY_PINCH_MODEL", "");
        }
    }

    /// Leaves what is set. Only the variables of this process are not there the next time.
    pub fn keep(&mut self, topic: Topic) {
        if let Some((name, value, Source::Environment)) = self.current(topic) {
            self.set(name, &value);
        }
    }

    /// Turns the channel on, and says where an installed package keeps its data, if nobody said so.
    pub fn finish(&mut self, is_package: bool) {
        if !Reader(&self.variables).flag(ENABLED).unwrap_or(false) {
            self.set(ENABLED, "true");
        }
        let folders = [("RUSTY_PINCH_DATA_DIR", "data"), ("RUSTY_PINCH_WORKSPACE", "workspace")];
        for (name, folder) in folders.into_iter().filter(|_| is_package) {
            if !self.variables.contains_key(name) {
                self.set(name, &format!("/var/lib/rusty-pinch/{folder}"));
            }
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.variables.insert(name.to_owned(), (value.to_owned(), Source::Environment));
        self.changes.retain(|(other, _)| *other != name);
        self.changes.push((name, Secret::new(value.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Source = Source::EnvFile { line: 1 };

    fn draft(pairs: &[(&str, &str)]) -> Draft {
        let variable = |(name, value): &(&str, &str)| (format!("RUSTY_PINCH_{name}"), ((*value).to_owned(), LINE));
        Draft { variables: pairs.iter().map(variable).collect(), changes: Vec::new() }
    }

    fn asked(draft: &Draft) -> Vec<Topic> {
        QUESTIONS.iter().map(|question| question.topic).filter(|topic| draft.asks(*topic)).collect()
    }

    fn changes(draft: &Draft) -> Vec<(&str, &str)> {
        draft.changes.iter().map(|(name, value)| (*name, value.reveal())).collect()
    }

    #[test]
    fn on_32_bit_arm_another_provider_is_asked_for() {
        let sentence = "there is no Codex for 32-bit ARM: choose another provider, such as openrouter";
        assert_eq!(no_codex("arm").as_deref(), Some(sentence));
        assert_eq!((no_codex("aarch64"), no_codex("x86_64")), (None, None));
        let fresh = draft(&[]);
        for name in ["codex", "Codex"] {
            assert_eq!(fresh.problem(Topic::Provider, name, "arm").as_deref(), Some(sentence));
            assert_eq!(fresh.problem(Topic::Provider, name, "aarch64"), None);
        }
        assert_eq!(fresh.problem(Topic::Provider, "openrouter", "arm"), None);
        assert_eq!(fresh.default(Topic::Provider, "arm"), Some("openrouter"));
        assert_eq!(fresh.default(Topic::Provider, "aarch64"), Some("codex"));
    }

    #[test]
    fn each_provider_is_asked_for_what_it_needs() {
        use Topic::{Base, Key, Model, People, Provider, Token};
        for (name, want) in [
            ("codex", vec![Provider, Token, People]),
            ("local", vec![Provider, Token, People]),
            ("openrouter", vec![Provider, Model, Key, Token, People]),
            ("groq", vec![Provider, Model, Key, Token, People]),
            ("Compatible", vec![Provider, Base, Model, Key, Token, People]),
        ] {
            assert_eq!(asked(&draft(&[("PROVIDER", name)])), want, "{name}");
        }
        let chain = draft(&[("PROVIDER_CHAIN", "openai:gpt-4o-mini, local")]);
        assert_eq!(asked(&chain), [Key, Token, People]);
    }

    #[test]
    fn answers_become_changes_and_what_is_set_stays() {
        let mut draft = draft(&[("API_KEY", "sk-a"), ("PROVIDER", "openrouter")]);
        draft.keep(Topic::Provider);
        draft.keep(Topic::Key);
        assert_eq!(changes(&draft), []);
        draft.answer(Topic::Key, "sk-b");
        draft.answer(Topic::Key, "sk-c");
        assert_eq!(changes(&draft), [("RUSTY_PINCH_API_KEY", "sk-c")], "where the old one is, it would hide another");
        draft.variables.insert("RUSTY_PINCH_MODEL".into(), ("m".into(), Source::Environment));
        draft.keep(Topic::Model);
        assert_eq!(changes(&draft)[1], ("RUSTY_PINCH_MODEL", "m"), "a variable of this process is gone the next time");
        draft.finish(true);
        draft.finish(true);
        let names: Vec<&str> = draft.changes.iter().map(|(name, _)| *name).skip(2).collect();
        assert_eq!(names, [ENABLED, "RUSTY_PINCH_DATA_DIR", "RUSTY_PINCH_WORKSPACE"]);
    }

    #[test]
    fn another_provider_gets_neither_the_model_nor_the_server_of_the_old_one() {
        let mut draft = draft(&[("PROVIDER", "openai"), ("MODEL", "m"), ("API_BASE", "https://a.example/v1")]);
        assert!(draft.problem(Topic::Provider, "groq", "arm").is_some_and(|text| text.contains("take it out")));
        assert_eq!(draft.problem(Topic::Provider, "OpenAI", "arm"), None);
        draft.variables.remove("RUSTY_PINCH_API_BASE");
        draft.answer(Topic::Provider, "groq");
        assert_eq!((draft.current(Topic::Model), draft.default(Topic::Model, "arm")), (None, None));
        assert_eq!(changes(&draft), [("RUSTY_PINCH_PROVIDER", "groq"), ("RUSTY_PINCH_MODEL", "")]);
    }

    #[test]
    fn answers_that_cannot_be_right_are_refused_without_their_text() {
        let draft = draft(&[("PROVIDER", "compatible")]);
        for (topic, answer, part) in [
            (Topic::Provider, "kodex", "codex, openrouter"),
            (Topic::Base, "http://api.canary.org/v1", "plain http"),
            (Topic::Model, "it's-canary", "quote"),
            (Topic::Key, "sk canary", "RUSTY_PINCH_COMPATIBLE_API_KEY"),
            (Topic::Token, "canary", "BotFather"),
            (Topic::People, "7,@canary", "an id is a number"),
            (Topic::People, "0", "an id is a number"),
        ] {
            let problem = draft.problem(topic, answer, "arm").expect("refused");
            assert!(problem.contains(part) && !problem.contains("canary"), "{problem}");
        }
        for (topic, answer) in [(Topic::People, "7, -100,*"), (Topic::Token, "1:AbC-d_E"), (Topic::Model, "a/b:free")] {
            assert_eq!(draft.problem(topic, answer, "arm"), None, "{topic:?}");
        }
    }
}
