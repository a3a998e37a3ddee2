//! A disk in memory that remembers what was written and what was synced, so that it can lose the rest.
//!
//! It implements the product's trait `Storage` and is, for that, the one file of `support` that names the product.
//! A crash is a number: `die_at(call)` refuses that call and every later one, as a process that is gone. What the next
//! process finds is an [`Image`]: after a kill everything that was written, after a power cut what was synced and any
//! part of the rest. `fail_at(call)` makes one call fail and goes on; reads are calls, too.
//!
//! Stricter than most file systems: a new file is there after a power cut only if its folder was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use rusty_pinch::store::storage::Storage;

use super::cases::Random;
use super::torn_file::{BLOCK_BYTES, SECTOR_BYTES, TornFile};
use super::waiting::lock;

/// Torn places of one large write that are tried at most.
const TORN_MAX: usize = 16;

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
    /// A power cut that kept every change but one.
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

#[derive(Clone, Debug)]
enum Change {
    /// The name, in its folder.
    Create(String),
    Write {
        name: String,
        offset: usize,
        bytes: Vec<u8>,
        appended: bool,
    },
    Truncate {
        name: String,
        len: usize,
    },
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// This change and all that follow are refused.
    Death { change: u64 },
    /// This call is refused; of a write, this share of the bytes is written all the same.
    Failure { call: u64, halves: usize },
}

#[derive(Clone, Debug, Default)]
struct Disk {
    cached: BTreeMap<String, TornFile>,
    durable: BTreeMap<String, TornFile>,
    /// Names that a power cut does not take away.
    linked: BTreeSet<String>,
    pending: Vec<Change>,
    /// The call during which the process died.
    in_flight: Vec<Change>,
    /// Calls that change something, and all calls.
    changes: u64,
    calls: u64,
    trouble: Option<Trouble>,
    gone: bool,
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

    /// `halves`: 0 writes nothing of a failing write, 1 half of it, 2 all.
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

    /// Calls that changed something, and all calls.
    pub fn counts(&self) -> (u64, u64) {
        let disk = lock(&self.disk);
        (disk.changes, disk.calls)
    }

    /// As the running process sees it.
    pub fn read(&self, path: &str) -> Vec<u8> {
        lock(&self.disk).cached.get(path).map_or_else(Vec::new, TornFile::bytes)
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let disk = lock(&self.disk);
        disk.cached.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_string).collect()
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
        images.extend(disk.may_be_missing().map(|change| Image::Without { change }));
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
            Image::Without { change } => drop(changes.remove(change)),
            _ => damage(changes.last_mut(), image),
        }
        let mut disk = Disk { cached: self.durable.clone(), linked: self.linked.clone(), ..Disk::default() };
        changes.into_iter().for_each(|change| disk.apply(change));
        let created = std::mem::take(&mut disk.pending).into_iter();
        disk.linked
            .extend(created.filter_map(|change| if let Change::Create(name) = change { Some(name) } else { None }));
        let Disk { cached, linked, .. } = &mut disk;
        cached.retain(|name, _| linked.contains(name));
        disk.durable = disk.cached.clone();
        disk
    }

    /// Changes that may be lost although later ones are not. Appends to one file keep their order: a file system writes
    /// the bytes before it writes the length.
    fn may_be_missing(&self) -> impl Iterator<Item = usize> {
        let changes: Vec<&Change> = self.pending.iter().chain(&self.in_flight).collect();
        let last = changes.len().saturating_sub(1);
        let missing = |change: &Change| !matches!(change, Change::Write { appended: true, .. });
        (0..last).filter(|at| missing(changes[*at])).collect::<Vec<usize>>().into_iter()
    }

    fn killed(&self, image: &Image) -> Disk {
        let mut disk = Disk { in_flight: Vec::new(), trouble: None, gone: false, changes: 0, calls: 0, ..self.clone() };
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
            Change::Create(name) => drop(self.cached.entry(name.clone()).or_default()),
            Change::Write { name, offset, bytes, .. } => {
                self.cached.entry(name.clone()).or_default().write(*offset, bytes)
            }
            Change::Truncate { name, len } => self.cached.entry(name.clone()).or_default().truncate(*len),
        }
        self.pending.push(change);
    }

    /// Counts a call; says whether it fails and, of a write, how many halves are written before.
    fn call(&mut self, changes: Vec<Change>, is_change: bool) -> io::Result<()> {
        if self.gone {
            return Err(io::Error::other("the process is gone"));
        }
        self.calls += 1;
        self.changes += u64::from(is_change);
        match self.trouble {
            Some(Trouble::Death { change }) if is_change && self.changes == change => {
                self.gone = true;
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

    fn writing(&self, name: &str, change: Change) -> Vec<Change> {
        let create = (!self.cached.contains_key(name)).then(|| Change::Create(name.to_string()));
        create.into_iter().chain([change]).collect()
    }

    fn len(&self, name: &str) -> usize {
        self.cached.get(name).map_or(0, |file| file.len)
    }

    fn synced(&mut self, name: &str) {
        if let Some(file) = self.cached.get(name) {
            self.durable.insert(name.to_string(), file.clone());
        }
        self.pending.retain(|change| match change {
            Change::Create(_) => true,
            Change::Write { name: of, .. } | Change::Truncate { name: of, .. } => of != name,
        });
    }

    fn folder_synced(&mut self, prefix: &str) {
        let (mut kept, mut linked) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Create(name) if name.starts_with(prefix) => linked.push(name),
                other => kept.push(other),
            }
        }
        self.pending = kept;
        self.linked.extend(linked);
    }
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
        lock(&self.disk.disk).call(Vec::new(), false)?;
        Ok(self.disk.names(self.prefix.trim_end_matches('/')))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let mut disk = lock(&self.disk.disk);
        disk.call(Vec::new(), false)?;
        Ok(disk.len(&self.path(name)) as u64)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = lock(&self.disk.disk);
        disk.call(Vec::new(), false)?;
        Ok(disk.cached.get(&self.path(name)).map_or(0, |file| file.read(offset as usize, buffer)))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let name = self.path(name);
        let write =
            Change::Write { name: name.clone(), offset: offset as usize, bytes: bytes.to_vec(), appended: false };
        let changes = disk.writing(&name, write);
        disk.call(changes, true)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        let name = self.path(name);
        let offset = disk.len(&name);
        let changes =
            disk.writing(&name, Change::Write { name: name.clone(), offset, bytes: bytes.to_vec(), appended: true });
        let outcome = disk.call(changes, true);
        if outcome.is_err() && !disk.gone {
            // As the product's folder does: what was written of it is taken back.
            disk.apply(Change::Truncate { name, len: offset });
        }
        outcome
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let name = self.path(name);
        lock(&self.disk.disk).call(vec![Change::Truncate { name, len: len as usize }], true)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        if let Some(pause) = &self.disk.before_sync {
            pause();
        }
        let mut disk = lock(&self.disk.disk);
        disk.call(Vec::new(), true)?;
        disk.synced(&self.path(name));
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut disk = lock(&self.disk.disk);
        disk.call(Vec::new(), true)?;
        disk.folder_synced(&self.prefix);
        Ok(())
    }

    fn lock(&mut self) -> io::Result<bool> {
        lock(&self.disk.disk).call(Vec::new(), false)?;
        Ok(true)
    }

    fn unlock(&mut self) {}
}
