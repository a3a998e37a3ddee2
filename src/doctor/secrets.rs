//! Where secrets came from, which of their sources are hidden by another of a different value, and who can read their
//! files. Values are compared here and never shown.

use std::path::Path;

use crate::config::keys::Environment;
use crate::config::settings::{ProviderKind, key_names};
use crate::config::surroundings::{Purpose, ReadFile, Shadow, Surroundings};
use crate::doctor::report::Check;

/// Folders whose files a supervisor protects: systemd's credentials and the secrets of containers.
const PROTECTED: &[&str] = &["/run/secrets", "/run/credentials"];

/// All checks about secrets.
pub fn checks(surroundings: &Surroundings, kind: ProviderKind, user: u32) -> Vec<Check> {
    let mut checks: Vec<Check> = surroundings.shadows.iter().map(shadow).collect();
    checks.extend(hidden_names(&surroundings.variables, kind));
    checks.extend(surroundings.files.iter().filter_map(|file| file_check(file, user)));
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

fn file_check(file: &ReadFile, user: u32) -> Option<Check> {
    match file.purpose {
        Purpose::Settings | Purpose::SettingsAndSecrets => settings_file(file),
        Purpose::Secret => secret_file(file, user),
    }
}

/// Everyone may read settings, but not secrets; nobody else may write them.
fn settings_file(file: &ReadFile) -> Option<Check> {
    let path = file.path.display();
    if file.mode & 0o022 != 0 {
        let sentence = format!("{path} can be changed by others than its owner (mode {:03o})", file.mode & 0o777);
        Some(Check::warning("config.env_file", sentence, format!("chmod go-w {path}")))
    } else if file.purpose == Purpose::SettingsAndSecrets && file.mode & 0o004 != 0 {
        let sentence = format!("{path} holds secrets and can be read by every user (mode {:03o})", file.mode & 0o777);
        Some(Check::warning("config.env_file", sentence, format!("chmod o-r {path}")))
    } else {
        None
    }
}

fn secret_file(file: &ReadFile, user: u32) -> Option<Check> {
    let path = file.path.display();
    let mode = file.mode & 0o777;
    if PROTECTED.iter().any(|folder| file.path.starts_with(Path::new(folder))) {
        return None;
    }
    // A package installs secrets as root's, readable by the group of the service.
    let allowed = if file.owner == 0 { 0o740 } else { 0o700 };
    if file.owner != 0 && file.owner != user {
        let sentence = format!("{path} belongs to another user, who can change it (user id {})", file.owner);
        Some(Check::warning("secret.mode", sentence, format!("sudo chown $(id -u) {path}")))
    } else if mode & !allowed != 0 {
        let sentence = format!("{path} can be used by others than its owner (mode {mode:03o})");
        Some(Check::warning("secret.mode", sentence, format!("chmod {:03o} {path}", mode & allowed & 0o640)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Source;

    fn file(purpose: Purpose, owner: u32, mode: u32) -> ReadFile {
        ReadFile { path: "/s/key".into(), purpose, owner, mode: 0o100_000 | mode }
    }

    #[test]
    fn modes_and_owners_of_secret_files() {
        for (owner, mode, want) in [
            (1000, 0o600, None),
            (1000, 0o400, None),
            (0, 0o640, None),
            (1000, 0o640, Some("chmod 600 /s/key")),
            (1000, 0o644, Some("chmod 600 /s/key")),
            (0, 0o644, Some("chmod 640 /s/key")),
            (0, 0o660, Some("chmod 640 /s/key")),
            (1001, 0o600, Some("sudo chown $(id -u) /s/key")),
        ] {
            let found = secret_file(&file(Purpose::Secret, owner, mode), 1000);
            assert_eq!(found.map(|check| check.remedy), want.map(str::to_owned), "{owner} {mode:o}");
        }
        let credential = ReadFile { path: "/run/credentials/unit/KEY".into(), ..file(Purpose::Secret, 1, 0o777) };
        assert_eq!(secret_file(&credential, 1000), None);
    }

    #[test]
    fn settings_without_secrets_may_be_read() {
        assert_eq!(settings_file(&file(Purpose::Settings, 0, 0o644)), None);
        assert!(settings_file(&file(Purpose::Settings, 0, 0o664)).is_some());
        let found = settings_file(&file(Purpose::SettingsAndSecrets, 0, 0o644)).expect("a warning");
        assert_eq!(found.remedy, "chmod o-r /s/key");
        assert_eq!(settings_file(&file(Purpose::SettingsAndSecrets, 0, 0o640)), None);
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
