//! The documents made from [`KEYS`]: `packaging/env.example` and `docs/configuration.md`. A test compares them with the
//! files; `UPDATE_GOLDEN=1 cargo test --test it docs` writes them anew.

use std::fmt::Write;

use crate::config::keys::{FOREIGN, Fate, KEYS, Key, Kind, PREFIXES_WITHOUT_EFFECT};

/// `packaging/env.example`: every variable, commented out, with its meaning and default.
pub fn env_example() -> String {
    let mut text = "# Settings of rusty-pinch: one NAME=value a line. Everything has a default; keep this file private (mode 0600).\n\
                    # A secret may come from a file instead: set NAME_FILE=/path in place of NAME.\n"
        .to_owned();
    for key in heeded() {
        let _ = write!(text, "\n# {} {}\n#{}={}\n", key.doc, range(key.kind), key.name, key.default.unwrap_or(""));
    }
    text
}

/// `docs/configuration.md`: the table of variables, and those of others that are read.
pub fn configuration() -> String {
    let mut text = "# Configuration\n\nFor operators: every variable, made from the table in `src/config/keys.rs`.\n\n\
                    Variables come from the process environment, then from one file: the one named by `RUSTY_PINCH_ENV_FILE`, else \
                    `./.env`, else `/etc/rusty-pinch/rusty-pinch.env`. A blank value means unset. A secret may stand in a file named by \
                    `NAME_FILE`, or be a systemd credential of its name; both beat the variable. A value that does not fit ends the \
                    program with exit code 78 and a sentence that names the variable and where it came from.\n\n\
                    | variable | kind | default | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for key in heeded() {
        let default = key.default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, range(key.kind), key.doc);
    }
    let of = |fate| {
        KEYS.iter()
            .filter(move |key| key.fate == fate)
            .map(|key| format!("`{}`", key.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let _ = writeln!(text, "\nChecked already, and heeded once their feature exists: {}.", of(Fate::Later));
    let _ = writeln!(
        text,
        "\nAccepted without effect, because earlier deployments set them: {}, and everything that starts with {}.",
        of(Fate::NoEffect),
        PREFIXES_WITHOUT_EFFECT.iter().map(|prefix| format!("`{prefix}`")).collect::<Vec<_>>().join(", ")
    );
    let _ = writeln!(text, "\nFor the container's entrypoint and for Compose: {}.", of(Fate::Foreign));
    let names: Vec<String> = FOREIGN.iter().map(|(name, _)| format!("`{name}`")).collect();
    let _ = writeln!(text, "\nRead after ours, where they name the same thing: {}.", names.join(", "));
    text
}

fn heeded() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.fate == Fate::Heeded)
}

fn range(kind: Kind) -> String {
    match kind {
        Kind::Text => "(text)".to_owned(),
        Kind::Secret => "(secret)".to_owned(),
        Kind::Flag => "(true or false)".to_owned(),
        Kind::Count { min, max: u64::MAX } => format!("(number from {min})"),
        Kind::Count { min, max } => format!("({min} to {max})"),
        Kind::Decimal { min, max } => format!("({min} to {max}, fractions allowed)"),
        Kind::List => "(items separated by commas)".to_owned(),
        Kind::Words => "(words)".to_owned(),
        Kind::Choice(words) => format!("({})", words.join(", ")),
        Kind::Choices(words) => format!("(some of {})", words.join(", ")),
    }
}
