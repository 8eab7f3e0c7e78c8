//! The facade: re-exports `shmrpc-core` (transports, client, server) and the macros of `shmrpc-derive`.
//! It owns no code of its own.

pub use shmrpc_core::*;
