//! What TLS over TCP is told: whom to believe, and what to show. [`ClientTls`] and [`ServerTls`] name PEM files and
//! read them; the handshake itself, and everything that is said in it, is `transport::tcp::tls`'s business.
//!
//! Only TLS 1.3 is spoken. No authority is believed but those of the files that are named here: neither the
//! system's nor a browser's.

mod error;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "tls")]
mod server;
#[cfg(not(feature = "tls"))]
mod without;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use self::error::TlsError;
#[cfg(feature = "tls")]
pub use self::server::ServerTls;
#[cfg(not(feature = "tls"))]
pub use self::without::ServerTls;

/// How a client checks a server over TLS, and what it shows of itself. Its files are read for every connection, so
/// that renewed ones count without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    pub(crate) ca_file: PathBuf,
    pub(crate) identity: Option<Identity>,
    pub(crate) server_name: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl ClientTls {
    /// The environment variable for the authorities that are believed. The four variables are looked at by clients
    /// that are told nothing else and whose address begins with `tls://`.
    pub const CA_VARIABLE: &'static str = "SHMRPC_TLS_CA_FILE";
    /// The same for the client's own certificate.
    pub const CERTIFICATE_VARIABLE: &'static str = "SHMRPC_TLS_CERTIFICATE_FILE";
    /// The same for the key of that certificate.
    pub const KEY_VARIABLE: &'static str = "SHMRPC_TLS_KEY_FILE";
    /// The same for the name that the server's certificate must have.
    pub const NAME_VARIABLE: &'static str = "SHMRPC_TLS_SERVER_NAME";

    /// Believes servers whose certificate was signed by an authority in this PEM file.
    pub fn new(ca_file: impl Into<PathBuf>) -> Self {
        Self { ca_file: ca_file.into(), identity: None, server_name: None }
    }

    /// Believes those of this file instead.
    #[must_use]
    pub fn ca_file(mut self, ca_file: impl Into<PathBuf>) -> Self {
        self.ca_file = ca_file.into();
        self
    }

    /// Shows a certificate of its own (PEM, the certificate itself first) to servers that ask for one. Nobody but
    /// its owner may have rights to the key, except that the group may read it.
    #[must_use]
    pub fn identity(mut self, certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        let (certificate_file, key_file) = (certificate_file.into(), key_file.into());
        self.identity = Some(Identity { certificate_file, key_file });
        self
    }

    /// Wants the server's certificate to be for this name or address, not for the host of the endpoint.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// What the environment says, if it names authorities.
    ///
    /// # Errors
    /// When only one of certificate and key is given.
    pub fn from_env() -> Result<Option<Self>, TlsError> {
        let path = |name| variable(name).map(PathBuf::from);
        let Some(ca_file) = path(Self::CA_VARIABLE) else { return Ok(None) };
        let identity = match (path(Self::CERTIFICATE_VARIABLE), path(Self::KEY_VARIABLE)) {
            (Some(certificate_file), Some(key_file)) => Some(Identity { certificate_file, key_file }),
            (None, None) => None,
            (Some(file), None) => return Err(TlsError::Half { has: file, lacks: "key" }),
            (None, Some(file)) => return Err(TlsError::Half { has: file, lacks: "certificate" }),
        };
        let server_name = variable(Self::NAME_VARIABLE);
        let server_name = server_name
            .map(|name| name.into_string().map_err(|name| TlsError::Name(name.to_string_lossy().into())))
            .transpose()?;
        Ok(Some(Self { ca_file, identity, server_name }))
    }

    /// Reads the files and throws the result away: what is wrong with them is known before a connection is made.
    ///
    /// # Errors
    /// As connecting would fail for them.
    pub fn check(&self) -> Result<(), TlsError> {
        #[cfg(feature = "tls")]
        return self.config().map(|_| ());
        #[cfg(not(feature = "tls"))]
        Err(TlsError::Unsupported)
    }
}

impl ServerTls {
    /// The environment variable for the server's certificate; see [`Self::from_env`].
    pub const CERTIFICATE_VARIABLE: &'static str = "SHMRPC_TCP_TLS_CERTIFICATE_FILE";
    /// The same for its key.
    pub const KEY_VARIABLE: &'static str = "SHMRPC_TCP_TLS_KEY_FILE";
    /// The same for the authorities whose clients are let in.
    pub const CLIENT_CA_VARIABLE: &'static str = "SHMRPC_TCP_TLS_CLIENT_CA_FILE";

    /// What the environment says, if it names a certificate or a key: for programs that serve alone. Nothing looks
    /// there by itself.
    ///
    /// # Errors
    /// As [`Self::new`], and when only one of certificate and key is given.
    pub fn from_env() -> Result<Option<Self>, TlsError> {
        let path = |name| variable(name).map(PathBuf::from);
        let client_ca = path(Self::CLIENT_CA_VARIABLE);
        Self::from_parts(
            path(Self::CERTIFICATE_VARIABLE).as_deref(),
            path(Self::KEY_VARIABLE).as_deref(),
            client_ca.as_deref(),
        )
    }

    /// As [`Self::new`], of files each of which may be missing; `None` if all are.
    ///
    /// # Errors
    /// As [`Self::new`], and when a certificate or a key is missing beside the others.
    pub fn from_parts(
        certificate_file: Option<&Path>,
        key_file: Option<&Path>,
        client_ca_file: Option<&Path>,
    ) -> Result<Option<Self>, TlsError> {
        let half = |has: &Path, lacks| Err(TlsError::Half { has: has.to_owned(), lacks });
        match (certificate_file, key_file, client_ca_file) {
            (Some(certificate), Some(key), ca) => Self::new(certificate, key, ca).map(Some),
            (Some(certificate), None, _) => half(certificate, "key"),
            (None, Some(key), _) => half(key, "certificate"),
            (None, None, Some(ca)) => half(ca, "certificate and a key"),
            (None, None, None) => Ok(None),
        }
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
