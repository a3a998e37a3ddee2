//! `codex` and its commands: the accounts that turns may use, a look at each, and one run without a conversation.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::cancel::Cancel;
use crate::base::clock::Wall;
use crate::base::id::TurnId;
use crate::base::message::{INBOUND_BYTES_MAX, Message, Role};
use crate::cli::flags::Parsed;
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, print};
use crate::config::codex_accounts::Account;
use crate::config::settings::ProviderKind;
use crate::observe::redact::Redactor;
use crate::provider::Prompt;
use crate::provider::accounts::{Candidate, Standing, State};
use crate::provider::caller::Caller;
use crate::provider::effort::Effort;
use crate::provider::pool::Pool;
use crate::provider::shared::Shared;
use crate::sys::{children, signal, stop};

/// `codex status`: what is known, without asking anybody. There is no queue any more; its numbers are 0.
pub fn status() -> Result<(), Failure> {
    let (setup, pool) = load()?;
    let accounts: Vec<Value> =
        pool.report().into_iter().map(|(account, state, seen)| one(account, state, seen)).collect();
    show(&json!({
        "accounts": accounts,
        "enabled": true,
        "queue_capacity": 0,
        "queue_depth": 0,
        "queue_mode_reason": null,
        "rate_limit_threshold_percent": setup.config.codex.reserve_percent,
    }))
}

fn one(account: &Account, state: State, seen: Candidate) -> Value {
    let looked_at = (state.looked_at > 0).then(|| Wall(state.looked_at).rfc3339());
    json!({
        "api_key_env": account.key_variable,
        "healthy": seen.standing == Standing::Ready,
        "id": account.id,
        "last_error": state.last_error,
        "last_healthcheck_at": looked_at,
        "max_requests": account.requests_max,
        "model": account.model,
        "remaining_percent": seen.percent(),
        "used_requests": account.requests_max - seen.left,
    })
}

/// `codex healthcheck`: looks at every account, without a request. What is found is kept.
pub fn healthcheck() -> Result<(), Failure> {
    let (setup, pool) = load()?;
    setup.refuse_strangers()?;
    let cancel = Cancel::new();
    let signal = interruptible(&cancel)?;
    let checks = pool.look_at_all(&cancel).into_iter().map(|(account_id, found)| {
        let (healthy, message) = (found.is_ok(), found.err().unwrap_or_else(|| "ok".to_owned()));
        json!({"account_id": account_id, "healthy": healthy, "message": message})
    });
    let checks: Vec<Value> = checks.collect();
    stopped(&cancel, &signal)?;
    show(&json!({ "checks": checks }))
}

/// `codex generate`: one run, outside any conversation. It counts and costs like a turn.
pub fn generate(parsed: &Parsed) -> Result<(), Failure> {
    let (prompt, purpose) = (parsed.value("prompt"), parsed.value("purpose"));
    if prompt.len() + purpose.len() > INBOUND_BYTES_MAX {
        return Err(Failure::Usage(format!("the prompt is longer than {INBOUND_BYTES_MAX} bytes")));
    }
    let (mut setup, pool) = load()?;
    setup.refuse_strangers()?;
    children::end_orphans(&setup.config.children_folder());
    let (_stopper, stop) = stop::pair();
    let cancel = Cancel::new();
    let signal = interruptible(&cancel)?;
    let mut config = setup.config.clone();
    (config.provider.kind, config.provider.name) = (ProviderKind::Codex, "codex".to_owned());
    config.fallbacks.clear();
    let shared = Shared {
        pool: Arc::clone(&pool),
        ..Shared::new(&config, Duration::ZERO, &mut setup.rng, &setup.clock, &setup.log)
    };
    let (clock, log) = (Arc::clone(&setup.clock), Arc::clone(&setup.log));
    let mut caller = Caller::new(&config, &shared, setup.rng.split(), clock, stop, log);
    let (turn, mut effort) = (TurnId::mint(setup.clock.wall(), &mut setup.rng), Effort::default());
    let system = format!("Answer the request below, and print nothing but the answer. Its purpose: {purpose}");
    let messages = [Message { role: Role::User, content: prompt.to_owned() }];
    let prompt = Prompt { turn, system: &system, messages: &messages, history: 0, ordinal: 0 };
    caller.begin(turn, None).map_err(|refusal| Failure::Failed(format!("codex: {}", refusal.class().name())))?;
    let deadline = setup.clock.mono().after(config.provider.deadline);
    let outcome = caller.ask(&prompt, deadline, &cancel, &mut effort);
    stopped(&cancel, &signal)?;
    let completion = outcome.map_err(|error| Failure::Failed(format!("codex: {error}")))?;
    show(&json!({
        "account_id": pool.latest(),
        "latency_ms": effort.latency_ms,
        "output": Redactor::new(&setup.config.secrets).without_known(&completion.text),
        "status": "executed",
        "task_id": turn.to_string(),
    }))
}

fn load() -> Result<(Setup, Arc<Pool>), Failure> {
    let setup = setup::load()?;
    if !setup.config.codex.enabled {
        return Err(Failure::Failed("codex is disabled: RUSTY_PINCH_CODEX_ENABLED is false".to_owned()));
    }
    let pool = Pool::new(&setup.config, Arc::clone(&setup.clock), Arc::clone(&setup.log));
    Ok((setup, Arc::new(pool)))
}

type Taken = Arc<std::sync::atomic::AtomicI32>;

/// A program of ours must not outlive a Ctrl-C.
fn interruptible(cancel: &Cancel) -> Result<Taken, Failure> {
    signal::cancel_on_terminate(cancel.clone()).map_err(|error| Failure::Storage(format!("signals: {error}")))
}

fn stopped(cancel: &Cancel, signal: &Taken) -> Result<(), Failure> {
    let number = signal.load(std::sync::atomic::Ordering::SeqCst);
    if cancel.requested() { Err(Failure::Stopped(u8::try_from(number).unwrap_or(0))) } else { Ok(()) }
}

fn show(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}
