//! TLS under the frames of a connection. The handshake is tokio-rustls's, on the runtime like everything before a
//! connection is one; then [`Session`] encrypts and decrypts for whichever thread reads or writes the [`Socket`].
//! Which files are behind it is `crate::tls`'s business.

mod handshake;
mod records;
mod session;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

pub(super) use self::{
    handshake::{accept, connect, told},
    session::Session,
};
use super::socket::Socket;

/// A connection whose TLS handshake is done, while ours is not.
pub(super) struct Stream(Box<TlsStream<TcpStream>>);

impl Stream {
    /// What was read and not yet asked for comes along.
    pub(super) fn into_socket(self) -> io::Result<Socket> {
        let (stream, connection): (_, rustls::Connection) = match *self.0 {
            TlsStream::Client(stream) => {
                let (stream, connection) = stream.into_inner();
                (stream, connection.into())
            }
            TlsStream::Server(stream) => {
                let (stream, connection) = stream.into_inner();
                (stream, connection.into())
            }
        };
        Socket::over_tls(stream.into_std()?, Session::new(connection))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_shutdown(cx)
    }
}
