//! What the log hears of a machine's decisions: each with its reason, in words.

use std::{fmt, time::Duration};

use super::{Exit, WorkerId};

/// A decision, or what led to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A worker serves.
    Ready(WorkerId),
    /// A worker ended as it was told to, or as programs may.
    Ended(WorkerId, Exit),
    /// A worker ended and will be replaced after that delay.
    Died(WorkerId, Exit, Duration),
    /// A worker ended once too often.
    GaveUp(WorkerId, Exit, usize),
    /// A worker was not ready in time and is killed.
    NotReady(WorkerId, Duration),
    /// A worker's process has not run for so long, and is killed.
    Silent(WorkerId, Duration),
    /// A worker did not stop in time and is killed.
    NotStopped(WorkerId, Duration),
    /// A worker shall be replaced, for that reason.
    Worn(WorkerId, String),
    /// A worker is about to be replaced: so many of so many.
    Replacing(WorkerId, usize, usize),
    /// All workers that were to be replaced have been, so many.
    Rolled(usize),
    /// A new worker did not become ready; so many old ones stay.
    RollStopped(WorkerId, Exit, usize),
    /// The pool grows or shrinks.
    Resized {
        /// So many workers before.
        from: usize,
        /// So many from now on.
        to: usize,
        /// Why.
        reason: String,
    },
    /// The size of the pool is the rule's again.
    Automatic,
}

impl Report {
    /// The worker that it is about, if it is about one.
    #[must_use]
    pub fn worker(&self) -> Option<WorkerId> {
        match self {
            Self::Ready(worker)
            | Self::Ended(worker, _)
            | Self::Died(worker, ..)
            | Self::GaveUp(worker, ..)
            | Self::NotReady(worker, _)
            | Self::Silent(worker, _)
            | Self::NotStopped(worker, _)
            | Self::Worn(worker, _)
            | Self::Replacing(worker, ..)
            | Self::RollStopped(worker, ..) => Some(*worker),
            Self::Rolled(_) | Self::Resized { .. } | Self::Automatic => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(_) => f.write_str("ready"),
            Self::Ended(_, exit) => write!(f, "{exit}"),
            Self::Died(_, exit, delay) => write!(f, "{exit}; next start in {delay:?}"),
            Self::GaveUp(_, exit, count) => write!(f, "{exit}; given up after {count} failures"),
            Self::NotReady(_, after) => write!(f, "not ready after {after:?}: killed"),
            Self::Silent(_, time) => write!(f, "has not run for {time:?}: killed"),
            Self::NotStopped(_, after) => write!(f, "did not stop within {after:?}: killed"),
            Self::Worn(_, reason) => write!(f, "will be replaced: {reason}"),
            Self::Replacing(_, number, all) => write!(f, "is being replaced ({number} of {all})"),
            Self::Rolled(count) => write!(f, "rolling restart done: {count} replaced"),
            Self::RollStopped(_, exit, left) => {
                write!(f, "{exit} before it was ready: rolling restart stopped, {left} old ones stay")
            }
            Self::Resized { from, to, reason } => write!(f, "{from} → {to} workers: {reason}"),
            Self::Automatic => f.write_str("the pool's size follows its load again"),
        }
    }
}
