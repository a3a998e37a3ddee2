//! `send`: a message of a script to a chat, by way of the same outbox as every reply. It is a file in the spool of the channel, on
//! the medium when the command says so; the worker takes it within a second, or when it starts. It is no part of the
//! conversation: the model does not see it.

use std::io;

use crate::base::clock::Wall;
use crate::base::id::{ChannelId, TurnId};
use crate::base::message::{INBOUND_BYTES_MAX, Summary};
use crate::base::text;
use crate::channel::allowlist::Allowlist;
use crate::channel::pairing_file;
use crate::channel::whatsapp_identity::Id;
use crate::cli::flags::Parsed;
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, outbox, print};
use crate::store::dead::{self, Letter};
use crate::store::directory::Directory;
use crate::store::record::{Answer, OpenRecord, Received};
use crate::store::spool::SENT_BY_COMMAND;
use crate::sys::entropy;

/// Messages that may wait for a worker. Beyond that the command fails, and the script can try again.
const WAITING_MAX: usize = 256;

/// Longest name of a chat of a bridge, in bytes.
const CHAT_BYTES_MAX: usize = 120;

/// Checks everything, then makes it durable.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let mut setup = setup::load()?;
    setup.refuse_strangers()?;
    let channel = match parsed.value("channel") {
        "whatsapp" => ChannelId::WhatsApp,
        _ => ChannelId::Telegram,
    };
    let (chat, message) = (parsed.value("to").trim(), parsed.value("message"));
    check(channel, chat, message)?;
    may_write_to(&setup, channel, chat, parsed.given("force"))?;
    let now = setup.clock.wall();
    let turn = TurnId::mint(now, &mut setup.rng);
    let failed = |error: io::Error| Failure::Storage(format!("{turn}: {error}"));
    let mut spool = Directory::open(&outbox::spool(&setup, channel)).map_err(failed)?;
    let waiting = dead::names(&spool).map_err(failed)?.len();
    if waiting >= WAITING_MAX {
        return Err(Failure::Failed(format!(
            "{waiting} messages wait for the {0} worker, and no more may: is it running?",
            channel.name()
        )));
    }
    dead::write(&mut spool, &letter(turn, channel, chat, message, now)).map_err(failed)?;
    let when = if outbox::is_running(&setup, channel) { "within a second" } else { "when it starts" };
    print(&format!("{turn} is durable; the {} worker takes it {when}\n", channel.name()))
}

fn check(channel: ChannelId, chat: &str, message: &str) -> Result<(), Failure> {
    let is_chat = match channel {
        ChannelId::Telegram => chat.parse::<i64>().is_ok_and(|id| id != 0),
        _ => {
            let plain = chat.bytes().all(|byte| byte.is_ascii_graphic());
            plain && chat.len() <= CHAT_BYTES_MAX && chat.starts_with(|c: char| c.is_ascii_digit() || c == '+')
        }
    };
    if !is_chat {
        let example = if channel == ChannelId::Telegram { "42 or -100123" } else { "4915112345678@s.whatsapp.net" };
        return Err(Failure::Usage(format!("--to takes the id of a chat, such as {example}")));
    }
    if message.trim().is_empty() || message.len() > INBOUND_BYTES_MAX {
        return Err(Failure::Usage(format!("--message takes a text, of at most {INBOUND_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The list that says who may speak to us also says whom a script may write to: a slip of a number reaches no stranger.
fn may_write_to(setup: &Setup, channel: ChannelId, chat: &str, force: bool) -> Result<(), Failure> {
    let (telegram, whatsapp) = (&setup.config.telegram, &setup.config.whatsapp);
    let (enabled, entries) = match channel {
        ChannelId::Telegram => (telegram.enabled, &telegram.allow_from),
        _ => (whatsapp.enabled, &whatsapp.allow_from),
    };
    let name = channel.name();
    if !enabled {
        return Err(Failure::Failed(format!("{name} is off, so nobody would send it")));
    }
    let is_same = |entry: &String| channel == ChannelId::WhatsApp && Id::parse(entry).name() == Id::parse(chat).name();
    let mut list = Allowlist::new(entries);
    if channel == ChannelId::Telegram {
        // A damaged file pairs nobody; `doctor` tells of it.
        list.pair(pairing_file::read(&setup.config.data).map(|book| book.ids()).unwrap_or_default());
    }
    if !force && !list.allows(chat, chat) && !entries.iter().any(is_same) {
        let key = format!("RUSTY_PINCH_CHANNELS_{}_ALLOW_FROM", name.to_ascii_uppercase());
        return Err(Failure::Failed(format!("{chat} is not in {key}: add it, or repeat the command with --force")));
    }
    Ok(())
}

/// An answer to nobody, of which nothing was sent yet. It is told and counted as no turn. All of it is sent, in as many parts as
/// [`INBOUND_BYTES_MAX`] takes: nobody could ask for the rest, because it is no part of the conversation.
fn letter(turn: TurnId, channel: ChannelId, chat: &str, message: &str, now: Wall) -> Letter {
    let parts = text::split(message, text::PART_UNITS_MAX, usize::MAX);
    let is_whole = parts.len() == 1 && parts[0] == message;
    let answer = Answer {
        id: turn,
        boot: entropy::boot_id(),
        user: None,
        asst: message.to_owned(),
        parts: if is_whole { Vec::new() } else { parts },
        sum: Summary::default(),
        ts: now.0,
        n: None,
    };
    let received = Received {
        id: turn,
        key: format!("{SENT_BY_COMMAND}{turn}"),
        acct: 0,
        upd: None,
        ch: channel,
        chat: chat.to_owned(),
        thread: None,
        from: "operator".to_owned(),
        text: String::new(),
        ts: now.0,
        w: None,
    };
    let open =
        OpenRecord { rx: received, n: 0, rep: Some(answer), owed: false, snd: 0, ack: 0, k: 0, fin: None, again: true };
    Letter { why: "sent by a command".to_owned(), ts: now.0, open }
}
