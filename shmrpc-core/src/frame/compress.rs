//! Packing of payloads: snappy, raw format. A payload declares its own unpacked length, which is
//! compared with the limit before any of it is unpacked.

use bytes::Bytes;

use super::{FrameError, Kind};

/// Shorter payloads go plain: the saving is less than the work.
const MIN_BYTES: usize = 1 << 10;

/// The payload packed, if that is allowed and saves at least an eighth.
pub(crate) fn pack(payload: &[u8], allowed: bool) -> Option<Vec<u8>> {
    if !allowed || payload.len() < MIN_BYTES {
        return None;
    }
    let packed = snap::raw::Encoder::new().compress_vec(payload).ok()?;
    (packed.len() <= payload.len() - payload.len() / 8).then_some(packed)
}

/// Snappy's longest copy makes 64 bytes of 3: who claims more lies, and is found out before memory is asked for.
const MOST_GROWTH: u64 = 22;

pub(super) fn unpack(kind: Kind, packed: &[u8], limit_bytes: u64) -> Result<Bytes, FrameError> {
    let bad = |error: snap::Error| FrameError::BadCompression { kind, message: error.to_string() };
    let len_bytes = snap::raw::decompress_len(packed).map_err(bad)? as u64;
    if len_bytes > limit_bytes {
        return Err(FrameError::TooLarge { kind, len_bytes, limit_bytes });
    }
    if len_bytes > MOST_GROWTH * packed.len() as u64 {
        let message = format!("{} bytes cannot hold the {len_bytes} that they claim", packed.len());
        return Err(FrameError::BadCompression { kind, message });
    }
    snap::raw::Decoder::new().decompress_vec(packed).map(Bytes::from).map_err(bad)
}
