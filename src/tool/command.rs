//! The `/tool` grammar (contract §8): text in, a [`ToolCall`] out. Two readers share it: what a person types, and the
//! one-line action a model may answer with.
//!
//! ```text
//! /tool NAME [ARGUMENTS]     exactly "/tool", then white space; the name ends at white space, the rest is trimmed
//! ```

use std::fmt;

/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// Longest arguments, in characters.
pub const ARGUMENTS_CHARS_MAX: usize = 512;

/// A call that keeps the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolCall<'a> {
    /// The tool.
    pub name: &'a str,
    /// Its arguments.
    pub arguments: &'a str,
}

impl fmt::Display for ToolCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(format!("/tool {} {}", self.name, self.arguments).trim_end())
    }
}

/// Meant to be a call, but none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolSyntax {
    /// Nothing behind `/tool`.
    MissingName,
    /// More than [`NAME_CHARS_MAX`].
    LongName,
    /// Something else than lower-case letters, digits, `_` and `-`.
    BadName,
    /// More than [`ARGUMENTS_CHARS_MAX`].
    LongArguments,
    /// A control character, or one that changes the direction of text.
    BadArguments,
}

impl fmt::Display for ToolSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToolSyntax::MissingName => f.write_str("missing name; usage: /tool NAME [ARGUMENTS]"),
            ToolSyntax::LongName => write!(f, "a tool's name has at most {NAME_CHARS_MAX} characters"),
            ToolSyntax::BadName => f.write_str("a tool's name is made of a-z, 0-9, '_' and '-'"),
            ToolSyntax::LongArguments => write!(f, "arguments have at most {ARGUMENTS_CHARS_MAX} characters"),
            ToolSyntax::BadArguments => f.write_str("arguments hold no control characters"),
        }
    }
}

/// What a person typed. `Ok(None)`: conversation.
pub fn parse(text: &str) -> Result<Option<ToolCall<'_>>, ToolSyntax> {
    let Some(rest) = text.trim().strip_prefix("/tool") else { return Ok(None) };
    if rest.starts_with(|c: char| !c.is_whitespace()) {
        return Ok(None);
    }
    call(rest).map(Some)
}

/// What a model answered: a call only if the whole answer is one line and keeps every rule but the name's existence.
pub fn action(answer: &str) -> Option<ToolCall<'_>> {
    let line = answer.trim();
    if line.contains(['\n', '\r']) {
        return None;
    }
    parse(line).ok().flatten()
}

/// Name and arguments, from what stands behind `/tool`.
pub fn call(rest: &str) -> Result<ToolCall<'_>, ToolSyntax> {
    let rest = rest.trim();
    let (name, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    if name.is_empty() {
        return Err(ToolSyntax::MissingName);
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(ToolSyntax::LongName);
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-') {
        return Err(ToolSyntax::BadName);
    }
    if arguments.chars().count() > ARGUMENTS_CHARS_MAX {
        return Err(ToolSyntax::LongArguments);
    }
    if arguments.chars().any(|c| c.is_control() || changes_direction(c)) {
        return Err(ToolSyntax::BadArguments);
    }
    Ok(ToolCall { name, arguments })
}

fn changes_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<Option<(&str, &str)>, ToolSyntax>) {
        assert_eq!(parse(text).map(|found| found.map(|call| (call.name, call.arguments))), want, "{text:?}");
    }

    #[test]
    fn only_the_exact_prefix_is_a_call() {
        check("/tool time_now", Ok(Some(("time_now", ""))));
        check("  /tool\n session_tail  5 \n", Ok(Some(("session_tail", "5"))));
        check("/tool a b  c", Ok(Some(("a", "b  c"))));
        check("/toolbox", Ok(None));
        check("/TOOL x", Ok(None));
        check("please /tool x", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        check("/tool", Err(ToolSyntax::MissingName));
        check("/tool Time", Err(ToolSyntax::BadName));
        check("/tool ../x", Err(ToolSyntax::BadName));
        check(&format!("/tool {}", "a".repeat(65)), Err(ToolSyntax::LongName));
        check(&format!("/tool a {}", "é".repeat(513)), Err(ToolSyntax::LongArguments));
        check("/tool a b\u{7}", Err(ToolSyntax::BadArguments));
        check("/tool a b\nc", Err(ToolSyntax::BadArguments));
        check("/tool a \u{202e}b", Err(ToolSyntax::BadArguments));
        assert!(parse(&format!("/tool {} {}", "a".repeat(64), "é".repeat(512))).is_ok());
    }

    #[test]
    fn a_models_answer_is_an_action_only_as_a_whole_single_line() {
        assert_eq!(action(" /tool time_now ").map(|call| call.to_string()), Some("/tool time_now".to_owned()));
        for answer in ["I will run:\n/tool time_now", "/tool time_now\nnow", "/tool", "/tool Bad", "`/tool time_now`"] {
            assert_eq!(action(answer), None, "{answer}");
        }
    }
}
