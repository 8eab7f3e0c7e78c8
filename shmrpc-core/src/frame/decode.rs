//! From bytes to a [`Frame`]. Nothing here trusts the bytes; a wrong one is a [`FrameError`].

use bytes::{Buf, Bytes};

use super::{
    CALL_FIELDS_BYTES, Call, CallHead, Frame, FrameError, Header, Kind, MAGIC, MAX_METADATA_BYTES, compress,
    flags,
};
use crate::{client::Door, error::Status, method::MethodId};

/// Makes a frame of a header and its whole body. A payload is unpacked if the header says that it is
/// packed, after its declared length was compared with `max_message_bytes`.
///
/// # Errors
/// Whatever is wrong with it. [`FrameError::TooLarge`] concerns this frame alone; after the others the
/// stream of bytes cannot be trusted.
pub fn decode(header: Header, body: Bytes, max_message_bytes: u64) -> Result<Frame, FrameError> {
    header.check(max_message_bytes)?;
    let Header { kind, id, code, .. } = header;
    if body.len() as u64 != u64::from(header.body_bytes) {
        return Err(FrameError::BadLength { kind, len_bytes: body.len() });
    }
    let status = Status::from_u16(code);
    let unpack = |payload| unpack(header, payload, max_message_bytes);
    Ok(match kind {
        Kind::Hello if id != MAGIC => return Err(FrameError::NotOurs),
        Kind::Hello => Frame::Hello(body),
        Kind::Welcome => Frame::Welcome(body),
        Kind::Challenge => Frame::Challenge(body),
        Kind::Proof => Frame::Proof(body),
        Kind::Refuse => Frame::Refuse { status, reason: text(&body) },
        Kind::Call => Frame::Call(decode_call(header, body, max_message_bytes)?),
        Kind::Reply => Frame::Reply { id, status, payload: unpack(body)? },
        Kind::StreamItem => Frame::StreamItem { id, payload: unpack(body)? },
        Kind::StreamEnd => Frame::StreamEnd { id, status, reason: text(&body) },
        Kind::StreamStop => Frame::StreamStop { id },
        Kind::Credit => {
            let bytes: [u8; 8] =
                body[..].try_into().map_err(|_| FrameError::BadLength { kind, len_bytes: body.len() })?;
            Frame::Credit { id, bytes: u64::from_le_bytes(bytes) }
        }
        Kind::Cancel => Frame::Cancel { id },
        Kind::Notify => Frame::Notify { id, code, payload: body },
        Kind::Ping => Frame::Ping { id },
        Kind::Pong => Frame::Pong { id },
        Kind::GoAway => Frame::GoAway { status, reason: text(&body) },
    })
}

/// A plain call's fields, and where its payload begins; `None` if the payload is packed. The header has been
/// checked.
pub(crate) fn split_call(
    header: Header,
    body: &[u8],
    max_message_bytes: u64,
) -> Result<Option<(CallHead, usize)>, FrameError> {
    if header.flags & flags::COMPRESSED != 0 {
        return Ok(None);
    }
    let too_short = FrameError::BadLength { kind: Kind::Call, len_bytes: body.len() };
    let mut fields = body.get(..CALL_FIELDS_BYTES).ok_or(too_short)?;
    let (method, timeout_ns) = (MethodId(fields.get_u64_le()), fields.get_u64_le());
    let metadata_bytes = fields.get_u32_le() as usize;
    let left = body.len() - CALL_FIELDS_BYTES;
    if metadata_bytes > MAX_METADATA_BYTES || metadata_bytes > left {
        return Err(FrameError::BadMetadata { len_bytes: metadata_bytes });
    }
    let (len_bytes, limit_bytes) = ((left - metadata_bytes) as u64, max_message_bytes);
    if len_bytes > limit_bytes {
        return Err(FrameError::TooLarge { kind: Kind::Call, len_bytes, limit_bytes });
    }
    let door = if header.flags & flags::JSON == 0 { Door::Native } else { Door::Json };
    let idempotent = header.flags & flags::IDEMPOTENT != 0;
    let head = CallHead { id: header.id, method, timeout_ns, door, idempotent, is_packed: false };
    Ok(Some((head, CALL_FIELDS_BYTES + metadata_bytes)))
}

/// A reply's payload, if it is packed.
pub(crate) fn unpack_reply(
    header: Header,
    body: &[u8],
    max_message_bytes: u64,
) -> Result<Option<Vec<u8>>, FrameError> {
    if header.flags & flags::COMPRESSED == 0 {
        return Ok(None);
    }
    compress::unpack(header.kind, body, max_message_bytes).map(|unpacked| Some(unpacked.into()))
}

fn decode_call(header: Header, mut body: Bytes, max_message_bytes: u64) -> Result<Call, FrameError> {
    if body.len() < CALL_FIELDS_BYTES {
        return Err(FrameError::BadLength { kind: Kind::Call, len_bytes: body.len() });
    }
    let method = MethodId(body.get_u64_le());
    let timeout_ns = body.get_u64_le();
    let metadata_bytes = body.get_u32_le() as usize;
    if metadata_bytes > MAX_METADATA_BYTES || metadata_bytes > body.len() {
        return Err(FrameError::BadMetadata { len_bytes: metadata_bytes });
    }
    let metadata = body.split_to(metadata_bytes);
    Ok(Call {
        id: header.id,
        method,
        timeout_ns,
        door: if header.flags & flags::JSON == 0 { Door::Native } else { Door::Json },
        idempotent: header.flags & flags::IDEMPOTENT != 0,
        metadata,
        payload: unpack(header, body, max_message_bytes)?,
    })
}

fn unpack(header: Header, payload: Bytes, max_message_bytes: u64) -> Result<Bytes, FrameError> {
    if header.flags & flags::COMPRESSED != 0 {
        return compress::unpack(header.kind, &payload, max_message_bytes);
    }
    // The body's limit has room for fields and metadata, the payload's has not.
    let (len_bytes, limit_bytes) = (payload.len() as u64, max_message_bytes);
    if header.kind == Kind::Call && len_bytes > limit_bytes {
        return Err(FrameError::TooLarge { kind: header.kind, len_bytes, limit_bytes });
    }
    Ok(payload)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
