//! Source files as text: without comments and literals, without tests, and what can be read from the rest.
//!
//! Not a parser of the language: it knows what rustfmt leaves, and errs towards complaining.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One file. `code` has no comments and literals, `product` no tests either; both keep their lines.
pub struct Source {
    pub path: String,
    pub raw: String,
    pub code: String,
    pub product: String,
    pub test_lines: usize,
}

impl Source {
    pub fn new(path: &str, raw: &str) -> Source {
        let code = without_literals(raw);
        let mut product = String::new();
        let mut test_lines = 0;
        let mut rest = code.as_str();
        while let Some(at) = rest.find("#[cfg(test)]") {
            let end = at + item_length(&rest[at..]);
            product.push_str(&rest[..at]);
            product.push_str(&blank(&rest[at..end]));
            test_lines += rest[at..end].lines().count();
            rest = &rest[end..];
        }
        product.push_str(rest);
        Source { path: path.to_string(), raw: raw.to_string(), code, product, test_lines }
    }

    /// How many `super::` lead to the root of the crate.
    pub fn depth(&self) -> usize {
        self.path.split('/').count() - usize::from(self.path.ends_with("/mod.rs"))
    }

    /// The files that this one declares with `#[cfg(test)] mod name;`.
    fn test_files(&self) -> Vec<String> {
        let folder = match self.path.strip_suffix("mod.rs").or(self.path.strip_suffix("lib.rs")) {
            Some(folder) => folder.to_string(),
            None => self.path.replace(".rs", "/"),
        };
        let items = self.code.split("#[cfg(test)]").skip(1);
        let names = items.filter_map(|item| item.trim_start().strip_prefix("mod ")?.split(';').next());
        names.filter(|name| !name.contains('{')).map(|name| format!("{folder}{name}.rs")).collect()
    }
}

/// The files of `src`, named from there.
pub fn product() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&Path::new(ROOT).join("src"), "", &mut sources);
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_files).collect();
    for source in sources.iter_mut().filter(|source| tests.contains(&source.path)) {
        source.product.clear();
        source.test_lines = source.raw.lines().count();
    }
    sources
}

pub fn all() -> Vec<Source> {
    let mut sources = product();
    collect(&Path::new(ROOT).join("tests"), "tests/", &mut sources);
    sources
}

fn collect(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), sources);
        } else if name.ends_with(".rs") {
            let raw = fs::read_to_string(&path).expect("text");
            sources.push(Source::new(&format!("{prefix}{name}"), &raw));
        }
    }
}

/// To the brace that closes the first one, or to the first semicolon that is not one of an array type.
fn item_length(item: &str) -> usize {
    let mut braces = 0_usize;
    let mut brackets = 0_usize;
    for (at, character) in item.char_indices() {
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return at + 1,
            '}' => braces -= 1,
            ';' if braces == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The first line of each function, from 0, and its length in lines. `fn(` is only a type.
pub fn functions(code: &str) -> Vec<(usize, usize)> {
    let starts = word_starts(code, "fn").filter(|at| code[*at..].starts_with("fn "));
    let lines = |at: usize| code[at..at + item_length(&code[at..])].lines().count();
    starts.map(|at| (code[..at].matches('\n').count(), lines(at))).collect()
}

/// Every full path that starts at `root`, with the groups of imports taken apart.
pub fn paths(code: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    for at in word_starts(code, root) {
        let inner = code[..at].strip_suffix("::").is_some_and(|before| before.ends_with(is_word));
        if !inner && code[at + root.len()..].starts_with("::") {
            path_tree(&code[at..], "", &mut found);
        }
    }
    found
}

/// Reads one path or group and returns what is after it.
fn path_tree<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut rest = group;
        loop {
            rest = path_tree(rest, prefix, found);
            let next = rest.find([',', '}']).unwrap_or(rest.len());
            let closed = rest[next..].starts_with('}') || rest.len() == next;
            rest = &rest[(next + 1).min(rest.len())..];
            if closed || rest.trim_start().starts_with('}') {
                return rest;
            }
        }
    }
    let rest = text.trim_start_matches(is_word);
    let path = format!("{prefix}{}", &text[..text.len() - rest.len()]);
    match rest.strip_prefix("::") {
        Some(rest) => path_tree(rest, &format!("{path}::"), found),
        None => {
            found.push(path);
            rest
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where the word stands alone. A word may end with `!`.
pub fn word_starts<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let alone = move |at: usize| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word);
    text.match_indices(word).map(|(at, _)| at).filter(move |at| alone(*at))
}

pub fn has_word(text: &str, word: &str) -> bool {
    word_starts(text, word).next().is_some()
}

fn blank(text: &str) -> String {
    text.chars().map(|character| if character == '\n' { '\n' } else { ' ' }).collect()
}

fn without_literals(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = literal_length(rest, code.ends_with(is_word));
        let (text, after) = rest.split_at(length.unwrap_or(first.len_utf8()));
        code.push_str(&if length.is_some() { blank(text) } else { text.to_string() });
        rest = after;
    }
    code
}

/// The length of the comment, string or character at the start.
fn literal_length(text: &str, after_word: bool) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(comment_length(text));
    }
    let raw = text.trim_start_matches(['b', 'c']).strip_prefix('r').filter(|_| !after_word);
    if let Some(hashes) = raw.map(|rest| rest.len() - rest.trim_start_matches('#').len())
        && let Some(body) = raw.and_then(|rest| rest[hashes..].strip_prefix('"'))
    {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text.len() - body.len() + body.find(&end).map_or(body.len(), |at| at + end.len()));
    }
    if text.starts_with('"') {
        return Some(quoted_length(text, '"'));
    }
    let after_quote = text.strip_prefix('\'')?;
    let character = after_quote.starts_with('\\') || after_quote.chars().nth(1) == Some('\'');
    character.then(|| quoted_length(text, '\''))
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Block comments nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}
