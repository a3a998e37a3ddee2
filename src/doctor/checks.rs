//! The checks themselves: settings and facts in, verdicts out. Pure, so that each is a table row in a test.

use crate::base::clock::WALL_FLOOR;
use crate::config::remarks::remarks;
use crate::config::settings::{Config, ProviderSettings, key_names};
use crate::config::surroundings::Surroundings;
use crate::config::whatsapp_settings::BridgeDialect;
use crate::doctor::facts::{Access, AccountFacts, CodexFacts, Facts, Folder, JournalFacts, Login, Resting};
use crate::doctor::report::{Check, Level};
use crate::doctor::{host, names, secrets, service, workers};
use crate::provider::chain::missing;
use crate::store::commit_log::FREE_BYTES_MIN;

/// Below this a person should look.
const DISK_BYTES_LOW: u64 = 512 << 20;

/// From here on a person should know that the day's tokens come to an end.
const SPENT_PERCENT_HIGH: u128 = 80;

/// Everything, in the order a person would ask.
pub fn all(config: &Config, surroundings: &Surroundings, facts: &Facts) -> Vec<Check> {
    let mut checks = names::checks(surroundings);
    let remarks = remarks(&surroundings.variables, config);
    checks.extend(remarks.into_iter().map(|remark| Check::warning("config.surprise", remark, "")));
    checks.extend(secrets::checks(surroundings, config));
    checks.extend(config.chain().map(provider));
    checks.extend((!config.fallbacks.is_empty()).then(|| chain(config, facts)));
    checks.extend(facts.resting.iter().map(|resting| standing(resting, facts)));
    checks.extend(facts.codex.iter().flat_map(|found| codex(config, found)));
    checks.extend(telegram(config, facts));
    checks.extend(whatsapp(config));
    checks.extend(proxies(surroundings));
    checks.extend(host::checks(config, facts));
    checks.extend(units(facts));
    checks.extend(facts.data.as_ref().and_then(data_folder));
    checks.extend(facts.restoring.then(restoring));
    checks.extend(facts.disk_free.map(|free| disk(free, config)));
    checks.extend(clock(facts));
    match &facts.stranger_to {
        Some(owner) => checks.push(stranger(owner, facts)),
        None => {
            checks.extend(contents(config, facts));
            checks.push(spending(config, facts));
        }
    }
    checks.extend(workers::metrics(config, facts));
    checks
}

fn units(facts: &Facts) -> Vec<Check> {
    match &facts.units {
        Some(units) => service::checks(units),
        None => {
            let remedy = "see 'systemctl status rusty-pinch-telegram'";
            vec![Check::warning("service.active", "systemd did not say in time how the units are", remedy)]
        }
    }
}

