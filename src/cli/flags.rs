//! Commands and options, declared once: the parser and the help are made from [`COMMANDS`].

use std::collections::BTreeMap;
use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the commands are")]
pub enum Id {
    Doctor,
    Run,
    Repl,
    Session,
    ToolsList,
    ToolsRun,
    Stats,
    ChannelsTelegram,
    Help,
    Version,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// What it does.
    pub id: Id,
    /// Its words.
    pub words: &'static [&'static str],
    /// One sentence.
    pub about: &'static str,
    /// What may follow.
    pub options: &'static [Opt],
}

/// A long option with a value.
#[derive(Debug)]
pub struct Opt {
    /// Without the dashes.
    pub name: &'static str,
    /// What its value is called.
    pub value: &'static str,
    /// `None`: it has to be given.
    pub default: Option<&'static str>,
    /// Whether its value is a whole number of at least 1.
    pub counts: bool,
    /// One phrase.
    pub about: &'static str,
}

const SESSION: Opt =
    Opt { name: "session", value: "NAME", default: Some("default"), counts: false, about: "which conversation" };

/// Every command, in the order of the help.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command { id: Id::Doctor, words: &["doctor"], about: "Check the configuration and say what is wrong (also without a command).", options: &[] },
    Command { id: Id::Run, words: &["run"], about: "Answer one message.", options: &[
        SESSION,
        Opt { name: "message", value: "TEXT", default: None, counts: false, about: "what to answer" },
    ] },
    Command { id: Id::Repl, words: &["repl"], about: "Answer messages line by line until end of input, 'exit' or 'quit'.", options: &[SESSION] },
    Command { id: Id::Session, words: &["session"], about: "Print a conversation as JSON.", options: &[SESSION] },
    Command { id: Id::ToolsList, words: &["tools", "list"], about: "List the local tools.", options: &[] },
    Command { id: Id::ToolsRun, words: &["tools", "run"], about: "Run a local tool, as a '/tool' message does.", options: &[
        SESSION,
        Opt { name: "name", value: "NAME", default: None, counts: false, about: "which tool" },
        Opt { name: "args", value: "TEXT", default: Some(""), counts: false, about: "its arguments" },
    ] },
    Command { id: Id::Stats, words: &["stats"], about: "Print the counters and the latest turn as JSON.", options: &[] },
    Command { id: Id::ChannelsTelegram, words: &["channels", "telegram"], about: "Answer Telegram messages until told to stop.", options: &[
        Opt { name: "max-messages", value: "N", default: Some(""), counts: true, about: "stop after so many answered messages" },
    ] },
    Command { id: Id::Help, words: &["help"], about: "Print this help.", options: &[] },
];

/// A command with its values.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What to do.
    pub id: Id,
    /// Which command the help is about.
    pub topic: Option<String>,
    values: BTreeMap<&'static str, String>,
}

impl Parsed {
    /// An option's value: given, or its default.
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// A counting option's value, if it was given.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.value(name).parse().ok()
    }
}

/// Parses the arguments; the error is a sentence.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut parser = Parser::from_args(arguments);
    let mut words: Vec<String> = Vec::new();
    let mut values: BTreeMap<&'static str, String> = BTreeMap::new();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(plain(Id::Help, words.join(" "))),
            Arg::Short('V') | Arg::Long("version") => return Ok(plain(Id::Version, String::new())),
            Arg::Value(word) => words.push(word.string().map_err(|error| error.to_string())?),
            Arg::Long(name) => {
                let name = name.to_owned();
                let option = option_of(&words, &name)?;
                let value = parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())?;
                if option.counts && !value.parse::<u64>().is_ok_and(|count| count > 0) {
                    return Err(format!("--{name} takes a whole number of at least 1"));
                }
                values.insert(option.name, value);
            }
            Arg::Short(letter) => return Err(format!("there is no option -{letter}")),
        }
    }
    if words.first().map(String::as_str) == Some("help") {
        return Ok(plain(Id::Help, words[1..].join(" ")));
    }
    let command = command_of(&words)?;
    for option in command.options {
        match option.default {
            Some(default) => drop(values.entry(option.name).or_insert_with(|| default.to_owned())),
            None if values.contains_key(option.name) => {}
            None => return Err(format!("{} needs --{} {}", command.words.join(" "), option.name, option.value)),
        }
    }
    Ok(Parsed { id: command.id, topic: None, values })
}

fn plain(id: Id, topic: String) -> Parsed {
    Parsed { id, topic: (!topic.is_empty()).then_some(topic), values: BTreeMap::new() }
}

/// The command of these words; `doctor` of none.
pub fn command_of(words: &[String]) -> Result<&'static Command, String> {
    if words.is_empty() {
        return Ok(&COMMANDS[0]);
    }
    let found = COMMANDS.iter().find(|command| command.words.iter().eq(words.iter()));
    found.ok_or_else(|| {
        let known: Vec<String> = COMMANDS.iter().map(|command| command.words.join(" ")).collect();
        let given: String = words.join(" ").chars().filter(|c| !c.is_control()).take(60).collect();
        format!("there is no command '{given}'; there are: {}", known.join(", "))
    })
}

fn option_of(words: &[String], name: &str) -> Result<&'static Opt, String> {
    let command = command_of(words)?;
    command
        .options
        .iter()
        .find(|option| option.name == name)
        .ok_or_else(|| format!("{} has no option --{name}", command.words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Result<Parsed, String> {
        parse(line.iter().map(OsString::from))
    }

    #[test]
    fn values_are_given_or_default() {
        let run = parsed(&["run", "--message", "--help me", "--session=work"]).expect("parses");
        assert_eq!((run.id, run.value("message"), run.value("session")), (Id::Run, "--help me", "work"));
        let run = parsed(&["run", "--message", ""]).expect("parses");
        assert_eq!((run.value("message"), run.value("session")), ("", "default"));
        assert_eq!(parsed(&["channels", "telegram"]).expect("parses").count("max-messages"), None);
        assert_eq!(
            parsed(&["channels", "telegram", "--max-messages", "3"]).expect("parses").count("max-messages"),
            Some(3)
        );
    }

    #[test]
    fn help_and_version_are_understood_everywhere() {
        assert_eq!(parsed(&[]).expect("parses").id, Id::Doctor);
        assert_eq!(parsed(&["-V"]).expect("parses").id, Id::Version);
        let help = parsed(&["tools", "run", "-h"]).expect("parses");
        assert_eq!((help.id, help.topic.as_deref()), (Id::Help, Some("tools run")));
        assert_eq!(parsed(&["help", "stats"]).expect("parses").topic.as_deref(), Some("stats"));
    }

    #[track_caller]
    fn refuse(line: &[&str], part: &str) {
        let error = parsed(line).expect_err("refused");
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        refuse(&["dance"], "there is no command 'dance'");
        refuse(&["run"], "run needs --message TEXT");
        refuse(&["run", "--massage", "x"], "run has no option --massage");
        refuse(&["run", "--message"], "message");
        refuse(&["channels", "telegram", "--max-messages", "0"], "at least 1");
        refuse(&["stats", "-x"], "no option -x");
        refuse(&["stats", "now"], "there is no command 'stats now'");
    }
}
