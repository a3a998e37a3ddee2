//! `--help`, made from the tables of `flags.rs`.

use std::fmt::Write;

use crate::cli::flags::{COMMANDS, Command};

/// The help as a whole, or of one command.
pub fn text(topic: Option<&str>) -> String {
    match topic.and_then(|topic| COMMANDS.iter().find(|command| command.words.join(" ") == topic)) {
        Some(command) => one(command),
        None => all(),
    }
}

fn all() -> String {
    let mut text =
        "rusty-pinch: a small, durable assistant runtime\n\nUsage: rusty-pinch [COMMAND] [OPTIONS]\n\nCommands:\n"
            .to_owned();
    for command in COMMANDS {
        let _ = writeln!(text, "  {:<18} {}", command.words.join(" "), command.about);
    }
    text.push_str("\nOptions:\n  -h, --help         help, also behind a command\n  -V, --version      the version\n");
    text.push_str("\nSettings come from the environment and from .env; see docs/architecture.md, \"Configuration\".\n");
    text.push_str("Exit codes: 0 done, 1 failed, 2 usage, 70 bug, 74 storage, 75 locked, 78 configuration.\n");
    text
}

fn one(command: &Command) -> String {
    let mut text = format!("{}\n\nUsage: rusty-pinch {}", command.about, command.words.join(" "));
    for option in command.options {
        let _ = match option.default {
            None => write!(text, " --{} {}", option.name, option.value),
            Some(_) => write!(text, " [--{} {}]", option.name, option.value),
        };
    }
    text.push('\n');
    for option in command.options {
        let default = match option.default {
            Some("") | None => String::new(),
            Some(default) => format!(" (default: {default})"),
        };
        let _ = writeln!(text, "  --{:<18} {}{default}", format!("{} {}", option.name, option.value), option.about);
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
            assert!(
                command
                    .options
                    .iter()
                    .all(|option| one(command).contains(&format!("--{} {}", option.name, option.value)))
            );
        }
    }
}
