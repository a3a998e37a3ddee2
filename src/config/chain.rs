//! Who is asked, in which order: `RUSTY_PINCH_PROVIDER_CHAIN`, or the one provider. Each entry is `name` or `name:model`.
//!
//! The common variables (model, base, key) belong to the first entry. The others read their own names only, so that a
//! key is never sent to a host that it was not meant for.

use crate::config::endpoint::Endpoint;
use crate::config::keys::{KeyError, Reader, Source};
use crate::config::settings::{
    ProviderKind, ProviderSettings, base_names, credential, default_model, key_names, kind_of,
};

const CHAIN: &str = "RUSTY_PINCH_PROVIDER_CHAIN";
const PROVIDER: &str = "RUSTY_PINCH_PROVIDER";

/// Entries of a chain.
pub const ENTRIES_MAX: usize = 8;

/// One of those who may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub kind: ProviderKind,
    /// The name as configured.
    pub name: String,
    /// The model that the entry names.
    pub model: Option<String>,
    /// Whether the common variables are its own.
    pub is_first: bool,
}

impl Entry {
    fn is_own_server(&self) -> bool {
        matches!(self.kind, ProviderKind::Compatible | ProviderKind::Vllm)
    }

    /// Its base variables in order of precedence. A server of one's own may have the bases of the vendors only if it is the
    /// first: behind another it would be asked with a key that is not its own.
    pub fn base_names(&self) -> impl Iterator<Item = &'static str> {
        let is_own_server = self.is_own_server();
        let is_its_own = move |name: &str| match is_own_server {
            true => name == "RUSTY_PINCH_COMPATIBLE_API_BASE",
            false => name != "RUSTY_PINCH_API_BASE",
        };
        base_names(self.kind).0.iter().copied().filter(move |name| self.is_first || is_its_own(name))
    }

    fn base(&self, reader: &Reader<'_>) -> Option<(&'static str, (String, Source))> {
        self.base_names().find_map(|name| reader.text(name).map(|found| (name, found)))
    }

    /// Its settings.
    pub fn settings(&self, reader: &Reader<'_>, insecure: bool) -> Result<ProviderSettings, KeyError> {
        let silence = reader.seconds("RUSTY_PINCH_REQUEST_TIMEOUT_SECS")?;
        let base = match (self.base(reader), base_names(self.kind).1) {
            (Some((name, (text, source))), _) => Some(endpoint(name, &text, source, insecure)?),
            (None, default) => {
                default.map(|text| endpoint("RUSTY_PINCH_API_BASE", text, Source::Default, insecure)).transpose()?
            }
        };
        let common = reader.text("RUSTY_PINCH_MODEL").map(|(model, _)| model).filter(|_| self.is_first);
        let model = self.model.clone().or(common).unwrap_or_else(|| default_model(self.kind).to_owned());
        let backoff = reader.millis("RUSTY_PINCH_RETRY_BACKOFF_MS")?;
        Ok(ProviderSettings {
            kind: self.kind,
            name: self.name.clone(),
            model,
            base,
            key: key_names_at(self.kind, self.is_first).find_map(|name| credential(reader, name)),
            silence: (!silence.is_zero()).then_some(silence),
            attempts: u32::try_from(reader.number("RUSTY_PINCH_REQUEST_RETRIES")?).unwrap_or(0) + 1,
            backoff,
            backoff_max: reader.millis("RUSTY_PINCH_RETRY_MAX_BACKOFF_MS")?.max(backoff),
            deadline: reader.seconds("RUSTY_PINCH_TURN_DEADLINE_SECS")?,
            temperature: reader.decimal("RUSTY_PINCH_TEMPERATURE")?,
            streams: reader.flag("RUSTY_PINCH_STREAM")?,
        })
    }
}

/// The key variables of an entry in order of precedence.
pub fn key_names_at(kind: ProviderKind, is_first: bool) -> impl Iterator<Item = &'static str> {
    key_names(kind).iter().copied().filter(move |name| is_first || *name != "RUSTY_PINCH_API_KEY")
}

