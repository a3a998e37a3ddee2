//! What documents name exists, and what exists is named: rules from the texts of all documents to complaints. Texts are
//! values, so that a test can put an error into one of them and see it caught.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use rusty_pinch::cli::flags::{self, COMMANDS, EXIT_CODES};
use rusty_pinch::config::keys::{Environment, FOREIGN, Fate, KEYS, PREFIXES_WITHOUT_EFFECT, Reader, Source};
use rusty_pinch::config::values::Kind;
use rusty_pinch::observe::document::{EVENTS, EVERYWHERE};
use rusty_pinch::tool;

use super::limits;
use crate::support::repository::{files, read, root, test_names};

/// Texts by their path in the repository.
pub type Documents = BTreeMap<String, String>;

type Rule = fn(&Documents) -> Vec<String>;

pub const RULES: [Rule; 15] = [
    variables,
    values,
    commands,
    options,
    events,
    make_targets,
    paths,
    links,
    guarantees,
    every_key_is_named,
    every_event_is_named,
    every_command_is_named,
    shell_blocks,
    compose_style,
    limits::quotes,
];

/// Every document, the example of settings, and the units and files of deployment.
pub fn documents() -> Documents {
    let mut paths = files(&root().join("docs"), "md");
    paths.push(root().join("README.md"));
    for ending in ["example", "service", "timer", "socket", "yml", "yaml", "env", "md", "sh"] {
        paths.extend(files(&root().join("packaging"), ending));
    }
    let place = |path: &Path| path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    paths.iter().map(|path| (place(path), read(path))).collect()
}

pub fn complaints(documents: &Documents) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(documents)).collect()
}

/// Text between single backticks, outside of fenced blocks.
fn spans(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.lines()).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Lines of fenced blocks.
fn fenced(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").skip(1).step_by(2).flat_map(|block| block.lines().skip(1))
}

fn for_each(documents: &Documents, mut rule: impl FnMut(&str, &mut dyn FnMut(String))) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in documents {
        rule(text, &mut |complaint| found.push(format!("{path}: {complaint}")));
    }
    found
}

/// Words like `RUSTY_PINCH_MODEL`, and what stands directly behind each.
fn names(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("RUSTY_PINCH_").map(move |(at, _)| {
        let rest = &text[at..];
        rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()))
    })
}

fn variables(documents: &Documents) -> Vec<String> {
    for_each(documents, |text, complain| {
        for (name, _) in names(text) {
            let is_key = |name: &str| KEYS.iter().any(|key| key.name == name);
            let of_secret = name
                .strip_suffix("_FILE")
                .is_some_and(|plain| KEYS.iter().any(|key| key.name == plain && matches!(key.kind, Kind::Secret)));
            let is_family =
                name.ends_with('_') && PREFIXES_WITHOUT_EFFECT.iter().any(|prefix| name.starts_with(prefix));
            if !(is_key(name) || of_secret || is_family || name == "RUSTY_PINCH_ENV_FILE") {
                complain(format!("there is no {name}"));
            }
        }
    })
}

/// `NAME=value` must fit.
fn values(documents: &Documents) -> Vec<String> {
    for_each(documents, |text, complain| {
        for (name, rest) in names(text) {
            let Some(rest) = rest.strip_prefix('=') else { continue };
            let value = rest.split(|c: char| c.is_whitespace() || "`'\")],;".contains(c)).next().unwrap_or_default();
            let placeholder = value.is_empty() || value.contains(['…', '$', '<']);
            let Some(key) = KEYS.iter().find(|key| key.name == name && !placeholder) else { continue };
            let environment = Environment::from([(name.to_owned(), (value.to_owned(), Source::Environment))]);
            if let Err(error) = Reader(&environment).check(key) {
                complain(format!("{name}={value}: {error}"));
            }
        }
    })
}

/// A usage line is parsed as if somebody had filled it in.
fn parses(line: &str) -> Result<(), String> {
    let ends = [" #", " | ", "; ", " && ", " > ", " 2>"];
    let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
    let filled: Vec<OsString> = words(&line[..end])
        .into_iter()
        .map(|word| word.trim_matches(['[', ']']).to_string())
        .filter(|word| !matches!(word.as_str(), "…" | "..." | "\\" | "[OPTIONS]" | "OPTIONS" | "COMMAND"))
        .map(|word| if word == "N" { "1".to_string() } else { word.split('|').next().unwrap_or_default().to_string() })
        .map(OsString::from)
        .collect();
    flags::parse(filled).map(|_| ())
}

/// As a shell splits a line: what stands between quotes is one word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(letter),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// The arguments of ours in a line that calls the program, by its name or its path.
fn call(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo -u rusty-pinch ");
    let line = line.strip_prefix("ExecStart=").or_else(|| line.strip_prefix("ExecStartPre=")).unwrap_or(line);
    let (program, arguments) = line.split_once(' ')?;
    (program == "rusty-pinch" || program.ends_with("/rusty-pinch")).then_some(arguments)
}

