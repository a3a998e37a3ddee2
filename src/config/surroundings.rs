//! [`Surroundings`]: the variables together with how they were found, for those who report on them.

use std::path::PathBuf;

use crate::config::codex_accounts;
use crate::config::env_file::Repeat;
use crate::config::keys::{Environment, KeyError, Reader, Source, all_secret_names, is_secret};
use crate::config::secret::Secret;
use crate::config::settings::Config;

/// The env file, and who may do what with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Where.
    pub path: PathBuf,
    /// Whether a secret is among its settings.
    pub has_secrets: bool,
    /// The permission bits.
    pub mode: u32,
    /// User id of the owner.
    pub owner: u32,
}

/// A file that holds one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The variable.
    pub name: String,
    /// Where.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// User id of the owner.
    pub owner: u32,
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

/// Why the program cannot start: the id of a check of `doctor`, and a sentence that names the variable or the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The check.
    pub check: &'static str,
    /// What is wrong, and what mends it. Never a secret.
    pub sentence: String,
}

/// Everything that was found at start.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Value and source by name.
    pub variables: Environment,
    /// The env file, if there is one.
    pub file: Option<ReadFile>,
    /// Files and credentials whose secrets were read. Of two of one name the first counts.
    pub secret_files: Vec<SecretFile>,
    /// Secrets with sources that differ.
    pub shadows: Vec<Shadow>,
    /// Names that the env file sets twice.
    pub repeats: Vec<Repeat>,
    /// What could surprise: an id of a check, and a sentence.
    pub remarks: Vec<Problem>,
    /// What cannot be used.
    pub problems: Vec<Problem>,
    /// Values of secrets that do not count.
    pub hidden: Vec<Secret>,
}

impl Surroundings {
    /// Notes what could surprise.
    pub fn remark(&mut self, check: &'static str, sentence: String) {
        self.remarks.push(Problem { check, sentence });
    }

    /// Notes what cannot be used.
    pub fn problem(&mut self, check: &'static str, sentence: String) {
        self.problems.push(Problem { check, sentence });
    }

    /// Decides which of a secret's values counts: the first that is not blank. The candidates stand in the order of their
    /// precedence. A variable that is set and blank hides the env file, as it does for every setting.
    pub fn settle(&mut self, name: &str, candidates: Vec<(String, Source)>) {
        let is_blank = |value: &str| value.trim().is_empty();
        let hides = candidates.iter().any(|(value, source)| *source == Source::Environment && is_blank(value));
        let mut set = candidates.into_iter().filter(|(value, _)| !is_blank(value));
        let Some((value, used)) = set.next() else { return };
        if let (true, Source::EnvFile { .. }) = (hides, &used) {
            self.remark(
                "config.surprise",
                format!("{name} is blank in the environment, so its value does not count ({used})"),
            );
            self.hidden.push(Secret::new(value.trim().to_owned()));
            return;
        }
        for (other, unused) in set.filter(|(other, _)| other.trim() != value.trim()) {
            self.shadows.push(Shadow { name: name.to_owned(), used: used.clone(), unused });
            self.hidden.push(Secret::new(other.trim().to_owned()));
        }
        self.variables.insert(name.to_owned(), (value, used));
    }

    /// The checked configuration. Its secrets are all of ours.
    pub fn config(&self) -> Result<Config, KeyError> {
        Config::load_with(&self.variables, self.secrets())
    }

    /// Every secret that is set somewhere, whether or not it counts, so that no output ever holds one.
    pub fn secrets(&self) -> Vec<Secret> {
        let repeats = self.repeats.iter().filter(|repeat| is_secret(&repeat.name));
        let repeats = repeats.map(|repeat| Secret::new(repeat.value.trim().to_owned()));
        let mut secrets: Vec<Secret> =
            secrets(&self.variables).into_iter().chain(self.hidden.iter().cloned()).collect();
        secrets.extend(repeats);
        // Of two that begin alike the longer one goes first, or its end would stay.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        secrets
    }
}

