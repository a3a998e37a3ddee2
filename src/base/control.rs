//! [`Control`]: what a person says in a chat to the program and not to the model. Pure. The table [`WORDS`] is declared
//! once: the parser, `/help`, the menu of Telegram and docs/control.md are made from it.

/// A word of the control lane.
#[derive(Debug)]
pub struct Word {
    /// Without the slash.
    pub word: &'static str,
    /// What may stand behind it, for a person.
    pub takes: &'static str,
    /// What it does, in at most 100 characters.
    pub about: &'static str,
}

/// Every word, in the order of the help. `/start`, which Telegram sends for a person who opens the chat, is one more.
#[rustfmt::skip]
pub const WORDS: &[Word] = &[
    Word { word: "stop", takes: "", about: "End the answer under way, and drop what waits behind it." },
    Word { word: "new", takes: "", about: "Stop, and begin a new conversation: the model forgets what was said before." },
    Word { word: "last", takes: "[PART]", about: "Repeat the last answer, or one part of a long one." },
    Word { word: "status", takes: "", about: "Say how the program is: providers, open messages, tokens of today." },
    Word { word: "model", takes: "", about: "Say which providers and models answer, in which order." },
    Word { word: "help", takes: "", about: "Say this." },
];

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// End the turn under way, and those that wait behind it.
    Stop,
    /// The same, and begin a new conversation.
    New,
    /// Repeat the last answer; with a number, only this part of it.
    Last(Option<usize>),
    /// How the program is.
    Status,
    /// Who answers.
    Model,
    /// What can be said.
    Help,
    /// A word with something behind it that it does not take: nothing is done, and the person is told.
    Misused(&'static str),
}

impl Control {
    /// As it is typed, with its slash.
    pub fn name(self) -> &'static str {
        match self {
            Control::Stop => "/stop",
            Control::New => "/new",
            Control::Last(_) => "/last",
            Control::Status => "/status",
            Control::Model => "/model",
            Control::Help => "/help",
            Control::Misused(name) => name,
        }
    }

    /// Whether it ends what its conversation waits for.
    pub fn ends_turns(self) -> bool {
        matches!(self, Control::Stop | Control::New)
    }
}

/// The words of a message: `None` if it is for the model.
pub fn parse(text: &str) -> Option<Control> {
    let text = text.trim();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (word, rest) = (first.strip_prefix('/')?.to_ascii_lowercase(), rest.trim());
    let alone = |control: Control| if rest.is_empty() { control } else { Control::Misused(control.name()) };
    Some(match word.as_str() {
        // Whoever wants it to stop does not always send the word alone; behind /start stands what a link carried.
        "stop" => Control::Stop,
        "start" => Control::Help,
        "new" => alone(Control::New),
        "status" => alone(Control::Status),
        "model" => alone(Control::Model),
        "help" => alone(Control::Help),
        "last" if rest.is_empty() => Control::Last(None),
        "last" => match rest.parse() {
            Ok(part) if part > 0 => Control::Last(Some(part)),
            _ => Control::Misused("/last"),
        },
        _ => return None,
    })
}

/// In a group a word may name the bot that it is for: `/stop@some_bot`. The text without our own name; `None` if one of
/// our words names another bot.
pub fn addressed(text: &str, bot: &str) -> Option<String> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    match first.split_once('@') {
        Some((word, name)) if parse(word).is_some() => {
            (!bot.is_empty() && name.eq_ignore_ascii_case(bot)).then(|| format!("{word}{rest}"))
        }
        _ => Some(text.to_owned()),
    }
}

/// One line for each word.
pub fn help() -> String {
    let mut text = "Write to me as to a person. These words are for the program itself:".to_owned();
    for Word { word, takes, about } in WORDS {
        text.push_str(&format!("\n{} - {about}", format!("/{word} {takes}").trim_end()));
    }
    text
}

/// Between these the table of docs/control.md stands.
pub const MARKS: [&str; 2] = ["<!-- words: made from src/base/control.rs -->\n", "<!-- end of words -->\n"];

/// The table of docs/control.md. Only tests ask for it.
pub fn table() -> String {
    let mut text = "| word | what it does |\n|---|---|\n".to_owned();
    for Word { word, takes, about } in WORDS {
        text.push_str(&format!("| `{}` | {about} |\n", format!("/{word} {takes}").trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<Control>) {
        assert_eq!(parse(text), want, "{text}");
    }

    #[test]
    fn a_word_of_ours_is_for_the_program_and_everything_else_for_the_model() {
        check(" /stop ", Some(Control::Stop));
        check("/STOP it, please", Some(Control::Stop));
        check("/start\tsecret", Some(Control::Help));
        check("/help", Some(Control::Help));
        check("/new", Some(Control::New));
        check("/new topic", Some(Control::Misused("/new")));
        check("/last", Some(Control::Last(None)));
        check("/last 12", Some(Control::Last(Some(12))));
        for wrong in ["/last 0", "/last -1", "/last x", "/last 1 2", "/last 99999999999999999999999"] {
            check(wrong, Some(Control::Misused("/last")));
        }
        for other in ["", "/", "stop", "/stopp", "//stop", "please /stop", "/tool status", "/stop@bot", "/neu"] {
            check(other, None);
        }
        for Word { word, .. } in WORDS {
            assert_eq!(parse(&format!("/{word}")).map(Control::name), Some(format!("/{word}").as_str()));
        }
    }

    #[test]
    fn a_word_that_names_a_bot_is_ours_only_with_our_name() {
        let to = |text: &str| addressed(text, "Pinch_Bot");
        assert_eq!(to("/stop@pinch_bot now").as_deref(), Some("/stop now"));
        assert_eq!(to("/stop").as_deref(), Some("/stop"));
        assert_eq!(to("/stop@other_bot"), None);
        assert_eq!(to("/stop@"), None);
        assert_eq!(to("/weather@other_bot").as_deref(), Some("/weather@other_bot"));
        assert_eq!(to("mail a@b.c").as_deref(), Some("mail a@b.c"));
        assert_eq!(addressed("/stop@", ""), None);
    }

    /// Limits of the Bot API for a menu, and room for a reply that is never cut.
    #[test]
    fn every_word_fits_into_a_menu() {
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(WORDS.iter().all(|word| word.word.chars().all(is_plain) && word.word.len() <= 32));
        assert!(WORDS.iter().all(|word| (3..=100).contains(&word.about.chars().count())));
        assert!(help().len() < 1000);
    }
}
