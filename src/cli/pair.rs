//! `pair telegram`: shows a code by which one more person may write to the bot, lists who was paired, removes one. Works with
//! and without a running worker, which reads `pairing.json` when somebody writes.

use std::io;

use crate::base::clock::{Clock, Wall};
use crate::base::id::ChannelId;
use crate::channel::pairing::{CODE_CHARS, LOCKED_FOR, Moment, Refused, VALID_FOR};
use crate::channel::pairing_file;
use crate::cli::channel_plans as plans;
use crate::cli::flags::Parsed;
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, print};
use crate::sys::{entropy, files};

/// One of the three.
pub fn telegram(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    match parsed.value("remove") {
        "" if parsed.given("list") => list(&setup),
        "" => offer(&setup),
        id => remove(&setup, id),
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::Storage(format!("pairing.json: {error}"))
}

fn list(setup: &Setup) -> Result<(), Failure> {
    let book = pairing_file::read(&setup.config.data).map_err(|error| failed(&error))?;
    let rows = book.paired.iter().map(|paired| format!("{} since {}\n", paired.id, Wall(paired.at).rfc3339()));
    print(&rows.collect::<String>())
}

fn remove(setup: &Setup, id: &str) -> Result<(), Failure> {
    setup.refuse_strangers()?;
    let removed = pairing_file::update(&setup.config.data, setup.clock.as_ref(), |book| book.remove(id));
    match removed.map_err(|error| failed(&error))? {
        true => print("removed: this id may not write any more, unless the allowlist names it\n"),
        false => Err(Failure::Failed("this id is not paired; --list names those that are".to_owned())),
    }
}

fn offer(setup: &Setup) -> Result<(), Failure> {
    plans::ready(setup, ChannelId::Telegram)?;
    setup.refuse_strangers()?;
    let clock: &dyn Clock = setup.clock.as_ref();
    let bits = entropy::secret_bits().map_err(|error| Failure::Failed(error.to_string()))?;
    files::make_folder(&setup.config.data).map_err(|error| failed(&error))?;
    let offered = pairing_file::update(&setup.config.data, clock, |book| book.offer(bits, &Moment::now(clock)));
    let code = offered.map_err(|error| failed(&error))?.map_err(|refused| {
        Failure::Failed(match refused {
            Refused::Locked => {
                let minutes = LOCKED_FOR.as_secs() / 60;
                format!("too many wrong codes were tried: there is no new one for {minutes} minutes from the last")
            }
            Refused::Full => "too many people are paired: remove one first (pair telegram --remove ID)".to_owned(),
        })
    })?;
    let (first, second) = code.reveal().split_at(CODE_CHARS / 2);
    let minutes = VALID_FOR.as_secs() / 60;
    print(&format!(
        "{first}-{second}\nWhoever sends this code to the bot in a private chat within {minutes} minutes may write to \
         it from then on. It is good for one person.\n"
    ))
}