fn commands(documents: &Documents) -> Vec<String> {
    for_each(documents, |text, complain| {
        let lines = fenced(text).chain(text.lines().filter(|line| line.starts_with("ExecStart")));
        for line in lines.chain(spans(text)).filter_map(call) {
            if let Err(error) = parses(line) {
                complain(format!("rusty-pinch {line}: {error}"));
            }
        }
        for span in spans(text).into_iter().filter(|span| span.contains(" --")) {
            let words: Vec<&str> = span.split(' ').take_while(|word| !word.starts_with('-')).collect();
            let is_command = COMMANDS.iter().any(|command| command.words == words);
            if let Err(error) = parses(span)
                && is_command
                && !error.contains("needs")
            {
                complain(format!("{span}: {error}"));
            }
        }
    })
}

/// `--name` alone: of any command of ours, or of the programs we call.
fn options(documents: &Documents) -> Vec<String> {
    let ours = COMMANDS.iter().flat_map(|command| command.options).map(|option| option.name);
    let known: BTreeSet<&str> = ours.chain(["help", "version"]).collect();
    let of_others: BTreeSet<&str> =
        KEYS.iter().filter_map(|key| key.default).flat_map(|default| default.split(' ')).collect();
    for_each(documents, |text, complain| {
        for span in spans(text) {
            let word = span.split([' ', '=', ',']).next().unwrap_or_default();
            if let Some(name) = word.strip_prefix("--")
                && !known.contains(name)
                && !of_others.contains(word)
            {
                complain(format!("there is no option --{name}"));
            }
        }
    })
}

/// `event=name`, and code that looks like the name of an event.
fn events(documents: &Documents) -> Vec<String> {
    const FAMILIES: [&str; 5] = ["channel_", "journal_", "provider_", "orphans_", "telemetry_"];
    let fields = EVENTS.iter().flat_map(|entry| entry.fields).chain(EVERYWHERE).map(|(name, _)| *name);
    let names = EVENTS.iter().map(|entry| entry.event);
    let known: BTreeSet<&str> = names.chain(fields).chain(tool::all().iter().map(|tool| tool.name())).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for_each(documents, |text, complain| {
        let tests = text.starts_with("# Guarantees");
        let told = text.split("event=").skip(1).map(|rest| rest.split(|c| !is_word(c)).next().unwrap_or_default());
        let spans = spans(text).into_iter().filter(|span| {
            !tests && span.chars().all(is_word) && FAMILIES.iter().any(|family| span.starts_with(family))
        });
        for name in told.chain(spans).filter(|name| !known.contains(name)) {
            complain(format!("there is no event {name}"));
        }
    })
}

fn make_targets(documents: &Documents) -> Vec<String> {
    let makefile = read(&root().join("Makefile"));
    for_each(documents, |text, complain| {
        let calls = spans(text).into_iter().chain(fenced(text)).filter_map(|line| line.strip_prefix("make "));
        for target in calls.filter_map(|rest| rest.split_whitespace().next()) {
            if !makefile.contains(&format!("\n{target}:")) {
                complain(format!("there is no make {target}"));
            }
        }
    })
}

/// Code that looks like a place in the repository.
fn paths(documents: &Documents) -> Vec<String> {
    const FOLDERS: [&str; 5] = ["src/", "tests/", "docs/", "packaging/", ".ci/"];
    const ENDINGS: [&str; 3] = ["rs", "sh", "toml"];
    let names: BTreeSet<String> = ["src", "tests", "packaging"]
        .iter()
        .flat_map(|folder| ENDINGS.iter().flat_map(move |ending| files(&root().join(folder), ending)))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    for_each(documents, |text, complain| {
        for span in spans(text).into_iter().filter(|span| !span.contains(['*', ' ', '{', '<'])) {
            let path = span.split(':').next().unwrap_or(span);
            let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder));
            let is_file = !path.contains('/') && ENDINGS.iter().any(|ending| path.ends_with(&format!(".{ending}")));
            let exists = root().join(path).exists() || is_file && names.contains(path);
            if (is_path || is_file) && !exists {
                complain(format!("there is no {path}"));
            }
        }
    })
}

/// `[text](target)`: the file is there, and the heading.
pub fn links(documents: &Documents) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in documents {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = match file {
                "" => root().join(path),
                file => root().join(path).parent().expect("a folder").join(file),
            };
            let named =
                anchor.is_empty() || anchors(&std::fs::read_to_string(&place).unwrap_or_default()).contains(anchor);
            if !place.exists() || !named {
                found.push(format!("{path}: there is no {target}"));
            }
        }
    }
    found
}

/// Headings as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let name = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(name).collect()
}

