//! The grammar of `.env` files (contract §4.1 and §15.5): text in, pairs with line numbers out.
//!
//! ```text
//! # a comment
//! export NAME=value with spaces   # an unquoted value ends at " #" or at the end of the line
//! NAME='literal $text'            # single quotes: nothing is special
//! NAME="a\nb ${OTHER}"            # double quotes: \n \r \t \" \\ \$ and ${OTHER}; may span lines
//! NAME=$OTHER/x ${OTHER}          # unquoted values know variables too
//! ```
//! The first of two lines with the same name wins, as it always did.

use std::fmt;

use crate::base::sorted::SortedMap;

/// A name, its value, and the line it stands on (counting from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The variable.
    pub name: String,
    /// Its value after quotes and variables.
    pub value: String,
    /// The line of its name.
    pub line: usize,
}

/// A line that sets a name to another value than an earlier line did, and so has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The variable.
    pub name: String,
    /// The line whose value counts.
    pub first: usize,
    /// The line without effect.
    pub line: usize,
    /// Its value, which may be secret: for who must keep it out of sight.
    pub value: String,
}

/// A `$NAME` that stands for nothing, because no such variable is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The variable in whose value it stands.
    pub name: String,
    /// The line of that one.
    pub line: usize,
    /// The name that is not set. In the value of a secret it is a part of the secret.
    pub variable: String,
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// What counts, in the order of the lines.
    pub entries: Vec<Entry>,
    /// What a person may think counts, and does not.
    pub repeats: Vec<Repeat>,
    /// What vanished from the values that count.
    pub gone: Vec<Gone>,
}

/// What is wrong, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFileError {
    /// Counting from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What a line can have wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No `=` behind the name.
    NoEquals,
    /// A name that is not letters, digits and `_`.
    BadName,
    /// A quote that never closes.
    Unclosed,
    /// Something behind the closing quote that is not a comment.
    AfterQuote,
    /// A NUL byte.
    Nul,
    /// A `${` without a plain name and a `}`.
    BadVariable,
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::NoEquals => "has no '=' behind a name: write NAME=value, or start a comment with '#'",
            Problem::BadName => "has a name that is not made of letters, digits and '_'",
            Problem::Unclosed => "opens a quote that never closes",
            Problem::AfterQuote => "has text behind the closing quote: put it inside the quotes, or behind ' #'",
            Problem::Nul => "holds a NUL byte",
            Problem::BadVariable => "has a ${…} that holds no plain name: put the value into single quotes",
        };
        write!(f, "line {} {problem}", self.line)
    }
}

/// Parses a whole file. `outer` supplies variables that the file itself has not set before.
pub fn read(text: &str, outer: &dyn Fn(&str) -> Option<String>) -> Result<EnvFile, EnvFileError> {
    if let Some((before, _)) = text.split_once('\0') {
        return Err(EnvFileError { line: before.matches('\n').count() + 1, problem: Problem::Nul });
    }
    let mut file = EnvFile::default();
    let mut known: SortedMap<String, (String, usize)> = SortedMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let lookup = |name: &str| outer(name).or_else(|| known.get(name).map(|(value, _)| value.clone()));
        let mut lookup = Lookup { lookup: &lookup, gone: Vec::new() };
        let parsed = next_entry(rest, line, &mut lookup)?;
        let gone = lookup.gone;
        line += rest[..rest.len() - parsed.rest.len()].matches('\n').count();
        rest = parsed.rest;
        let Some(entry) = parsed.entry else { continue };
        match known.get(&entry.name) {
            None => {
                let gone = gone.into_iter();
                file.gone.extend(gone.map(|variable| Gone { name: entry.name.clone(), line: entry.line, variable }));
                known.insert(entry.name.clone(), (entry.value.clone(), entry.line));
                file.entries.push(entry);
            }
            Some((value, first)) if *value != entry.value => {
                let (name, line, value) = (entry.name, entry.line, entry.value);
                file.repeats.push(Repeat { name, first: *first, line, value });
            }
            Some(_) => {}
        }
    }
    Ok(file)
}

