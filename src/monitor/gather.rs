//! [`Gatherer`]: looks at the files of the program and at the kernel, and makes [`Facts`] of what it finds. Writes
//! nothing, waits for nobody, and never looks at all processes but to find one that was lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::id::ChannelId;
use crate::base::moment::Moment;
use crate::base::text;
use crate::config::settings::Config;
use crate::monitor::facts::{Application, Asked, Facts, FolderSize, Host, Process, Storage, Worker};
use crate::monitor::process as kernel;
use crate::observe::redact::Redactor;
use crate::observe::status_file;
use crate::observe::telemetry::Snapshot;
use crate::observe::telemetry_file;
use crate::provider::kept::Book;
use crate::provider::spending::Spent;
use crate::provider::spending_file;
use crate::provider::standing_file::{self, Stamp};
use crate::sys::machine::Machine;
use crate::sys::{files, system_clock};

/// Larger than any file of the kernel that is read here; `/proc/stat` is long where there are many interrupts.
const KERNEL_BYTES_MAX: u64 = 1 << 20;

/// A longer command line is cut, in bytes, after secrets of ours were taken out of it.
const COMMAND_BYTES_MAX: usize = 500;

/// Shortest time between two searches for the process.
const SEARCH_EVERY: Duration = Duration::from_secs(5);

/// Files and folders that are counted in one walk; then the size is a lower bound.
const WALK_ENTRIES_MAX: usize = 20_000;

/// How long one walk may take.
const WALK_PATIENCE: Duration = Duration::from_millis(40);

/// A walk that took long is not repeated before so many times as long have passed: 1 in 400 of a processor at most.
const WALK_REST: u32 = 400;

/// Descriptors and threads that are counted.
const LISTED_MAX: usize = 65_536;

/// Remembers what it needs to see growth, and what has not changed.
pub struct Gatherer {
    redactor: Redactor,
    config: Config,
    clock: Arc<dyn Clock>,
    asked: Asked,
    /// Looks between two walks through the folders.
    refresh_ticks: u64,
    ticks: u64,
    next_walk: Mono,
    storage: Storage,
    target: Option<u32>,
    next_search: Mono,
    process_before: Option<(u32, u64, Mono)>,
    host_before: Option<(u64, u64)>,
    counters: Cached<Option<Snapshot>>,
    spent: Cached<Option<Spent>>,
    book: Cached<Book>,
}

/// What a file held when it had this stamp.
#[derive(Default)]
struct Cached<T> {
    stamp: Option<Stamp>,
    value: T,
}

impl<T> Cached<T> {
    fn look(&mut self, path: &Path, read: impl FnOnce() -> T) -> &T {
        let stamp = Some(standing_file::stamp(path));
        if self.stamp != stamp {
            (self.stamp, self.value) = (stamp, read());
        }
        &self.value
    }
}

impl Gatherer {
    /// Looks at nothing yet.
    pub fn new(config: Config, clock: Arc<dyn Clock>, asked: Asked, refresh_ticks: u64) -> Gatherer {
        Gatherer {
            redactor: Redactor::new(&config.secrets),
            config,
            clock,
            asked,
            refresh_ticks,
            ticks: 0,
            next_walk: Mono(0),
            storage: Storage::default(),
            target: None,
            next_search: Mono(0),
            process_before: None,
            host_before: None,
            counters: Cached::default(),
            spent: Cached::default(),
            book: Cached::default(),
        }
    }

    /// What is known now. Figures of growth are since the look before.
    pub fn look(&mut self) -> Facts {
        let found = status_file::read(&self.config.run, &self.config.data);
        let workers: Vec<Worker> = found.into_iter().map(|status| Worker { status }).collect();
        let process = self.process(&workers);
        let host = self.host();
        self.refresh_storage();
        Facts {
            at: self.clock.wall(),
            asked: self.asked.clone(),
            application: self.application(),
            workers,
            process,
            host,
            storage: self.storage.clone(),
        }
    }

