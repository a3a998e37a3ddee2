//! `doctor --probe`: asks the servers, for free, whether they are there and accept our secrets. All at the same time, and none
//! longer than [`PATIENCE`] for an answer; what has said nothing after [`ALL_PATIENCE`] is not waited for.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::channel::telegram::PollFailure;
use crate::channel::telegram_api::{self as api, Me, Webhook};
use crate::channel::telegram_client::TelegramClient;
use crate::config::codex_accounts::Account;
use crate::config::codex_settings::CodexSettings;
use crate::config::keys::Reader;
use crate::config::settings::{Config, ProviderKind, ProviderSettings, TelegramSettings};
use crate::config::surroundings::Surroundings;
use crate::doctor::report::Check;
use crate::net::http::{BODY_BYTES_MAX, Method, Phase, Request, TransportError, collect};
use crate::net::http_client::HttpClient;
use crate::provider::accounts::Reason;
use crate::provider::codex_home;
use crate::provider::probe::{self, Answer};
use crate::sys::queue::bounded;
use crate::sys::system_clock::SystemClock;
use crate::sys::thread::spawn;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long all of them may take.
const ALL_PATIENCE: Duration = Duration::from_secs(15);

/// The part of it that is left for telling.
const TELLING: Duration = Duration::from_secs(1);

