//! `doctor --secrets`: where each secret comes from and what has to be done after it was changed. Pure. Never a value or a part
//! of one: a fingerprint tells two values apart, and a class of lengths tells a key from a mistake.

use std::fmt::Write;

use serde_json::json;

use crate::config::keys::{Source, secret_names};
use crate::config::rotation::Slot;
use crate::config::secret::Secret;
use crate::config::surroundings::{SecretFile, Surroundings};

/// A secret that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its variable.
    pub name: String,
    /// Who sends it to whom; none: nobody, with these settings.
    pub users: Vec<String>,
    /// Where its value comes from.
    pub source: Source,
    /// The file it stands in.
    pub file: Option<SecretFile>,
    /// Sources of another value, which does not count.
    pub shadowed: Vec<String>,
    /// How long it is, about.
    pub length: &'static str,
    /// Of its value.
    pub fingerprint: String,
}

/// Every secret that is set, in the order of the table of variables; those of `slots` whose names are the operator's come last.
pub fn rows(surroundings: &Surroundings, slots: &[Slot]) -> Vec<Row> {
    let mut names: Vec<&str> = secret_names().collect();
    names.extend(slots.iter().map(|slot| slot.name.as_str()));
    let first = |at: usize| names.iter().position(|name| *name == names[at]) == Some(at);
    (0..names.len()).filter(|at| first(*at)).filter_map(|at| row(surroundings, slots, names[at])).collect()
}

fn row(surroundings: &Surroundings, slots: &[Slot], name: &str) -> Option<Row> {
    let (value, source) = surroundings.variables.get(name).filter(|(value, _)| !value.trim().is_empty())?;
    let value = value.trim();
    let of_env_file = || {
        let file = surroundings.file.as_ref()?;
        Some(SecretFile { name: name.to_owned(), path: file.path.clone(), mode: file.mode, owner: file.owner })
    };
    let of_its_own = || surroundings.secret_files.iter().find(|file| file.name == name).cloned();
    let shadows = surroundings.shadows.iter().filter(|shadow| shadow.name == name);
    Some(Row {
        name: name.to_owned(),
        users: slots.iter().filter(|slot| slot.name == name).map(|slot| slot.user.clone()).collect(),
        source: source.clone(),
        file: match source {
            Source::File | Source::Credential => of_its_own(),
            Source::EnvFile { .. } => of_env_file(),
            Source::Environment | Source::Default => None,
        },
        shadowed: shadows.map(|shadow| shadow.unused.to_string()).collect(),
        length: length(value.len()),
        fingerprint: Secret::new(value.to_owned()).fingerprint(),
    })
}

fn length(bytes: usize) -> &'static str {
    match bytes {
        0..16 => "under 16 characters",
        16..32 => "16 to 31 characters",
        32..64 => "32 to 63 characters",
        64..128 => "64 to 127 characters",
        _ => "128 characters and more",
    }
}

impl Row {
    fn is_reloadable(&self) -> bool {
        !self.users.is_empty() && matches!(self.source, Source::File | Source::EnvFile { .. })
    }

    /// What puts another value to use.
    fn after_a_change(&self) -> &'static str {
        match self.source {
            _ if self.users.is_empty() => "nothing: it is not used",
            Source::File | Source::EnvFile { .. } => "SIGHUP",
            Source::Credential => "restart needed: systemd keeps it as it was at the start",
            Source::Environment | Source::Default => "restart needed: it is part of the process",
        }
    }
}

/// A few lines for each.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::from(if rows.is_empty() { "no secret is set\n" } else { "" });
    for row in rows {
        let list = |items: &[String], none: &str| if items.is_empty() { none.to_owned() } else { items.join(", ") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n  used by: {}\n  source: {}", row.name, list(&row.users, "nobody"), row.source);
        if let Some(SecretFile { path, mode, owner, .. }) = &row.file {
            let _ = writeln!(text, "  file: {} (mode {:03o}, user id {owner})", path.display(), mode & 0o777);
        }
        let _ = writeln!(
            text,
            "  shadowed: {}\n  length: {}\n  fingerprint: {}\n  reloadable: {}\n  after a change: {}",
            list(&row.shadowed, "none"),
            row.length,
            row.fingerprint,
            if row.is_reloadable() { "yes" } else { "no" },
            row.after_a_change(),
        );
    }
    text
}

