//! Every state of the real ledger that the search meets, once. Two are the same if their disks mean the same and the
//! same is waited for; what a step makes of one is computed once, however many states of the search share it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::message::{Delivery, Outcome, Reply, Summary};
use rusty_pinch::store::exchange::{Append, Effect, Folders, Input, Opening, Sizes};
use rusty_pinch::store::journal::Counting;
use rusty_pinch::store::ledger::Ledger;
use rusty_pinch::store::recover::Reopened;

use super::disk::{Content, Disk, File, Meaning, Place, Version};
use super::meaning::{Lines, Tag};
use super::world::{self, ACCOUNT, turn};
use super::{Flaw, Setting};

const NOW: Wall = Wall(1_700_000_001_000);

/// What is asked of the writer; numbers are those of messages, parts, answers and repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// With the number that the server gave it.
    Accept(usize, u64),
    Begin(usize),
    Reply(usize, u8),
    Sending(usize, u16, u8),
    Unsent(usize, u16, bool, u8),
    Sent(usize, u16),
    /// Sent, or given up.
    Close(usize, bool),
    Flush,
}

impl Order {
    /// All of it, in few bytes.
    pub fn key(self, key: &mut Vec<u8>) {
        let mut bytes = |kind, update, part, more, flag| {
            key.extend([kind, update as u8, part as u8, more, u8::from(flag)]);
        };
        match self {
            Order::Accept(update, number) => bytes(0, update, number as u16, 0, false),
            Order::Begin(update) => bytes(1, update, 0, 0, false),
            Order::Reply(update, nonce) => bytes(2, update, 0, nonce, false),
            Order::Sending(update, part, resends) => bytes(3, update, part, resends, false),
            Order::Unsent(update, part, ambiguous, resends) => bytes(4, update, part, resends, ambiguous),
            Order::Sent(update, part) => bytes(5, update, part, 0, false),
            Order::Close(update, given_up) => bytes(6, update, 0, 0, given_up),
            Order::Flush => bytes(7, 0, 0, 0, false),
        }
    }
}

/// Two journals, two sessions, and one that a repair kept aside of each.
const FILES_MAX: usize = 6;

pub type NodeId = usize;
pub type ImageId = usize;

/// A process and its disk.
struct Node {
    ledger: Ledger,
    disk: Disk,
    boot: u8,
    tag: Tag,
    /// Written since the last flush.
    since: Vec<Order>,
    images: Option<Rc<Images>>,
    edges: HashMap<Order, Rc<Edge>>,
}

/// What an order leads to.
pub struct Edge {
    pub to: NodeId,
    pub effects: Vec<Effect>,
    /// How the disk may look if the process dies while it obeys.
    pub within: Vec<Images>,
}

/// The disk without a process.
struct Image {
    disk: Disk,
    boot: u8,
    start: Option<Rc<Start>>,
}

/// What a start leads to.
pub struct Start {
    pub to: NodeId,
    pub reopened: Vec<Reopened>,
    pub next: Option<u64>,
    /// How the disk may look if the process dies while it starts.
    pub within: Vec<Images>,
}

/// What a power cut leaves: of each file, by name, which of the versions that it may leave. The first is the synced one.
pub type Left = [u8; FILES_MAX];

/// How the disk may look after a crash.
pub struct Images {
    pub kill: ImageId,
    pub power: Vec<(Left, ImageId)>,
}

#[derive(PartialEq, Eq, Hash)]
struct FileKey {
    name: Arc<str>,
    linked: bool,
    versions: Vec<(Meaning, u32, u16)>,
}

pub struct Ledgers {
    setting: Rc<Setting>,
    place: Place,
    /// Files that a first start begins.
    begun: u32,
    nodes: Vec<Node>,
    known: HashMap<(Vec<FileKey>, Tag, Vec<Order>, bool), NodeId>,
    images: Vec<Image>,
    known_images: HashMap<Vec<FileKey>, ImageId>,
}

