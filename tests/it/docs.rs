//! Documents are true: generated ones equal their tables, and all agree with the program (`sync`). Breakages seen to fail:
//! a renamed test, a moved file, an edited default, and every entry of [`ERRORS`].

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rusty_pinch::base::control;
use rusty_pinch::cli;
use rusty_pinch::config::document;
use rusty_pinch::config::keys::{FOREIGN, KEYS};
use rusty_pinch::observe::condition;
use rusty_pinch::provider::document as classes;

use crate::support::cases::say;
use crate::support::repository::root;

use sync::Documents;

/// Examples are run.
mod examples;
mod limits;
mod sync;

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

/// Seen to fail with the method of Telegram's in place of the command, and with an allowlist that takes a restart as the only way.
#[test]
fn the_runbook_names_the_command_that_mends_it() {
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).expect("the runbook");
    for (name, command) in [
        ("webhook_set", "rusty-pinch channels telegram --delete-webhook`"),
        ("allowlist_empty", "rusty-pinch pair telegram`"),
        ("channel_denied", "rusty-pinch pair telegram`"),
    ] {
        let mut rows = runbook.lines().filter(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        assert!(rows.any(|row| row.contains(command)), "{name}");
    }
}

#[test]
fn the_document_of_log_lines_is_made_from_the_table() {
    equals("docs/logs.md", &rusty_pinch::observe::document::markdown());
}

#[test]
fn the_document_of_metrics_is_made_from_the_table() {
    equals("docs/metrics.md", &rusty_pinch::observe::metrics_document::markdown());
}

#[test]
fn the_document_of_checks_is_made_from_the_table() {
    equals("docs/doctor.md", &rusty_pinch::doctor::document::markdown());
}

#[test]
fn the_document_of_limits_is_made_from_the_sources() {
    equals("docs/limits.md", &limits::document());
    let silent = limits::all().iter().filter(|limit| limit.about.is_empty() && limit.area != "bench");
    let silent: Vec<&str> = silent.map(|limit| limit.name.as_str()).collect();
    assert!(silent.is_empty(), "limits that say nothing: {silent:#?}");
}

/// Here only what stands between two marks is made.
#[track_caller]
pub fn holds_between(path: &str, [begin, end]: [&str; 2], table: &str) {
    let text = fs::read_to_string(root().join(path)).expect("a document");
    let (before, rest) = text.split_once(begin).expect("a first mark");
    let (_, after) = rest.split_once(end).expect("a second mark");
    equals(path, &[before, begin, table, end, after].concat());
}

#[test]
fn the_table_of_control_words_is_made_from_the_table() {
    holds_between("docs/control.md", control::MARKS, &control::table());
}

#[test]
fn the_table_of_reasons_is_made_from_the_table() {
    holds_between("docs/production-healthcheck.md", condition::MARKS, &condition::table());
}

#[test]
fn the_table_of_classes_is_made_from_the_table() {
    holds_between("docs/providers.md", classes::MARKS, &classes::classes());
}

/// Likewise.
#[test]
fn the_checklist_of_the_whatsapp_channel_is_made_from_the_list() {
    let path = "docs/whatsapp-validation.md";
    let text = fs::read_to_string(root().join(path)).expect("a document");
    let [begin, end] = rusty_pinch::validate::document::MARKS;
    let (before, rest) = text.split_once(begin).expect("a first mark");
    let (_, after) = rest.split_once(end).expect("a second mark");
    equals(path, &[before, begin, &rusty_pinch::validate::document::table(), end, after].concat());
}

