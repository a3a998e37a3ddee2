//! [`Replacement`]: what is in the data folder and what was laid out beside it change places. A process may end at any point:
//!
//! ```text
//! no marker                     what was there is in place
//! marker, not moved aside yet   everything in place is old: move the rest aside
//! marker, moved aside           everything laid out is new: move the rest in
//! ```
//! Both steps can be repeated, so to go on is to begin again. Folders and their lock files stay where they are, so that
//! whoever waits for a lock waits for the right one. As long as the marker is there, nobody else works.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::observe::telemetry_file;
use crate::store::archive::{FOLDERS, MARKER, TELEMETRY};
use crate::sys::files;

/// What is to be in place, laid out as a data folder.
pub const STAGED: &str = "restore-new";

/// How the folders begin that hold what was there before.
pub const ASIDE: &str = "before-restore-";

/// Files that belong to a place and not to what is in it.
const LOCKS: [&str; 2] = ["LOCK", ".lock"];

/// Far more than a marker of our own has; a longer one is refused as none of ours.
const MARKER_BYTES_MAX: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Marker {
    archive: PathBuf,
    aside: PathBuf,
    moved_aside: bool,
}

/// Why nothing works, if a replacement was begun and not finished.
pub fn unfinished(data: &Path) -> Option<String> {
    fs::symlink_metadata(data.join(MARKER)).ok()?;
    let archive = read(data).map_or_else(|_| "FILE".to_owned(), |marker| marker.archive.display().to_string());
    let data = data.display();
    Some(format!(
        "an archive is only half in place in {data}: unless a restore is running, run 'rusty-pinch restore {archive}' again"
    ))
}

/// Whether there is nothing that would have to be moved aside.
pub fn is_empty(data: &Path) -> io::Result<bool> {
    for folder in FOLDERS {
        if !entries(&data.join(folder))?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One replacement.
pub struct Replacement {
    data: PathBuf,
    telemetry: PathBuf,
    marker: Marker,
}

/// Called before every change.
pub type Before<'a> = &'a mut dyn FnMut() -> io::Result<()>;

impl Replacement {
    /// From here on it has to be finished. What is laid out is complete.
    pub fn begin(
        data: &Path,
        telemetry: &Path,
        archive: &Path,
        now_secs: u64,
        before: Before<'_>,
    ) -> io::Result<Replacement> {
        let free = (now_secs..).map(|secs| data.join(format!("{ASIDE}{secs}"))).find(|path| !path.exists());
        let aside = free.unwrap_or_default();
        before()?;
        files::make_folder(&aside)?;
        files::flush_disk(data)?;
        let marker = Marker { archive: archive.to_owned(), aside, moved_aside: false };
        let replacement = Replacement { data: data.to_owned(), telemetry: telemetry.to_owned(), marker };
        replacement.note(before)?;
        Ok(replacement)
    }

    /// The one that was begun and not finished.
    pub fn found(data: &Path, telemetry: &Path) -> io::Result<Replacement> {
        Ok(Replacement { data: data.to_owned(), telemetry: telemetry.to_owned(), marker: read(data)? })
    }

    /// What is put in place.
    pub fn archive(&self) -> &Path {
        &self.marker.archive
    }

    /// Where everything goes that was there.
    pub fn aside(&self) -> &Path {
        &self.marker.aside
    }

    /// Goes on from where it is, to the end.
    pub fn finish(mut self, before: Before<'_>) -> io::Result<Replacement> {
        let staged = self.data.join(STAGED);
        if !self.marker.moved_aside {
            self.move_aside(before)?;
            files::flush_disk(&self.data)?;
            self.marker.moved_aside = true;
            self.note(before)?;
        }
        for folder in FOLDERS {
            let place = self.data.join(folder);
            for name in entries(&staged.join(folder))? {
                files::make_folder(&place)?;
                // Of somebody who looked for the marker before it was there, and waited for a lock until we were killed.
                if fs::symlink_metadata(place.join(&name)).is_ok() {
                    self.aside_one(folder, &name, before)?;
                }
                before()?;
                fs::rename(staged.join(folder).join(&name), place.join(&name))?;
            }
        }
        self.counters_in(&staged.join(TELEMETRY), before)?;
        files::flush_disk(&self.data)?;
        before()?;
        remove_tree(&staged)?;
        // Stays if there is something in it.
        let _ = fs::remove_dir(&self.marker.aside);
        before()?;
        fs::remove_file(self.data.join(MARKER))?;
        File::open(&self.data)?.sync_all()?;
        Ok(self)
    }

    fn move_aside(&self, before: Before<'_>) -> io::Result<()> {
        for folder in FOLDERS {
            for name in entries(&self.data.join(folder))? {
                self.aside_one(folder, &name, before)?;
            }
        }
        if fs::symlink_metadata(&self.telemetry).is_err() {
            return Ok(());
        }
        // A copy, because the counters may be on another disk.
        let copy = self.marker.aside.join(TELEMETRY);
        files::make_folder(copy.parent().unwrap_or(&self.marker.aside))?;
        before()?;
        fs::copy(&self.telemetry, copy).map(drop)
    }

    fn aside_one(&self, folder: &str, name: &str, before: Before<'_>) -> io::Result<()> {
        let aside = self.marker.aside.join(folder);
        files::make_folder(&aside)?;
        let mut target = aside.join(name);
        while fs::symlink_metadata(&target).is_ok() {
            target.as_mut_os_string().push(".late");
        }
        before()?;
        fs::rename(self.data.join(folder).join(name), target)
    }

    fn counters_in(&self, staged: &Path, before: Before<'_>) -> io::Result<()> {
        let content = match fs::read(staged) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        before()?;
        telemetry_file::forget_kept(&self.telemetry)?;
        files::replace(&self.telemetry, &content)?;
        files::flush_disk(&self.telemetry)?;
        before()?;
        fs::remove_file(staged)
    }

    fn note(&self, before: Before<'_>) -> io::Result<()> {
        let temporary = self.data.join(format!("{MARKER}.tmp"));
        let mut file = files::open(&temporary)?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&self.marker)?)?;
        file.sync_all()?;
        before()?;
        fs::rename(temporary, self.data.join(MARKER))?;
        File::open(&self.data)?.sync_all()
    }
}

