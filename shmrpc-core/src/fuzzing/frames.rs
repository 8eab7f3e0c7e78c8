//! What comes over TCP, and over links in the same format: frames in arbitrary pieces, the handshake, packed
//! payloads, a session's frames; and endpoints, which come from users.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::Script;
use crate::{
    client::Door,
    codec::Encoding,
    endpoint::{Endpoint, IntoEndpoints},
    error::Status,
    frame::{
        Call, Frame, FrameError, HEADER_BYTES, Header, Kind, decode, encode, flags,
        handshake::{Hello, Welcome},
    },
    method::{MethodDescription, MethodId, ServiceDescription, Shape},
    transport::{
        session::{FrameSink, Incoming, Label, Session, SessionLimits},
        tcp::fuzzing::read_in_pieces,
    },
};

const LIMITS_BYTES: [u64; 4] = [0, 100, 64 << 10, 16 << 20];

/// The frames in `bytes`, up to the first that is wrong or not complete. An oversized one is skipped, as a
/// connection does it.
fn each_frame(
    mut bytes: &[u8],
    limit_bytes: u64,
    mut took: impl FnMut(Header, Result<Frame, FrameError>) -> bool,
) {
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let Ok(header) = Header::decode(head) else { return };
        assert_eq!(header.encode(), *head);
        let Some((body, after)) = rest.split_at_checked(header.body_bytes as usize) else {
            // Checked before the body is waited for.
            let _too_large = header.check(limit_bytes);
            return;
        };
        if !took(header, decode(header, Bytes::copy_from_slice(body), limit_bytes)) {
            return;
        }
        bytes = after;
    }
}

/// In how large pieces a connection may bring its bytes.
const PIECES: [usize; 8] = [1, 3, 16, 17, 100, 1000, 40_000, 1 << 20];

/// The first byte chooses the limit, and how large the pieces are in which a connection reads the rest: it sees the
/// same frames. A frame that is read is written to the same frame again, and no payload is longer than the limit.
pub(super) fn tcp_frames(data: &[u8]) {
    let mut script = Script(data);
    let choice = usize::from(script.byte());
    let limit_bytes = LIMITS_BYTES[choice % LIMITS_BYTES.len()];
    let mut seen = Vec::new();
    read_in_pieces(
        script.0,
        PIECES[choice / LIMITS_BYTES.len() % PIECES.len()],
        limit_bytes,
        |header, frame| {
            seen.push((header, frame));
        },
    );
    let mut seen = seen.into_iter();
    each_frame(script.0, limit_bytes, |header, frame| {
        let same = seen
            .next()
            .is_some_and(|(read, again)| read == header && again.as_ref().ok() == frame.as_ref().ok());
        assert!(same, "a connection reads something else than {header:?} {frame:?}");
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return matches!(error, FrameError::TooLarge { .. }),
        };
        if let Frame::Call(Call { payload, .. }) | Frame::StreamItem { payload, .. } = &frame {
            assert!(payload.len() as u64 <= limit_bytes.max(1 << 10), "{:?}", header.kind);
        }
        let again = encode(frame.clone(), false);
        let bytes = [again.head, again.payload].concat();
        let head = bytes.first_chunk::<HEADER_BYTES>().expect("a frame has a header");
        let header = Header::decode(head).expect("our own header");
        let same = decode(header, Bytes::copy_from_slice(&bytes[HEADER_BYTES..]), u64::from(u32::MAX));
        // An unknown status is read as Internal, and written as that.
        assert_eq!(same.expect("our own frame"), frame);
        true
    });
}

/// Hello, and Welcome with its method table, in which a client looks for its own methods.
pub(super) fn handshake(data: &[u8]) {
    if let Ok(hello) = serde_json::from_slice::<Hello>(data) {
        let again = serde_json::to_vec(&hello).expect("a Hello is JSON");
        assert_eq!(serde_json::from_slice::<Hello>(&again).expect("our own Hello"), hello);
    }
    if let Ok(welcome) = serde_json::from_slice::<Welcome>(data) {
        let _hash = welcome.service.table_hash();
        for method in &welcome.service.methods {
            assert!(welcome.service.method(&method.name).is_some());
        }
        let again = serde_json::to_vec(&welcome).expect("a Welcome is JSON");
        assert_eq!(serde_json::from_slice::<Welcome>(&again).expect("our own Welcome"), welcome);
    }
}

