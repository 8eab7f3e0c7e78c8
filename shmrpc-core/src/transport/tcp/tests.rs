//! What cannot be provoked from outside.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    poller::{Readiness, Ready, Registration, poller},
    reader::{FrameReader, Received},
    socket::{Fill, Socket, Wait},
    writer::Writer,
    *,
};
use crate::{error::Status, frame::encode};

/// A client whose process has forked since: no test of ours may fork, so it is told so.
#[test]
fn a_connection_is_of_no_use_after_fork() {
    let options = ConnectOptions::default();
    let port = 9;
    let endpoint = "tcp://127.0.0.1:9".to_owned();
    let security = Security::Clear;
    let address = Address { host: "127.0.0.1".into(), port, security, endpoint, service: None, options };
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
fn pair() -> (Arc<Socket>, Arc<Socket>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (Arc::new(Socket::new(client).unwrap()), Arc::new(Socket::new(server).unwrap()))
}

/// Writes to a socket whatever the kernel does not take at once.
struct Pump(Arc<Writer>);

impl Ready for Pump {
    fn ready(self: Arc<Self>, what: Readiness) {
        if what.writable {
            self.0.unblocked();
        }
    }
}

fn writer(socket: Arc<Socket>) -> (Arc<Writer>, Arc<Pump>) {
    let writer = Writer::new(Arc::clone(&socket));
    let pump = Arc::new(Pump(Arc::clone(&writer)));
    let member: std::sync::Weak<dyn Ready> = Arc::<Pump>::downgrade(&pump) as _;
    writer.register(Registration::new(poller(1).unwrap(), socket, member).unwrap());
    (writer, pump)
}

/// The next frame as it is decoded, or the end.
fn next(reader: &mut FrameReader, socket: &Socket) -> Option<Frame> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match reader.next().unwrap() {
            Some(Received::Frame(header, body)) => {
                return Some(crate::frame::decode(header, body.into_bytes(), u64::MAX >> 1).unwrap());
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
        assert!(Instant::now() < until, "no frame came");
        socket.wait_readable(Duration::from_millis(100));
        if reader.fill(socket, Wait::No).unwrap() == Fill::Closed {
            return None;
        }
    }
}

/// Many threads send at once; every frame comes out whole, and each thread's in their order.
#[test]
fn frames_of_many_threads_do_not_mix() {
    const THREADS: u64 = 4;
    const FRAMES: u64 = 2000;
    let (from, to) = pair();
    let (writer, _pump) = writer(from);
    for thread in 0..THREADS {
        let writer = Arc::clone(&writer);
        std::thread::spawn(move || {
            for n in 0..FRAMES {
                let len = (n * 37 % 3000) as usize;
                let payload = Bytes::from(vec![n as u8; if n % 100 == 7 { 100_000 + len } else { len }]);
                match n % 3 {
                    0 => writer.send(Frame::StreamItem { id: (thread << 32) | n, payload }),
                    1 => writer.gather_reply((thread << 32) | n, Status::Ok, &payload),
                    _ => {
                        writer.gather_reply((thread << 32) | n, Status::Ok, &payload);
                        writer.flush();
                    }
                }
            }
            writer.flush();
        });
    }
    let mut reader = FrameReader::new(1 << 20);
    let mut expected = [0; THREADS as usize];
    for _ in 0..THREADS * FRAMES {
        let frame = next(&mut reader, &to);
        let Some(Frame::StreamItem { id, payload } | Frame::Reply { id, payload, .. }) = frame else {
            panic!("{frame:?}")
        };
        let n = &mut expected[(id >> 32) as usize];
        assert_eq!(id & 0xffff_ffff, *n);
        let large = if *n % 100 == 7 { 100_000 } else { 0 };
        assert_eq!(payload.len() as u64, *n * 37 % 3000 + large);
        assert!(payload.iter().all(|&byte| byte == *n as u8));
        *n += 1;
    }
    writer.close();
    assert!(next(&mut reader, &to).is_none());
}

/// A frame that comes one byte at a time, and one that comes with the next.
#[test]
fn frames_may_be_cut_anywhere() {
    let (from, to) = pair();
    let mut reader = FrameReader::new(1 << 20);
    for len in [40, 40_000, 100_000] {
        let frame = Frame::Reply { id: 3, status: Status::Ok, payload: vec![5; len].into() };
        let encoded = encode(frame.clone(), false);
        let bytes = [encoded.head.clone(), encoded.payload.clone(), encoded.head, encoded.payload].concat();
        let cuts = if len < 100 { 1 } else { 777 };
        let mut received = Vec::new();
        let mut parts = bytes.chunks(cuts);
        let until = Instant::now() + Duration::from_secs(20);
        // What was written may come a little later, when the machine is busy.
        while received.len() < 2 {
            assert!(Instant::now() < until, "frames are missing");
            if let Some(part) = parts.next() {
                assert_eq!(from.write(&[std::io::IoSlice::new(part)]).unwrap(), Some(part.len()));
            }
            to.wait_readable(Duration::from_millis(100));
            reader.fill(&*to, Wait::No).unwrap();
            while let Some(Received::Frame(header, body)) = reader.next().unwrap() {
                received.push(crate::frame::decode(header, body.into_bytes(), 1 << 20).unwrap());
            }
        }
        assert_eq!(received, [frame.clone(), frame]);
        assert_eq!(reader.fill(&*to, Wait::No).unwrap(), Fill::Nothing);
        assert_eq!(reader.capacity_bytes(), 0, "an idle reader holds memory");
    }
}

/// A header that claims much, and nothing behind it: no memory, and a time at which it is too late.
#[test]
fn a_claim_alone_costs_nothing() {
    let (from, to) = pair();
    let (kind, flags, code, id) = (crate::frame::Kind::Reply, 0, 0, 1);
    let header = crate::frame::Header { body_bytes: 100 << 20, kind, flags, code, id };
    assert_eq!(from.write(&[std::io::IoSlice::new(&header.encode())]).unwrap(), Some(16));
    let mut reader = FrameReader::new(1 << 30);
    to.wait_readable(Duration::from_secs(20));
    for _ in 0..3 {
        reader.fill(&*to, Wait::No).unwrap();
        assert!(reader.next().unwrap().is_none());
    }
    assert!(reader.capacity_bytes() <= 128 << 10, "{} bytes are held", reader.capacity_bytes());
    // 100 MiB may take their time beyond that of every frame.
    let due = reader.due(Duration::from_secs(1)).unwrap().saturating_duration_since(Instant::now());
    assert!(due > Duration::from_secs(1000) && due < Duration::from_secs(1700), "{due:?}");
}

/// Who listens and never accepts: a client with a short timeout does not wait longer.
#[test]
fn a_dial_keeps_its_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = ConnectOptions { timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    let error = TcpTransport::connect(Security::Clear, "127.0.0.1", port, None, &options).err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}
