//! A disk in memory that remembers what was written and what was synced, so that it can lose the rest.
//!
//! It implements the product's trait `Storage` and is, for that, the one file of `support` that names the product.
//! A crash is a number: `die_at(call)` refuses that call and every later one, as a process that is gone. What the next
//! process finds is an [`Image`]: after a kill everything that was written, after a power cut what was synced and any
//! part of the rest. `fail_at(call)` makes one call fail and goes on; reads are calls, too.
//!
//! A sync that fails drops what it did not write, as Linux does: it reads as before until a power cut or a `reread`, then
//! as the medium has it, and the next sync has nothing to do.
//!
//! Stricter than most file systems: a name that was given or changed is sure after a power cut only if its folder was
//! synced, and of two names given one after the other the first may be lost. What was written to two files since they
//! were synced may be lost of one and kept of the other.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use rusty_pinch::store::storage::Storage;

use super::cases::Random;
use super::torn_file::{BLOCK_BYTES, SECTOR_BYTES, TornFile};
use super::waiting::lock;

/// Torn places of one large write that are tried at most.
const TORN_MAX: usize = 16;

/// Every kind of call that changes something.
pub const CHANGES: [&str; 7] = ["append", "remove", "rename", "sync", "sync_dir", "truncate", "write"];
const READ: &str = "read";

/// What the next process finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A kill: everything written, without the call that was cut off.
    Killed,
    /// A kill in the middle of a write: so many bytes of it are there. The kernel copies page by page.
    KilledWithin { bytes: usize },
    /// A kill right after the call, before its caller knew.
    KilledBehind,
    /// A power cut: what was synced, and this many of the changes since, in order.
    Prefix { changes: usize },
    /// A power cut that kept every change but one; of a file that was appended to, also without what came behind.
    Without { change: usize },
    /// A power cut in the last write: so many bytes of it arrived.
    Torn { bytes: usize },
    /// A power cut that kept the length of the last write, but only zeros from here on.
    Zeros { from: usize },
    /// A power cut that left something else in one sector of the last write.
    Garbage { from: usize },
}

impl Image {
    pub fn is_power_cut(&self) -> bool {
        !matches!(self, Image::Killed | Image::KilledWithin { .. } | Image::KilledBehind)
    }
}

/// Files go by numbers of their own, because names change.
type Number = u64;

#[derive(Clone, Debug)]
enum Change {
    /// A new file gets a name.
    Create {
        name: String,
        file: Number,
    },
    Rename {
        from: String,
        to: String,
        file: Number,
    },
    Write {
        file: Number,
        offset: usize,
        bytes: Vec<u8>,
        appended: bool,
    },
    Truncate {
        file: Number,
        len: usize,
    },
    Remove {
        name: String,
    },
}

impl Change {
    /// The file whose content it changes.
    fn content_of(&self) -> Option<Number> {
        match self {
            Change::Write { file, .. } | Change::Truncate { file, .. } => Some(*file),
            Change::Create { .. } | Change::Rename { .. } | Change::Remove { .. } => None,
        }
    }

    /// Changes the content of its file.
    fn write_to(&self, content: &mut TornFile) {
        match self {
            Change::Write { offset, bytes, .. } => content.write(*offset, bytes),
            Change::Truncate { len, .. } => content.truncate(*len),
            Change::Create { .. } | Change::Rename { .. } | Change::Remove { .. } => {}
        }
    }

    /// The name that it gives or takes.
    fn name(&self) -> Option<&str> {
        match self {
            Change::Create { name, .. } | Change::Rename { to: name, .. } | Change::Remove { name } => Some(name),
            Change::Write { .. } | Change::Truncate { .. } => None,
        }
    }
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// This change and all that follow are refused.
    Death { change: u64 },
    /// This call is refused; of a write, this share of the bytes is written all the same.
    Failure { call: u64, halves: usize },
}

type Names = BTreeMap<String, Number>;
type Contents = BTreeMap<Number, TornFile>;

#[derive(Clone, Debug, Default)]
struct Disk {
    /// As the running process sees it.
    names: Names,
    cached: Contents,
    /// What a power cut does not take away.
    linked: Names,
    durable: Contents,
    /// Files there ever were.
    files: Number,
    pending: Vec<Change>,
    /// The call during which the process died.
    in_flight: Vec<Change>,
    died_in: &'static str,
    /// Calls that change something, and all calls.
    changes: u64,
    calls: u64,
    trouble: Option<Trouble>,
    gone: bool,
    /// A sync failed, and what it did not write is lost.
    dropped: bool,
    bytes_read: usize,
}