impl Ledgers {
    /// The first image is a disk on which nothing has happened yet.
    pub fn new(setting: Rc<Setting>) -> Ledgers {
        let mut ledgers = Ledgers {
            setting,
            place: Place::default(),
            begun: 0,
            nodes: Vec::new(),
            known: HashMap::new(),
            images: Vec::new(),
            known_images: HashMap::new(),
        };
        let (_, mut disk, _) = ledgers.place.clone().with(Disk::default(), || ledgers.open(0).expect("a new disk"));
        disk.tell(Tag::default());
        ledgers.begun = disk.generation;
        ledgers.image(disk, 0);
        ledgers
    }

    /// Different ledgers, different disks without a process, and how often a journal changed files at most.
    pub fn counts(&self) -> (usize, usize, u32) {
        let changes = self.nodes.iter().map(|node| node.disk.generation).max().unwrap_or(0);
        (self.nodes.len(), self.images.len(), changes.saturating_sub(self.begun))
    }

    fn open(&self, boot: u8) -> Result<(Ledger, Opening), String> {
        let folders = Folders {
            journal: self.place.folder("journal"),
            sessions: self.place.folder("sessions"),
            dead: self.place.folder("dead"),
            spool: self.place.folder("spool"),
        };
        let bytes = self.setting.journal_bytes;
        let (ledger, opening) = Ledger::open_sized(
            folders,
            Sizes { journal: bytes, ..Sizes::default() },
            &boot_name(boot),
            Counting::default(),
            NOW,
        )
        .map_err(|error| format!("the journal does not open: {error}"))?;
        match &opening.damage {
            Some(damage) => Err(format!("damage where there is none: {damage}")),
            None => Ok((ledger, opening)),
        }
    }

    /// What the journal of a process says.
    pub fn tag(&self, node: NodeId) -> &Tag {
        &self.nodes[node].tag
    }

    pub fn ledger(&self, node: NodeId) -> (&Ledger, String) {
        (&self.nodes[node].ledger, boot_name(self.nodes[node].boot))
    }

    /// Whether a flush would change anything.
    pub fn is_dirty(&self, node: NodeId) -> bool {
        self.nodes[node].ledger.is_dirty()
    }

    /// Answers of a message that are in some version of a file.
    pub fn nonces(&self, node: NodeId, update: usize) -> Vec<u8> {
        let versions = self.nodes[node].disk.files.values().flat_map(|file| &file.versions);
        let answers = versions.filter_map(|version| match version.meaning {
            Meaning::Journal(tag) => tag.turns[update].answer,
            _ => None,
        });
        answers.collect()
    }

    pub fn session(&self, node: NodeId, chat: &str) -> Lines {
        Lines::read(&self.nodes[node].disk.read(&format!("sessions/telegram_{chat}.jsonl")))
    }

    pub fn obey(&mut self, from: NodeId, order: Order) -> Result<Rc<Edge>, String> {
        if let Some(edge) = self.nodes[from].edges.get(&order) {
            return Ok(Rc::clone(edge));
        }
        let node = &self.nodes[from];
        let (mut ledger, boot) = (node.ledger.clone(), node.boot);
        let work = || match order {
            Order::Flush => ledger.sync(NOW),
            order => ledger.write([self.input(order, &node.tag)], NOW),
        };
        let (effects, mut disk, mut between) = self.place.with(node.disk.clone(), work);
        let effects = effects.map_err(|error| format!("{order:?}: {error}"))?;
        let begins = disk.generation > node.disk.generation;
        let tag = Tag::of(ledger.journal(), &self.setting.letters, &boot_name(boot), &node.disk.tag(), begins);
        let mut since = if order == Order::Flush { Vec::new() } else { node.since.clone() };
        since.extend((order != Order::Flush).then_some(order));
        between.iter_mut().chain([&mut disk]).for_each(|disk| disk.tell(tag));
        let to = self.node(Node { ledger, disk, boot, tag, since, images: None, edges: HashMap::new() });
        let within = between.into_iter().map(|disk| self.images_of(disk, boot)).collect();
        let edge = Rc::new(Edge { to, effects, within });
        self.nodes[from].edges.insert(order, Rc::clone(&edge));
        Ok(edge)
    }

