//! [`Surroundings`]: the variables together with how they were found, for those who report on them.

use std::path::PathBuf;

use crate::config::env_file::Repeat;
use crate::config::keys::{Environment, Source};

/// What a file was read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Settings: the env file.
    Settings,
    /// Settings with a secret among them.
    SettingsAndSecrets,
    /// One secret.
    Secret,
}

/// A file that was read, and who may do what with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Where.
    pub path: PathBuf,
    /// What for.
    pub purpose: Purpose,
    /// User id of the owner.
    pub owner: u32,
    /// The permission bits.
    pub mode: u32,
}

/// A secret with two sources that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The variable.
    pub name: String,
    /// The source whose value counts.
    pub used: Source,
    /// The other one.
    pub unused: Source,
}

/// Everything that was found at start.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Value and source by name.
    pub variables: Environment,
    /// Files that were read, in that order.
    pub files: Vec<ReadFile>,
    /// Secrets with sources that differ.
    pub shadows: Vec<Shadow>,
    /// Names that the env file sets twice.
    pub repeats: Vec<Repeat>,
}

impl Surroundings {
    /// Adds a value that counts more than what there is.
    pub fn overrule(&mut self, name: &str, value: String, source: Source) {
        if let Some((hidden, unused)) = self.variables.get(name).filter(|(hidden, _)| !hidden.trim().is_empty())
            && hidden.trim() != value.trim()
        {
            let shadow = Shadow { name: name.to_owned(), used: source.clone(), unused: unused.clone() };
            self.shadows.push(shadow);
        }
        self.variables.insert(name.to_owned(), (value, source));
    }

    /// Adds a value that counts less than what there is. Differences matter for a secret only: settings are overruled on
    /// purpose.
    pub fn underlay(&mut self, name: String, value: String, source: Source, is_secret: bool) {
        match self.variables.get(&name) {
            None => {
                self.variables.insert(name, (value, source));
            }
            Some((counts, used)) if is_secret && counts.trim() != value.trim() && !value.trim().is_empty() => {
                self.shadows.push(Shadow { name, used: used.clone(), unused: source });
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_values_are_noted_when_they_differ() {
        let mut found = Surroundings::default();
        found.overrule("KEY", "a".to_owned(), Source::Environment);
        found.underlay("KEY".to_owned(), "a".to_owned(), Source::EnvFile { line: 1 }, true);
        found.underlay("KEY".to_owned(), "".to_owned(), Source::EnvFile { line: 2 }, true);
        found.underlay("PLAIN".to_owned(), "x".to_owned(), Source::EnvFile { line: 3 }, false);
        assert_eq!(found.shadows, []);
        found.underlay("KEY".to_owned(), "b".to_owned(), Source::EnvFile { line: 4 }, true);
        found.overrule("KEY", "c".to_owned(), Source::File);
        let noted: Vec<_> = found.shadows.iter().map(|shadow| (&shadow.used, &shadow.unused)).collect();
        let line = Source::EnvFile { line: 4 };
        assert_eq!(noted, [(&Source::Environment, &line), (&Source::File, &Source::Environment)]);
        assert_eq!(found.variables["KEY"].0, "c");
    }
}
