//! The shape of the source, read as text: folder imports, pure cores, openings, sizes, names, bans, dependencies.
//!
//! A rule is a function from one file to its complaints. Each test first shows its rule a small file that breaks it, so
//! the rule is seen to fail on every run, and then every file of the project.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::deployment::supply;
use source::{ROOT, Source, all, functions, has_word, paths, product, word_starts};

mod source;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 90;
/// A longer one says why, in a comment with `long:` above it.
const FUNCTION_LINES_PLAIN: usize = 70;
const PACKAGES_MAX: usize = 80;

/// docs/architecture.md has the same table: a folder, and the folders it may import.
const LAYERS: [(&str, &str); 15] = [
    ("base", ""),
    ("sys", "base"),
    ("config", "base"),
    ("observe", "base sys config"),
    ("net", "base sys"),
    ("store", "base sys observe"),
    ("provider", "base sys config observe net"),
    ("tool", "base"),
    ("channel", "base sys config observe net"),
    ("turn", "base sys config observe store provider tool"),
    ("runtime", "base sys config observe net store provider tool channel turn"),
    ("doctor", "base sys config observe net store provider channel"),
    ("monitor", "base sys config observe provider"),
    ("validate", "base sys observe net channel"),
    ("cli", "base sys config observe net store provider tool channel turn runtime doctor monitor validate"),
];

/// The only files that may name the world. A change that adds one says why.
const SHELLS: [&str; 60] = [
    "main.rs",
    "sys/stop.rs",
    "sys/thread.rs",
    "sys/queue.rs", // the one way to put into a queue that must not be full
    "sys/signal.rs",
    "sys/system_clock.rs",
    "sys/entropy.rs",
    "sys/panic.rs",
    "sys/terminal.rs",
    "sys/child.rs",
    "sys/carriers.rs",
    "sys/children.rs",
    "sys/companion.rs",
    "sys/files.rs",
    "sys/machine.rs", // looks at the host
    "sys/users.rs",
    "sys/notify.rs",
    "observe/board.rs", // what all threads tell, behind one lock
    "observe/status_file.rs",
    "sys/usage.rs",
    "observe/sink.rs",
    "observe/telemetry_file.rs",
    "observe/metrics_log.rs", // what all threads count into, behind one lock
    "observe/metrics_file.rs",
    "net/http_client.rs",
    "net/http_wire.rs",
    "net/roots.rs", // read once
    "net/socket_options.rs",
    "net/websocket.rs",
    "net/websocket_server.rs",
    "store/directory.rs",
    "store/writer.rs",
    "provider/codex.rs",
    "provider/codex_home.rs",
    "provider/accounts_file.rs",
    "provider/pool.rs",
    "provider/standing.rs", // what all turns share, behind one lock
    "provider/standing_file.rs",
    "provider/spending_file.rs",
    "channel/pairing_file.rs",
    "channel/telegram_worker.rs",
    "channel/telegram_sender.rs",
    "channel/whatsapp_worker.rs",
    "channel/whatsapp_handover.rs", // between two queue ends
    "channel/ends.rs",              // the queue ends that a channel holds, and nothing else
    "turn/dispatcher.rs",
    "turn/under_way.rs", // one lock between the dispatcher and the workers, never held across a wait
    "turn/worker.rs",
    "runtime/topology.rs",
    "runtime/supervise.rs",
    "runtime/health.rs",
    "runtime/endpoint.rs",
    "monitor/gather.rs",
    "doctor/gather.rs",
    "doctor/probe.rs", // asks servers, each on a thread
    "validate/place.rs",
    "validate/program.rs",
    "validate/run.rs",
    "validate/simulated.rs",
    "validate/untrusted.rs",
];
/// In `cli` it is the other way round.
const CLI_CORES: [&str; 4] = ["cli/document.rs", "cli/editor.rs", "cli/flags.rs", "cli/help.rs"];
/// Cores that may share a flag, a number or a secret between threads; every core may hold an `Arc`.
const SHARING_CORES: [&str; 4] = ["base/cancel.rs", "base/clock.rs", "config/live_secret.rs", "sys/heartbeat.rs"];
const WORLD_MODULES: [&str; 6] = ["net", "fs", "process", "env", "thread", "os"];
const WORLD_WORDS: [&str; 6] = ["Instant", "SystemTime", "crossbeam_channel", "rustix", "signal_hook", "getrandom"];
const PRINTING: [&str; 4] = ["println!", "eprintln!", "print!", "eprint!"];
const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

