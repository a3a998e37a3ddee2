//! The tools that measure: callgrind, strace, the C compiler, and the kernel's own books in `/proc`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::stage::Stage;
use crate::support::waiting::{now, since};

/// Clock ticks of `/proc/<id>/stat` in a second; Linux reports in this unit on every machine (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What the figures were measured on.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"));
    let model = model.and_then(|line| line.split_once(':')).map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let arch = std::env::consts::ARCH;
    format!("{model}, {cores} cores, {arch}, Linux {}", kernel.trim())
}

/// Where a tool is, if the machine has it.
pub fn find(tool: &str) -> Option<PathBuf> {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?;
    found.status.success().then(|| PathBuf::from(path.trim()))
}

/// strace, where the system lets it trace.
pub fn find_strace() -> Option<PathBuf> {
    let strace = find("strace")?;
    let tried = Command::new(&strace).args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status().ok()?;
    tried.success().then_some(strace)
}

/// Instructions that the product executes for these arguments, in millions.
pub fn millions_of_instructions(valgrind: &Path, stage: &Stage, arguments: &[&str]) -> f64 {
    count(valgrind, stage, &Stage::product_path(), arguments)
}

/// The same for a C program that does nothing; `None` without a compiler.
pub fn millions_of_nothing(valgrind: &Path, stage: &Stage) -> Option<f64> {
    let compiler = find("cc")?;
    let (source, program) = (stage.path("nothing.c"), stage.path("nothing"));
    fs::write(&source, "int main(void) { return 0; }\n").expect("our own folder");
    let built = Command::new(compiler).arg("-O2").arg("-o").arg(&program).arg(&source).status().ok()?;
    built.success().then(|| count(valgrind, stage, &program, &[]))
}

/// The median of three: tables with random seeds make runs differ a little.
fn count(valgrind: &Path, stage: &Stage, program: &Path, arguments: &[&str]) -> f64 {
    median((0..3).map(|_| count_once(valgrind, stage, program, arguments)).collect())
}

/// One run under callgrind, in millions of instructions.
pub fn count_once(valgrind: &Path, stage: &Stage, program: &Path, arguments: &[&str]) -> f64 {
    let profile = stage.path("callgrind.out");
    let _ = fs::remove_file(&profile);
    let mut command = stage.command(valgrind);
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display()));
    command.arg("--").arg(program).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("valgrind starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} under valgrind: {}\n{said}", output.status);
    let text = fs::read_to_string(&profile).expect("callgrind leaves a profile");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a profile has totals");
    total.trim().parse::<f64>().expect("a number") / 1e6
}

/// Milliseconds that one block, written in place, takes to reach the disk of this folder; the median of a hundred.
pub fn flush_milliseconds(folder: &Path) -> f64 {
    const BLOCK: [u8; 4096] = [b' '; 4096];
    let place = tempfile::Builder::new().prefix("figures-").tempdir_in(folder).expect("a temporary folder");
    let file = fs::File::create(place.path().join("block")).expect("our own folder");
    let flush = |_| {
        let started = now();
        file.write_all_at(&BLOCK, 0).and_then(|()| file.sync_data()).expect("a disk that works");
        since(started).as_secs_f64() * 1e3
    };
    median((0..100).map(flush).collect())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A process in the kernel's books.
#[derive(Clone, Copy)]
pub struct Books(pub u32);

impl Books {
    fn read(self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0)).unwrap_or_default()
    }

    /// A line of `status`, as the number at its start.
    pub fn status(self, name: &str) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("/proc/{}/status has no {name}", self.0))
    }

    /// Memory in MB (the kernel counts in KiB).
    pub fn megabytes(self, name: &str) -> f64 {
        self.status(name) * 1024.0 / 1e6
    }

    /// User and system time so far, of all threads, in seconds.
    pub fn processor_seconds(self) -> f64 {
        let stat = self.read("stat");
        // The command's name, in parentheses, may hold anything; fields are counted behind it.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    /// The same to the nanosecond, of the threads that live.
    pub fn exact_processor_seconds(self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let books = threads.map(|thread| fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default());
        books.filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
    }

    /// Child processes of any thread.
    pub fn children(self) -> Vec<Books> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        lists
            .flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok().map(Books)).collect::<Vec<_>>())
            .collect()
    }
}
