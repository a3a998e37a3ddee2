//! The file of the Codex accounts, `<data>/provider/codex.json`: read as it is, changed under a lock and replaced in one
//! step, because several processes use the same accounts. Not flushed: a power cut may forget the last requests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::sorted::SortedMap;
use crate::provider::accounts::State;
use crate::sys::files;

/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// How long another process may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Accounts that are kept. Another process may have a list of its own, so nobody forgets the others' as long as there is room.
const ACCOUNTS_MAX: usize = 64;

/// What is known, by account.
pub type States = SortedMap<String, State>;

/// What is known. No file is nothing known; a damaged one is `InvalidData`.
pub fn read(path: &Path) -> io::Result<States> {
    match files::read_bounded_itself(path, FILE_BYTES_MAX) {
        Ok((bytes, _)) => {
            serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(States::new()),
        Err(error) => Err(error),
    }
}

/// Changes what is known, and writes it if it has changed. A damaged file is kept aside first; its new name is returned.
///
/// # Errors
/// Of the disk, or `WouldBlock` while another process holds the lock: nothing was changed then.
pub fn change(path: &Path, clock: &dyn Clock, change: &mut dyn FnMut(&mut States)) -> io::Result<Option<PathBuf>> {
    let sentence = "another process holds the lock of the accounts";
    let _held = files::hold(&path.with_extension("lock"), PATIENCE, clock, sentence)?;
    let (mut states, mut aside) = (States::new(), None);
    match read(path) {
        Ok(found) => states = found,
        Err(error) if files::is_damage(&error) => {
            let name = path.with_extension(format!("damaged-{}", clock.wall().0));
            fs::rename(path, &name)?;
            aside = Some(name);
        }
        Err(error) => return Err(error),
    }
    let before = states.clone();
    change(&mut states);
    if states != before || aside.is_some() {
        files::replace(path, &serde_json::to_vec(&states).map_err(io::Error::other)?)?;
    }
    Ok(aside)
}

/// Forgets those that are too many, the oldest first; never one that `is_ours`.
pub fn forget(states: &mut States, is_ours: &dyn Fn(&str) -> bool) {
    while states.len() > ACCOUNTS_MAX {
        let others = states.iter().filter(|(id, _)| !is_ours(id));
        let Some(oldest) = others.min_by_key(|(_, state)| state.latest()).map(|(id, _)| id.clone()) else { return };
        states.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_kept_until_there_is_no_room_and_ours_always() {
        let account = |at: usize| (format!("{at:03}"), State { looked_at: at as u64, ..State::default() });
        let mut states: States = (0..ACCOUNTS_MAX).map(account).collect();
        forget(&mut states, &|_| false);
        assert_eq!(states.len(), ACCOUNTS_MAX);
        states.extend([900, 901].map(account));
        forget(&mut states, &|id| id == "000");
        assert_eq!(states.len(), ACCOUNTS_MAX);
        assert!(states.contains_key("000") && !states.contains_key("001") && !states.contains_key("002"));
        forget(&mut states, &|_| true);
        assert_eq!(states.len(), ACCOUNTS_MAX);
    }
    use crate::sys::system_clock::SystemClock;

    #[test]
    fn a_damaged_file_is_kept_aside_and_an_unchanged_one_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("provider/codex.json");
        let clock = SystemClock::new();
        let mut one_more = |states: &mut States| states.entry("a".to_owned()).or_default().used += 1;
        assert_eq!(read(&path).expect("none"), States::new());
        assert_eq!(change(&path, &clock, &mut one_more).expect("written"), None);
        fs::write(&path, "{\"a\":{\"used\":\"many\"}}").expect("written");
        assert_eq!(read(&path).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
        let aside = change(&path, &clock, &mut one_more).expect("written").expect("kept aside");
        assert!(fs::read_to_string(aside).expect("kept").contains("many"));
        assert_eq!(read(&path).expect("sound")["a"].used, 1);
        let written = || fs::metadata(&path).expect("there").modified().expect("known");
        let before = written();
        assert_eq!(change(&path, &clock, &mut |_| {}).expect("nothing to do"), None);
        assert_eq!(written(), before);
        // A file of a later version is read as far as it is known.
        fs::write(&path, "{\"a\":{\"used\":7,\"news\":[]}}").expect("written");
        assert_eq!(read(&path).expect("sound")["a"].used, 7);
        fs::write(&path, vec![b' '; 256 * 1024 + 1]).expect("written");
        assert!(change(&path, &clock, &mut one_more).expect("written").is_some(), "a file that is too long is damage");
    }
}
