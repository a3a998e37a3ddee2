//! What the kernel writes about a process and the host, as figures. Pure; `gather.rs` reads the files.
//!
//! Formats: proc(5).

/// The kernel counts processor time for programs in hundredths of a second, on every architecture of ours.
const TICK_NANOS: u64 = 10_000_000;

/// A command line in one line; the kernel separates arguments with zeros. Blank for a thread of the kernel.
pub fn command(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').replace('\0', " ")
}

/// A field of `/proc/<pid>/status` in its own unit; those in kB become bytes.
pub fn status_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = line.split_whitespace();
    let figure: u64 = words.next()?.parse().ok()?;
    figure.checked_mul(if words.next() == Some("kB") { 1024 } else { 1 })
}

/// Processor time of a process in nanoseconds, from `/proc/<pid>/stat`. The name in it may hold anything, also `)`.
pub fn stat_nanos(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    times.next()??.checked_add(times.next()??)?.checked_mul(TICK_NANOS)
}

/// Processor time of a thread in nanoseconds, from its `schedstat`.
pub fn schedstat_nanos(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Bytes that a process had the disk read and write, from `/proc/<pid>/io`.
pub fn io(text: &str) -> Option<(u64, u64)> {
    Some((status_field(text, "read_bytes")?, status_field(text, "write_bytes")?))
}

/// Processor time of the host that was used and that there was, and the number of processors, from `/proc/stat`.
pub fn host_times(text: &str) -> Option<(u64, u64, usize)> {
    let times = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // What guests used is in `user` already.
    let times: Vec<u64> = times.take(8).map_while(|field| field.parse().ok()).collect();
    let all = times.iter().fold(0_u64, |sum, time| sum.saturating_add(*time));
    let idle = times.iter().skip(3).take(2).fold(0_u64, |sum, time| sum.saturating_add(*time));
    let of_processor =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (times.len() >= 4).then(|| (all.saturating_sub(idle), all, text.lines().filter(of_processor).count()))
}

/// Hundredths of `most` by which a counter grew; `None` if nothing could.
pub fn share(before: u64, now: u64, most: u64) -> Option<f64> {
    (most > 0).then(|| now.saturating_sub(before) as f64 * 100.0 / most as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(command(b"rusty-pinch\0channels\0all\0"), "rusty-pinch channels all");
        let status = "Name:\tx\nVmSize:\t   2048 kB\nVmRSS:\t 1024 kB\nThreads:\t12\n";
        let fields = ["VmSize", "VmRSS", "Threads", "Vm", "Name"].map(|name| status_field(status, name));
        assert_eq!(fields, [Some(2_097_152), Some(1_048_576), Some(12), None, None]);
        assert_eq!(stat_nanos("7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0"), Some(2_000_000_000));
        assert_eq!((stat_nanos("7 (a) S 1"), stat_nanos("")), (None, None));
        assert_eq!(schedstat_nanos("123456 7 8\n"), Some(123_456));
        assert_eq!(io("rchar: 9\nread_bytes: 4096\nwrite_bytes: 0\n"), Some((4096, 0)));
        let stat = "cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 2\ncpu1 1 2\nintr 5\n";
        assert_eq!(host_times(stat), Some((150, 1000, 2)));
        assert_eq!((host_times("cpu 1"), host_times("cpu  1 x")), (None, None));
        assert_eq!([share(5, 10, 50), share(10, 5, 50), share(0, 1, 0)], [Some(10.0), Some(0.0), None]);
    }
}
