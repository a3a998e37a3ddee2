//! What a control message is answered with: pure texts, from what the schedule did and what the program knows of itself.

use std::time::Duration;

use crate::base::control::{self, Control};
use crate::base::text::{self, PART_UNITS_MAX};
use crate::provider::standing::Rest;
use crate::turn::control_lane::{CONTROL_WEIGHT_MAX, Seen};
use crate::turn::machine::in_words;

/// What the program knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Those who answer, in their order: name, model, and why they are not asked now.
    pub providers: Vec<(String, String, Option<Rest>)>,
    /// Tokens of today and how many there may be (0: no limit); `None`: asking costs nothing.
    pub tokens: Option<(u64, u64)>,
    /// Since the worker started.
    pub up: Duration,
    /// The last answer of the conversation.
    pub last: Option<String>,
}

/// The reply. But for `/last` it takes at most [`CONTROL_WEIGHT_MAX`] bytes.
pub fn reply(control: Control, seen: Seen, facts: &Facts) -> String {
    let text = match control {
        Control::Last(part) => return last(part, facts.last.as_deref()),
        Control::Stop => ended(seen).unwrap_or_else(|| "Nothing is under way in this chat.".to_owned()),
        Control::New => {
            let begun = "(new conversation) What was said before is not shown to the model any more.".to_owned();
            ended(seen).map_or(begun.clone(), |ended| format!("{begun} {ended}"))
        }
        Control::Status => status(seen, facts),
        Control::Model => model(facts),
        Control::Help => control::help(),
        Control::Misused("/last") => "/last takes the number of a part, from 1, or nothing.".to_owned(),
        Control::Misused(name) => format!("{name} takes nothing behind it: send the word alone."),
    };
    text::fit_json(&text, CONTROL_WEIGHT_MAX).to_owned()
}

fn ended(seen: Seen) -> Option<String> {
    let (count, are) = match seen.dropped {
        1 => ("One message".to_owned(), "is"),
        count => (format!("{count} messages"), "are"),
    };
    let dropped = format!("{count} that waited {are} dropped: send again what still matters.");
    match (seen.stopped, seen.dropped) {
        (false, 0) => None,
        (true, 0) => Some("Stopped.".to_owned()),
        (true, _) => Some(format!("Stopped. {dropped}")),
        (false, _) => Some(dropped),
    }
}

/// Parts are those in which the answer was sent.
fn last(part: Option<usize>, answer: Option<&str>) -> String {
    let Some(answer) = answer else { return "There is no answer in this conversation to repeat.".to_owned() };
    let Some(number) = part else { return format!("(repeated) {answer}") };
    let parts = text::split(answer, PART_UNITS_MAX, usize::MAX);
    match parts.get(number - 1) {
        Some(part) => format!("(repeated, part {number} of {}) {part}", parts.len()),
        None if parts.len() == 1 => "The last answer has one part.".to_owned(),
        None => format!("The last answer has {} parts.", parts.len()),
    }
}

fn status(seen: Seen, facts: &Facts) -> String {
    let mut text = String::new();
    for (name, model, rest) in &facts.providers {
        let state = match rest {
            None => "ready".to_owned(),
            Some(rest) if rest.wait.is_zero() => format!("being tried again ({})", rest.class.name()),
            Some(rest) => format!("left alone for {} ({})", in_words(rest.wait), rest.class.name()),
        };
        text.push_str(&format!("{name}, {model}: {state}\n"));
    }
    text.push_str(&format!("Open messages: {}, being answered: {}\n", seen.open, seen.running));
    match facts.tokens {
        None => {}
        Some((used, 0)) => text.push_str(&format!("Tokens today: {used}\n")),
        Some((used, most)) => text.push_str(&format!("Tokens today: {used} of {most}\n")),
    }
    text.push_str(&format!("Up for {}, version {}", in_words(facts.up), env!("CARGO_PKG_VERSION")));
    text
}

fn model(facts: &Facts) -> String {
    let mut text = "The first of these that may be asked answers:".to_owned();
    for (number, (name, model, _)) in facts.providers.iter().enumerate() {
        text.push_str(&format!("\n{}. {name}, {model}", number + 1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::class::Class;

    fn seen(stopped: bool, dropped: usize) -> Seen {
        Seen { stopped, dropped, open: 3, running: 1 }
    }

    #[test]
    fn a_stop_says_what_it_ended() {
        let stop = |stopped, dropped| reply(Control::Stop, seen(stopped, dropped), &Facts::default());
        assert_eq!(stop(false, 0), "Nothing is under way in this chat.");
        assert_eq!(stop(true, 0), "Stopped.");
        let dropped = "that waited is dropped: send again what still matters.";
        assert_eq!(stop(true, 1), format!("Stopped. One message {dropped}"));
        assert!(stop(false, 2).starts_with("2 messages that waited are dropped"));
        let new = reply(Control::New, seen(true, 0), &Facts::default());
        assert!(new.starts_with("(new conversation)") && new.ends_with("Stopped."), "{new}");
    }

    #[test]
    fn the_last_answer_comes_whole_or_part_by_part() {
        let answer = "x".repeat(PART_UNITS_MAX) + "end";
        let facts = Facts { last: Some(answer.clone()), ..Facts::default() };
        let last = |part| reply(Control::Last(part), Seen::default(), &facts);
        assert_eq!(last(None), format!("(repeated) {answer}"));
        assert_eq!(last(Some(2)), "(repeated, part 2 of 2) end");
        assert_eq!(last(Some(3)), "The last answer has 2 parts.");
        assert!(reply(Control::Last(None), Seen::default(), &Facts::default()).starts_with("There is no answer"));
    }

    #[test]
    fn the_status_is_short_and_says_who_is_left_alone() {
        let rest = Rest { class: Class::RateLimited, wait: Duration::from_secs(200), is_named: true };
        let one = |name: &str, rest| (name.to_owned(), "m".to_owned(), rest);
        let providers = vec![one("codex", Some(rest)), one("groq", None)];
        let facts = Facts { providers, tokens: Some((7, 10)), up: Duration::from_secs(3), last: None };
        let text = reply(Control::Status, seen(false, 0), &facts);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["codex, m: left alone for 4 minutes (rate_limited)", "groq, m: ready"]);
        assert_eq!(lines[2..4], ["Open messages: 3, being answered: 1", "Tokens today: 7 of 10"]);
        assert!(lines[4].starts_with("Up for 3 seconds, version "));
        let many = Facts { providers: vec![one(&"n".repeat(200), None); 99], ..facts };
        assert!(text::json_len(&reply(Control::Status, seen(false, 0), &many)) <= CONTROL_WEIGHT_MAX);
        assert!(reply(Control::Model, seen(false, 0), &many).contains("\n2. nnn"));
    }
}
