//! From PEM files to what rustls wants. Every fault names its file.

use std::{fs::File, io::Read, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{ClientTls, Identity, TlsError};

/// What both sides call the protocol inside, so that no other service's TLS is mistaken for ours.
pub(super) const PROTOCOL: &[u8] = b"shmrpc";
/// More of a file is not read.
const MOST_BYTES: u64 = 4 << 20;

const AUTHORITIES: &str = "certificates of authorities";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn refused(error: &rustls::Error) -> TlsError {
    TlsError::Refused(error.to_string())
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let fail = |source| TlsError::Io { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.mode() & 0o777;
    if what == KEY && mode & 0o037 != 0 {
        return Err(TlsError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn unusable(what: &'static str, path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Unusable { what, path: path.to_owned(), reason: reason.to_string() }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| unusable(what, path, error))?;
    if found.is_empty() {
        return Err(unusable(what, path, "no BEGIN CERTIFICATE in it"));
    }
    Ok(found)
}

/// The authorities in a file; one that cannot be understood is a fault, not passed over.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(AUTHORITIES, path)? {
        roots.add(certificate).map_err(|error| unusable(AUTHORITIES, path, error))?;
    }
    Ok(roots)
}

/// A certificate, those that vouch for it, and its key.
pub(super) type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Identity {
    pub(super) fn read(&self) -> Result<Chain, TlsError> {
        let chain = certificates(CERTIFICATE, &self.certificate_file)?;
        let key = read(KEY, &self.key_file)?;
        let key =
            PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable(KEY, &self.key_file, error))?;
        Ok((chain, key))
    }

    /// Why rustls does not take certificate and key.
    pub(super) fn fault(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate_file: self.certificate_file.clone(),
                key_file: self.key_file.clone(),
            },
            rustls::Error::InvalidCertificate(_) => unusable(CERTIFICATE, &self.certificate_file, error),
            _ => unusable(KEY, &self.key_file, error),
        }
    }
}

impl ClientTls {
    /// Reads the files.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| refused(&error))?
            .with_root_certificates(authorities(&self.ca_file)?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|error| identity.fault(&error))?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Connections last: there is nothing to be gained, and files may have changed.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}
