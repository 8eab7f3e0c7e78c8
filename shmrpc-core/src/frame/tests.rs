//! Frames come back as they were, and nothing that a peer may send makes us panic or allocate beyond
//! the limit.

use bytes::Bytes;

use super::*;

const LIMIT: u64 = 1 << 20;

/// xorshift64*: repeatable inputs without a dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn bytes_of(frame: Frame, may_compress: bool) -> Vec<u8> {
    let encoded = encode(frame, may_compress);
    let mut bytes = encoded.head.to_vec();
    bytes.extend_from_slice(&encoded.payload);
    assert_eq!(bytes.len(), encoded.len_bytes());
    bytes
}

fn frame_of(bytes: &[u8]) -> Result<Frame, FrameError> {
    let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap())?;
    decode(header, Bytes::copy_from_slice(&bytes[HEADER_BYTES..]), LIMIT)
}

fn samples() -> Vec<Frame> {
    let call = Call {
        id: 7,
        method: MethodId(0x0123_4567_89ab_cdef),
        timeout_ns: 2_000_000_000,
        door: Door::Json,
        idempotent: true,
        metadata: Bytes::from_static(b"\x01\x00t"),
        payload: Bytes::from_static(b"[1,2]"),
    };
    vec![
        Frame::Hello(Bytes::from_static(br#"{"version":1}"#)),
        Frame::Welcome(Bytes::from_static(b"{}")),
        Frame::Challenge(Bytes::from_static(&[1; 32])),
        Frame::Proof(Bytes::from_static(&[2; 32])),
        Frame::Refuse { status: Status::Refused, reason: "no".into() },
        Frame::Call(call.clone()),
        Frame::Call(Call { payload: vec![b'x'; 5000].into(), metadata: Bytes::new(), ..call }),
        Frame::Reply { id: 7, status: Status::ServiceError, payload: Bytes::from_static(b"\"no\"") },
        Frame::Reply { id: 7, status: Status::Ok, payload: vec![0; 100_000].into() },
        Frame::StreamItem { id: 7, payload: Bytes::from_static(b"item") },
        Frame::StreamEnd { id: 7, status: Status::TooLarge, reason: "item".into() },
        Frame::StreamStop { id: 7 },
        Frame::Credit { id: 7, bytes: 65_536 },
        Frame::Cancel { id: 7 },
        Frame::Notify { id: 1, code: 2, payload: Bytes::from_static(b"{}") },
        Frame::Ping { id: 99 },
        Frame::Pong { id: 99 },
        Frame::GoAway { status: Status::Unavailable, reason: "draining".into() },
    ]
}

#[test]
fn frames_come_back() {
    for frame in samples() {
        for may_compress in [false, true] {
            assert_eq!(frame_of(&bytes_of(frame.clone(), may_compress)), Ok(frame.clone()));
        }
    }
}

#[test]
fn compression_is_used_where_it_helps_only() {
    let smooth = Frame::StreamItem { id: 1, payload: vec![b'a'; 4096].into() };
    assert!(bytes_of(smooth.clone(), true).len() < 1000);
    assert_eq!(bytes_of(smooth, false).len(), HEADER_BYTES + 4096);
    let mut random = Random(1);
    let noise: Vec<u8> = (0..4096).map(|_| random.next() as u8).collect();
    assert_eq!(bytes_of(Frame::StreamItem { id: 1, payload: noise.into() }, true).len(), HEADER_BYTES + 4096);
}

#[test]
fn limits_hold_before_anything_is_allocated() {
    let header = |kind, body_bytes| Header { body_bytes, kind, flags: 0, code: 0, id: 1 };
    assert!(header(Kind::Reply, LIMIT as u32).check(LIMIT).is_ok());
    assert!(header(Kind::Reply, LIMIT as u32 + 1).check(LIMIT).is_err());
    assert!(header(Kind::Call, u32::MAX).check(LIMIT).is_err());
    assert!(header(Kind::Cancel, 1).check(LIMIT).is_err());
    assert!(header(Kind::Welcome, MAX_CONTROL_BYTES as u32 + 1).check(u64::MAX >> 1).is_err());

    // Six bytes that claim 4 GiB once unpacked.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let header = Header { flags: flags::COMPRESSED, ..header(Kind::Reply, 6) };
    let error = decode(header, Bytes::copy_from_slice(&bomb), LIMIT).unwrap_err();
    assert_eq!(
        error,
        FrameError::TooLarge { kind: Kind::Reply, len_bytes: (1 << 32) - 1, limit_bytes: LIMIT }
    );

    // The payload's own limit, beside the room for metadata.
    let call = |len| {
        let payload = Bytes::from(vec![0; len]);
        let (method, door, metadata) = (MethodId(1), Door::Native, Bytes::new());
        Frame::Call(Call { id: 1, method, timeout_ns: 0, door, idempotent: false, metadata, payload })
    };
    assert!(frame_of(&bytes_of(call(LIMIT as usize), false)).is_ok());
    assert!(matches!(
        frame_of(&bytes_of(call(LIMIT as usize + 1), false)),
        Err(FrameError::TooLarge { kind: Kind::Call, .. })
    ));
}

#[test]
fn wrong_bytes_are_named() {
    let mut bytes = bytes_of(Frame::Ping { id: 1 }, false);
    bytes[4] = 0;
    assert_eq!(frame_of(&bytes), Err(FrameError::UnknownKind(0)));
    bytes[4] = 17;
    assert_eq!(frame_of(&bytes), Err(FrameError::UnknownKind(17)));
    bytes[4] = Kind::Ping as u8;
    bytes[5] = flags::JSON;
    assert_eq!(frame_of(&bytes), Err(FrameError::UnknownFlags { kind: Kind::Ping, flags: flags::JSON }));
    let short = Header { body_bytes: 3, kind: Kind::Credit, flags: 0, code: 0, id: 1 };
    let error = FrameError::BadLength { kind: Kind::Credit, len_bytes: 3 };
    assert_eq!(decode(short, Bytes::from_static(b"abc"), LIMIT), Err(error));
}

/// A million broken frames, repeatable: each is refused or read, none brings us down. What is read
/// writes itself as a frame again.
#[test]
fn a_million_mutated_frames_are_survived() {
    const LIMIT: u64 = 1 << 16;
    let seeds: Vec<Vec<u8>> =
        samples().into_iter().flat_map(|f| [bytes_of(f.clone(), false), bytes_of(f, true)]).collect();
    let seeds: Vec<&Vec<u8>> = seeds.iter().filter(|bytes| bytes.len() < 1000).collect();
    let mut random = Random(0x5eed);
    let mut accepted = 0_u32;
    for _ in 0..1_000_000 {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => bytes.truncate(at.max(HEADER_BYTES)),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        let Ok(mut header) = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()) else { continue };
        // A reader always has as many bytes as the header says; half of the inputs are such.
        if random.below(2) == 0 {
            header.body_bytes = (bytes.len() - HEADER_BYTES) as u32;
        }
        let body = Bytes::copy_from_slice(&bytes[HEADER_BYTES..]);
        if let Ok(frame) = decode(header, body, LIMIT) {
            accepted += 1;
            if accepted.is_multiple_of(16) {
                let again = bytes_of(frame.clone(), false);
                let header = Header::decode(again[..HEADER_BYTES].try_into().unwrap()).unwrap();
                let same = decode(header, Bytes::copy_from_slice(&again[HEADER_BYTES..]), LIMIT).unwrap();
                assert_eq!(same, frame);
            }
        }
    }
    assert!(accepted > 100_000, "only {accepted} inputs were read: the mutations are too wild");
}
