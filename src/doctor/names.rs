//! Variables that do nothing, or not what was meant: misspelt, of the earlier runtime, of a later version, set twice.

use crate::base::nearest::nearest;
use crate::config::env_file::Repeat;
use crate::config::keys::{Fate, KEYS, PREFIXES_WITHOUT_EFFECT};
use crate::config::surroundings::Surroundings;
use crate::doctor::report::Check;

/// One check for each variable of ours that does nothing, for each line of the env file that does not count, and for each
/// remark that was made while all was read.
pub fn checks(surroundings: &Surroundings) -> Vec<Check> {
    let set = surroundings.variables.iter().map(|(name, (value, _))| (name, value.trim()));
    let ours = set.filter(|(name, value)| {
        !value.is_empty() && ["RUSTY_PINCH_", "OTEL_"].iter().any(|start| name.starts_with(start))
    });
    let ours = ours.filter_map(|(name, _)| check(name));
    let remarks = surroundings.remarks.iter();
    let remarks = remarks.map(|remark| Check::warning(remark.check, remark.sentence.as_str(), ""));
    ours.chain(surroundings.repeats.iter().map(repeat)).chain(remarks).collect()
}

/// A line of the env file that a person may think counts.
fn repeat(repeat: &Repeat) -> Check {
    let Repeat { name, first, line, .. } = repeat;
    let sentence =
        format!("the env file sets {name} in line {first} and to another value in line {line}; the first counts");
    Check::warning("config.duplicate", sentence, "remove one of them")
}

fn check(name: &str) -> Option<Check> {
    let key = |name: &str| KEYS.iter().find(|key| key.name == name);
    let of_a_secret = name.strip_suffix("_FILE").and_then(key).is_some_and(|key| key.kind.is_secret());
    if of_a_secret {
        return None;
    }
    let gone = PREFIXES_WITHOUT_EFFECT.iter().any(|prefix| name.starts_with(prefix));
    match key(name).map(|key| key.fate) {
        Some(Fate::Heeded | Fate::Foreign) => None,
        Some(Fate::NoEffect) => Some(without_effect(name)),
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
        let found = check(name);
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
        says("OTEL_SERVICE_NAME", Some(("config.no_effect", "it may be removed")));
        says("OTEL_ANYTHING", Some(("config.no_effect", "it may be removed")));
        says("RUSTY_PINCH_EVOLUTION_ANYTHING", Some(("config.no_effect", "it may be removed")));
    }
}
