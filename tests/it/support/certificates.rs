//! Certificates for one test run, made by the `openssl` command: an authority of our own, and servers that it vouches
//! for in every good and bad way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::cases::say;

/// What `openssl ca` wants to know.
const SETTINGS: &str = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n\
                        policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n";

/// The validity of all but the expired one. No test run outlives it.
const VALID: (&str, &str) = ("20200101000000Z", "20991231000000Z");
const EXPIRED: (&str, &str) = ("20200101000000Z", "20210101000000Z");

pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// None where there is no `openssl`; says so.
    pub fn new() -> Option<Certificates> {
        let certificates = Certificates { folder: tempfile::tempdir().expect("a temporary folder") };
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            say("skip: no openssl");
            return None;
        }
        for (name, text) in [("settings", SETTINGS), ("index.txt", ""), ("serial", "1000\n")] {
            fs::write(certificates.path(name), text).expect("a file in our own folder");
        }
        certificates.own("authority", "CA:TRUE", "DNS:authority.test");
        certificates.own("selfsigned", "CA:FALSE", "IP:127.0.0.1");
        certificates.vouched("good", "IP:127.0.0.1", VALID);
        certificates.vouched("expired", "IP:127.0.0.1", EXPIRED);
        certificates.vouched("elsewhere", "DNS:elsewhere.test,IP:127.0.0.9", VALID);
        Some(certificates)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `SSL_CERT_FILE` is to name.
    pub fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// The certificate and the key of `good`, `expired`, `elsewhere` or `selfsigned`.
    pub fn server(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }

    fn own(&self, name: &str, constraint: &str, alternative: &str) {
        let (constraint, alternative) =
            (format!("basicConstraints=critical,{constraint}"), format!("subjectAltName={alternative}"));
        let (key, file, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let mut words = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        words.extend(["-keyout", &key, "-out", &file, "-days", "9000", "-subj", &subject]);
        words.extend(["-addext", &constraint, "-addext", &alternative]);
        openssl(self.folder.path(), &words);
    }

    fn vouched(&self, name: &str, alternative: &str, (from, to): (&str, &str)) {
        let (key, request, file) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let (subject, extensions) = (format!("/CN={name}"), format!("{name}.ext"));
        fs::write(self.path(&extensions), format!("subjectAltName={alternative}\nbasicConstraints=CA:FALSE\n"))
            .expect("a file in our own folder");
        let mut words = vec!["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        words.extend(["-keyout", &key, "-out", &request, "-subj", &subject]);
        openssl(self.folder.path(), &words);
        let mut words = vec!["ca", "-batch", "-notext", "-config", "settings", "-cert", "authority.pem"];
        words.extend(["-keyfile", "authority.key", "-in", &request, "-out", &file, "-extfile", &extensions]);
        words.extend(["-startdate", from, "-enddate", to]);
        openssl(self.folder.path(), &words);
    }
}

#[track_caller]
fn openssl(folder: &Path, words: &[&str]) {
    let output = Command::new("openssl").args(words).current_dir(folder).output().expect("openssl starts");
    assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
