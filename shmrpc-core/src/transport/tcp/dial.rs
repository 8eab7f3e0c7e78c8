//! The client's side of making a connection: resolve, connect, TLS where it is asked for, Hello, Welcome.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{
    Security,
    introduction::{self, Unintroduced},
    link::Link,
    socket, tls,
    wire::{Fault, Wire},
};
use crate::{
    client::ConnectOptions,
    error::ConnectError,
    frame::{
        DEFAULT_MAX_MESSAGE_BYTES, Frame, MAX_WINDOW_BYTES, VERSION,
        handshake::{Hello, MAX_LIMIT_BYTES, SNAPPY, Welcome},
        proof::{Auth, Nonce, SCHEME, Transcript, to_hex},
    },
    secret::Secret,
    tls::{ClientTls, TlsError},
};

/// What a client must know to connect, and to connect again.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// As the user wrote it, for errors.
    pub(super) endpoint: String,
    pub(super) service: Option<String>,
    pub(super) options: ConnectOptions,
}

impl Address {
    pub(super) fn max_message_bytes(&self) -> u64 {
        self.options.max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES).min(MAX_LIMIT_BYTES)
    }

    fn io(&self, doing: &str, source: std::io::Error) -> ConnectError {
        ConnectError::Io { endpoint: self.endpoint.clone(), doing: doing.into(), source }
    }

    fn untrusted(&self, reason: &dyn std::fmt::Display) -> ConnectError {
        ConnectError::Untrusted { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }

    fn tls(&self, source: TlsError) -> ConnectError {
        ConnectError::Tls { endpoint: self.endpoint.clone(), source }
    }

    fn fault(&self, fault: Fault, doing: &str) -> ConnectError {
        match fault {
            Fault::Tls(source) => self.tls(source),
            Fault::Untrusted(reason) => self.untrusted(&reason),
            Fault::Refused(reason) => self.refused(reason),
            Fault::Io(source) => self.io(doing, source),
        }
    }

    /// What a connection that failed in the middle of a handshake has to say.
    fn broken(&self, error: std::io::Error, doing: &str) -> ConnectError {
        self.fault(tls::told(error), doing)
    }

    /// How to speak TLS, if the address says so.
    fn client_tls(&self) -> Result<Option<ClientTls>, TlsError> {
        match (self.security, &self.options.tls) {
            (Security::Clear, None) => Ok(None),
            (Security::Clear, Some(_)) => Err(TlsError::Clear),
            (Security::Tls, Some(tls)) => Ok(Some(tls.clone())),
            (Security::Tls, None) => ClientTls::from_env()?.map(Some).ok_or(TlsError::NoAuthority),
        }
    }

    /// The body of a Welcome.
    fn welcome(&self, frame: Frame) -> Result<Bytes, ConnectError> {
        match frame {
            Frame::Welcome(body) => Ok(body),
            Frame::Refuse { reason, .. } => Err(self.refused(reason)),
            _ => Err(self.refused("it does not speak this protocol".into())),
        }
    }

    fn refused(&self, reason: String) -> ConnectError {
        ConnectError::Refused { endpoint: self.endpoint.clone(), reason }
    }
}

/// Connects once, within the timeout of the options.
pub(super) async fn dial(address: &Address) -> Result<Arc<Link>, ConnectError> {
    let after = address.options.timeout;
    tokio::time::timeout(after, handshake(address))
        .await
        .unwrap_or_else(|_| Err(ConnectError::TimedOut { endpoint: address.endpoint.clone(), after }))
}

async fn handshake(address: &Address) -> Result<Arc<Link>, ConnectError> {
    let client_tls = address.client_tls().map_err(|error| address.tls(error))?;
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|source| address.io("connecting", source))?;
    socket::prepare(&stream);
    let wire = match client_tls {
        None => Wire::Clear(stream),
        Some(client_tls) => tls::connect(&client_tls, &address.host, stream)
            .await
            .map(Wire::Tls)
            .map_err(|fault| address.fault(fault, "beginning TLS"))?,
    };
    send_hello(address, wire).await
}

