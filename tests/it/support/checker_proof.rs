//! The judge judged: every broken promise it must notice, and what it must let pass.
//!
//! These are the negative controls of every test that ends with `judge`.

use serde_json::json;

use crate::support::checker::{DOUBT, Evidence, MARK, Rules, judge};
use crate::support::fake_telegram::{Posted, Sent};
use crate::support::waiting::now;

/// Two messages of one chat, answered well.
fn good() -> Evidence {
    let posted = |text: &str, update| Posted { chat: 7, text: text.into(), update, message: update + 100, at: now() };
    let lines = |id: &str, text: &str, reply: &str| {
        let user = json!({ "role": "user", "content": text, "timestamp": "t", "rid": id });
        let assistant = json!({ "role": "assistant", "content": reply, "timestamp": "t", "rid": id });
        format!("{user}\n{assistant}\n")
    };
    let turn = |id: &str| json!({ "event": "turn", "request_id": id }).to_string();
    let session = lines("rp-a", "one", "reply #0 to one") + &lines("rp-b", "two", "reply #1 to two");
    Evidence {
        posted: vec![posted("one", 1), posted("two", 2)],
        sent: vec![sent("reply #0 to one"), sent("reply #1 to two")],
        replies: vec![("one".into(), "reply #0 to one".into()), ("two".into(), "reply #1 to two".into())],
        sessions: [(7, session.into_bytes())].into(),
        lines: vec![turn("rp-a"), turn("rp-b")],
        starts: Vec::new(),
    }
}

fn sent(text: &str) -> Sent {
    Sent { chat: 7, text: text.into(), message: 1, at: now(), body: json!({}), is_answer_lost: false }
}

/// Marks are allowed here: what is found is found in spite of that.
#[track_caller]
fn notices(want: &str, spoil: impl FnOnce(&mut Evidence)) {
    notices_under(Rules::LOST_ANSWERS, want, spoil);
}

#[track_caller]
fn notices_under(rules: Rules, want: &str, spoil: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    spoil(&mut evidence);
    let verdict = judge(&evidence, rules);
    assert!(verdict.problems.iter().any(|problem| problem.contains(want)), "wanted {want:?} in {:?}", verdict.problems);
}

#[track_caller]
fn accepts(rules: Rules, change: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    change(&mut evidence);
    assert_eq!(judge(&evidence, rules).problems, Vec::<String>::new());
    assert_eq!(evidence.unanswered(), Vec::<String>::new());
}

fn replace_session(evidence: &mut Evidence, from: &str, to: &str) {
    let text = String::from_utf8(evidence.sessions[&7].clone()).expect("we wrote it").replacen(from, to, 1);
    evidence.sessions.insert(7, text.into_bytes());
}

#[test]
fn the_judge_accepts_what_is_right() {
    accepts(Rules::CALM, |_| {});
    accepts(Rules::LOST_ANSWERS, |evidence| evidence.sent.insert(1, sent(&format!("{MARK}reply #0 to one"))));
    accepts(Rules::LOST_ANSWERS, |evidence| evidence.sent[0] = sent(&format!("{MARK}reply #0 to one")));
    accepts(Rules::KILLS, |evidence| drop(evidence.lines.pop()));
}

#[test]
fn the_judge_accepts_a_reply_in_parts() {
    let whole = "reply #1 to two ~1.0 ~1.1 ~1.2 ~1.3";
    accepts(Rules::LOST_ANSWERS, |evidence| {
        evidence.replies[1].1 = whole.into();
        evidence.sent[1] = sent("reply #1 to two ~1.0\n(1/2)");
        evidence.sent.push(sent("~1.1 ~1.2 ~1.3\n(2/2)"));
        evidence.sent.push(sent(&format!("{MARK}~1.1 ~1.2 ~1.3\n(2/2)")));
        replace_session(evidence, "reply #1 to two", whole);
    });
}

#[test]
fn the_judge_accepts_a_notice_with_a_request_id() {
    accepts(Rules::CALM, |evidence| {
        evidence.sent[0] = sent("The provider is busy. (rp-a)");
        replace_session(evidence, "\"content\":\"reply #0 to one\"", "\"content\":\"busy\",\"error\":\"overloaded\"");
    });
}

/// An answer of two parts, where the first one may have arrived.
fn doubted(evidence: &mut Evidence) {
    let whole = "reply #1 to two ~1.0 ~1.1 ~1.2 ~1.3";
    evidence.replies[1].1 = whole.into();
    evidence.sent[1] = sent(&format!("{DOUBT} Please ask again. (ref rp-b)"));
    evidence.sent.push(sent("~1.1 ~1.2 ~1.3\n(2/2)"));
    replace_session(evidence, "reply #1 to two", whole);
}

