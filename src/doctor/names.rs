//! Variables that do nothing, or not what was meant: misspelt, of the earlier runtime, of a later version, set twice.

use crate::base::nearest::nearest;
use crate::config::env_file::Repeat;
use crate::config::keys::{Environment, Fate, KEYS, Kind, PREFIXES_WITHOUT_EFFECT};
use crate::doctor::report::Check;

/// One check for each variable of ours that does nothing; none for the others.
pub fn checks(environment: &Environment) -> Vec<Check> {
    let set = environment.iter().map(|(name, (value, _))| (name, value.trim()));
    let ours = set.filter(|(name, value)| name.starts_with("RUSTY_PINCH_") && !value.is_empty());
    ours.filter_map(|(name, value)| check(name, value)).collect()
}

/// A line of the env file that a person may think counts.
pub fn repeat(repeat: &Repeat) -> Check {
    let Repeat { name, first, line } = repeat;
    let sentence =
        format!("the env file sets {name} in line {first} and to another value in line {line}; the first counts");
    Check::warning("config.duplicate", sentence, "remove one of them")
}

fn check(name: &str, value: &str) -> Option<Check> {
    let key = |name: &str| KEYS.iter().find(|key| key.name == name);
    let of_a_secret = name.strip_suffix("_FILE").and_then(key).is_some_and(|key| matches!(key.kind, Kind::Secret));
    if of_a_secret || name == "RUSTY_PINCH_ENV_FILE" {
        return None;
    }
    let gone = PREFIXES_WITHOUT_EFFECT.iter().any(|prefix| name.starts_with(prefix));
    match key(name).map(|key| (key.fate, key.default)) {
        Some((Fate::Heeded | Fate::Foreign, _)) => None,
        // What holds anyway is no news; the templates of earlier deployments write it out.
        Some((Fate::Later, Some(default))) if value == default => None,
        Some((Fate::Later, _)) => {
            Some(Check::warning("config.later", format!("{name} is set, and this version does not heed it yet"), ""))
        }
        Some((Fate::NoEffect, _)) => Some(without_effect(name)),
        None if gone => Some(without_effect(name)),
        None => Some(unknown(name)),
    }
}

fn without_effect(name: &str) -> Check {
    Check::warning("config.no_effect", format!("{name} is set and has no effect any more"), "it may be removed")
}

fn unknown(name: &str) -> Check {
    let remedy = match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(known) => format!("did you mean {known}?"),
        None => "docs/configuration.md lists them".to_owned(),
    };
    Check::warning("config.unknown", format!("{name} is not a variable of ours"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(name: &str, want: Option<(&str, &str)>) {
        let found = check(name, "set");
        let got = found.as_ref().map(|check| (check.id, check.remedy.as_str()));
        assert_eq!(got, want, "{name}");
    }

    #[test]
    fn each_name_is_known_or_explained() {
        says("RUSTY_PINCH_MODEL", None);
        says("RUSTY_PINCH_API_KEY_FILE", None);
        says("RUSTY_PINCH_ENV_FILE", None);
        says("RUSTY_PINCH_IMAGE", None);
        says("RUSTY_PINCH_MODELL", Some(("config.unknown", "did you mean RUSTY_PINCH_MODEL?")));
        says("RUSTY_PINCH_MODEL_FILE", Some(("config.unknown", "docs/configuration.md lists them")));
        says("RUSTY_PINCH_QQQ", Some(("config.unknown", "docs/configuration.md lists them")));
        says("RUSTY_PINCH_BUS_CAPACITY", Some(("config.no_effect", "it may be removed")));
        says("RUSTY_PINCH_EVOLUTION_ANYTHING", Some(("config.no_effect", "it may be removed")));
    }
}
