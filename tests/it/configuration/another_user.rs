//! A child that is not root, for what root may do anyway. Needs a test run of root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::cases::say;

/// Nobody's number on the machines we know.
pub const USER: u32 = 54_321;

/// Whether the product can be started as [`USER`]; says why not.
pub fn can_be() -> bool {
    if !rustix::process::geteuid().is_root() {
        say("skip: only root can start a child of another user");
        return false;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_rusty-pinch"));
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).uid(USER).gid(USER);
    match command.status() {
        Ok(status) if status.success() => true,
        other => {
            say(&format!("skip: another user cannot start the product where it was built ({other:?})"));
            false
        }
    }
}

/// Makes a command's child another user, and the folder and all below it theirs, but for what is kept.
pub fn become_for(command: &mut Command, folder: &Path, kept: &[&Path]) {
    give(folder, kept);
    command.uid(USER).gid(USER);
}

fn give(path: &Path, kept: &[&Path]) {
    if kept.contains(&path) {
        return;
    }
    chown(path, Some(USER), Some(USER)).expect("root may give files away");
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path(), kept);
    }
}
