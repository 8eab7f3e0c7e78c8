//! Frames before a connection is one: read and written one at a time, with nothing read beyond them, so that
//! the socket can be handed on as it is.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frame::{
    Frame, FrameError, HEADER_BYTES, Header, MAX_CONTROL_BYTES, decode, encode,
    proof::{Nonce, PROOF_BYTES},
};

/// Why there is no introduction.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unintroduced {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("it closed the connection without a word")]
    Closed,
}

/// The next frame, which is no longer than any of a handshake may be.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Frame, Unintroduced> {
    let mut header = [0; HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Unintroduced::Closed),
        Err(error) => return Err(error.into()),
    }
    let header = Header::decode(&header)?;
    header.check(MAX_CONTROL_BYTES as u64)?;
    let mut body = Vec::new();
    // Memory grows with what has arrived.
    let read = stream.take(u64::from(header.body_bytes)).read_to_end(&mut body).await?;
    if read < header.body_bytes as usize {
        return Err(Unintroduced::Closed);
    }
    Ok(decode(header, body.into(), MAX_CONTROL_BYTES as u64)?)
}

/// Sends a frame.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: Frame) -> io::Result<()> {
    let encoded = encode(frame, false);
    stream.write_all(&[encoded.head, encoded.payload].concat()).await?;
    stream.flush().await
}

/// Random bytes of the system's, never used before.
pub(super) fn nonce() -> io::Result<Nonce> {
    let mut nonce = [0; PROOF_BYTES];
    let mut filled = 0;
    while filled < PROOF_BYTES {
        filled += rustix::rand::getrandom(&mut nonce[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(nonce)
}
