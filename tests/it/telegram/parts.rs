//! Long replies in parts: nothing lost, nothing torn apart, at most ten.

use crate::support::fake_provider::{Reply, Rule};
use crate::support::scene::Scene;
use crate::support::waiting::until;

/// A part may use this much of the 4096, the rest is for a mark.
const PART_UNITS_MAX: usize = 4000;

/// Sends this reply to one message and returns what arrived in the chat, in order.
#[track_caller]
fn parts_of(test: &str, reply: &str, count: usize) -> Vec<String> {
    let scene = Scene::new(test);
    scene.provider.rule(Rule::when("").reply(Reply::Text(reply.to_string())));
    let process = scene.start_polling();
    scene.telegram.say(42, "tell me everything");
    scene.telegram.until_sent_to(42, count);
    scene.telegram.until_confirmed();
    until("the turn is told", || !scene.world.all_events("turn").is_empty());
    scene.stop(process);
    let parts: Vec<String> = scene.telegram.sent().into_iter().map(|sent| sent.text).collect();
    assert_eq!(parts.len(), count, "parts of {} characters", reply.chars().count());
    for part in &parts {
        let units = part.encode_utf16().count();
        assert!(units <= PART_UNITS_MAX, "a part of {units} units");
        assert!(!part.contains(char::REPLACEMENT_CHARACTER), "a character was cut");
    }
    parts
}

/// The text without white space and without the `(2/3)` a part may carry.
fn bare(parts: &[String]) -> String {
    let words = parts.iter().flat_map(|part| part.split_whitespace());
    words.filter(|word| !(word.starts_with('(') && word.ends_with(')') && word.contains('/'))).collect()
}

fn bare_text(text: &str) -> String {
    bare(&[text.to_string()])
}

#[test]
fn a_reply_that_fits_is_one_message() {
    let reply = "x".repeat(PART_UNITS_MAX);
    assert_eq!(parts_of("one-part", &reply, 1), [reply]);
}

#[test]
fn a_long_reply_is_cut_between_words_and_nothing_is_lost() {
    let reply: Vec<String> = (0..900).map(|index| format!("word{index}")).collect();
    let reply = reply.join(" ");
    let parts = parts_of("words", &reply, 2);
    assert_eq!(bare(&parts), bare_text(&reply));
    assert!(parts[1].starts_with("word"), "cut between words: {:?}", &parts[1][..20]);
}

/// A family is seven characters and eleven units, joined by invisible ones.
#[test]
fn emoji_are_never_cut() {
    let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
    let reply = family.repeat(400);
    let parts = parts_of("families", &reply, 2);
    assert_eq!(bare(&parts), reply);
    for part in &parts {
        assert_eq!(bare_text(part).replace(family, ""), "", "a family was torn apart");
    }
    let flags = "🇩🇪".repeat(1100);
    let parts = parts_of("flags", &flags, 2);
    assert_eq!(bare(&parts), flags);
    for part in &parts {
        assert_eq!(bare_text(part).replace("🇩🇪", ""), "", "a flag was torn apart");
    }
}

#[test]
fn code_stays_code_in_every_part() {
    let code: String = (0..300).map(|index| format!("let line_{index} = {index};\n")).collect();
    let reply = format!("Look:\n```rust\n{code}```\nThat is all.");
    let parts = parts_of("code", &reply, 2);
    for part in &parts {
        assert_eq!(part.matches("```").count() % 2, 0, "a fence is open at the end of a part");
    }
}

/// 10 parts are the limit: 9 of text, one that says it was cut.
#[test]
fn a_reply_over_ten_parts_ends_with_a_notice() {
    let words: Vec<String> = (0..6500).map(|index| format!("word{index}")).collect();
    let reply = words.join(" ");
    let parts = parts_of("cut", &reply, 10);
    let told = bare(&parts[..9]);
    assert!(bare_text(&reply).starts_with(&told) && told.len() > 9 * 3000, "9 parts tell the beginning");
    assert!(!bare_text(&reply).contains(&bare_text(&parts[9])), "the last part is a notice: {:?}", parts[9]);
}
