//! `--help`, made from the tables of `flags.rs`.

use std::fmt::Write;

use crate::cli::flags::{COMMANDS, Command, EXIT_CODES, Opt};

/// The help as a whole, or of the commands that begin with these words.
pub fn text(topic: Option<&str>) -> String {
    let Some(topic) = topic else { return all() };
    let begins = |command: &&Command| command.words.join(" ").split(' ').zip(topic.split(' ')).all(|(a, b)| a == b);
    let is_long_enough = |command: &&Command| command.words.len() >= topic.split(' ').count();
    let about: Vec<String> = COMMANDS.iter().filter(begins).filter(is_long_enough).map(one).collect();
    about.join("\n")
}

fn all() -> String {
    let mut text =
        "rusty-pinch: a small, durable assistant runtime\n\nUsage: rusty-pinch [COMMAND] [OPTIONS]\n\nCommands:\n"
            .to_owned();
    for command in COMMANDS {
        let _ = writeln!(text, "  {:<18} {}", command.words.join(" "), command.about);
    }
    text.push_str("\nOptions:\n  -h, --help         help, also behind a command\n  -V, --version      the version\n");
    text.push_str("\nSettings come from the environment and from .env; see docs/configuration.md.\n");
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, meaning)| format!("{code} {meaning}")).collect();
    let _ = writeln!(text, "Exit codes: {}.", codes.join(", "));
    text
}

/// How a command is typed, with the options that may be left out in brackets.
pub fn usage(command: &Command) -> String {
    let mut text = format!("rusty-pinch {}", command.words.join(" "));
    for option in command.options {
        let _ = match option.default {
            None => write!(text, " {}", option.usage()),
            Some(_) => write!(text, " [{}]", option.usage()),
        };
    }
    text
}

/// What an option means, with its default.
pub fn about(option: &Opt) -> String {
    match option.default {
        Some("") | None => option.about.to_owned(),
        Some(default) => format!("{} (default: {default})", option.about),
    }
}

fn one(command: &Command) -> String {
    let mut text = format!("{}\n\nUsage: {}\n", command.about, usage(command));
    for option in command.options {
        let _ = writeln!(text, "  {:<20} {}", option.usage(), about(option));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_help() {
        for command in COMMANDS {
            let words = command.words.join(" ");
            assert!(all().contains(&words) && one(command).contains(command.about), "{words}");
            assert!(command.options.iter().all(|option| one(command).contains(&option.usage())));
        }
    }
}
