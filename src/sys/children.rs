//! Children that outlive a killed process, found and ended by the next one.
//!
//! The kernel ends the direct child of a killed process (see `child.rs`), but not what that child started. So every
//! child carries a random token in its environment, and a file named by the token says who started it. A start looks for
//! files whose owner is gone and ends every process that carries the token: an identity that neither a reused process id
//! nor a changed group can fake.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::sys::{entropy, files};

/// The variable that holds the token.
pub const TOKEN_VARIABLE: &str = "RP_CHILD_TOKEN";

/// Files looked at in one start; more are left to the next.
const FILES_MAX: usize = 256;

/// A child that runs; its file goes when this is dropped.
#[derive(Debug)]
pub struct Registered {
    path: PathBuf,
    token: String,
}

impl Registered {
    /// Notes that this process starts a child. `None` if the folder cannot be written: the child then runs all the
    /// same, and only its orphans would not be found.
    pub fn new(folder: &Path) -> Option<Registered> {
        let token = format!("{:016x}", entropy::seed());
        let owner = std::process::id();
        let content = format!("{owner} {} {}\n", start_ticks(owner)?, entropy::boot_id());
        files::make_folder(folder).ok()?;
        let path = folder.join(&token);
        files::replace(&path, content.as_bytes()).ok()?;
        Some(Registered { path, token })
    }

    /// What the child carries.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // If it stays, the next start finds nothing to end and removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Ends what killed processes left behind; returns how many processes that were.
pub fn end_orphans(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut ended = 0;
    for path in entries.flatten().map(|entry| entry.path()).take(FILES_MAX) {
        let content = fs::read_to_string(&path).unwrap_or_default();
        if owner_lives(&content) {
            continue;
        }
        if let Some(token) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() == 16) {
            ended += end_carriers(token);
        }
        let _ = fs::remove_file(&path);
    }
    ended
}

fn owner_lives(content: &str) -> bool {
    let mut words = content.split_whitespace();
    let (Some(owner), Some(ticks), Some(boot)) = (words.next(), words.next(), words.next()) else { return false };
    let owner: u32 = owner.parse().unwrap_or(0);
    boot == entropy::boot_id() && start_ticks(owner).is_some_and(|known| known == ticks)
}

fn end_carriers(token: &str) -> usize {
    let marker = format!("{TOKEN_VARIABLE}={token}");
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let carries = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == marker.as_bytes())
    };
    ids.filter(carries).filter_map(Pid::from_raw).filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}

/// When a process started, in ticks since boot: field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)). The second field may
/// hold spaces and parentheses, so fields are counted from its last parenthesis.
fn start_ticks(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sleeper(token: &str) -> std::process::Child {
        let mut command = Command::new("sleep");
        command.arg("600").env(TOKEN_VARIABLE, token).stdout(Stdio::null());
        command.spawn().expect("it starts")
    }

    #[test]
    fn only_children_of_a_process_that_is_gone_are_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let mine = Registered::new(folder.path()).expect("noted");
        let mut living = sleeper(mine.token());
        let token = "00000000deadbeef";
        fs::write(folder.path().join(token), format!("{} 1 {}\n", std::process::id(), entropy::boot_id()))
            .expect("written");
        let mut orphan = sleeper(token);
        assert_eq!(end_orphans(folder.path()), 1);
        assert!(!orphan.wait().expect("ended").success());
        assert!(living.try_wait().expect("known").is_none(), "its owner, we, still runs");
        assert!(!folder.path().join(token).exists());
        living.kill().expect("ended");
        living.wait().expect("ended");
        let path = mine.path.clone();
        drop(mine);
        assert!(!path.exists());
    }
}
