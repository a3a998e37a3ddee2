//! Where secrets came from, which of their sources are hidden by another of a different value, and who can read the env
//! file. Values are compared here and never shown.

use crate::config::chain::key_names_at;
use crate::config::keys::Environment;
use crate::config::settings::{Config, ProviderKind};
use crate::config::surroundings::{ReadFile, Shadow, Surroundings};
use crate::doctor::report::Check;

/// All checks about secrets.
pub fn checks(surroundings: &Surroundings, config: &Config) -> Vec<Check> {
    let mut checks: Vec<Check> = surroundings.shadows.iter().map(shadow).collect();
    checks.extend(hidden_names(&surroundings.variables, config.chain().map(|settings| settings.kind)));
    checks.extend(surroundings.file.iter().filter_map(settings_file));
    checks
}

fn shadow(shadow: &Shadow) -> Check {
    let Shadow { name, used, unused } = shadow;
    Check::warning(
        "secret.shadowed",
        format!("{name} comes from {used}; {unused} has another value, which is not used"),
        "remove the one that is out of date",
    )
}

/// The same key under several names, of which the first counts; for everybody in the chain. A name that another one in the chain
/// uses is not hidden.
fn hidden_names(variables: &Environment, kinds: impl Iterator<Item = ProviderKind>) -> Vec<Check> {
    let set = |name: &'static str| {
        let value = variables.get(name)?.0.trim();
        (!value.is_empty()).then_some((name, value))
    };
    let names = kinds.enumerate().map(|(place, kind)| key_names_at(kind, place == 0).filter_map(set).collect());
    let names: Vec<Vec<_>> = names.collect();
    let used: Vec<_> = names.iter().filter_map(|names| names.first().copied()).collect();
    let hidden = names.iter().flat_map(|names| names.iter().map(|name| (names[0], *name)));
    let hidden = hidden.filter(|((_, value), (name, other))| value != other && used.iter().all(|used| used.0 != *name));
    let mut told = Vec::new();
    // The same kind twice hides the same names.
    for ((used, _), (name, _)) in hidden {
        let sentence = format!("{used} is used; {name} has another value, which is not used");
        let check = Check::warning("secret.shadowed", sentence, format!("remove {name}, or {used}"));
        if !told.contains(&check) {
            told.push(check);
        }
    }
    told
}

/// Everyone may read settings, but not secrets; nobody else may write them.
fn settings_file(file: &ReadFile) -> Option<Check> {
    let path = file.path.display();
    if file.mode & 0o022 != 0 {
        let sentence = format!("{path} can be changed by others than its owner (mode {:03o})", file.mode & 0o777);
        Some(Check::warning("config.env_file", sentence, format!("chmod go-w {path}")))
    } else if file.has_secrets && file.mode & 0o004 != 0 {
        let sentence = format!("{path} holds secrets and can be read by every user (mode {:03o})", file.mode & 0o777);
        Some(Check::warning("config.env_file", sentence, format!("chmod o-r {path}")))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Source;

    fn file(has_secrets: bool, mode: u32) -> ReadFile {
        ReadFile { path: "/s/env".into(), has_secrets, mode: 0o100_000 | mode, owner: 7 }
    }

    #[test]
    fn settings_without_secrets_may_be_read() {
        assert_eq!(settings_file(&file(false, 0o644)), None);
        assert!(settings_file(&file(false, 0o664)).is_some());
        let found = settings_file(&file(true, 0o644)).expect("a warning");
        assert_eq!(found.remedy, "chmod o-r /s/env");
        assert_eq!(settings_file(&file(true, 0o640)), None);
    }

    #[test]
    fn another_value_under_a_later_name_is_named() {
        let mut variables = Environment::new();
        for (name, value) in [("RUSTY_PINCH_API_KEY", "same"), ("OPENAI_API_KEY", "other"), ("GROQ_API_KEY", "x")] {
            variables.insert(name.to_owned(), (value.to_owned(), Source::Environment));
        }
        let found = hidden_names(&variables, [ProviderKind::OpenAi].into_iter());
        assert_eq!(found.len(), 1);
        assert!(found[0].sentence.starts_with("RUSTY_PINCH_API_KEY is used; OPENAI_API_KEY"), "{found:?}");
        assert!(hidden_names(&variables, [ProviderKind::Local].into_iter()).is_empty());
        // Behind another provider, the common name is not its own.
        variables.insert("PICOCLAW_PROVIDERS_OPENAI_API_KEY".to_owned(), ("old".to_owned(), Source::Environment));
        let found = hidden_names(&variables, [ProviderKind::Codex, ProviderKind::OpenAi].into_iter());
        assert_eq!(found.len(), 1);
        assert!(found[0].sentence.starts_with("OPENAI_API_KEY is used; PICOCLAW_PROVIDERS_OPENAI"), "{found:?}");
        // The second entry uses what the first one hides, and what nobody uses is told of once for each that hides it.
        let found = hidden_names(&variables, [ProviderKind::OpenAi; 3].into_iter());
        assert!(found.len() == 2 && found.iter().all(|check| check.sentence.contains("; PICOCLAW")), "{found:?}");
    }
}
