//! What can go wrong, one enum a boundary: [`CallError`] for a call, [`ConnectError`] for connecting,
//! [`ServeError`] for a server. [`Status`] is the same on the wire.

use std::{fmt, io, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{CodecError, DecodeLimit},
    endpoint::EndpointError,
};

/// The outcome of a call, as it travels. The numbers are part of the wire format; an unknown number is
/// read as [`Status::Internal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Status {
    /// The body is the reply.
    Ok = 0,
    /// The body is the user's typed error.
    ServiceError = 1,
    /// The server has no method of that id; the body names what is known.
    NoSuchMethod = 2,
    /// The arguments could not be decoded.
    BadArguments = 3,
    /// The handler panicked; the worker lives on.
    Panicked = 4,
    /// The deadline passed at the server.
    DeadlineExceeded = 5,
    /// The caller cancelled.
    Cancelled = 6,
    /// Not allowed: a guarded encoding, a missing token.
    Refused = 7,
    /// A message exceeded a limit; the body says which.
    TooLarge = 8,
    /// A queue or limit is full; nothing was run, the call may be repeated.
    Busy = 9,
    /// The worker that ran the call died.
    WorkerDied = 10,
    /// No worker of the service is alive, or it is going away; nothing was run.
    Unavailable = 11,
    /// No memory for the message, or a byte cap is reached.
    NoSpace = 12,
    /// A fault of the server or of this library.
    Internal = 13,
    /// The peer broke the protocol.
    Protocol = 14,
    /// The arguments break a limit on decoding; the body begins with its name.
    DecodeLimit = 15,
}

impl Status {
    /// The status with that number.
    #[must_use]
    pub const fn from_u16(number: u16) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::ServiceError,
            2 => Self::NoSuchMethod,
            3 => Self::BadArguments,
            4 => Self::Panicked,
            5 => Self::DeadlineExceeded,
            6 => Self::Cancelled,
            7 => Self::Refused,
            8 => Self::TooLarge,
            9 => Self::Busy,
            10 => Self::WorkerDied,
            11 => Self::Unavailable,
            12 => Self::NoSpace,
            14 => Self::Protocol,
            15 => Self::DecodeLimit,
            _ => Self::Internal,
        }
    }
}

/// A call that failed for a reason other than the user's own error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The worker that had taken the call died before it answered. Whether the call had effects is
    /// unknown; an idempotent method has been tried once more already.
    #[error("worker {worker} of {service} died while it ran {method}")]
    WorkerDied {
        /// The service's name.
        service: String,
        /// The method's name.
        method: String,
        /// The worker, as `pid 1234`, or `unknown`.
        worker: String,
    },
    /// No answer came in time. The server may still be at work.
    #[error("no answer from {service}.{method} within {after:?}")]
    DeadlineExceeded {
        /// The service's name.
        service: String,
        /// The method's name.
        method: String,
        /// The deadline that was in force.
        after: Duration,
    },
    /// The connection was lost, or the service was restarted, while the call was under way; whether it
    /// had effects is unknown.
    #[error("connection to {service} lost during {method}: {reason}")]
    ConnectionLost {
        /// The service's name.
        service: String,
        /// The method's name.
        method: String,
        /// What ended it.
        reason: String,
    },
    /// No worker of the service could be reached in time; the call was never run.
    #[error("{service} is unavailable: {reason}")]
    Unavailable {
        /// The service's name.
        service: String,
        /// What was missing.
        reason: String,
    },
    /// The server does not offer the method.
    #[error("no such method: {0}")]
    NoSuchMethod(String),
    /// The server could not decode the arguments.
    #[error("arguments refused by the server: {0}")]
    BadArguments(String),
    /// A value breaks a limit on decoding: it was refused before it took the memory or the stack. Of arguments, nothing
    /// was run; the connection is usable.
    #[error("{what} refused: {limit}")]
    DecodeLimit {
        /// `arguments`, by the server, or `reply`, by this side.
        what: &'static str,
        /// Which limit.
        limit: DecodeLimit,
    },
    /// The handler panicked. The worker lives on; the call had whatever effects it had until then.
    #[error("handler panicked: {0}")]
    Panicked(String),
    /// The call was cancelled.
    #[error("call cancelled")]
    Cancelled,
    /// Not allowed.
    #[error("refused: {0}")]
    Refused(String),
    /// A message exceeds a limit. Nothing was sent, or nothing was run; the connection is usable.
    #[error("{what} of {len_bytes} bytes exceeds the limit of {limit_bytes} bytes")]
    TooLarge {
        /// `arguments`, `reply` or `frame`.
        what: &'static str,
        /// Its length.
        len_bytes: u64,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// A size limit at the server, in its words.
    #[error("too large: {0}")]
    TooLargeAtServer(String),
    /// A queue or limit is full; the call was not run.
    #[error("busy: {0}")]
    Busy(String),
    /// No memory, or a byte cap is reached.
    #[error("no space: {0}")]
    NoSpace(String),
    /// The connection was made before a `fork`: the child must connect anew.
    #[error("connection belongs to process {owner}, this is {current}: connect again after fork")]
    Forked {
        /// The process that connected.
        owner: u32,
        /// The process that calls.
        current: u32,
    },
    /// A value could not be encoded, or the reply not be decoded.
    #[error("{0}")]
    Codec(String),
    /// The peer broke the protocol; the connection is closed.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// A fault of the server or of this library.
    #[error("internal error: {0}")]
    Internal(String),
}

