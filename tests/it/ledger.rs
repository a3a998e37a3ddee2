//! One real `Ledger` over real folders, driven step by step: what a single start, wish or trouble leads to. The storm of
//! all of them is `storage`.
//!
//! Each was seen to fail without the rule that its name states.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rusty_pinch::base::clock::{Mono, Wall};
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::message::{Delivery, Inbound, Mode, Outbound, Outcome, Reply, Summary};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::channel::outbound::{Lanes, REPEAT_MARK, Sent, Step};
use rusty_pinch::store::dead::{self, Letter};
use rusty_pinch::store::directory::Directory;
use rusty_pinch::store::exchange::{Append, Effect, Folders, Input, Notice, Opening, Readmission};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;
use rusty_pinch::store::settle;

use crate::support::lanes;

mod letters;
mod reading;

const BOOT: &str = "0123456789abcdef";
const NOW: Wall = Wall(1_800_000_000_000);

/// A data folder.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn storage(&self, name: &str) -> Directory {
        Directory::open(&self.path(name)).expect("a folder")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        entries.map(|entry| entry.expect("listed").file_name().into_string().expect("text")).collect()
    }

    fn open(&self) -> (Ledger, Opening) {
        let folder = |name| Box::new(self.storage(name));
        let folders = Folders {
            journal: folder("journal/telegram"),
            sessions: folder("sessions"),
            dead: folder("dead"),
            spool: folder("spool/telegram"),
        };
        Ledger::open(folders, BOOT, Counting::default(), NOW).expect("opens")
    }

    /// What `outbox retry` does.
    fn retry(&self, turn: TurnId) {
        let spooled = format!("spool/telegram/{turn}.0000000000000001.json");
        fs::rename(self.path(&format!("dead/{turn}.json")), self.path(&spooled)).expect("a letter");
    }

    /// Puts something in the way of a session, or of the letters.
    fn block(&self, name: &str) {
        fs::create_dir_all(self.path(name).join("in the way")).expect("made");
    }

    fn unblock(&self, name: &str) {
        fs::remove_dir_all(self.path(name)).expect("removed");
    }
}

fn inbound(number: u64, chat: &str) -> Inbound {
    let turn = TurnId::mint(Wall(NOW.0 + number), &mut Rng::from_seed(number));
    lanes::inbound(turn, number, chat, format!("question {number}"), NOW)
}

fn accept(inbound: &Inbound) -> Input {
    Input::Append(Append::Accept(inbound.clone()))
}

fn reply(inbound: &Inbound, parts: usize, error: Option<&str>) -> Input {
    let parts: Vec<String> = (0..parts).map(|part| format!("part {part}")).collect();
    Input::Append(Append::Reply(Box::new(Reply {
        turn: inbound.turn,
        user_text: inbound.text.clone(),
        text: parts.concat(),
        parts,
        summary: Summary { error: error.map(str::to_owned), ..Summary::default() },
    })))
}

fn sending(inbound: &Inbound) -> Input {
    Input::Delivery(Delivery::Sending { turn: inbound.turn, part: 0, resends: 0, lane: 0 })
}

fn close(inbound: &Inbound, outcome: Outcome) -> Input {
    Input::Delivery(Delivery::Close { turn: inbound.turn, outcome, why: "blocked".to_string() })
}

/// One part, sent and confirmed.
fn delivered(inbound: &Inbound) -> Vec<Input> {
    let sent = Input::Delivery(Delivery::Sent { turn: inbound.turn, part: 0, message_id: 1 });
    vec![sending(inbound), sent, close(inbound, Outcome::Sent)]
}

/// Writes and flushes.
fn obey(ledger: &mut Ledger, inputs: Vec<Input>) -> Vec<Effect> {
    let mut effects = ledger.write(inputs, NOW).expect("written");
    effects.extend(ledger.sync(NOW).expect("flushed"));
    effects
}

fn outbound(effects: Vec<Effect>) -> Option<Outbound> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Outbound(outbound) => Some(outbound),
        _ => None,
    })
}

fn has_notice(effects: &[Effect], wanted: &Notice) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Notice(notice) if notice == wanted))
}

fn wish(ledger: &Ledger) -> Option<Readmission> {
    ledger.next_readmission(NOW, &mut Rng::from_seed(5)).expect("listed")
}

fn readmit(ledger: &mut Ledger, wish: Readmission) -> Vec<Effect> {
    obey(ledger, vec![Input::Append(Append::Readmit(Box::new(wish)))])
}

/// The texts of a reply, one after the other.
fn texts(outbound: Outbound, mode: Mode) -> Vec<String> {
    let (mut lanes, chat, parts) =
        (Lanes::new(mode, Rng::from_seed(1)), outbound.chat.id.clone(), outbound.parts.len());
    lanes.push(outbound);
    let send = |at: usize| {
        let now = Mono(at as u64 * 5000);
        let Step::Send(attempt) = lanes.step(now) else { panic!("part {at} is not sent") };
        lanes.on_sent(&chat, Sent::Confirmed { message_id: 1 }, now);
        attempt.text
    };
    (0..parts).map(send).collect()
}

