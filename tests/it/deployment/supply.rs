//! What the program is made of: licences and bans by `packaging/deny.toml`, reasons by `Cargo.toml`, the bill of materials and the
//! words of the authors by `packaging/supply.py`. `make supply-chain` asks `cargo deny` as well, where there is one.
//!
//! Seen to fail: a licence taken out of the list, a banned package in the list that is there, a dependency without a reason, a bill
//! with the time of the day in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::cases::say;
use crate::support::repository::{read, root};

const MARKS: [&str; 2] =
    ["<!-- dependencies: made from package.metadata.dependencies of Cargo.toml -->\n", "<!-- end of dependencies -->"];
/// Made by the packages' authors or by us, for a package that came without one.
const OURS: &str = "rusty-pinch";

/// The quoted words of a list in the rules: what stands behind its name, up to the first bracket.
fn list(name: &str) -> Vec<String> {
    let rules = read(&root().join("packaging/deny.toml"));
    let (_, rest) = rules.split_once(&format!("\n{name} = [")).unwrap_or_else(|| panic!("no {name}"));
    let body = rest.split(']').next().unwrap_or_default();
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Packages that may not be in the lock file.
pub fn banned() -> Vec<String> {
    list("deny")
}

fn metadata() -> Value {
    let arguments = ["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform"];
    let output = Command::new(env!("CARGO")).args(arguments).arg(host()).current_dir(root()).output();
    let output = output.expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// This machine's platform, whose packages are here.
fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn packages(metadata: &Value) -> Vec<(&str, &str)> {
    let packages = metadata["packages"].as_array().expect("a list");
    let text = |package: &'_ Value, key: &str| package[key].as_str().map(str::to_owned);
    assert!(packages.iter().all(|package| text(package, "name").is_some()));
    packages
        .iter()
        .map(|package| (package["name"].as_str().unwrap_or(""), package["license"].as_str().unwrap_or("")))
        .collect()
}

/// An SPDX expression: `or` of `and` of names and parentheses. What we may choose from needs one that is allowed.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "-WITH-");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut is_one = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_one |= all_of(words, at, allowed);
    }
    is_one
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut are_all = true;
    loop {
        let Some(word) = words.get(*at) else { return false };
        *at += 1;
        are_all &= match *word {
            "(" => {
                let inner = any_of(words, at, allowed);
                *at += 1;
                inner
            }
            name => allowed.iter().any(|known| known == name),
        };
        if words.get(*at) != Some(&"AND") {
            return are_all;
        }
        *at += 1;
    }
}

#[test]
fn every_licence_is_one_that_we_may_pass_on() {
    let allowed = list("allow");
    let check = |expression: &str, want: bool| assert_eq!(is_allowed(expression, &allowed), want, "{expression}");
    check("MIT/Apache-2.0", true);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0 AND MIT", false);
    check("(GPL-3.0 OR MIT) AND Unicode-3.0", true);
    check("(GPL-3.0 OR MIT) AND GPL-2.0", false);
    check("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true);
    check("", false);
    let metadata = metadata();
    let packages = packages(&metadata);
    let wrong: Vec<_> =
        packages.iter().filter(|(name, licence)| *name != OURS && !is_allowed(licence, &allowed)).collect();
    assert!(packages.len() > 20 && wrong.is_empty(), "{wrong:?}");
}

/// All from the one registry, as the lock file says.
#[test]
fn every_package_comes_from_the_registry() {
    let lock = read(&root().join("Cargo.lock"));
    let sources: BTreeSet<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), ["\"registry+https://github.com/rust-lang/crates.io-index\""]);
    let count = |what: &str| lock.matches(what).count();
    assert_eq!(count("\nsource = "), count("\nchecksum = "), "each with its sum");
}

/// One place says why each is there, and the document shows it.
#[test]
fn the_table_of_dependencies_is_made_from_the_reasons_in_cargo_toml() {
    let metadata = metadata();
    let licences: BTreeMap<&str, &str> = packages(&metadata).into_iter().collect();
    let own = metadata["packages"].as_array().expect("a list").iter().find(|package| package["name"] == OURS);
    let own = own.expect("our package");
    let wanted =
        own["dependencies"].as_array().expect("a list").iter().filter_map(|dependency| dependency["name"].as_str());
    let wanted: BTreeSet<&str> = wanted.collect();
    let reasons = own["metadata"]["dependencies"].as_object().expect("reasons");
    assert_eq!(wanted, reasons.keys().map(String::as_str).collect(), "each dependency has its reasons, and no other");
    let mut table = String::from("| crate | licence | for | instead of writing it |\n|---|---|---|---|\n");
    for (name, reason) in reasons {
        let [what, instead] = [&reason[0], &reason[1]].map(|text| text.as_str().expect("a sentence"));
        let licence = licences.get(name.as_str()).expect("it is there");
        table += &format!("| {name} | {licence} | {what} | {instead} |\n");
    }
    crate::docs::holds_between("docs/architecture.md", MARKS, &table);
}

fn supply(arguments: &[&str]) -> Option<String> {
    let output = Command::new("python3").arg(root().join("packaging/supply.py")).args(arguments).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn the_bill_of_materials_names_every_package_that_is_built_and_has_the_same_bytes_twice() {
    let Some(bill) = supply(&["sbom"]) else { return say("skip: no python3") };
    assert_eq!(supply(&["sbom"]).as_ref(), Some(&bill));
    let bill: Value = serde_json::from_str(&bill).expect("JSON");
    let components = bill["components"].as_array().expect("a list");
    let text = |component: &Value, key: &str| component[key].as_str().expect("text").to_owned();
    let named: BTreeSet<String> =
        components.iter().map(|one| format!("{} v{}", text(one, "name"), text(one, "version"))).collect();
    let tree = ["tree", "--edges", "normal,build", "--prefix", "none", "--locked", "--offline", "--target"];
    let output = Command::new(env!("CARGO")).args(tree).arg(host()).current_dir(root()).output().expect("cargo starts");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = tree.lines().filter_map(|line| {
        Some(line.split(' ').take(2).collect::<Vec<_>>().join(" ")).filter(|_| !line.starts_with(OURS))
    });
    let built: BTreeSet<String> = built.filter(|line| !line.is_empty()).collect();
    assert_eq!(named, built);
    let is_shipped =
        |name: &str| components.iter().find(|one| one["name"] == name).map(|one| one["scope"] == "required");
    assert_eq!((is_shipped("ring"), is_shipped("cc"), is_shipped("syn")), (Some(true), Some(false), Some(false)));
    for one in components {
        assert_eq!(one["hashes"][0]["content"].as_str().map(str::len), Some(64), "{one}");
    }
}

#[test]
fn the_words_of_every_author_come_with_the_program() {
    let Some(notices) = supply(&["notices", "--debian"]) else { return say("skip: no python3") };
    let bill: Value = serde_json::from_str(&supply(&["sbom"]).expect("as before")).expect("JSON");
    for one in bill["components"].as_array().expect("a list").iter().filter(|one| one["scope"] == "required") {
        let [name, version] = ["name", "version"].map(|key| one[key].as_str().expect("text"));
        assert!(notices.contains(&format!("third-party/{name}-{version}/*\n")), "{name}");
    }
    assert!(Path::new(&root()).join("LICENSE").is_file() && !notices.contains("TERMS AND CONDITIONS"));
}
