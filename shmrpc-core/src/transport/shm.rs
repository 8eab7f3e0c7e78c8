//! The shared-memory transport: rings in regions that the client owns, claimed by any worker of the
//! service; a link (Unix socket) between each client and worker that hands regions over and tells of
//! deaths; a directory in which they find each other.
//!
//! `node` is what a process has once, `client` and `worker` are the two ends of a call, `observer` looks on.

pub(crate) mod client;
mod directory;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hub;
mod known;
mod link;
mod message;
mod node;
pub(crate) mod observer;
mod streams;
pub(crate) mod worker;

pub(crate) use self::message::LAYOUT_VERSION;
