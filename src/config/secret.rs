//! [`Secret`]: a value that cannot be printed, compared by accident or left in freed memory. `reveal` is the one way out.

use std::fmt;

use zeroize::Zeroizing;

use crate::base::digest::sha256;

/// Set before what is hashed, so that a fingerprint is found in no list of hashes of known keys.
const FINGERPRINT_PREFIX: &[u8] = b"rp-fp";

/// Hexadecimal digits of a fingerprint.
pub const FINGERPRINT_DIGITS: usize = 8;

/// A credential. `Debug` shows three asterisks; there is no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: String) -> Secret {
        Secret(Zeroizing::new(value))
    }

    /// The value itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be shown and kept in its place: the first digits of SHA-256 over a prefix and the value. The same value has
    /// the same fingerprint everywhere, and nothing leads back.
    pub fn fingerprint(&self) -> String {
        let mut digits = self.digest();
        digits.truncate(FINGERPRINT_DIGITS);
        digits
    }

    /// All digits of it: for a secret that is only to be known again.
    pub fn digest(&self) -> String {
        sha256(&[FINGERPRINT_PREFIX, self.reveal().as_bytes()])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_hold_the_value() {
        let secret = Secret::new("sk-canary".to_owned());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "*** Some(\n    ***,\n)");
        assert_eq!(secret.reveal(), "sk-canary");
    }

    /// `printf rp-fpsk-canary | sha256sum | cut -c 1-8`
    #[test]
    fn a_fingerprint_is_the_beginning_of_a_known_hash() {
        assert_eq!(Secret::new("sk-canary".to_owned()).fingerprint(), "98c8f757");
        assert_ne!(Secret::new("sk-canarz".to_owned()).fingerprint(), "98c8f757");
    }
}
