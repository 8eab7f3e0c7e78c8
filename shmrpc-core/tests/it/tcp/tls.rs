//! TLS: the whole suite over it, who is believed and who comes in, and what is done with handshakes that are not
//! finished or make no sense. Certificates are made for each test by [`certificates`].

mod certificates;
mod files;
mod hostile;
mod trust;

use std::{sync::Arc, thread};

use shmrpc_core::{
    ClientTls, ConnectError, ConnectOptions, Connection, NoError, ServeOptions, Service, Serving, TcpOptions,
};

use self::certificates::Authority;
use super::{Tcp, python::python_by};
use crate::{
    service::{Bench, ECHO, FILL},
    shm::Folder,
    suite::{Harness, calls::pattern, conformance},
};

/// A service that speaks TLS, for 127.0.0.1 and the name `box.example`.
struct Encrypted {
    tcp: Tcp,
    authority: Authority,
}

impl Encrypted {
    fn with(mutual: bool, change: impl FnOnce(&mut TcpOptions)) -> Self {
        let authority = Authority::new("ours");
        let server_tls = authority.server(mutual);
        let tcp = Tcp::with(|options| {
            options.tls = Some(server_tls);
            change(options);
        });
        Self { tcp, authority }
    }

    fn endpoint(&self) -> String {
        format!("tls://{}", self.tcp.address())
    }

    fn connect_by(&self, client_tls: ClientTls) -> Result<Connection, ConnectError> {
        let mut options = ConnectOptions::default();
        options.tls = Some(client_tls);
        Connection::connect_any(self.endpoint(), &options)
    }
}

impl Harness for Encrypted {
    fn start() -> Self {
        Self::with(false, |_| {})
    }

    fn service(&self) -> &Arc<Bench> {
        self.tcp.service()
    }

    fn connect(&self) -> Connection {
        self.connect_by(self.authority.client()).unwrap()
    }
}

conformance!(Encrypted);

/// Both sides with certificates, and everything else that may be asked for besides.
mod mutual {
    use shmrpc_core::Secret;

    use super::*;

    struct Mutual(Encrypted, ClientTls);

    fn secret() -> Option<Secret> {
        Some(Secret::new("a secret of the tests alone").unwrap())
    }

    impl Harness for Mutual {
        fn start() -> Self {
            let server = Encrypted::with(true, |options| options.secret = secret());
            let client_tls = server.authority.client_with_identity();
            Self(server, client_tls)
        }

        fn service(&self) -> &Arc<Bench> {
            self.0.service()
        }

        fn connect(&self) -> Connection {
            let mut options = ConnectOptions::default();
            options.tls = Some(self.1.clone());
            options.secret = secret();
            options.compress = true;
            Connection::connect_any(self.0.endpoint(), &options).unwrap()
        }
    }

    conformance!(Mutual);
}

fn echoes(client: &Connection) {
    assert_eq!(client.call_raw_blocking::<NoError>(ECHO, b"hidden").unwrap(), b"hidden");
}

/// More than the kernel and TLS take at once, in both directions and in several connections.
#[test]
fn large_messages_of_many_callers() {
    const MIB: usize = 1 << 20;
    let server = Encrypted::start();
    let client = server.connect();
    thread::scope(|scope| {
        for n in 0..4 {
            let client = if n % 2 == 0 { client.clone() } else { server.connect() };
            scope.spawn(move || {
                for len in [16 * MIB - n, 100, 3 * MIB + n, 64 * 1024, 16 * 1024 + n, 1] {
                    let data = pattern(len, n);
                    let back = client.call_raw_blocking::<NoError>(ECHO, &data).unwrap();
                    assert!(back == data, "{len} bytes came back changed");
                    let filled = client.call_raw_blocking::<NoError>(FILL, len.to_string().as_bytes());
                    assert_eq!(filled.unwrap().len(), len);
                }
            });
        }
    });
}

/// A service of its own process, whose quick methods are run by the threads that read.
#[test]
fn a_service_alone_serves_over_tls() {
    let folder = Folder::new();
    let authority = Authority::new("ours");
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    options.tcp_bind = Some(([127, 0, 0, 1], 0).into());
    options.tcp.tls = Some(authority.server(false));
    let serving = Serving::start(Arc::new(Bench::default()) as Arc<dyn Service>, options).unwrap();
    let mut options = ConnectOptions::default();
    options.tls = Some(authority.client());
    let endpoint = format!("tls://{}", serving.tcp_addr().unwrap());
    let client = Connection::connect_any(endpoint, &options).unwrap();
    thread::scope(|scope| {
        for n in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for len in 0..500 {
                    let data = pattern(len * 7, n);
                    assert!(client.call_raw_blocking::<NoError>(ECHO, &data).unwrap() == data);
                }
            });
        }
    });
    drop(client);
    assert_eq!(serving.drain(), 0);
}

/// Another implementation of TLS, and of our protocol: Python's.
#[test]
fn the_python_client_speaks_tls() {
    let server = Encrypted::with(true, |_| {});
    let files = server.authority.sign("python", certificates::Kind::Client);
    let ca_file = server.authority.ca_file();
    let ca = (ClientTls::CA_VARIABLE, ca_file.as_os_str());
    let env = [
        ca,
        (ClientTls::CERTIFICATE_VARIABLE, files.certificate.as_os_str()),
        (ClientTls::KEY_VARIABLE, files.key.as_os_str()),
    ];
    let args = ["echo", "--raw"];
    let data = pattern(300_000, 3);
    let Some(output) = python_by(&server.tcp, &args, &data, &env) else { return };
    assert!(output.stdout == data, "{}", String::from_utf8_lossy(&output.stderr));
    // Without a certificate of its own it is told so by an alert.
    let output = python_by(&server.tcp, &args, &data, &[ca]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success() && said.contains("certificate"), "{said}");
}
