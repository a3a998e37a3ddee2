//! [`Machine`]: what the kernel and the board say about the host, read from /proc and /sys under a root that tests choose.
//! Shared by `doctor` and `monitor`. What cannot be read is `None`: no Pi, a container, a kernel without the file.

use std::fs;
use std::path::Path;

use crate::sys::files;

/// Larger than any file that is read here.
const BYTES_MAX: u64 = 64 * 1024;

/// Where the firmware of a Raspberry Pi says what it had to do, as hexadecimal bits.
const THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

/// Thermal zones that are looked at; the hottest counts.
const ZONES_MAX: usize = 8;

/// The host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its memory.
    pub memory: Option<Memory>,
    /// What a Raspberry Pi had to do for want of power or for heat.
    pub throttled: Option<Throttled>,
    /// The hottest zone, in thousandths of a degree Celsius.
    pub temperature_milli: Option<i64>,
    /// The model of the board, for example `Raspberry Pi 3 Model B Rev 1.2`. From outside: escape it.
    pub model: Option<String>,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// What programs can still have without swapping.
    pub available: u64,
    /// All swap.
    pub swap_total: u64,
    /// Unused swap.
    pub swap_free: u64,
}

/// The firmware's bits: 0 to 3 hold now, 16 to 19 held at some time since the board was switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled(pub u32);

/// The lower bits, with their names.
const BITS: [&str; 4] = ["under-voltage", "frequency capped", "throttled", "soft temperature limit"];

impl Throttled {
    /// Under-voltage is the bit that damages files.
    pub fn under_voltage(self) -> bool {
        self.0 & 1 != 0
    }

    /// The same, at some time since the board was switched on.
    pub fn under_voltage_before(self) -> bool {
        self.0 & 1 << 16 != 0
    }

    /// What holds now.
    pub fn now(self) -> impl Iterator<Item = &'static str> {
        named(self.0)
    }

    /// What held at some time since the board was switched on.
    pub fn before(self) -> impl Iterator<Item = &'static str> {
        named(self.0 >> 16)
    }
}

fn named(bits: u32) -> impl Iterator<Item = &'static str> {
    BITS.into_iter().enumerate().filter(move |(bit, _)| bits & 1 << bit != 0).map(|(_, name)| name)
}

impl Machine {
    /// Looks at the host; `root` is `/` but in tests.
    pub fn look(root: &Path) -> Machine {
        let zone = |number| text(root, &format!("sys/class/thermal/thermal_zone{number}/temp"))?.trim().parse().ok();
        Machine {
            memory: text(root, "proc/meminfo").and_then(|text| memory(&text)),
            throttled: text(root, THROTTLED).and_then(|text| throttled(&text)),
            temperature_milli: (0..ZONES_MAX).map_while(zone).max(),
            model: text(root, "proc/device-tree/model").map(|text| text.trim_end_matches('\0').to_owned()),
        }
    }
}

/// The program file that a process runs, as the kernel names it: it ends with ` (deleted)` when that file was replaced.
/// `None`: there is no such process, or it is somebody else's. From outside: escape it.
pub fn program_of(root: &Path, process: u32) -> Option<String> {
    let link = fs::read_link(root.join(format!("proc/{process}/exe"))).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Whether nothing can be written on the file system of an existing `path`, by anybody. That is how the kernel leaves a
/// medium that failed.
pub fn is_read_only(path: &Path) -> bool {
    let known = rustix::fs::statvfs(path);
    known.is_ok_and(|known| known.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

fn text(root: &Path, path: &str) -> Option<String> {
    let (bytes, _) = files::read_bounded(&root.join(path), BYTES_MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The figures of `/proc/meminfo`, which are in KiB. Kernels before 3.14 have no `MemAvailable`.
pub fn memory(text: &str) -> Option<Memory> {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory {
        total: figure("MemTotal")?,
        available: figure("MemAvailable")?,
        swap_total: figure("SwapTotal").unwrap_or(0),
        swap_free: figure("SwapFree").unwrap_or(0),
    })
}

/// The firmware writes `50005`, some kernels `0x50005`, and `vcgencmd` `throttled=0x50005`.
pub fn throttled(text: &str) -> Option<Throttled> {
    let text = text.trim().trim_start_matches("throttled=");
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok().map(Throttled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_the_firmware_have_their_names() {
        let all = throttled("50005\n").expect("bits");
        assert_eq!(all.now().collect::<Vec<_>>(), ["under-voltage", "throttled"]);
        assert_eq!(all.before().collect::<Vec<_>>(), ["under-voltage", "throttled"]);
        let past = throttled("throttled=0x80000").expect("bits");
        assert_eq!((past.now().count(), past.before().collect::<Vec<_>>()), (0, vec!["soft temperature limit"]));
        assert_eq!(
            throttled("0x10000").map(|bits| (bits.under_voltage(), bits.under_voltage_before())),
            Some((false, true))
        );
        assert_eq!((throttled("no"), throttled("")), (None, None));
    }

    #[test]
    fn a_host_is_read_from_its_files_and_what_is_missing_is_none() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(Machine::look(root.path()), Machine::default());
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        put(
            "proc/meminfo",
            "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\nSwapTotal: 100 kB\nSwapFree: 7 kB\n",
        );
        put(THROTTLED, "0\n");
        put("sys/class/thermal/thermal_zone0/temp", "48312\n");
        put("sys/class/thermal/thermal_zone1/temp", "51000\n");
        put("proc/device-tree/model", "Raspberry Pi 4\0");
        let want = Machine {
            memory: Some(Memory { total: 1_024_000, available: 409_600, swap_total: 102_400, swap_free: 7168 }),
            throttled: Some(Throttled(0)),
            temperature_milli: Some(51_000),
            model: Some("Raspberry Pi 4".to_owned()),
        };
        assert_eq!(Machine::look(root.path()), want);
    }

    #[test]
    fn the_program_of_a_process_is_its_file_and_proc_is_no_medium_that_failed() {
        let ours = program_of(Path::new("/"), std::process::id()).expect("our own");
        assert!(ours.contains("rusty_pinch"), "{ours}");
        assert_eq!(program_of(Path::new("/none"), 1), None);
        assert!(!is_read_only(Path::new("/proc")) && !is_read_only(Path::new("/none")));
    }

    #[test]
    fn this_host_has_memory() {
        let memory = Machine::look(Path::new("/")).memory.expect("there is a /proc");
        assert!(memory.available <= memory.total && memory.swap_free <= memory.swap_total);
    }
}
