//! Peers that speak the protocol wrong, too slowly, or not at all.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use shmrpc_core::{
    Door, NoError, Status,
    frame::{
        Call, Frame, HEADER_BYTES, Header, Kind, decode, encode,
        handshake::{Hello, Welcome},
    },
    method::MethodId,
};

use super::Tcp;
use crate::{
    service::{COUNT, ECHO, SLEEP_ASYNC, eventually},
    suite::Harness,
};

/// A client by hand.
pub(super) struct Raw(pub(super) TcpStream);

impl Raw {
    pub(super) fn connect(server: &Tcp) -> Self {
        Self::connect_at(server.address())
    }

    pub(super) fn connect_at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    pub(super) fn introduced(server: &Tcp) -> Self {
        Self::introduced_at(server.address())
    }

    pub(super) fn introduced_at(address: SocketAddr) -> Self {
        let mut raw = Self::connect_at(address);
        raw.send(Frame::Hello(serde_json::to_vec(&Hello::new(None)).unwrap().into()));
        let Some(Frame::Welcome(body)) = raw.recv() else { panic!("no welcome") };
        let welcome: Welcome = serde_json::from_slice(&body).unwrap();
        assert_eq!(welcome.service.name, "bench");
        raw
    }

    pub(super) fn send(&mut self, frame: Frame) {
        let encoded = encode(frame, false);
        self.0.write_all(&[encoded.head, encoded.payload].concat()).unwrap();
    }

    pub(super) fn recv(&mut self) -> Option<Frame> {
        let mut header = [0; HEADER_BYTES];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        let header = Header::decode(&header).unwrap();
        let mut body = vec![0; header.body_bytes as usize];
        self.0.read_exact(&mut body).unwrap();
        Some(decode(header, body.into(), 1 << 24).unwrap())
    }

    pub(super) fn call(&mut self, id: u64, method: MethodId, payload: &'static [u8]) {
        self.send(Frame::Call(Call {
            id,
            method,
            timeout_ns: 0,
            door: Door::Native,
            idempotent: false,
            metadata: Bytes::from_static(b"room for a trace context"),
            payload: Bytes::from_static(payload),
        }));
    }

    pub(super) fn reply(&mut self) -> (u64, Status, Bytes) {
        match self.recv() {
            Some(Frame::Reply { id, status, payload }) => (id, status, payload),
            other => panic!("{other:?} in place of a reply"),
        }
    }
}

fn assert_alive(server: &Tcp) {
    let echoed = server.connect().call_raw_blocking::<NoError>(ECHO, b"alive").unwrap();
    assert_eq!(echoed, b"alive");
}

