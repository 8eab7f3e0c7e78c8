//! What is left of a server's TLS in a build without it: nothing that could be made.

use std::path::Path;

use super::TlsError;

/// A server's certificate; this build has no TLS, so that there is none.
#[derive(Clone, Debug)]
pub enum ServerTls {}

impl ServerTls {
    /// Fails: this build has no TLS.
    ///
    /// # Errors
    /// [`TlsError::Unsupported`].
    pub fn new(
        _certificate_file: impl AsRef<Path>,
        _key_file: impl AsRef<Path>,
        _client_ca_file: Option<&Path>,
    ) -> Result<Self, TlsError> {
        Err(TlsError::Unsupported)
    }

    /// Whether clients must show a certificate.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        match *self {}
    }
}
