//! The supervisor: `shmrpc-service`, the daemon that keeps the services of an ini file alive.
//!
//! A service entry flows through the modules in this order:
//! ini text → [`config`] → [`plan`] (with [`program`]) → what is to run.

pub mod config;
pub mod plan;
pub mod program;
