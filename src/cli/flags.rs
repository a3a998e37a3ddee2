//! Commands and options, declared once: the parser, the help and the documents are made from [`COMMANDS`].

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use crate::base::nearest::nearest;
use crate::base::sorted::SortedMap;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the commands are")]
pub enum Id {
    Doctor,
    Setup,
    Health,
    Run,
    Repl,
    Send,
    Session,
    SessionList,
    SessionExport,
    SessionDelete,
    OutboxList,
    OutboxShow,
    OutboxRetry,
    OutboxDrop,
    JournalVerify,
    PairTelegram,
    Backup,
    Restore,
    ToolsList,
    ToolsRun,
    Stats,
    Monitor,
    CodexStatus,
    CodexHealthcheck,
    CodexGenerate,
    ChannelsTelegram,
    ChannelsWhatsapp,
    ChannelsAll,
    WhatsappValidate,
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

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is there or not.
    Nothing,
    /// Any text; what the help calls it.
    Text(&'static str),
    /// A whole number of at least 1.
    Count,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// It is a path that stands behind the words of the command, without dashes; what the help calls it.
    Path(&'static str),
}

impl Takes {
    /// The value's name in a usage line; blank for an option without one.
    pub fn name(self) -> String {
        match self {
            Takes::Nothing => String::new(),
            Takes::Text(name) | Takes::Path(name) => name.to_owned(),
            Takes::Count => "N".to_owned(),
            Takes::Choice(words) => words.join("|"),
        }
    }

    fn check(self, name: &str, value: &str) -> Result<(), String> {
        match self {
            Takes::Count if !value.parse::<u64>().is_ok_and(|count| count > 0) => {
                Err(format!("--{name} takes a whole number of at least 1"))
            }
            Takes::Choice(words) if !words.contains(&value) => {
                Err(format!("--{name} takes one of: {}", words.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

/// A long option.
#[derive(Debug)]
pub struct Opt {
    /// Without the dashes.
    pub name: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// `None`: it has to be given.
    pub default: Option<&'static str>,
    /// One phrase.
    pub about: &'static str,
}

impl Opt {
    /// As it is typed: `--session NAME`, or only `FILE`.
    pub fn usage(&self) -> String {
        if self.is_path() {
            return self.takes.name();
        }
        format!("--{} {}", self.name, self.takes.name()).trim_end().to_owned()
    }

    /// Whether it stands behind the words of the command.
    pub fn is_path(&self) -> bool {
        matches!(self.takes, Takes::Path(_))
    }
}

const fn flag(name: &'static str, about: &'static str) -> Opt {
    Opt { name, takes: Takes::Nothing, default: Some(""), about }
}

const SESSION: Opt =
    Opt { name: "session", takes: Takes::Text("NAME"), default: Some("default"), about: "which conversation" };
/// Where the default would be a trap.
const THIS_SESSION: Opt =
    Opt { name: "session", takes: Takes::Text("NAME"), default: None, about: "which conversation" };
const MAX_MESSAGES: Opt =
    Opt { name: "max-messages", takes: Takes::Count, default: Some(""), about: "stop after so many answered messages" };

const TURN: Opt =
    Opt { name: "turn", takes: Takes::Text("ID"), default: None, about: "which turn, as the list names it" };

const FILE: Opt = Opt { name: "file", takes: Takes::Path("FILE"), default: None, about: "which archive" };

/// Every command, in the order of the help.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command { id: Id::Doctor, words: &["doctor"], about: "Check the configuration and say what is wrong (also without a command).", options: &[
        flag("json", "print the report as JSON"),
        flag("quiet", "print problems only"),
        flag("strict", "exit 1 for warnings too"),
        flag("probe", "ask the servers, too"),
        flag("secrets", "print where each secret comes from instead"),
    ] },
    Command { id: Id::Setup, words: &["setup"], about: "Ask for provider, key and bot, check each, write the settings, pair a person, and let the bot answer once.", options: &[
        Opt { name: "provider", takes: Takes::Text("NAME"), default: Some(""), about: "who answers" },
        Opt { name: "base", takes: Takes::Text("URL"), default: Some(""), about: "base URL of a vllm or compatible server" },
        Opt { name: "model", takes: Takes::Text("NAME"), default: Some(""), about: "the model" },
        Opt { name: "key-file", takes: Takes::Text("FILE"), default: Some(""), about: "file that holds the key of the provider" },
        Opt { name: "bot-token-file", takes: Takes::Text("FILE"), default: Some(""), about: "file that holds the token of the bot" },
        Opt { name: "allow-from", takes: Takes::Text("IDS"), default: Some(""), about: "who may write to the bot, in place of pairing" },
        Opt { name: "into", takes: Takes::Text("FOLDER"), default: Some(""), about: "where to write; of itself: /etc/rusty-pinch for root if it is there, else RUSTY_PINCH_ENV_FILE or .env" },
        flag("no-probe", "ask no server, pair nobody"),
        flag("delete-webhook", "remove the bot's webhook, if it has one"),
        flag("no-pair", "show the code and do not wait for it"),
    ] },
    Command { id: Id::Health, words: &["health"], about: "Say whether the workers live, from what they leave in the run folder; exit 1 if one does not.", options: &[
        Opt { name: "max-age", takes: Takes::Count, default: Some("90"), about: "seconds since a worker's last word of itself" },
        flag("ready", "they must be ready, too: messages can arrive and be kept"),
        Opt { name: "channel", takes: Takes::Choice(&["telegram", "whatsapp"]), default: Some(""), about: "only this one, not every enabled one" },
    ] },
    Command { id: Id::Run, words: &["run"], about: "Answer one message.", options: &[
        SESSION,
        Opt { name: "message", takes: Takes::Text("TEXT"), default: None, about: "what to answer" },
    ] },
    Command { id: Id::Repl, words: &["repl"], about: "Answer messages line by line until end of input, 'exit' or 'quit'.", options: &[SESSION] },
    Command { id: Id::Send, words: &["send"], about: "Send a message to a chat through the outbox of its worker: done when it is on the medium.", options: &[
        Opt { name: "channel", takes: Takes::Choice(&["telegram", "whatsapp"]), default: None, about: "by which channel" },
        Opt { name: "to", takes: Takes::Text("CHAT"), default: None, about: "the id of the chat, which has to be in the allowlist" },
        Opt { name: "message", takes: Takes::Text("TEXT"), default: None, about: "what to say, at most 32 KiB" },
        flag("force", "also to a chat that is not in the allowlist"),
    ] },
    Command { id: Id::Session, words: &["session"], about: "Print a conversation as JSON.", options: &[SESSION] },
    Command { id: Id::SessionList, words: &["session", "list"], about: "List the conversations as JSON.", options: &[] },
    Command { id: Id::SessionExport, words: &["session", "export"], about: "Print a conversation with all that is kept of it.", options: &[
        THIS_SESSION,
        Opt { name: "format", takes: Takes::Choice(&["jsonl", "json", "markdown"]), default: Some("jsonl"), about: "how" },
    ] },
    Command { id: Id::SessionDelete, words: &["session", "delete"], about: "Delete a conversation for good.", options: &[
        THIS_SESSION,
        flag("confirm", "really"),
    ] },
    Command { id: Id::OutboxList, words: &["outbox", "list"], about: "List the turns that are not settled as JSON: open, in doubt, given up.", options: &[] },
    Command { id: Id::OutboxShow, words: &["outbox", "show"], about: "Print all that is known of one of them as JSON.", options: &[TURN] },
    Command { id: Id::OutboxRetry, words: &["outbox", "retry"], about: "Let the worker take up one that was given up.", options: &[TURN] },
    Command { id: Id::OutboxDrop, words: &["outbox", "drop"], about: "Remove one for good.", options: &[TURN, flag("confirm", "really")] },
    Command { id: Id::JournalVerify, words: &["journal", "verify"], about: "Check the journals and say as JSON what is in them.", options: &[
        Opt { name: "channel", takes: Takes::Choice(&["telegram", "whatsapp"]), default: Some(""), about: "only this one" },
    ] },
    Command { id: Id::Backup, words: &["backup"], about: "Write conversations, journals and counters into one archive, also while workers run.", options: &[FILE] },
    Command { id: Id::Restore, words: &["restore"], about: "Put an archive in place. What was open in it is in the outbox then and is not sent by itself.", options: &[
        FILE,
        flag("confirm", "move what is there aside"),
    ] },
    Command { id: Id::ToolsList, words: &["tools", "list"], about: "List the local tools.", options: &[] },
    Command { id: Id::ToolsRun, words: &["tools", "run"], about: "Run a local tool, as a '/tool' message does.", options: &[
        SESSION,
        Opt { name: "name", takes: Takes::Text("NAME"), default: None, about: "which tool" },
        Opt { name: "args", takes: Takes::Text("TEXT"), default: Some(""), about: "its arguments" },
    ] },
    Command { id: Id::Stats, words: &["stats"], about: "Print the counters and the latest turn as JSON.", options: &[] },
    Command { id: Id::Monitor, words: &["monitor"], about: "Show what the program, its channels, its process, the host and the disk do.", options: &[
        Opt { name: "pid", takes: Takes::Count, default: Some(""), about: "look at this process" },
        Opt { name: "process-match", takes: Takes::Text("TEXT"), default: Some("rusty-pinch"), about: "or at the first whose command line contains this, if no worker reports" },
        Opt { name: "interval-ms", takes: Takes::Count, default: Some("1000"), about: "milliseconds between two looks" },
        Opt { name: "storage-refresh-ticks", takes: Takes::Count, default: Some("10"), about: "looks between two measurements of the folders" },
        flag("once", "print one frame and end"),
        flag("json", "print JSON, an object a line without --once"),
    ] },
    Command { id: Id::CodexStatus, words: &["codex", "status"], about: "Print what is known of the accounts of Codex as JSON.", options: &[] },
    Command { id: Id::CodexHealthcheck, words: &["codex", "healthcheck"], about: "Look at every account of Codex, without a request, and print what was found as JSON.", options: &[] },
    Command { id: Id::CodexGenerate, words: &["codex", "generate"], about: "Let Codex answer once, outside any conversation; prints JSON.", options: &[
        Opt { name: "prompt", takes: Takes::Text("TEXT"), default: None, about: "what to answer" },
        Opt { name: "purpose", takes: Takes::Text("TEXT"), default: Some("general"), about: "what it is for" },
    ] },
    Command { id: Id::ChannelsTelegram, words: &["channels", "telegram"], about: "Answer Telegram messages until told to stop.", options: &[
        MAX_MESSAGES,
        flag("delete-webhook", "remove the bot's webhook and end"),
    ] },
    Command { id: Id::ChannelsWhatsapp, words: &["channels", "whatsapp"], about: "Answer WhatsApp messages, through a bridge, until told to stop.", options: &[MAX_MESSAGES] },
    Command { id: Id::ChannelsAll, words: &["channels", "all"], about: "Answer the messages of every enabled channel until told to stop.", options: &[MAX_MESSAGES] },
    Command { id: Id::PairTelegram, words: &["pair", "telegram"], about: "Show a code by which one more person may write to the bot.", options: &[
        flag("list", "list who was paired instead"),
        Opt { name: "remove", takes: Takes::Text("ID"), default: Some(""), about: "remove one who was paired instead" },
    ] },
    Command { id: Id::WhatsappValidate, words: &["whatsapp", "validate"], about: "Put the WhatsApp worker through its checklist and write down what was seen.", options: &[
        Opt { name: "level", takes: Takes::Choice(&["sim", "bridge", "live"]), default: None, about: "which bridge: the built-in one, ours with WhatsApp scripted, or your own" },
        Opt { name: "out", takes: Takes::Text("FILE"), default: None, about: "where the evidence is written, one JSON object a line" },
        Opt { name: "only", takes: Takes::Text("IDS"), default: Some(""), about: "these items, separated by commas; the gate is not passed then" },
        Opt { name: "bridge", takes: Takes::Text("FOLDER"), default: Some("/opt/rusty-pinch-whatsapp-bridge"), about: "where the program of level bridge is installed" },
    ] },
    Command { id: Id::Help, words: &["help"], about: "Print this help; with a command behind it, the help of that command.", options: &[] },
];

/// First words, or all words, of commands that the earlier runtime had, with what to do instead.
#[rustfmt::skip]
pub const REMOVED: &[(&str, &str)] = &[
    ("skills", "skills are gone; 'rusty-pinch tools list' shows what there is"),
    ("pulse", "pulse is gone; let cron or a timer run 'rusty-pinch doctor --quiet' or 'rusty-pinch run'"),
    ("evolution", "evolution is gone; replace the program, or install its new package, and restart the worker"),
    ("codex drain-one", "there is no queue of Codex any more: every turn is answered or fails at once"),
];

/// Exit codes, with what they mean.
pub const EXIT_CODES: &[(u8, &str)] =
    &[(0, "done"), (1, "failed"), (2, "usage"), (70, "bug"), (74, "storage"), (75, "locked"), (78, "configuration")];

/// A command with its values.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What to do.
    pub id: Id,
    /// Which command the help is about.
    pub topic: Option<String>,
    values: SortedMap<&'static str, String>,
}

impl Parsed {
    /// An option's value: given, or its default.
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// Whether an option without a value was given.
    pub fn given(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !value.is_empty())
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
    let mut values: SortedMap<&'static str, String> = SortedMap::new();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return help_about(&words),
            Arg::Short('V') | Arg::Long("version") => return Ok(plain(Id::Version, String::new())),
            Arg::Value(word) => words.push(word.string().map_err(|error| error.to_string())?),
            Arg::Long(name) => {
                let name = name.to_owned();
                let option = option_of(&words, &name)?;
                let value = match option.takes {
                    Takes::Nothing => "true".to_owned(),
                    _ => parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())?,
                };
                option.takes.check(&name, &value)?;
                if values.insert(option.name, value).is_some() {
                    return Err(format!("--{name} is given twice"));
                }
            }
            Arg::Short(letter) => return Err(format!("there is no option -{letter}")),
        }
    }
    if words.first().map(String::as_str) == Some("help") {
        return help_about(&words[1..]);
    }
    let command = command_of(&words)?;
    for name in values.keys() {
        // An option in front of the last word was looked up for another command.
        option_of(&words, name)?;
    }
    let paths = command.options.iter().filter(|option| option.is_path());
    values.extend(paths.map(|option| option.name).zip(words.into_iter().skip(command.words.len())));
    for option in command.options {
        match option.default {
            Some(default) => drop(values.entry(option.name).or_insert_with(|| default.to_owned())),
            None if values.contains_key(option.name) => {}
            None => return Err(format!("{} needs {}", command.words.join(" "), option.usage())),
        }
    }
    Ok(Parsed { id: command.id, topic: None, values })
}

/// Help about everything, a command, or the commands that begin with these words.
fn help_about(words: &[String]) -> Result<Parsed, String> {
    let begins = |command: &Command| words.iter().eq(command.words.iter().take(words.len()));
    if !COMMANDS.iter().any(begins) {
        command_of(words)?;
    }
    Ok(plain(Id::Help, words.join(" ")))
}

fn plain(id: Id, topic: String) -> Parsed {
    Parsed { id, topic: (!topic.is_empty()).then_some(topic), values: SortedMap::new() }
}

/// The command of these words; `doctor` of none.
pub fn command_of(words: &[String]) -> Result<&'static Command, String> {
    if words.is_empty() {
        return Ok(&COMMANDS[0]);
    }
    let fits = |command: &&Command| {
        let paths = command.options.iter().filter(|option| option.is_path()).count();
        let more = words.len().checked_sub(command.words.len());
        more.is_some_and(|more| more <= paths) && command.words.iter().zip(words).all(|(word, given)| word == given)
    };
    if let Some(found) = COMMANDS.iter().find(fits) {
        return Ok(found);
    }
    if let Some((_, instead)) = REMOVED.iter().find(|(gone, _)| *gone == words[0] || *gone == words.join(" ")) {
        return Err((*instead).to_owned());
    }
    let begins = |command: &&Command| command.words.iter().eq(words.iter().take(command.words.len()));
    if let Some(command) = COMMANDS.iter().filter(begins).max_by_key(|command| command.words.len())
        && words.len() > command.words.len()
        && !COMMANDS
            .iter()
            .any(|other| other.words.len() > command.words.len() && other.words.starts_with(command.words))
    {
        let options: Vec<String> = command.options.iter().map(Opt::usage).collect();
        let has = if options.is_empty() { "has no options".to_owned() } else { format!("has: {}", options.join(", ")) };
        return Err(format!("{} takes no further words; it {has}", command.words.join(" ")));
    }
    let known: Vec<String> = COMMANDS.iter().map(|command| command.words.join(" ")).collect();
    let given: String = words.join(" ").chars().filter(|c| !c.is_control()).take(60).collect();
    // One word may also be the first of two.
    let first_words = COMMANDS.iter().map(|command| command.words[0]);
    let near = nearest(&given, known.iter().map(String::as_str).chain(first_words));
    let group: Vec<&str> = known.iter().filter(|name| near == name.split(' ').next()).map(String::as_str).collect();
    Err(match near {
        Some(name) if group.len() < 2 => format!("there is no command '{given}'; did you mean '{name}'?"),
        Some(_) => format!("there is no command '{given}'; did you mean one of: {}?", group.join(", ")),
        None => format!("there is no command '{given}'; there are: {}", known.join(", ")),
    })
}

