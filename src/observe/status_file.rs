//! Where workers leave their [`Status`] and where others find it. Written in one step and never flushed: it is about a
//! running process only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::id::ChannelId;
use crate::base::sorted::SortedMap;
use crate::observe::status::{BYTES_MAX, Status};
use crate::sys::files;

/// Folders that systemd makes for our units.
const RUNTIME_FOLDERS: [&str; 3] = ["/run/rusty-pinch-telegram", "/run/rusty-pinch-whatsapp", "/run/rusty-pinch"];

/// The document of a channel in the run folder.
pub fn path(run: &Path, channel: ChannelId) -> PathBuf {
    run.join(format!("{}.status.json", channel.name()))
}

/// Leaves it for others.
///
/// # Errors
/// Of the disk.
pub fn write(run: &Path, channel: ChannelId, status: &Status) -> io::Result<()> {
    files::make_folder(run)?;
    files::replace(&path(run, channel), &serde_json::to_vec(status)?)
}

/// Takes it away: the worker has ended as it should.
pub fn remove(run: &Path, channel: ChannelId) {
    // Nobody could use the error, and a document that stays is too old soon.
    let _ = fs::remove_file(path(run, channel));
}

/// The newest document of each channel of the workers of this data folder, by channel. `run` is the run folder as
/// configured: a worker under systemd may have another one, so the usual places are looked at, too. What cannot be read or
/// is about another data folder is passed over.
pub fn read(run: &Path, data: &Path) -> Vec<Status> {
    let own = data.join("run");
    let folders = [run, &own].into_iter().chain(RUNTIME_FOLDERS.map(Path::new));
    let data = absolute(data);
    let mut newest: SortedMap<String, Status> = SortedMap::new();
    for folder in folders {
        for channel in ChannelId::WITH_WORKER {
            let Some(status) = read_one(&path(folder, channel)) else { continue };
            let is_newer = newest.get(channel.name()).is_none_or(|known| known.at < status.at);
            if status.data == data && status.channel.id == channel.name() && is_newer {
                newest.insert(channel.name().to_owned(), status);
            }
        }
    }
    newest.into_values().collect()
}

fn read_one(path: &Path) -> Option<Status> {
    let (bytes, _) = files::read_bounded_itself(path, BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A data folder as [`Status::data`] names it.
pub fn absolute(data: &Path) -> String {
    let real = fs::canonicalize(data).or_else(|_| std::path::absolute(data));
    real.unwrap_or_else(|_| data.to_owned()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::ChannelStatus;

    fn status(data: &Path, id: &str, at: u64) -> Status {
        let channel = ChannelStatus { id: id.to_owned(), ..ChannelStatus::default() };
        Status { data: absolute(data), at, channel, ..Status::default() }
    }

    #[test]
    fn the_newest_document_of_each_channel_of_this_data_folder_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, run, other) = (folder.path().join("data"), folder.path().join("run"), folder.path().join("other"));
        fs::create_dir_all(&data).expect("made");
        let (telegram, whatsapp) = (ChannelId::Telegram, ChannelId::WhatsApp);
        let put = |run: &Path, channel, status: &Status| write(run, channel, status).expect("written");
        assert!(read(&run, &data).is_empty());
        put(&run, telegram, &status(&data, "telegram", 5));
        put(&data.join("run"), telegram, &status(&data, "telegram", 7));
        put(&run, whatsapp, &status(&other, "whatsapp", 9));
        let found = read(&run, &data);
        assert_eq!(found, [status(&data, "telegram", 7)]);
        let through_a_link = folder.path().join("link");
        std::os::unix::fs::symlink(&data, &through_a_link).expect("linked");
        assert_eq!(read(&run, &through_a_link), found);
        for damaged in ["", "{", "[]", "{\"at\":\"x\"}"] {
            fs::write(path(&run, whatsapp), damaged).expect("written");
            assert_eq!(read(&run, &data), found, "{damaged}");
        }
        remove(&data.join("run"), telegram);
        assert_eq!(read(&run, &data), [status(&data, "telegram", 5)]);
    }

    #[test]
    fn fields_of_other_versions_are_no_trouble() {
        let read: Status =
            serde_json::from_str(r#"{"pid":5,"unknown":[1],"channel":{"id":"x","new":1}}"#).expect("read");
        assert_eq!((read.pid, read.channel.id.as_str(), read.ready), (5, "x", false));
    }
}
