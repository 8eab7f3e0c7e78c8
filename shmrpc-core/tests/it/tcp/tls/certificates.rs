//! Authorities and what they sign, in a folder that goes with them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use shmrpc_core::{ClientTls, ServerTls};
use tempfile::TempDir;

/// Somebody who signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Server,
    ExpiredServer,
    Client,
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

pub(super) fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let folder = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        write(&folder.path().join("ca.pem"), &certificate.pem(), 0o644);
        Self { issuer: Issuer::new(params, key), folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Signs a certificate, in files of that name.
    pub(super) fn sign(&self, name: &str, kind: Kind) -> Files {
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "box.example".to_owned()];
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.distinguished_name = named(name);
        // Others than rustls insist on it.
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![match kind {
            Kind::Server | Kind::ExpiredServer => ExtendedKeyUsagePurpose::ServerAuth,
            Kind::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if let Kind::ExpiredServer = kind {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files =
            Files { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) };
        write(&files.certificate, &certificate.pem(), 0o644);
        write(&files.key, &key.serialize_pem(), 0o600);
        files
    }

    /// A server with a certificate of ours. `mutual`: that wants one of ours.
    pub(super) fn server(&self, mutual: bool) -> ServerTls {
        let files = self.sign("server", Kind::Server);
        let ca_file = self.ca_file();
        ServerTls::new(&files.certificate, &files.key, mutual.then_some(&*ca_file)).unwrap()
    }

    /// A client that believes us.
    pub(super) fn client(&self) -> ClientTls {
        ClientTls::new(self.ca_file())
    }

    /// The same with a certificate of ours.
    pub(super) fn client_with_identity(&self) -> ClientTls {
        let files = self.sign("client", Kind::Client);
        self.client().identity(&files.certificate, &files.key)
    }
}
