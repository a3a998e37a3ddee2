//! [`Caller`]: a provider with retries under one deadline, and the measurements of the turn.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::base::retry::Retry;
use crate::base::rng::Rng;
use crate::config::settings::{Config, ProviderKind, ProviderSettings};
use crate::net::backoff::{Made, Next, Policy};
use crate::net::http_client::HttpClient;
use crate::observe::event::{Event, Log};
use crate::provider::class::Class;
use crate::provider::codex::Codex;
use crate::provider::local::Local;
use crate::provider::openai::OpenAi;
use crate::provider::pool::Pool;
use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError};
use crate::sys::stop::Stop;

/// How often a wait between attempts looks at the cancel flag.
const SLICE: Duration = Duration::from_millis(100);

/// Counted over all calls of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Attempts made.
    pub attempts: u32,
    /// Milliseconds in calls and the waits between them.
    pub latency_ms: u64,
    /// Tokens of all prompts that were counted.
    pub input_tokens: Option<u64>,
    /// Tokens of all answers that were counted.
    pub output_tokens: Option<u64>,
}

/// A provider with patience.
pub struct Caller {
    provider: Box<dyn Provider>,
    name: String,
    /// An echo is no attempt at anything.
    counts: bool,
    /// Codex tries again by itself.
    tries_by_itself: bool,
    policy: Policy,
    rng: Rng,
    clock: Arc<dyn Clock>,
    stop: Stop,
    log: Arc<dyn Log>,
}

impl Caller {
    /// The configured provider; `pool` holds the accounts that Codex may use.
    pub fn new(
        config: &Config,
        pool: &Arc<Pool>,
        rng: Rng,
        clock: Arc<dyn Clock>,
        stop: Stop,
        log: Arc<dyn Log>,
    ) -> Caller {
        let provider = build(config, pool, Arc::clone(&clock));
        Caller::around(provider, &config.provider, rng, clock, stop, log)
    }

    /// Any provider, with the patience of `settings`.
    pub fn around(
        provider: Box<dyn Provider>,
        settings: &ProviderSettings,
        rng: Rng,
        clock: Arc<dyn Clock>,
        stop: Stop,
        log: Arc<dyn Log>,
    ) -> Caller {
        let policy = Policy { attempts_max: settings.attempts, base: settings.backoff, cap: settings.backoff_max };
        Caller {
            provider,
            name: settings.name.clone(),
            counts: settings.kind != ProviderKind::Local,
            tries_by_itself: settings.kind == ProviderKind::Codex,
            policy,
            rng,
            clock,
            stop,
            log,
        }
    }

    /// Asks until there is an answer, or no more sense in asking. Counts into `effort` either way.
    pub fn ask(
        &mut self,
        prompt: &Prompt<'_>,
        deadline: Mono,
        cancel: &Cancel,
        effort: &mut Effort,
    ) -> Result<Completion, ProviderError> {
        let start = self.clock.mono();
        let outcome = self.attempts(prompt, deadline, cancel, effort);
        effort.latency_ms += u64::try_from(start.until(self.clock.mono()).as_millis()).unwrap_or(u64::MAX);
        if let Ok(completion) = &outcome {
            add(&mut effort.input_tokens, completion.input_tokens);
            add(&mut effort.output_tokens, completion.output_tokens);
        }
        outcome
    }

    fn attempts(
        &mut self,
        prompt: &Prompt<'_>,
        deadline: Mono,
        cancel: &Cancel,
        effort: &mut Effort,
    ) -> Result<Completion, ProviderError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            // No channel shows an answer before it is whole.
            let mut bounds = Attempt { deadline, cancel, deltas: &mut |_| () };
            let outcome = self.provider.complete(prompt, &mut bounds);
            let counted = !matches!(&outcome, Err(error) if error.class == Class::NotConfigured);
            effort.attempts += u32::from(counted && self.counts);
            let error = match outcome {
                Err(error) if !cancel.requested() => error,
                other => return other,
            };
            let left = self.clock.mono().until(deadline);
            let retry = self.retry(&error);
            let made = Made { here: attempt, in_turn: attempt };
            let Next::Retry { after } = self.policy.decide(made, left, retry, &mut self.rng) else {
                return Err(error);
            };
            // A stop between attempts is no answer: the turn stays open, and the next process asks again.
            let stopped = || ProviderError::new(Class::Cancelled, "stopped between two attempts");
            if self.stop.requested() {
                return Err(stopped());
            }
            self.log.emit(
                self.clock.wall(),
                &Event::ProviderRetry {
                    request_id: prompt.turn.to_string(),
                    provider: self.name.clone(),
                    attempt,
                    error: error.to_string(),
                    retry_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
                },
            );
            if !self.wait(after, cancel) {
                return Err(stopped());
            }
        }
    }

    fn retry(&self, error: &ProviderError) -> Retry {
        if self.tries_by_itself && error.class != Class::SpawnTransient {
            return Retry::NO;
        }
        error.class.retry(error.retry_after, self.clock.is_trusted())
    }

    /// `false`: the wait was ended early.
    fn wait(&self, delay: Duration, cancel: &Cancel) -> bool {
        let end = self.clock.mono().after(delay);
        loop {
            let left = self.clock.mono().until(end);
            if left.is_zero() {
                return true;
            }
            if cancel.requested() || self.stop.wait(left.min(SLICE)) {
                return false;
            }
        }
    }
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0) + more);
    }
}

fn build(config: &Config, pool: &Arc<Pool>, clock: Arc<dyn Clock>) -> Box<dyn Provider> {
    let settings = &config.provider;
    match settings.kind {
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
