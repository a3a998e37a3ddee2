//! What this process uses, as the kernel says in /proc/self. What is not there is not known.

use std::fs;

/// Ticks of a second in /proc/self/stat, the same on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// What this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Bytes of it that are in RAM.
    pub rss_bytes: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// Of this process, now.
pub fn own() -> Usage {
    let text = |name: &str| fs::read_to_string(["/proc/self/", name].concat()).unwrap_or_default();
    let (stat, status) = (text("stat"), text("status"));
    // Reading the folder takes one itself.
    let descriptors = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64);
    Usage {
        cpu_ms: cpu_ms(&stat),
        rss_bytes: field(&status, "VmRSS:").map(|kb| kb * 1024),
        descriptors,
        threads: field(&status, "Threads:"),
    }
}

/// Fields 14 and 15, counted behind the name, which may hold anything.
fn cpu_ms(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * 1000 / TICKS_PER_SECOND)
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        let stat = "7 (a) b) 1) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 4 0";
        assert_eq!(cpu_ms(stat), Some(420));
        assert_eq!(cpu_ms("7 (a"), None);
        assert_eq!(field("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = own();
        assert!(usage.rss_bytes > Some(1 << 16) && usage.threads > Some(0) && usage.descriptors > Some(2), "{usage:?}");
    }
}
