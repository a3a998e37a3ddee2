//! The documents made from the tables of `flags.rs` and of the variables: the man page, the completions of three
//! shells, and docs/cli.md. A test compares them with the files; `UPDATE_GOLDEN=1 cargo test --test it docs` writes
//! them anew.

use std::fmt::Write;

use crate::base::sorted::SortedMap;
use crate::cli::flags::{COMMANDS, Command, EXIT_CODES, Opt, REMOVED, Takes};
use crate::cli::help::{about, usage};
use crate::config::document::{SOURCES, range, words};
use crate::config::keys::{FOREIGN, Fate, KEYS, Key};

/// Options that every command has.
const EVERYWHERE: [(&str, &str, &str); 2] =
    [("h", "help", "print help, also behind a command"), ("V", "version", "print the version")];

/// docs/cli.md.
pub fn markdown() -> String {
    let mut text = "# Command line\n\nFor operators: every command, made from the tables in `src/cli/flags.rs`. The same is in `rusty-pinch --help` \
                    and in the man page `docs/rusty-pinch.1`; completions for bash, zsh and fish are in `packaging/completions`.\n\n\
                    Results go to standard output. Standard error carries one JSON object a line, or a sentence when the arguments do not fit.\n"
        .to_owned();
    for command in COMMANDS {
        let name = command.words.join(" ");
        let _ = writeln!(text, "\n## {name}\n\n{}\n\n```text\n{}\n```", command.about, usage(command));
        for (at, option) in command.options.iter().enumerate() {
            let gap = if at == 0 { "\n" } else { "" };
            let _ = writeln!(text, "{gap}* `{}`: {}", option.usage(), about(option));
        }
    }
    text.push_str("\n## Everywhere\n\n");
    for (letter, name, about) in EVERYWHERE {
        let _ = writeln!(text, "* `-{letter}`, `--{name}`: {about}");
    }
    text.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text.push_str("\n## Commands of the earlier runtime\n\nThey exit with code 2 and this sentence.\n\n");
    for (word, instead) in REMOVED {
        let _ = writeln!(text, "* `{word}`: {instead}");
    }
    text
}

/// docs/rusty-pinch.1.
pub fn man_page() -> String {
    let mut text = ".\\\" Made from src/cli/flags.rs and src/config/keys.rs.\n.TH RUSTY-PINCH 1 \"\" rusty-pinch \"User Commands\"\n\
                    .SH NAME\nrusty-pinch \\- a small, durable assistant runtime\n\
                    .SH SYNOPSIS\n.B rusty-pinch\n[\\fICOMMAND\\fR] [\\fIOPTIONS\\fR]\n\
                    .SH DESCRIPTION\nAnswers messages with a language model or with local tools. Results go to standard output; standard \
                    error carries one JSON object a line.\n.SH COMMANDS\n"
        .to_owned();
    for command in COMMANDS {
        let _ = writeln!(text, ".SS {}\n{}", roff(&command.words.join(" ")), roff(command.about));
        for option in command.options {
            item(&mut text, &option.usage(), &about(option));
        }
    }
    text.push_str(".SH OPTIONS\n");
    for (letter, name, about) in EVERYWHERE {
        item(&mut text, &format!("-{letter}, --{name}"), about);
    }
    text.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in EXIT_CODES {
        item(&mut text, &code.to_string(), meaning);
    }
    text.push_str(".SH ENVIRONMENT\n");
    for sentences in SOURCES {
        let _ = writeln!(text, ".PP\n{}", roff(sentences));
    }
    for Key { name, kind, default, doc, fate } in KEYS {
        let default = default.map_or(String::new(), |default| format!(" Default: {default}."));
        let fate = if *fate == Fate::Heeded { String::new() } else { format!(" [{}]", words(*fate)) };
        item(&mut text, name, &format!("{doc} {}{default}{fate}", range(*kind)));
    }
    text.push_str(".SS Variables of others, read after ours where they name the same thing\n");
    for (name, kind) in FOREIGN {
        item(&mut text, name, &range(*kind));
    }
    text.push_str(".SH FILES\n");
    item(
        &mut text,
        "./.env, else /etc/rusty-pinch/rusty-pinch.env",
        "settings, unless RUSTY_PINCH_ENV_FILE names another file",
    );
    text
}