const UNSAFE_FILES: [&str; 1] = ["sys/child.rs"];
const HTTP_CRATE_FILES: [&str; 2] = ["net/http_client.rs", "net/http_wire.rs"];
const WEBSOCKET_CRATE_FILES: [&str; 2] = ["net/websocket.rs", "net/websocket_server.rs"];
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];
type Rule = fn(&Source) -> Vec<String>;

#[test]
fn folders_import_only_those_above_them() {
    let rule: Rule = layers;
    caught(rule, "store/frame.rs", "use crate::provider::Prompt;");
    caught(rule, "store/frame.rs", "use crate::{base::id, turn::{self, machine}};");
    caught(rule, "base/id.rs", "fn f() { crate::sys::stop::now() }");
    caught(rule, "turn/mod.rs", "use super::channel::Ends;");
    caught(rule, "turn/machine.rs", "use super::super::channel::Ends;");
    caught(rule, "elsewhere/file.rs", "");
    caught(rule, "main.rs", "use rusty_pinch::runtime::start;");
    allowed(rule, "main.rs", "fn main() { rusty_pinch::cli::run() }");
    allowed(rule, "store/frame.rs", "use crate::base::{clock, id}; use crate::store::record; use super::journal;");
    allowed(
        rule,
        "base/id.rs",
        "// crate::cli\n/* crate::cli */ const A: &str = \"crate::cli\"; const B: &str = r#\"crate::cli\"#;",
    );
    allowed(rule, "base/id.rs", "#[cfg(test)]\nmod tests { use crate::cli::flags; }");
    tidy(rule, &product());
}

#[test]
fn only_shells_name_the_world() {
    let rule: Rule = purity;
    caught(rule, "turn/machine.rs", "use std::fs;");
    caught(rule, "turn/machine.rs", "use std::{fmt, io::{self, Read}, net::TcpStream};");
    caught(rule, "turn/machine.rs", "fn f() -> bool { ::std::env::args().next().is_some() }");
    caught(rule, "turn/machine.rs", "use std::time::{Duration, Instant};");
    caught(rule, "turn/machine.rs", "use crossbeam_channel::Sender;");
    caught(rule, "turn/machine.rs", "use crate::sys::queue::Sender;");
    caught(rule, "turn/machine.rs", "use std::sync::{Arc, Mutex};");
    caught(rule, "turn/machine.rs", "use std::io::{Write, stdout};");
    caught(rule, "turn/machine.rs", "fn f() { io::stderr().flush() }");
    caught(rule, "turn/machine.rs", "fn f() { eprintln!() }");
    caught(rule, "cli/flags.rs", "fn f() { println!() }");
    caught(rule, "base/cancel.rs", "use std::thread::Thread;");
    allowed(rule, "base/cancel.rs", "use std::sync::Mutex;");
    allowed(
        rule,
        "turn/machine.rs",
        "use std::{io, sync::Arc, time::Duration};\n#[cfg(test)]\nmod tests { use std::fs; }",
    );
    allowed(rule, "cli/doctor.rs", "use std::fs; fn f() { println!() }");
    allowed(rule, "sys/files.rs", "use std::fs;");
    tidy(rule, &product());
}

#[test]
fn every_file_opens_with_its_purpose() {
    caught(opening, "base/id.rs", "use std::fmt;\n//! Late.");
    caught(opening, "base/id.rs", "//!\n\nuse std::fmt;");
    allowed(opening, "base/id.rs", "//! Names.");
    tidy(opening, &all());
}

