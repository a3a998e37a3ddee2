//! The seed of everything random, and the identity of this boot of the kernel.

use std::fs;

use crate::base::rng::Rng;

/// A seed from the system. When it has none to give (a kernel that has just booted), the process id and the time
/// since boot make one: enough for jitter and for names, and nothing here is a secret.
pub fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let mixed = uptime
            .bytes()
            .fold(u64::from(std::process::id()), |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        Rng::from_seed(mixed).bits()
    })
}

/// The first 16 hexadecimal digits of the kernel's boot id: changes with every boot, so "the page cache of the last
/// process survived" is the same as "the boot id is the same". All zeros where the kernel does not say.
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    if digits.len() == 16 { digits } else { "0".repeat(16) }
}
