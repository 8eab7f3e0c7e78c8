//! What may be wrong with the files that TLS is given, and with what it is asked for.

use std::{io, path::PathBuf};

/// TLS that cannot be spoken as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading the {what} in {path}", path = .path.display())]
    Io {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users of the machine can read or change a private key.
    #[error(
        "the private key in {path} is open to other users (mode {mode:03o}): chmod 600, or 640", path = .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}: {reason}", path = .path.display())]
    Unusable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and a key that are not of each other.
    #[error(
        "the certificate in {certificate} and the private key in {key} do not belong together",
        certificate = .certificate_file.display(), key = .key_file.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate_file: PathBuf,
        /// The file of the key.
        key_file: PathBuf,
    },
    /// One file is given without another that it needs.
    #[error("{has} is given without a {lacks}", has = .has.display())]
    Half {
        /// The file that is given.
        has: PathBuf,
        /// What is missing.
        lacks: &'static str,
    },
    /// A client is told to speak TLS, and not whom to believe.
    #[error("no authority is named that signs servers' certificates (SHMRPC_TLS_CA_FILE)")]
    NoAuthority,
    /// A client is given TLS options and an address that is spoken to in the clear.
    #[error("TLS was asked for, and tcp:// is spoken in the clear: write tls://")]
    Clear,
    /// What a server should be called cannot be in a certificate.
    #[error("{0:?} is no name or address that a server's certificate could be for")]
    Name(String),
    /// The library was built without TLS.
    #[error("this program was built without TLS (the feature `tls` of shmrpc)")]
    Unsupported,
    /// The library that speaks TLS refuses.
    #[error("TLS cannot be prepared: {0}")]
    Refused(String),
}
