//! The dashboard and the REST API of the daemon.
//!
//! [`serve`] answers HTTP on a listener for whatever implements [`Daemon`]: the supervisor in earnest, a
//! small imitation in tests and in `examples/demo.rs`. The page's sources (markup, style, scripts) are
//! embedded; it needs no other host.
//!
//! What the crate does not do: start processes, read ini files, measure. See [`daemon`] for the seam.

pub mod daemon;
pub mod log;
mod options;
mod server;
pub mod snapshot;

pub use daemon::{Action, Call, ControlError, Daemon, DaemonFuture};
pub use log::{LogLine, LogPage, LogStream, LogTail};
pub use options::WebOptions;
pub use server::serve;
pub use snapshot::{CallStatistics, MethodSnapshot};
pub use snapshot::{ServiceSnapshot, ServiceStatus, Snapshot, Usage, WorkerSnapshot, WorkerState};
