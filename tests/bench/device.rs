//! What reaches the medium, by the block device's own statistics (Documentation/admin-guide/iostats of the kernel): an
//! ext4 on a loop device that only the measured program writes to. A commit of ours beside the two ways that are usual, a
//! worker's turn, and a worker that has nothing to do.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusty_pinch::store::commit_log::CommitLog;
use rusty_pinch::store::directory::Directory;
use rusty_pinch::store::record::Checkpoint;

use crate::report::{Figure, Report};
use crate::stage::{Stage, Worker, fakes};
use crate::support::fake_provider::{Reply, Rule};
use crate::support::fake_telegram::FakeTelegram;
use crate::support::waiting::{CEILING, holds};

const IMAGE_BYTES: u64 = 128 << 20;
const COMMITS: u32 = 200;
/// A record of a turn is about as long.
const RECORD_BYTES: usize = 300;
const TURNS: u32 = 10;
/// Turns do not share a delayed flush.
const APART: Duration = Duration::from_millis(700);
/// The file system itself writes five seconds later.
const SETTLED: Duration = Duration::from_secs(6);
const IDLE: Duration = Duration::from_secs(20);
const IDLE_MEBIBYTES_A_DAY_MAX: f64 = 1.0;

/// Ways to commit, and what does so many of them in a folder.
const COMMIT: [(&str, Work); 3] = [
    ("append a line, fdatasync", append_and_flush),
    ("write beside, fsync, rename, fsync the folder", replace),
    ("a commit of ours", ours),
];

type Work = fn(&Path);

/// A mounted file system on a loop device; unmounted when dropped.
struct Device {
    place: PathBuf,
    statistics: PathBuf,
}

#[derive(Clone, Copy)]
struct Written {
    writes: u64,
    bytes: u64,
    flushes: u64,
}

impl Device {
    fn mount(stage: &Stage) -> Option<Device> {
        let (image, place) = (stage.path("image"), stage.path("volume"));
        File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("our own folder");
        fs::create_dir_all(&place).expect("our own folder");
        let done = |program: &str, arguments: &[&Path]| {
            let output = Command::new(program).args(arguments).output();
            output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
        };
        done("mkfs.ext4", &[Path::new("-q"), &image])?;
        done("mount", &[Path::new("-o"), Path::new("loop"), &image, &place])?;
        let source = done("findmnt", &[Path::new("-no"), Path::new("SOURCE"), &place])?;
        let name = String::from_utf8(source).ok()?.trim().strip_prefix("/dev/")?.to_owned();
        Some(Device { place, statistics: Path::new("/sys/block").join(name).join("stat") })
    }

    /// Since the device was made: writes and sectors of 512 bytes completed, flushes completed.
    fn written(&self) -> Written {
        let text = fs::read_to_string(&self.statistics).expect("a block device has statistics");
        let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        Written { writes: fields[4], bytes: fields[6] * 512, flushes: fields.get(15).copied().unwrap_or(0) }
    }

