//! A server's certificate and whom it lets in. Files that change are read again, for the connections that come then.

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{ServerConfig, server::WebPkiClientVerifier};

use super::{
    Identity, TlsError,
    pem::{PROTOCOL, authorities, provider, refused},
};

/// Files are looked at for changes at most so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A server's certificate and key, and the authorities whose clients it lets in. Cloned, it is the same one.
///
/// The files are looked at again when clients connect: a renewed certificate counts without a restart, and files
/// that cannot be used are said in the log while the last good ones stay in force.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    identity: Identity,
    client_ca_file: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    /// Of the files as they were when they were read.
    stamp: Vec<Option<Stamp>>,
    looked_at: Instant,
}

/// What changes with a file: inode, length, time of the change.
type Stamp = (u64, u64, i64, i64);

impl ServerTls {
    /// Reads a certificate (PEM, the certificate itself first) and its key, to which nobody but its owner may have
    /// rights, except that the group may read it. With `client_ca_file`, only clients come in whose own certificate
    /// was signed by an authority in it.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn new(
        certificate_file: impl AsRef<Path>,
        key_file: impl AsRef<Path>,
        client_ca_file: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let identity = Identity {
            certificate_file: certificate_file.as_ref().to_owned(),
            key_file: key_file.as_ref().to_owned(),
        };
        let client_ca_file = client_ca_file.map(Path::to_owned);
        // Before the files are read: what changes meanwhile is seen as a change.
        let stamp = stamp(&identity, client_ca_file.as_deref());
        let config = load(&identity, client_ca_file.as_deref())?;
        let state = Mutex::new(State { config, stamp, looked_at: Instant::now() });
        Ok(Self(Arc::new(Inner { identity, client_ca_file, state })))
    }

    /// Whether clients must show a certificate.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.0.client_ca_file.is_some()
    }

    /// What holds for a connection that is made now.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let Inner { identity, client_ca_file, state } = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() >= LOOK_EVERY {
            state.looked_at = Instant::now();
            let now = stamp(identity, client_ca_file.as_deref());
            if now != state.stamp {
                state.stamp = now;
                match load(identity, client_ca_file.as_deref()) {
                    Ok(config) => state.config = config,
                    Err(error) => {
                        let source = std::error::Error::source(&error);
                        let source = source.map(|source| format!(": {source}")).unwrap_or_default();
                        crate::server::logger()
                            .warning(format!("the last good certificate stays in force: {error}{source}"));
                    }
                }
            }
        }
        Arc::clone(&state.config)
    }
}

/// Never shows the key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { identity, client_ca_file, .. } = &*self.0;
        f.debug_struct("ServerTls")
            .field("certificate_file", &identity.certificate_file)
            .field("key_file", &identity.key_file)
            .field("client_ca_file", client_ca_file)
            .finish()
    }
}

fn stamp(identity: &Identity, client_ca_file: Option<&Path>) -> Vec<Option<Stamp>> {
    let of = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    let own = [identity.certificate_file.as_path(), identity.key_file.as_path()];
    own.into_iter().chain(client_ca_file).map(of).collect()
}

fn load(identity: &Identity, client_ca_file: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(&error))?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::Refused(error.to_string()))?)
        }
    };
    let (chain, key) = identity.read()?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| identity.fault(&error))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // Nobody resumes: connections last, and a certificate that is not believed any more is to be found out.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}