/// Clones share the disk.
#[derive(Clone, Default)]
pub struct TornDisk {
    disk: Arc<Mutex<Disk>>,
    /// Called before every sync, without a lock: a place to stall.
    before_sync: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl TornDisk {
    pub fn folder(&self, name: &str) -> Box<dyn Storage> {
        Box::new(Folder { disk: self.clone(), prefix: format!("{name}/") })
    }

    pub fn before_sync(mut self, pause: Arc<dyn Fn() + Send + Sync>) -> TornDisk {
        self.before_sync = Some(pause);
        self
    }

    pub fn die_at(&self, change: u64) {
        lock(&self.disk).trouble = Some(Trouble::Death { change });
    }

    /// `halves`: 0 writes nothing of a failing write or sync, 1 half of it, 2 all.
    pub fn fail_at(&self, call: u64, halves: usize) {
        lock(&self.disk).trouble = Some(Trouble::Failure { call, halves });
    }

    /// The process is gone: every handle refuses from here on.
    pub fn kill(&self) {
        lock(&self.disk).gone = true;
    }

    pub fn is_gone(&self) -> bool {
        lock(&self.disk).gone
    }

    /// Whether a sync failed without having written all.
    pub fn dropped(&self) -> bool {
        lock(&self.disk).dropped
    }

    /// The kind of call during which the process died; blank while it lives.
    pub fn died_in(&self) -> &'static str {
        lock(&self.disk).died_in
    }

    /// Calls that changed something, and all calls.
    pub fn counts(&self) -> (u64, u64) {
        let disk = lock(&self.disk);
        (disk.changes, disk.calls)
    }

    pub fn bytes_read(&self) -> usize {
        lock(&self.disk).bytes_read
    }

    /// As the running process sees it.
    pub fn read(&self, path: &str) -> Vec<u8> {
        lock(&self.disk).file(path).map_or_else(Vec::new, TornFile::bytes)
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let disk = lock(&self.disk);
        disk.names.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_string).collect()
    }

    /// Pretends that files end behind their last written block: the journal is written full of blanks once, and
    /// thousands of recoveries need not read them.
    pub fn forget_blank_ends(&self) {
        let mut disk = lock(&self.disk);
        let Disk { cached, durable, .. } = &mut *disk;
        cached.values_mut().chain(durable.values_mut()).for_each(TornFile::forget_blank_end);
    }

    /// Every way the disk may look after the process died here, or a choice where there are very many.
    pub fn images(&self, random: &mut Random) -> Vec<Image> {
        let disk = lock(&self.disk);
        let mut images = vec![Image::Killed];
        if let Some(Change::Write { offset, bytes, .. }) = disk.in_flight.last() {
            images.extend(cuts(*offset, bytes.len(), BLOCK_BYTES, random).map(|bytes| Image::KilledWithin { bytes }));
            images.push(Image::KilledBehind);
        }
        let unsynced = disk.pending.len() + disk.in_flight.len();
        images.extend((0..=unsynced).map(|changes| Image::Prefix { changes }));
        images.extend(disk.may_be_missing(random).into_iter().map(|change| Image::Without { change }));
        if let Some(Change::Write { offset, bytes, .. }) = disk.in_flight.last().or(disk.pending.last()) {
            let sectors: Vec<usize> = cuts(*offset, bytes.len(), SECTOR_BYTES, random).collect();
            images.extend(sectors.iter().map(|bytes| Image::Torn { bytes: *bytes }));
            let from = |random: &mut Random| if sectors.is_empty() { 0 } else { sectors[random.index(sectors.len())] };
            images.push(Image::Zeros { from: from(random) });
            images.push(Image::Garbage { from: from(random) });
        }
        images
    }

    /// A new disk as the next process finds it. Handles to the old one stay as they are.
    pub fn image(&self, image: &Image) -> TornDisk {
        let disk = lock(&self.disk).image(image);
        TornDisk { disk: Arc::new(Mutex::new(disk)), before_sync: self.before_sync.clone() }
    }
}

/// The places inside a write where a unit of the medium ends.
fn cuts(offset: usize, len: usize, unit: usize, random: &mut Random) -> impl Iterator<Item = usize> {
    let first = unit - offset % unit;
    let mut all: Vec<usize> = (first..len).step_by(unit).collect();
    while all.len() > TORN_MAX {
        all.remove(random.index(all.len()));
    }
    all.into_iter()
}

impl Disk {
    fn image(&self, image: &Image) -> Disk {
        if !image.is_power_cut() {
            return self.killed(image);
        }
        let mut changes: Vec<Change> = self.pending.iter().chain(&self.in_flight).cloned().collect();
        match *image {
            Image::Prefix { changes: kept } => changes.truncate(kept),
            Image::Without { change } => lose(&mut changes, change),
            _ => damage(changes.last_mut(), image),
        }
        let mut disk =
            Disk { names: self.linked.clone(), cached: self.durable.clone(), files: self.files, ..Disk::default() };
        changes.into_iter().for_each(|change| disk.apply(change));
        let Disk { cached, names, .. } = &mut disk;
        cached.retain(|file, _| names.values().any(|named| named == file));
        disk.pending.clear();
        (disk.linked, disk.durable) = (disk.names.clone(), disk.cached.clone());
        disk
    }

