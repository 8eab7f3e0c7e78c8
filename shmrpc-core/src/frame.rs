//! Frames, the units in which two peers talk: their kinds, their header, their limits. Encoding and
//! decoding are pure: bytes in, values out, no I/O, no clock. `docs/wire-format.md` is the same in prose.
//!
//! Everything that a peer sent is checked before it costs memory: [`Header::check`] before a body is
//! read, the declared length before a payload is unpacked.

mod compress;
mod decode;
mod encode;
pub mod handshake;
pub mod proof;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(crate) use self::compress::pack;
pub use self::decode::decode;
pub(crate) use self::decode::{split_call, unpack_reply};
pub(crate) use self::encode::{CallHead, put_call, put_reply};
pub use self::encode::{Encoded, encode};
use crate::{client::Door, error::Status, method::MethodId};

/// The version of the wire format that this crate speaks.
pub const VERSION: u32 = 1;

/// The id of every Hello: a peer that speaks something else is known by its first sixteen bytes.
pub const MAGIC: u64 = u64::from_le_bytes(*b"shmrpc\0\x01");

/// Length of the header of every frame.
pub const HEADER_BYTES: usize = 16;

/// Longest metadata section of a call.
pub const MAX_METADATA_BYTES: usize = 64 << 10;

/// Longest body of a frame that carries no user's payload (handshake, reasons).
pub const MAX_CONTROL_BYTES: usize = 1 << 20;

/// Default limit of a user's payload, both ways, over TCP.
pub const DEFAULT_MAX_MESSAGE_BYTES: u64 = 16 << 20;

/// Default of what a receiver of stream items grants its sender in advance.
pub const DEFAULT_WINDOW_BYTES: u64 = 256 << 10;

/// The most that a receiver of stream items may have granted at any time.
pub const MAX_WINDOW_BYTES: u64 = 64 << 20;

/// What an item costs beside its length, so that empty items are bounded too.
pub const ITEM_OVERHEAD_BYTES: u64 = 64;

/// What a frame is. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The connecting side's first frame: JSON.
    Hello = 1,
    /// The accepting side agrees: JSON.
    Welcome = 2,
    /// The accepting side declines, and closes.
    Refuse = 3,
    /// A call with its arguments.
    Call = 4,
    /// The end of a call.
    Reply = 5,
    /// One item of a stream.
    StreamItem = 6,
    /// The sender of items has no more, or failed.
    StreamEnd = 7,
    /// The receiver of items wants no more.
    StreamStop = 8,
    /// The receiver of items grants more bytes.
    Credit = 9,
    /// The caller no longer waits.
    Cancel = 10,
    /// Something that needs no answer; unknown codes are ignored.
    Notify = 11,
    /// Asks for a Pong with the same id.
    Ping = 12,
    /// Answers a Ping.
    Pong = 13,
    /// The sender takes no more calls on this connection; calls under way are finished.
    GoAway = 14,
    /// The accepting side's nonce, for a client that has a secret to prove.
    Challenge = 15,
    /// Proves that its sender knows the secret.
    Proof = 16,
}

impl Kind {
    const ALL: [Self; 16] = [
        Self::Hello,
        Self::Welcome,
        Self::Refuse,
        Self::Call,
        Self::Reply,
        Self::StreamItem,
        Self::StreamEnd,
        Self::StreamStop,
        Self::Credit,
        Self::Cancel,
        Self::Notify,
        Self::Ping,
        Self::Pong,
        Self::GoAway,
        Self::Challenge,
        Self::Proof,
    ];

    /// The kind with that number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    fn allowed_flags(self) -> u8 {
        match self {
            Self::Call => flags::COMPRESSED | flags::JSON | flags::IDEMPOTENT,
            Self::Reply | Self::StreamItem => flags::COMPRESSED,
            _ => 0,
        }
    }

    /// Longest body of that kind, on the wire.
    fn max_body_bytes(self, max_message_bytes: u64) -> u64 {
        match self {
            Self::Call => max_message_bytes + (CALL_FIELDS_BYTES + MAX_METADATA_BYTES) as u64,
            // The text of an error may be longer than a tiny limit on payloads.
            Self::Reply | Self::StreamItem => max_message_bytes.max(1 << 10),
            Self::Welcome | Self::Refuse => MAX_CONTROL_BYTES as u64,
            Self::Hello | Self::StreamEnd | Self::Notify | Self::GoAway => MAX_METADATA_BYTES as u64,
            Self::Credit => 8,
            Self::Challenge | Self::Proof => proof::PROOF_BYTES as u64,
            Self::StreamStop | Self::Cancel | Self::Ping | Self::Pong => 0,
        }
    }
}

/// Bits of a header's flags.
pub mod flags {
    /// The payload is snappy, raw format.
    pub const COMPRESSED: u8 = 0x01;
    /// Arguments and reply are JSON, whatever the method's encoding.
    pub const JSON: u8 = 0x02;
    /// The caller allows that the call be run twice.
    pub const IDEMPOTENT: u8 = 0x04;
}

