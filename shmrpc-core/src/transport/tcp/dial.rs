//! The client's side of making a connection: resolve, connect, Hello, Welcome.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{introduction, link::Link, socket};
use crate::{
    client::ConnectOptions,
    error::ConnectError,
    frame::{
        DEFAULT_MAX_MESSAGE_BYTES, Frame, MAX_WINDOW_BYTES, VERSION,
        handshake::{Hello, MAX_LIMIT_BYTES, SNAPPY, Welcome},
    },
};

/// What a client must know to connect, and to connect again.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
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
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|source| address.io("connecting", source))?;
    socket::prepare(&stream);
    send_hello(address, stream).await
}

async fn send_hello(address: &Address, mut stream: TcpStream) -> Result<Arc<Link>, ConnectError> {
    let mut hello = Hello::new(address.service.clone());
    hello.max_message_bytes = address.max_message_bytes();
    if address.options.compress {
        hello.compression.push(SNAPPY.into());
    }
    let body =
        serde_json::to_vec(&hello).map_err(|error| address.io("writing the handshake", error.into()))?;
    let sending = |source| address.io("sending the handshake", source);
    introduction::write(&mut stream, Frame::Hello(body.into())).await.map_err(sending)?;
    let answer = introduction::read(&mut stream).await.map_err(|error| address.refused(error.to_string()))?;
    let body = match answer {
        Frame::Welcome(body) => body,
        Frame::Refuse { reason, .. } => return Err(address.refused(reason)),
        _ => return Err(address.refused("it does not speak this protocol".into())),
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
    let start = |stream| Link::start(stream, &hello, welcome);
    stream.into_std().and_then(start).map_err(|source| address.io("watching the connection", source))
}
