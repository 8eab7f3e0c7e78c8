//! The JSON bodies of Hello and Welcome. Unknown fields are ignored, missing ones have the defaults that
//! `docs/wire-format.md` gives, so that either side may be older than the other.

use serde::{Deserialize, Serialize};

use super::{DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_WINDOW_BYTES, VERSION, proof::Auth};
use crate::method::ServiceDescription;

/// No limit on messages is larger: a frame's length has 32 bits, and room for fields is needed.
pub const MAX_LIMIT_BYTES: u64 = (1 << 32) - (1 << 20);

/// What the connecting side says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the wire format.
    pub version: u32,
    /// The service that is wanted; without one, whichever is here.
    #[serde(default)]
    pub service: Option<String>,
    /// Who connects, for logs.
    #[serde(default)]
    pub client: String,
    /// Longest reply and item that is taken.
    #[serde(default = "default_max_message")]
    pub max_message_bytes: u64,
    /// What the sender of a stream's items may send before any Credit.
    #[serde(default = "default_window")]
    pub stream_window_bytes: u64,
    /// Kinds of compression that are understood beside none.
    #[serde(default)]
    pub compression: Vec<String>,
    /// Says that the client has a secret to prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

impl Hello {
    /// What this crate says, without a service and with default limits.
    #[must_use]
    pub fn new(service: Option<String>) -> Self {
        Self {
            version: VERSION,
            service,
            client: concat!("shmrpc ", env!("CARGO_PKG_VERSION")).into(),
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            stream_window_bytes: DEFAULT_WINDOW_BYTES,
            compression: Vec::new(),
            auth: None,
        }
    }
}

/// What the accepting side answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the wire format that is spoken from here on.
    pub version: u32,
    /// What is served here.
    pub service: ServiceDescription,
    /// Longest arguments and item that are taken.
    #[serde(default = "default_max_message")]
    pub max_message_bytes: u64,
    /// What the sender of a stream's items may send before any Credit.
    #[serde(default = "default_window")]
    pub stream_window_bytes: u64,
    /// So many calls may be under way; those beyond are answered busy.
    pub max_in_flight: u32,
    /// `none` or `snappy`, both ways.
    #[serde(default = "default_compression")]
    pub compression: String,
}

/// The one kind of compression there is.
pub const SNAPPY: &str = "snappy";
/// No compression.
pub const NONE: &str = "none";

fn default_max_message() -> u64 {
    DEFAULT_MAX_MESSAGE_BYTES
}

fn default_window() -> u64 {
    DEFAULT_WINDOW_BYTES
}

fn default_compression() -> String {
    NONE.into()
}