    /// Changes that may be lost although later ones are not. Of a file that was appended to any end may be, because a
    /// file system writes the bytes before it writes the length; one such end of each file is tried.
    fn may_be_missing(&self, random: &mut Random) -> Vec<usize> {
        let changes: Vec<&Change> = self.pending.iter().chain(&self.in_flight).collect();
        let mut missing = Vec::new();
        let mut appends: BTreeMap<Number, Vec<usize>> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            match change {
                Change::Write { file, appended: true, .. } => appends.entry(*file).or_default().push(at),
                _ => missing.push(at),
            }
        }
        missing.extend(appends.values().map(|of_file| of_file[random.index(of_file.len())]));
        missing.retain(|at| at + 1 < changes.len());
        missing
    }

    fn killed(&self, image: &Image) -> Disk {
        let mut disk = Disk {
            in_flight: Vec::new(),
            trouble: None,
            gone: false,
            died_in: "",
            dropped: false,
            bytes_read: 0,
            changes: 0,
            calls: 0,
            ..self.clone()
        };
        let mut in_flight = self.in_flight.clone();
        match *image {
            Image::KilledBehind => {}
            Image::KilledWithin { .. } => damage(in_flight.last_mut(), image),
            _ => in_flight.clear(),
        }
        in_flight.into_iter().for_each(|change| disk.apply(change));
        disk
    }

    fn apply(&mut self, change: Change) {
        match &change {
            Change::Create { name, file } => drop(self.names.insert(name.clone(), *file)),
            Change::Rename { from, to, file } => {
                if self.names.get(from) == Some(file) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *file);
            }
            Change::Write { file, .. } | Change::Truncate { file, .. } => {
                change.write_to(self.cached.entry(*file).or_default());
            }
            Change::Remove { name } => drop(self.names.remove(name)),
        }
        self.pending.push(change);
    }

    /// Counts a call; says whether it fails and, of a write, how many halves are written before.
    fn call(&mut self, kind: &'static str, changes: Vec<Change>) -> io::Result<()> {
        let is_change = kind != READ;
        if self.gone {
            return Err(io::Error::other("the process is gone"));
        }
        self.calls += 1;
        self.changes += u64::from(is_change);
        match self.trouble {
            Some(Trouble::Death { change }) if is_change && self.changes == change => {
                self.gone = true;
                self.died_in = kind;
                self.in_flight = changes;
                return Err(io::Error::other("the process is gone"));
            }
            Some(Trouble::Failure { call, halves }) if self.calls == call => {
                let mut changes = changes;
                if let Some(Change::Write { bytes, .. }) = changes.last_mut() {
                    bytes.truncate(bytes.len() * halves / 2);
                    changes.into_iter().for_each(|change| self.apply(change));
                }
                return Err(io::Error::other("planted failure"));
            }
            _ => changes.into_iter().for_each(|change| self.apply(change)),
        }
        Ok(())
    }

    /// Of what a call that failed was to do, so much was done.
    fn failed_halves(&self) -> usize {
        match self.trouble {
            Some(Trouble::Failure { halves, .. }) => halves,
            _ => 0,
        }
    }

    /// The number of the file that is to be written to, and, if it is new, what gives it its name.
    fn writing(&mut self, name: &str) -> (Number, Vec<Change>) {
        if let Some(file) = self.names.get(name) {
            return (*file, Vec::new());
        }
        self.files += 1;
        (self.files, vec![Change::Create { name: name.to_string(), file: self.files }])
    }

    fn file(&self, name: &str) -> Option<&TornFile> {
        self.names.get(name).and_then(|file| self.cached.get(file))
    }

    fn len(&self, name: &str) -> usize {
        self.file(name).map_or(0, |file| file.len)
    }

    /// Only what was changed since the last sync is written, not what a failed one dropped. `kept`: so many changes.
    fn written(&mut self, name: &str, kept: impl FnOnce(usize) -> usize) {
        let Some(file) = self.names.get(name).copied() else { return };
        let mut changes: Vec<Change> =
            self.pending.extract_if(.., |change| change.content_of() == Some(file)).collect();
        changes.truncate(kept(changes.len()));
        let content = self.durable.entry(file).or_default();
        changes.iter().for_each(|change| change.write_to(content));
    }

    /// What is not to be written is as the medium has it; only the length is remembered.
    fn reread(&mut self, name: &str) {
        let Some(file) = self.names.get(name).copied() else { return };
        let mut content = self.durable.get(&file).cloned().unwrap_or_default();
        let changes = self.pending.iter().filter(|change| change.content_of() == Some(file));
        changes.for_each(|change| change.write_to(&mut content));
        content.truncate(self.cached.get(&file).map_or(0, |cached| cached.len));
        self.cached.insert(file, content);
    }

    fn folder_synced(&mut self, prefix: &str) {
        let of_folder = |change: &mut Change| change.name().is_some_and(|name| name.starts_with(prefix));
        let given: Vec<Change> = self.pending.extract_if(.., of_folder).collect();
        for change in given {
            match change {
                Change::Create { name, file } => drop(self.linked.insert(name, file)),
                Change::Rename { from, to, file } => {
                    self.linked.remove(&from);
                    self.linked.insert(to, file);
                }
                Change::Remove { name } => drop(self.linked.remove(&name)),
                Change::Write { .. } | Change::Truncate { .. } => {}
            }
        }
    }
}

