//! Which certificates are trusted: the host's, or the bundled ones of Mozilla where it has none. Read once.

use std::sync::OnceLock;

use rustls::pki_types::CertificateDer;

/// The host's certificates; none: the bundled ones are to be used. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others; where
/// they name nothing that can be read, a private server is not trusted, and the log says why.
pub fn of_host() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = if found.errors.is_empty() { "there are none" } else { "they cannot be read" };
            log::warn!("no trusted certificates from this host, {why} (see SSL_CERT_FILE): the bundled ones are used");
        }
        found.certs
    })
}
