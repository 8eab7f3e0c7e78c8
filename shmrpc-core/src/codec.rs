//! Encodings: a value on one side, bytes on the other.
//!
//! One file an encoding, one small type each (`Raw`, `Json`, `Msgpack`, `Bincode`), behind [`Codec`],
//! [`Encode`] and [`Decode`]. A fifth encoding is one more file and one more variant of [`Encoding`].
//! Nothing here knows frames, transports or shared memory: bytes come in as a private slice and go out
//! into a `Vec` of the caller's.

mod bincode;
mod json;
mod limits;
mod msgpack;
mod raw;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::bincode::Bincode;
pub use self::json::Json;
use self::limits::Limits;
pub use self::limits::{
    BUDGET_PER_MESSAGE_BYTE, DEFAULT_DECODE_BUDGET_BYTES, DecodeLimit, MAX_DEPTH, decode_budget_bytes,
    set_decode_budget_bytes,
};
pub use self::msgpack::Msgpack;
pub use self::raw::Raw;

/// How the arguments and the reply of a method are written. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Encoding {
    /// Bytes, untouched.
    Raw = 0,
    /// JSON text; the arguments are an array.
    Json = 1,
    /// MessagePack; the arguments are an array, structs are maps with their field names.
    Msgpack = 2,
    /// bincode 2, standard configuration; the arguments are a tuple. Not self-describing and
    /// unmaintained upstream (RUSTSEC-2025-0141), therefore *guarded*: refused over TCP and REST
    /// unless `force_insecure_serialisation` says otherwise.
    Bincode = 3,
}

impl Encoding {
    /// The name that users write: `raw`, `json`, `msgpack` or `bincode`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Bincode => "bincode",
        }
    }

    /// Whether peers that are not trusted may use it only with `force_insecure_serialisation`.
    #[must_use]
    pub const fn is_guarded(self) -> bool {
        matches!(self, Self::Bincode)
    }

    /// The media type under which REST takes a method's own encoding.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Raw => "application/octet-stream",
            Self::Json => "application/json",
            Self::Msgpack => "application/vnd.msgpack",
            Self::Bincode => "application/x-bincode",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An encoding as a type, so that generated code is monomorphic in it.
pub trait Codec: Send + Sync + 'static {
    /// Which encoding this is.
    const ENCODING: Encoding;
    /// The codec in which a user's typed error travels: the codec itself, except for [`Raw`], which
    /// cannot hold a value and uses [`Json`].
    type Errors: Codec;
}

/// A codec that can write a `T`.
pub trait Encode<T: ?Sized>: Codec {
    /// Appends the encoded value to `out`.
    ///
    /// # Errors
    /// When the value cannot be represented (for example a JSON map whose keys are not strings).
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// A codec that can read a `T`.
pub trait Decode<T>: Codec {
    /// Reads one value, which must fill `bytes` to the end.
    ///
    /// # Errors
    /// When the bytes are not one value of that type, or break a limit ([`CodecError::limit`] says which).
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// Bytes that are not the value that was asked for, or a value that has no bytes.
#[derive(Debug, thiserror::Error)]
#[error("{encoding} {direction}: {message}")]
pub struct CodecError {
    /// The encoding at work.
    pub encoding: Encoding,
    direction: &'static str,
    message: String,
    /// The limit that the value breaks, if that is the reason.
    pub limit: Option<DecodeLimit>,
}

impl CodecError {
    pub(crate) fn encoding(encoding: Encoding, message: impl fmt::Display) -> Self {
        Self { encoding, direction: "encoding", message: message.to_string(), limit: None }
    }

    pub(crate) fn decoding(encoding: Encoding, message: impl fmt::Display) -> Self {
        Self { encoding, direction: "decoding", message: message.to_string(), limit: None }
    }

    fn limited(encoding: Encoding, message: impl fmt::Display, limits: &Limits) -> Self {
        let limit = limits.broken();
        let message = limit.map_or_else(|| message.to_string(), |limit| limit.to_string());
        Self { limit, ..Self::decoding(encoding, message) }
    }
}
