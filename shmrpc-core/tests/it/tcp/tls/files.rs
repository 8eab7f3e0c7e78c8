//! What is wrong with a file is said with its name; files that change count for the connections that come then.

use std::{fs, path::Path, thread, time::Duration};

use shmrpc_core::{ClientTls, ConnectError, ServerTls, TlsError};

use super::{
    Encrypted,
    certificates::{Authority, Kind, write},
    echoes,
};
use crate::{service::eventually, suite::Harness, tcp::Tcp};

fn names(error: &TlsError, path: &Path) -> bool {
    error.to_string().contains(&path.display().to_string())
}

#[test]
fn every_fault_names_its_file() {
    let ours = Authority::new("ours");
    let (one, other) = (ours.sign("one", Kind::Server), ours.sign("other", Kind::Server));
    let missing = ours.path("missing.pem");
    let error = ServerTls::new(&missing, &one.key, None).unwrap_err();
    assert!(matches!(error, TlsError::Io { .. }) && names(&error, &missing), "{error}");
    let error = ServerTls::new(&one.certificate, &missing, None).unwrap_err();
    assert!(matches!(error, TlsError::Io { what: "private key", .. }) && names(&error, &missing), "{error}");
    let error = ServerTls::new(&one.certificate, &one.key, Some(&*missing)).unwrap_err();
    assert!(matches!(error, TlsError::Io { .. }) && names(&error, &missing), "{error}");

    let error = ServerTls::new(&one.certificate, &other.key, None).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    assert!(names(&error, &one.certificate) && names(&error, &other.key), "{error}");

    let empty = ours.path("empty.pem");
    write(&empty, "nothing\n", 0o600);
    let damaged = ours.path("damaged.pem");
    write(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600);
    for bad in [&empty, &damaged] {
        for error in [
            ServerTls::new(bad, &one.key, None).unwrap_err(),
            ServerTls::new(&one.certificate, &one.key, Some(&**bad)).unwrap_err(),
            ServerTls::new(&one.certificate, bad, None).unwrap_err(),
            ClientTls::new(bad).check().unwrap_err(),
        ] {
            assert!(matches!(error, TlsError::Unusable { .. }) && names(&error, bad), "{error}");
        }
    }
    assert!(ClientTls::new(ours.ca_file()).check().is_ok());
}

#[test]
fn a_key_is_private() {
    let ours = Authority::new("ours");
    let files = ours.sign("one", Kind::Server);
    let key = fs::read_to_string(&files.key).unwrap();
    for (mode, is_private) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)] {
        write(&files.key, &key, mode);
        let outcome = ServerTls::new(&files.certificate, &files.key, None);
        assert_eq!(outcome.is_ok(), is_private, "mode {mode:o}");
        if let Err(error) = outcome {
            assert!(matches!(error, TlsError::Open { mode: found, .. } if found == mode), "{error}");
            assert!(names(&error, &files.key), "{error}");
        }
    }
}

#[test]
fn half_of_it_is_not_enough() {
    let ours = Authority::new("ours");
    let files = ours.sign("one", Kind::Server);
    let (certificate, key) = (files.certificate.as_path(), files.key.as_path());
    let ca = ours.ca_file();
    assert!(ServerTls::from_parts(None, None, None).unwrap().is_none());
    assert!(ServerTls::from_parts(Some(certificate), Some(key), Some(&ca)).unwrap().unwrap().is_mutual());
    for (certificate, key, ca) in
        [(Some(certificate), None, None), (None, Some(key), Some(&*ca)), (None, None, Some(&*ca))]
    {
        let error = ServerTls::from_parts(certificate, key, ca).unwrap_err();
        assert!(matches!(error, TlsError::Half { .. }), "{error}");
    }
}

/// A client's files are read when it connects.
#[test]
fn a_client_with_bad_files_says_so() {
    let server = Encrypted::start();
    let missing = server.authority.path("missing.pem");
    let error = server.connect_by(ClientTls::new(&missing)).err().unwrap();
    let ConnectError::Tls { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(source, TlsError::Io { .. }) && names(source, &missing), "{error}");
}

#[test]
fn renewed_certificates_count_without_a_restart() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.sign("server", Kind::Server);
    let tcp = Tcp::with(|options| {
        options.tls = Some(ServerTls::new(&files.certificate, &files.key, None).unwrap());
    });
    let server = Encrypted { tcp, authority: old };
    let before = server.connect();
    // Damaged: the last good ones stay in force.
    write(&files.certificate, "nothing\n", 0o644);
    thread::sleep(Duration::from_millis(1200));
    echoes(&server.connect());
    let renewed = new.sign("server", Kind::Server);
    for (from, to) in [(&renewed.certificate, &files.certificate), (&renewed.key, &files.key)] {
        fs::rename(from, to).unwrap();
    }
    eventually("the new certificate is shown", || server.connect_by(new.client()).is_ok());
    assert!(matches!(server.connect_by(server.authority.client()), Err(ConnectError::Untrusted { .. })));
    // Who was there stays.
    echoes(&before);
}
