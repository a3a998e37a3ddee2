//! Which processes carry a token in their environment, and which are whose children, read from `/proc`. Only looks; `children.rs` acts.
//!
//! Between `exec` and the first instruction of the new program a process has an environment that cannot be read yet.
//! A look at that moment does not say that nobody carries the token: the caller looks again.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Fields of `/proc/<pid>/stat` by their number less the three that come before: parent, start, size of the memory,
/// and where the environment begins and ends (proc_pid_stat(5)).
const PARENT: usize = 1;
const START: usize = 19;
const MEMORY: usize = 20;
const ENVIRONMENT_BEGIN: usize = 47;
const ENVIRONMENT_END: usize = 48;

/// How often the list of processes is read for one look.
const LISTS_MAX: usize = 8;

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has memory.
    Runs,
    /// It has given its memory back and is about to end.
    Ending,
    /// Its parent may take it away.
    Ended,
}

/// What one look at all processes has found.
#[derive(Debug, Default)]
pub struct Look {
    /// Those that carry the token.
    pub carriers: Vec<i32>,
    /// How many could not be told yet.
    pub unready: usize,
}

impl Look {
    /// Nobody carries the token, and that is sure.
    pub fn is_clear(&self) -> bool {
        self.carriers.is_empty() && self.unready == 0
    }
}

/// Looks at processes that started at `since` or later, for `marker` among their variables.
///
/// A process that is listed can start another and end before it is looked at. So the list is read again until it has nobody
/// new; where that takes too long, somebody is left to be told.
pub fn look(marker: &str, since: u64) -> Look {
    let mut look = Look::default();
    let mut known = BTreeSet::new();
    for _ in 0..LISTS_MAX {
        let new: Vec<i32> = processes().into_iter().filter(|id| known.insert(*id)).collect();
        if new.is_empty() {
            return look;
        }
        for id in new {
            match carries(id, marker, since) {
                Some(true) => look.carriers.push(id),
                Some(false) => (),
                None => look.unready += 1,
            }
        }
    }
    look.unready += 1;
    look
}

/// Whether a process carries the marker; `None` if that cannot be told yet. The age is looked at first: to read an
/// environment waits for a process that is busy with its memory.
fn carries(process: i32, marker: &str, since: u64) -> Option<bool> {
    let started = start_ticks(process.unsigned_abs()).and_then(|ticks| ticks.parse::<u64>().ok());
    if started.is_none_or(|started| started < since) {
        return Some(false);
    }
    // Gone, or of another user: nothing of ours.
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { return Some(false) };
    if environment.is_empty() {
        return stat(process.unsigned_abs()).is_none_or(|stat| has_none(&stat)).then_some(false);
    }
    Some(environment.split(|&byte| byte == 0).any(|variable| variable == marker.as_bytes()))
}

/// Whether an environment that reads as nothing is nothing: the process has no memory (it has ended, or is the kernel's),
/// or it was started with no variables. Otherwise it has only just begun.
fn has_none(stat: &str) -> bool {
    let fields: Vec<&str> = stat.split(' ').collect();
    let field = |number: usize| fields.get(number).copied().unwrap_or("0");
    let is_known = field(ENVIRONMENT_END) != "0";
    field(MEMORY) == "0" || (is_known && field(ENVIRONMENT_BEGIN) == field(ENVIRONMENT_END))
}

/// The children of a process, as the kernel has them: those whose own parent has ended, too, if it is the first process.
pub fn children_of(parent: u32) -> Vec<(i32, Life)> {
    let parent = parent.to_string();
    let child = |id: i32| {
        let stat = stat(id.unsigned_abs())?;
        let fields: Vec<&str> = stat.split(' ').collect();
        let life = match (fields.first()?, fields.get(MEMORY)?) {
            (&"Z", _) => Life::Ended,
            (_, &"0") => Life::Ending,
            _ => Life::Runs,
        };
        (*fields.get(PARENT)? == parent).then_some((id, life))
    };
    processes().into_iter().filter_map(child).collect()
}

/// The ids of all processes.
fn processes() -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).collect()
}

/// Now, in ticks since boot; a little less, for what is cut off. A tick is a hundredth of a second wherever Linux shows one.
pub fn ticks_now() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds)
        .map_or(0, |uptime| u64::try_from(uptime.as_millis() / 10).unwrap_or(0))
        .saturating_sub(2)
}

/// When a process started, in ticks since boot.
pub fn start_ticks(process: u32) -> Option<String> {
    stat(process)?.split(' ').nth(START).map(str::to_owned)
}

/// The fields of `/proc/<pid>/stat` from the third on. The second may hold spaces and parentheses, so they begin behind its
/// last parenthesis.
fn stat(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat_with(memory: &str, begin: &str, end: &str) -> String {
        let mut fields = vec!["7"; 50];
        (fields[MEMORY], fields[ENVIRONMENT_BEGIN], fields[ENVIRONMENT_END]) = (memory, begin, end);
        fields.join(" ")
    }

    #[test]
    fn an_environment_that_reads_as_nothing_is_nothing_only_when_that_is_sure() {
        for (memory, begin, end, expected) in [
            ("0", "0", "0", true),           // ended, or a thread of the kernel
            ("4096", "9000", "9000", true),  // started with no variables
            ("135168", "0", "0", false),     // between exec and its first instruction
            ("4096", "9000", "9400", false), // it became another program while we read
        ] {
            assert_eq!(has_none(&stat_with(memory, begin, end)), expected, "{memory} {begin} {end}");
        }
    }

    #[test]
    fn of_processes_that_run_the_one_that_carries_the_marker_is_found() {
        let mut program = std::process::Command::new("sleep");
        let mut with = program.arg("600").env("RP_TEST_MARK", "1").spawn().expect("it starts");
        let mut without = program.env_clear().spawn().expect("it starts");
        let ids = [&with, &without].map(|child| i32::try_from(child.id()).expect("small"));
        let mut seen = look("RP_TEST_MARK=1", 0);
        while seen.unready > 0 {
            seen = look("RP_TEST_MARK=1", 0);
        }
        assert_eq!((seen.carriers.contains(&ids[0]), seen.carriers.contains(&ids[1])), (true, false));
        assert_eq!(carries(ids[1], "RP_TEST_MARK=1", 0), Some(false), "no variables at all is an answer");
        for child in [&mut with, &mut without] {
            child.kill().expect("ended");
            child.wait().expect("ended");
        }
    }
}