struct Parsed<'a> {
    entry: Option<Entry>,
    rest: &'a str,
}

fn next_entry<'a>(text: &'a str, line: usize, lookup: &mut Lookup<'_>) -> Result<Parsed<'a>, EnvFileError> {
    let fail = |problem| EnvFileError { line, problem };
    let (first, after) = text.split_once('\n').unwrap_or((text, ""));
    let content = first.trim();
    if content.is_empty() || content.starts_with('#') {
        return Ok(Parsed { entry: None, rest: after });
    }
    let content = content.strip_prefix("export ").unwrap_or(content);
    let (name, _) = content.split_once('=').ok_or_else(|| fail(Problem::NoEquals))?;
    let name = name.trim();
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(fail(Problem::BadName));
    }
    let start = text.find('=').map_or(text.len(), |at| at + 1);
    let value_text = text[start..].trim_start_matches([' ', '\t']);
    let (value, rest) = match value_text.chars().next() {
        Some('\'') => single_quoted(&value_text[1..]).map_err(fail)?,
        Some('"') => double_quoted(&value_text[1..], lookup).map_err(fail)?,
        _ => (unquoted(first.split_once('=').map_or("", |(_, value)| value), lookup).map_err(fail)?, after),
    };
    Ok(Parsed { entry: Some(Entry { name: name.to_owned(), value, line }), rest })
}

fn unquoted(text: &str, lookup: &mut Lookup<'_>) -> Result<String, Problem> {
    let comment = text
        .char_indices()
        .find(|&(at, c)| c == '#' && (at == 0 || text[..at].ends_with([' ', '\t'])))
        .map_or(text.len(), |(at, _)| at);
    lookup.substitute(text[..comment].trim())
}

fn single_quoted(text: &str) -> Result<(String, &str), Problem> {
    let (value, rest) = text.split_once('\'').ok_or(Problem::Unclosed)?;
    Ok((value.to_owned(), end_of_line(rest)?))
}

fn double_quoted<'a>(text: &'a str, lookup: &mut Lookup<'_>) -> Result<(String, &'a str), Problem> {
    let mut value = String::new();
    let mut plain_start = 0;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                value.push_str(&lookup.substitute(&text[plain_start..at])?);
                return Ok((value, end_of_line(&text[at + 1..])?));
            }
            '\\' => {
                value.push_str(&lookup.substitute(&text[plain_start..at])?);
                let (_, escaped) = characters.next().ok_or(Problem::Unclosed)?;
                match escaped {
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    '"' | '\\' | '$' => value.push(escaped),
                    other => value.extend(['\\', other]),
                }
                plain_start = at + 1 + escaped.len_utf8();
            }
            _ => {}
        }
    }
    Err(Problem::Unclosed)
}

/// What follows a closing quote: nothing, or a comment.
fn end_of_line(rest: &str) -> Result<&str, Problem> {
    let (tail, after) = rest.split_once('\n').unwrap_or((rest, ""));
    let tail = tail.trim();
    if tail.is_empty() || tail.starts_with('#') { Ok(after) } else { Err(Problem::AfterQuote) }
}

/// The values of variables, and the names that have none.
struct Lookup<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    gone: Vec<String>,
}