type Job = (&'static str, Box<dyn FnOnce() -> Vec<Check> + Send>);

/// Asks everybody who is configured.
pub fn checks(config: &Config, surroundings: &Surroundings) -> Vec<Check> {
    let mut jobs: Vec<Job> = Vec::new();
    for settings in config.chain() {
        let (settings, codex) = (settings.clone(), config.codex.clone());
        jobs.push(("probe.provider", Box::new(move || provider(&settings, &codex))));
    }
    if config.telegram.enabled {
        let telegram = config.telegram.clone();
        jobs.push(("probe.telegram", Box::new(move || self::telegram(&telegram))));
    }
    if let Some(base) = bridge_base(surroundings) {
        jobs.push(("probe.bridge", Box::new(move || vec![bridge(&reach(&base))])));
    }
    all(jobs)
}

/// Runs each job on a thread of its own. One that does not end in time leaves an error in its place.
fn all(jobs: Vec<Job>) -> Vec<Check> {
    let (count, clock) = (jobs.len(), SystemClock::new());
    let (results, results_out) = bounded(count);
    let (exits, _) = bounded(count);
    let ids: Vec<&'static str> = jobs.iter().map(|(id, _)| *id).collect();
    for (at, (_, job)) in jobs.into_iter().enumerate() {
        let results = results.clone();
        // One without a thread is late, too.
        let _ = spawn("probe", exits.clone(), move || results.send((at, job())).map_err(|_| "too late".to_owned()));
    }
    let end = clock.mono().after(ALL_PATIENCE);
    let mut found: Vec<Option<Vec<Check>>> = vec![None; count];
    while found.iter().any(Option::is_none) {
        let Ok((at, checks)) = results_out.recv_timeout(clock.mono().until(end)) else { break };
        found[at] = Some(checks);
    }
    let late = |id| vec![Check::error(id, "there was no answer in time", "see whether the network works")];
    found.into_iter().zip(ids).flat_map(|(checks, id)| checks.unwrap_or_else(|| late(id))).collect()
}

/// Asks one provider.
pub fn provider(settings: &ProviderSettings, codex: &CodexSettings) -> Vec<Check> {
    if settings.kind == ProviderKind::Codex {
        let clock = SystemClock::new();
        // One after the other: each is a program that needs much of a small machine. The last one has to be told of, too.
        let end = clock.mono().after(ALL_PATIENCE.saturating_sub(TELLING));
        let asked = |account| login(codex, account, PATIENCE.min(clock.mono().until(end)), &clock);
        return codex.accounts.iter().map(asked).collect();
    }
    let key = settings.key.as_ref();
    vec![match (settings.kind, &settings.base) {
        (ProviderKind::Local, _) => Check::ok("probe.provider", "the provider is local, and nobody is asked"),
        (_, None) => Check::ok("probe.provider", "without a base nobody can be asked"),
        (kind, Some(base)) => {
            let mut transport = HttpClient::new(base.is_secure());
            let current = key.map(|key| key.secret.current());
            let answer = probe::ask(&mut transport, kind, base.as_str(), current.as_deref(), PATIENCE);
            accepts(&settings.name, key.map(|key| format!("{} ({})", key.name, key.source)), answer)
        }
    }]
}

fn login(codex: &CodexSettings, account: &Account, patience: Duration, clock: &SystemClock) -> Check {
    let id = &account.id;
    match codex_home::is_logged_in(codex, account, patience, clock) {
        Some(true) => Check::ok("probe.provider", format!("codex account {id} has a login or a key")),
        Some(false) => {
            let remedy = codex_home::remedy(codex, account, Reason::Auth);
            Check::error("probe.provider", format!("codex account {id} is not logged in"), remedy)
        }
        None => {
            let sentence = format!("codex did not say whether account {id} has a login");
            Check::warning("probe.provider", sentence, "run 'codex login status'")
        }
    }
}

/// What an answer to the free question means.
fn accepts(name: &str, key: Option<String>, answer: Answer) -> Check {
    let id = "probe.provider";
    match (answer, key) {
        (Answer::Accepted, Some(_)) => Check::ok(id, format!("{name} accepts the key")),
        (Answer::Accepted, None) => Check::ok(id, format!("{name} answers, without a key")),
        (Answer::Refused(403), Some(key)) => {
            let remedy = format!("a key that may only ask for answers is good; else put another one into {key}");
            Check::warning(id, format!("{name} does not let the key list models (status 403)"), remedy)
        }
        (Answer::Refused(status), Some(key)) => {
            let remedy = format!("put a valid one into {key}; 'doctor --secrets' says what to do then");
            Check::error(id, format!("{name} rejects the key (status {status})"), remedy)
        }
        (Answer::Refused(status), None) => Check::error(
            id,
            format!("{name} wants a key (status {status})"),
            "set its variable, see docs/configuration.md",
        ),
        // Not every server has a list of models.
        (Answer::Unclear(status @ (404 | 405 | 501)), _) => {
            Check::ok(id, format!("{name} answers, and has no list of models (status {status})"))
        }
        (Answer::Unclear(status), _) => {
            Check::warning(id, format!("{name} answers with status {status}"), "try again later")
        }
        (Answer::Silent(error), _) => {
            let remedy = "check RUSTY_PINCH_API_BASE, the network and the proxy";
            Check::error(id, format!("{name} cannot be asked: {error}"), remedy)
        }
    }
}

/// Asks about the bot, and, if that went well, about its webhook.
pub fn telegram(settings: &TelegramSettings) -> Vec<Check> {
    let Some(token) = &settings.token else { return Vec::new() };
    let transport = Box::new(HttpClient::new(settings.base.is_secure()));
    let mut client = TelegramClient::new(transport, settings.base.as_str(), token.secret.clone(), Cancel::new());
    let understood = |method: &str| (PollFailure::Transient, format!("{method}: not understood"));
    let me = client.ask("getMe", PATIENCE).and_then(|body| api::me(&body).ok_or_else(|| understood("getMe")));
    let mut checks = vec![bot(&me)];
    if me.is_ok() {
        let webhook = client.ask("getWebhookInfo", PATIENCE);
        let webhook = webhook.and_then(|body| api::webhook(&body).ok_or_else(|| understood("getWebhookInfo")));
        checks.push(self::webhook(&webhook));
    }
    checks
}

fn bot(me: &Result<Me, (PollFailure, String)>) -> Check {
    let id = "probe.telegram";
    match me {
        Ok(me) => Check::ok(id, format!("Telegram accepts the token of bot {}", me.id)),
        Err((PollFailure::Denied, phrase)) => {
            let remedy = "set a valid RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN; 'doctor --secrets' says what to do then";
            Check::error(id, format!("Telegram rejects the token ({phrase})"), remedy)
        }
        Err((_, phrase)) => {
            let remedy = "check RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE, the network and the proxy";
            Check::error(id, format!("Telegram cannot be asked ({phrase})"), remedy)
        }
    }
}

fn webhook(webhook: &Result<Webhook, (PollFailure, String)>) -> Check {
    let id = "probe.webhook";
    match webhook {
        Ok(Webhook { is_set: false, pending }) => {
            Check::ok(id, format!("no webhook is set; {pending} updates wait for the worker"))
        }
        Ok(Webhook { is_set: true, pending }) => {
            let sentence = format!("a webhook is set, so the worker gets no message; {pending} updates wait for it");
            Check::error(id, sentence, "remove the bot's webhook (Bot API deleteWebhook)")
        }
        Err((_, phrase)) => Check::warning(id, format!("Telegram did not say ({phrase})"), "try again later"),
    }
}

/// Where the bridge is, as HTTP sees it: without path and query, which are not for a probe. `None`: it is not used.
fn bridge_base(surroundings: &Surroundings) -> Option<String> {
    let reader = Reader(&surroundings.variables);
    let (url, _) = reader.text("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL")?;
    if !reader.flag("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED").unwrap_or(false) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let secure = if scheme.eq_ignore_ascii_case("wss") { "s" } else { "" };
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("http{secure}://{host}/"))
}

