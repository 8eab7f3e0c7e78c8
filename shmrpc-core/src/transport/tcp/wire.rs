//! A connection that is being made, in the clear or over TLS: what the handshake of our own protocol is read
//! from and written to, and what becomes a [`Socket`] when that is done.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{socket::Socket, tls};
use crate::tls::TlsError;

pub(super) enum Wire {
    Clear(TcpStream),
    Tls(tls::Stream),
}

/// Why a client has not become one over TLS.
pub(super) enum Unsecured {
    /// It speaks in the clear.
    Clear(TcpStream),
    /// It has been told by TLS itself.
    Alerted(TcpStream),
}

/// Why there is no TLS with a server.
pub(super) enum Fault {
    /// We are not prepared for it.
    Tls(TlsError),
    /// We do not believe it.
    Untrusted(String),
    /// It does not want us.
    Refused(String),
    Io(io::Error),
}

impl Wire {
    /// Leaves tokio: from here on threads of our own wait for it.
    pub(super) fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Clear(stream) => Socket::new(stream.into_std()?),
            Self::Tls(stream) => stream.into_socket(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
