//! A bug in any thread ends the process with 70 and one JSON line, not with a page of text. Seen to fail: without the hook
//! the process goes on and exits 0.

use std::process::{Command, Stdio};
use std::sync::Arc;

use rusty_pinch::observe::redact::Redactor;
use rusty_pinch::observe::sink::{Sink, Way};
use rusty_pinch::sys::queue::bounded;
use rusty_pinch::sys::system_clock::SystemClock;
use rusty_pinch::sys::thread::spawn;
use serde_json::Value;

/// Says that this process may end.
const MAY_END: &str = "RP_TEST_PANICS";

/// Does its work only in the process that the test below starts.
#[test]
fn a_thread_panics() {
    #[expect(clippy::disallowed_methods, reason = "how a process of this test knows itself")]
    if std::env::var_os(MAY_END).is_none() {
        return;
    }
    let _sink = Sink::install(Redactor::default(), Arc::new(SystemClock::new()), Way::Queued, "");
    let (exits, reports) = bounded(1);
    let thread = spawn("worker", exits, || panic!("a bug"));
    let _ = thread.map(std::thread::JoinHandle::join);
    let _ = reports.recv();
}

#[test]
fn a_bug_in_a_thread_ends_the_process_with_70_and_a_line() {
    let this = std::env::current_exe().expect("a path");
    let arguments = ["--exact", "panic::a_thread_panics", "--nocapture"];
    let output = Command::new(this).args(arguments).env(MAY_END, "1").stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    let line: Value = serde_json::from_str(lines.trim_end()).unwrap_or_else(|error| panic!("{error}: {lines}"));
    assert!(line["message"].as_str().is_some_and(|message| message.contains("a bug")), "{line}");
}
