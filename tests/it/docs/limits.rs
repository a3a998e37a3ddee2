//! Every limit of the program, read from its sources: where it is, what it is, and what its comment says happens there.
//! `docs/limits.md` is made from it, and documents that quote one are compared with it.
//!
//! A quote is a figure followed by a comment that readers do not see: `10 s<!-- telegram_worker::CALL_TIMEOUT -->`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use crate::support::repository::{files, read, root};

/// Words in the name of a constant which say that it is a limit; every length of time is one, too.
const WORDS: [&str; 15] = [
    "BYTES",
    "MAX",
    "MIN",
    "CAP",
    "CREDITS",
    "LOW",
    "HIGH",
    "TOLERATED",
    "PATIENCE",
    "LOOKS",
    "FREE",
    "RETRY",
    "SENDERS",
    "TRIES",
    "LANES",
];
/// What `make bench` enforces or compares with has a name that ends so, and is quoted where its figures are.
const BUDGETS: [&str; 2] = ["_MAX", "_MIN"];
const OPENING: &str = "<!-- ";
const CLOSING: &str = " -->";

pub struct Limit {
    /// The file without its ending and the constant: `telegram_worker::CALL_TIMEOUT`.
    pub name: String,
    /// As documents write it: `10 s`, `8 MiB`, `32`.
    pub value: String,
    /// What its comment says, on one line.
    pub about: String,
    /// The folder of `src`, or `bench`.
    pub area: String,
}

/// The limits of one file, up to its tests.
pub fn of_file(area: &str, stem: &str, text: &str) -> Vec<Limit> {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    let (mut about, mut rest) = (Vec::new(), product.lines());
    let mut declared = false;
    while let Some(line) = rest.next() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("///") {
            // Limits that stand together share the comment of the first.
            if std::mem::take(&mut declared) {
                about.clear();
            }
            about.push(comment.trim());
        } else if let Some((name, kind, value)) = declaration(line, &mut rest) {
            if is_limit(name, kind) {
                let value = shown(name, &value);
                found.push(Limit {
                    name: format!("{stem}::{name}"),
                    value,
                    about: plain(&about.join(" ")),
                    area: area.to_owned(),
                });
            }
            declared = true;
        } else if !line.starts_with("#[") {
            about.clear();
        }
    }
    found
}

/// A comment without the targets of its links: `[text](target)` is `text`.
fn plain(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment;
    while let Some((before, (linked, after))) =
        rest.split_once('[').and_then(|(before, rest)| Some((before, rest.split_once("](")?)))
    {
        text.extend([before, linked]);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text + rest
}

/// `const NAME: KIND = VALUE;`, also over several lines.
fn declaration<'a>(line: &'a str, rest: &mut std::str::Lines<'a>) -> Option<(&'a str, &'a str, String)> {
    let visible = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
    let (name, declared) = visible.strip_prefix("const ")?.split_once(": ")?;
    let (kind, value) = declared.split_once(" =")?;
    let mut value = value.trim().to_owned();
    while !value.ends_with(';') {
        value.push_str(rest.next()?.trim());
    }
    Some((name, kind, value.trim_end_matches(';').to_owned()))
}

fn is_limit(name: &str, kind: &str) -> bool {
    let counted = ["u8", "u16", "u32", "u64", "usize", "i64", "f64"].contains(&kind);
    kind == "Duration" || (counted && name.split('_').any(|word| WORDS.contains(&word)))
}

/// A value as people write it; an expression of other names as it stands.
fn shown(name: &str, value: &str) -> String {
    let within = |start: &str| value.strip_prefix(start)?.strip_suffix(')').and_then(number);
    if let Some(seconds) = within("Duration::from_secs(") {
        return seconds_shown(seconds);
    }
    if let Some(milliseconds) = within("Duration::from_millis(") {
        return if milliseconds % 1000 == 0 {
            seconds_shown(milliseconds / 1000)
        } else {
            format!("{milliseconds} ms")
        };
    }
    match number(value) {
        Some(count) if name.contains("BYTES") => bytes_shown(count),
        Some(count) => count.to_string(),
        None => value.trim_end_matches(".0").to_owned(),
    }
}