#[test]
fn files_and_functions_are_small() {
    let body = |lines: usize| format!("fn f() {{\n{}}}\n", "    g(\"{\", '}');\n".repeat(lines - 2));
    caught(file_length, "base/id.rs", &"//\n".repeat(401));
    allowed(file_length, "base/id.rs", &"//\n".repeat(400));
    let tests = "#[cfg(test)]\nmod tests {\n".to_string() + &"// {\n".repeat(300) + "}\n";
    allowed(file_length, "base/id.rs", &("//\n".repeat(400) + &tests));
    caught(file_length, "base/id.rs", &("//\n".repeat(401) + &tests));
    caught(function_length, "base/id.rs", &body(91));
    caught(function_length, "base/id.rs", &format!("/// long: one match.\n{}", body(91)));
    caught(function_length, "base/id.rs", &format!("/// One match.\n{}", body(71)));
    allowed(function_length, "base/id.rs", &format!("/// long: one match.\n#[must_use]\npub {}", body(90)));
    caught(function_length, "base/id.rs", &body(71).replace("f()", "f(text: [u8; 2])"));
    allowed(function_length, "base/id.rs", &body(70).repeat(3));
    tidy(file_length, &product());
    tidy(function_length, &product());
}

#[test]
fn nothing_banned_is_written() {
    caught(tabs, "base/id.rs", "fn f() {\n\tg()\n}");
    caught(unsafe_code, "base/id.rs", "fn f() { unsafe { g() } }");
    caught(unsafe_code, "base/id.rs", "#[cfg(test)]\nmod tests { unsafe fn f() {} }");
    allowed(unsafe_code, "sys/child.rs", "fn f() { unsafe { g() } }");
    allowed(unsafe_code, "base/id.rs", "#![forbid(unsafe_code)] // unsafe");
    caught(skipped_tests, "base/id.rs", "#[cfg(test)] mod tests { #[test] #[ignore] fn f() {} }");
    caught(skipped_tests, "base/id.rs", "#[test]\n#[should_panic(expected = \"x\")] fn f() {}");
    caught(skipped_tests, "base/id.rs", "#[cfg_attr(target_os = \"linux\", ignore)] fn f() {}");
    allowed(skipped_tests, "base/id.rs", "// #[ignore]\nfn ignore() {}");
    caught(globs, "base/id.rs", "use std::fmt::*;");
    caught(globs, "base/id.rs", "pub use std::{fmt, io::{self, *}};");
    allowed(
        globs,
        "base/id.rs",
        "use std::fmt; fn f(a: u8) -> u8 { a * a }\n#[cfg(test)]\nmod tests { use super::*; }",
    );
    caught(http_crate, "provider/openai.rs", "fn f(error: ureq::Error) {}");
    allowed(http_crate, HTTP_CRATE_FILES[0], "use ureq::Agent;");
    tidy(tabs, &all());
    tidy(unsafe_code, &all());
    tidy(skipped_tests, &all());
    tidy(globs, &product());
    caught(websocket_crate, "channel/whatsapp_line.rs", "use tungstenite::Message;");
    allowed(websocket_crate, WEBSOCKET_CRATE_FILES[0], "use tungstenite::Message;");
    tidy(http_crate, &product());
    tidy(websocket_crate, &product());
}

/// Each text hides the word from the rule, then ends what hid it.
#[test]
fn comments_and_literals_are_not_code() {
    let hiding = [
        "// unsafe\n",
        "/* /* */ unsafe */",
        "const A: &str = \"\\\" unsafe\";",
        "const A: &[u8] = br#\"\" unsafe\"#;",
        "const A: [char; 2] = ['\"', '\\''];  // unsafe\n",
        "fn f<'a>(text: &'a str) -> &'a str { text } // \" unsafe\n",
        "const A: u8 = b'\"'; /* unsafe */",
    ];
    for text in hiding {
        allowed(unsafe_code, "base/id.rs", text);
        caught(unsafe_code, "base/id.rs", &format!("{text} unsafe"));
    }
}

#[test]
fn names_say_something() {
    caught(empty_names, "base/util.rs", "");
    caught(empty_names, "store/session_manager.rs", "");
    caught(empty_names, "base/helpers/mod.rs", "");
    allowed(empty_names, "tests/it/support/world.rs", "");
    tidy(empty_names, &all());
}