impl RpcError {
    /// The error that a reply with that status (neither [`Status::Ok`] nor [`Status::ServiceError`])
    /// and body stands for.
    #[must_use]
    pub fn from_reply(status: Status, body: &[u8], service: &str, method: &str, after: Duration) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        match status {
            Status::NoSuchMethod => Self::NoSuchMethod(text),
            Status::BadArguments => Self::BadArguments(text),
            Status::DecodeLimit => match DecodeLimit::from_text(&text) {
                Some(limit) => Self::DecodeLimit { what: "arguments", limit },
                // A newer server's.
                None => Self::BadArguments(text),
            },
            Status::Panicked => Self::Panicked(text),
            Status::DeadlineExceeded => {
                Self::DeadlineExceeded { service: service.into(), method: method.into(), after }
            }
            Status::Cancelled => Self::Cancelled,
            Status::Refused => Self::Refused(text),
            Status::TooLarge => Self::TooLargeAtServer(text),
            Status::Busy => Self::Busy(text),
            Status::WorkerDied => {
                Self::WorkerDied { service: service.into(), method: method.into(), worker: text }
            }
            Status::Unavailable => Self::Unavailable { service: service.into(), reason: text },
            Status::NoSpace => Self::NoSpace(text),
            Status::Protocol => Self::Protocol(text),
            Status::Ok | Status::ServiceError | Status::Internal => Self::Internal(text),
        }
    }

    /// The status and text in which a gateway passes this error on.
    #[must_use]
    pub fn to_reply(&self) -> (Status, String) {
        match self {
            Self::WorkerDied { worker, .. } => (Status::WorkerDied, worker.clone()),
            Self::DeadlineExceeded { .. } => (Status::DeadlineExceeded, self.to_string()),
            Self::ConnectionLost { .. } => (Status::WorkerDied, "unknown".into()),
            Self::Unavailable { reason, .. } => (Status::Unavailable, reason.clone()),
            Self::NoSuchMethod(text) => (Status::NoSuchMethod, text.clone()),
            Self::BadArguments(text) => (Status::BadArguments, text.clone()),
            Self::DecodeLimit { what: "arguments", limit } => (Status::DecodeLimit, limit.to_text()),
            Self::Panicked(text) => (Status::Panicked, text.clone()),
            Self::Cancelled => (Status::Cancelled, self.to_string()),
            Self::Refused(text) => (Status::Refused, text.clone()),
            Self::TooLarge { .. } => (Status::TooLarge, self.to_string()),
            Self::TooLargeAtServer(text) => (Status::TooLarge, text.clone()),
            Self::Busy(text) => (Status::Busy, text.clone()),
            Self::NoSpace(text) => (Status::NoSpace, text.clone()),
            Self::Protocol(text) => (Status::Protocol, text.clone()),
            Self::Forked { .. } | Self::Codec(_) | Self::DecodeLimit { .. } | Self::Internal(_) => {
                (Status::Internal, self.to_string())
            }
        }
    }
}

