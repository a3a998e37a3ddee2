//! Turns that are given up: when they have a letter, and what a person's wish to take them up again leads to.

use std::fs;

use rusty_pinch::base::clock::Mono;
use rusty_pinch::base::message::{EXPIRED, INTERRUPTED, Job, Mode, Outcome};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::outbound::{Lanes, NOTICE, Sent, Step};
use rusty_pinch::store::dead;
use rusty_pinch::store::exchange::{Append, Effect, Input, Notice, Readmission};
use rusty_pinch::store::settle;

use super::{
    Place, accept, close, delivered, has_notice, inbound, obey, outbound, readmit, reply, sending, texts, wish,
};
use crate::support::lanes::delivery;

#[test]
fn a_retry_of_what_was_refused_sends_the_answer_and_no_notice() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let first = inbound(1, "10");
    obey(&mut ledger, vec![accept(&first)]);
    let answer = outbound(obey(&mut ledger, vec![reply(&first, 1, None)])).expect("to be sent");
    let mut lanes = Lanes::new(Mode::AtMostOnce, Rng::from_seed(1));
    lanes.push(answer);
    assert!(matches!(lanes.step(Mono(0)), Step::Send(_)));
    obey(&mut ledger, vec![sending(&first)]);
    for report in lanes.on_sent("10", Sent::Refused { why: "blocked".into() }, Mono(0)) {
        obey(&mut ledger, vec![Input::Delivery(delivery(first.turn, report))]);
    }
    place.retry(first.turn);
    let wish = wish(&ledger).expect("spooled");
    let texts = texts(outbound(readmit(&mut ledger, wish)).expect("to be sent"), Mode::AtMostOnce);
    assert!(texts == ["part 0"] && !texts[0].starts_with(NOTICE));
}

#[test]
fn a_message_given_up_has_a_letter_before_it_is_closed_over_restarts_too() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    // Nobody can make a file where a file is.
    fs::remove_dir(place.path("dead")).and_then(|()| fs::write(place.path("dead"), "")).expect("our own folder");
    let turns = [inbound(1, "10"), inbound(2, "10"), inbound(3, "20")];
    let classes = [EXPIRED, EXPIRED, INTERRUPTED];
    obey(&mut ledger, turns.iter().map(accept).collect());
    let mut sent = Vec::new();
    for (turn, class) in turns.iter().zip(classes) {
        sent.extend(outbound(obey(&mut ledger, vec![reply(turn, 1, Some(class))])).map(|_| turn.clone()));
    }
    assert_eq!(sent, [turns[0].clone(), turns[2].clone()], "a chat is told once");
    sent.iter().for_each(|turn| drop(obey(&mut ledger, delivered(turn))));
    assert_eq!(ledger.journal().open().filter(|open| open.closed.is_none()).count(), 3);
    drop(ledger);
    fs::remove_file(place.path("dead")).expect("our own file");
    // One that nobody was told of is told by the next process, and closed then.
    let (mut ledger, opening) = place.open();
    assert_eq!(opening.reopened.len(), 1);
    obey(&mut ledger, delivered(&turns[1]));
    assert_eq!((place.names("dead").len(), ledger.journal().open().count()), (3, 0));
    for (turn, class) in turns.iter().zip(classes) {
        let letter = dead::read(&place.storage("dead"), &dead::file_name(turn.turn)).expect("a letter");
        assert_eq!(letter.why, class);
    }
    // What was never answered is answered by a retry.
    place.retry(turns[2].turn);
    let wish = wish(&ledger).expect("spooled");
    assert!(wish.answered.is_none());
    let effects = readmit(&mut ledger, wish);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::Accepted(_)))), "{effects:?}");
}

#[test]
fn a_wish_that_is_dropped_while_it_is_under_way_does_nothing() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let turns = [inbound(1, "10"), inbound(2, "20")];
    for (turn, class) in turns.iter().zip([None, Some(INTERRUPTED)]) {
        obey(&mut ledger, vec![accept(turn)]);
        obey(&mut ledger, vec![reply(turn, 1, class)]);
        obey(&mut ledger, vec![close(turn, Outcome::Dead)]);
        place.retry(turn.turn);
        let wish = wish(&ledger).expect("spooled");
        fs::remove_file(place.path("spool/telegram").join(&wish.file)).expect("dropped");
        let credit = wish.inbound.clone();
        let effects = readmit(&mut ledger, wish);
        assert!(matches!(&effects[..], [Effect::Notice(Notice::Duplicate(of))] if *of == credit), "{effects:?}");
    }
    assert_eq!(ledger.journal().open().count(), 0);
}

