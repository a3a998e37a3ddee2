//! All checks in the order a person would ask: settings and facts in, verdicts out. Pure, so that each is a table row in a
//! test. Most subjects have a file beside this one; here are the rest: units, proxies, the clock.

use crate::base::clock::WALL_FLOOR;
use crate::config::remarks::remarks;
use crate::config::settings::Config;
use crate::config::surroundings::Surroundings;
use crate::doctor::facts::Facts;
use crate::doctor::report::Check;
use crate::doctor::{channels, data, host, models, names, secrets, service, workers};

/// Everything, in the order a person would ask.
pub fn all(config: &Config, surroundings: &Surroundings, facts: &Facts) -> Vec<Check> {
    let mut checks = names::checks(surroundings);
    let remarks = remarks(&surroundings.variables, config);
    checks.extend(remarks.into_iter().map(|remark| Check::warning("config.surprise", remark, "")));
    checks.extend(secrets::checks(surroundings, config));
    checks.extend(models::checks(config, facts));
    checks.extend(channels::telegram(config, facts));
    checks.extend(channels::whatsapp(config));
    checks.extend(proxies(surroundings));
    checks.extend(host::checks(config, facts));
    checks.extend(units(facts));
    checks.extend(facts.data.as_ref().and_then(data::data_folder));
    checks.extend(facts.restoring.then(data::restoring));
    checks.extend(facts.disk_free.map(|free| data::disk(free, config)));
    checks.extend(clock(facts));
    match &facts.stranger_to {
        Some(owner) => checks.push(data::stranger(owner, facts)),
        None => {
            checks.extend(data::contents(config, facts));
            checks.push(models::spending(config, facts));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Environment, Source};
    use crate::doctor::data::DISK_BYTES_LOW;
    use crate::doctor::facts::{Access, JournalFacts};
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
