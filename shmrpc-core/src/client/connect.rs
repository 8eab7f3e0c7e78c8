//! From endpoints to a [`Connection`]: each address is tried in order, the first that answers is
//! checked against the client's methods and kept; the others are for when nobody serves there any more.

use std::{sync::Arc, time::Duration};

use super::{
    Connection,
    alternatives::{Addresses, Alternatives},
};
use crate::{
    endpoint::{Endpoint, IntoEndpoints},
    error::ConnectError,
    method::ServiceInfo,
    secret::Secret,
    tls::ClientTls,
    transport,
};

/// How to connect. `Default` is right for most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long one endpoint may take to answer (default 5 s).
    pub timeout: Duration,
    /// Deadline of calls whose method has none of its own; overrides the method's too when set through
    /// [`Connection::with_deadline`]. `None`: 30 s.
    pub deadline: Option<Duration>,
    /// For how long a call waits for a worker when none is alive, before it fails with
    /// [`RpcError::Unavailable`](crate::RpcError::Unavailable) (default 10 s).
    pub reconnect_timeout: Duration,
    /// Compress large, compressible TCP payloads with snappy if the server agrees (default off).
    pub compress: bool,
    /// Largest message that is sent or taken; `None`: the transport's default (16 MiB over TCP, 1 GiB
    /// over shared memory).
    pub max_message_bytes: Option<u64>,
    /// The secret that TCP servers and this client prove to each other. `None`: that of the environment
    /// ([`Secret::from_env`]), if there is one. With a secret, no server is talked to that does not prove it.
    pub secret: Option<Secret>,
    /// Whom to believe behind `tls://`, and what to show there. `None`: what the environment says
    /// ([`ClientTls::from_env`]). With it, no `tcp://` address is talked to.
    pub tls: Option<ClientTls>,
    /// The runtime folder; `None`: `$SHMRPC_DIR`, else `$XDG_RUNTIME_DIR/shmrpc`, else `/tmp/shmrpc-UID`.
    pub runtime_dir: Option<std::path::PathBuf>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            deadline: None,
            reconnect_timeout: Duration::from_secs(10),
            compress: false,
            max_message_bytes: None,
            secret: None,
            tls: None,
            runtime_dir: None,
        }
    }
}

impl Connection {
    /// Connects a client made from `info`, blocking the thread: each endpoint in order, the first that
    /// answers is taken, and the methods are checked.
    ///
    /// # Errors
    /// [`ConnectError::Mismatch`] when the first server that answers has other methods than the client;
    /// otherwise what went wrong at the one endpoint, or at all of them.
    pub fn connect_blocking(
        endpoints: impl IntoEndpoints,
        info: &'static ServiceInfo,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let connection = first_that_answers(endpoints.into_endpoints()?, Some(info), options)?;
        connection.0.check(&connection.1, info.methods)?;
        Ok(connection.0)
    }

    /// As [`Self::connect_blocking`], for async code: the handshake runs on a thread of its own, so that
    /// no particular runtime is needed.
    ///
    /// # Errors
    /// As [`Self::connect_blocking`].
    pub async fn connect(
        endpoints: impl IntoEndpoints,
        info: &'static ServiceInfo,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let endpoints = endpoints.into_endpoints()?;
        let options = options.clone();
        super::pending::on_thread(move || Self::connect_blocking(endpoints, info, &options)).await
    }

    /// Connects without a definition: the endpoint must name its service (or port), and whatever the
    /// server offers is taken.
    ///
    /// # Errors
    /// As [`Self::connect_blocking`], never a mismatch.
    pub fn connect_any(
        endpoints: impl IntoEndpoints,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        first_that_answers(endpoints.into_endpoints()?, None, options).map(|(connection, _)| connection)
    }
}

fn first_that_answers(
    endpoints: Vec<Endpoint>,
    info: Option<&'static ServiceInfo>,
    options: &ConnectOptions,
) -> Result<(Connection, String), ConnectError> {
    let mut errors = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        match transport::connect(endpoint, info, options) {
            Ok(transport) if endpoints.len() == 1 => {
                return Ok((Connection::new(transport, options.deadline), endpoint.to_string()));
            }
            Ok(transport) => {
                let (name, options) = (endpoint.to_string(), options.clone());
                let deadline = options.deadline;
                let addresses = Addresses { endpoints, info, options };
                let transport = Arc::new(Alternatives::new(addresses, index, transport));
                return Ok((Connection::new(transport, deadline), name));
            }
            Err(error) => errors.push(error),
        }
    }
    match errors.len() {
        1 => Err(errors.remove(0)),
        _ => Err(ConnectError::All(errors)),
    }
}