fn spending(config: &Config, facts: &Facts) -> Check {
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

fn restoring() -> Check {
    let remedy = "unless a restore is running, run 'rusty-pinch restore' with the same archive again";
    Check::error("path.restoring", "an archive is only half in place, and nothing works until it is", remedy)
}

fn provider(settings: &ProviderSettings) -> Check {
    let name = &settings.name;
    match missing(settings) {
        None => Check::ok("provider.ready", format!("provider {name} has what it needs")),
        Some(what) => {
            let key = key_names(settings.kind).first().unwrap_or(&"RUSTY_PINCH_API_KEY");
            let remedy = format!("set {key} and, if the server is your own, RUSTY_PINCH_API_BASE");
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
        true => format!("is not asked before {}", until.rfc3339()),
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

fn telegram(config: &Config, facts: &Facts) -> Vec<Check> {
    let telegram = &config.telegram;
    let mut checks = Vec::new();
    if telegram.enabled && telegram.token.is_none() {
        let remedy = "set RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN";
        checks.push(Check::error("channel.telegram", "telegram is enabled without a token", remedy));
    }
    if let Some(error) = &facts.pairing_error {
        // That a stranger cannot read it has a reason of its own.
        if facts.stranger_to.is_none() {
            let remedy = "remove pairing.json from the data folder, and pair people again";
            checks.push(Check::error("channel.telegram", format!("pairing.json cannot be read: {error}"), remedy));
        }
    } else if telegram.enabled && telegram.allow_from.is_empty() && facts.paired == 0 {
        let remedy = "run 'rusty-pinch pair telegram', or list the ids that may write in \
                      RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM";
        checks.push(Check::error("channel.telegram", "telegram answers nobody", remedy));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            "channel.telegram",
            match (telegram.enabled, facts.paired) {
                (false, _) => "telegram is off".to_owned(),
                (true, 0) => "telegram can start".to_owned(),
                (true, paired) => format!("telegram can start; paired with a code: {paired} (pair telegram --list)"),
            },
        ));
    }
    if telegram.allow_from.iter().any(|entry| entry == "*") {
        let sentence = "telegram answers everyone, because the allowlist holds '*'";
        checks.push(Check::warning("channel.everyone", sentence, "list the ids that may write"));
    }
    checks
}

fn whatsapp(config: &Config) -> Vec<Check> {
    const ID: &str = "channel.whatsapp";
    let whatsapp = &config.whatsapp;
    let mut checks = Vec::new();
    if whatsapp.enabled && whatsapp.bridge.is_none() {
        let remedy = "set RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL";
        checks.push(Check::error(ID, "whatsapp is enabled without a bridge", remedy));
    }
    if whatsapp.enabled && whatsapp.allow_from.is_empty() {
        let remedy = "list who may write in RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM";
        checks.push(Check::error(ID, "whatsapp answers nobody", remedy));
    }
    if whatsapp.enabled && whatsapp.dialect == BridgeDialect::P && whatsapp.token.is_some() {
        let remedy = "leave RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT at auto if the bridge wants the token";
        checks.push(Check::warning(ID, "a bridge of dialect p gets no token, although one is set", remedy));
    }
    if checks.is_empty() {
        checks.push(Check::ok(ID, if whatsapp.enabled { "whatsapp can start" } else { "whatsapp is off" }));
    }
    if whatsapp.enabled && whatsapp.allow_from.iter().any(|entry| entry == "*") {
        let sentence = "whatsapp answers everyone, because the allowlist holds '*'";
        checks.push(Check::warning("channel.everyone", sentence, "list the numbers that may write"));
    }
    checks
}

fn proxies(surroundings: &Surroundings) -> Vec<Check> {
    let used = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .filter(|name| surroundings.variables.get(**name).is_some_and(|(value, _)| !value.trim().is_empty()));
    let judged = |name: &&str| {
        let scheme = surroundings.variables.get(*name).and_then(|(value, _)| value.trim().split_once("://"));
        match scheme.is_none_or(|(scheme, _)| ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())) {
            true => Check::ok("network.proxy", format!("{name} is set and heeded")),
            false => {
                let sentence = format!("{name} names a proxy of a kind that is not used");
                Check::warning("network.proxy", sentence, "name one with http:// or https://")
            }
        }
    };
    used.map(judged).collect()
}

fn writable(folder: &Folder) -> Check {
    let path = folder.path.display();
    match &folder.refusal {
        None => Check::ok("path.writable", format!("{path} can be written")),
        Some(refusal) => {
            let remedy = format!("change its owner, or set {}", folder.variable);
            Check::error("path.writable", format!("{path} cannot be written ({refusal})"), remedy)
        }
    }
}

/// What is in the folders. Of no use to somebody who may not look into them.
fn contents(config: &Config, facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = facts.folders.iter().map(writable).collect();
    checks.extend(facts.locked_out.iter().map(|what| locked_out(what)));
    checks.extend(workers::checks(config, facts));
    checks.extend(facts.journals.iter().flat_map(journal));
    checks.extend(records(facts));
    checks
}

fn locked_out(what: &str) -> Check {
    let remedy = "give it to the user of the service (chown), or remove what is in the way";
    Check::error("path.writable", format!("{what} cannot be written"), remedy)
}

/// Everything else that a stranger may not do has the same reason.
fn stranger(owner: &str, facts: &Facts) -> Check {
    let is_refused = facts.folders.iter().any(|folder| folder.refusal.is_some()) || !facts.locked_out.is_empty();
    let sentence = format!("the conversations belong to {owner}, and you are somebody else");
    let remedy = format!("use 'sudo -u {owner} rusty-pinch …'");
    let check = if is_refused { Check::error } else { Check::warning };
    check("path.owner", sentence, remedy)
}

fn data_folder(access: &Access) -> Option<Check> {
    let path = access.path.display();
    let mode = access.mode & 0o777;
    let remedy = format!("chmod 700 {path}");
    if mode & 0o022 != 0 {
        let sentence = format!("{path} can be changed by others than its owner (mode {mode:03o})");
        Some(Check::error("path.mode", sentence, remedy))
    } else if mode & 0o055 != 0 {
        let sentence = format!("{path} can be read by others than its owner (mode {mode:03o})");
        Some(Check::warning("path.mode", sentence, remedy))
    } else {
        None
    }
}

fn disk(free: u64, config: &Config) -> Check {
    let sentence = format!("{} MiB are free for {}", free >> 20, config.data.display());
    let remedy = "make room, or move RUSTY_PINCH_DATA_DIR";
    match free {
        DISK_BYTES_LOW.. => Check::ok("disk.free", sentence),
        FREE_BYTES_MIN.. => Check::warning("disk.free", sentence, remedy),
        _ => Check::error("disk.free", sentence, remedy),
    }
}

fn clock(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if facts.now < WALL_FLOOR {
        let sentence = format!("the clock says {}, which is in the past", facts.now.rfc3339());
        checks.push(Check::error(
            "clock.plausible",
            sentence,
            "certificates fail with a wrong clock; set it, or connect the network",
        ));
    }
    match facts.synchronised {
        Some(true) => checks.push(Check::ok("clock.synchronised", "a time service keeps the clock right")),
        Some(false) => {
            let remedy = "see 'timedatectl status'; 'sudo timedatectl set-ntp true' switches the time service on";
            checks.push(Check::warning(
                "clock.synchronised",
                "no time service has set the clock since the start",
                remedy,
            ));
        }
        // There is none that we know.
        None => {}
    }
    checks
}

fn journal(journal: &JournalFacts) -> Vec<Check> {
    let JournalFacts { channel, kept_aside, damage, .. } = journal;
    let mut checks = Vec::new();
    if let Some(damage) = damage {
        let remedy =
            format!("start the {channel} worker, which keeps the files aside and goes on from the last good record");
        checks.push(Check::error("journal.damage", format!("the {channel} journal is damaged: {damage}"), remedy));
    }
    if *kept_aside > 0 {
        let sentence = format!("{kept_aside} damaged files of the {channel} journal were kept aside");
        let remedy = "look at the storage medium; what could not be read may be lost; remove the files when done";
        checks.push(Check::warning("journal.damage", sentence, remedy));
    }
    checks
}

fn records(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if facts.session_bad_lines > 0 {
        let sentence = format!("{} damaged lines near the ends of sessions are passed over", facts.session_bad_lines);
        checks.push(Check::warning("session.damage", sentence, "look at the storage medium"));
    }
    if facts.session_torn_files > 0 {
        let sentence = format!("{} torn ends of sessions were kept aside (*.torn-*)", facts.session_torn_files);
        checks.push(Check::warning("session.damage", sentence, "remove the files when you have seen them"));
    }
    if facts.session_unreadable > 0 {
        let sentence = format!("{} session files cannot be read", facts.session_unreadable);
        let remedy = "give them to the user of the service; what is no regular file has no business there";
        checks.push(Check::error("session.damage", sentence, remedy));
    }
    if let Some(error) = &facts.session_error {
        checks.push(Check::error(
            "session.damage",
            format!("the sessions cannot be listed ({error})"),
            "change their owner",
        ));
    }
    if facts.dead_letters > 0 {
        let sentence = format!("{} replies were given up", facts.dead_letters);
        checks.push(Check::warning("dead.letters", sentence, "see 'rusty-pinch outbox list'; retry or drop them"));
    }
    match &facts.telemetry_error {
        None => {}
        Some((error, true)) => {
            let remedy = "the next turn keeps the file aside and counts anew";
            checks.push(Check::warning("telemetry.file", format!("the counters are damaged ({error})"), remedy));
        }
        Some((error, false)) => {
            let remedy = "nothing is counted until it can be; change its owner, or set RUSTY_PINCH_TELEMETRY_FILE";
            checks.push(Check::error("telemetry.file", format!("the counters cannot be read ({error})"), remedy));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Environment, Source};
    use crate::doctor::report::{CHECKS, Level};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), ((*value).to_owned(), Source::Environment))).collect()
    }

    fn well() -> Facts {
        Facts { user: 7, now: WALL_FLOOR, units: Some(Vec::new()), disk_free: Some(DISK_BYTES_LOW), ..Facts::default() }
    }

    /// The worst check of each id on these facts.
    #[track_caller]
    fn worst(facts: &Facts, id: &str, want: Option<Level>) {
        let surroundings =
            Surroundings { variables: environment(&[("RUSTY_PINCH_PROVIDER", "local")]), ..Surroundings::default() };
        let config = Config::load(&surroundings.variables).expect("a configuration");
        let checks = all(&config, &surroundings, facts);
        let unknown: Vec<_> =
            checks.iter().filter(|check| !CHECKS.iter().any(|(known, _)| *known == check.id)).collect();
        assert!(unknown.is_empty(), "not in the table: {unknown:?}");
        let found = checks.iter().filter(|check| check.id == id).map(|check| check.level).max();
        assert_eq!(found, want, "{id}: {checks:#?}");
    }

    #[test]
    fn each_fact_has_its_level() {
        let mib = |count: u64| Facts { disk_free: Some(count << 20), ..well() };
        worst(&mib(512), "disk.free", Some(Level::Ok));
        worst(&mib(511), "disk.free", Some(Level::Warning));
        worst(&mib(63), "disk.free", Some(Level::Error));
        worst(
            &Facts { now: crate::base::clock::Wall(WALL_FLOOR.0 - 1), ..well() },
            "clock.plausible",
            Some(Level::Error),
        );
        worst(&well(), "clock.plausible", None);
        worst(&Facts { synchronised: Some(true), ..well() }, "clock.synchronised", Some(Level::Ok));
        worst(&Facts { synchronised: Some(false), ..well() }, "clock.synchronised", Some(Level::Warning));
        let data = |owner, mode| Facts { data: Some(Access { path: "d".into(), owner, mode }), ..well() };
        worst(&data(7, 0o40_700), "path.mode", None);
        worst(&data(7, 0o40_750), "path.mode", Some(Level::Warning));
        worst(&data(7, 0o40_770), "path.mode", Some(Level::Error));
        worst(&data(7, 0o40_700), "path.owner", None);
        let spent = |tokens| Facts { spent_tokens: tokens, ..well() };
        worst(&spent(1_599_999), "spending", Some(Level::Ok));
        worst(&spent(1_600_000), "spending", Some(Level::Warning));
        worst(&spent(u64::MAX), "spending", Some(Level::Warning));
        let unread = |is_damage| Facts { spending_error: Some(("x".into(), is_damage)), ..well() };
        worst(&unread(true), "spending", Some(Level::Warning));
        worst(&unread(false), "spending", Some(Level::Error));
        worst(&well(), "path.restoring", None);
        worst(&Facts { restoring: true, ..well() }, "path.restoring", Some(Level::Error));
        let stranger = Facts { stranger_to: Some("pi".into()), ..data(8, 0o40_700) };
        worst(&stranger, "path.owner", Some(Level::Warning));
        worst(&Facts { session_bad_lines: 1, ..well() }, "session.damage", Some(Level::Warning));
        let damaged = JournalFacts { channel: "telegram", damage: Some("a hole".into()), ..JournalFacts::default() };
        worst(&Facts { journals: vec![damaged], ..well() }, "journal.damage", Some(Level::Error));
    }
}
