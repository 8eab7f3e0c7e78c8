//! Bytes that break the rules, over TCP and in process.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use shmrpc::{
    ConnectOptions, Connection, RpcError,
    codec::{Bincode, Decode, Json},
    frame::{Frame, HEADER_BYTES, Header, Kind, decode, encode, flags, handshake::Hello},
};

use crate::{
    daemon::slow_peers,
    service::{Actor, SMALL, echo, flush},
};

fn timed(tries: usize, mut once: impl FnMut()) -> Vec<Duration> {
    flush();
    let mut times = Vec::new();
    for _ in 0..tries {
        let start = Instant::now();
        once();
        times.push(start.elapsed());
    }
    times
}

/// Arguments beyond the server's limit: refused before anything is sent, and the connection is usable.
pub(crate) fn frame_over_the_limit(tries: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let (_worker, port) = Actor::start(SMALL, folder.path());
    let address = format!("tcp://127.0.0.1:{port}");
    let connection = Connection::connect_any(&address, &ConnectOptions::default()).expect("a connection");
    let data = vec![7; (16 << 20) + 1];
    let times = timed(tries * 10, || {
        let outcome = echo(&connection, &data);
        assert!(matches!(outcome, Err(RpcError::TooLarge { .. })), "{outcome:?}");
    });
    assert!(echo(&connection, b"x").is_ok());
    times
}

/// From the first wrong byte to the end of the connection, which is made anew each time.
pub(crate) fn malformed_frame(tries: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let (_worker, port) = Actor::start(SMALL, folder.path());
    let port: u16 = port.parse().expect("a port");
    timed(tries * 10, || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(&[0xff; 64]).expect("room for 64 bytes");
        let mut said = Vec::new();
        if let Err(error) = stream.read_to_end(&mut said) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    })
}

pub(crate) fn probe_alone(tries: usize) -> Vec<Duration> {
    probe(tries, 0)
}

/// Each of them introduced, and silent ever since. Fewer, where the limit on descriptors says so.
pub(crate) fn probe_beside_idle(tries: usize) -> Vec<Duration> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let count = hard.saturating_sub(1000).min(10_000);
    // The server's process inherits it.
    setrlimit(Resource::RLIMIT_NOFILE, count + 1000, hard).expect("a limit below the hard one");
    probe(tries, count)
}

/// 64 bytes there and back, again and again, beside so many other connections.
fn probe(tries: usize, beside: u64) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let (_worker, port) = Actor::start(SMALL, folder.path());
    let port: u16 = port.parse().expect("a port");
    let hello = serde_json::to_vec(&Hello::new(None)).expect("a Hello is JSON");
    let hello = encode(Frame::Hello(hello.into()), false);
    let hello = [hello.head, hello.payload].concat();
    let idle: Vec<TcpStream> = (0..beside)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            stream.write_all(&hello).expect("room for a Hello");
            stream.read_exact(&mut [0; HEADER_BYTES]).expect("a Welcome");
            stream
        })
        .collect();
    let address = format!("tcp://127.0.0.1:{port}");
    let connection = Connection::connect_any(&address, &ConnectOptions::default()).expect("a connection");
    let call = || assert!(echo(&connection, &[7; 64]).is_ok());
    // Until the method is known to be quick.
    (0..1000).for_each(|_| call());
    let times = timed(tries * 1000, call);
    drop(idle);
    times
}

/// From the first bytes of a frame that never ends to the end of its connection; many at once.
pub(crate) fn slowloris_frames(tries: usize) -> Vec<Duration> {
    flush();
    let folder = tempfile::tempdir().expect("a folder");
    let (_worker, port) = Actor::start(SMALL, folder.path());
    let hello = serde_json::to_vec(&Hello::new(None)).expect("a Hello is JSON");
    let hello = encode(Frame::Hello(hello.into()), false);
    let begun = Header { body_bytes: 60_000, kind: Kind::Call, flags: 0, code: 0, id: 1 };
    let said = [&hello.head[..], &hello.payload[..], &begun.encode()[..]].concat();
    slow_peers(tries, &format!("127.0.0.1:{port}"), &said)
}

/// Six bytes that claim four gibibytes.
pub(crate) fn decompression_bomb(tries: usize) -> Vec<Duration> {
    let bomb = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    let header = Header { body_bytes: 6, kind: Kind::StreamItem, flags: flags::COMPRESSED, code: 0, id: 1 };
    timed(tries * 100, || assert!(decode(header, bomb.clone(), 16 << 20).is_err()))
}

pub(crate) fn deep_value(tries: usize) -> Vec<Duration> {
    let deep = vec![b'['; 1 << 20];
    timed(tries * 10, || assert!(<Json as Decode<Value>>::decode(&deep).is_err()))
}

/// Nine bytes that claim eight thousand million elements of nothing.
pub(crate) fn huge_claim(tries: usize) -> Vec<Duration> {
    let claim = [253, 0, 0, 0, 0, 2, 0, 0, 0];
    timed(tries * 100, || assert!(<Bincode as Decode<Vec<()>>>::decode(&claim).is_err()))
}

/// The longest that the limit on memory lets pass before it is met.
pub(crate) fn huge_value(tries: usize) -> Vec<Duration> {
    let numbers = format!("[{}0]", "0,".repeat(8 << 20));
    timed(tries, || assert!(<Json as Decode<Value>>::decode(numbers.as_bytes()).is_err()))
}
