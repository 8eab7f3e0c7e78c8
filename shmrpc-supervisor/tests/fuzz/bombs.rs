//! Small inputs that claim to be large ones, and what they may cost.

use bytes::Bytes;
use shmrpc_core::frame::{FrameError, Header, Kind, decode, flags};

use crate::budget::peak_during;

const LIMIT_BYTES: u64 = 16 << 20;

fn unpack(packed: &[u8]) -> (Result<usize, FrameError>, usize) {
    let body_bytes = u32::try_from(packed.len()).unwrap();
    let header = Header { body_bytes, kind: Kind::StreamItem, flags: flags::COMPRESSED, code: 0, id: 1 };
    let packed = Bytes::copy_from_slice(packed);
    let (frame, peak_bytes) = peak_during(|| decode(header, packed, LIMIT_BYTES));
    let len = frame.map(|frame| match frame {
        shmrpc_core::frame::Frame::StreamItem { payload, .. } => payload.len(),
        other => panic!("{other:?}"),
    });
    (len, peak_bytes)
}

/// The row of the fault matrix: at most 32 MiB more, whatever is claimed.
#[test]
fn decompression_bomb() {
    // Four gibibytes in six bytes; sixteen mebibytes, which would be allowed, in five.
    let (refused, peak_bytes) = unpack(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert!(matches!(refused, Err(FrameError::TooLarge { len_bytes: 0xffff_ffff, .. })), "{refused:?}");
    assert!(peak_bytes < 4096, "{peak_bytes} bytes");
    let (refused, peak_bytes) = unpack(&[0x80, 0x80, 0x80, 0x08, 0]);
    assert!(matches!(refused, Err(FrameError::BadCompression { .. })), "{refused:?}");
    assert!(peak_bytes < 4096, "{peak_bytes} bytes");
    // An honest one, up to the limit and beyond it.
    let pack = |len: usize| snap::raw::Encoder::new().compress_vec(&vec![0; len]).unwrap();
    let (whole, peak_bytes) = unpack(&pack(16 << 20));
    assert_eq!(whole.unwrap(), 16 << 20);
    assert!(peak_bytes <= 32 << 20, "{peak_bytes} bytes");
    let (refused, peak_bytes) = unpack(&pack((16 << 20) + 1));
    assert!(matches!(refused, Err(FrameError::TooLarge { .. })) && peak_bytes < 4096, "{refused:?}");
}
