//! Documents are true: generated ones equal their tables, links and paths resolve, and every test that
//! docs/guarantees.md names exists. Breakages seen to fail: a renamed test, a moved file, an edited default.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusty_pinch::config::document;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|known| known == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

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

/// Names of test functions, in `src` and `tests`.
fn test_names() -> BTreeSet<String> {
    let sources = files(&root().join("src"), "rs").into_iter().chain(files(&root().join("tests"), "rs"));
    let mut names = BTreeSet::new();
    for source in sources {
        let text = read(&source);
        for after in text.split("#[test]").skip(1) {
            let name = after.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
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
