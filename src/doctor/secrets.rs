//! Where secrets came from, which of their sources are hidden by another of a different value, and who can read the env
//! file. Values are compared here and never shown.

use crate::config::keys::Environment;
use crate::config::settings::{ProviderKind, key_names};
use crate::config::surroundings::{ReadFile, Shadow, Surroundings};
use crate::doctor::report::Check;

/// All checks about secrets.
pub fn checks(surroundings: &Surroundings, kind: ProviderKind) -> Vec<Check> {
    let mut checks: Vec<Check> = surroundings.shadows.iter().map(shadow).collect();
    checks.extend(hidden_names(&surroundings.variables, kind));
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

/// The same key under several names, of which the first counts.
fn hidden_names(variables: &Environment, kind: ProviderKind) -> Vec<Check> {
    let mut set = key_names(kind).iter().filter_map(|name| {
        let (value, _) = variables.get(*name)?;
        (!value.trim().is_empty()).then_some((*name, value.trim()))
    });
    let Some((used, value)) = set.next() else { return Vec::new() };
    let hidden = set.filter(|(_, other)| *other != value);
    let check = |(name, _)| {
        let sentence = format!("{used} is used; {name} has another value, which is not used");
        Check::warning("secret.shadowed", sentence, format!("remove {name}, or {used}"))
    };
    hidden.map(check).collect()
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
        let found = hidden_names(&variables, ProviderKind::OpenAi);
        assert_eq!(found.len(), 1);
        assert!(found[0].sentence.starts_with("RUSTY_PINCH_API_KEY is used; OPENAI_API_KEY"), "{found:?}");
        assert!(hidden_names(&variables, ProviderKind::Local).is_empty());
    }
}