fn option_of(words: &[String], name: &str) -> Result<&'static Opt, String> {
    let command = command_of(words)?;
    let options = || command.options.iter().filter(|option| !option.is_path());
    options().find(|option| option.name == name).ok_or_else(|| {
        let near = nearest(name, options().map(|option| option.name));
        let hint = near.map_or(String::new(), |near| format!("; did you mean --{near}?"));
        format!("{} has no option --{name}{hint}", command.words.join(" "))
    })
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
        refuse(&["stats", "now"], "stats takes no further words; it has no options");
        refuse(&["run", "hello"], "run takes no further words; it has: --session NAME, --message TEXT");
        refuse(&["run", "--message", "a", "--message", "b"], "--message is given twice");
        refuse(&["help", "nonsense"], "there is no command 'nonsense'");
        refuse(&["dance", "--help"], "there is no command 'dance'");
        refuse(&["session", "export", "--session", "x", "--format", "xml"], "one of: jsonl, json, markdown");
        refuse(&["session", "--format", "json", "export"], "session has no option --format");
        refuse(&["session", "--session", "x", "list"], "session list has no option --session");
        refuse(&["session", "delete", "--confirm=yes", "--session", "x"], "confirm");
    }

    #[test]
    fn a_path_stands_behind_the_words() {
        let restore = parsed(&["restore", "--confirm", "a/b.tar"]).expect("parses");
        assert_eq!((restore.id, restore.value("file"), restore.given("confirm")), (Id::Restore, "a/b.tar", true));
        assert_eq!(parsed(&["backup", "list"]).expect("parses").value("file"), "list");
        assert_eq!(parsed(&["backup", "--", "-x"]).expect("parses").value("file"), "-x");
        refuse(&["backup"], "backup needs FILE");
        refuse(&["backup", "a", "b"], "backup takes no further words; it has: FILE");
        refuse(&["backup", "--file", "a"], "backup has no option --file");
        assert_eq!(parsed(&["help", "backup"]).expect("parses").topic.as_deref(), Some("backup"));
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        refuse(&["sesion"], "did you mean one of: session, session list");
        refuse(&["session", "lst"], "did you mean 'session list'?");
        refuse(&["tools"], "did you mean one of: tools list, tools run?");
        refuse(&["chanels", "telegram"], "did you mean 'channels telegram'?");
        refuse(&["run", "--mesage", "x"], "did you mean --message?");
    }

    #[test]
    fn commands_of_the_earlier_runtime_say_what_to_use() {
        for (word, instead) in REMOVED {
            refuse(&[word], instead);
            refuse(&[word, "status", "--name", "x"], instead);
        }
    }

    #[test]
    fn an_option_without_a_value_is_given_or_not() {
        let doctor = parsed(&["doctor", "--quiet", "--strict"]).expect("parses");
        assert_eq!([doctor.given("quiet"), doctor.given("strict"), doctor.given("json")], [true, true, false]);
    }
}