fn read(data: &Path) -> io::Result<Marker> {
    let (bytes, _) = files::read_bounded(&data.join(MARKER), MARKER_BYTES_MAX)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// What is in a folder but for its lock, in order. A missing folder has nothing.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let names = listed.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<String> = names.into_iter().flatten().filter(|name| !LOCKS.contains(&name.as_str())).collect();
    names.sort();
    Ok(names)
}

/// One that is gone already is no error.
pub fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const ARCHIVE: &str = "/backups/monday.tar";

    struct Place {
        folder: tempfile::TempDir,
    }

    /// Files by their place, without locks.
    type Files = BTreeMap<String, String>;

    impl Place {
        fn new() -> Place {
            // In memory, if that is possible: what is flushed here is everything that anybody wrote.
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
            let place = Place { folder };
            for folder in ["", "restore-new/"] {
                for file in ["sessions/a.jsonl", "sessions/.lock", "journal/telegram/a.jnl", "journal/telegram/LOCK"] {
                    place.write(&format!("{folder}{file}"), &format!("{folder}{file}"));
                }
            }
            for file in ["sessions/old.jsonl", "dead/old.json", "spool/telegram/old.json", "note.txt"] {
                place.write(file, file);
            }
            place.write("restore-new/sessions/new.jsonl", "restore-new/sessions/new.jsonl");
            place.write("restore-new/telemetry/latest.json", "new counters");
            fs::write(place.telemetry(), "old counters").expect("written");
            place
        }

        fn data(&self) -> PathBuf {
            self.folder.path().join("data")
        }

        fn telemetry(&self) -> PathBuf {
            self.folder.path().join("counters.json")
        }

        fn write(&self, file: &str, content: &str) {
            let path = self.data().join(file);
            files::make_folder(path.parent().expect("a folder"))
                .and_then(|()| fs::write(path, content))
                .expect("written");
        }

        fn files(&self, folder: &str) -> Files {
            let mut found = Files::new();
            let mut left = vec![self.data().join(folder)];
            while let Some(next) = left.pop() {
                for entry in fs::read_dir(next).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        left.push(path);
                    } else if !LOCKS.iter().any(|lock| path.ends_with(lock)) {
                        let name = path.strip_prefix(self.data().join(folder)).expect("in it").display().to_string();
                        found.insert(name, fs::read_to_string(&path).expect("read"));
                    }
                }
            }
            found
        }

        /// Begins, or goes on, until a number of changes are made. Whether it came to its end.
        fn restore(&self, changes: usize) -> bool {
            let mut left = changes;
            let mut before = || {
                left = left.checked_sub(1).ok_or(ErrorKind::Interrupted)?;
                Ok(())
            };
            let (data, telemetry) = (self.data(), self.telemetry());
            let replacement = match unfinished(&data) {
                Some(_) => Replacement::found(&data, &telemetry),
                None => Replacement::begin(&data, &telemetry, Path::new(ARCHIVE), 5, &mut before),
            };
            replacement.and_then(|replacement| replacement.finish(&mut before)).is_ok()
        }

        #[track_caller]
        fn check_that_new_is_in_place_and_old_aside(&self, late: bool) {
            let in_place = |files: Files| {
                let ours = |name: &String| FOLDERS.iter().any(|folder| name.starts_with(folder));
                files.into_iter().filter(|(name, _)| ours(name)).collect::<Files>()
            };
            let now = in_place(self.files(""));
            let new = ["journal/telegram/a.jnl", "sessions/a.jsonl", "sessions/new.jsonl"];
            let new = new.map(|name| (name.to_owned(), format!("restore-new/{name}"))).into();
            assert_eq!(now, new);
            assert_eq!(fs::read_to_string(self.telemetry()).expect("read"), "new counters");
            let aside = self.files("before-restore-5");
            let old = [
                "dead/old.json",
                "journal/telegram/a.jnl",
                "sessions/a.jsonl",
                "sessions/old.jsonl",
                "spool/telegram/old.json",
            ];
            assert!(old.iter().all(|name| aside.get(*name).is_some_and(|content| content == name)), "{aside:?}");
            assert_eq!(aside.get(TELEMETRY).map(String::as_str), Some("old counters"));
            assert_eq!(aside.values().filter(|content| *content == "late").count(), usize::from(late), "{aside:?}");
            assert!(!self.data().join(STAGED).exists() && unfinished(&self.data()).is_none());
        }
    }

    #[test]
    fn a_restore_that_is_killed_anywhere_twice_leaves_old_or_new_or_says_how_to_go_on() {
        let (mut first, mut half_way) = (0, 0);
        loop {
            let place = Place::new();
            let before = place.files("");
            if place.restore(first) {
                place.check_that_new_is_in_place_and_old_aside(false);
                break;
            }
            match unfinished(&place.data()) {
                None => {
                    let mut after = place.files("");
                    after.remove("restore-in-progress.tmp");
                    assert_eq!(after, before, "killed before change {first}");
                    assert_eq!(fs::read_to_string(place.telemetry()).expect("read"), "old counters");
                }
                Some(sentence) => {
                    assert!(sentence.contains("rusty-pinch restore /backups/monday.tar"), "{sentence}");
                    half_way += 1;
                    go_on_after(first);
                }
            }
            first += 1;
        }
        assert!(half_way > 10, "{half_way} of {first}");
    }

    /// The same, killed a second time at every change that is left, with a line that came too late in between.
    fn go_on_after(first: usize) {
        for second in 0.. {
            let place = Place::new();
            assert!(!place.restore(first));
            place.write("sessions/new.jsonl", "late");
            let ended = place.restore(second);
            if !ended {
                // The last change is the removal of the marker.
                assert!(unfinished(&place.data()).is_some() && place.restore(usize::MAX));
            }
            // A line into a file that is in place already is kept where it is.
            let in_place = place.files("sessions").get("new.jsonl").is_some_and(|content| content == "late");
            if in_place {
                place.write("sessions/new.jsonl", "restore-new/sessions/new.jsonl");
            }
            place.check_that_new_is_in_place_and_old_aside(!in_place);
            if ended {
                break;
            }
        }
    }

    #[test]
    fn nothing_there_leaves_no_folder_aside() {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let data = folder.path().join("data");
        assert!(is_empty(&data).expect("looked"));
        files::make_folder(&data.join("restore-new/sessions")).expect("made");
        fs::write(data.join("restore-new/sessions/a.jsonl"), "new").expect("written");
        let telemetry = data.join(TELEMETRY);
        let replacement = Replacement::begin(&data, &telemetry, Path::new("a"), 5, &mut || Ok(())).expect("begun");
        let replacement = replacement.finish(&mut || Ok(())).expect("finished");
        assert!(!replacement.aside().exists() && !is_empty(&data).expect("looked"));
        assert_eq!(fs::read_dir(&data).expect("listed").count(), 1);
    }
}
