//! What became of messages, by what a bridge was asked to send: nothing lost, no repeat without a mark, no repeat with another
//! text (I1 to I3 of the fault campaign), and their order.

use std::collections::HashMap;

use crate::channel::outbound::REPEAT_MARK;

/// Something that a bridge was asked to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To which chat.
    pub to: String,
    /// What.
    pub text: String,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages without an answer.
    pub lost: u64,
    /// Repeats with the mark.
    pub marked: u64,
    /// Repeats without it.
    pub unmarked: u64,
    /// Repeats with another text.
    pub altered: u64,
    /// First answers that stand behind the answer to a later message of their chat.
    pub misplaced: u64,
}

/// The text of message `number`. Its answer holds it, quoted.
pub fn message(number: u64) -> String {
    format!("message {number}")
}

/// Which message is answered by `text`, and whether it is marked as a repeat.
pub fn answered(text: &str) -> Option<(u64, bool)> {
    let plain = text.strip_prefix(REPEAT_MARK);
    let (_, quoted) = plain.unwrap_or(text).split_once("'message ")?;
    let number = quoted.split_once('\'')?.0.parse().ok()?;
    Some((number, plain.is_some()))
}

/// Judges messages 1 to `written`.
pub fn judge(sent: &[Sent], written: u64) -> Findings {
    let (mut found, mut first, mut latest) = (Findings::default(), HashMap::new(), HashMap::new());
    for one in sent {
        let Some((number, is_marked)) = answered(&one.text) else { continue };
        let plain = one.text.strip_prefix(REPEAT_MARK).unwrap_or(&one.text);
        let Some(before) = first.get(&number) else {
            first.insert(number, plain);
            let last = latest.entry(one.to.as_str()).or_insert(0);
            found.misplaced += u64::from(number < *last);
            *last = number.max(*last);
            continue;
        };
        found.altered += u64::from(*before != plain);
        found.marked += u64::from(is_marked);
        found.unmarked += u64::from(!is_marked);
    }
    found.lost = (1..=written).filter(|number| !first.contains_key(number)).count() as u64;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(texts: &[&str], written: u64, want: Findings) {
        let sent = texts.iter().map(|text| Sent { to: "a".into(), text: (*text).into() }).collect::<Vec<_>>();
        assert_eq!(judge(&sent, written), want, "{texts:?}");
    }

    #[test]
    fn losses_repeats_and_order_are_told_apart() {
        let (one, two) = ("x 'message 1'. 1", "x 'message 2'. 3");
        let marked = format!("{REPEAT_MARK}{one}");
        check(&[one, two, "something else"], 2, Findings::default());
        check(&[one], 2, Findings { lost: 1, ..Findings::default() });
        check(&[one, two, &marked], 2, Findings { marked: 1, ..Findings::default() });
        check(&[one, two, one], 2, Findings { unmarked: 1, ..Findings::default() });
        let other = format!("{REPEAT_MARK}x 'message 1'. 7");
        check(&[one, &other], 1, Findings { marked: 1, altered: 1, ..Findings::default() });
        check(&[one, "x 'message 1'. 7"], 1, Findings { unmarked: 1, altered: 1, ..Findings::default() });
        check(&[two, one], 2, Findings { misplaced: 1, ..Findings::default() });
    }

    #[test]
    fn a_first_answer_may_be_marked() {
        assert_eq!(answered(&format!("{REPEAT_MARK}x 'message 12'. 1")), Some((12, true)));
        assert_eq!(answered("x 'message 12"), None);
    }
}
