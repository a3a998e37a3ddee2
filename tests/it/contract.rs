//! What operators of the earlier runtime rely on, as a table: one row for each name and format, what became of it, and
//! what proves that. Swapping the program must not change what a row says.
//!
//! A row that stays or changed is checked against the real program, or names the test that does so. A row that is gone is
//! checked, too: the name is refused with a sentence, or accepted without effect and `doctor` says so. A row that
//! comes later is checked for honesty: the program says that it cannot do this yet.
//!
//! Seen to fail: a key's default, an option's name, the order of doctor's lines, a header, a tool's limit, the type of
//! `chat_id`.

use std::collections::BTreeSet;

use crate::support::repository::test_names;

mod commands;
mod files;
mod provider;
mod settings;
mod telegram;
mod templates;
mod tools;

/// One name or format.
pub struct Row {
    /// Where the contract has it, such as `4.3`.
    pub section: &'static str,
    pub name: &'static str,
    /// The default, the value or the format, as the check understands it.
    pub want: &'static str,
    pub decision: Decision,
    pub proof: Proof,
}

/// What became of it. The text of a change begins with who decided: a paragraph of the contract, or `weakness`.
pub enum Decision {
    Stays,
    Changed(&'static str),
    Gone(&'static str),
}

pub enum Proof {
    Check(fn(&Row)),
    /// Tests elsewhere.
    Tests(&'static [&'static str]),
}

impl Row {
    fn reason(&self) -> Option<&'static str> {
        match self.decision {
            Decision::Stays => None,
            Decision::Changed(reason) | Decision::Gone(reason) => Some(reason),
        }
    }
}

pub const fn row(
    section: &'static str,
    name: &'static str,
    want: &'static str,
    decision: Decision,
    proof: Proof,
) -> Row {
    Row { section, name, want, decision, proof }
}

/// Every row, and the paragraphs that a complete table has.
const TABLES: [&[Row]; 6] = [commands::ROWS, settings::ROWS, files::ROWS, provider::ROWS, tools::ROWS, telegram::ROWS];
const SECTIONS: [&str; 19] = [
    "2", "2.1", "3", "3.1", "3.2", "4.1", "4.2", "4.3", "5.1", "5.2", "5.3", "6", "7", "8", "9", "10", "11", "12", "16",
];

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.into_iter().flatten()
}

#[test]
fn the_table_has_every_section_and_no_name_twice() {
    let sections: BTreeSet<&str> = rows().map(|row| row.section).collect();
    assert_eq!(sections, BTreeSet::from(SECTIONS));
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> = rows().filter(|row| !seen.insert((row.section, row.name))).map(|row| row.name).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(rows().count() > 350, "{}", rows().count());
}

#[test]
fn every_decision_says_who_decided_and_every_named_test_exists() {
    let known = test_names();
    for row in rows() {
        if let Some(reason) = row.reason() {
            let decided = ["§13", "§14", "§15.", "§16", "weakness: "].iter().any(|start| reason.starts_with(start));
            assert!(decided, "{} {}: who decided: {reason}", row.section, row.name);
        }
        if let Proof::Tests(tests) = &row.proof {
            let missing: Vec<_> = tests.iter().filter(|test| !known.contains(**test)).collect();
            assert!(missing.is_empty() && !tests.is_empty(), "{} {}: no test {missing:?}", row.section, row.name);
        }
    }
}

/// Runs every check of a table, and tells all that failed.
#[track_caller]
fn prove(rows: &[Row]) {
    let mut broken = Vec::new();
    for row in rows {
        let Proof::Check(check) = row.proof else { continue };
        if let Err(told) = std::panic::catch_unwind(|| check(row)) {
            let text = told.downcast_ref::<String>().map(String::as_str).or(told.downcast_ref::<&str>().copied());
            broken.push(format!("§{} {}: {}", row.section, row.name, text.unwrap_or_default()));
        }
    }
    assert!(broken.is_empty(), "{} of {} rows do not hold:\n{}", broken.len(), rows.len(), broken.join("\n"));
}

#[test]
fn commands_and_their_output_are_as_the_contract_says() {
    prove(commands::ROWS);
}

#[test]
fn settings_are_as_the_contract_says() {
    prove(settings::ROWS);
}

#[test]
fn files_are_as_the_contract_says() {
    prove(files::ROWS);
}

#[test]
fn providers_are_called_as_the_contract_says() {
    prove(provider::ROWS);
}

#[test]
fn tools_are_as_the_contract_says() {
    prove(tools::ROWS);
}

#[test]
fn telegram_is_spoken_as_the_contract_says() {
    prove(telegram::ROWS);
}
