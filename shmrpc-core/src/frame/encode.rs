//! From a [`Frame`] to bytes: a head of our own making and the user's payload, which is not copied
//! unless it is small.

use bytes::Bytes;

use super::{
    CALL_FIELDS_BYTES, Call, Frame, HEADER_BYTES, Header, Kind, MAX_METADATA_BYTES, compress, flags,
};
use crate::{client::Door, error::Status, method::MethodId};

/// Payloads up to this length are copied behind their head: one buffer is cheaper to write than two.
const INLINE_BYTES: usize = 512;

/// A frame as bytes, in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Header, fields, and a small payload.
    pub head: Bytes,
    /// A larger payload, else empty.
    pub payload: Bytes,
}

impl Encoded {
    /// Length of the whole frame.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// Encodes a frame. With `may_compress` a payload is packed if that makes it clearly smaller.
///
/// The caller has compared payloads with the peer's limit; text and metadata beyond their limits are
/// cut off here.
#[must_use]
pub fn encode(frame: Frame, may_compress: bool) -> Encoded {
    match frame {
        Frame::Hello(body) => plain(Kind::Hello, 0, super::MAGIC, body),
        Frame::Welcome(body) => plain(Kind::Welcome, 0, 0, body),
        Frame::Challenge(nonce) => plain(Kind::Challenge, 0, 0, nonce),
        Frame::Proof(proof) => plain(Kind::Proof, 0, 0, proof),
        Frame::Refuse { status, reason } => plain(Kind::Refuse, status as u16, 0, text(reason)),
        Frame::Call(call) => encode_call(call, may_compress),
        Frame::Reply { id, status, payload } => packed(Kind::Reply, status as u16, id, payload, may_compress),
        Frame::StreamItem { id, payload } => packed(Kind::StreamItem, 0, id, payload, may_compress),
        Frame::StreamEnd { id, status, reason } => plain(Kind::StreamEnd, status as u16, id, text(reason)),
        Frame::StreamStop { id } => plain(Kind::StreamStop, 0, id, Bytes::new()),
        Frame::Credit { id, bytes } => {
            plain(Kind::Credit, 0, id, Bytes::copy_from_slice(&bytes.to_le_bytes()))
        }
        Frame::Cancel { id } => plain(Kind::Cancel, 0, id, Bytes::new()),
        Frame::Notify { id, code, payload } => plain(Kind::Notify, code, id, payload),
        Frame::Ping { id } => plain(Kind::Ping, 0, id, Bytes::new()),
        Frame::Pong { id } => plain(Kind::Pong, 0, id, Bytes::new()),
        Frame::GoAway { status, reason } => plain(Kind::GoAway, status as u16, 0, text(reason)),
    }
}

fn encode_call(call: Call, may_compress: bool) -> Encoded {
    let (payload, packed) = pack_bytes(call.payload, may_compress);
    let mut flags = if packed { flags::COMPRESSED } else { 0 };
    if call.door == Door::Json {
        flags |= flags::JSON;
    }
    if call.idempotent {
        flags |= flags::IDEMPOTENT;
    }
    let metadata = &call.metadata[..call.metadata.len().min(MAX_METADATA_BYTES)];
    let mut fields = Vec::with_capacity(CALL_FIELDS_BYTES + metadata.len());
    fields.extend_from_slice(&call.method.0.to_le_bytes());
    fields.extend_from_slice(&call.timeout_ns.to_le_bytes());
    fields.extend_from_slice(&u32::try_from(metadata.len()).unwrap_or(0).to_le_bytes());
    fields.extend_from_slice(metadata);
    assemble(Kind::Call, flags, 0, call.id, &fields, payload)
}

fn packed(kind: Kind, code: u16, id: u64, payload: Bytes, may_compress: bool) -> Encoded {
    let (payload, packed) = pack_bytes(payload, may_compress);
    assemble(kind, if packed { flags::COMPRESSED } else { 0 }, code, id, &[], payload)
}

/// The payload, packed if that is allowed and pays; and whether it is packed.
fn pack_bytes(payload: Bytes, allowed: bool) -> (Bytes, bool) {
    match compress::pack(&payload, allowed) {
        Some(packed) => (packed.into(), true),
        None => (payload, false),
    }
}

fn plain(kind: Kind, code: u16, id: u64, body: Bytes) -> Encoded {
    assemble(kind, 0, code, id, &[], body)
}

fn assemble(kind: Kind, flags: u8, code: u16, id: u64, fields: &[u8], payload: Bytes) -> Encoded {
    // Payloads are limited to less than 4 GiB where limits are set (`handshake::MAX_LIMIT_BYTES`).
    let body_bytes = u32::try_from(fields.len() + payload.len()).unwrap_or(u32::MAX);
    let inline = if payload.len() <= INLINE_BYTES { payload.len() } else { 0 };
    let mut head = Vec::with_capacity(HEADER_BYTES + fields.len() + inline);
    head.extend_from_slice(&Header { body_bytes, kind, flags, code, id }.encode());
    head.extend_from_slice(fields);
    if payload.len() <= INLINE_BYTES {
        head.extend_from_slice(&payload);
        return Encoded { head: head.into(), payload: Bytes::new() };
    }
    Encoded { head: head.into(), payload }
}

/// A call without metadata, but for its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallHead {
    pub(crate) id: u64,
    pub(crate) method: MethodId,
    pub(crate) timeout_ns: u64,
    pub(crate) door: Door,
    pub(crate) idempotent: bool,
    /// Whether the payload that follows is packed.
    pub(crate) is_packed: bool,
}

/// Appends a Call frame up to its payload, without allocating for it.
pub(crate) fn put_call(into: &mut Vec<u8>, head: CallHead, payload_bytes: usize) {
    let mut flags = if head.is_packed { flags::COMPRESSED } else { 0 };
    if head.door == Door::Json {
        flags |= flags::JSON;
    }
    if head.idempotent {
        flags |= flags::IDEMPOTENT;
    }
    let mut fields = [0; CALL_FIELDS_BYTES];
    fields[..8].copy_from_slice(&head.method.0.to_le_bytes());
    fields[8..16].copy_from_slice(&head.timeout_ns.to_le_bytes());
    put_header(into, Kind::Call, flags, 0, head.id, CALL_FIELDS_BYTES + payload_bytes);
    into.extend_from_slice(&fields);
}

/// Appends a Reply frame up to its payload.
pub(crate) fn put_reply(into: &mut Vec<u8>, id: u64, status: Status, is_packed: bool, payload_bytes: usize) {
    let flags = if is_packed { flags::COMPRESSED } else { 0 };
    put_header(into, Kind::Reply, flags, status as u16, id, payload_bytes);
}

fn put_header(into: &mut Vec<u8>, kind: Kind, flags: u8, code: u16, id: u64, body_bytes: usize) {
    let body_bytes = u32::try_from(body_bytes).unwrap_or(u32::MAX);
    into.extend_from_slice(&Header { body_bytes, kind, flags, code, id }.encode());
}

/// Text for people, cut at a character's end.
fn text(mut reason: String) -> Bytes {
    let mut end = reason.len().min(MAX_METADATA_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason.into()
}
