//! Faults at system calls, by `strace`: the worker is killed at its k-th call, or the call fails.
//!
//! strace counts calls per thread. The journal has one writer, so its calls are counted exactly; of the network's calls
//! each thread has its own first, second, third one, and a fault strikes in each thread that comes so far. strace runs
//! as a grandchild (`-D`), so that signals and the exit status are the worker's own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// One kind of fault at one kind of call.
#[derive(Clone, Debug)]
pub struct Injection {
    /// As strace names it.
    pub call: &'static str,
    /// `error=EIO`, `signal=SIGKILL`, `retval=0`.
    pub effect: &'static str,
    /// `7` for the seventh call, `7+` for it and all that follow.
    pub when: String,
    /// Calls that concern these files; empty: all calls.
    pub files: Vec<PathBuf>,
}

/// Where strace writes, outside of what the product can see.
pub struct Tracer {
    folder: TempDir,
    count: usize,
}

impl Tracer {
    /// None where strace is missing or must not trace; with the reason.
    pub fn new() -> Result<Tracer, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-qq", "-o"]).arg(folder.path().join("try")).arg("true");
        match strace.stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(Tracer { folder, count: 0 }),
            Ok(status) => Err(format!("strace may not trace here ({status})")),
            Err(error) => Err(format!("strace cannot be started ({error})")),
        }
    }

    /// The words that start a traced process, and the trace of it.
    pub fn prefix(&mut self, injection: &Injection) -> (Vec<OsString>, Trace) {
        self.count += 1;
        let path = self.folder.path().join(format!("trace-{}", self.count));
        let mut words: Vec<OsString> = ["strace", "-D", "-f", "-y", "-qq", "-o"].map(OsString::from).into();
        words.push(path.clone().into());
        for file in &injection.files {
            words.extend(["-P".into(), file.into()]);
        }
        let Injection { call, effect, when, .. } = injection;
        words.extend(["-e".into(), format!("trace={call}").into()]);
        words.extend(["-e".into(), format!("inject={call}:{effect}:when={when}").into()]);
        (words, Trace(path))
    }
}

pub struct Trace(PathBuf);

impl Trace {
    fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.0).unwrap_or_default()).into_owned()
    }

    /// The calls that were made to fail, as strace shows them.
    pub fn struck(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.contains("(INJECTED)")).map(str::to_string).collect()
    }

    /// How often this call was made on the same file after the first one that was made to fail.
    pub fn calls_on_the_file_of_the_first_struck(&self, call: &str) -> usize {
        let text = self.text();
        let mut after = text.lines().skip_while(|line| !line.contains("(INJECTED)"));
        let file = after.next().and_then(|line| line.split_once('<')).and_then(|(_, rest)| rest.split_once('>'));
        let Some((file, _)) = file else { return 0 };
        after.filter(|line| line.contains(&format!("{call}(")) && line.contains(&format!("<{file}>"))).count()
    }

    /// A trace nobody needs any more.
    pub fn forget(self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
