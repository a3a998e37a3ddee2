//! Negative controls: one rule of the product is broken at a time, in a build of its own, and a test must fail.
//!
//! The places are `cfg!(rp_break = "…")` in `src`, one or two for each rule; `Cargo.toml` has the list. Only the wrapper
//! that this file gives to rustc sets one, in a target folder of its own, so no other build knows them. The builds take
//! minutes: they run with `RP_TEST_CASES` of 1000 and more (`make controls`). First nothing is broken, and all of these
//! tests must pass.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::cases::{cases, say};
use crate::support::report::{Report, folder};
use crate::support::repository::{files, read, root, test_names};

struct Control {
    rule: &'static str,
    /// What the product does instead.
    broken: &'static str,
    /// The binary with the test (`it`, or `lib` for tests beside the code), and its name.
    caught_by: (&'static str, &'static str),
}

const fn control(rule: &'static str, broken: &'static str, binary: &'static str, test: &'static str) -> Control {
    Control { rule, broken, caught_by: (binary, test) }
}

const TORN_SESSION: &str = "model::a_session_that_a_power_cut_tears_is_completed_once";

/// In the order of docs/testing.md.
const CONTROLS: [Control; 11] = [
    control("no_f1", "the receipt of a message is given before the flush", "it", TORN_SESSION),
    control("no_f2", "a reply is sent before the flush", "it", TORN_SESSION),
    control(
        "offset_by_max",
        "the offset never goes back",
        "it",
        "model::numbers_that_start_over_break_no_promise_at_any_crash",
    ),
    control("no_boot_rule", "a power cut is not told from a kill", "it", TORN_SESSION),
    control(
        "unbounded_queue",
        "the queues that make somebody wait have no bounds",
        "it",
        "topology::bounds::a_disk_that_stands_still_makes_everybody_wait_at_the_bounds",
    ),
    control("snd_in_memory", "that a send begins is not written", "it", TORN_SESSION),
    control(
        "reseal_two_blocks",
        "a frame of two blocks is written again in place",
        "it",
        "storage::appends::what_was_written_survives_a_kill_within_any_later_write",
    ),
    control(
        "one_outbox",
        "all senders take from one outbox",
        "it",
        "topology::everything_is_answered_once_and_in_order_whatever_happens",
    ),
    control(
        "retry_on_timeout",
        "a send whose outcome is unknown is repeated without a mark",
        "it",
        "telegram::sending::an_ambiguous_send_is_repeated_once_with_a_mark",
    ),
    control(
        "no_jitter",
        "every delay is as long as it may be",
        "lib",
        "net::backoff::tests::delays_are_spread_evenly_below_a_ceiling_that_doubles",
    ),
    control(
        "argv_key",
        "the key of Codex is among its arguments",
        "it",
        "contract::providers_are_called_as_the_contract_says",
    ),
];

/// So many cases make the builds.
const LONG_CASES: usize = 1000;

/// Calls the compiler with one more word. Not a script: shells drop variables like `CARGO_BIN_EXE_rusty-pinch`.
const WRAPPER: &str = r#"
use std::os::unix::process::CommandExt;
fn main() {
    let mut words = std::env::args_os().skip(1);
    let mut compiler = std::process::Command::new(words.next().expect("the compiler"));
    compiler.args(words).args(option_env!("BROKEN").map(|rule| format!("--cfg=rp_break=\"{rule}\"")));
    panic!("{}", compiler.exec());
}"#;

/// One build with its tests.
struct Build {
    wrapper: PathBuf,
}

impl Build {
    /// With this rule broken, or none.
    fn of(rule: Option<&str>) -> Build {
        let place = folder().parent().expect("it is in the target folder").join("controls");
        std::fs::create_dir_all(&place).expect("the target folder is ours");
        let (source, wrapper) = (place.join("wrapper.rs"), place.join(format!("rustc-{}", rule.unwrap_or("whole"))));
        std::fs::write(&source, WRAPPER).expect("written");
        let mut compile = Command::new("rustc");
        compile.args(["--edition=2024", "-o"]).arg(&wrapper).arg(&source).envs(rule.map(|rule| ("BROKEN", rule)));
        let output = compile.output().expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Build { wrapper }
    }