    fn application(&mut self) -> Application {
        let (config, now) = (&self.config, Moment::now(&*self.clock));
        let (file, data) = (&config.telemetry_file, &config.data);
        let counters = self.counters.look(file, || telemetry_file::read(file).ok());
        let spent = self.spent.look(&data.join(spending_file::NAME), || spending_file::read(data).ok());
        let standing = standing_file::path(data);
        let book = self.book.look(&standing, || standing_file::read(&standing).unwrap_or_default());
        let resting = book.iter().filter_map(|(name, kept)| {
            let (class, left) = kept.rest(&now)?;
            Some((name.clone(), class.name(), now.date(left)))
        });
        Application {
            provider: config.provider.name.clone(),
            model: config.provider.model.clone(),
            telemetry_file: file.clone(),
            counters: counters.clone().filter(|counters| counters.schema_version > 0),
            tokens: spent.as_ref().map(|spent| spent.tokens(self.clock.wall())),
            tokens_most: config.spending.tokens_per_day,
            resting: resting.collect(),
        }
    }

    fn process(&mut self, workers: &[Worker]) -> Option<Process> {
        let target = self.target(workers);
        if target.is_none() {
            self.process_before = None;
        }
        let pid = target?;
        let folder = process_folder(pid);
        let status = text_of(&folder.join("status"))?;
        let (nanos, now) = (processor_nanos(&folder), self.clock.mono());
        let before = self.process_before.filter(|(before, ..)| *before == pid);
        let cpu_percent = before.zip(nanos).and_then(|((_, before, at), nanos)| {
            kernel::share(before, nanos, at.until(now).as_nanos().try_into().ok()?)
        });
        self.process_before = nanos.map(|nanos| (pid, nanos, now));
        Some(Process {
            pid,
            command: text::truncate_bytes(&self.redactor.clean(&command_of(pid)?), COMMAND_BYTES_MAX).to_owned(),
            cpu_percent,
            resident: kernel::status_field(&status, "VmRSS"),
            virtual_size: kernel::status_field(&status, "VmSize"),
            threads: kernel::status_field(&status, "Threads"),
            descriptors: fs::read_dir(folder.join("fd")).ok().map(|entries| entries.take(LISTED_MAX).count()),
            io: text_of(&folder.join("io")).and_then(|text| kernel::io(&text)),
        })
    }

    /// The process that was asked for; else one that says it is a worker; else what a search finds.
    fn target(&mut self, workers: &[Worker]) -> Option<u32> {
        if self.asked.pid.is_some() {
            return self.asked.pid;
        }
        let (wall, now) = (self.clock.wall(), self.clock.mono());
        let fits = |pid: u32| command_of(pid).is_some_and(|command| command.contains(&self.asked.process_match));
        let of_worker = workers.iter().filter(|worker| !worker.is_stale(wall)).map(|worker| worker.status.pid);
        let found = of_worker.chain(self.target).find(|pid| fits(*pid));
        if found.is_none() && now >= self.next_search {
            self.next_search = now.after(SEARCH_EVERY);
            self.target = search(&self.asked.process_match);
            return self.target;
        }
        self.target = found;
        found
    }

