//! Documents are true: generated ones equal their tables, links and paths resolve, and every test that
//! docs/guarantees.md names exists. Breakages seen to fail: a renamed test, a moved file, an edited default.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rusty_pinch::cli;
use rusty_pinch::config::document;
use rusty_pinch::config::keys::{Fate, KEYS};

use crate::support::cases::say;
use crate::support::repository::{files, read, root, test_names};

fn documents() -> Vec<PathBuf> {
    let mut documents = files(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    documents
}

/// With UPDATE_GOLDEN=1 the file is written anew, and the test still fails once, so that nobody forgets to look.
#[track_caller]
fn equals(path: &str, want: &str) {
    let path = root().join(path);
    let got = fs::read_to_string(&path).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "how a person asks for new files")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if got != want && update {
        fs::write(&path, want).expect("written");
    }
    assert!(got == want, "{} differs from its table: run UPDATE_GOLDEN=1 cargo test --test it docs", path.display());
}

#[test]
fn the_example_of_settings_is_made_from_the_table() {
    equals("packaging/env.example", &document::env_example());
}

#[test]
fn the_table_of_settings_is_made_from_the_table() {
    equals("docs/configuration.md", &document::configuration());
}

#[test]
fn every_guarantee_names_tests_that_exist_or_says_pending() {
    let known = test_names();
    let text = read(&root().join("docs/guarantees.md"));
    let mut rows = 0;
    for row in
        text.lines().filter(|line| line.starts_with("| ") && !line.contains("---") && !line.contains("proven by"))
    {
        rows += 1;
        let proof = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || proof.contains("pending"), "no test and not pending: {row}");
        let missing: Vec<&&str> =
            named.iter().filter(|name| !known.contains(name.rsplit("::").next().unwrap_or(name))).collect();
        assert!(missing.is_empty(), "no such test: {missing:?} in {row}");
    }
    assert!(rows > 20, "the table has {rows} rows");
}

/// Where `[text](target)` leads, without anchors and addresses.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
}

#[test]
fn links_lead_to_files_of_the_repository() {
    for document in documents() {
        let text = read(&document);
        for target in links(&text).filter(|target| !target.is_empty() && !target.contains("://")) {
            let path = document.parent().expect("a folder").join(target);
            assert!(path.exists(), "{}: there is no {target}", document.display());
        }
    }
}

#[test]
fn every_document_says_for_whom_it_is() {
    for document in documents() {
        let text = read(&document);
        assert!(
            text.lines().take(4).any(|line| line.starts_with("For ") || line.starts_with("An assistant")),
            "{}",
            document.display()
        );
    }
}

#[test]
fn variables_and_make_targets_in_documents_exist() {
    let keys: Vec<&str> = rusty_pinch::config::keys::known_names().map(|(name, _)| name).collect();
    let makefile = read(&root().join("Makefile"));
    for document in documents() {
        let text = read(&document);
        for name in text
            .split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
            .filter(|word| word.starts_with("RUSTY_PINCH_"))
        {
            let plain = name.strip_suffix("_FILE").unwrap_or(name);
            let known = keys.contains(&name) || keys.contains(&plain) || name == "RUSTY_PINCH_ENV_FILE";
            assert!(known || name.ends_with('_'), "{}: there is no {name}", document.display());
        }
        for target in text.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ']).next()) {
            assert!(makefile.contains(&format!("\n{target}:")), "{}: there is no make {target}", document.display());
        }
    }
}

/// The documents made from the tables of the command line, with where they are kept.
fn command_documents() -> [(&'static str, String); 5] {
    [
        ("docs/cli.md", cli::document::markdown()),
        ("docs/rusty-pinch.1", cli::document::man_page()),
        ("packaging/completions/rusty-pinch.bash", cli::document::bash()),
        ("packaging/completions/_rusty-pinch", cli::document::zsh()),
        ("packaging/completions/rusty-pinch.fish", cli::document::fish()),
    ]
}

#[test]
fn the_documents_of_commands_are_made_from_their_tables() {
    // All are written before the first difference is told.
    let outcomes = command_documents().map(|(path, want)| std::panic::catch_unwind(|| equals(path, &want)));
    outcomes.into_iter().for_each(|outcome| outcome.unwrap_or_else(|told| std::panic::resume_unwind(told)));
}

/// Seen to fail with `--confirm` left out of the completions.
#[test]
fn every_command_and_option_is_in_every_document() {
    for (path, text) in command_documents() {
        let plain = text.replace("\\-", "-");
        // The last word of a command stands alone in a completion, behind a place named with the words before it.
        let is_shell = path.starts_with("packaging");
        for command in cli::flags::COMMANDS {
            let words = if is_shell { &command.words[command.words.len() - 1..] } else { command.words };
            assert!(plain.contains(&words.join(" ")), "{path}: {words:?}");
            for option in command.options {
                let dashes = if path.ends_with(".fish") { "-l " } else { "--" };
                let place = if path.ends_with(".fish") {
                    format!("behind {}'", command.words.join(" "))
                } else {
                    command.words.join(" ")
                };
                let wanted = format!("{dashes}{}", option.name);
                let is_there = plain.match_indices(&place).any(|(at, _)| plain[at..].contains(&wanted));
                assert!(is_there, "{path}: {wanted} of {place}");
            }
        }
        let heeded = KEYS.iter().filter(|key| key.fate == Fate::Heeded && path.ends_with(".1"));
        for key in heeded {
            assert!(plain.contains(key.name), "{path}: {}", key.name);
        }
    }
}

/// A program of the machine that reads a document and says what is wrong with it.
#[track_caller]
fn judged_by(program: &str, arguments: &[&str], path: &str) {
    let outcome = Command::new(program).args(arguments).arg(root().join(path)).output();
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => say(&format!("skip: no {program} for {path}")),
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{program} {path}: {}", String::from_utf8_lossy(&said));
        }
    }
}

#[test]
fn shells_and_manual_readers_understand_what_is_made_for_them() {
    judged_by("bash", &["-n"], "packaging/completions/rusty-pinch.bash");
    judged_by("zsh", &["-n"], "packaging/completions/_rusty-pinch");
    judged_by("fish", &["--no-execute"], "packaging/completions/rusty-pinch.fish");
    judged_by("mandoc", &["-T", "lint", "-W", "error"], "docs/rusty-pinch.1");
    judged_by("man", &["--warnings", "-l"], "docs/rusty-pinch.1");
}

/// What bash offers, asked of bash itself.
#[test]
fn completions_offer_what_fits() {
    let script = root().join("packaging/completions/rusty-pinch.bash");
    for (typed, offered) in [
        ("st", "stats"),
        ("tools ", "list run --help --version"),
        ("session --s", "--session"),
        ("session export --session x --fo", "--format"),
        ("session export --format j", "jsonl json"),
        ("run --message ", ""),
    ] {
        let ask = format!(
            "source '{}'; COMP_WORDS=(rusty-pinch {typed}{}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _rusty_pinch; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            if typed.ends_with(' ') { "''" } else { "" }
        );
        match Command::new("bash").args(["-c", &ask]).output() {
            Err(error) => return say(&format!("skip: no bash ({error})")),
            Ok(output) => {
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), offered, "{typed}: {output:?}")
            }
        }
    }
}
