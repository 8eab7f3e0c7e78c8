//! The engine of shmrpc: encodings, transports, client and server.
//!
//! Applications use the facade crate `shmrpc`, which re-exports all of this beside the macros.

pub mod client;
pub mod codec;
pub mod endpoint;
pub mod error;
pub mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod method;
pub mod observe;
pub mod peer_uid;
pub mod process;
pub mod runtime_dir;
pub mod schema;
pub mod secret;
pub mod server;
#[expect(unsafe_code, reason = "mappings, semaphores and words that other processes write")]
mod shm;
pub mod stream;
pub mod tls;
mod transport;

pub use client::{ConnectOptions, Connection, DEFAULT_DEADLINE, Door};
pub use codec::Encoding;
pub use endpoint::Endpoint;
pub use error::{CallError, ConnectError, NoError, RpcError, ServeError, Status};
pub use runtime_dir::{RuntimeDir, RuntimeDirError};
pub use secret::{Secret, SecretError};
pub use server::{Definition, Loan, LoanError, ServeOptions, Service, Serving, ShmBytes, logger, serve};
pub use shm::lock::{Acquired, HybridLock, LockError, LockGuard, LockMode};
pub use stream::{BlockingStreamCall, NoItems, StreamCall, StreamClosed, StreamReceiver, StreamSender};
pub use tls::{ClientTls, ServerTls, TlsError};
pub use transport::inproc::{Published, in_process, publish};
pub use transport::tcp::gateway::{Gateway, TcpOptions};

/// Whose `JsonSchema` a type derives to tell its schema.
#[cfg(feature = "schema")]
pub use schemars;
