//! A disk that knows every version of its files since their last sync, so that a power cut can go back to any of them.
//!
//! All handles speak to one place, into which the search puts the disk of the state that it looks at. Between two calls
//! of one operation the disk is remembered, because a process may die there, too.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use rusty_pinch::store::storage::Storage;

use super::meaning::{Lines, Tag};
use crate::support::waiting::lock;

pub const BLOCK_BYTES: usize = 4096;

/// What a file holds. Blocks of a journal are kept without the blanks at their end.
#[derive(Clone, Debug)]
pub enum Content {
    Blocks(Arc<Vec<Arc<[u8]>>>),
    Text(Arc<Vec<u8>>),
}

/// What recovery will make of a version of a file. A journal's is known when the operation that wrote it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    Untold,
    Journal(Tag),
    /// A checkpoint of which only a part arrived.
    Torn,
    Session(Lines),
}

#[derive(Clone, Debug)]
pub struct Version {
    pub content: Content,
    pub meaning: Meaning,
    /// How often the journal had changed files when this was written, and where it ends.
    pub generation: u32,
    pub blocks: u16,
}

#[derive(Clone, Debug)]
pub struct File {
    /// Whether its name survives a power cut.
    pub linked: bool,
    /// The first is on the medium, the last is what a process reads.
    pub versions: Vec<Version>,
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub files: BTreeMap<Arc<str>, Arc<File>>,
    pub generation: u32,
}

/// Where all handles meet.
#[derive(Clone, Default)]
pub struct Place(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    disk: Disk,
    /// The disk before each call that changed it, the first one left out.
    between: Vec<Disk>,
    changes: usize,
}

impl Place {
    pub fn folder(&self, name: &'static str) -> Box<dyn Storage> {
        Box::new(Handle { place: self.clone(), folder: name })
    }

    /// Does something to a disk; gives it back with what it was like between the calls.
    pub fn with<T>(&self, disk: Disk, work: impl FnOnce() -> T) -> (T, Disk, Vec<Disk>) {
        *lock(&self.0) = Held { disk, ..Held::default() };
        let outcome = work();
        let held = std::mem::take(&mut *lock(&self.0));
        (outcome, held.disk, held.between)
    }

    fn change(&self, change: impl FnOnce(&mut Disk)) {
        let mut held = lock(&self.0);
        if held.changes > 0 {
            let before = held.disk.clone();
            held.between.push(before);
        }
        held.changes += 1;
        change(&mut held.disk);
    }
}

impl Content {
    fn empty(name: &str) -> Content {
        if name.ends_with(".jnl") { Content::Blocks(Arc::default()) } else { Content::Text(Arc::default()) }
    }

    fn len(&self) -> usize {
        match self {
            Content::Blocks(blocks) => blocks.len() * BLOCK_BYTES,
            Content::Text(text) => text.len(),
        }
    }

    fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let count = self.len().saturating_sub(offset).min(buffer.len());
        match self {
            Content::Text(text) => buffer[..count].copy_from_slice(&text[offset..offset + count]),
            Content::Blocks(blocks) => {
                assert!(offset.is_multiple_of(BLOCK_BYTES), "the journal is read from its start");
                for (block, room) in blocks[offset / BLOCK_BYTES..].iter().zip(buffer[..count].chunks_mut(BLOCK_BYTES))
                {
                    let (text, blank) = room.split_at_mut(block.len().min(room.len()));
                    text.copy_from_slice(&block[..text.len()]);
                    blank.fill(b' ');
                }
            }
        }
        count
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Content {
        match self {
            Content::Text(text) => {
                let mut text = text.to_vec();
                text.truncate(offset);
                text.extend_from_slice(bytes);
                Content::Text(Arc::new(text))
            }
            Content::Blocks(blocks) => {
                let mut blocks = blocks.to_vec();
                for (block, at) in bytes.chunks(BLOCK_BYTES).zip(offset / BLOCK_BYTES..) {
                    // The newline of the last record counts.
                    let text = block.trim_ascii_end().len();
                    let kept = text + usize::from(block.get(text) == Some(&b'\n'));
                    blocks.resize(blocks.len().max(at + 1), Arc::from([]));
                    blocks[at] = Arc::from(&block[..kept]);
                }
                // The journal is written full of blanks once; nobody needs to read them thousands of times.
                blocks.truncate(blocks.iter().rposition(|block| !block.is_empty()).map_or(1, |last| last + 1));
                Content::Blocks(Arc::new(blocks))
            }
        }
    }
}

