//! `pair telegram`: shows a code by which one more person may write to the bot, lists who was paired, removes one. What is to be
//! changed is a request in the spool, on the medium when the command says so. The worker takes it when somebody writes, or when
//! it starts; the command waits for nobody.

use std::io;

use crate::base::clock::Wall;
use crate::base::id::ChannelId;
use crate::base::moment::Moment;
use crate::channel::pairing::{Book, CODE_CHARS, LOCKED_FOR, Refused, VALID_FOR};
use crate::channel::pairing_file;
use crate::cli::channel_plans as plans;
use crate::cli::flags::Parsed;
use crate::cli::setup::{self, Setup};
use crate::cli::{Failure, print};
use crate::sys::entropy;

/// One of the three.
pub fn telegram(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    match parsed.value("remove") {
        "" if parsed.given("list") => list(&setup),
        "" => offer(&setup),
        id => remove(&setup, id),
    }
}

/// As it will be.
fn book(setup: &Setup) -> Result<Book, Failure> {
    pairing_file::read(&setup.config.data).map_err(|error| Failure::Storage(format!("pairing.json: {error}")))
}

fn asked(outcome: io::Result<()>) -> Result<(), Failure> {
    outcome.map_err(|error| Failure::Storage(format!("spool/pairing: {error}")))
}

fn list(setup: &Setup) -> Result<(), Failure> {
    let book = book(setup)?;
    let rows = book.paired.iter().map(|paired| format!("{} since {}\n", paired.id, Wall(paired.at).rfc3339()));
    print(&rows.collect::<String>())
}

fn remove(setup: &Setup, id: &str) -> Result<(), Failure> {
    setup.refuse_strangers()?;
    let Some(paired) = book(setup)?.paired.into_iter().find(|paired| paired.id == id) else {
        return Err(Failure::Failed("this id is not paired; --list names those that are".to_owned()));
    };
    asked(pairing_file::ask_removal(&setup.config.data, paired, setup.clock.as_ref()))?;
    print("removed: this id may not write any more, unless the allowlist names it\n")
}

fn offer(setup: &Setup) -> Result<(), Failure> {
    plans::ready(setup, ChannelId::Telegram)?;
    setup.refuse_strangers()?;
    let clock = setup.clock.as_ref();
    let bits = entropy::secret_bits().map_err(|error| Failure::Failed(error.to_string()))?;
    let (code, page) = book(setup)?.offer(bits, &Moment::now(clock)).map_err(|refused| {
        Failure::Failed(match refused {
            Refused::Locked => {
                let minutes = LOCKED_FOR.as_secs() / 60;
                format!("too many wrong codes were tried: there is no new one for {minutes} minutes from the last")
            }
            Refused::Full => "too many people are paired: remove one first (pair telegram --remove ID)".to_owned(),
        })
    })?;
    asked(pairing_file::ask_offer(&setup.config.data, &page, clock))?;
    let (first, second) = code.reveal().split_at(CODE_CHARS / 2);
    let minutes = VALID_FOR.as_secs() / 60;
    print(&format!(
        "{first}-{second}\nWhoever sends this code to the bot in a private chat within {minutes} minutes may write to \
         it from then on. It is good for one person.\n"
    ))
}
