//! The TLS handshake, both sides of it, and what its failures mean to people.

use std::{io, sync::Arc, time::Duration};

use rustls::{AlertDescription, CertificateError, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::Stream;
use crate::{
    tls::{ClientTls, ServerTls, TlsError},
    transport::tcp::wire::{Fault, Unsecured},
};

/// How a TLS client begins: a record of the handshake, of version 3.1 or later. No frame does, as it would be
/// longer than a Hello may be.
const BEGINNING: [u8; 2] = [0x16, 0x03];
/// Between two looks at a client that has sent less than that.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// The server's side. Whoever calls it says how long it may take.
pub(in super::super) async fn accept(tls: &ServerTls, stream: TcpStream) -> Result<Stream, Unsecured> {
    if !speaks_tls(&stream).await {
        return Err(Unsecured::Clear(stream));
    }
    match TlsAcceptor::from(tls.config()).accept(stream).into_fallible().await {
        Ok(stream) => Ok(Stream(Box::new(TlsStream::Server(stream)))),
        // It has been told by an alert, if it understands them.
        Err((_, stream)) => Err(Unsecured::Alerted(stream)),
    }
}

/// Looks, and takes nothing.
async fn speaks_tls(stream: &TcpStream) -> bool {
    let mut seen = [0; BEGINNING.len()];
    loop {
        match stream.peek(&mut seen).await {
            // The handshake will say what is wrong.
            Err(_) | Ok(0) => return true,
            Ok(len) if seen[..len] != BEGINNING[..len] => return false,
            Ok(len) if len == BEGINNING.len() => return true,
            Ok(_) => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
        }
    }
}

/// The client's side.
pub(in super::super) async fn connect(
    tls: &ClientTls,
    host: &str,
    stream: TcpStream,
) -> Result<Stream, Fault> {
    let config = tls.config().map_err(Fault::Tls)?;
    let name = tls.server_name.as_deref().unwrap_or(host);
    let server_name =
        ServerName::try_from(name.to_owned()).map_err(|_| Fault::Tls(TlsError::Name(name.into())))?;
    let connected = TlsConnector::from(Arc::clone(&config)).connect(server_name, stream).await;
    match connected {
        Ok(stream) => Ok(Stream(Box::new(TlsStream::Client(stream)))),
        Err(error) => Err(match cause(&error) {
            Some(rustls::Error::InvalidCertificate(fault)) => Fault::Untrusted(distrust(fault, tls, name)),
            Some(rustls::Error::InvalidMessage(_)) => {
                Fault::Refused("it does not speak TLS; in the clear, write tcp://".into())
            }
            _ => told(error),
        }),
    }
}

/// What an error means of a server with which TLS was begun: its alerts come whenever it has read what it does not
/// like, our certificate among them.
pub(in super::super) fn told(error: io::Error) -> Fault {
    Fault::Refused(match cause(&error) {
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired => "it asks for a client certificate".into(),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate => {
                format!("it does not believe our certificate ({alert:?})")
            }
            AlertDescription::CertificateExpired => "our certificate has expired".into(),
            AlertDescription::CertificateRevoked => "our certificate has been revoked".into(),
            AlertDescription::ProtocolVersion => "it does not speak TLS 1.3".into(),
            AlertDescription::NoApplicationProtocol => {
                "it speaks TLS, but not with this protocol inside".into()
            }
            alert => format!("it broke off TLS ({alert:?})"),
        },
        Some(other) => format!("TLS with it failed: {other}"),
        None => return Fault::Io(error),
    })
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn distrust(fault: &CertificateError, tls: &ClientTls, name: &str) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".into()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("its certificate was not signed by an authority in {}", tls.ca_file.display())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {name}")
        }
        other => format!("its certificate cannot be believed: {other}"),
    }
}