impl File {
    pub fn last(&self) -> &Version {
        self.versions.last().expect("a file has a version")
    }
}

impl Disk {
    fn file(&mut self, name: &str) -> &mut File {
        let new = || {
            let meaning = if name.ends_with(".jnl") { Meaning::Untold } else { Meaning::Session(Lines::default()) };
            let version = Version { content: Content::empty(name), meaning, generation: 0, blocks: 0 };
            Arc::new(File { linked: false, versions: vec![version] })
        };
        Arc::make_mut(self.files.entry(Arc::from(name)).or_insert_with(new))
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let Some(file) = self.files.get(name) else { return Vec::new() };
        let mut bytes = vec![0; file.last().content.len()];
        file.last().content.read(0, &mut bytes);
        bytes
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) {
        let begins = name.ends_with(".jnl") && offset == 0;
        self.generation += u32::from(begins);
        let newest = self.generation;
        let file = self.file(name);
        // After a torn checkpoint the older file is in use again.
        let generation = if begins { newest } else { file.last().generation };
        let content = file.last().content.write(offset, bytes);
        let blocks = u16::try_from((offset + bytes.len()) / BLOCK_BYTES).unwrap_or(u16::MAX);
        file.push(content, generation, blocks);
    }

    fn truncate(&mut self, name: &str, len: usize) {
        let file = self.file(name);
        let content = file.last().content.write(len, &[]);
        file.push(content, 0, 0);
    }

    fn sync(&mut self, name: &str) {
        let file = self.file(name);
        file.versions.drain(..file.versions.len() - 1);
    }

    fn link(&mut self, folder: &str) {
        for (_, file) in self.files.iter_mut().filter(|(name, file)| name.starts_with(folder) && !file.linked) {
            Arc::make_mut(file).linked = true;
        }
    }

    /// The operation is over, and this is what its journal says.
    pub fn tell(&mut self, tag: Tag) {
        for file in self.files.values_mut() {
            if file.versions.iter().any(|version| version.meaning == Meaning::Untold && version.generation > 0) {
                let untold = Arc::make_mut(file).versions.iter_mut();
                let untold = untold.filter(|version| version.meaning == Meaning::Untold && version.generation > 0);
                untold.for_each(|version| version.meaning = Meaning::Journal(tag));
            }
        }
    }

    /// What the newest journal file says, as recovery chooses it.
    pub fn tag(&self) -> Tag {
        let versions = self.files.values().map(|file| file.last());
        let told = versions.filter_map(|version| match version.meaning {
            Meaning::Journal(tag) => Some((version.generation, tag)),
            _ => None,
        });
        told.max_by_key(|(generation, _)| *generation).map(|(_, tag)| tag).unwrap_or_default()
    }
}

impl File {
    fn push(&mut self, content: Content, generation: u32, blocks: u16) {
        let meaning = match &content {
            Content::Blocks(_) => Meaning::Untold,
            Content::Text(text) => Meaning::Session(Lines::read(text)),
        };
        self.versions.push(Version { content, meaning, generation, blocks });
    }
}

struct Handle {
    place: Place,
    folder: &'static str,
}

impl Handle {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("small files")
}

impl Storage for Handle {
    fn handle(&self) -> Box<dyn Storage> {
        self.place.folder(self.folder)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let held = lock(&self.place.0);
        let names = held.disk.files.keys().filter_map(|name| name.strip_prefix(self.folder)?.strip_prefix('/'));
        Ok(names.map(str::to_string).collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let held = lock(&self.place.0);
        Ok(held.disk.files.get(self.path(name).as_str()).map_or(0, |file| file.last().content.len() as u64))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let held = lock(&self.place.0);
        let file = held.disk.files.get(self.path(name).as_str());
        Ok(file.map_or(0, |file| file.last().content.read(size(offset), buffer)))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.place.change(|disk| disk.write(&self.path(name), size(offset), bytes));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.place.change(|disk| {
            let end = disk.files.get(self.path(name).as_str()).map_or(0, |file| file.last().content.len());
            disk.write(&self.path(name), end, bytes);
        });
        Ok(())
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.place.change(|disk| disk.truncate(&self.path(name), size(len)));
        Ok(())
    }

    /// Sessions are never full here, and nothing is given up or spooled.
    fn rename(&mut self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.place.change(|disk| disk.sync(&self.path(name)));
        Ok(())
    }

    /// No flush fails here.
    fn reread(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.place.change(|disk| disk.link(self.folder));
        Ok(())
    }

    fn lock(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&mut self) {}
}