async fn send_hello(address: &Address, mut stream: Wire) -> Result<Arc<Link>, ConnectError> {
    let mut hello = Hello::new(address.service.clone());
    hello.max_message_bytes = address.max_message_bytes();
    if address.options.compress {
        hello.compression.push(SNAPPY.into());
    }
    let secret = match &address.options.secret {
        Some(secret) => Some(secret.clone()),
        None => Secret::from_env().map_err(|error| address.untrusted(&error))?,
    };
    let client_nonce = introduction::nonce().map_err(|source| address.io("asking for randomness", source))?;
    if secret.is_some() {
        hello.auth = Some(Auth { scheme: SCHEME.into(), nonce: to_hex(&client_nonce) });
    }
    let body =
        serde_json::to_vec(&hello).map_err(|error| address.io("writing the handshake", error.into()))?;
    let sending = |error| address.broken(error, "sending the handshake");
    let body = Bytes::from(body);
    introduction::write(&mut stream, Frame::Hello(body.clone())).await.map_err(sending)?;
    let body = match secret {
        None => address.welcome(receive(address, &mut stream).await?)?,
        Some(secret) => prove(address, &mut stream, &secret, client_nonce, &body).await?,
    };
    let welcome: Welcome = serde_json::from_slice(&body)
        .map_err(|error| address.refused(format!("its welcome cannot be understood: {error}")))?;
    if welcome.version != VERSION {
        let theirs = welcome.version;
        return Err(address.refused(format!("it speaks version {theirs} of the protocol, not {VERSION}")));
    }
    if welcome.stream_window_bytes > MAX_WINDOW_BYTES {
        return Err(address.refused("its stream window is out of bounds".into()));
    }
    let start = |socket| Link::start(socket, &hello, welcome);
    stream.into_socket().and_then(start).map_err(|source| address.io("watching the connection", source))
}

async fn receive(address: &Address, stream: &mut Wire) -> Result<Frame, ConnectError> {
    introduction::read(stream).await.map_err(|error| match error {
        Unintroduced::Io(error) => match tls::told(error) {
            Fault::Io(error) => address.refused(error.to_string()),
            fault => address.fault(fault, "reading the handshake"),
        },
        error => address.refused(error.to_string()),
    })
}

/// Proves that we know the secret, and has the server do the same; the body of its Welcome.
async fn prove(
    address: &Address,
    stream: &mut Wire,
    secret: &Secret,
    client_nonce: Nonce,
    hello: &[u8],
) -> Result<Bytes, ConnectError> {
    let server_nonce = match receive(address, stream).await? {
        Frame::Challenge(nonce) => nonce[..].try_into().ok(),
        Frame::Refuse { reason, .. } => return Err(address.refused(reason)),
        Frame::Welcome(_) => return Err(address.untrusted(&"it does not ask for the shared secret")),
        _ => None,
    };
    let server_nonce = server_nonce.ok_or_else(|| address.refused("its challenge is none".into()))?;
    let said = Transcript { client_nonce, server_nonce, hello };
    let proof = Bytes::copy_from_slice(&said.client_proof(secret.bytes()));
    let sending = |error| address.broken(error, "sending the handshake");
    introduction::write(stream, Frame::Proof(proof)).await.map_err(sending)?;
    let proof = match receive(address, stream).await? {
        Frame::Proof(proof) => proof,
        Frame::Refuse { reason, .. } => return Err(address.refused(reason)),
        _ => return Err(address.untrusted(&"it does not prove that it knows the shared secret")),
    };
    let welcome = address.welcome(receive(address, stream).await?)?;
    if !said.is_server_proof(secret.bytes(), &welcome, &proof) {
        return Err(address.untrusted(&"its proof of the shared secret is wrong"));
    }
    Ok(welcome)
}