/// The whole order; never empty.
pub fn entries(reader: &Reader<'_>) -> Result<Vec<Entry>, KeyError> {
    let single = reader.choice(PROVIDER)?;
    let listed = reader.list(CHAIN);
    let items = if listed.is_empty() { vec![single.clone()] } else { listed };
    let entries: Vec<Entry> = items.iter().enumerate().map(|(at, item)| entry(item, at == 0)).collect();
    let set = reader.text(PROVIDER).filter(|(_, source)| *source != Source::Default);
    match problem(&entries, set, &single).or_else(|| shared_base(&entries, reader)) {
        None => Ok(entries),
        Some(problem) => {
            let source = reader.text(CHAIN).map_or(Source::Default, |(_, source)| source);
            Err(KeyError { name: CHAIN.to_owned(), source, problem })
        }
    }
}

fn entry(item: &str, is_first: bool) -> Entry {
    let (name, model) = item.split_once(':').map_or((item, None), |(name, model)| (name, Some(model)));
    let name = name.trim().to_ascii_lowercase();
    let model = model.map(str::trim).filter(|model| !model.is_empty()).map(str::to_owned);
    Entry { kind: kind_of(&name), name, model, is_first }
}

fn problem(entries: &[Entry], set: Option<(String, Source)>, single: &str) -> Option<String> {
    let first = &entries[0];
    if entries.len() > ENTRIES_MAX {
        return Some(format!("names {} providers, at most {ENTRIES_MAX} are good", entries.len()));
    }
    if entries.len() > 1 && entries.iter().any(|entry| entry.kind == ProviderKind::Local) {
        return Some("must not hold local beside others: an echo is no answer to fall back to".to_owned());
    }
    if entries.iter().filter(|entry| entry.kind == ProviderKind::Codex).count() > 1 {
        return Some("must not hold codex twice: there is one Codex, with one model".to_owned());
    }
    if set.is_some() && kind_of(single) != first.kind {
        return Some(format!(
            "begins with {}, but {PROVIDER} is {single}: the list is the whole order, so remove {PROVIDER} or begin with it",
            first.name
        ));
    }
    None
}

/// A server of one's own under a vendor's name would get that vendor's key from a later entry that reads the same name.
fn shared_base(entries: &[Entry], reader: &Reader<'_>) -> Option<String> {
    let first = entries.first().filter(|entry| entry.is_own_server())?;
    let (name, _) = first.base(reader)?;
    let later = entries[1..]
        .iter()
        .find(|entry| !entry.is_own_server() && entry.base(reader).is_some_and(|base| base.0 == name))?;
    Some(format!(
        "begins with {}, whose base is {name}, so {} would send its own key there: use RUSTY_PINCH_COMPATIBLE_API_BASE",
        first.name, later.name
    ))
}

fn endpoint(name: &str, text: &str, source: Source, insecure: bool) -> Result<Endpoint, KeyError> {
    let error = |problem: crate::config::endpoint::EndpointError| KeyError {
        name: name.to_owned(),
        source,
        problem: problem.to_string(),
    };
    Endpoint::parse(text, insecure).map_err(error)
}