fn seconds_shown(seconds: u64) -> String {
    let unit = [(86_400, "days"), (3600, "h"), (60, "min")]
        .into_iter()
        .find(|(length, _)| seconds >= 2 * length && seconds.is_multiple_of(*length));
    unit.map_or(format!("{seconds} s"), |(length, unit)| format!("{} {unit}", seconds / length))
}

fn bytes_shown(count: u64) -> String {
    let unit = [(1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(size, _)| count >= *size && count.is_multiple_of(*size));
    unit.map_or(format!("{count} bytes"), |(size, unit)| format!("{} {unit}", count / size))
}

/// Numbers, their products and shifts.
fn number(text: &str) -> Option<u64> {
    if let Some((left, right)) = text.split_once(" << ") {
        return Some(number(left)? << number(right)?);
    }
    if let Some((left, right)) = text.split_once(" * ") {
        return Some(number(left)? * number(right)?);
    }
    text.trim().replace('_', "").parse().ok()
}

/// Of the program and of `make bench`, by area and name; the sources are read once.
pub fn all() -> &'static [Limit] {
    static ALL: OnceLock<Vec<Limit>> = OnceLock::new();
    ALL.get_or_init(read_all)
}

fn read_all() -> Vec<Limit> {
    let place = |path: &Path, below: &str| {
        let path = path.strip_prefix(root().join(below)).expect("below it").to_owned();
        let area = path.components().next().expect("a part").as_os_str().to_string_lossy().into_owned();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        // Folders give their name to what they are called by.
        let stem = if stem == "mod" { area.clone() } else { stem };
        (area, stem)
    };
    let mut found = Vec::new();
    for path in files(&root().join("src"), "rs") {
        let (area, stem) = place(&path, "src");
        found.extend(of_file(&area, &stem, &read(&path)));
    }
    for path in files(&root().join("tests/bench"), "rs") {
        let (_, stem) = place(&path, "tests/bench");
        found.extend(of_file("bench", &stem, &read(&path)));
    }
    found.sort_by(|a, b| (&a.area, &a.name).cmp(&(&b.area, &b.name)));
    found
}

/// The text of `docs/limits.md`.
pub fn document() -> String {
    let mut text = "# Limits\n\nFor operators and contributors: every limit of queues, buffers, files, retries and waits, with what happens there.\n\
        \nMade from the comments in the sources (`UPDATE_GOLDEN=1 cargo test --test it docs`). What an operator may set is in \
        [configuration.md](configuration.md);\nbudgets of `make bench` are in [performance.md](performance.md).\n"
        .to_owned();
    let mut area = "";
    for limit in all().iter().filter(|limit| limit.area != "bench") {
        if limit.area != area {
            area = &limit.area;
            let _ = write!(text, "\n## src/{area}\n\n| limit | value | what it bounds |\n|---|---|---|\n");
        }
        let (value, about) = (limit.value.replace('|', "\\|"), limit.about.replace('|', "\\|"));
        let _ = writeln!(text, "| `{}` | {value} | {about} |", limit.name);
    }
    text
}

/// A figure that is quoted is that of the source.
pub fn quotes(documents: &super::sync::Documents) -> Vec<String> {
    let known: BTreeMap<&str, &Limit> = all().iter().map(|limit| (limit.name.as_str(), limit)).collect();
    let mut found = Vec::new();
    for (path, text) in documents.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (at, _) in text.match_indices(OPENING) {
            let Some((name, _)) =
                text[at + OPENING.len()..].split_once(CLOSING).filter(|(name, _)| name.contains("::"))
            else {
                continue;
            };
            match known.get(name) {
                None => found.push(format!("{path}: there is no limit {name}")),
                Some(limit) if !text[..at].ends_with(&limit.value) => {
                    found.push(format!("{path}: {name} is {}, and something else is said", limit.value));
                }
                Some(_) => {}
            }
        }
    }
    let quoted = |name: &str| documents.values().any(|text| text.contains(&format!("{OPENING}{name}{CLOSING}")));
    let is_budget = |limit: &&Limit| limit.area == "bench" && BUDGETS.iter().any(|ending| limit.name.ends_with(ending));
    let silent = all().iter().filter(is_budget).filter(|limit| !quoted(&limit.name));
    found.extend(silent.map(|limit| format!("docs/performance.md: the budget {} is not quoted", limit.name)));
    found
}
