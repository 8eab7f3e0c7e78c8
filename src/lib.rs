//! The facade: re-exports `shmrpc-core` (transports, client, server) and the macros of `shmrpc-derive`.
//! It owns no code of its own.

pub use shmrpc_core::*;
pub use shmrpc_derive::{bincode_method, json_method, msgpack_method, raw_method, service};
