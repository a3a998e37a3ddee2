//! The documents made from [`KEYS`]: `packaging/env.example` and `docs/configuration.md`. A test compares them with the
//! files; `UPDATE_GOLDEN=1 cargo test --test it docs` writes them anew.

use std::fmt::Write;

use crate::config::keys::{FOREIGN, Fate, KEYS, Key, PREFIXES_WITHOUT_EFFECT};
use crate::config::values::Kind;

/// Where values come from: the same sentences in every document.
pub const SOURCES: &[&str] = &[
    "Variables come from the process environment, then from one file: the one named by RUSTY_PINCH_ENV_FILE, else ./.env, \
     else /etc/rusty-pinch/rusty-pinch.env. A blank value means unset, and one in the environment hides the file's.",
    "A secret is taken from the file named by NAME_FILE, else from the systemd credential NAME, else from the environment, \
     else from the env file. Such a file is a regular file of ours or of root, for nobody else (mode 0600; of root also 0640 \
     with a group of ours), of at most 64 KiB; under /run/secrets and /run/credentials its supervisor sees to that.",
    "A value that does not fit ends the program with exit code 78 and a sentence that names the variable and where it came \
     from.",
];

/// `packaging/env.example`: every variable, commented out, with its meaning and default.
pub fn env_example() -> String {
    let mut text = "# Settings of rusty-pinch: one NAME=value a line. Everything has a default; keep this file private (mode 0600).\n\
                    # A '$' begins a variable unless the value stands in single quotes.\n"
        .to_owned();
    for sentences in SOURCES {
        sentences.split_inclusive(". ").for_each(|sentence| text.push_str(&format!("# {}\n", sentence.trim_end())));
    }
    for key in KEYS {
        let fate = if key.fate == Fate::Heeded { String::new() } else { format!(" [{}]", words(key.fate)) };
        let default = key.default.unwrap_or("");
        let _ = write!(text, "\n# {} {}{fate}\n#{}={default}\n", key.doc, range(key.kind), key.name);
    }
    text.push_str("\n# Variables of others, read after ours where they name the same thing:\n");
    for (name, kind) in FOREIGN {
        let _ = write!(text, "\n# {}\n#{name}=\n", range(*kind));
    }
    text
}

/// `docs/configuration.md`: the table of variables, and those of others that are read.
pub fn configuration() -> String {
    let mut text =
        "# Configuration\n\nFor operators: every variable, made from the table in `src/config/keys.rs`.\n".to_owned();
    for sentences in SOURCES {
        let _ = write!(
            text,
            "\n{}\n",
            sentences.replace("NAME_FILE", "`NAME_FILE`").replace("RUSTY_PINCH_ENV_FILE", "`RUSTY_PINCH_ENV_FILE`")
        );
    }
    text.push_str("\n| variable | kind | default | what becomes of it | meaning |\n|---|---|---|---|---|\n");
    for Key { name, kind, default, doc, fate } in KEYS {
        let default = default.map_or("–".to_owned(), |default| format!("`{default}`"));
        // A bar would end the cell.
        let doc = doc.replace('|', "\\|");
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} | {doc} |", range(*kind), words(*fate));
    }
    let prefixes: Vec<String> = PREFIXES_WITHOUT_EFFECT.iter().map(|prefix| format!("`{prefix}`")).collect();
    let _ = writeln!(
        text,
        "\nEverything else that starts with {} has no effect any more, and `doctor` says so.",
        prefixes.join(", ")
    );
    text.push_str("\n## Variables of others\n\nRead after ours, where they name the same thing; a secret also from its file and credential.\n\n");
    text.push_str("| variable | kind |\n|---|---|\n");
    for (name, kind) in FOREIGN {
        let _ = writeln!(text, "| `{name}` | {} |", range(*kind));
    }
    text
}

/// What becomes of a value.
pub fn words(fate: Fate) -> &'static str {
    match fate {
        Fate::Heeded => "heeded",
        Fate::NoEffect => "no effect any more",
        Fate::Foreign => "for the entrypoint or Compose",
    }
}

/// What a value may be, in parentheses.
pub fn range(kind: Kind) -> String {
    match kind {
        Kind::Text => "(text)".to_owned(),
        Kind::Secret => "(secret)".to_owned(),
        Kind::Flag => "(true or false)".to_owned(),
        Kind::Count { min, max: u64::MAX } => format!("(number from {min})"),
        Kind::Count { min, max } => format!("({min} to {max})"),
        Kind::Decimal { min, max } => format!("({min} to {max}, fractions allowed)"),
        Kind::List => "(items separated by commas)".to_owned(),
        Kind::Words => "(words)".to_owned(),
        Kind::Url => "(http:// or https:// URL)".to_owned(),
        Kind::Bridge => "(ws:// or wss:// URL)".to_owned(),
        Kind::Address => "(host:port)".to_owned(),
        Kind::Variable => "(name of a variable)".to_owned(),
        Kind::Token => "(secret, as BotFather gave it)".to_owned(),
        Kind::Accounts => "(accounts)".to_owned(),
        Kind::Choice(words) => format!("({})", words.join(", ")),
        Kind::Chain(words) => format!("(some of {}, separated by commas)", words.join(", ")),
    }
}
