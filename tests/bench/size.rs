//! What is shipped and what it is built from.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::report::{Figure, Report};
use crate::stage::Stage;

/// Of a build for glibc, which carries what the standard library has for showing stacks (0.22 MB); the static programs that
/// are shipped are built without, and `packaging/dist.sh` holds them to 3.0.
const BINARY_MEGABYTES_MAX: f64 = 3.1;
const PACKAGES_MAX: f64 = 80.0;
const ASYNC_RUNTIMES: [&str; 6] = ["tokio", "async-std", "smol", "futures-executor", "mio", "hyper"];

/// Puts the shipped binary into its place: `cargo bench` has just put one there that was built beside the tests, whose
/// dependencies may have switched on more.
pub fn build_what_is_shipped() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--release"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells us of this package would make build scripts of others run again.
    #[expect(clippy::disallowed_methods, reason = "what cargo set")]
    let variables = std::env::vars_os();
    for (name, _) in variables {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            build.env_remove(name);
        }
    }
    let built = build.status();
    assert!(built.expect("cargo starts").success(), "the release build fails");
}

pub fn measure(report: &mut Report) {
    report.command("cargo build --locked --release && stat -c %s target/release/rusty-pinch");
    let bytes = fs::metadata(Stage::product_path()).expect("the product was built").len();
    report.add(Figure::new("binary, stripped", bytes as f64 / 1e6, "MB").at_most(BINARY_MEGABYTES_MAX));

    let words = ["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"];
    report.command(&format!("cargo {} | sed 's/ (.*//' | sort -u", words.join(" ")));
    let output = Command::new(env!("CARGO")).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let packages: BTreeSet<&str> =
        text.lines().filter(|line| !line.is_empty()).map(|line| line.split(" (").next().unwrap_or(line)).collect();
    report.add(Figure::new("crates built, ours included", packages.len() as f64, "crates").at_most(PACKAGES_MAX));
    let is_runtime = |package: &&&str| ASYNC_RUNTIMES.contains(&package.split(' ').next().unwrap_or_default());
    let runtimes = packages.iter().filter(is_runtime).count();
    report.add(Figure::new("async runtimes among them", runtimes as f64, "crates").at_most(0.0));
}
