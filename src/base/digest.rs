//! SHA-256, by the hash that TLS brings along: no library more for a few bytes.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// The 64 hexadecimal digits of SHA-256 over all parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> String {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3");
    let mut hash = suite.common.hash_provider.start();
    parts.iter().for_each(|part| hash.update(part));
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`
    #[test]
    fn a_known_text_has_its_known_digest() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&[b"a", b"", b"bc"]), want);
    }
}
