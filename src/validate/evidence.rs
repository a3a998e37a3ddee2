//! What is written down of a check: one line of JSON, of the form in docs/whatsapp-validation.md. Phrases are our own; nothing
//! that came over the link is in it.

use serde_json::{Map, Value};

use crate::base::clock::Wall;
use crate::validate::checklist::{Level, Verdict};

/// What all lines of a run have in common.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the worker was put before.
    pub level: Level,
    /// Names the run, and seeds everything random in it.
    pub id: String,
    /// SHA-256 of the program's file.
    pub binary: String,
    /// SHA-256 of the settings that the workers had.
    pub settings: String,
}

/// Numbers that were measured, by name.
pub type Observed = Vec<(&'static str, u64)>;

/// What came of one check.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Its id, or `sign-off`.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// When.
    pub at: Wall,
    /// What was measured.
    pub observed: Observed,
    /// Why it failed or was skipped, or what the operator wrote; blank: nothing.
    pub note: String,
    /// Files that belong to it, with their SHA-256.
    pub artifacts: Vec<(String, String)>,
}

impl Evidence {
    /// The line, with its newline.
    pub fn line(&self, run: &Run) -> String {
        let text = |text: &str| Value::String(text.to_owned());
        let mut observed: Map<String, Value> =
            self.observed.iter().map(|(name, number)| ((*name).to_owned(), Value::from(*number))).collect();
        if !self.note.is_empty() {
            observed.insert("note".to_owned(), text(&self.note));
        }
        let file = |(path, digest): &(String, String)| {
            Value::Object([("path".to_owned(), text(path)), ("sha256".to_owned(), text(digest))].into_iter().collect())
        };
        let fields = [
            ("check", text(self.check)),
            ("level", text(run.level.name())),
            ("result", text(self.verdict.name())),
            ("at", Value::String(self.at.rfc3339())),
            ("run_id", text(&run.id)),
            ("binary_sha256", text(&run.binary)),
            ("config_fp", text(&run.settings)),
            ("observed", Value::Object(observed)),
            ("artifacts", Value::Array(self.artifacts.iter().map(file).collect())),
        ];
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}\n", fields.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_fields_of_the_design_and_no_raw_text() {
        let run = Run { level: Level::Sim, id: "1".into(), binary: "2".into(), settings: "3".into() };
        let evidence = Evidence {
            check: "WA-03",
            verdict: Verdict::Fail,
            at: Wall(0),
            observed: vec![("p95_ms", 7)],
            note: "a\n\"b\"".into(),
            artifacts: vec![("f".into(), "0a".into())],
        };
        let want = concat!(
            r#"{"check":"WA-03","level":"sim","result":"fail","at":"1970-01-01T00:00:00.000+00:00","run_id":"1","#,
            r#""binary_sha256":"2","config_fp":"3","observed":{"note":"a\n\"b\"","p95_ms":7},"#,
            r#""artifacts":[{"path":"f","sha256":"0a"}]}"#,
            "\n"
        );
        assert_eq!(evidence.line(&run), want);
    }
}
