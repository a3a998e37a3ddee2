//! The storm under ThreadSanitizer: the product, its dependencies and the standard library are built anew by a compiler
//! that watches every access to memory. What it finds is printed, and ends the run.
//!
//! Needs the source of a standard library: that of a nightly toolchain, or of Debian's compiler, which is unpacked from
//! its packages. The build takes minutes, so it is made with `RP_TEST_CASES` of 1000 and more (`make sanitizer`); what
//! is missing is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::cases::{cases, say};
use crate::support::report::folder;
use crate::support::repository::{files, root};

const LONG_CASES: usize = 1000;
/// The code of a run that met a race: none of ours, and not that of failing tests.
const RACE_CODE: &str = "66";
const RUNTIME: &str = "librustc-stable_rt.tsan.a";

/// A compiler that may build a standard library which is watched.
enum Compiler {
    Nightly,
    /// Debian's, unpacked into this folder, which stands in for a nightly one.
    Debian(PathBuf),
}

fn said_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn compiler() -> Result<Compiler, String> {
    let sysroot = |toolchain: &[&str]| said_by(Command::new("rustc").args(toolchain).args(["--print", "sysroot"]));
    let nightly = sysroot(&["+nightly"]).unwrap_or_default();
    if Path::new(&nightly).join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Ok(Compiler::Nightly);
    }
    let cache = build_folder().join("debian");
    fs::create_dir_all(build_folder()).map_err(|error| error.to_string())?;
    let unpacked = said_by(Command::new(root().join("packaging/debian-rust.sh")).arg(&cache));
    unpacked.ok_or("neither a nightly toolchain with rust-src nor Debian's rustc-web can be had")?;
    // Debian's compiler comes without the runtime of the sanitizer. It is LLVM's, and that of our toolchain will do.
    let stable = PathBuf::from(sysroot(&[]).ok_or("there is no rustc")?);
    let own = format!("lib/rustlib/{}/lib", host());
    let (from, to) = (stable.join(&own).join(RUNTIME), cache.join("usr").join(&own).join(RUNTIME));
    // Never through a link that somebody put there: it could lead back to the toolchain's own file.
    let _ = fs::remove_file(&to);
    fs::copy(&from, &to).map_err(|error| format!("{RUNTIME} of the toolchain: {error}"))?;
    Ok(Compiler::Debian(cache))
}

fn host() -> String {
    let version = said_by(Command::new("rustc").arg("-vV")).unwrap_or_default();
    version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned()
}

fn build_folder() -> PathBuf {
    folder().parent().expect("it is in the target folder").join("sanitizer")
}

fn storm(compiler: &Compiler) -> Output {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    for name in ["RP_TEST_CASES", "RP_TEST_SEED", "RP_TEST_PRODUCT", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTC"] {
        command.env_remove(name);
    }
    match compiler {
        Compiler::Nightly => {
            command.arg("+nightly");
        }
        Compiler::Debian(folder) => {
            let driver = files(&folder.join("usr/lib"), "so");
            let driver = driver.iter().find(|path| path.to_string_lossy().contains("librustc_driver-"));
            command.env("LD_LIBRARY_PATH", driver.and_then(|path| path.parent()).expect("the package has its driver"));
            command.env("RUSTC", folder.join("usr/bin/rustc")).env("RUSTC_BOOTSTRAP", "1");
        }
    }
    command.args(["test", "--locked", "-Zbuild-std", "--target", &host(), "--test", "it"]);
    command.args(["--", "--nocapture", "topology::"]);
    command.env("CARGO_TARGET_DIR", build_folder());
    command.env("RUSTFLAGS", "-Zsanitizer=thread");
    command.env("TSAN_OPTIONS", format!("halt_on_error=1 exitcode={RACE_CODE}"));
    command.output().expect("cargo runs")
}

#[test]
fn the_storm_has_no_data_race() {
    if cases(1, LONG_CASES) < LONG_CASES {
        return say("skip: sanitizer: a build of its own, with RP_TEST_CASES=1000 (make sanitizer)");
    }
    let compiler = match compiler() {
        Ok(compiler) => compiler,
        Err(reason) => return say(&format!("skip: sanitizer: {reason}")),
    };
    let output = storm(&compiler);
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains("ThreadSanitizer"), "{told}");
    // Everything is ten times slower, so the ceilings of the storm may be met: what they mean is judged without it.
    let last = said.lines().rfind(|line| line.starts_with("test result"));
    let last = last.unwrap_or_else(|| panic!("nothing ran: {}: {said}\n{told}", output.status));
    say(&format!("sanitizer: no data race in the storm ({last})"));
}