    /// Everything so far is on the device, the file system's own journal included.
    fn settle(&self) {
        let status = Command::new("sync").arg("-f").arg(&self.place).status();
        assert!(status.is_ok_and(|status| status.success()), "sync");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

fn since(before: Written, after: Written, count: u32) -> [f64; 3] {
    let each = |before: u64, after: u64| (after - before) as f64 / f64::from(count);
    [each(before.bytes, after.bytes) / 1024.0, each(before.writes, after.writes), each(before.flushes, after.flushes)]
}

pub fn measure(report: &mut Report) {
    let mut stage = Stage::in_folder(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let Some(device) = Device::mount(&stage) else {
        report.skip("writes of the device", "this user cannot make and mount a file system");
        return;
    };
    report.command("cat /sys/block/<loop>/stat, before and after; ext4 with its defaults on a loop device");
    for (name, work) in COMMIT {
        let folder = device.place.join(name.replace([' ', ','], "-"));
        fs::create_dir(&folder).expect("a folder");
        if name == "a commit of ours" {
            // The files are made once.
            ours_once(&folder);
        }
        device.settle();
        let before = device.written();
        work(&folder);
        device.settle();
        let [kibibytes, writes, flushes] = since(before, device.written(), COMMITS);
        report.add(Figure::new(&format!("{name}: written"), kibibytes, "KiB"));
        report.add(Figure::new(&format!("{name}: writes"), writes, "writes"));
        report.add(Figure::new(&format!("{name}: flushes"), flushes, "flushes"));
    }
    worker(report, &mut stage, &device);
}

fn record() -> String {
    format!("{{\"t\":\"rx\",\"text\":\"{}\"}}\n", "x".repeat(RECORD_BYTES))
}

fn append_and_flush(folder: &Path) {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join("log")).expect("a file");
    for _ in 0..COMMITS {
        file.write_all(record().as_bytes()).and_then(|()| file.sync_data()).expect("written");
    }
}

fn replace(folder: &Path) {
    let (beside, name) = (folder.join("state.tmp"), folder.join("state"));
    let directory = File::open(folder).expect("a folder");
    for _ in 0..COMMITS {
        let mut file = File::create(&beside).expect("a file");
        file.write_all(record().as_bytes()).and_then(|()| file.sync_all()).expect("written");
        fs::rename(&beside, &name).and_then(|()| directory.sync_all()).expect("renamed");
    }
}

fn open(folder: &Path) -> CommitLog {
    let storage = Box::new(Directory::open(folder).expect("a folder"));
    CommitLog::open(storage, "0123456789abcdef", "bench").expect("a journal").0
}

fn ours_once(folder: &Path) {
    open(folder);
}

fn ours(folder: &Path) {
    let mut log = open(folder);
    for _ in 0..COMMITS {
        if !log.fits(record().len()) {
            log.switch(&Checkpoint::default()).expect("written");
        }
        log.append(&[record()]).and_then(|()| log.sync()).expect("written");
    }
}

fn worker(report: &mut Report, stage: &mut Stage, device: &Device) {
    let (telegram, provider) = fakes();
    stage.ask(&provider);
    stage.listen_to(&telegram.url());
    stage.set("DATA_DIR", &device.place.join("data").to_string_lossy());
    provider.rule(Rule::when("").reply(Reply::Long(2 * 1024 - 16)));
    let mut worker = stage.worker(&[]);
    worker.until("a poll", CEILING, || telegram.pending_polls() > 0);
    // The first turn creates the session and the counters.
    turn(&telegram, &mut worker);
    device.settle();
    let before = device.written();
    (0..TURNS).for_each(|_| turn(&telegram, &mut worker));
    holds("the worker runs", SETTLED, || worker.is_running());
    let [kibibytes, writes, flushes] = since(before, device.written(), TURNS);
    report.note(&format!(
        "a turn with a reply of 2 KiB, of {TURNS} turns one at a time, the file system's own writes included"
    ));
    report.add(Figure::new("a turn: written", kibibytes, "KiB"));
    report.add(Figure::new("a turn: writes", writes, "writes"));
    report.add(Figure::new("a turn: flushes", flushes, "flushes"));
    device.settle();
    let before = device.written();
    holds("the worker runs", IDLE, || worker.is_running());
    device.settle();
    let [kibibytes, ..] = since(before, device.written(), 1);
    let a_day = kibibytes / 1024.0 * (24.0 * 3600.0 / IDLE.as_secs_f64());
    report.add(Figure::new("idle, in a day", a_day, "MiB").at_most(IDLE_MEBIBYTES_A_DAY_MAX));
    let process = worker.books();
    worker.stop(process);
}

fn turn(telegram: &FakeTelegram, worker: &mut Worker) {
    let count = telegram.sent_count();
    telegram.say(42, "what is the weather like today?");
    worker.until("an answer", CEILING, || telegram.sent_count() > count);
    holds("the worker runs", APART, || worker.is_running());
}