    pub fn start(&mut self, from: ImageId) -> Result<Rc<Start>, String> {
        if let Some(start) = &self.images[from].start {
            return Ok(Rc::clone(start));
        }
        let (image, boot) = (self.images[from].disk.clone(), self.images[from].boot);
        let (before, generation) = (image.tag(), image.generation);
        let (opened, mut disk, mut between) = self.place.with(image, || self.open(boot));
        let (ledger, opening) = opened?;
        let begins = disk.generation > generation;
        let tag = Tag::of(ledger.journal(), &self.setting.letters, &boot_name(boot), &before, begins);
        before.check_recovered(&tag, &self.setting.letters)?;
        between.iter_mut().chain([&mut disk]).for_each(|disk| disk.tell(tag));
        let closed = |update: &usize| before.turns[*update].open && !tag.turns[*update].open;
        let since = (0..before.turns.len()).filter(closed).map(|update| Order::Close(update, false)).collect();
        let next = opening.next_positions.get(&ACCOUNT).copied();
        let to = self.node(Node { ledger, disk, boot, tag, since, images: None, edges: HashMap::new() });
        let within = between.into_iter().map(|disk| self.images_of(disk, boot)).collect();
        let start = Rc::new(Start { to, reopened: opening.reopened, next, within });
        self.images[from].start = Some(Rc::clone(&start));
        Ok(start)
    }