#[test]
fn no_async_runtime_and_no_second_tls() {
    let found = forbidden_packages("[[package]]\nname = \"tokio\"\n\n[[package]]\nname = \"hyperlocal\"\n");
    assert_eq!(found, ["tokio"]);
    let lock = fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).expect("Cargo.lock is committed");
    assert_eq!(forbidden_packages(&lock), Vec::<&str>::new());
}

#[test]
fn few_packages_are_built() {
    assert_eq!(
        package_count("rusty-pinch v0.1.0 (/x)\nlog v0.4.1\nlog v0.4.1 (*)\nsyn v1.0.0 (proc-macro)\nsyn v2.0.0\n"),
        4
    );
    let tree = ["tree", "--edges", "normal,build", "--prefix", "none", "--locked", "--offline"];
    let output = Command::new(env!("CARGO")).args(tree).current_dir(ROOT).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count = package_count(&String::from_utf8_lossy(&output.stdout));
    assert!((2..=PACKAGES_MAX).contains(&count), "{count} packages are built, at most {PACKAGES_MAX} may be");
}

/// Every command of ours that builds says `--locked`, so that what is built is what was looked at.
#[test]
fn no_build_reads_more_than_is_committed() {
    let texts =
        ["Makefile", ".ci/run"].map(|path| fs::read_to_string(Path::new(ROOT).join(path)).expect("it is there"));
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    let builds = |line: &&&str| {
        let line = line.trim();
        let is_build =
            ["build", "test", "run", "bench", "clippy"].iter().any(|word| line.contains(&format!("$(CARGO) {word}")));
        is_build && !line.starts_with('#')
    };
    let open: Vec<_> = lines.iter().filter(builds).filter(|line| !line.contains("--locked")).collect();
    assert!(lines.iter().filter(builds).count() > 5 && open.is_empty(), "{open:?}");
    assert!(Path::new(ROOT).join("Cargo.lock").is_file());
}

fn layers(source: &Source) -> Vec<String> {
    let folder = source.path.split_once('/').map_or(source.path.as_str(), |(folder, _)| folder);
    let imports = match LAYERS.iter().find(|(name, _)| *name == folder) {
        Some((_, imports)) => *imports,
        None if folder == "main.rs" => "cli",
        None if folder == "lib.rs" => return Vec::new(),
        None => return vec![format!("folder {folder} is not in the table")],
    };
    let paths = ["crate", "rusty_pinch"].into_iter().flat_map(|root| paths(&source.product, root));
    let mut complaints = Vec::new();
    for path in paths {
        let target = path.split("::").nth(1).unwrap_or_default();
        if target != folder && !imports.split(' ').any(|name| name == target) {
            complaints.push(format!("imports {path}"));
        }
    }
    let parents = "super::".repeat(source.depth());
    if source.product.contains(&parents) {
        complaints.push(format!("{parents} leaves the folder: write crate::"));
    }
    complaints
}

fn purity(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    if SHELLS.contains(&path) || path.starts_with("cli/") && !CLI_CORES.contains(&path) {
        return Vec::new();
    }
    let words = WORLD_WORDS.iter().filter(|word| has_word(&source.product, word)).map(|word| word.to_string());
    let prints = PRINTING.iter().filter(|print| has_word(&source.product, print)).map(|print| print.to_string());
    let shares = SHARING_CORES.contains(&path);
    let paths = ["std", "io", "crate"].into_iter().flat_map(|root| paths(&source.product, root));
    let worldly = paths.filter(|path| match path.split("::").collect::<Vec<_>>()[..] {
        ["std", "io", name, ..] | ["io", name, ..] => STREAMS.contains(&name),
        ["std", "sync"] => !shares,
        ["std", "sync", name, ..] => name != "Arc" && !shares,
        ["std", module, ..] => WORLD_MODULES.contains(&module),
        ["crate", "sys", "queue", ..] => true,
        _ => false,
    });
    words.chain(prints).chain(worldly).map(|name| format!("a core names {name}")).collect()
}