#[test]
fn the_judge_accepts_doubt_only_where_nothing_may_come_twice() {
    accepts(Rules::AT_MOST_ONCE, doubted);
    notices_under(Rules::KILLS, "doubted where repeats are wanted", doubted);
    notices_under(Rules::AT_MOST_ONCE, "marked as a repeat", |evidence| {
        evidence.sent.insert(1, sent(&format!("{MARK}reply #0 to one")));
    });
    notices_under(Rules::AT_MOST_ONCE, "repeated without a mark", |evidence| {
        doubted(evidence);
        evidence.sent.push(sent("~1.1 ~1.2 ~1.3\n(2/2)"));
    });
    notices_under(Rules::AT_MOST_ONCE, "was overtaken", |evidence| {
        evidence.sent.push(sent(&format!("{DOUBT} (ref rp-a)")));
    });
    notices_under(Rules::AT_MOST_ONCE, "was lost", |evidence| drop(evidence.sent.pop()));
}

/// The writer may be told so only if enough processes began since the message came.
#[test]
fn the_judge_counts_the_starts_before_a_message_is_given_up() {
    let give_up = |starts: usize| {
        move |evidence: &mut Evidence| {
            evidence.starts = (0..starts).map(|_| now()).collect();
            evidence.sent[1] = sent("Sorry, I was interrupted. (ref rp-b)");
            let from = "\"content\":\"reply #1 to two\"";
            replace_session(evidence, from, "\"content\":\"no\",\"error\":\"interrupted\"");
        }
    };
    accepts(Rules::KILLS, give_up(3));
    notices_under(Rules::KILLS, "given up after 2 interruptions", give_up(2));
}

#[test]
fn the_judge_notices_a_lost_message() {
    notices("was lost", |evidence| drop(evidence.sent.pop()));
    notices("answered in part", |evidence| evidence.replies[1].1.push_str(" ~1.0 ~1.1"));
}

/// Nobody in a campaign ever has so much open that a message may be refused, whether it is told or not.
#[test]
fn the_judge_notices_a_refusal() {
    let busy = |evidence: &mut Evidence| {
        replace_session(evidence, "\"content\":\"reply #1 to two\"", "\"content\":\"no\",\"error\":\"busy\"");
    };
    notices_under(Rules::FAILING_CALLS, "was refused", |evidence| {
        evidence.sent[1] = sent("Sorry, too much is open. (ref rp-b)");
        busy(evidence);
    });
    notices_under(Rules::FAILING_CALLS, "was lost", |evidence| {
        evidence.sent.pop();
        busy(evidence);
    });
}

#[test]
fn the_judge_notices_unmarked_and_differing_repeats() {
    notices("repeated without a mark", |evidence| evidence.sent.insert(1, sent("reply #0 to one")));
    notices("different texts", |evidence| {
        evidence.replies.push(("one".into(), "reply #2 to one".into()));
        evidence.sent.insert(1, sent(&format!("{MARK}reply #2 to one")));
    });
    notices("repeated without a mark", |evidence| {
        evidence.sent[0] = sent(&format!("{MARK}reply #0 to one"));
        evidence.sent.insert(1, sent("reply #0 to one"));
    });
}

#[test]
fn the_judge_notices_marks_without_reason() {
    notices_under(Rules::CALM, "without reason", |evidence| evidence.sent[0] = sent(&format!("{MARK}reply #0 to one")));
}

#[test]
fn the_judge_notices_wrong_order() {
    notices("overtaken", |evidence| evidence.sent.swap(0, 1));
    let late = || sent(&format!("{MARK}reply #0 to one"));
    notices_under(Rules::KILLS, "overtaken", |evidence| evidence.sent.push(late()));
    accepts(Rules::POWER_CUTS, |evidence| evidence.sent.push(late()));
    notices_under(Rules::POWER_CUTS, "overtaken", |evidence| {
        evidence.sent.remove(0);
        evidence.sent.push(late());
    });
}

#[test]
fn the_judge_notices_what_nobody_asked_for() {
    notices("nobody asked", |evidence| evidence.sent.push(sent("hello")));
    notices("nobody asked", |evidence| evidence.sent.push(sent("error rp-zzz")));
}

#[test]
fn the_judge_notices_a_damaged_session() {
    notices("not JSON", |evidence| replace_session(evidence, "{\"", "\""));
    notices("has no end", |evidence| evidence.sessions.get_mut(&7).expect("it is there").truncate(20));
    notices("not a pair", |evidence| replace_session(evidence, "rp-a", "rp-c"));
    notices("the file has", |evidence| replace_session(evidence, "#0", "#9"));
    notices("people wrote", |evidence| evidence.sessions.insert(7, Vec::new()).map_or((), drop));
    notices("twice", |evidence| {
        let twice = evidence.sessions[&7].repeat(2);
        evidence.sessions.insert(7, twice);
    });
}

#[test]
fn the_judge_notices_a_damaged_log() {
    notices("not a JSON object", |evidence| evidence.lines.push("thread panicked".into()));
    notices("no turn event", |evidence| drop(evidence.lines.pop()));
    notices("2 turn events", |evidence| evidence.lines.push(evidence.lines[0].clone()));
}