impl From<CodecError> for RpcError {
    fn from(error: CodecError) -> Self {
        match error.limit {
            Some(limit) => Self::DecodeLimit { what: "reply", limit },
            None => Self::Codec(error.to_string()),
        }
    }
}

/// A call that failed: by the service's own decision, or on the way.
///
/// `E` is the error type of the method's `Result`; methods that return no `Result` have
/// `CallError<NoError>`, whose first variant cannot occur.
#[derive(Clone, Debug)]
pub enum CallError<E = NoError> {
    /// The handler returned `Err`.
    Service(E),
    /// Anything else.
    Rpc(RpcError),
}

/// The user error of a method that returns no `Result`: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(error) => error.fmt(f),
            Self::Rpc(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for CallError<E> {}

impl<E> From<RpcError> for CallError<E> {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl<E> From<CodecError> for CallError<E> {
    fn from(error: CodecError) -> Self {
        Self::Rpc(error.into())
    }
}

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be understood.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Nobody serves that name there.
    #[error("nobody serves {service} at {endpoint}")]
    NotFound {
        /// The service's name.
        service: String,
        /// The address that was tried.
        endpoint: String,
    },
    /// Server and client disagree about methods; every disagreement is listed.
    #[error("{service} at {endpoint} differs from this client: {}", .mismatches.join("; "))]
    Mismatch {
        /// The service's name.
        service: String,
        /// The address that was tried.
        endpoint: String,
        /// One text a method, naming it and both sides.
        mismatches: Vec<String>,
    },
    /// The server refused the connection.
    #[error("{endpoint} refused the connection: {reason}")]
    Refused {
        /// The address that was tried.
        endpoint: String,
        /// The server's words.
        reason: String,
    },
    /// The server does not prove who it is, by the shared secret or by its certificate; or our secret cannot be
    /// read.
    #[error("{endpoint} is not trusted: {reason}")]
    Untrusted {
        /// The address that was tried.
        endpoint: String,
        /// What is missing.
        reason: String,
    },
    /// TLS cannot be begun: this side is not prepared for it.
    #[error("{endpoint} cannot be spoken to over TLS")]
    Tls {
        /// The address that was tried.
        endpoint: String,
        /// What is missing or unusable.
        source: crate::tls::TlsError,
    },
    /// The handshake did not end in time.
    #[error("{endpoint} did not complete the handshake within {after:?}")]
    TimedOut {
        /// The address that was tried.
        endpoint: String,
        /// The timeout in force.
        after: Duration,
    },
    /// The operating system refused something.
    #[error("{endpoint}: {doing}")]
    Io {
        /// The address that was tried.
        endpoint: String,
        /// What was being done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
    /// None of several addresses worked.
    #[error("no endpoint worked: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    All(Vec<ConnectError>),
}

/// A server that could not be started, or that ended in an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The operating system refused something.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
    /// The worker's configuration, handed over by the supervisor, cannot be understood.
    #[error("worker configuration: {0}")]
    Configuration(String),
    /// The secret that TCP clients must prove cannot be used.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// The certificate for TCP, its key or the authorities of clients cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// Other machines would reach an address at which nothing authenticates them.
    #[error(
        "listening on {0}, which other machines can reach, needs a shared secret (tcp.secret) or client certificates \
         (tcp.tls), or tcp.allow_remote to let anybody in"
    )]
    Unguarded(std::net::SocketAddr),
    /// A limit of the service is reached (workers, connections).
    #[error("{0}")]
    Limit(String),
}

impl ServeError {
    pub(crate) fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}
