//! Changes to the text of an env file that leave everything else in it as it is: each setting gets the line that counts, and
//! what is new comes at the end. Pure; the grammar is that of `env_file.rs`.

use crate::config::env_file::{self, EnvFileError};

/// One setting: its name, and its value; `None`: the file sets it no more.
pub type Edit = (String, Option<String>);

/// Why a text is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read.
    Broken(EnvFileError),
    /// The value that begins on this line, counting from 1, goes on behind it: only a person knows what belongs together.
    Long(usize),
}

/// The whole text after the changes.
///
/// # Errors
/// Nothing is changed then.
pub fn apply(text: &str, edits: &[Edit]) -> Result<String, Refusal> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    for (name, value) in edits {
        match value {
            Some(value) => set(&mut lines, name, value)?,
            // Each line that goes lets the next one of the same name count.
            None => while replace(&mut lines, name, &|_| format!("# {name} has a file of its own now."))? {},
        }
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn set(lines: &mut Vec<String>, name: &str, value: &str) -> Result<(), Refusal> {
    let line = |prefix: &str| format!("{prefix}{name}={}", quoted(value));
    let of_old = |old: &str| line(if old.trim_start().starts_with("export ") { "export " } else { "" });
    if !replace(lines, name, &of_old)? {
        lines.push(line(""));
    }
    Ok(())
}

/// `false`: no line sets `name`.
fn replace(lines: &mut [String], name: &str, new: &dyn Fn(&str) -> String) -> Result<bool, Refusal> {
    let read = |text: &str| env_file::read(text, &|_| None);
    let file = read(&lines.join("\n")).map_err(Refusal::Broken)?;
    let Some(entry) = file.entries.iter().find(|entry| entry.name == name) else { return Ok(false) };
    let at = entry.line - 1;
    if read(&lines[at]).is_err() {
        return Err(Refusal::Long(entry.line));
    }
    lines[at] = new(&lines[at]);
    Ok(true)
}

/// As the grammar reads it back. The value holds no `'` and no line break.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,*".contains(c);
    if value.chars().all(is_plain) { value.to_owned() } else { format!("'{value}'") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env_file::Problem;

    fn edit(name: &str, value: Option<&str>) -> Edit {
        (name.to_owned(), value.map(str::to_owned))
    }

    #[track_caller]
    fn check(text: &str, edits: &[Edit], want: &str) {
        assert_eq!(apply(text, edits).as_deref(), Ok(want));
    }

    #[test]
    fn a_setting_gets_the_line_that_counts_and_everything_else_stays() {
        check("", &[edit("A", Some("1"))], "A=1\n");
        check("# mine\nB=2", &[edit("A", Some("1"))], "# mine\nB=2\nA=1\n");
        check("A=0\r\n#A=5\nA=3\nB='x'\r\n", &[edit("A", Some("1"))], "A=1\n#A=5\nA=3\nB='x'\r\n");
        check("  export A=\nB=\"1\n2\"\n", &[edit("A", Some("x y"))], "export A='x y'\nB=\"1\n2\"\n");
        check("", &[edit("A", Some("$HOME #1"))], "A='$HOME #1'\n");
        check("A=1\n\n", &[], "A=1\n\n");
    }

    #[test]
    fn what_goes_goes_from_every_line() {
        let want = "# K has a file of its own now.\nB=1\n# K has a file of its own now.\nK_FILE=/s\n";
        check("K=a\nB=1\nK=b\n", &[edit("K", None), edit("K_FILE", Some("/s"))], want);
        check("B=1\n", &[edit("K", None)], "B=1\n");
    }

    #[test]
    fn what_cannot_be_understood_is_not_changed() {
        let edits = [edit("B", Some("2")), edit("A", Some("1"))];
        assert_eq!(apply("B=1\nA=\"x\ny\"\n", &edits), Err(Refusal::Long(2)));
        let broken = EnvFileError { line: 1, problem: Problem::NoEquals };
        assert_eq!(apply("nonsense\n", &edits), Err(Refusal::Broken(broken)));
    }

    #[test]
    fn every_value_is_read_back_as_it_was() {
        for value in ["", "a", "$A", "${", "a b", "#", "\\n", "\"", "ü", " x ", "a=b", "*", "-100,7"] {
            let text = apply("", &[edit("A", Some(value))]).expect("written");
            let read = env_file::read(&text, &|_| Some("nothing".to_owned())).expect("read");
            assert_eq!(read.entries[0].value, value, "{text}");
        }
    }
}
