//! What TLS computes with: the algorithms that rustls has of ring, all of them, without what only others need.
//!
//! A client that shows no certificate signs nothing, and nobody here speaks QUIC. Named in the library's own list, both
//! would be linked: a thirtieth of the program.

use std::sync::Arc;

use rustls::crypto::ring::{DEFAULT_KX_GROUPS, cipher_suite, default_provider};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;

use crate::sys::entropy;
use rustls::{Error, SupportedCipherSuite, Tls13CipherSuite};

static AES_256: Tls13CipherSuite = without_quic(&cipher_suite::TLS13_AES_256_GCM_SHA384);
static AES_128: Tls13CipherSuite = without_quic(&cipher_suite::TLS13_AES_128_GCM_SHA256);
static CHACHA: Tls13CipherSuite = without_quic(&cipher_suite::TLS13_CHACHA20_POLY1305_SHA256);

/// In the library's order.
static SUITES: [SupportedCipherSuite; 9] = [
    SupportedCipherSuite::Tls13(&AES_256),
    SupportedCipherSuite::Tls13(&AES_128),
    SupportedCipherSuite::Tls13(&CHACHA),
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

const fn without_quic(suite: &SupportedCipherSuite) -> Tls13CipherSuite {
    let SupportedCipherSuite::Tls13(suite) = suite else { panic!("a suite of TLS 1.3") };
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    Tls13CipherSuite {
        common: CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: None,
    }
}

/// Neither has anything to keep.
#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        entropy::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for System {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("no certificates of clients".to_owned()))
    }
}

/// For every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: DEFAULT_KX_GROUPS.to_vec(),
        signature_verification_algorithms: default_provider().signature_verification_algorithms,
        secure_random: &System,
        key_provider: &System,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_can_choose_is_missing() {
        let (ours, all) = (provider(), default_provider());
        assert_eq!(ours.cipher_suites, all.cipher_suites);
        let speaks_quic = |suite: &SupportedCipherSuite| suite.tls13().is_some_and(|suite| suite.quic.is_some());
        assert!(!ours.cipher_suites.iter().any(speaks_quic));
        assert_eq!(ours.kx_groups.len(), all.kx_groups.len());
    }
}