/// A packed payload: what it unpacks to is within the limit.
pub(super) fn snappy(data: &[u8]) {
    let mut script = Script(data);
    let limit_bytes = LIMITS_BYTES[usize::from(script.byte()) % LIMITS_BYTES.len()];
    let Ok(body_bytes) = u32::try_from(script.0.len()) else { return };
    let header = Header { body_bytes, kind: Kind::StreamItem, flags: flags::COMPRESSED, code: 0, id: 1 };
    if let Ok(Frame::StreamItem { payload, .. }) =
        decode(header, Bytes::copy_from_slice(script.0), limit_bytes)
    {
        assert!(payload.len() as u64 <= limit_bytes);
    }
}

#[derive(Default)]
struct Counted(AtomicU64);

impl FrameSink for Counted {
    fn send(&self, _: Frame) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session with two calls of ours under way, whose peer sends those frames; calls of the peer are accepted
/// up to a number. Items that nobody takes are bounded by their window.
pub(super) fn session(data: &[u8]) {
    const WINDOW_BYTES: u64 = 4096;
    let limits = SessionLimits {
        our_window_bytes: WINDOW_BYTES,
        peer_window_bytes: WINDOW_BYTES,
        peer_max_message_bytes: 1000,
    };
    let session = Session::new(Arc::new(Counted::default()), limits);
    let until = Instant::now() + Duration::from_secs(60);
    let label =
        || Arc::new(Label { service: "s".into(), method: "m".into(), deadline: Duration::from_secs(1) });
    let ours = session.open(1, Shape::Duplex, label(), until).expect("a new session");
    let _plain = session.open(3, Shape::Unary, label(), until).expect("a new session");
    let mut theirs = Vec::new();
    each_frame(data, 64 << 10, |_, frame| {
        let Ok(frame) = frame else { return false };
        match session.on_frame(frame) {
            Ok(Some(Incoming::Call(call))) if theirs.len() < 16 => {
                let shape =
                    [Shape::Unary, Shape::Upload, Shape::Download, Shape::Duplex][call.id as usize % 4];
                match session.accept(call.id, shape, until) {
                    Ok(accepted) => theirs.push(accepted),
                    Err(_violation) => return false,
                }
            }
            Ok(_) => {}
            Err(_violation) => return false,
        }
        assert!(session.open_calls() <= 18);
        true
    });
    session.finish(4, Status::Ok, Bytes::new());
    session.end("the end", |label| label.lost("the end"));
    drop((ours, theirs));
    assert_eq!(session.open_calls(), 0);
}

/// One address, or several. What is read is shown as text that reads the same.
pub(super) fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>().as_ref(), Ok(&endpoint));
    }
    let _several = text.into_endpoints();
}

fn written(frames: Vec<Frame>, may_compress: bool) -> Vec<u8> {
    let parts = frames.into_iter().map(|frame| encode(frame, may_compress));
    parts.flat_map(|encoded| [encoded.head, encoded.payload].concat()).collect()
}

fn call(id: u64, payload: Vec<u8>) -> Frame {
    Frame::Call(Call {
        id,
        method: MethodId(0x1122_3344_5566_7788),
        timeout_ns: 1_000_000,
        door: Door::Json,
        idempotent: true,
        metadata: Bytes::from_static(b"trace=1"),
        payload: payload.into(),
    })
}

fn item(id: u64, len: usize) -> Frame {
    Frame::StreamItem { id, payload: vec![b'i'; len].into() }
}