impl Lookup<'_> {
    /// Replaces `$NAME` and `${NAME}`; unknown names become nothing and are noted, a lone `$` stays.
    fn substitute(&mut self, text: &str) -> Result<String, Problem> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (name, next) = match after.strip_prefix('{') {
                Some(braced) => {
                    let is_plain = |(name, _): &(&str, &str)| !name.is_empty() && name.chars().all(is_part);
                    braced.split_once('}').filter(is_plain).ok_or(Problem::BadVariable)?
                }
                None => after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())),
            };
            rest = next;
            match (self.lookup)(name) {
                _ if name.is_empty() => out.push('$'),
                Some(value) => out.push_str(&value),
                None => self.gone.push(name.to_owned()),
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[(&str, &str)]) {
        let outer = |name: &str| (name == "HOME").then(|| "/home/pi".to_owned());
        let got = read(text, &outer).expect("parses").entries;
        let got: Vec<(&str, &str)> = got.iter().map(|entry| (entry.name.as_str(), entry.value.as_str())).collect();
        assert_eq!(got, want);
    }

    #[track_caller]
    fn refuse(text: &str, line: usize, problem: Problem) {
        assert_eq!(read(text, &|_| None), Err(EnvFileError { line, problem }));
    }

    #[test]
    fn unquoted_values_may_hold_spaces() {
        check(
            "RUSTY_PINCH_CODEX_CLI_ARGS=exec --skip-git-repo-check\n",
            &[("RUSTY_PINCH_CODEX_CLI_ARGS", "exec --skip-git-repo-check")],
        );
        check("A=b # comment\nB=a#b\nC= #x\nexport D = e ", &[("A", "b"), ("B", "a#b"), ("C", ""), ("D", "e")]);
    }

    #[test]
    fn quotes_and_variables() {
        check(
            "A='$HOME # x'\nB=\"$HOME\\n\\\"q\\\" ${HOME}\" # c\n",
            &[("A", "$HOME # x"), ("B", "/home/pi\n\"q\" /home/pi")],
        );
        check("A=1\nB=${A}2$\nC=$NONE-\n", &[("A", "1"), ("B", "12$"), ("C", "-")]);
        check("A=\"two\nlines\"\nB=x\n", &[("A", "two\nlines"), ("B", "x")]);
    }

    #[test]
    fn the_first_of_two_wins_and_windows_files_load() {
        check("A=1\r\nA=2\r\n\u{a0}\n", &[("A", "1")]);
        check("\u{feff}A=1", &[("A", "1")]);
    }

    #[test]
    fn a_name_set_twice_is_told_if_the_values_differ() {
        let file = read("A=1\nB=x\nA='1'\n\nA=2\nB=\n", &|_| None).expect("parses");
        let told: Vec<_> =
            file.repeats.iter().map(|repeat| (repeat.name.as_str(), repeat.first, repeat.line)).collect();
        assert_eq!(told, [("A", 1, 5), ("B", 2, 6)]);
        assert_eq!(file.entries.len(), 2);
    }

    #[test]
    fn what_vanishes_from_a_value_is_told_with_its_line() {
        let text = "A=1\nB=\"x\n$A${NONE}\"\nC='$NONE' # $NONE\nB=$NONE\nD=$\nE=$1x$NONE\n";
        let gone = read(text, &|_| None).expect("parses").gone;
        let told: Vec<_> = gone.iter().map(|gone| (gone.name.as_str(), gone.line, gone.variable.as_str())).collect();
        assert_eq!(told, [("B", 2, "NONE"), ("E", 7, "1x"), ("E", 7, "NONE")]);
    }

    #[test]
    fn errors_name_the_line() {
        refuse("A=1\nnonsense\n", 2, Problem::NoEquals);
        refuse("\n\n1A=2", 3, Problem::BadName);
        refuse("A=\"x\nB=2\n", 1, Problem::Unclosed);
        refuse("A='x' y", 1, Problem::AfterQuote);
        refuse("A=\"x\ny\"\nB", 3, Problem::NoEquals);
        refuse("A=1\nB=x${A:-2}", 2, Problem::BadVariable);
        refuse("A=\"${}\"", 1, Problem::BadVariable);
        refuse("A=${B", 1, Problem::BadVariable);
        refuse("A=\0", 1, Problem::Nul);
        refuse("A=\"1\n\0\"", 2, Problem::Nul);
    }
}
