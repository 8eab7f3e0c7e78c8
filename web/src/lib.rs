//! The dashboard and the REST API of the daemon.
//!
//! [`serve`] answers HTTP on a listener for whatever implements [`Daemon`]: the supervisor in earnest, a
//! small imitation in tests and in `examples/demo.rs`. The page's sources (markup, style, scripts) are
//! embedded; it needs no other host.
//!
//! ```text
//! connection → server (limits, peer) → admission (who may come in) → routes → Daemon
//!                                                                  └→ page (markup), problem (errors)
//! ```
//!
//! What the crate does not do: start processes, read ini files, measure. See [`daemon`] for the seam.

mod admission;
mod assets;
pub mod daemon;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
mod local;
pub mod log;
mod metrics;
mod openapi;
mod options;
mod page;
mod plain_json;
mod problem;
mod routes;
mod server;
pub mod snapshot;

pub use daemon::{Action, Call, CallItems, CallStream, ControlError, Daemon, DaemonFuture, Part, ScaleTo};
pub use history::{Column, EventQuery, HistoryPage, HistoryQuery, Series, WorkerSpan};
pub use local::serve_local;
pub use log::{LogLine, LogPage, LogStream, LogTail};
pub use options::WebOptions;
pub use page::format;
#[doc(hidden)]
pub use routes::addresses;
pub use server::serve;
pub use snapshot::{CallStatistics, MethodSnapshot};
pub use snapshot::{ServiceSnapshot, ServiceStatus, Snapshot, Usage, WorkerSnapshot, WorkerState};