/// Its credit comes back with the flush; a wish that is granted before takes none, and its turn would be open without one.
#[test]
fn a_wish_waits_until_the_end_of_its_turn_is_flushed() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let first = inbound(1, "10");
    obey(&mut ledger, vec![accept(&first)]);
    obey(&mut ledger, vec![reply(&first, 1, None)]);
    ledger.write([sending(&first), close(&first, Outcome::Dead)], super::NOW).expect("written");
    assert!(ledger.journal().get(first.turn).is_none(), "it is in its session");
    place.retry(first.turn);
    assert_eq!(wish(&ledger), None, "its end is not flushed");
    // One that is under way when it is closed comes too early, too.
    let letter = dead::read(&place.storage("spool/telegram"), &place.names("spool/telegram")[0]).expect("a letter");
    let file = place.names("spool/telegram")[0].clone();
    let early = Readmission { file, inbound: first.clone(), answered: Some(Box::new(letter.open)) };
    ledger.write([Input::Append(Append::Readmit(Box::new(early)))], super::NOW).expect("written");
    let flushed = ledger.sync(super::NOW).expect("flushed");
    assert!(has_notice(&flushed, &Notice::Delivered(first.turn)) && outbound(flushed).is_none());
    let wish = wish(&ledger).expect("its time has come");
    assert!(outbound(readmit(&mut ledger, wish)).is_some());
}

/// From the second attempt on the count decides about giving up, so nobody goes on before it is flushed.
#[test]
fn a_second_attempt_begins_when_it_is_flushed() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let first = inbound(1, "10");
    let notices = obey(&mut ledger, vec![accept(&first)]);
    let job = Job { inbound: first.clone(), interrupted: 0, carried_over: false };
    assert!(has_notice(&notices, &Notice::Accepted(job)));
    let mut released = Vec::new();
    for _ in 0..2 {
        let begin = Input::Append(Append::Begin { turn: first.turn, lane: 3 });
        let written = ledger.write([begin], super::NOW).expect("written").len();
        released.push((written, ledger.sync(super::NOW).expect("flushed").len()));
    }
    assert_eq!(released, [(1, 0), (0, 1)]);
}

#[test]
fn a_letter_too_many_ends_the_oldest() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    for number in 0..dead::LETTERS_MAX as u64 {
        let file = place.path("dead").join(dead::file_name(inbound(number, "10").turn));
        fs::write(file, "an old letter").expect("our own folder");
    }
    let last = inbound(5000, "10");
    obey(&mut ledger, vec![accept(&last)]);
    obey(&mut ledger, vec![reply(&last, 1, None)]);
    obey(&mut ledger, vec![close(&last, Outcome::Dead)]);
    let names = place.names("dead");
    assert_eq!(names.len(), dead::LETTERS_MAX);
    let has = |number| names.contains(&dead::file_name(inbound(number, "10").turn));
    assert!(has(5000) && has(1) && !has(0));
}

#[test]
fn a_letter_of_an_archive_that_cannot_be_read_is_kept_as_it_is() {
    let place = Place::new();
    let name = format!("{}.0000000000000001.json", inbound(1, "10").turn);
    place.storage("spool/telegram");
    fs::write(place.path("spool/telegram").join(&name), "half a let").expect("our own folder");
    settle::hold_letters(&place.storage("spool/telegram"), &mut place.storage("dead")).expect("held");
    assert_eq!(fs::read_to_string(place.path("dead").join(&name)).expect("kept"), "half a let");
}

/// A host that was restarted cannot have begun to send what no worker has seen.
#[test]
fn a_message_of_a_script_that_waited_over_a_boot_is_no_repeat() {
    for (key, is_repeat) in [("send:1", false), ("tg:1:2:3", true)] {
        let place = Place::new();
        let (mut ledger, _) = place.open();
        let id = "rp-00000000000000000000000009";
        let letter = format!(
            r#"{{"why":"x","ts":1,"open":{{"rx":{{"id":"{id}","key":"{key}","acct":0,"ch":"telegram","chat":"10","from":"o",
            "text":"","ts":1}},"n":0,"rep":{{"id":"{id}","boot":"another","asst":"hello","sum":{{"provider":"","model":"",
            "user_chars":0,"response_chars":0}},"ts":1}},"owed":false,"snd":0,"ack":0,"k":0,"again":true}}}}"#
        );
        fs::write(place.path("spool/telegram").join(format!("{id}.json")), letter).expect("our own folder");
        let wish = wish(&ledger).expect("spooled");
        let outbound = outbound(readmit(&mut ledger, wish)).expect("to be sent");
        assert_eq!((outbound.ambiguous, outbound.other_boot), (is_repeat, is_repeat), "{key}");
        assert_eq!(outbound.parts, ["hello"]);
    }
}