    fn node(&mut self, node: Node) -> NodeId {
        let key = (self.key(&node.disk), node.tag, node.since.clone(), node.ledger.is_dirty());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        self.known.insert(key, self.nodes.len());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Where in a file something stands matters only if files are changed within a run. Every start changes them, so which
    /// journal file is newer always matters, but not which of the two names it has.
    fn key(&self, disk: &Disk) -> Vec<FileKey> {
        const OLDER: u32 = 3;
        let newest = disk.files.values().flat_map(|file| &file.versions).map(|version| version.generation).max();
        let newest = newest.unwrap_or(0);
        let blocks = |version: &Version| if self.setting.changes_files() { version.blocks } else { 0 };
        let age = |version: &Version| match version.meaning {
            Meaning::Session(_) => 0,
            _ => (newest - version.generation).min(OLDER),
        };
        let version = |version: &Version| (version.meaning, age(version), blocks(version));
        let file = |(name, file): (&Arc<str>, &Arc<File>)| FileKey {
            name: if name.ends_with(".jnl") { Arc::from("journal") } else { Arc::clone(name) },
            linked: file.linked,
            versions: file.versions.iter().map(version).collect(),
        };
        let (mut journals, others): (Vec<FileKey>, Vec<FileKey>) =
            disk.files.iter().map(file).partition(|file| &*file.name == "journal");
        journals.sort_by_key(|file| file.versions.last().map(|version| version.1));
        journals.into_iter().chain(others).collect()
    }

    /// How the disk may look if the process dies now.
    pub fn images(&mut self, node: NodeId) -> Rc<Images> {
        if let Some(images) = &self.nodes[node].images {
            return Rc::clone(images);
        }
        let disk = self.nodes[node].disk.clone();
        let images = Rc::new(self.images_of(disk, self.nodes[node].boot));
        self.nodes[node].images = Some(Rc::clone(&images));
        images
    }

    fn images_of(&mut self, disk: Disk, boot: u8) -> Images {
        let same_boot = self.setting.flaw == Some(Flaw::SameBoot);
        let mut disks = vec![([0; FILES_MAX], Disk { generation: disk.generation, ..Disk::default() })];
        for (at, (name, file)) in disk.files.iter().enumerate() {
            let versions = surviving(file, &self.setting);
            let mut more = Vec::new();
            for (left, disk) in &disks {
                for (version, number) in versions.iter().zip(0..) {
                    let (mut left, mut disk) = (*left, disk.clone());
                    left[at] = number;
                    disk.files.extend(version.as_ref().map(|file| (Arc::clone(name), Arc::clone(file))));
                    more.push((left, disk));
                }
            }
            disks = more;
        }
        let kill = self.image(disk, boot);
        let mut power: Vec<(Left, ImageId)> = Vec::new();
        for (left, disk) in disks {
            let image = self.image(disk, boot + u8::from(!same_boot));
            if power.iter().all(|(_, known)| *known != image) {
                power.push((left, image));
            }
        }
        Images { kill, power }
    }

    fn image(&mut self, disk: Disk, boot: u8) -> ImageId {
        let key = self.key(&disk);
        if let Some(known) = self.known_images.get(&key) {
            return *known;
        }
        self.known_images.insert(key, self.images.len());
        self.images.push(Image { disk, boot, start: None });
        self.images.len() - 1
    }

    fn input(&self, order: Order, tag: &Tag) -> Input {
        let letters = &self.setting.letters;
        let name = |update| turn(update, false);
        match order {
            Order::Accept(update, number) => {
                let is_copy = tag.turns[update].seen;
                Input::Append(Append::Accept(world::inbound(letters, update, is_copy, number)))
            }
            Order::Begin(update) => Input::Append(Append::Begin { turn: name(update), lane: 0 }),
            Order::Reply(update, nonce) => {
                let parts: Vec<String> =
                    (0..letters[update].parts).map(|part| world::answer(update, nonce, part)).collect();
                let reply = Reply {
                    turn: name(update),
                    user_text: format!("q{update}"),
                    text: parts.concat(),
                    parts,
                    summary: Summary::default(),
                };
                Input::Append(Append::Reply(Box::new(reply)))
            }
            Order::Sending(update, part, resends) => {
                Input::Delivery(Delivery::Sending { turn: name(update), part, resends, lane: 0 })
            }
            Order::Unsent(update, part, ambiguous, resends) => {
                Input::Delivery(Delivery::Unsent { turn: name(update), part, ambiguous, resends })
            }
            Order::Sent(update, part) => Input::Delivery(Delivery::Sent { turn: name(update), part, message_id: 1 }),
            Order::Close(update, given_up) => {
                let outcome = if given_up { Outcome::Dead } else { Outcome::Sent };
                Input::Delivery(Delivery::Close { turn: name(update), outcome, why: String::new() })
            }
            Order::Flush => unreachable!("a flush is no input"),
        }
    }
}

fn boot_name(boot: u8) -> String {
    format!("boot{boot:012}")
}

/// The versions of a file that a power cut may leave, each by itself; `None` is no file at all.
fn surviving(file: &File, setting: &Setting) -> Vec<Option<Arc<File>>> {
    let mut versions = Vec::new();
    for (at, version) in file.versions.iter().enumerate() {
        versions.push((at > 0 || file.linked).then(|| version.clone()));
        let next = file.versions.get(at + 1).filter(|_| setting.torn);
        versions.extend(next.and_then(|next| torn(version, next)).map(Some));
    }
    let alone = |mut version: Version| {
        if let Meaning::Journal(tag) = version.meaning
            && setting.flaw != Some(Flaw::SameBoot)
        {
            version.meaning = Meaning::Journal(tag.in_another_boot());
        }
        Arc::new(File { linked: true, versions: vec![version] })
    };
    versions.into_iter().map(|version| version.map(alone)).collect()
}

/// A part of the last write. Torn frames behind the first are left out: recovery sees the end of the log, as before them.
fn torn(before: &Version, after: &Version) -> Option<Version> {
    match (&before.content, &after.content) {
        (Content::Text(old), Content::Text(new)) if new.len() > old.len() => {
            let kept = old.len() + (new.len() - old.len()) * 3 / 4;
            let text = new[..kept].to_vec();
            let meaning = Meaning::Session(Lines::read(&text));
            Some(Version { content: Content::Text(Arc::new(text)), meaning, ..*after })
        }
        (Content::Blocks(old), Content::Blocks(new)) if after.generation > before.generation => {
            let first = new.first()?;
            let mut blocks = old.to_vec();
            let rest = old.first().map_or(&[][..], |block| block.get(first.len() / 2..).unwrap_or_default());
            blocks.resize(blocks.len().max(1), Arc::from([]));
            blocks[0] = Arc::from([&first[..first.len() / 2], rest].concat());
            Some(Version { content: Content::Blocks(Arc::new(blocks)), meaning: Meaning::Torn, ..*after })
        }
        _ => None,
    }
}
