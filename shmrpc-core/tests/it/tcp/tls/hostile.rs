//! Handshakes that are slow, unfinished, or not handshakes at all.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use shmrpc_core::{
    ConnectError,
    frame::{Frame, encode, handshake::Hello},
};

use super::{Encrypted, certificates::Authority, echoes};
use crate::{service::eventually, suite::Harness};

/// A client by hand, before it has said anything.
fn dial(server: &Encrypted) -> TcpStream {
    let stream = TcpStream::connect(server.tcp.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Somebody's TLS, which believes an authority.
fn connection(authority: &Authority) -> ClientConnection {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(authority.ca_file()).unwrap();
    for certificate in rustls_certificates(&pem) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}

fn rustls_certificates(pem: &[u8]) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap()
}

/// What such a client says first.
fn client_hello(authority: &Authority) -> Vec<u8> {
    let mut bytes = Vec::new();
    connection(authority).write_tls(&mut bytes).unwrap();
    bytes
}

/// A client that has shaken hands, by TLS and by our own protocol.
fn introduced(server: &Encrypted) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = StreamOwned::new(connection(&server.authority), dial(server));
    let hello = serde_json::to_vec(&Hello::new(None)).unwrap();
    let hello = encode(Frame::Hello(hello.into()), false);
    stream.write_all(&[hello.head, hello.payload].concat()).unwrap();
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[4], 2, "no welcome");
    let mut body = vec![0; u32::from_le_bytes(header[..4].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).unwrap();
    stream
}

/// Reads until the end.
fn ends(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

/// A stranger's client, which has no name for what is inside TLS.
#[test]
fn a_client_by_hand_is_served() {
    let server = Encrypted::start();
    let mut stream = introduced(&server);
    let ping = encode(Frame::Ping { id: 7 }, false);
    stream.write_all(&ping.head).unwrap();
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    assert_eq!((header[4], header[8]), (13, 7));
}

/// Those who begin the handshake and do not end it: they hold nobody else up, and go when their time is over.
#[test]
fn slowloris_tls_handshake() {
    let server = Encrypted::with(false, |options| options.handshake_timeout = Duration::from_millis(300));
    let hello = client_hello(&server.authority);
    let client = server.connect();
    thread::scope(|scope| {
        // Nothing; one byte; half a record; a byte now and then.
        for begun in [0, 1, hello.len() / 2] {
            let (server, hello) = (&server, &hello);
            scope.spawn(move || {
                let mut stream = dial(server);
                stream.write_all(&hello[..begun]).unwrap();
                ends(&mut stream);
            });
        }
        let (server, hello) = (&server, &hello);
        scope.spawn(move || {
            let mut stream = dial(server);
            for byte in hello {
                if stream.write_all(&[*byte]).is_err() || server.tcp.connections() == 1 {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            ends(&mut stream);
        });
        (0..20).for_each(|_| echoes(&client));
    });
    eventually("they are forgotten", || server.tcp.connections() == 1);
}

/// A record that is begun after the handshake must end in time, as a frame must.
#[test]
fn an_unfinished_record_ends_the_connection() {
    let server = Encrypted::with(false, |options| options.frame_timeout = Duration::from_millis(300));
    let mut stream = introduced(&server);
    let mut record = Vec::new();
    stream.conn.writer().write_all(&[0; 1000]).unwrap();
    stream.conn.write_tls(&mut record).unwrap();
    stream.sock.write_all(&record[..record.len() / 2]).unwrap();
    ends(&mut stream.sock);
    eventually("it is forgotten", || server.tcp.connections() == 0);
}

/// A peer that vanishes in the middle of the handshake, and one that does so after it without a goodbye.
#[test]
fn peers_that_vanish_are_forgotten() {
    let server = Encrypted::start();
    let hello = client_hello(&server.authority);
    let mut begun = dial(&server);
    begun.write_all(&hello[..hello.len() - 1]).unwrap();
    eventually("it is there", || server.tcp.connections() == 1);
    drop(begun);
    let stream = introduced(&server);
    drop(stream.into_parts());
    eventually("they are forgotten", || server.tcp.connections() == 0);
}

/// Beyond the limit a client is told so, over TLS; connections that are still shaking hands count.
#[test]
fn the_limit_on_connections_holds_during_the_handshake() {
    let server = Encrypted::with(false, |options| options.max_connections = 2);
    let client = server.connect();
    let begun = dial(&server);
    eventually("it is there", || server.tcp.connections() == 2);
    let error = server.connect_by(server.authority.client()).err().unwrap();
    assert!(
        matches!(&error, ConnectError::Refused { reason, .. } if reason.contains("limit of 2 connections")),
        "{error:?}"
    );
    drop(begun);
    eventually("there is room", || server.tcp.connections() == 1);
    echoes(&server.connect());
    echoes(&client);
}

/// Handshakes that somebody has tampered with, and bytes that never were one.
#[test]
fn damaged_handshakes_harm_nobody() {
    const TRIES: u64 = 600;
    let server = Encrypted::with(false, |options| options.handshake_timeout = Duration::from_secs(2));
    let hello = client_hello(&server.authority);
    thread::scope(|scope| {
        for part in 0..4 {
            let (server, hello) = (&server, &hello);
            scope.spawn(move || {
                let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ part;
                let mut next = || {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random
                };
                for _ in 0..TRIES / 4 {
                    let mut bytes = hello.clone();
                    for _ in 0..=next() % 8 {
                        let at = next() as usize % bytes.len();
                        match next() % 4 {
                            0 => bytes[at] = next() as u8,
                            1 => bytes.truncate(at.max(1)),
                            2 => bytes.insert(at, next() as u8),
                            _ => bytes[at] ^= 1 << (next() % 8),
                        }
                    }
                    let mut stream = dial(server);
                    // The server may have had enough before all of it is sent.
                    let _sent = stream.write_all(&bytes);
                    let _sent = stream.shutdown(std::net::Shutdown::Write);
                    ends(&mut stream);
                }
            });
        }
    });
    eventually("they are forgotten", || server.tcp.connections() == 0);
    echoes(&server.connect());
}

/// Somebody changes what was encrypted: nothing of it is believed, and the connection ends.
#[test]
fn a_changed_record_ends_the_connection() {
    let server = Encrypted::start();
    let mut stream = introduced(&server);
    let ping = encode(Frame::Ping { id: 7 }, false);
    stream.conn.writer().write_all(&ping.head).unwrap();
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).unwrap();
    let last = record.len() - 1;
    record[last] ^= 1;
    stream.sock.write_all(&record).unwrap();
    ends(&mut stream.sock);
    eventually("it is forgotten", || server.tcp.connections() == 0);
}