/// Each row that says by what something is proven names tests that exist, says pending, or says that it does not apply.
pub fn guarantees(documents: &Documents) -> Vec<String> {
    let known = test_names();
    let mut found = Vec::new();
    for (path, text) in documents.iter().filter(|(_, text)| text.contains("| proven by |\n")) {
        let table = text.split_once("| proven by |\n").map(|(_, rest)| rest).unwrap_or_default();
        for row in table.lines().filter(|line| line.starts_with("| ")) {
            let proof = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
            let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
            if named.is_empty() && !proof.contains("pending") && !proof.contains("does not apply") {
                found.push(format!("{path}: no test and not pending: {row}"));
            }
            let missing = named.iter().filter(|name| !known.contains(name.rsplit("::").next().unwrap_or(name)));
            found.extend(missing.map(|name| format!("{path}: there is no test {name}")));
        }
    }
    found
}

/// The other way round: every variable is in its document, and every one that is heeded in the example.
fn every_key_is_named(documents: &Documents) -> Vec<String> {
    let (reference, example) = (&documents["docs/configuration.md"], &documents["packaging/env.example"]);
    let all = KEYS.iter().map(|key| key.name).chain(FOREIGN.iter().map(|(name, _)| *name));
    let all = all.chain(PREFIXES_WITHOUT_EFFECT.iter().copied()).chain(["RUSTY_PINCH_ENV_FILE"]);
    let missing = all.filter(|name| !reference.contains(&format!("`{name}`")));
    let heeded = KEYS.iter().filter(|key| key.fate == Fate::Heeded);
    let absent = heeded.filter(|key| !example.contains(&format!("\n#{}=", key.name)));
    let missing = missing.map(|name| format!("docs/configuration.md does not name {name}"));
    missing.chain(absent.map(|key| format!("packaging/env.example does not name {}", key.name))).collect()
}

fn every_event_is_named(documents: &Documents) -> Vec<String> {
    let text = &documents["docs/logs.md"];
    let mut found = Vec::new();
    for entry in EVENTS {
        let part = text.split("\n## ").find(|part| part.lines().next() == Some(entry.event)).unwrap_or_default();
        if part.is_empty() {
            found.push(format!("docs/logs.md does not name {}", entry.event));
        }
        let missing = entry.fields.iter().filter(|(name, _)| !part.contains(&format!("\n| `{name}` | ")));
        found.extend(missing.map(|(name, _)| format!("docs/logs.md does not name {name} of {}", entry.event)));
    }
    found
}

fn every_command_is_named(documents: &Documents) -> Vec<String> {
    let text = &documents["docs/cli.md"];
    let mut found = Vec::new();
    for command in COMMANDS {
        let words = command.words.join(" ");
        let part = text.split("\n## ").find(|part| part.lines().next() == Some(&words)).unwrap_or_default();
        if !part.contains(&format!("\nrusty-pinch {words}")) {
            found.push(format!("docs/cli.md does not name {words}"));
        }
        let missing = command.options.iter().filter(|option| !part.contains(&format!("\n* `{}`: ", option.usage())));
        found.extend(missing.map(|option| format!("docs/cli.md does not name --{} of {words}", option.name)));
    }
    let missing = EXIT_CODES.iter().filter(|(code, meaning)| !text.contains(&format!("\n| {code} | {meaning} |")));
    found.extend(missing.map(|(code, _)| format!("docs/cli.md does not name exit code {code}")));
    found
}

/// Blocks for a shell, and commands of examples: a shell must be able to read them.
fn shell_blocks(documents: &Documents) -> Vec<String> {
    for_each(documents, |text, complain| {
        for block in text.split("```").skip(1).step_by(2) {
            let Some((language, lines)) = block.split_once('\n') else { continue };
            let script = match language.trim() {
                "bash" | "sh" => lines.to_string(),
                "console" => lines.lines().filter_map(|line| line.strip_prefix("$ ")).collect::<Vec<_>>().join("\n"),
                _ => continue,
            };
            if let Some(error) = unreadable(&script) {
                complain(format!("{error} in\n{script}"));
            }
        }
    })
}

/// What bash does not understand. Where there is none, everything is taken as it is.
fn unreadable(script: &str) -> Option<String> {
    let output = Command::new("bash").args(["-n", "-c", script]).output().ok()?;
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_string())
}

/// Compose is called in one way within a file: `docker-compose`, as operators of older systems have it, or the plugin.
fn compose_style(documents: &Documents) -> Vec<String> {
    for_each(documents, |text, complain| {
        let told: Vec<&str> = fenced(text).chain(spans(text)).collect();
        let is_called = |style: &str| told.iter().any(|line| line.split(style).nth(1).is_some_and(is_call));
        if is_called("docker-compose") && is_called("docker compose") {
            complain("docker-compose and docker compose in one file".to_string());
        }
    })
}

/// Not the name of a file, as docker-compose.example.yml is.
fn is_call(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}
