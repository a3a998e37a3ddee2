//! The storm under ThreadSanitizer: the product, its dependencies and the standard library are built anew by a nightly
//! compiler that watches every access to memory. What it finds is printed, and ends the run.
//!
//! Needs a nightly toolchain with the source of the standard library. The build takes minutes, so it is made with
//! `RP_TEST_CASES` of 1000 and more (`make sanitizer`); what is missing is said.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::cases::{cases, say};
use crate::support::report::folder;
use crate::support::repository::root;

const LONG_CASES: usize = 1000;
/// The code of a run that met a race: none of ours, and not that of failing tests.
const RACE_CODE: &str = "66";

/// What is said by the nightly compiler, or why there is none that can do it.
fn nightly() -> Result<String, String> {
    let ask = |what: &[&str]| {
        let output = Command::new("rustc").arg("+nightly").args(what).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let sysroot = ask(&["--print", "sysroot"]).ok_or("no nightly toolchain installed")?;
    if !Path::new(&sysroot).join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Err("the nightly toolchain has no rust-src".to_string());
    }
    let version = ask(&["-vV"]).unwrap_or_default();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_string).ok_or("the nightly compiler does not name its host".to_string())
}

fn storm(host: &str) -> Output {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["+nightly", "test", "--locked", "-Zbuild-std", "--target", host, "--test", "it"]);
    command.args(["--", "--nocapture", "topology::"]);
    command.env("CARGO_TARGET_DIR", folder().parent().expect("it is in the target folder").join("sanitizer"));
    command.env("RUSTFLAGS", "-Zsanitizer=thread");
    command.env("TSAN_OPTIONS", format!("halt_on_error=1 exitcode={RACE_CODE}"));
    for name in ["RP_TEST_CASES", "RP_TEST_SEED", "RP_TEST_PRODUCT", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTC"] {
        command.env_remove(name);
    }
    command.output().expect("cargo runs")
}

#[test]
fn the_storm_has_no_data_race() {
    if cases(1, LONG_CASES) < LONG_CASES {
        return say("skip: sanitizer: a build of its own, with RP_TEST_CASES=1000 (make sanitizer)");
    }
    let host = match nightly() {
        Ok(host) => host,
        Err(reason) => return say(&format!("skip: sanitizer: {reason}")),
    };
    let output = storm(&host);
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains("ThreadSanitizer"), "{told}");
    // Everything is ten times slower, so the ceilings of the storm may be met: what they mean is judged without it.
    let last = said.lines().rfind(|line| line.starts_with("test result"));
    let last = last.unwrap_or_else(|| panic!("nothing ran: {}: {said}\n{told}", output.status));
    say(&format!("sanitizer: no data race in the storm ({last})"));
}