/// The secrets among the variables.
pub fn secrets(variables: &Environment) -> Vec<Secret> {
    let reader = Reader(variables);
    let others = codex_accounts::own_names(&reader);
    let known = all_secret_names().filter_map(|name| variables.get(name));
    let values = known.chain(others.iter().filter_map(|name| variables.get(name))).map(|(value, _)| value.trim());
    let of_proxies = variables.iter().filter_map(|(name, (value, _))| proxy_password(name, value));
    values.chain(of_proxies).filter(|value| !value.is_empty()).map(|value| Secret::new(value.to_owned())).collect()
}

/// The password in the URL of a proxy.
fn proxy_password<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    let end = name.get(name.len().checked_sub(6)?..)?;
    let (_, rest) = value.split_once("://").filter(|_| end.eq_ignore_ascii_case("_proxy"))?;
    rest.rsplit_once('@')?.0.split_once(':').map(|(_, password)| password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(values: &[(&str, Source)]) -> Vec<(String, Source)> {
        values.iter().map(|(value, source)| ((*value).to_owned(), source.clone())).collect()
    }

    const LINE: Source = Source::EnvFile { line: 4 };

    #[track_caller]
    fn check(values: &[(&str, Source)], counts: Option<&str>, unused: &[Source]) {
        let mut found = Surroundings::default();
        found.settle("KEY", candidates(values));
        assert_eq!(found.variables.get("KEY").map(|(value, _)| value.as_str()), counts);
        let used = found.variables.get("KEY").map(|(_, source)| source);
        assert!(found.shadows.iter().all(|shadow| Some(&shadow.used) == used), "{:?}", found.shadows);
        assert!(found.shadows.iter().map(|shadow| &shadow.unused).eq(unused), "{:?}", found.shadows);
    }

    #[test]
    fn the_first_that_is_not_blank_counts_and_the_others_are_told_if_they_differ() {
        use Source::{Credential, Environment, File};
        check(&[], None, &[]);
        check(&[("a", File), ("a", Environment), (" a\n", LINE)], Some("a"), &[]);
        check(
            &[("a", File), ("b", Credential), ("c", Environment), ("d", LINE)],
            Some("a"),
            &[Credential, Environment, LINE],
        );
        check(&[("a", Credential), (" ", Environment), ("b", LINE)], Some("a"), &[LINE]);
        check(&[("a", Environment), ("", LINE)], Some("a"), &[]);
        check(&[("", Environment), ("a", LINE)], None, &[]);
    }

    #[test]
    fn secrets_are_those_that_count_those_that_do_not_and_those_of_named_variables() {
        let mut found = Surroundings::default();
        for (name, value) in [
            ("RUSTY_PINCH_HEALTH_TOKEN", "1"),
            ("GROQ_API_KEY", " 22 "),
            ("CODEX_API_KEY", "333"),
            ("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", "MINE"),
            ("RUSTY_PINCH_CODEX_ACCOUNTS", "a|OURS;b | THEIRS |5;c"),
            ("MINE", "4444"),
            ("OURS", "55555"),
            ("THEIRS", "666666"),
            ("https_proxy", "http://me:7777777@proxy:1"),
            ("RUSTY_PINCH_MODEL", "no secret"),
            ("RUSTY_PINCH_API_KEY", " "),
        ] {
            found.variables.insert(name.to_owned(), (value.to_owned(), Source::Environment));
        }
        found.settle("OPENAI_API_KEY", candidates(&[("88888888", Source::File), ("999999999", LINE)]));
        found.repeats.push(Repeat { name: "OPENAI_API_KEY".into(), first: 1, line: 2, value: "0".repeat(10) });
        let secrets: Vec<usize> = found.secrets().iter().map(|secret| secret.reveal().len()).collect();
        assert_eq!(secrets, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