fn description() -> ServiceDescription {
    let method = MethodDescription {
        id: MethodId(7),
        name: "echo".into(),
        encoding: Encoding::Json,
        shape: Shape::Unary,
        signature: "(Value) -> Value".into(),
        params: vec![("data".into(), "Value".into())],
        returns: "Value".into(),
        doc: "Returns it.".into(),
        idempotent: true,
        read_only: false,
        deadline_ms: Some(2000),
    };
    ServiceDescription {
        struct_name: "EchoServer".into(),
        name: "echo_serv".into(),
        port: 5555,
        max_workers: None,
        doc: String::new(),
        methods: vec![method],
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        service: description(),
        max_message_bytes: 1 << 20,
        stream_window_bytes: 1 << 16,
        max_in_flight: 100,
        compression: "snappy".into(),
    }
}

pub(super) fn tcp_seeds() -> Vec<Vec<u8>> {
    let hello = serde_json::to_vec(&Hello::new(Some("echo_serv".into()))).expect("a Hello is JSON");
    let every = vec![
        Frame::Hello(hello.into()),
        Frame::Refuse { status: Status::Refused, reason: "no".into() },
        call(1, b"[1,2]".to_vec()),
        Frame::Reply { id: 1, status: Status::Ok, payload: Bytes::from_static(b"[]") },
        item(1, 30),
        Frame::StreamEnd { id: 1, status: Status::Cancelled, reason: "end".into() },
        Frame::StreamStop { id: 1 },
        Frame::Credit { id: 1, bytes: 1000 },
        Frame::Cancel { id: 1 },
        Frame::Notify { id: 0, code: 3, payload: Bytes::from_static(b"n") },
        Frame::Ping { id: 9 },
        Frame::Pong { id: 9 },
        Frame::GoAway { status: Status::Unavailable, reason: "bye".into() },
    ];
    let packed = written(vec![call(2, vec![b'x'; 3000]), item(2, 2000)], true);
    let limited = |choice: u8, frames: Vec<u8>| [vec![choice], frames].concat();
    vec![limited(3, written(every, false)), limited(2, packed.clone()), limited(1, packed)]
}

pub(super) fn handshake_seeds() -> Vec<Vec<u8>> {
    let hello = Hello { compression: vec!["snappy".into()], ..Hello::new(Some("echo_serv".into())) };
    let hello = serde_json::to_vec(&hello).expect("a Hello is JSON");
    vec![hello, serde_json::to_vec(&welcome()).expect("a Welcome is JSON"), br#"{"version":1}"#.to_vec()]
}

pub(super) fn snappy_seeds() -> Vec<Vec<u8>> {
    let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).expect("it can be packed");
    let varied: Vec<u8> = (0..2000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
    let bomb = vec![3, 0xff, 0xff, 0xff, 0xff, 0x0f];
    vec![[&[3][..], &pack(&[7; 5000])].concat(), [&[2][..], &pack(&varied)].concat(), bomb]
}

pub(super) fn session_seeds() -> Vec<Vec<u8>> {
    let calls = vec![
        call(5, b"[]".to_vec()),
        item(5, 10),
        call(7, Vec::new()),
        Frame::Credit { id: 7, bytes: 500 },
        item(7, 100),
        Frame::StreamEnd { id: 7, status: Status::Ok, reason: String::new() },
        Frame::Cancel { id: 5 },
    ];
    let replies = vec![
        item(1, 50),
        Frame::Credit { id: 1, bytes: 64 },
        Frame::StreamStop { id: 1 },
        Frame::StreamEnd { id: 1, status: Status::Panicked, reason: "oh".into() },
        Frame::Reply { id: 3, status: Status::Ok, payload: Bytes::from_static(b"null") },
        Frame::Reply { id: 1, status: Status::WorkerDied, payload: Bytes::from_static(b"pid 1") },
        Frame::Ping { id: 1 },
        Frame::GoAway { status: Status::Ok, reason: String::new() },
    ];
    vec![written(calls, false), written(replies, false)]
}

pub(super) fn endpoint_seeds() -> Vec<Vec<u8>> {
    ["shm://echo_serv", "tcp://localhost:5555", "tcp://[::1]:80, shm://", "tls://a.b:1, inproc://eu.echo"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
