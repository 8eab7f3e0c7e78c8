//! A service that an ini lets be reached over TLS, called by the library and by the command line.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;
use shmrpc::{ClientTls, ConnectError, ConnectOptions, Connection};

use crate::{
    probe::{call, scene},
    scene::{Scene, free_port, texts},
};

/// What an operator would make with `openssl`: an authority, and a certificate for each side.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "operator");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        made.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let both = [
            ("server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", "somebody", ExtendedKeyUsagePurpose::ClientAuth),
        ];
        for (name, subject, usage) in both {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            made.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            made.write(&format!("{name}.key"), &key.serialize_pem());
        }
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn ini(&self, port: u16) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "tcp_bind=127.0.0.1\nport={port}\ntcp_tls_certificate_file={}\ntcp_tls_key_file={}\n\
             tcp_tls_client_ca_file={}\ntcp_max_connections=100\ntcp_idle_timeout=1m\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem")
        )
    }
}

fn shmrpc(scene: &Scene, args: &[&str], env: &[(&str, &Path)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shmrpc"))
        .args(args)
        .env("SHMRPC_DIR", scene.path().join("run"))
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn a_service_is_reached_over_tls_by_those_with_certificates() {
    let certificates = Certificates::new();
    let port = free_port();
    let scene = scene(&certificates.ini(port));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let endpoint = format!("tls://127.0.0.1:{port}");
    let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.path(name));

    let mut options = ConnectOptions::default();
    options.tls = Some(ClientTls::new(&ca).identity(&certificate, &key));
    let client = Connection::connect_any(&endpoint, &options).unwrap();
    assert_eq!(call(&client, "add", &json!([2, 3])).unwrap(), 5);
    options.tls = Some(ClientTls::new(&ca));
    let error = Connection::connect_any(&endpoint, &options).err().unwrap();
    assert!(matches!(&error, ConnectError::Refused { reason, .. } if reason.contains("client certificate")));

    // By flags, by the environment, and by neither.
    let text = |path: &PathBuf| path.display().to_string();
    let (ca_text, certificate_text, key_text) = (text(&ca), text(&certificate), text(&key));
    let flags = ["--tls-certificate-file", &certificate_text, "--tls-key-file", &key_text];
    let args = [&["call", &endpoint, "add", "2", "3", "--tls-ca-file", &ca_text][..], &flags].concat();
    let output = shmrpc(&scene, &args, &[]);
    assert_eq!(texts(&output).0, "5\n", "{output:?}");
    let env = [
        (ClientTls::CA_VARIABLE, &*ca),
        (ClientTls::CERTIFICATE_VARIABLE, &*certificate),
        (ClientTls::KEY_VARIABLE, &*key),
    ];
    let output = shmrpc(&scene, &["methods", &endpoint], &env);
    assert!(output.status.success() && texts(&output).0.contains("add"), "{output:?}");
    let bench = [&["bench", &endpoint, "pid", "--seconds", "0.2"][..], &args[5..]].concat();
    let output = shmrpc(&scene, &bench, &[]);
    assert!(output.status.success(), "{output:?}");
    let output = shmrpc(&scene, &["methods", &endpoint], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("--tls-ca-file"), "{output:?}");
    let output = shmrpc(&scene, &["methods", &format!("tcp://127.0.0.1:{port}")], &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(texts(&output).1.contains("connect to tls://"), "{output:?}");
    daemon.stop();
}

/// What is wrong with the files is said before anything is started, with key and line.
#[test]
fn files_that_cannot_be_used_are_faults_of_the_ini() {
    let certificates = Certificates::new();
    let good = certificates.ini(free_port());
    let check = |ini: &str, expected: &[&str]| {
        let scene = scene(ini);
        let output = scene.run(&[], &["--check"]);
        let (_, stderr) = texts(&output);
        assert!(!output.status.success(), "{output:?}");
        expected.iter().for_each(|part| assert!(stderr.contains(part), "no {part:?} in {stderr}"));
    };
    let without =
        |key: &str| good.lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
    check(&without("tcp_tls_key_file"), &["tcp_tls_certificate_file", "without a key"]);
    check(&without("tcp_tls_certificate_file"), &["tcp_tls_key_file", "without a certificate"]);
    check(&good.replace("server.key", "client.key"), &["tcp_tls_certificate_file", "do not belong together"]);
    check(&good.replace("/ca.pem", "/none.pem"), &["tcp_tls_client_ca_file", "none.pem", "No such file"]);
    check(
        &without("tcp_tls_client_ca_file").replace("127.0.0.1", "0.0.0.0"),
        &["tcp_bind 0.0.0.0 is reachable", "tells nothing of its clients", "set tcp_secret_file or"],
    );
    fs::set_permissions(certificates.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    check(&good, &["tcp_tls_key_file", "server.key", "open to other users", "chmod 600"]);
}
