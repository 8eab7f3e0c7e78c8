//! Who does not know the shared secret neither comes in nor is believed.

use std::{net::TcpListener, thread, time::Duration};

use bytes::Bytes;
use shmrpc_core::{
    ConnectError, ConnectOptions, Connection, Gateway, NoError, Secret, ServeError, Status, TcpOptions,
    frame::{
        Frame,
        handshake::Hello,
        proof::{Auth, SCHEME, Transcript, to_hex},
    },
    in_process,
};

use super::{Tcp, hostile::Raw};
use crate::{
    service::{Bench, ECHO},
    suite::Harness,
};

const SECRET: &str = "correct horse battery staple";

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn guarded() -> Tcp {
    Tcp::with(|options| options.secret = Some(secret(SECRET)))
}

fn connect(server: &Tcp, with: Option<&str>) -> Result<Connection, ConnectError> {
    let mut options = ConnectOptions::default();
    options.secret = with.map(secret);
    Connection::connect_any(format!("tcp://{}", server.address()), &options)
}

#[test]
fn who_knows_the_secret_is_served() {
    let server = guarded();
    let client = connect(&server, Some(SECRET)).unwrap();
    assert_eq!(client.call_raw_blocking::<NoError>(ECHO, b"in").unwrap(), b"in");
}

#[test]
fn a_wrong_secret_is_refused() {
    let server = guarded();
    let error = connect(&server, Some("incorrect horse battery staple")).err().unwrap();
    assert!(matches!(&error, ConnectError::Refused { reason, .. } if reason.contains("secret")), "{error:?}");
}

/// Neither side does without the secret because the other does.
#[test]
fn a_downgrade_is_refused_by_either_side() {
    let error = connect(&guarded(), None).err().unwrap();
    assert!(matches!(&error, ConnectError::Refused { reason, .. } if reason.contains("secret")), "{error:?}");
    let error = connect(&Tcp::start(), Some(SECRET)).err().unwrap();
    assert!(matches!(&error, ConnectError::Untrusted { .. }), "{error:?}");
}

/// A client by hand, up to the server's challenge.
fn challenged(server: &Tcp, nonce: [u8; 32]) -> (Raw, Vec<u8>, [u8; 32]) {
    let mut raw = Raw::connect(server);
    let mut hello = Hello::new(None);
    hello.auth = Some(Auth { scheme: SCHEME.into(), nonce: to_hex(&nonce) });
    let hello = serde_json::to_vec(&hello).unwrap();
    raw.send(Frame::Hello(hello.clone().into()));
    let Some(Frame::Challenge(server_nonce)) = raw.recv() else { panic!("no challenge") };
    (raw, hello, server_nonce[..].try_into().unwrap())
}

fn is_refused(raw: &mut Raw) {
    let answer = raw.recv();
    assert!(matches!(answer, Some(Frame::Refuse { status: Status::Refused, .. })), "{answer:?}");
    assert!(raw.recv().is_none());
}

#[test]
fn a_replayed_challenge_is_refused() {
    let server = guarded();
    let client_nonce = [7; 32];
    let (mut raw, hello, server_nonce) = challenged(&server, client_nonce);
    let said = Transcript { client_nonce, server_nonce, hello: &hello };
    let proof = Bytes::copy_from_slice(&said.client_proof(SECRET.as_bytes()));
    raw.send(Frame::Proof(proof.clone()));
    let Some(Frame::Proof(theirs)) = raw.recv() else { panic!("no proof") };
    let Some(Frame::Welcome(welcome)) = raw.recv() else { panic!("no welcome") };
    assert!(said.is_server_proof(SECRET.as_bytes(), &welcome, &theirs));
    // The same words in another connection: the server's nonce is another.
    let (mut again, _, other_nonce) = challenged(&server, client_nonce);
    assert_ne!(server_nonce, other_nonce);
    again.send(Frame::Proof(proof));
    is_refused(&mut again);
    // And its own proof, sent back, is none of a client's.
    let (mut again, _, _) = challenged(&server, client_nonce);
    again.send(Frame::Proof(theirs));
    is_refused(&mut again);
}

/// An impostor that lets the client answer its own challenge, and sends that back as its proof.
#[test]
fn a_reflected_challenge_convinces_no_client() {
    let impostor = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = impostor.local_addr().unwrap();
    let playing = thread::spawn(move || {
        let (stream, _) = impostor.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut raw = Raw(stream);
        let Some(Frame::Hello(hello)) = raw.recv() else { panic!("no hello") };
        let hello: Hello = serde_json::from_slice(&hello).unwrap();
        let nonce = shmrpc_core::frame::proof::from_hex(&hello.auth.unwrap().nonce).unwrap();
        raw.send(Frame::Challenge(Bytes::copy_from_slice(&nonce)));
        let Some(Frame::Proof(proof)) = raw.recv() else { panic!("no proof") };
        raw.send(Frame::Proof(proof));
        raw.send(Frame::Welcome(Bytes::from_static(
            br#"{"version":1,"service":{"struct_name":"B","name":"bench","port":1,"max_workers":null,"doc":"","methods":[]},"max_in_flight":1}"#,
        )));
        let _closed = raw.recv();
    });
    let mut options = ConnectOptions::default();
    options.secret = Some(secret(SECRET));
    let error = Connection::connect_any(format!("tcp://{address}"), &options).err().unwrap();
    assert!(
        matches!(&error, ConnectError::Untrusted { reason, .. } if reason.contains("wrong")),
        "{error:?}"
    );
    playing.join().unwrap();
}

#[test]
fn other_machines_are_not_listened_to_unguarded() {
    let listen = |options: TcpOptions| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        Gateway::serve(listener, in_process(std::sync::Arc::new(Bench::default())), options)
    };
    let error = listen(TcpOptions::default()).err().unwrap();
    assert!(matches!(error, ServeError::Unguarded(_)), "{error:?}");
    let mut options = TcpOptions::default();
    options.secret = Some(secret(SECRET));
    assert!(listen(options).is_ok());
}