#[track_caller]
fn holds(rule: fn(&Documents) -> Vec<String>) {
    let found = rule(&sync::documents());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_guarantee_names_tests_that_exist_or_says_pending() {
    holds(sync::guarantees);
    assert!(sync::documents()["docs/guarantees.md"].matches("\n| ").count() > 20);
}

#[test]
fn every_line_of_the_checklist_of_security_has_its_row() {
    let text = sync::documents().remove("docs/security.md").expect("a document");
    for number in 1..=30 {
        assert_eq!(text.matches(&format!("\n| S{number} ")).count(), 1, "S{number}");
    }
}

#[test]
fn links_lead_to_files_of_the_repository() {
    holds(sync::links);
}

#[test]
fn every_document_says_for_whom_it_is() {
    for (path, text) in sync::documents().iter().filter(|(path, _)| path.ends_with(".md")) {
        let mut opening = text.lines().take(4);
        assert!(opening.any(|line| line.starts_with("For ") || line.starts_with("An assistant")), "{path}");
    }
}

/// What documents name exists, and what exists is named.
#[test]
fn documents_and_program_name_the_same_things() {
    holds(sync::complaints);
}

/// Each error is put into a document in memory: file, text, what stands there instead.
#[rustfmt::skip]
const ERRORS: &[(&str, &str, &str)] = &[
    ("README.md", "RUSTY_PINCH_COMPATIBLE_API_BASE", "RUSTY_PINCH_COMPATIBLE_BASE"),
    ("README.md", "RUSTY_PINCH_PROVIDER=compatible", "RUSTY_PINCH_PROVIDER=compatibel"),
    ("README.md", "ENABLED=true", "ENABLED=ja"),
    ("README.md", "rusty-pinch doctor", "rusty-pinch docter"),
    ("README.md", "rusty-pinch channels telegram", "rusty-pinch channels telegram --max-message 3"),
    ("README.md", "make run", "make start"),
    ("README.md", "make test", "make tests"),
    ("README.md", "docs/architecture.md", "docs/architektur.md"),
    ("README.md", "](docs/cli.md)", "](docs/cli.md#exit-kodes)"),
    ("docs/security.md", "`a_model_is_told_no_secret`", "`a_model_is_told_a_secret`"),
    ("docs/testing.md", "`make campaign`", "`make kampaign`"),
    ("docs/testing.md", "`campaign.rs`", "`campain.rs`"),
    ("docs/testing.md", "tests/tools/counterparts.sh", "tests/tools/counterpart.sh"),
    ("docs/architecture.md", "`src/store/frame.rs`", "`src/store/frames.rs`"),
    ("docs/architecture.md", "`journal_damage`", "`journal_damaged`"),
    ("docs/architecture.md", "RUSTY_PINCH_ON_FATAL=park", "RUSTY_PINCH_ON_FATAL=parked"),
    ("docs/guarantees.md", "`errors_name_the_line`", "`errors_name_a_line`"),
    ("docs/performance.md", "`run --message hi`", "`run --massage hi`"),
    ("docs/performance.md", "`--version`", "`--versions`"),
    ("docs/configuration.md", "`RUSTY_PINCH_WORKERS`", "`RUSTY_PINCH_WORKER`"),
    ("docs/configuration.md", "`NAME_FILE`", "`RUSTY_PINCH_PROVIDER_FILE`"),
    ("docs/configuration.md", "| `RUSTY_PINCH_SEED`", "| "),
    ("docs/configuration.md", "`GROQ_API_KEY`", "`GROK_API_KEY`"),
    ("packaging/env.example", "#RUSTY_PINCH_MODEL=", "#MODEL="),
    ("packaging/env.example", "RUSTY_PINCH_WORKERS=4", "RUSTY_PINCH_WORKERS=400"),
    ("docs/cli.md", "[--quiet]", "[--quite]"),
    ("docs/cli.md", "* `--strict`", "* `--stric`"),
    ("docs/cli.md", "\n## session list\n", "\n## session lists\n"),
    ("docs/cli.md", "| 75 | locked |", "| 57 | locked |"),
    ("docs/logs.md", "\n## channel_denied\n", "\n## channel_refused\n"),
    ("docs/logs.md", "| `took_ms` |", "| `took` |"),
    ("docs/logs.md", "Level:", "As event=channel_begin. Level:"),
    ("docs/tour.md", "mkdir -p /tmp/tour && cd /tmp/tour", "mkdir -p /tmp/tour && (cd /tmp/tour"),
    ("docs/tour.md", "2>&1 | head -1", "2>&1 | (head -1"),
    ("docs/key-rotation.md", "docker-compose up -d", "docker compose up -d"),
    ("docs/durability.md", "4 MiB<!-- journal_files::FILE_BYTES -->", "8 MiB<!-- journal_files::FILE_BYTES -->"),
    ("docs/performance.md", "<!-- size::PACKAGES_MAX -->", "<!-- size::PACKAGES -->"),
];

/// Every error is caught, and every rule is needed: it alone catches one of them.
#[test]
fn errors_put_into_documents_are_caught() {
    let clean = sync::documents();
    assert_eq!(sync::complaints(&clean), Vec::<String>::new(), "a false alarm");
    let mut needed = BTreeSet::new();
    for (path, text, wrong) in ERRORS {
        let mut documents = clean.clone();
        let document = documents.get_mut(*path).expect("a document");
        assert!(document.contains(text), "{path} has no {text}: choose another error");
        *document = document.replace(text, wrong);
        let catchers: Vec<usize> =
            (0..sync::RULES.len()).filter(|at| !sync::RULES[*at](&documents).is_empty()).collect();
        assert!(!catchers.is_empty(), "not caught in {path}: {wrong}");
        needed.extend(catchers.first().filter(|_| catchers.len() == 1).copied());
    }
    assert_eq!(needed.len(), sync::RULES.len(), "rules that alone catch an error: {needed:?}");
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
                if option.is_path() && is_shell {
                    continue;
                }
                let wanted = if option.is_path() { option.usage() } else { format!("{dashes}{}", option.name) };
                let is_there = plain.match_indices(&place).any(|(at, _)| plain[at..].contains(&wanted));
                assert!(is_there, "{path}: {wanted} of {place}");
            }
        }
        let of_keys = KEYS.iter().map(|key| key.name).chain(FOREIGN.iter().map(|(name, _)| *name));
        for name in of_keys.filter(|_| path.ends_with(".1")) {
            assert!(plain.contains(&format!(".B {name}\n")), "{path}: {name}");
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
        ("restore Cargo.t", "Cargo.toml"),
        ("restore --", "--confirm --help --version"),
    ] {
        let ask = format!(
            "source '{}'; COMP_WORDS=(rusty-pinch {typed}{}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); cd '{}'; _rusty_pinch; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            if typed.ends_with(' ') { "''" } else { "" },
            root().display()
        );
        match Command::new("bash").args(["-c", &ask]).output() {
            Err(error) => return say(&format!("skip: no bash ({error})")),
            Ok(output) => {
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), offered, "{typed}: {output:?}")
            }
        }
    }
}