fn item(text: &mut String, term: &str, about: &str) {
    let _ = writeln!(text, ".TP\n.B {}\n{}", roff(term), roff(about));
}

/// Text that no line of means anything to roff.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq").replace('`', "");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// What a shell may offer: behind which words of a command, and what that means.
struct Offer {
    behind: String,
    word: String,
    about: String,
}

/// Words of commands first, each once, then options.
fn offers() -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for command in COMMANDS {
        for (at, word) in command.words.iter().enumerate() {
            let is_last = at + 1 == command.words.len();
            let about = if is_last { command.about.to_owned() } else { format!("Commands about {word}.") };
            let behind = command.words[..at].join(" ");
            if !offers.iter().any(|offer| offer.behind == behind && offer.word == *word) {
                offers.push(Offer { behind, word: (*word).to_owned(), about });
            }
        }
    }
    for command in COMMANDS {
        offers.extend(command.options.iter().filter(|option| !option.is_path()).map(|option| Offer {
            behind: command.words.join(" "),
            word: format!("--{}", option.name),
            about: about(option),
        }));
    }
    offers
}

fn offers_by_place() -> SortedMap<String, Vec<Offer>> {
    let mut places: SortedMap<String, Vec<Offer>> = SortedMap::new();
    for offer in offers() {
        places.entry(offer.behind.clone()).or_default().push(offer);
    }
    places
}

/// Options whose value a shell can offer, or must not guess: the command and option as typed, and the words.
fn values() -> impl Iterator<Item = (String, String)> {
    let of = |command: &'static Command| {
        let has_value = |option: &&Opt| option.takes != Takes::Nothing && !option.is_path();
        command.options.iter().filter(has_value).map(move |option| {
            let words = if let Takes::Choice(words) = option.takes { words.join(" ") } else { String::new() };
            (format!("{} --{}", command.words.join(" "), option.name), words)
        })
    };
    COMMANDS.iter().flat_map(of)
}

/// Commands behind which a path stands.
fn with_paths() -> impl Iterator<Item = String> {
    let commands = COMMANDS.iter().filter(|command| command.options.iter().any(Opt::is_path));
    commands.map(|command| command.words.join(" "))
}

fn everywhere() -> String {
    EVERYWHERE.map(|(_, name, _)| format!("--{name}")).join(" ")
}

/// packaging/completions/rusty-pinch.bash.
pub fn bash() -> String {
    let mut text = "# Completion of rusty-pinch for bash. Made from src/cli/flags.rs.\n\
                    _rusty_pinch() {\n    local word=${COMP_WORDS[COMP_CWORD]} command='' offers='' paths=() index\n    \
                    for ((index = 1; index < COMP_CWORD; index++)); do\n        \
                    [[ ${COMP_WORDS[index]} == -* ]] && break\n        \
                    command+=\"${command:+ }${COMP_WORDS[index]}\"\n    done\n    \
                    case \"$command ${COMP_WORDS[COMP_CWORD - 1]}\" in\n"
        .to_owned();
    for (place, words) in values() {
        let _ = writeln!(text, "        '{place}') COMPREPLY=($(compgen -W '{words}' -- \"$word\")); return ;;");
    }
    text.push_str("    esac\n    case $command in\n");
    for (place, offers) in offers_by_place() {
        let words: Vec<String> = offers.into_iter().map(|offer| offer.word).collect();
        let _ = writeln!(text, "        '{place}') offers='{}' ;;", words.join(" "));
    }
    text.push_str("    esac\n");
    let with_paths: Vec<String> = with_paths().collect();
    let _ = writeln!(
        text,
        "    case $command in\n        {}) mapfile -t paths < <(compgen -f -- \"$word\") ;;\n    esac",
        with_paths.join("|")
    );
    let _ = write!(
        text,
        "    COMPREPLY=($(compgen -W \"$offers {}\" -- \"$word\") \"${{paths[@]}}\")\n}}\ncomplete -F _rusty_pinch rusty-pinch\n",
        everywhere()
    );
    text
}