#[test]
fn doubt_after_damage_is_kept_over_the_next_start() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let first = inbound(1, "10");
    obey(&mut ledger, vec![accept(&first)]);
    obey(&mut ledger, vec![reply(&first, 2, None)]);
    // The server has the first part; what stands behind the note says that it was promised.
    obey(&mut ledger, vec![sending(&first)]);
    (2..4).for_each(|number| drop(obey(&mut ledger, vec![accept(&inbound(number, "20"))])));
    drop(ledger);
    let journal = place.path("journal/telegram/a.jnl");
    let bytes = fs::read(&journal).expect("read");
    let note = bytes.windows(9).position(|bytes| bytes == b"\"t\":\"snd\"").expect("noted");
    let file = OpenOptions::new().write(true).open(&journal).expect("there");
    file.write_all_at(b"#", note as u64).expect("damaged");
    for start in 0..3 {
        let (_, opening) = place.open();
        assert_eq!(opening.damage.is_some(), start == 0, "start {start}");
        let reply = opening.reopened.into_iter().find_map(|reopened| reopened.reply).expect("to be sent");
        let marked = texts(reply, Mode::AtLeastOnce).iter().all(|text| text.starts_with(REPEAT_MARK));
        assert!(marked, "start {start}: a part that may have arrived is not marked");
    }
}

#[test]
fn every_part_of_a_held_answer_is_in_doubt() {
    let (place, other) = (Place::new(), Place::new());
    let (mut ledger, _) = place.open();
    let first = inbound(1, "10");
    obey(&mut ledger, vec![accept(&first)]);
    obey(&mut ledger, vec![reply(&first, 3, None)]);
    // Here the archive was made; the worker sent all three parts afterwards.
    let open = ledger.journal().get(first.turn).expect("open").record();
    dead::write(&mut place.storage("spool/telegram"), &Letter { why: "blocked".into(), ts: NOW.0, open })
        .expect("written");
    settle::hold_letters(&place.storage("spool/telegram"), &mut other.storage("dead")).expect("held");
    other.retry_into_spool(first.turn);
    let (mut ledger, _) = other.open();
    let wish = wish(&ledger).expect("spooled");
    let texts = texts(outbound(readmit(&mut ledger, wish)).expect("sent"), Mode::AtLeastOnce);
    assert!(texts.iter().all(|text| text.starts_with(REPEAT_MARK)), "{texts:?}");
}

impl Place {
    /// The same in a folder that no worker opened yet.
    fn retry_into_spool(&self, turn: TurnId) {
        self.storage("spool/telegram");
        self.retry(turn);
    }
}

#[test]
fn a_retry_waits_until_the_turn_is_in_its_session() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let first = inbound(1, "10");
    place.block("sessions/telegram_10.jsonl");
    obey(&mut ledger, vec![accept(&first)]);
    obey(&mut ledger, vec![reply(&first, 1, None)]);
    obey(&mut ledger, vec![sending(&first), close(&first, Outcome::Dead)]);
    place.retry(first.turn);
    assert_eq!(wish(&ledger), None, "the turn is not settled");
    // One that is under way when it is closed comes too early, too.
    let letter = dead::read(&place.storage("spool/telegram"), &place.names("spool/telegram")[0]).expect("a letter");
    let early = Readmission {
        file: place.names("spool/telegram")[0].clone(),
        inbound: first.clone(),
        answered: Some(Box::new(letter.open)),
    };
    assert!(outbound(readmit(&mut ledger, early)).is_none() && place.names("spool/telegram").len() == 1);
    place.unblock("sessions/telegram_10.jsonl");
    let effects = ledger.retry_owed(NOW).expect("written");
    assert!(has_notice(&effects, &Notice::Delivered(first.turn)));
    let wish = wish(&ledger).expect("its time has come");
    assert!(outbound(readmit(&mut ledger, wish)).is_some());
    assert_eq!(place.names("spool/telegram"), [""; 0]);
}

/// Else a person who writes a few dozen messages at once is refused for what was answered a moment ago.
#[test]
fn a_turn_is_over_for_its_chat_before_its_end_is_flushed_and_its_credit_comes_after() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let turn = inbound(1, "10");
    obey(&mut ledger, vec![accept(&turn)]);
    obey(&mut ledger, vec![reply(&turn, 1, None)]);
    let written = ledger.write(delivered(&turn), NOW).expect("written");
    assert!(has_notice(&written, &Notice::Closed(turn.turn)) && !has_notice(&written, &Notice::Delivered(turn.turn)));
    let flushed = ledger.sync(NOW).expect("flushed");
    assert!(has_notice(&flushed, &Notice::Delivered(turn.turn)) && !has_notice(&flushed, &Notice::Closed(turn.turn)));
}

#[test]
fn closed_turns_keep_their_credit_over_a_restart_until_they_are_in_their_session() {
    let place = Place::new();
    let (mut ledger, _) = place.open();
    let turns: Vec<Inbound> = (1..=3).map(|number| inbound(number, "10")).collect();
    for turn in &turns {
        obey(&mut ledger, vec![accept(turn)]);
        obey(&mut ledger, vec![reply(turn, 1, None)]);
        obey(&mut ledger, delivered(turn));
    }
    drop(ledger);
    // The session cannot be read, so nobody knows what is in it.
    let session = place.path("sessions/telegram_10.jsonl");
    fs::rename(&session, place.path("kept")).expect("there");
    place.block("sessions/telegram_10.jsonl");
    let (mut ledger, opening) = place.open();
    let held: Vec<TurnId> = opening.held.iter().map(|held| held.inbound.turn).collect();
    assert_eq!(held, turns.iter().map(|turn| turn.turn).collect::<Vec<_>>());
    assert!(opening.reopened.is_empty() && opening.held.iter().all(|held| held.weight > 0));
    place.unblock("sessions/telegram_10.jsonl");
    fs::rename(place.path("kept"), &session).expect("there");
    let effects = ledger.retry_owed(NOW).expect("written");
    assert!(held.iter().all(|turn| has_notice(&effects, &Notice::Delivered(*turn))), "{effects:?}");
    assert_eq!(fs::read_to_string(&session).expect("read").lines().count(), 6);
}
