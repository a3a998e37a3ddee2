//! [`Link`]: one of those who may be asked, built from its settings, and by which name its standing is known.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::config::settings::{Config, ProviderKind, ProviderSettings};
use crate::net::http_client::HttpClient;
use crate::provider::class::Class;
use crate::provider::codex::Codex;
use crate::provider::local::Local;
use crate::provider::metered::Metered;
use crate::provider::openai::{OpenAi, Streams};
use crate::provider::pool::Pool;
use crate::provider::shared::Shared;
use crate::provider::spending_file::Spending;
use crate::provider::standing::Who;
use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError};

/// Providers that one question may be put to.
pub const PROVIDERS_MAX: usize = 3;

/// One of those who may be asked.
pub struct Link {
    /// Makes the attempts.
    pub provider: Box<dyn Provider>,
    /// The name as configured.
    pub name: String,
    /// The model.
    pub model: String,
    kind: ProviderKind,
    place: String,
    /// The fingerprint of the credential of this moment.
    credential: Box<dyn Fn() -> String + Send>,
    /// By which its standing is known; set by [`Link::look`].
    key: String,
}

impl Link {
    /// Any provider, under the name of `settings`.
    pub fn new(provider: Box<dyn Provider>, settings: &ProviderSettings) -> Link {
        let place = settings.base.as_ref().map_or("-", |base| base.origin()).to_owned();
        let secret = settings.key.as_ref().map(|key| key.secret.clone());
        Link {
            provider,
            name: settings.name.clone(),
            model: settings.model.clone(),
            kind: settings.kind,
            place,
            credential: Box::new(move || secret.as_ref().map_or_else(none, |secret| secret.current().fingerprint())),
            key: String::new(),
        }
    }

    /// Everyone of the configuration, in order.
    pub fn all(config: &Config, shared: &Shared, clock: &Arc<dyn Clock>) -> Vec<Link> {
        let links = config.chain().map(|settings| build(config, settings, &shared.pool, Arc::clone(clock)));
        links.map(|link| if link.is_echo() { link } else { link.metered(Arc::clone(&shared.spending)) }).collect()
    }

    /// Every request is checked and counted.
    fn metered(self, spending: Arc<Spending>) -> Link {
        let Link { provider, name, .. } = self;
        let provider = Box::new(Metered { provider, name: name.clone(), spending });
        Link { provider, name, ..self }
    }

    /// An echo is no attempt at anything, and has no standing.
    pub fn is_echo(&self) -> bool {
        self.kind == ProviderKind::Local
    }

    /// Codex tries again by itself.
    pub fn tries_by_itself(&self) -> bool {
        self.kind == ProviderKind::Codex
    }

    /// Looks which credential is used now: another one has another standing.
    pub fn look(&mut self) {
        if !self.is_echo() {
            self.key = format!("{} {} {}", self.name, self.place, (self.credential)());
        }
    }

    /// By whom its standing is known.
    pub fn who(&self) -> Who<'_> {
        Who { key: &self.key, provider: &self.name }
    }
}

fn none() -> String {
    "-".to_owned()
}

fn build(config: &Config, settings: &ProviderSettings, pool: &Arc<Pool>, clock: Arc<dyn Clock>) -> Link {
    let provider: Box<dyn Provider> = match settings.kind {
        ProviderKind::Local => Box::new(Local { name: settings.name.clone(), model: settings.model.clone() }),
        ProviderKind::Codex => Box::new(Codex::new(Arc::clone(pool), config.workspace.clone(), clock)),
        ProviderKind::OpenRouter
        | ProviderKind::OpenAi
        | ProviderKind::Groq
        | ProviderKind::Vllm
        | ProviderKind::Compatible => match missing(settings) {
            None => Box::new(over_http(settings, clock)),
            Some(what) => Box::new(Unusable(what)),
        },
    };
    let link = Link::new(provider, settings);
    match settings.kind {
        ProviderKind::Codex => {
            let pool = Arc::clone(pool);
            Link { credential: Box::new(move || pool.fingerprint()), ..link }
        }
        _ => link,
    }
}

/// What an HTTP provider lacks.
pub fn missing(settings: &ProviderSettings) -> Option<&'static str> {
    let key_optional = matches!(settings.kind, ProviderKind::Vllm | ProviderKind::Compatible);
    match settings.kind {
        ProviderKind::Codex | ProviderKind::Local => None,
        _ if settings.base.is_none() => Some("no API base is set"),
        _ if settings.key.is_none() && !key_optional => Some("no API key is set"),
        _ => None,
    }
}

fn over_http(settings: &ProviderSettings, clock: Arc<dyn Clock>) -> OpenAi {
    let base = settings.base.as_ref();
    let vendor_headers = match settings.kind {
        ProviderKind::OpenRouter => {
            vec![("http-referer", "https://rusty-pinch.local".to_owned()), ("x-title", "Rusty Pinch".to_owned())]
        }
        _ => Vec::new(),
    };
    OpenAi {
        url: format!("{}/chat/completions", base.map_or("", |base| base.as_str())),
        model: settings.model.clone(),
        key: settings.key.as_ref().map(|key| key.secret.clone()),
        vendor_headers,
        silence: settings.silence,
        temperature: settings.temperature,
        streams: if settings.streams { Streams::Counted } else { Streams::No },
        transport: Box::new(HttpClient::new(base.is_some_and(|base| base.is_secure()))),
        clock,
    }
}

/// A provider that cannot be asked: every turn says so, and `doctor` says why.
struct Unusable(&'static str);

impl Provider for Unusable {
    fn complete(&mut self, _prompt: &Prompt<'_>, _attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        Err(ProviderError::new(Class::NotConfigured, self.0))
    }
}