#[test]
fn what_is_no_hello_is_refused() {
    let server = Tcp::start();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 64], &[0xff; 64]] {
        let mut raw = Raw::connect(&server);
        raw.0.write_all(bytes).unwrap();
        assert!(matches!(raw.recv(), Some(Frame::Refuse { .. })));
        assert!(raw.recv().is_none());
    }
    let mut raw = Raw::connect(&server);
    raw.send(Frame::Hello(Bytes::from_static(br#"{"version": 99}"#)));
    let Some(Frame::Refuse { reason, .. }) = raw.recv() else { panic!("version 99 was let in") };
    assert!(reason.contains("version 99"), "{reason}");
    assert_alive(&server);
}

#[test]
fn a_slow_handshake_and_a_slow_frame_are_ended() {
    let server = Tcp::with(|options| {
        options.handshake_timeout = Duration::from_millis(200);
        options.frame_timeout = Duration::from_millis(200);
    });
    let mut silent = Raw::connect(&server);
    assert!(matches!(silent.recv(), Some(Frame::Refuse { status: Status::DeadlineExceeded, .. })));
    let mut slow = Raw::introduced(&server);
    // An idle connection is no offence.
    std::thread::sleep(Duration::from_millis(400));
    slow.call(1, ECHO.id(), b"x");
    assert_eq!(slow.reply().1, Status::Ok);
    slow.0.write_all(&[9, 0, 0]).unwrap();
    assert!(matches!(slow.recv(), Some(Frame::GoAway { status: Status::Protocol, .. })));
    assert!(slow.recv().is_none());
}

#[test]
fn a_frame_beyond_the_limit_is_skipped() {
    let server = Tcp::with(|options| options.max_message_bytes = 100_000);
    let mut raw = Raw::introduced(&server);
    let header = Header { body_bytes: 3_000_000, kind: Kind::Call, flags: 0, code: 0, id: 5 };
    raw.0.write_all(&header.encode()).unwrap();
    raw.0.write_all(&vec![7; 3_000_000]).unwrap();
    let (id, status, text) = raw.reply();
    assert_eq!((id, status), (5, Status::TooLarge), "{text:?}");
    raw.call(6, ECHO.id(), b"after");
    assert_eq!(raw.reply(), (6, Status::Ok, Bytes::from_static(b"after")));
}

#[test]
fn wrong_frames_end_the_connection_and_nothing_else() {
    let server = Tcp::start();
    let empty = Bytes::new;
    let wrong: Vec<Vec<Frame>> =
        vec![vec![Frame::Hello(empty())], vec![Frame::Refuse { status: Status::Ok, reason: String::new() }]];
    for frames in wrong {
        let mut raw = Raw::introduced(&server);
        frames.into_iter().for_each(|frame| raw.send(frame));
        assert!(matches!(raw.recv(), Some(Frame::GoAway { status: Status::Protocol, .. })));
        assert!(raw.recv().is_none());
    }
    // A call id that is in use.
    let mut raw = Raw::introduced(&server);
    raw.call(1, SLEEP_ASYNC.id(), b"[500]");
    raw.call(1, ECHO.id(), b"");
    assert!(matches!(raw.recv(), Some(Frame::GoAway { .. })));
    // Items for a call that takes none.
    let mut raw = Raw::introduced(&server);
    raw.call(1, SLEEP_ASYNC.id(), b"[500]");
    raw.send(Frame::StreamItem { id: 1, payload: empty() });
    assert!(matches!(raw.recv(), Some(Frame::GoAway { .. })));
    assert_alive(&server);
}

#[test]
fn harmless_frames_are_ignored() {
    let server = Tcp::start();
    let mut raw = Raw::introduced(&server);
    raw.send(Frame::Cancel { id: 77 });
    raw.send(Frame::Credit { id: 77, bytes: u64::MAX });
    raw.send(Frame::StreamStop { id: 77 });
    raw.send(Frame::StreamItem { id: 77, payload: Bytes::new() });
    raw.send(Frame::Reply { id: 77, status: Status::Ok, payload: Bytes::new() });
    raw.send(Frame::Notify { id: 0, code: 9, payload: Bytes::new() });
    raw.send(Frame::Pong { id: 3 });
    raw.send(Frame::Ping { id: 4 });
    assert_eq!(raw.recv(), Some(Frame::Pong { id: 4 }));
    raw.call(1, MethodId(0xdead), b"");
    let (_, status, text) = raw.reply();
    assert_eq!(status, Status::NoSuchMethod);
    assert!(std::str::from_utf8(&text).unwrap().contains("000000000000dead"), "{text:?}");
}

#[test]
fn a_stream_without_credit_waits() {
    let server = Tcp::start();
    let mut raw = Raw::introduced(&server);
    raw.call(1, COUNT.id(), b"[1000000]");
    let mut taken = 0;
    raw.0.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let mut header = [0; HEADER_BYTES];
    // Items come until the window is used up, and then nothing.
    while raw.0.read_exact(&mut header).is_ok() {
        let header = Header::decode(&header).unwrap();
        assert_eq!(header.kind, Kind::StreamItem);
        raw.0.read_exact(&mut vec![0; header.body_bytes as usize]).unwrap();
        taken += u64::from(header.body_bytes) + 64;
    }
    assert!((256 << 10..(256 << 10) + 100).contains(&taken), "{taken} bytes of items came");
    raw.send(Frame::Cancel { id: 1 });
    eventually("the handler has ended", || {
        let mut other = Raw::introduced(&server);
        other.call(1, ECHO.id(), b"");
        other.reply().1 == Status::Ok
    });
}

/// Random bytes after a proper handshake: the server closes or answers, and lives.
#[test]
fn noise_is_survived() {
    let server = Tcp::start();
    let mut state = 0x5eed_u64;
    for _ in 0..200 {
        let mut raw = Raw::introduced(&server);
        let noise: Vec<u8> = (0..200)
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Lengths small enough that the frames end.
                if at % 16 < 4 {
                    ((state >> 60) as u8) & u8::from(at % 16 == 0)
                } else {
                    (state >> 33) as u8 % 16
                }
            })
            .collect();
        let _may_be_closed = raw.0.write_all(&noise);
        let _may_be_closed = raw.0.shutdown(std::net::Shutdown::Write);
        let _answers = raw.0.read_to_end(&mut Vec::new());
    }
    assert_alive(&server);
}

/// A client that only talks: the server stops reading instead of queueing for it.
#[test]
fn a_client_that_never_reads_is_not_queued_for() {
    let server = Tcp::start();
    let mut raw = Raw::introduced(&server);
    raw.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let ping = encode(Frame::Ping { id: 1 }, false).head.repeat(4096);
    // Far more than queue and sockets hold together.
    let taken = (0..20_000).take_while(|_| raw.0.write_all(&ping).is_ok()).count();
    assert!(taken < 20_000, "{taken} times 4096 pings were taken");
    assert_alive(&server);
}

#[test]
fn windows_have_bounds() {
    let server = Tcp::start();
    let mut raw = Raw::connect(&server);
    let mut hello = Hello::new(None);
    hello.stream_window_bytes = u64::MAX;
    raw.send(Frame::Hello(serde_json::to_vec(&hello).unwrap().into()));
    assert!(matches!(raw.recv(), Some(Frame::Refuse { status: Status::Protocol, .. })));

    let mut raw = Raw::introduced(&server);
    raw.call(1, COUNT.id(), b"[1000000000]");
    raw.send(Frame::Credit { id: 1, bytes: u64::MAX });
    let end = std::iter::from_fn(|| raw.recv()).find(|frame| !matches!(frame, Frame::StreamItem { .. }));
    assert!(matches!(end, Some(Frame::GoAway { status: Status::Protocol, .. })), "{end:?}");
}
