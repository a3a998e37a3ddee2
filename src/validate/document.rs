//! The table in docs/whatsapp-validation.md, from the list.

use crate::validate::checklist::{CHECKS, Level};

/// Between which lines of the document the table stands.
pub const MARKS: [&str; 2] = ["<!-- made from the list: begin -->\n", "<!-- made from the list: end -->\n"];

/// The table.
pub fn table() -> String {
    let mut text = String::from(
        "| item | claim | shown by `sim` and `bridge` | done by a person at `live` | may be skipped at |\n|---|---|---|---|---|\n",
    );
    for check in &CHECKS {
        let person = if check.person.is_empty() { "nothing: shown as at `sim`" } else { check.person };
        let levels = [Level::Bridge, Level::Live].into_iter().filter(|level| check.skip.allowed(*level));
        let levels: Vec<String> = levels.map(|level| format!("`{}`", level.name())).collect();
        let skip = if levels.is_empty() { "–".to_owned() } else { levels.join(", ") };
        text.push_str(&format!("| {} | {} | {} | {person} | {skip} |\n", check.id, check.claim, check.shown));
    }
    text
}
