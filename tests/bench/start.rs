//! The start of a worker with as much to read as there can be: a journal full of commits, and forty conversations of a full
//! session file each whose last lines were not written.

use std::fs;
use std::path::Path;

use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::id::{ChannelId, TurnId};
use rusty_pinch::base::message::{Chat, Delivery, Inbound, Outcome, Reply, Summary};
use rusty_pinch::base::rng::Rng;
use rusty_pinch::store::directory::Directory;
use rusty_pinch::store::exchange::{Append, Folders, Input, Opening};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;
use rusty_pinch::store::sessions::FILE_BYTES_MAX;
use rusty_pinch::store::transcript::Line;

use crate::report::{Figure, Report};
use crate::stage::Stage;
use crate::support::waiting::{now, since};

const CHATS: u64 = 40;
/// Nearly all that a journal file has room for.
const TURNS: u64 = 900;
const RUNS: usize = 5;
const GOAL_MILLISECONDS: f64 = 500.0;
const BOOT: &str = "0123456789abcdef";

pub fn measure(report: &mut Report) {
    let stage = Stage::new();
    let folder = stage.path("start");
    report.command("Ledger::open, files in memory (same boot) and dropped from it (another boot); the slowest of 5");
    for (name, boot, cold) in [("after a kill", BOOT, false), ("after a power cut", "fedcba9876543210", true)] {
        let took = (0..RUNS).map(|_| {
            let _ = fs::remove_dir_all(&folder);
            fill(&folder);
            if cold {
                drop_from_memory(&folder);
            }
            let begun = now();
            let (_, opening) = open(&folder, boot);
            assert_eq!(opening.lines_restored as u64, CHATS);
            since(begun).as_secs_f64() * 1000.0
        });
        let slowest = took.fold(0.0, f64::max);
        report.add(Figure::new(&format!("start {name}"), slowest, "ms").goal_at_most(GOAL_MILLISECONDS));
    }
}

fn open(folder: &Path, boot: &str) -> (Ledger, Opening) {
    let storage = |name: &str| Box::new(Directory::open(&folder.join(name)).expect("a folder"));
    let folders = Folders {
        journal: storage("journal"),
        sessions: storage("sessions"),
        dead: storage("dead"),
        spool: storage("spool"),
    };
    Ledger::open(folders, boot, Counting::default(), Wall(0)).expect("opens")
}

fn fill(folder: &Path) {
    let (mut ledger, _) = open(folder, BOOT);
    for number in 0..TURNS {
        turn(&mut ledger, number, true);
    }
    let mut text = String::new();
    for n in 1.. {
        let [mut line, _] =
            Line::pair("rp-00000000000000000000000001", (&"x".repeat(300), Wall(0)), ("", Wall(0)), None);
        line.n = Some(n);
        text.push_str(&line.encode());
        if text.len() as u64 > FILE_BYTES_MAX - 4096 {
            break;
        }
    }
    for chat in 0..CHATS {
        fs::write(folder.join(format!("sessions/telegram_{chat}.jsonl")), &text).expect("written");
    }
    // Killed before their lines were written.
    (TURNS..TURNS + CHATS).for_each(|number| turn(&mut ledger, number, false));
    // What is not of the worker was flushed long ago.
    for entry in fs::read_dir(folder.join("sessions")).expect("there").flatten() {
        fs::File::open(entry.path()).and_then(|file| file.sync_all()).expect("flushed");
    }
}

/// Those of the full journal belong to one chat that is not among the forty.
fn turn(ledger: &mut Ledger, number: u64, is_whole: bool) {
    let turn = TurnId::mint(Wall(number), &mut Rng::from_seed(number));
    let chat = if is_whole { "other".to_owned() } else { (number - TURNS).to_string() };
    let inbound = Inbound {
        turn,
        channel: ChannelId::Telegram,
        account: 1,
        origin: Some(number),
        key: number.to_string(),
        chat: Chat { id: chat, thread: None },
        sender: "1".to_owned(),
        text: "x".repeat(1000),
        received: Wall(number),
        waited: None,
    };
    let reply = Reply {
        turn,
        user_text: inbound.text.clone(),
        text: "y".repeat(1000),
        parts: vec!["y".repeat(1000)],
        summary: Summary::default(),
    };
    ledger
        .write([Input::Append(Append::Accept(inbound)), Input::Append(Append::Reply(Box::new(reply)))], Wall(0))
        .expect("written");
    if is_whole {
        let closed = Delivery::Close { turn, outcome: Outcome::Sent, why: String::new() };
        ledger.write([Input::Delivery(closed)], Wall(0)).expect("written");
        ledger.sync(Wall(0)).expect("flushed");
    }
}

fn drop_from_memory(folder: &Path) {
    for part in ["journal", "sessions"] {
        for entry in fs::read_dir(folder.join(part)).expect("there").flatten() {
            let file = fs::File::open(entry.path()).expect("there");
            file.sync_all().expect("flushed");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
        }
    }
}
