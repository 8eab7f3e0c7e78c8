//! Who is believed, who comes in, and what the others are told.

use std::{net::TcpListener, thread, time::Duration};

use shmrpc_core::{
    ClientTls, ConnectError, ConnectOptions, Connection, Gateway, Secret, ServeError, ServerTls, TcpOptions,
    TlsError, in_process,
};

use super::{
    Encrypted,
    certificates::{Authority, Kind},
    echoes,
};
use crate::{
    service::{Bench, eventually},
    suite::Harness,
    tcp::Tcp,
};

/// What the server's certificate is not believed for.
fn untrusted(outcome: Result<Connection, ConnectError>) -> String {
    match outcome.err() {
        Some(ConnectError::Untrusted { reason, .. }) => reason,
        other => panic!("{other:?} in place of Untrusted"),
    }
}

/// Why the server refuses.
fn refused(outcome: Result<Connection, ConnectError>) -> String {
    match outcome.err() {
        Some(ConnectError::Refused { reason, .. }) => reason,
        other => panic!("{other:?} in place of Refused"),
    }
}

fn connect(endpoint: &str) -> Result<Connection, ConnectError> {
    Connection::connect_any(endpoint, &ConnectOptions::default())
}

#[test]
fn another_authority_is_not_believed() {
    let server = Encrypted::start();
    let other = Authority::new("somebody");
    let reason = untrusted(server.connect_by(other.client()));
    assert!(reason.contains("not signed by an authority in"), "{reason}");
    assert!(reason.contains(&other.ca_file().display().to_string()), "{reason}");
}

#[test]
fn an_expired_certificate_is_not_believed() {
    let authority = Authority::new("ours");
    let files = authority.sign("old", Kind::ExpiredServer);
    let tcp = Tcp::with(|options| {
        options.tls = Some(ServerTls::new(&files.certificate, &files.key, None).unwrap());
    });
    let reason = untrusted(Encrypted { tcp, authority }.try_connect());
    assert!(reason.contains("has expired"), "{reason}");
}

#[test]
fn a_client_s_certificate_is_none_of_a_server_s() {
    let authority = Authority::new("ours");
    let files = authority.sign("client", Kind::Client);
    let tcp = Tcp::with(|options| {
        options.tls = Some(ServerTls::new(&files.certificate, &files.key, None).unwrap());
    });
    let reason = untrusted(Encrypted { tcp, authority }.try_connect());
    assert!(reason.contains("cannot be believed"), "{reason}");
}

#[test]
fn the_name_must_be_the_certificate_s() {
    let server = Encrypted::start();
    let port = server.tcp.address().port();
    let mut options = ConnectOptions::default();
    options.tls = Some(server.authority.client());
    let reason = untrusted(Connection::connect_any(format!("tls://localhost:{port}"), &options));
    assert!(reason.contains("is not for localhost"), "{reason}");
    // Unless another is wanted.
    options.tls = Some(server.authority.client().server_name("box.example"));
    echoes(&Connection::connect_any(format!("tls://localhost:{port}"), &options).unwrap());
    let reason = untrusted(server.connect_by(server.authority.client().server_name("other.example")));
    assert!(reason.contains("is not for other.example"), "{reason}");
    let error = server.connect_by(server.authority.client().server_name("no name")).err().unwrap();
    assert!(matches!(&error, ConnectError::Tls { source: TlsError::Name(name), .. } if name == "no name"));
}

#[test]
fn clients_without_the_right_certificate_stay_outside() {
    let server = Encrypted::with(true, |_| {});
    echoes(&server.connect_by(server.authority.client_with_identity()).unwrap());
    let reason = refused(server.connect_by(server.authority.client()));
    assert!(reason.contains("asks for a client certificate"), "{reason}");
    let somebody = Authority::new("somebody");
    let files = somebody.sign("stranger", Kind::Client);
    let reason =
        refused(server.connect_by(server.authority.client().identity(&files.certificate, &files.key)));
    assert!(reason.contains("does not believe our certificate"), "{reason}");
    // A server's certificate is none of a client's.
    let files = server.authority.sign("wrong", Kind::Server);
    let reason =
        refused(server.connect_by(server.authority.client().identity(&files.certificate, &files.key)));
    assert!(reason.contains("certificate") || reason.contains("broke off TLS"), "{reason}");
    // The first, which was let in, has gone too; the server may have yet to notice.
    eventually("no connections", || server.tcp.connections() == 0);
}

/// Neither side waits for words that will not come.
#[test]
fn tls_and_clear_text_do_not_meet() {
    let server = Encrypted::start();
    let reason = refused(connect(&format!("tcp://{}", server.tcp.address())));
    assert!(reason.contains("connect to tls://"), "{reason}");

    let clear = Tcp::start();
    let mut options = ConnectOptions::default();
    options.tls = Some(server.authority.client());
    let reason = refused(Connection::connect_any(format!("tls://{}", clear.address()), &options));
    assert!(reason.contains("does not speak TLS"), "{reason}");

    // Nor is anything said in the clear by who was told to encrypt it, or encrypted for nobody knows whom.
    let error = Connection::connect_any(format!("tcp://{}", clear.address()), &options).err().unwrap();
    assert!(matches!(error, ConnectError::Tls { source: TlsError::Clear, .. }), "{error:?}");
    let error = connect(&server.endpoint()).err().unwrap();
    assert!(matches!(error, ConnectError::Tls { source: TlsError::NoAuthority, .. }), "{error:?}");
}

/// A server that accepts and then says nothing, and one that hangs up.
#[test]
fn silent_servers_do_not_hold_clients() {
    let authority = Authority::new("ours");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = ConnectOptions::default();
    options.tls = Some(authority.client());
    options.timeout = Duration::from_millis(100);
    let endpoint = format!("tls://{}", silent.local_addr().unwrap());
    let error = Connection::connect_any(&endpoint, &options).err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");

    options.timeout = Duration::from_secs(20);
    let hanging_up = thread::spawn(move || drop((silent.accept().unwrap(), silent.accept().unwrap())));
    let error = Connection::connect_any(&endpoint, &options).err().unwrap();
    assert!(matches!(error, ConnectError::Io { .. } | ConnectError::Refused { .. }), "{error:?}");
    hanging_up.join().unwrap();
}

/// Certificates of clients count as much as a secret; the server's own tells nothing of those who come.
#[test]
fn what_guards_an_open_address() {
    let authority = Authority::new("ours");
    let listen = |change: &dyn Fn(&mut TcpOptions)| {
        let mut options = TcpOptions::default();
        change(&mut options);
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        Gateway::serve(listener, in_process(std::sync::Arc::new(Bench::default())), options)
    };
    let error = listen(&|options| options.tls = Some(authority.server(false))).err().unwrap();
    assert!(matches!(error, ServeError::Unguarded(_)), "{error:?}");
    assert!(listen(&|options| options.tls = Some(authority.server(true))).is_ok());
    let both = |options: &mut TcpOptions| {
        options.tls = Some(authority.server(false));
        options.secret = Some(Secret::new("a secret of the tests alone").unwrap());
    };
    assert!(listen(&both).is_ok());
}

impl Encrypted {
    fn try_connect(&self) -> Result<Connection, ConnectError> {
        self.connect_by(ClientTls::new(self.authority.ca_file()))
    }
}
