//! The macros of shmrpc.
