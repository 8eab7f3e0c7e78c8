//! What cannot be provoked from outside.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{
    reader::{FrameReader, ReadError, Received},
    writer::Writer,
    *,
};
use crate::frame::encode;

/// A client whose process has forked since: no test of ours may fork, so it is told so.
#[test]
fn a_connection_is_of_no_use_after_fork() {
    let options = ConnectOptions::default();
    let port = 9;
    let endpoint = "tcp://127.0.0.1:9".to_owned();
    let address = Address { host: "127.0.0.1".into(), port, endpoint, service: None, options };
    let description = ServiceDescription {
        struct_name: "S".into(),
        name: "s".into(),
        port: 9,
        max_workers: None,
        doc: String::new(),
        methods: Vec::new(),
    };
    let redial = Redial::start(std::sync::Weak::new(), address.clone());
    let shared = Shared {
        address,
        owner: std::process::id() + 1,
        state: Mutex::new(State::Dialling(redial)),
        service: Mutex::new(Arc::new(description)),
    };
    let transport = TcpTransport { shared: Arc::new(shared) };
    let method = Target { id: MethodId(1), name: "m", idempotent: false, deadline: None };
    let call = Outbound { method, door: Door::Native, payload: b"", deadline: Duration::from_secs(1) };
    let error = transport.begin(call).err().unwrap();
    assert!(matches!(error, RpcError::Forked { current, .. } if current == std::process::id()));
    assert!(error.to_string().contains("after fork"), "{error}");
}

/// Both ends of a connection over loopback.
async fn pair() -> (Arc<TcpStream>, Arc<TcpStream>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (Arc::new(client), Arc::new(server))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Many threads send at once; every frame comes out whole, and each thread's in their order.
#[test]
fn frames_of_many_threads_do_not_mix() {
    const THREADS: u64 = 4;
    const FRAMES: u64 = 2000;
    block_on(async {
        let (from, to) = pair().await;
        let writer = Writer::new(from);
        tokio::spawn({
            let writer = Arc::clone(&writer);
            async move { writer.run().await }
        });
        for thread in 0..THREADS {
            let writer = Arc::clone(&writer);
            std::thread::spawn(move || {
                for n in 0..FRAMES {
                    let len = (n * 37 % 3000) as usize;
                    let payload = Bytes::from(vec![n as u8; len]);
                    writer.send(Frame::StreamItem { id: (thread << 32) | n, payload });
                }
            });
        }
        let mut reader = FrameReader::new(to, 1 << 20, Duration::from_secs(20));
        let mut next = [0; THREADS as usize];
        for _ in 0..THREADS * FRAMES {
            let received = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap();
            let Ok(Received::Frame(Frame::StreamItem { id, payload })) = received else {
                panic!("{received:?}")
            };
            let n = &mut next[(id >> 32) as usize];
            assert_eq!(id & 0xffff_ffff, *n);
            assert_eq!(payload.len() as u64, *n * 37 % 3000);
            assert!(payload.iter().all(|&byte| byte == *n as u8));
            *n += 1;
        }
        writer.close();
        assert!(matches!(reader.next().await, Ok(Received::Closed)));
    });
}

/// One byte at a time, and cancelled between them: nothing is lost.
#[test]
fn a_reader_may_be_interrupted_anywhere() {
    block_on(async {
        let (from, to) = pair().await;
        let frame = Frame::Reply { id: 3, status: crate::error::Status::Ok, payload: vec![5; 40].into() };
        let encoded = encode(frame.clone(), false);
        let bytes = [encoded.head, encoded.payload].concat();
        let mut reader = FrameReader::new(to, 1 << 20, Duration::from_secs(20));
        for byte in &bytes[..bytes.len() - 1] {
            from.writable().await.unwrap();
            assert_eq!(from.try_write(&[*byte]).unwrap(), 1);
            let interrupted = tokio::time::timeout(Duration::from_millis(1), reader.next()).await;
            assert!(interrupted.is_err());
        }
        assert_eq!(from.try_write(&bytes[bytes.len() - 1..]).unwrap(), 1);
        let received = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap();
        let Ok(Received::Frame(received)) = received else { panic!("{received:?}") };
        assert_eq!(received, frame);
    });
}

/// A header that claims much, and nothing behind it: no memory, and an end in time.
#[test]
fn a_claim_alone_costs_nothing() {
    block_on(async {
        let (from, to) = pair().await;
        let (kind, flags, code, id) = (crate::frame::Kind::Reply, 0, 0, 1);
        let header = crate::frame::Header { body_bytes: 100 << 10, kind, flags, code, id };
        from.writable().await.unwrap();
        assert_eq!(from.try_write(&header.encode()).unwrap(), 16);
        let mut reader = FrameReader::new(to, 1 << 30, Duration::from_millis(50));
        let started = Instant::now();
        let error = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap().unwrap_err();
        assert!(matches!(error, ReadError::TooSlow), "{error:?}");
        // 100 KiB may take a second beyond the timeout of every frame.
        assert!(started.elapsed() >= Duration::from_secs(1));
        assert!(reader.capacity_bytes() <= 64 << 10, "{} bytes are held", reader.capacity_bytes());
    });
}

/// Who listens and never accepts: a client with a short timeout does not wait longer.
#[test]
fn a_dial_keeps_its_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = ConnectOptions { timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    let error = TcpTransport::connect("127.0.0.1", port, None, &options).err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}