/// Takes one change away; of a file that was appended to also what came behind.
fn lose(changes: &mut Vec<Change>, at: usize) {
    let lost = changes.remove(at);
    let Change::Write { file, appended: true, .. } = lost else { return };
    let behind = changes.split_off(at);
    changes.extend(behind.into_iter().filter(|change| change.content_of() != Some(file)));
}

/// What of the last write does not arrive as it was written.
fn damage(change: Option<&mut Change>, image: &Image) {
    let Some(Change::Write { bytes, .. }) = change else { return };
    match *image {
        Image::KilledWithin { bytes: kept } | Image::Torn { bytes: kept } => bytes.truncate(kept),
        Image::Zeros { from } => bytes[from..].fill(0),
        Image::Garbage { from } => bytes.iter_mut().skip(from).take(SECTOR_BYTES).for_each(|byte| *byte ^= 0xa5),
        _ => {}
    }
}

struct Folder {
    disk: TornDisk,
    prefix: String,
}

impl Folder {
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Storage for Folder {
    fn handle(&self) -> Box<dyn Storage> {
        Box::new(Folder { disk: self.disk.clone(), prefix: self.prefix.clone() })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        lock(&self.disk.disk).call(READ, Vec::new())?;
        Ok(self.disk.names(self.prefix.trim_end_matches('/')))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let mut disk = lock(&self.disk.disk);
        disk.call(READ, Vec::new())?;
        Ok(disk.len(&self.path(name)) as u64)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = lock(&self.disk.disk);
        disk.call(READ, Vec::new())?;
        let read = disk.file(&self.path(name)).map_or(0, |file| file.read(offset as usize, buffer));
        disk.bytes_read += read;
        Ok(read)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let (file, mut changes) = disk.writing(&self.path(name));
        changes.push(Change::Write { file, offset: offset as usize, bytes: bytes.to_vec(), appended: false });
        disk.call("write", changes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let name = self.path(name);
        let offset = disk.len(&name);
        let (file, mut changes) = disk.writing(&name);
        changes.push(Change::Write { file, offset, bytes: bytes.to_vec(), appended: true });
        let outcome = disk.call("append", changes);
        if outcome.is_err() && !disk.gone {
            // As the product's folder does: what was written of it is taken back.
            disk.apply(Change::Truncate { file, len: offset });
        }
        outcome
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let (file, mut changes) = disk.writing(&self.path(name));
        changes.push(Change::Truncate { file, len: len as usize });
        disk.call("truncate", changes)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let (from, to) = (self.path(from), self.path(to));
        let file = disk.names.get(&from).copied().ok_or(io::ErrorKind::NotFound)?;
        disk.call("rename", vec![Change::Rename { from, to, file }])
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let name = self.path(name);
        let changes = if disk.names.contains_key(&name) { vec![Change::Remove { name }] } else { Vec::new() };
        disk.call("remove", changes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        if let Some(pause) = &self.disk.before_sync {
            pause();
        }
        let mut disk = lock(&self.disk.disk);
        let name = self.path(name);
        match disk.call("sync", Vec::new()) {
            Ok(()) => disk.written(&name, |all| all),
            Err(error) if disk.gone => return Err(error),
            Err(error) => {
                let halves = disk.failed_halves();
                disk.dropped = halves < 2;
                disk.written(&name, |all| all * halves / 2);
                return Err(error);
            }
        }
        Ok(())
    }

    fn reread(&mut self, name: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        disk.call(READ, Vec::new())?;
        disk.reread(&self.path(name));
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        disk.call("sync_dir", Vec::new())?;
        disk.folder_synced(&self.prefix);
        Ok(())
    }

    fn lock(&mut self) -> io::Result<bool> {
        lock(&self.disk.disk).call(READ, Vec::new())?;
        Ok(true)
    }

    fn unlock(&mut self) {}
}
