//! What the two ends of a link say to each other: who they are, which regions and doorbells they hand
//! over, and stream frames. Setting up is rare, so messages are JSON; calls never come this way.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{CodecError, Decode, Json},
    method::ServiceDescription,
    process::ProcessStamp,
};

/// Layout version of everything in shared memory and of these messages; both sides must agree. `Hello`, `Invite` and
/// `Refuse` alone are understood across versions: so each side learns which the other has. The feature makes programs that
/// stand for those of another release.
pub(crate) const LAYOUT_VERSION: u32 = if cfg!(feature = "other-layout") { 1_000_006 } else { 6 };

/// Why there can be nothing between us and a peer.
pub(crate) fn other_layout(theirs: u32) -> String {
    format!("its shared memory has layout version {theirs}, ours has {LAYOUT_VERSION}")
}

/// Why somebody dials a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Caller {
    /// To make calls.
    Client,
    /// To look at its counters.
    Spectator,
    /// To supervise it.
    Supervisor,
    /// A new worker of the same service, to share its board.
    Colleague,
}

/// One message; the number of descriptors that come with each is said there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Message {
    /// First message of whoever wants a worker. One descriptor: the caller's doorbell.
    Hello { version: u32, caller: Caller, service: String, id: u64, node: String, process: ProcessStamp },
    /// The worker's answer. Three descriptors: board, doorbell, counters.
    Welcome(Box<Welcome>),
    /// The worker's refusal. With a layout, which is its own, it leaves the link open: for as long as that lasts, it lives.
    Refuse {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layout: Option<u32>,
    },
    /// From a worker: the words about a call contradict each other. The client's memory is of no more use.
    Damaged { reason: String },
    /// First message of a worker that dials somebody who was there before: "greet me".
    Invite { version: u32, service: String, id: u64, worker: u64 },
    /// A client's channel, under its number on the board. One descriptor.
    Attach { channel: u64, number: u16 },
    /// A new arena of the sender. One descriptor.
    Arena { id: u32 },
    /// An arena that the sender no longer uses.
    DropArena { id: u32 },
    /// Supervisor only, both ways: hand over, or ask for, the read ends of the worker's output. Two
    /// descriptors from the worker.
    Output,
    /// From a worker: it finishes what it has and goes. The client's answer: it has begun its last stream there.
    Goodbye,
}

impl Message {
    /// Reads a peer's message, within the limits that hold for arguments.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        Json::decode(bytes)
    }
}

/// A worker introduces itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) version: u32,
    pub(crate) board: u64,
    pub(crate) index: u8,
    pub(crate) nonce: u64,
    pub(crate) claimer: u32,
    pub(crate) node: String,
    pub(crate) process: ProcessStamp,
    pub(crate) description: ServiceDescription,
}
