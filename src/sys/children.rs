//! Children that outlive a killed process, found and ended by the next one.
//!
//! The kernel ends the direct child of a killed process (see `child.rs`), but not what that child started. So every
//! child carries a random token in its environment, and a file named by the token says who started it. A start looks for
//! files whose owner is gone and ends every process that carries the token: an identity that neither a reused process id
//! nor a changed group can fake. The end of a child is followed by the same look, for what has left its group.
//!
//! As process 1 of a container we inherit what such programs leave, so we also take away what has ended of it. Which
//! children are our own to wait for is known process-wide, because the kernel's list of children is, too.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, process};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::sys::carriers::{self, Life, Look, children_of, start_ticks, ticks_now};
use crate::sys::{entropy, files};

/// The variable that holds the token.
pub const TOKEN_VARIABLE: &str = "RP_CHILD_TOKEN";

/// Stands for the token in a child's arguments, for a program that starts others with an environment of its own making.
pub const TOKEN_PLACE: &str = "<RP_CHILD_TOKEN>";

/// How often, and how long apart, we look at what a child left running: the first time it is asked to end, from the
/// tenth of a second on it is ended.
const LOOKS_MAX: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const ASKING_LOOKS: u32 = 20;

/// The process that inherits orphans.
const FIRST_PROCESS: u32 = 1;

/// Children of ours that somebody waits for.
static WAITED_FOR: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Files looked at in one start; more are left to the next.
const FILES_MAX: usize = 256;

/// A child that runs; its file goes when this is dropped.
#[derive(Debug)]
pub struct Registered {
    path: PathBuf,
    token: String,
    /// No process of the child's is older: ticks since boot.
    since: u64,
}

impl Registered {
    /// Notes that this process starts a child. `None` if the folder cannot be written: the child then runs all the
    /// same, and only its orphans would not be found.
    pub fn new(folder: &Path) -> Option<Registered> {
        let token = format!("{:016x}", entropy::seed());
        let owner = process::id();
        let content = format!("{owner} {} {}\n", start_ticks(owner)?, entropy::boot_id());
        files::make_folder(folder).ok()?;
        let path = folder.join(&token);
        files::replace(&path, content.as_bytes()).ok()?;
        Some(Registered { path, token, since: ticks_now() })
    }

    /// What the child carries.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Ends what the child left running outside its group. Takes half a second at most, and no time if nothing is left.
    pub fn end_rest(&self) {
        let mut asked: Vec<i32> = Vec::new();
        for count in 0..LOOKS_MAX {
            let left = carriers(&self.token, self.since);
            if left.is_clear() {
                break;
            }
            // Asked first, and once: a program that holds a lock file removes it.
            if count < ASKING_LOOKS {
                signal_new(&left.carriers, &mut asked, Signal::TERM);
            } else {
                signal_all(&left.carriers, Signal::KILL);
            }
            files::pause(LOOK_PAUSE);
        }
        take_away_ended(process::id());
    }
}

/// Starts a child that the caller waits for. Nobody else takes it away.
pub fn start_own(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut waited_for = waited_for();
    let child = start()?;
    waited_for.push(child.id());
    Ok(child)
}

/// The caller has waited for it.
pub fn forget_own(child: &Child) {
    waited_for().retain(|id| *id != child.id());
}

fn waited_for() -> MutexGuard<'static, Vec<u32>> {
    WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for everything that has ended as a child of process 1, if that is us, and that nobody else waits for. What is
/// about to end has a moment for it, or it would stand in the list of processes until the next look.
fn take_away_ended(us: u32) {
    if us != FIRST_PROCESS {
        return;
    }
    for _ in 0..LOOKS_MAX {
        let waited_for = waited_for();
        let left = children_of(us).into_iter().filter(|(id, _)| !waited_for.contains(&id.unsigned_abs()));
        let (ended, others): (Vec<_>, Vec<_>) = left.partition(|(_, life)| *life == Life::Ended);
        for (id, _) in ended {
            let _ = waitpid(Pid::from_raw(id), WaitOptions::NOHANG);
        }
        drop(waited_for);
        if others.iter().all(|(_, life)| *life == Life::Runs) {
            break;
        }
        files::pause(LOOK_PAUSE);
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
    let (mut ended, mut told) = (0, Vec::new());
    for _ in 0..LOOKS_MAX {
        let left = carriers(token, 0);
        ended += signal_new(&left.carriers, &mut told, Signal::KILL);
        if left.unready == 0 {
            break;
        }
        files::pause(LOOK_PAUSE);
    }
    ended
}

fn carriers(token: &str, since: u64) -> Look {
    carriers::look(&format!("{TOKEN_VARIABLE}={token}"), since)
}

/// Tells those that were not told before; how many were there: one that is about to end is found again.
fn signal_new(processes: &[i32], told: &mut Vec<i32>, signal: Signal) -> usize {
    let new: Vec<i32> = processes.iter().copied().filter(|id| !told.contains(id)).collect();
    told.extend(&new);
    signal_all(&new, signal)
}

/// How many of them were there to be told.
fn signal_all(processes: &[i32], signal: Signal) -> usize {
    let told = |pid: &Pid| kill_process(*pid, signal).is_ok();
    processes.iter().filter_map(|id| Pid::from_raw(*id)).filter(told).count()
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
