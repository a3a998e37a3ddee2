//! The workflows of GitHub are shells around the Makefile: what they run can be run here. Seen to fail: a step with a command of its
//! own, a target that is not there, a foreign action.

use std::process::Command;

use crate::support::cases::say;
use crate::support::repository::{files, read, root};

/// Fetching what is built, the toolchain, and taking away what came out.
const ACTIONS: [&str; 3] = ["actions/checkout@", "dtolnay/rust-toolchain@", "actions/upload-artifact@"];

/// What is wrong with the steps of a workflow.
fn complaints(workflow: &str, makefile: &str) -> Vec<String> {
    let value = |line: &str, key: &str| {
        line.trim().trim_start_matches("- ").strip_prefix(key).map(|rest| rest.trim().to_owned())
    };
    let runs = workflow.lines().filter_map(|line| value(line, "run:")).filter(|command| {
        let target = command.strip_prefix("make ").and_then(|rest| rest.split(' ').next()).unwrap_or("?");
        let joined = ["&", ";", "|", "`", "$("].iter().any(|sign| command.contains(sign));
        joined || !makefile.contains(&format!("\n{target}:"))
    });
    let uses = workflow.lines().filter_map(|line| value(line, "uses:"));
    let foreign = uses.filter(|action| !ACTIONS.iter().any(|known| action.starts_with(known)));
    runs.chain(foreign).collect()
}

#[test]
fn workflows_call_targets_of_the_makefile_and_nothing_else() {
    let makefile = read(&root().join("Makefile"));
    let wrong =
        "  - run: cargo test\n  - run: make no-such\n  - run: make check && true\n  - run: |\n  - uses: a/b@v1\n";
    assert_eq!(complaints(wrong, &makefile).len(), 5);
    let workflows = files(&root().join(".github/workflows"), "yml");
    let names: Vec<_> = workflows.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    assert_eq!(names, ["ci", "image", "release"]);
    for path in &workflows {
        let text = read(path);
        assert_eq!(complaints(&text, &makefile), Vec::<String>::new(), "{}", path.display());
        assert!(text.contains("run: make ") && text.contains("permissions:\n  contents: read\n"), "{}", path.display());
    }
}

#[test]
fn a_release_is_built_for_each_target() {
    let release = read(&root().join(".github/workflows/release.yml"));
    assert!(release.contains("target: [x86_64, aarch64, armv7, armv6]"));
    for target in ["dist", "package", "verify-package"] {
        assert!(release.contains(&format!("run: make {target}")), "{target}");
    }
}

#[test]
fn workflows_are_yaml() {
    let script = "import sys, yaml\nfor path in sys.argv[1:]: assert yaml.safe_load(open(path))['jobs']";
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        return say("skip: no python3 with yaml");
    }
    let workflows = files(&root().join(".github/workflows"), "yml");
    let output = Command::new("python3").args(["-c", script]).args(&workflows).output().expect("it has just started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
