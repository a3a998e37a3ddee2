//! Local deterministic tools: the trait, what a tool may see, and the sorted registry.
//!
//! A tool is a pure function of its arguments and a [`Context`]; today every one only reads. Its output is framed as
//! `[tool:<name>]\n<output>` for people, transcripts and models alike.

use std::fmt;

use crate::base::clock::Wall;

// The built-in tools.
pub mod builtin;
// The `/tool` grammar.
pub mod command;

/// What a tool may see.
pub struct Context<'a> {
    /// The configured provider.
    pub provider: &'a str,
    /// The configured model.
    pub model: &'a str,
    /// The session's name.
    pub session: &'a str,
    /// The time.
    pub now: Wall,
    /// The last lines of the session, oldest first, and how many there are in all.
    pub tail: &'a dyn Fn(usize) -> Option<Tail>,
}

/// The end of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Oldest first.
    pub lines: Vec<TailLine>,
    /// How many lines the session has.
    pub total: u64,
}

/// A line of a session, as tools see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailLine {
    /// Who said it.
    pub role: String,
    /// What was said.
    pub content: String,
    /// When.
    pub timestamp: String,
}

/// Why a tool gave no output. Every text is ours, so it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolError {
    /// There is none of that name.
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The arguments do not fit.
    Arguments {
        /// The usage line.
        usage: &'static str,
    },
    /// The session cannot be read.
    Unreadable,
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToolError::Unknown { name } => {
                let names: Vec<&str> = all().iter().map(|tool| tool.name()).collect();
                write!(f, "there is no tool '{name}'; available: {}", names.join(", "))
            }
            ToolError::Arguments { usage } => write!(f, "the arguments do not fit; usage: {usage}"),
            ToolError::Unreadable => f.write_str("the session file cannot be read"),
        }
    }
}

/// One tool.
pub trait Tool: Sync {
    /// Lower-case letters, digits, `_` and `-`.
    fn name(&self) -> &'static str;
    /// One sentence.
    fn description(&self) -> &'static str;
    /// How it is called.
    fn usage(&self) -> &'static str;
    /// Its output.
    fn run(&self, arguments: &str, context: &Context<'_>) -> Result<String, ToolError>;
}

/// Every tool, sorted by name.
pub fn all() -> &'static [&'static dyn Tool] {
    &[&builtin::ModelInfo, &builtin::SessionTail, &builtin::TimeNow]
}

/// Runs one by name and frames its output.
pub fn run(name: &str, arguments: &str, context: &Context<'_>) -> Result<String, ToolError> {
    let tool = all().iter().find(|tool| tool.name() == name);
    let tool = tool.ok_or_else(|| ToolError::Unknown { name: name.to_owned() })?;
    tool.run(arguments, context).map(|output| format!("[tool:{name}]\n{output}"))
}
