//! What can go wrong with a [`HybridLock`](super::HybridLock). Every message names the lock.

use std::{io, time::Duration};

/// A lock that could not be opened, taken or released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The name cannot be a semaphore's.
    #[error("lock name {name:?}: {reason}")]
    InvalidName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Only 0 and 1 are possible.
    #[error("lock {name}: initial value {value} is neither 0 nor 1")]
    InvalidInitialValue {
        /// The lock's name.
        name: String,
        /// The value as given.
        value: u32,
    },
    /// Permissions are three octal digits.
    #[error("lock {name}: permissions {permissions:#o} exceed 0o777")]
    InvalidPermissions {
        /// The lock's name.
        name: String,
        /// The permissions as given.
        permissions: u32,
    },
    /// There is none of that name.
    #[error("no semaphore named {name}")]
    NoSuchSemaphore {
        /// The lock's name.
        name: String,
    },
    /// There is one of that name already.
    #[error("semaphore {name} exists already")]
    SemaphoreExists {
        /// The lock's name.
        name: String,
    },
    /// The permissions of the lock, or of somebody else's, forbid it.
    #[error("lock {name}: permission denied while {doing}")]
    PermissionDenied {
        /// The lock's name.
        name: String,
        /// What was being done.
        doing: &'static str,
    },
    /// An object of that name exists, but it was not made by this library, or by a version that does not
    /// agree with this one.
    #[error("{name} is no hybrid lock: {reason}")]
    NotALock {
        /// The lock's name.
        name: String,
        /// What differs.
        reason: &'static str,
    },
    /// The lock was made in another pid or time namespace: its owners' deaths could not be proved here.
    #[error("lock {name} belongs to another pid or time namespace")]
    OtherNamespace {
        /// The lock's name.
        name: String,
    },
    /// Somebody held it for all of that time.
    #[error("lock {name} not free within {after:?}")]
    TimedOut {
        /// The lock's name.
        name: String,
        /// The timeout that was in force.
        after: Duration,
    },
    /// This process does not hold it.
    #[error("lock {name} is not held by this process{}", .owner.map_or(String::new(), |pid| format!(" but by {pid}")))]
    NotOwner {
        /// The lock's name.
        name: String,
        /// The process that does, if any.
        owner: Option<u32>,
    },
    /// A new lock was made in its place: connect again.
    #[error("lock {name} was replaced by a new one")]
    Replaced {
        /// The lock's name.
        name: String,
    },
    /// Too many posts that nobody took.
    #[error("signal {name} has as many posts as it can hold")]
    Overflow {
        /// The lock's name.
        name: String,
    },
    /// The operating system refused something.
    #[error("lock {name}: {doing}")]
    Io {
        /// The lock's name.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl LockError {
    /// The error for a refusal of the system, with the usual ones told apart.
    pub(super) fn from_io(name: &str, doing: &'static str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoSuchSemaphore { name },
            io::ErrorKind::AlreadyExists => Self::SemaphoreExists { name },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { name, doing },
            _ => Self::Io { name, doing, source },
        }
    }
}