/// packaging/completions/_rusty-pinch.
pub fn zsh() -> String {
    let mut text = "#compdef rusty-pinch\n# Completion of rusty-pinch for zsh. Made from src/cli/flags.rs.\n\
                    local command='' index\nlocal -a offers\n\
                    for ((index = 2; index < CURRENT; index++)); do\n    [[ ${words[index]} == -* ]] && break\n    \
                    command+=\"${command:+ }${words[index]}\"\ndone\n\
                    case \"$command ${words[CURRENT - 1]}\" in\n"
        .to_owned();
    for (place, words) in values() {
        let offer = if words.is_empty() { "_message value".to_owned() } else { format!("compadd {words}") };
        let _ = writeln!(text, "    '{place}') {offer}; return ;;");
    }
    text.push_str("esac\ncase $command in\n");
    let item = |word: &str, about: &str| format!("        {}\n", quoted(&format!("{word}:{about}")));
    for (place, offers) in offers_by_place() {
        let items: String = offers.iter().map(|offer| item(&offer.word, &offer.about)).collect();
        let _ = write!(text, "    '{place}') offers=(\n{items}    ) ;;\n");
    }
    let items: String = EVERYWHERE.iter().map(|(_, name, about)| item(&format!("--{name}"), about)).collect();
    let _ = write!(text, "esac\noffers+=(\n{items})\n_describe -o 'rusty-pinch' offers\n");
    let with_paths: Vec<String> = with_paths().collect();
    let _ = write!(text, "case $command in\n    {}) _files ;;\nesac\n", with_paths.join("|"));
    text
}

/// packaging/completions/rusty-pinch.fish.
pub fn fish() -> String {
    let mut text = "# Completion of rusty-pinch for fish. Made from src/cli/flags.rs.\n\
                    function __rusty_pinch_behind --description 'Whether these are the words of the command so far'\n    \
                    set -l words\n    for word in (commandline -opc)[2..-1]\n        \
                    string match -q -- '-*' $word; and break\n        set -a words $word\n    end\n    \
                    test \"$words\" = \"$argv\"\nend\ncomplete -c rusty-pinch -f\n"
        .to_owned();
    for (letter, name, about) in EVERYWHERE {
        let _ = writeln!(text, "complete -c rusty-pinch -s {letter} -l {name} -d {}", quoted(about));
    }
    let values: SortedMap<String, String> = values().collect();
    for Offer { behind, word, about } in offers() {
        let what = match (word.strip_prefix("--"), values.get(&format!("{behind} {word}"))) {
            (None, _) => format!("-a {word}"),
            (Some(name), None) => format!("-l {name}"),
            (Some(name), Some(words)) if words.is_empty() => format!("-l {name} -x"),
            (Some(name), Some(words)) => format!("-l {name} -x -a '{words}'"),
        };
        let place = format!("__rusty_pinch_behind {behind}");
        let _ = writeln!(text, "complete -c rusty-pinch -n '{}' {what} -d {}", place.trim_end(), quoted(&about));
    }
    for behind in with_paths() {
        let _ = writeln!(text, "complete -c rusty-pinch -n '__rusty_pinch_behind {behind}' -F");
    }
    text
}

/// One word for every shell: no quote of ours needs more than a typographic one.
fn quoted(text: &str) -> String {
    let text = text.replace('\'', "\u{2019}").replace('\\', "/");
    format!("'{text}'")
}
