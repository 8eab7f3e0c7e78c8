//! The seam between the dashboard and the daemon behind it: [`Daemon`], which the supervisor implements
//! and tests imitate. Everything that a page or a REST route shows or does goes through it; this crate
//! starts no process, reads no counter and knows no ini key.
//!
//! ```text
//! supervisor state, counters, logs → Daemon → page, REST, event streams
//! ```

use std::{fmt, future::Future, pin::Pin, str::FromStr, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use shmrpc_core::{
    RpcError,
    client::{Door, Reply},
};
use tokio::sync::watch;

use crate::{
    history::{EventQuery, HistoryPage, HistoryQuery},
    log::LogPage,
    snapshot::{ServiceStatus, Snapshot},
};

/// A future that a [`Daemon`] returns: boxed, so that the trait can be used as `dyn Daemon`.
pub type DaemonFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the dashboard needs of the daemon. Called from the tasks of [`serve`](crate::serve), often at
/// once: implementations answer from memory and never block.
pub trait Daemon: Send + Sync + 'static {
    /// The daemon now. Called for every request and once a second for each open page: usage and counters
    /// may be as old as the last sample, statuses must be current, so that whoever has just stopped a
    /// service sees it stopping.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Orders `action` for the service of that name (with its prefix). Resolves when the order is
    /// accepted or refused, not when it is carried out: the snapshot tells how it goes.
    fn control<'a>(&'a self, service: &'a str, action: Action) -> DaemonFuture<'a, Result<(), ControlError>>;

    /// Fixes the size of a service's pool, or leaves it to its load again.
    fn scale<'a>(&'a self, service: &'a str, to: ScaleTo) -> DaemonFuture<'a, Result<(), ControlError>> {
        let refusal = ControlError::Refused(format!("{service} cannot be scaled to {to} here"));
        Box::pin(std::future::ready(Err(refusal)))
    }

    /// Reads the configuration again; resolves when that is done, with what was changed.
    fn reload(&self) -> DaemonFuture<'_, Result<String, ControlError>> {
        Box::pin(std::future::ready(Err(ControlError::Refused("nothing can be reloaded here".into()))))
    }

    /// Reads the configuration without a change to anything; resolves with what it would run, in words.
    fn check(&self) -> DaemonFuture<'_, Result<String, ControlError>> {
        Box::pin(std::future::ready(Err(ControlError::Refused("nothing can be checked here".into()))))
    }

    /// Has the daemon end and leave its workers to the next one.
    fn hand_over(&self) -> DaemonFuture<'_, Result<(), ControlError>> {
        Box::pin(std::future::ready(Err(ControlError::Refused("nothing can be handed over here".into()))))
    }

    /// Has the daemon stop all services and end.
    fn shutdown(&self) -> DaemonFuture<'_, Result<(), ControlError>> {
        Box::pin(std::future::ready(Err(ControlError::Refused("nothing can be shut down here".into()))))
    }

    /// Runs a method. The service, the method, its shape and the rule on guarded encodings have been
    /// checked against the snapshot by then; whether a worker answers has not. Dropping the future
    /// cancels the call.
    ///
    /// A service's own error is a [`Reply`] whose status is `ServiceError`.
    fn call<'a>(&'a self, call: Call<'a>) -> DaemonFuture<'a, Result<Reply, RpcError>>;

    /// Runs a method that streams to its caller, takes a stream from it, or both; what [`call`](Self::call) says holds
    /// here too. Dropping the stream that is given back cancels the call, and drops `items`, which are there for
    /// methods that take them.
    fn stream<'a>(
        &'a self,
        call: Call<'a>,
        items: Option<CallItems>,
    ) -> DaemonFuture<'a, Result<CallStream, RpcError>> {
        drop(items);
        let refusal = RpcError::Refused(format!("{}.{} cannot be streamed here", call.service, call.method));
        Box::pin(std::future::ready(Err(refusal)))
    }

    /// Lines of the console log, oldest first, at most `limit`: those after the cursor `after`, or
    /// without one the newest. See [`LogTail`](crate::log::LogTail), which does this.
    fn log_since(&self, after: Option<u64>, limit: usize) -> LogPage;

    /// What was measured of a service, of one of its workers, or of the daemon. What nobody knows is a hole.
    fn history(&self, query: HistoryQuery) -> DaemonFuture<'_, HistoryPage> {
        Box::pin(std::future::ready(query.grid(1000)))
    }

    /// What the daemon has done and seen: lines of the stream `daemon`, also those of the daemons before it where
    /// they are kept. Cursors are those of the console log.
    fn events(&self, query: EventQuery) -> DaemonFuture<'_, LogPage> {
        Box::pin(std::future::ready(query.choose(self.log_since(query.after, usize::MAX))))
    }

    /// Tells the cursor of the newest line whenever there is one; streams then ask
    /// [`log_since`](Self::log_since). A slow reader therefore never holds lines back in a queue.
    fn log_changes(&self) -> watch::Receiver<u64>;
}