/// `{"secrets": [{"name", "used_by", "source", "path", "mode", "owner", "shadowed", "length", "fingerprint", "reloadable",
/// "after_a_change"}]}`.
pub fn json(rows: &[Row]) -> String {
    let rows = rows.iter().map(|row| {
        let file = row.file.as_ref();
        json!({
            "name": row.name, "used_by": row.users, "source": row.source.to_string(),
            "path": file.map(|file| file.path.to_string_lossy()),
            "mode": file.map(|file| format!("{:03o}", file.mode & 0o777)),
            "owner": file.map(|file| file.owner),
            "shadowed": row.shadowed, "length": row.length, "fingerprint": row.fingerprint,
            "reloadable": row.is_reloadable(), "after_a_change": row.after_a_change(),
        })
    });
    format!("{:#}\n", json!({ "secrets": rows.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rotation;
    use crate::config::surroundings::ReadFile;

    fn found() -> Surroundings {
        let mut found = Surroundings::default();
        let path = std::path::PathBuf::from;
        found.file = Some(ReadFile { path: path("/s/env"), has_secrets: true, mode: 0o100_600, owner: 7 });
        let name = "RUSTY_PINCH_OPENAI_API_KEY".to_owned();
        found.secret_files.push(SecretFile { name, path: path("/s/key"), mode: 0o100_640, owner: 0 });
        let line = Source::EnvFile { line: 3 };
        for (name, value, source) in [
            ("RUSTY_PINCH_PROVIDER", "openai", Source::Environment),
            ("GROQ_API_KEY", "canary-of-nobody", Source::Environment),
            ("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "7:canary-of-a-bot", line),
        ] {
            found.variables.insert(name.to_owned(), (value.to_owned(), source));
        }
        let candidates = [("sk-canary", Source::File), ("canary", Source::Environment)];
        let candidates = candidates.map(|(value, source)| (value.to_owned(), source));
        found.settle("RUSTY_PINCH_OPENAI_API_KEY", candidates.into());
        found
    }

    #[test]
    fn each_secret_has_its_source_its_file_and_what_to_do_and_never_its_value() {
        let found = found();
        let rows = rows(&found, &rotation::slots(&found.config().expect("it fits")));
        let (text, json) = (text(&rows), json(&rows));
        assert!(!text.contains("canary") && !json.contains("canary") && !format!("{rows:?}").contains("canary"));
        let want = "RUSTY_PINCH_OPENAI_API_KEY\n  used by: openai\n  source: the file named by its _FILE variable\n  \
                    file: /s/key (mode 640, user id 0)\n  shadowed: environment\n  length: under 16 characters\n  \
                    fingerprint: 98c8f757\n  reloadable: yes\n  after a change: SIGHUP\n";
        assert!(text.starts_with(want), "{text}");
        let of = |name: &str| rows.iter().find(|row| row.name == name).expect("a row");
        let token = of("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN");
        assert_eq!((token.users.join(" "), token.after_a_change()), ("telegram".to_owned(), "SIGHUP"));
        assert_eq!(token.file.as_ref().map(|file| (file.mode, file.owner)), Some((0o100_600, 7)));
        let nobody = of("GROQ_API_KEY");
        assert!(nobody.users.is_empty() && nobody.file.is_none() && !nobody.is_reloadable(), "{nobody:?}");
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn what_a_process_or_a_supervisor_holds_needs_a_restart() {
        for (source, is_reloadable) in [
            (Source::File, true),
            (Source::EnvFile { line: 1 }, true),
            (Source::Credential, false),
            (Source::Environment, false),
        ] {
            let mut row = rows(&found(), &[]).swap_remove(0);
            (row.source, row.users) = (source, vec!["openai".to_owned()]);
            assert_eq!(row.is_reloadable(), is_reloadable);
            assert_eq!(row.after_a_change().starts_with("restart needed"), !is_reloadable);
        }
    }
}
