//! `journal verify`: what is in the journals, and whether all of it can be read. Only looks; a worker may run.

use crate::base::id::ChannelId;
use crate::cli::flags::Parsed;
use crate::cli::{Failure, print, setup};
use crate::store::directory::Directory;
use crate::store::inspect;

/// Prints a JSON array, one file of a journal a line. Exit 1 if something is damaged; no journal is none.
pub fn verify(parsed: &Parsed) -> Result<(), Failure> {
    let setup = setup::load()?;
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    for channel in ChannelId::WITH_WORKER.map(ChannelId::name) {
        if parsed.given("channel") && parsed.value("channel") != channel {
            continue;
        }
        let folder = setup.config.data.join("journal").join(channel);
        let failed = |error| Failure::Storage(format!("{}: {error}", folder.display()));
        for file in inspect::journal_files(&Directory::reading(&folder)).map_err(failed)? {
            damaged.extend(file.damage.iter().map(|damage| format!("the {channel} journal is damaged: {damage}")));
            let row = serde_json::to_string(&file).expect("text and numbers");
            rows.push(format!("\n  {{\"channel\":\"{channel}\",{}", &row[1..]));
        }
    }
    print(&if rows.is_empty() { "[]\n".to_owned() } else { format!("[{}\n]\n", rows.join(",")) })?;
    let remedy = "the next start of its worker keeps the files aside and goes on from the last good record";
    damaged.first().map_or(Ok(()), |first| Err(Failure::Failed(format!("{first}; {remedy}"))))
}