    fn host(&mut self) -> Host {
        let times = text_of(Path::new("/proc/stat")).and_then(|text| kernel::host_times(&text));
        let cpu_percent = times.zip(self.host_before).and_then(|((used, all, _), (used_before, all_before))| {
            kernel::share(used_before, used, all.saturating_sub(all_before))
        });
        self.host_before = times.map(|(used, all, _)| (used, all));
        let figure = |path: &str| text_of(Path::new(path))?.trim().parse::<u64>().ok();
        let load = text_of(Path::new("/proc/loadavg"));
        Host {
            load: load.map(|text| text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")),
            cores: times.map(|(_, _, cores)| cores),
            cpu_percent,
            machine: Machine::look(Path::new("/")),
            limit: figure("/sys/fs/cgroup/memory.current").zip(figure("/sys/fs/cgroup/memory.max")),
            synchronised: system_clock::synchronised(),
            uptime_secs: self.clock.since_boot().map(|(_, millis)| millis / 1000),
        }
    }

    fn refresh_storage(&mut self) {
        let (config, start) = (&self.config, self.clock.mono());
        let is_due = self.ticks.is_multiple_of(self.refresh_ticks) && start >= self.next_walk;
        self.ticks += 1;
        if !is_due {
            return;
        }
        let walk = |folder: &Path| folder_size(folder, start.after(WALK_PATIENCE * 2), &*self.clock);
        let disk = rustix::fs::statvfs(&config.data).ok().map(|known| {
            (known.f_blocks.saturating_mul(known.f_frsize), known.f_bavail.saturating_mul(known.f_frsize))
        });
        self.storage = Storage {
            data: config.data.clone(),
            workspace: config.workspace.clone(),
            data_size: walk(&config.data),
            workspace_size: walk(&config.workspace),
            disk,
            journal: journal_bytes(&config.data.join("journal")),
        };
        let now = self.clock.mono();
        self.next_walk = now.after(start.until(now) * WALK_REST);
    }
}

fn process_folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    files::read_bounded(path, KERNEL_BYTES_MAX).ok().map(|(bytes, _)| bytes)
}

fn text_of(path: &Path) -> Option<String> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn command_of(pid: u32) -> Option<String> {
    bytes(&process_folder(pid).join("cmdline")).map(|bytes| kernel::command(&bytes))
}

/// Of all threads by the scheduler's own account, to the nanosecond, if the kernel keeps one; else to a hundredth of a
/// second. A thread that ends takes its account with it.
fn processor_nanos(folder: &Path) -> Option<u64> {
    let threads = fs::read_dir(folder.join("task")).into_iter().flatten().flatten().take(LISTED_MAX);
    let of_thread = threads.map(|thread| kernel::schedstat_nanos(&text_of(&thread.path().join("schedstat"))?));
    let all = of_thread.flatten().fold(None, |sum: Option<u64>, nanos| Some(sum.unwrap_or(0).saturating_add(nanos)));
    all.filter(|nanos| *nanos > 0).or_else(|| kernel::stat_nanos(&text_of(&folder.join("stat"))?))
}

/// The lowest number, ours excepted.
fn search(wanted: &str) -> Option<u32> {
    let names = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let own = std::process::id();
    let fits = |pid: &u32| *pid != own && command_of(*pid).is_some_and(|command| command.contains(wanted));
    numbers.into_iter().find(fits)
}

/// Links are not followed. `None`: there is no such folder, or none that we may look into.
fn folder_size(folder: &Path, end: Mono, clock: &dyn Clock) -> Option<FolderSize> {
    let mut size = FolderSize::default();
    let mut left = WALK_ENTRIES_MAX;
    let mut open = vec![fs::read_dir(folder).ok()?];
    while let Some(entries) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        if left == 0 || left.is_multiple_of(64) && clock.mono() >= end {
            size.is_partial = true;
            break;
        }
        left -= 1;
        match entry.and_then(|entry| Ok((entry.metadata()?, entry.path()))) {
            Ok((known, path)) if known.is_dir() => match fs::read_dir(path) {
                Ok(entries) => open.push(entries),
                Err(_) => size.is_partial = true,
            },
            Ok((known, _)) => size.bytes = size.bytes.saturating_add(known.len()),
            // It may have gone meanwhile.
            Err(_) => {}
        }
    }
    Some(size)
}

fn journal_bytes(folder: &Path) -> Option<u64> {
    let files = ChannelId::WITH_WORKER
        .into_iter()
        .flat_map(|channel| ["a.jnl", "b.jnl"].map(|name| folder.join(channel.name()).join(name)));
    let sizes = files.filter_map(|file| fs::metadata(file).ok().map(|known| known.len()));
    sizes.reduce(u64::saturating_add)
}
