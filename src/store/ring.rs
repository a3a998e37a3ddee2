//! [`Ring`]: which messages were seen, as hashes of their keys. Pure.

use std::collections::{HashSet, VecDeque};

/// Messages remembered for telling copies apart. Telegram never uses a message id twice in a chat, so the ring needs
/// no expiry.
pub const RING_KEYS_MAX: usize = 4096;

/// The last [`RING_KEYS_MAX`] keys, as hashes.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Ring {
    /// `false` if it was there.
    pub fn insert(&mut self, hash: u64) -> bool {
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > RING_KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Whether it is there.
    pub fn contains(&self, hash: u64) -> bool {
        self.known.contains(&hash)
    }

    /// All of it, 16 hexadecimal digits a key, oldest first.
    pub fn to_text(&self) -> String {
        self.order.iter().map(|hash| format!("{hash:016x}")).collect()
    }

    /// The inverse; a damaged text cannot get here, because its frame's checksum held.
    pub fn from_text(text: &str) -> Ring {
        let mut ring = Ring::default();
        for digits in text.as_bytes().chunks(16) {
            if let Some(hash) = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())
            {
                ring.insert(hash);
            }
        }
        ring
    }
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every version of the program, unlike
/// the hasher of the standard library. Keys come from the channel's server, not from strangers.
pub fn key_hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut ring = Ring::default();
        (0..RING_KEYS_MAX as u64 + 1).for_each(|hash| assert!(ring.insert(hash)));
        assert!(!ring.contains(0) && ring.contains(1));
        assert_eq!(ring.order.len(), ring.known.len());
    }
}