/// The items that a caller streams, encoded as the call's door says. An error ends them, and is the service's to know.
pub type CallItems = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// What comes of a streaming call: items, and at the end the reply or an error.
pub type CallStream = Pin<Box<dyn Stream<Item = Result<Part, RpcError>> + Send>>;

/// A part of a [`CallStream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An item, encoded as the call's door says.
    Item(Vec<u8>),
    /// The end.
    Reply(Reply),
}

/// What can be done with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Start its workers.
    Start,
    /// Drain and end its workers.
    Stop,
    /// Replace its workers by new ones, one after the other; of a service that does not run: start it.
    Restart,
    /// The same, all at once: for a moment nobody serves.
    #[serde(rename = "restart-at-once")]
    RestartAtOnce,
}

impl Action {
    /// `start`, `stop`, `restart` or `restart-at-once`: the last part of the route.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::RestartAtOnce => "restart-at-once",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Start, Self::Stop, Self::Restart, Self::RestartAtOnce]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

/// A size for a pool: `3`, `+1`, `-1` or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleTo {
    /// So many workers, whatever the load.
    Workers(u32),
    /// So many more than now.
    More(u32),
    /// So many fewer than now.
    Fewer(u32),
    /// What the load asks for.
    Auto,
}

impl FromStr for ScaleTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            digits.parse().map_err(|_| format!("{text:?} is no size of a pool: 3, +1, -1 or auto"))
        };
        match text.as_bytes().first() {
            Some(b'+') => number(&text[1..]).map(Self::More),
            Some(b'-') => number(&text[1..]).map(Self::Fewer),
            _ if text.eq_ignore_ascii_case("auto") => Ok(Self::Auto),
            _ => number(text).map(Self::Workers),
        }
    }
}

impl fmt::Display for ScaleTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workers(count) => write!(f, "{count}"),
            Self::More(count) => write!(f, "+{count}"),
            Self::Fewer(count) => write!(f, "-{count}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// One call that came in by REST.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The service's name, with its prefix.
    pub service: &'a str,
    /// The method's name.
    pub method: &'a str,
    /// How `body` is written: [`Door::Json`] is a JSON array of the arguments (it has been checked to
    /// begin like one, no more), [`Door::Native`] the method's own encoding.
    pub door: Door,
    /// The encoded arguments.
    pub body: &'a [u8],
    /// The caller's own deadline; `None`: the method's, or the default.
    pub deadline: Option<Duration>,
}

/// An order that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no service of that name.
    #[error("no service {0:?}")]
    NotFound(String),
    /// The service is in a state in which the order makes no sense: starting what runs, stopping what is
    /// stopped.
    #[error("cannot {} {service}: it is {status}", .action.name())]
    Conflict {
        /// The service's name.
        service: String,
        /// The order.
        action: Action,
        /// Its state.
        status: ServiceStatus,
    },
    /// It asks for what is not allowed, or cannot be.
    #[error("{0}")]
    Refused(String),
    /// The daemon is about to end and takes no orders.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}
