//! The service that the victims serve and call, and calls whose answers are checked to the byte. The victims'
//! programs are in `src/bin`; `tests/kill_points` includes both modules here, to be the other side.

pub mod load;
pub mod service;

// The feature is what this package is for.
use shmrpc_core as _;
