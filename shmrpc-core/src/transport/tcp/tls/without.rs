//! What stands in for TLS in a build without it: types that nothing can be of, so that whoever uses them need not
//! know.

use std::{
    io::{self, IoSlice},
    net::TcpStream as StdTcpStream,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    socket::{Fill, Sink, Socket},
    wire::{Fault, Unsecured},
};
use crate::tls::{ClientTls, ServerTls, TlsError};

pub(super) enum Stream {}

pub(super) enum Session {}

pub(super) async fn accept(tls: &ServerTls, _stream: TcpStream) -> Result<Stream, Unsecured> {
    match *tls {}
}

pub(super) async fn connect(_tls: &ClientTls, _host: &str, _stream: TcpStream) -> Result<Stream, Fault> {
    Err(Fault::Tls(TlsError::Unsupported))
}

pub(super) fn told(error: io::Error) -> Fault {
    Fault::Io(error)
}

impl Stream {
    pub(super) fn into_socket(self) -> io::Result<Socket> {
        match self {}
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl Session {
    pub(super) fn read(&self, _: &StdTcpStream, _: &mut impl Sink) -> io::Result<Fill> {
        match *self {}
    }

    pub(super) fn write(&self, _: &StdTcpStream, _: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        match *self {}
    }

    pub(super) fn finish(&self, _: &StdTcpStream) {
        match *self {}
    }

    pub(super) fn is_inside_record(&self) -> bool {
        match *self {}
    }
}