fn opening(source: &Source) -> Vec<String> {
    let purpose = source.raw.lines().next().and_then(|line| line.strip_prefix("//! "));
    complain_if(purpose.is_none_or(|purpose| purpose.trim().is_empty()), "does not open with //! and its purpose")
}

fn file_length(source: &Source) -> Vec<String> {
    let lines = source.raw.lines().count() - source.test_lines;
    complain_if(lines > FILE_LINES_MAX, &format!("has {lines} lines without tests, at most {FILE_LINES_MAX} are good"))
}

fn function_length(source: &Source) -> Vec<String> {
    let raw: Vec<&str> = source.raw.lines().collect();
    let mut complaints = Vec::new();
    for (line, length) in functions(&source.product) {
        let above =
            raw[..line].iter().rev().take_while(|text| text.trim().starts_with("//") || text.trim().starts_with('#'));
        let explained = above.into_iter().any(|text| text.contains("long:"));
        if length > if explained { FUNCTION_LINES_MAX } else { FUNCTION_LINES_PLAIN } {
            complaints.push(format!("line {}: a function of {length} lines", line + 1));
        }
    }
    complaints
}

fn tabs(source: &Source) -> Vec<String> {
    complain_if(source.raw.contains('\t'), "has a tab")
}

fn unsafe_code(source: &Source) -> Vec<String> {
    complain_if(has_word(&source.code, "unsafe") && !UNSAFE_FILES.contains(&source.path.as_str()), "has unsafe code")
}

fn skipped_tests(source: &Source) -> Vec<String> {
    let attributes = source.code.split("#[").skip(1).filter_map(|rest| rest.split(']').next());
    let skips = |attribute: &str| has_word(attribute, "ignore") || has_word(attribute, "should_panic");
    attributes.filter(|attribute| skips(attribute)).map(|attribute| format!("has #[{attribute}]")).collect()
}

fn globs(source: &Source) -> Vec<String> {
    let imports = word_starts(&source.product, "use").filter_map(|at| source.product[at..].split(';').next());
    imports.filter(|import| import.starts_with("use ") && import.contains('*')).map(String::from).collect()
}

fn http_crate(source: &Source) -> Vec<String> {
    complain_if(
        has_word(&source.code, "ureq") && !HTTP_CRATE_FILES.contains(&source.path.as_str()),
        "names the HTTP crate",
    )
}

fn websocket_crate(source: &Source) -> Vec<String> {
    complain_if(
        has_word(&source.code, "tungstenite") && !WEBSOCKET_CRATE_FILES.contains(&source.path.as_str()),
        "names the websocket crate",
    )
}

fn empty_names(source: &Source) -> Vec<String> {
    let words = source.path.trim_end_matches(".rs").split(['/', '_']);
    words.filter(|word| EMPTY_NAMES.contains(word)).map(|word| format!("{word} says nothing")).collect()
}

fn forbidden_packages(lock: &str) -> Vec<&str> {
    let banned = supply::banned();
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    names.filter(|name| banned.iter().any(|other| other == name)).collect()
}

/// Of the lines of `cargo tree --prefix none`: one for each package, some more than once.
fn package_count(tree: &str) -> usize {
    let versions =
        tree.lines().filter_map(|line| line.split_once(' ').map(|(name, rest)| (name, rest.split(' ').next())));
    versions.collect::<BTreeSet<_>>().len()
}

fn complain_if(wrong: bool, complaint: &str) -> Vec<String> {
    wrong.then(|| complaint.to_string()).into_iter().collect()
}

#[track_caller]
fn caught(rule: Rule, path: &str, raw: &str) {
    assert!(!rule(&Source::new(path, raw)).is_empty(), "not caught in {path}: {raw}");
}

#[track_caller]
fn allowed(rule: Rule, path: &str, raw: &str) {
    assert_eq!(rule(&Source::new(path, raw)), Vec::<String>::new(), "in {path}: {raw}");
}

#[track_caller]
fn tidy(rule: Rule, sources: &[Source]) {
    assert!(!sources.is_empty(), "no file was read");
    let complaints =
        sources.iter().flat_map(|source| rule(source).into_iter().map(|text| format!("{}: {text}", source.path)));
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
