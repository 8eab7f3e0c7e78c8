//! What a gateway allows, with defaults that are safe on loopback.

use std::{net::SocketAddr, time::Duration};

use crate::{
    error::ServeError,
    frame::{DEFAULT_MAX_MESSAGE_BYTES, handshake::MAX_LIMIT_BYTES},
    secret::Secret,
    tls::ServerTls,
};

/// Limits and admission of a [`Gateway`](super::Gateway).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpOptions {
    /// A further name under which the service may be asked for (its name with a prefix, say).
    pub service: Option<String>,
    /// Connections at a time; those beyond are told and closed (default 10,240).
    pub max_connections: usize,
    /// Calls under way in one connection; those beyond are answered busy (default 1024).
    pub max_in_flight: u32,
    /// Longest arguments, reply or item (default 16 MiB).
    pub max_message_bytes: u64,
    /// Arguments of calls under way in one connection; beyond that it is not read from until there is room
    /// (default 64 MiB).
    pub max_arguments_bytes: usize,
    /// The same for all connections together (default 1 GiB).
    pub max_all_arguments_bytes: usize,
    /// A handshake must be done in that time (default 10 s).
    pub handshake_timeout: Duration,
    /// A frame that has begun must be complete in that time, plus a second for every 64 KiB of it
    /// (default 10 s).
    pub frame_timeout: Duration,
    /// A connection in which nothing has been under way for so long is told to go, and closed; a client of ours comes
    /// back by itself with its next call (default: never, as idle connections cost next to nothing).
    pub idle_timeout: Option<Duration>,
    /// Agree to snappy if the client asks for it (default yes).
    pub compress: bool,
    /// Allow guarded encodings (bincode). Default no.
    pub force_insecure_serialisation: bool,
    /// The secret that every client must prove, and that is proved to it. It decides alone who comes in: from
    /// other machines too, and whatever the local user's uid. Default none.
    pub secret: Option<Secret>,
    /// Speak TLS, and nothing else (default no). With authorities for clients' certificates it decides who comes in,
    /// as a secret does; with both, both are asked for. Without them it hides what is said, and tells nothing of
    /// who says it: other machines then need a secret, or [`Self::allow_remote`], as in the clear.
    pub tls: Option<ServerTls>,
    /// Allow peers on other machines without anything that authenticates them. Default no.
    pub allow_remote: bool,
    /// Allow other users of this machine. By default only processes of this process's own uid, and
    /// root's, may connect over loopback.
    pub allow_any_local_user: bool,
    /// Uids of this machine that may connect besides.
    pub allow_uids: Vec<u32>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            service: None,
            max_connections: 10_240,
            max_in_flight: 1024,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            max_arguments_bytes: 64 << 20,
            max_all_arguments_bytes: 1 << 30,
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(10),
            idle_timeout: None,
            compress: true,
            force_insecure_serialisation: false,
            secret: None,
            tls: None,
            allow_remote: false,
            allow_any_local_user: false,
            allow_uids: Vec::new(),
        }
    }
}

impl TcpOptions {
    /// Whether whoever has shaken hands has proved to be somebody.
    pub(super) fn authenticates(&self) -> bool {
        self.secret.is_some() || self.tls.as_ref().is_some_and(ServerTls::is_mutual)
    }

    /// Whether an address may be listened on: one that other machines reach must be guarded, or said to be open.
    pub(crate) fn check_bind(&self, address: SocketAddr) -> Result<(), ServeError> {
        if address.ip().to_canonical().is_loopback() || self.authenticates() || self.allow_remote {
            return Ok(());
        }
        Err(ServeError::Unguarded(address))
    }

    /// The limit on messages, within what the wire format can carry.
    pub(super) fn message_limit_bytes(&self) -> u64 {
        self.max_message_bytes.min(MAX_LIMIT_BYTES)
    }
}