/// A websocket begins as HTTP, so a plain request shows whether somebody is there, and whether TLS works.
fn reach(base: &str) -> Result<(), TransportError> {
    let mut transport = HttpClient::new(base.starts_with("https"));
    let request =
        Request { method: Method::Get, url: base, headers: &[], body: b"", silence: Some(PATIENCE), total: PATIENCE };
    collect(&mut transport, &request, &Cancel::new(), BODY_BYTES_MAX).map(|_| ())
}

fn bridge(reached: &Result<(), TransportError>) -> Check {
    let id = "probe.bridge";
    match reached {
        Err(error) if matches!(error.phase, Phase::Resolve | Phase::Connect | Phase::Tls) => {
            let remedy = "start the bridge, or correct RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL";
            Check::error(id, format!("the WhatsApp bridge cannot be reached: {error}"), remedy)
        }
        _ => Check::ok(
            id,
            "the WhatsApp bridge can be reached; whether it accepts the token shows when the worker starts",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Source;
    use crate::doctor::report::Level;

    #[test]
    fn answers_have_their_levels() {
        let silent = Answer::Silent(TransportError { phase: Phase::Connect, sent: false });
        for (answer, with_key, without) in [
            (Answer::Accepted, Level::Ok, Level::Ok),
            (Answer::Refused(401), Level::Error, Level::Error),
            (Answer::Refused(403), Level::Warning, Level::Error),
            (Answer::Unclear(404), Level::Ok, Level::Ok),
            (Answer::Unclear(429), Level::Warning, Level::Warning),
            (silent, Level::Error, Level::Error),
        ] {
            assert_eq!(accepts("openai", Some("KEY (environment)".to_owned()), answer).level, with_key, "{answer:?}");
            assert_eq!(accepts("openai", None, answer).level, without, "{answer:?}");
        }
        let failed = |failure| Err((failure, "getMe: status 401".to_owned()));
        assert_eq!(bot(&failed(PollFailure::Denied)).level, Level::Error);
        assert!(bot(&failed(PollFailure::Denied)).remedy.contains("TELEGRAM_TOKEN"));
        assert!(bot(&failed(PollFailure::Transient)).remedy.contains("API_BASE"));
        let set = webhook(&Ok(Webhook { is_set: true, pending: 12 }));
        assert!(set.level == Level::Error && set.sentence.contains("12 updates wait"), "{set:?}");
        for (phase, level) in [(Phase::Tls, Level::Error), (Phase::Cut, Level::Ok), (Phase::FirstByte, Level::Ok)] {
            assert_eq!(bridge(&Err(TransportError { phase, sent: true })).level, level, "{phase:?}");
        }
    }

    #[test]
    fn the_bridge_is_asked_without_its_path_and_only_if_it_is_used() {
        let with = |enabled: &str, url: &str| {
            let pairs = [("ENABLED", enabled), ("BRIDGE_URL", url)];
            let pairs = pairs.map(|(name, value)| {
                (format!("RUSTY_PINCH_CHANNELS_WHATSAPP_{name}"), (value.to_owned(), Source::Environment))
            });
            bridge_base(&Surroundings { variables: pairs.into(), ..Surroundings::default() })
        };
        assert_eq!(with("true", "wss://b:1/ws?session=x").as_deref(), Some("https://b:1/"));
        assert_eq!(with("true", "ws://[::1]:1").as_deref(), Some("http://[::1]:1/"));
        assert_eq!(with("false", "ws://b"), None);
    }
}
