//! The supervisor: `shmrpc-service`, the daemon that keeps the services of an ini file alive.
//!
//! A service entry flows through the modules in this order:
//! ini text → [`config`] → [`plan`] (with [`program`]) → what is to run.
//!
//! [`cli`] is the other program, `shmrpc`: a client, which knows nothing of the daemon.

pub mod cli;
pub mod config;
pub mod plan;
pub mod program;
