//! Whether a model can be asked: what each provider of the chain lacks, who is left alone, the logins of Codex, and what
//! may still be spent today. Pure.

use crate::base::clock::Wall;
use crate::config::settings::{Config, ProviderSettings, key_names};
use crate::doctor::facts::{AccountFacts, CodexFacts, Facts, Login, Resting};
use crate::doctor::report::{Check, Level};
use crate::provider::chain::missing;

/// From here on a person should know that the day's tokens come to an end.
const SPENT_PERCENT_HIGH: u128 = 80;

/// All of it, in the order of the chain.
pub(super) fn checks(config: &Config, facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = config.chain().map(provider).collect();
    checks.extend((!config.fallbacks.is_empty()).then(|| chain(config, facts)));
    checks.extend(facts.resting.iter().map(|resting| standing(resting, facts)));
    checks.extend(facts.codex.iter().flat_map(|found| codex(config, found)));
    checks
}

fn provider(settings: &ProviderSettings) -> Check {
    let name = &settings.name;
    match missing(settings) {
        None => Check::ok("provider.ready", format!("provider {name} has what it needs")),
        Some(what) => {
            let key = key_names(settings.kind).first().unwrap_or(&"RUSTY_PINCH_API_KEY");
            let remedy = format!(
                "set {key} (or {key}_FILE, if it is a credential of the unit) and, if the server is your own, RUSTY_PINCH_API_BASE"
            );
            Check::error("provider.ready", format!("provider {name}: {what}"), remedy)
        }
    }
}

fn chain(config: &Config, facts: &Facts) -> Check {
    let order = config.chain().map(|settings| format!("{} ({})", settings.name, settings.model));
    let order = order.collect::<Vec<_>>().join(", ");
    let rests = |name: &str| {
        facts.resting.iter().any(|resting| resting.until > facts.now && resting.who.split(' ').next() == Some(name))
    };
    match config.chain().all(|settings| rests(&settings.name)) {
        false => Check::ok("provider.chain", format!("asked in this order: {order}")),
        true => Check::warning("provider.chain", format!("nobody can be asked now: {order}"), "see provider.standing"),
    }
}

fn standing(resting: &Resting, facts: &Facts) -> Check {
    let Resting { who, class, until } = resting;
    let until = match *until > facts.now {
        // In whole seconds: what is left is measured at each look.
        true => format!("is not asked before {}", Wall(until.0.div_ceil(1000) * 1000).rfc3339()),
        false => "is tried with the next question".to_owned(),
    };
    let remedy = match *class {
        "auth" => "give it another key, or log in again: that is noticed at once",
        "quota" => "raise its limit, or name another provider in RUSTY_PINCH_PROVIDER_CHAIN",
        "forbidden" => "look at what its operator allows: region, policy, model",
        _ => "nothing: it is tried again by itself",
    };
    Check::warning("provider.standing", format!("{who} {until} ({class})"), remedy)
}

fn codex(config: &Config, found: &CodexFacts) -> Vec<Check> {
    let binary = &config.codex.binary;
    if !config.codex.enabled {
        let sentence = "the provider is codex, but RUSTY_PINCH_CODEX_ENABLED is false";
        return vec![Check::error(
            "provider.codex",
            sentence,
            "set it to true, or choose another RUSTY_PINCH_PROVIDER",
        )];
    }
    if !found.found {
        let remedy = "install it (npm install -g @openai/codex), name it in RUSTY_PINCH_CODEX_CLI_BIN, or choose another \
                      RUSTY_PINCH_PROVIDER";
        return vec![Check::error("provider.codex", format!("the program '{binary}' is not in PATH"), remedy)];
    }
    let mut checks = vec![Check::ok("provider.codex", format!("the program '{binary}' is there"))];
    checks.extend(found.accounts.iter().map(codex_account));
    // A turn that finds no account fails; one that is out of order is only a loss.
    let is_bad = |check: &Check| check.level == Level::Error;
    if checks.iter().skip(1).any(|check| !is_bad(check)) {
        checks.iter_mut().filter(|check| is_bad(check)).for_each(|check| check.level = Level::Warning);
    }
    let damaged = |error: &String| {
        let remedy = "the next turn keeps it aside and counts anew, if it is damaged";
        Check::warning("provider.codex_login", format!("what is kept of the accounts cannot be read: {error}"), remedy)
    };
    checks.extend(found.file_error.iter().map(damaged));
    checks
}

fn codex_account(account: &AccountFacts) -> Check {
    let AccountFacts { id, login, refused, remedy } = account;
    match (refused, login) {
        (Some(why), _) => {
            Check::error("provider.codex_login", format!("codex account {id} is not used: {why}"), remedy)
        }
        (None, Login::No) => {
            Check::error("provider.codex_login", format!("codex account {id} is not logged in"), remedy)
        }
        (None, Login::Yes) => Check::ok("provider.codex_login", format!("codex account {id} has a login or a key")),
        (None, Login::Unknown) => {
            Check::ok("provider.codex_login", format!("codex was not asked about account {id}, or did not say in time"))
        }
    }
}

pub(super) fn spending(config: &Config, facts: &Facts) -> Check {
    const ID: &str = "spending";
    if let Some((error, is_damage)) = &facts.spending_error {
        let sentence = format!("what was spent today cannot be read ({error})");
        return match is_damage {
            true => Check::warning(ID, sentence, "the next request keeps the file aside and counts anew"),
            false => Check::error(ID, sentence, "no limit holds over several processes until it can; change its owner"),
        };
    }
    let (spent, most) = (facts.spent_tokens, config.spending.tokens_per_day);
    if most == 0 {
        return Check::ok(ID, format!("{spent} tokens were spent today, and there is no limit"));
    }
    let sentence = format!("{spent} of {most} tokens of today are spent");
    let remedy = "raise RUSTY_PINCH_TOKENS_PER_DAY and restart the workers, or wait until midnight UTC";
    match spent {
        _ if spent >= most => Check::warning(ID, format!("{sentence}: no model is asked any more"), remedy),
        _ if u128::from(spent) * 100 >= u128::from(most) * SPENT_PERCENT_HIGH => Check::warning(ID, sentence, remedy),
        _ => Check::ok(ID, sentence),
    }
}
