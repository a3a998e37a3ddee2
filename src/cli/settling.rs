//! Settling a channel's journal for a command: what is owed is written where it belongs, as a start of the worker would do
//! it, and chosen turns are closed for good.

use std::fmt::Display;
use std::path::Path;

use crate::base::id::{ChannelId, TurnId};
use crate::cli::Failure;
use crate::cli::setup::Setup;
use crate::observe::event::Event;
use crate::store::directory::Directory;
use crate::store::settle::{Settling, settle};
use crate::sys::entropy;

/// Settles the journal in the data folder and tells of the turns that were closed. The caller holds the lock of the
/// channel; `close` names the error class of each open turn that is to be closed.
pub fn settle_journal(
    setup: &Setup,
    channel: ChannelId,
    close: &dyn Fn(TurnId) -> Option<&'static str>,
) -> Result<(), Failure> {
    let (name, data) = (channel.name(), &setup.config.data);
    let journal = data.join("journal").join(name);
    let failed = |error: &dyn Display| Failure::Storage(format!("{}: {error}", journal.display()));
    let open = |folder: &Path| Directory::open(folder).map(Box::new).map_err(|error| failed(&error));
    let settling = Settling {
        journal: open(&journal)?,
        sessions: open(&data.join("sessions"))?,
        telemetry: &setup.config.telemetry_file,
        boot: &entropy::boot_id(),
        name: format!("{name}-{:016x}", entropy::seed()),
        close,
        letters: None,
    };
    match settle(settling, setup.clock.as_ref()).map_err(|error| failed(&error))? {
        Err(damage) => Err(Failure::Failed(format!("{damage}: start the {name} worker once, which mends that"))),
        Ok(closed) => {
            closed.into_iter().for_each(|record| setup.log.emit(setup.clock.wall(), &Event::Turn(Box::new(record))));
            Ok(())
        }
    }
}
