//! The supervisor: `shmrpc-service`, the daemon that keeps the services of an ini file alive.
//!
//! A service entry flows through the modules in this order:
//! ini text → [`config`] → [`plan`] (with [`program`]) → [`machine`], driven by the [`daemon`]'s loop →
//! [`process`] → [`output`] and [`sample`] → `report` and `history` → `handle`, which the dashboard holds.
//!
//! [`cli`] is the other program, `shmrpc`: a client, of services and of the daemon's [`control`] socket.

mod cgroup;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod history;
pub mod listen;
pub mod logging;
pub mod machine;
pub mod notify;
pub mod output;
pub mod plan;
pub mod process;
pub mod program;
mod report;
pub mod sample;
pub mod scaling;
pub mod sources;
pub mod strays;