#[cfg(test)]
mod tests {
    use crate::config::keys::{Environment, KeyError, Source};
    use crate::config::settings::Config;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, KeyError> {
        let environment: Environment = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), ((*value).to_owned(), Source::Environment)))
            .collect();
        Config::load(&environment)
    }

    fn models(pairs: &[(&str, &str)]) -> Vec<String> {
        let config = load(pairs).expect("it fits");
        config.chain().map(|settings| format!("{} {}", settings.name, settings.model)).collect()
    }

    #[test]
    fn the_list_is_the_whole_order_and_the_common_model_is_the_first_ones() {
        assert_eq!(models(&[]), ["codex gpt-5-codex"]);
        assert_eq!(models(&[("RUSTY_PINCH_PROVIDER_CHAIN", " , ")]), ["codex gpt-5-codex"]);
        let chain = ("RUSTY_PINCH_PROVIDER_CHAIN", "OpenRouter:qwen/a:free, codex,groq: b ,openai:");
        let want = ["openrouter qwen/a:free", "codex gpt-5-codex", "groq b", "openai gpt-4o-mini"];
        assert_eq!(models(&[chain, ("RUSTY_PINCH_MODEL", "m")]), want);
        let chain = ("RUSTY_PINCH_PROVIDER_CHAIN", "groq,openai");
        assert_eq!(models(&[chain, ("RUSTY_PINCH_MODEL", "m")]), ["groq m", "openai gpt-4o-mini"]);
        assert_eq!(models(&[("RUSTY_PINCH_PROVIDER_CHAIN", "offline")]), ["offline openrouter/qwen/qwen3-coder"]);
    }

    #[test]
    fn a_key_goes_to_the_host_it_was_meant_for() {
        let config = load(&[
            ("RUSTY_PINCH_PROVIDER_CHAIN", "compatible,openai,vllm,groq"),
            ("RUSTY_PINCH_API_BASE", "http://10.0.0.1/v1"),
            ("RUSTY_PINCH_API_KEY", "common"),
            ("OPENAI_API_KEY", "openai's"),
            ("OPENAI_API_BASE", "https://gateway.example/v1"),
            ("RUSTY_PINCH_COMPATIBLE_API_KEY", "own"),
        ]);
        let config = config.expect("it fits");
        let told = |key: &crate::config::settings::Credential| key.secret.current().reveal().to_owned();
        let found = config.chain().map(|settings| {
            let base = settings.base.as_ref().map_or("none", |base| base.as_str());
            format!("{base} {}", settings.key.as_ref().map_or_else(|| "none".to_owned(), told))
        });
        let want = [
            "http://10.0.0.1/v1 own",
            "https://gateway.example/v1 openai's",
            "none own",
            "https://api.groq.com/openai/v1 none",
        ];
        assert_eq!(found.collect::<Vec<_>>(), want);
    }

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], part: &str) {
        let error = load(pairs).expect_err("refused").to_string();
        assert!(error.starts_with("RUSTY_PINCH_PROVIDER_CHAIN") && error.contains(part), "{error}");
    }

    #[test]
    fn a_server_under_a_vendors_name_does_not_get_that_vendors_key() {
        for (first, later, name) in [
            ("compatible", "openai", "OPENAI_API_BASE"),
            ("vllm", "groq,openai:a", "PICOCLAW_PROVIDERS_OPENAI_API_BASE"),
            ("compatible", "openrouter", "RUSTY_PINCH_OPENROUTER_API_BASE"),
        ] {
            let chain = format!("{first},{later}");
            let base = (name, "http://10.0.0.1/v1");
            refused(&[("RUSTY_PINCH_PROVIDER_CHAIN", &chain), base], name);
            let own = ("RUSTY_PINCH_COMPATIBLE_API_BASE", "http://10.0.0.2/v1");
            assert!(load(&[("RUSTY_PINCH_PROVIDER_CHAIN", &chain), base, own]).is_ok());
            assert!(load(&[("RUSTY_PINCH_PROVIDER_CHAIN", &format!("{first},groq")), base]).is_ok());
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        const CHAIN: &str = "RUSTY_PINCH_PROVIDER_CHAIN";
        refused(&[(CHAIN, "openai,local")], "must not hold local");
        refused(&[(CHAIN, "offline,openai")], "must not hold local");
        refused(&[(CHAIN, "openai,anthropic")], "must be one of");
        refused(&[(CHAIN, "openai,open router:x")], "must be one of");
        refused(&[(CHAIN, "openai,codex"), ("RUSTY_PINCH_PROVIDER", "codex")], "begins with openai");
        refused(&[(CHAIN, &["openai"; 9].join(","))], "at most 8");
        refused(&[(CHAIN, "codex:a,openai,codex:b")], "must not hold codex twice");
        assert!(load(&[(CHAIN, "openai,codex"), ("RUSTY_PINCH_PROVIDER", "OpenAI")]).is_ok());
        assert!(load(&[(CHAIN, "local"), ("RUSTY_PINCH_PROVIDER", "offline")]).is_ok());
    }
}