/// Method id, timeout, length of the metadata.
const CALL_FIELDS_BYTES: usize = 8 + 8 + 4;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// See [`handshake::Hello`].
    Hello(Bytes),
    /// See [`handshake::Welcome`].
    Welcome(Bytes),
    /// The accepting side's nonce; see [`proof`].
    Challenge(Bytes),
    /// See [`proof`].
    Proof(Bytes),
    /// The connection is declined.
    Refuse {
        /// Why, for programs.
        status: Status,
        /// Why, for people.
        reason: String,
    },
    /// A call.
    Call(Call),
    /// The end of a call.
    Reply {
        /// The call.
        id: u64,
        /// How it went.
        status: Status,
        /// The encoded reply, the encoded typed error, or text in UTF-8.
        payload: Bytes,
    },
    /// One item of a stream.
    StreamItem {
        /// The call to which the stream belongs.
        id: u64,
        /// The encoded item.
        payload: Bytes,
    },
    /// No more items from this side.
    StreamEnd {
        /// The call.
        id: u64,
        /// [`Status::Ok`], or why the items end too early.
        status: Status,
        /// Text for people.
        reason: String,
    },
    /// No more items to this side.
    StreamStop {
        /// The call.
        id: u64,
    },
    /// More room for items.
    Credit {
        /// The call.
        id: u64,
        /// Bytes granted beside those granted before.
        bytes: u64,
    },
    /// The caller no longer waits.
    Cancel {
        /// The call.
        id: u64,
    },
    /// Something that needs no answer.
    Notify {
        /// What it is about.
        id: u64,
        /// What it says.
        code: u16,
        /// More of it.
        payload: Bytes,
    },
    /// Are you there?
    Ping {
        /// Comes back in the answer.
        id: u64,
    },
    /// I am.
    Pong {
        /// The question's.
        id: u64,
    },
    /// No more calls here.
    GoAway {
        /// Why, for programs.
        status: Status,
        /// Why, for people.
        reason: String,
    },
}

/// A call and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The caller's number of the call; larger than those before it.
    pub id: u64,
    /// Which method.
    pub method: MethodId,
    /// How long the caller waits, in nanoseconds from now; 0: as long as the server thinks right.
    pub timeout_ns: u64,
    /// In which encoding arguments, reply and items are.
    pub door: Door,
    /// May be run twice.
    pub idempotent: bool,
    /// Entries of the metadata section, not looked into here.
    pub metadata: Bytes,
    /// The encoded arguments.
    pub payload: Bytes,
}

/// The first sixteen bytes of a frame, checked on their own so that a body is never read in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow the header.
    pub body_bytes: u32,
    /// What the frame is.
    pub kind: Kind,
    /// See [`flags`].
    pub flags: u8,
    /// A status or a code, by kind.
    pub code: u16,
    /// The call, or what the kind says.
    pub id: u64,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// An unknown kind, or flags that the kind has not.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, kind, flags, c0, c1, i0, i1, i2, i3, i4, i5, i6, i7] = *bytes;
        let kind = Kind::from_u8(kind).ok_or(FrameError::UnknownKind(kind))?;
        if flags & !kind.allowed_flags() != 0 {
            return Err(FrameError::UnknownFlags { kind, flags });
        }
        Ok(Self {
            body_bytes: u32::from_le_bytes([l0, l1, l2, l3]),
            kind,
            flags,
            code: u16::from_le_bytes([c0, c1]),
            id: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
        })
    }

    /// Writes a header.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags;
        bytes[6..8].copy_from_slice(&self.code.to_le_bytes());
        bytes[8..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// Whether the body may be read at all.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when it is longer than its kind allows.
    pub fn check(&self, max_message_bytes: u64) -> Result<(), FrameError> {
        let limit_bytes = self.kind.max_body_bytes(max_message_bytes);
        let len_bytes = u64::from(self.body_bytes);
        if len_bytes > limit_bytes {
            return Err(FrameError::TooLarge { kind: self.kind, len_bytes, limit_bytes });
        }
        Ok(())
    }
}

/// Bytes that are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No such kind.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// Flags that the kind has not.
    #[error("{kind:?} frame with unknown flags {flags:#04x}")]
    UnknownFlags {
        /// The kind.
        kind: Kind,
        /// All its flags.
        flags: u8,
    },
    /// A Hello whose id is not [`MAGIC`].
    #[error("the peer does not speak this protocol")]
    NotOurs,
    /// Longer than allowed; the connection may go on after skipping the body.
    #[error("{kind:?} of {len_bytes} bytes exceeds the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The kind.
        kind: Kind,
        /// The length of the body, or of the payload once unpacked.
        len_bytes: u64,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// The body has not the length that its kind asks for.
    #[error("{kind:?} frame with a body of {len_bytes} bytes")]
    BadLength {
        /// The kind.
        kind: Kind,
        /// The body's length.
        len_bytes: usize,
    },
    /// Metadata longer than allowed, or than the frame.
    #[error("call with {len_bytes} bytes of metadata")]
    BadMetadata {
        /// What the call declares.
        len_bytes: usize,
    },
    /// The payload is not snappy.
    #[error("{kind:?} frame with a payload that is not snappy: {message}")]
    BadCompression {
        /// The kind.
        kind: Kind,
        /// What the decompressor says.
        message: String,
    },
}