    /// Cargo wraps the compiler for this package only, so dependencies are built once for all rules.
    fn cargo(&self, binary: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO"));
        let binary = if binary == "lib" { "--lib" } else { "--test=it" };
        command.current_dir(root()).args(["test", "--locked", "--quiet", binary]);
        command.env("CARGO_TARGET_DIR", self.wrapper.parent().expect("it is in a folder"));
        command.env("RUSTC_WORKSPACE_WRAPPER", &self.wrapper);
        // Nobody will debug these builds, or change a line and build again.
        command.env("CARGO_PROFILE_DEV_DEBUG", "false").env("CARGO_INCREMENTAL", "0");
        for name in ["RP_TEST_CASES", "RP_TEST_SEED", "RP_TEST_PRODUCT", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        command.args(more).output().expect("cargo runs")
    }

    /// Whether the test failed, or why that is not known.
    fn fails(&self, (binary, test): (&str, &str)) -> Result<bool, String> {
        let built = self.cargo(binary, &["--no-run"]);
        if !built.status.success() {
            return Err(format!("the build failed: {}", String::from_utf8_lossy(&built.stderr)));
        }
        let ran = self.cargo(binary, &["--", "--exact", test]);
        let text = String::from_utf8_lossy(&ran.stdout);
        match (text.contains("1 passed; 0 failed"), text.contains("0 passed; 1 failed")) {
            (true, false) => Ok(false),
            (false, true) => Ok(true),
            _ => Err(format!("not one test ran: {text}")),
        }
    }
}

#[test]
fn every_broken_rule_of_the_product_makes_a_test_fail() {
    if cases(1, LONG_CASES) < LONG_CASES {
        return say("skip: controls: eleven builds, with RP_TEST_CASES=1000 (make controls)");
    }
    let mut report = Report::start("controls", 0);
    for control in &CONTROLS {
        let (whole, broken) =
            (Build::of(None).fails(control.caught_by), Build::of(Some(control.rule)).fails(control.caught_by));
        report.count += 1;
        let verdict = match (&whole, &broken) {
            (Ok(false), Ok(true)) => "caught",
            _ => "NOT CAUGHT",
        };
        report.note(verdict);
        say(&format!("{:18} {verdict:10} {} ({})", control.rule, control.caught_by.1, control.broken));
        if verdict != "caught" {
            report.add_problems(std::iter::once(format!("{}: whole: {whole:?}, broken: {broken:?}", control.rule)));
        }
    }
    report.finish();
}

/// Each rule has its place in the product, its line in the list and in the documents, and a test that exists; and nothing
/// but this file can break one.
#[test]
fn controls_are_listed_and_no_build_breaks_a_rule() {
    let manifest = read(&root().join("Cargo.toml"));
    let document = read(&root().join("docs/testing.md"));
    let product: String = files(&root().join("src"), "rs").iter().map(|path| read(path)).collect();
    for control in &CONTROLS {
        let quoted = format!("\"{}\"", control.rule);
        assert!(manifest.contains(&quoted), "{} is not in Cargo.toml", control.rule);
        assert!(product.contains(&format!("cfg!(rp_break = {quoted})")), "{} has no place in src", control.rule);
        let name = control.caught_by.1.rsplit("::").next().expect("a name");
        assert!(test_names().contains(name), "there is no test {name}");
        let row = document.lines().find(|line| line.starts_with(&format!("| `{}`", control.rule)));
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/testing.md", control.rule));
        assert!(row.contains(control.broken) && row.contains(&format!("`{name}`")), "{row}");
    }
    assert_eq!(product.matches("rp_break").count(), places_of_known_rules(&product), "a place of an unknown rule");
    assert_eq!(manifest.matches("rp_break").count(), 1, "Cargo.toml sets one");
    for file in ["Makefile", "packaging/build.rs", ".cargo/config.toml", "rustfmt.toml", "clippy.toml"] {
        let path = root().join(file);
        assert!(!Path::new(&path).exists() || !read(&path).contains("rp_break"), "{file} names rp_break");
    }
}

fn places_of_known_rules(product: &str) -> usize {
    let places = CONTROLS.iter().map(|control| format!("cfg!(rp_break = \"{}\")", control.rule));
    places.map(|place| product.matches(&place).count()).sum()
}
