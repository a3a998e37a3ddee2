//! The seed of everything random, and the identity of this boot of the kernel.

use std::fs;
use std::sync::OnceLock;

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

/// Random bits for a secret.
///
/// # Errors
/// When the system has none to give: nothing else will do.
pub fn secret_bits() -> std::io::Result<u64> {
    getrandom::u64().map_err(|_| std::io::Error::other("the system has no random numbers to give"))
}

/// The same for `bytes`.
///
/// # Errors
/// As [`secret_bits`].
pub fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(|_| std::io::Error::other("the system has no random numbers to give"))
}

/// The first 16 hexadecimal digits of the kernel's boot id: changes with every boot, so "the page cache of the last
/// process survived" is the same as "the boot id is the same". Where the kernel does not say, every process is taken for
/// one of another boot, because nobody knows that it is not.
pub fn boot_id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    let read = || boot_id_of(&fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(), seed);
    ID.get_or_init(read).clone()
}

fn boot_id_of(text: &str, seed: impl FnOnce() -> u64) -> String {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    if digits.len() == 16 { digits } else { format!("{:016x}", seed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_boot_id_no_two_processes_are_of_the_same_boot() {
        assert_eq!(boot_id_of("2c1d7b0e-0a4f-4c5e-9d5a-000000000000\n", || 7), "2c1d7b0e0a4f4c5e");
        let ids = [1, 2].map(|seed| boot_id_of("", || seed));
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
