//! Keys on TCP: where a service listens, who comes in, what is encrypted and how much is taken → [`TcpSettings`].

use std::{
    error::Error,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use shmrpc_core::{
    Secret, ServerTls, TlsError,
    server::{TcpLimits, TlsFiles},
};

use super::{diagnostic::Diagnostic, reader::Reader, value};

const CERTIFICATE: &str = "tcp_tls_certificate_file";
const KEY: &str = "tcp_tls_key_file";
const CLIENT_CA: &str = "tcp_tls_client_ca_file";

/// More connections or calls than anyone means.
const MOST: usize = 1_000_000;
/// Errors must fit into the least that a peer takes.
const LEAST_MESSAGE_BYTES: u64 = 1 << 10;
/// The wire format carries no more.
const MOST_MESSAGE_BYTES: u64 = (1 << 32) - (1 << 20);

/// How a service is reached over TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpSettings {
    /// Where to listen; `None`: nowhere.
    pub bind: Option<IpAddr>,
    /// The file of the secret that clients must prove.
    pub secret_file: Option<PathBuf>,
    /// The files of certificates; without any, what is said is not encrypted.
    pub tls: TlsFiles,
    /// Let peers on other machines in, though nothing authenticates them.
    pub allow_remote: bool,
    /// How much is taken of clients.
    pub limits: TcpLimits,
}

pub(super) fn tcp(reader: &mut Reader<'_>, base: &Path) -> TcpSettings {
    let path = |text: &str| (!text.is_empty()).then(|| base.join(text));
    let allow_remote = reader.read("tcp_allow_remote", value::ACCEPTED_BOOLEAN, value::boolean);
    let mut file = |key, accepted| reader.read(key, accepted, path);
    let settings = TcpSettings {
        secret_file: file("tcp_secret_file", "a file that holds a shared secret"),
        tls: TlsFiles {
            certificate_file: file(CERTIFICATE, "a PEM file with the server's certificate"),
            key_file: file(KEY, "a PEM file with the private key of the server's certificate"),
            client_ca_file: file(CLIENT_CA, "a PEM file with the authorities of clients' certificates"),
        },
        bind: reader.read("tcp_bind", value::ACCEPTED_BIND, value::bind).flatten(),
        allow_remote: allow_remote.unwrap_or(false),
        limits: limits(reader),
    };
    check_files(reader, &settings);
    let guarded = settings.secret_file.is_some() || settings.tls.client_ca_file.is_some();
    let open = settings.bind.filter(|address| !address.is_loopback());
    if let Some(address) = open.filter(|_| !guarded && !settings.allow_remote) {
        let but = match settings.tls.certificate_file {
            Some(_) => " (a server's own certificate tells nothing of its clients)",
            None => "",
        };
        let problem = format!(
            "tcp_bind {address} is reachable from other machines, and nothing authenticates them{but}: set \
             tcp_secret_file or {CLIENT_CA}; tcp_allow_remote = True says that anybody may come in"
        );
        reader.fault(Diagnostic::new(reader.line("tcp_bind"), problem).key("tcp_bind"));
    }
    settings
}

/// What cannot be used is said now, and not by workers that do not start.
fn check_files(reader: &mut Reader<'_>, settings: &TcpSettings) {
    if let Some(Err(error)) = settings.secret_file.as_ref().map(Secret::from_file) {
        fault(reader, "tcp_secret_file", &error);
    }
    let TlsFiles { certificate_file, key_file, client_ca_file } = &settings.tls;
    let parts = (certificate_file.as_deref(), key_file.as_deref(), client_ca_file.as_deref());
    if let Err(error) = ServerTls::from_parts(parts.0, parts.1, parts.2) {
        let (TlsError::Io { path: at, .. }
        | TlsError::Open { path: at, .. }
        | TlsError::Unusable { path: at, .. }
        | TlsError::Half { has: at, .. }) = &error
        else {
            return fault(reader, CERTIFICATE, &error);
        };
        let is_at = |file: &Option<PathBuf>| file.as_ref() == Some(at);
        let key = if is_at(certificate_file) {
            CERTIFICATE
        } else if is_at(key_file) {
            KEY
        } else {
            CLIENT_CA
        };
        fault(reader, key, &error);
    }
}

fn fault(reader: &mut Reader<'_>, key: &str, error: &dyn Error) {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    reader.fault(Diagnostic::new(reader.line(key), format!("{error}{source}")).key(key));
}

fn limits(reader: &mut Reader<'_>) -> TcpLimits {
    let least = Duration::from_millis(100);
    let bounded = |text: &str| value::duration(text).filter(|time| *time >= least);
    let accepted = "100ms or more";
    TcpLimits {
        max_connections: reader.number("tcp_max_connections", 1, MOST),
        max_in_flight: reader
            .number("tcp_max_in_flight", 1, MOST)
            .and_then(|number| u32::try_from(number).ok()),
        max_message_bytes: reader.read("tcp_max_message_bytes", "a size from 1K to 4095M", |text| {
            let in_bounds = LEAST_MESSAGE_BYTES..=MOST_MESSAGE_BYTES;
            value::size_bytes(text).filter(|bytes| in_bounds.contains(bytes))
        }),
        handshake_timeout: reader.read("tcp_handshake_timeout", accepted, bounded),
        frame_timeout: reader.read("tcp_frame_timeout", accepted, bounded),
        idle_timeout: reader
            .read("tcp_idle_timeout", "100ms or more, or never", |text| {
                match text.to_ascii_lowercase().as_str() {
                    "never" | "none" => Some(None),
                    _ => bounded(text).map(Some),
                }
            })
            .flatten(),
    }
}
