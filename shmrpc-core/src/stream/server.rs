//! What a handler gets for a stream: typed halves whose encoding the call has chosen.

use super::{ByteReceiver, ByteSender, StreamClosed};
use crate::{
    codec::{CodecError, Decode, Encode},
    error::RpcError,
};

/// Sends items to the caller. Any number of threads and tasks may share it; dropped, it ends the items.
///
/// A `fn` handler uses [`send`](Self::send), which blocks while the caller is a window behind; an
/// `async fn` handler uses [`send_async`](Self::send_async).
pub struct StreamSender<T> {
    bytes: ByteSender,
    encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
}

impl<T> StreamSender<T> {
    pub(crate) fn new<C: Encode<T>>(bytes: ByteSender) -> Self {
        Self { bytes, encode: C::encode }
    }

    /// Sends one item, blocking the thread while the caller is a window behind.
    ///
    /// # Errors
    /// When the caller wants no more, has gone or has cancelled, or the deadline has passed: a handler
    /// may stop its work then.
    pub fn send(&self, item: &T) -> Result<(), StreamClosed> {
        self.bytes.send(self.encoded(item)?)
    }

    /// Sends one item, waiting while the caller is a window behind.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async(&self, item: &T) -> Result<(), StreamClosed> {
        let bytes = self.encoded(item)?;
        self.bytes.send_async(bytes).await
    }

    /// Ends the items before the handler returns. Dropping does the same.
    pub fn finish(self) {}

    fn encoded(&self, item: &T) -> Result<Vec<u8>, StreamClosed> {
        encoded(self.encode, item, &self.bytes)
    }
}

pub(super) fn encoded<T>(
    encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
    item: &T,
    sender: &ByteSender,
) -> Result<Vec<u8>, StreamClosed> {
    let mut bytes = Vec::new();
    encode(item, &mut bytes).map_err(|error| {
        let closed = StreamClosed::from(error);
        sender.fail(closed.clone());
        closed
    })?;
    Ok(bytes)
}

/// Takes the caller's items, in their order. Dropped, it tells the caller that no more are wanted.
///
/// A `fn` handler iterates over it (`for item in input`), an `async fn` handler uses
/// [`recv_async`](Self::recv_async).
pub struct StreamReceiver<T> {
    bytes: ByteReceiver,
    decode: fn(&[u8]) -> Result<T, CodecError>,
}

impl<T> StreamReceiver<T> {
    pub(crate) fn new<C: Decode<T>>(bytes: ByteReceiver) -> Self {
        Self { bytes, decode: C::decode }
    }

    /// The next item, blocking the thread until there is one; `None` after the last. After an error
    /// (the caller has cancelled or gone, the deadline has passed) there is nothing more.
    #[must_use]
    pub fn recv(&self) -> Option<Result<T, RpcError>> {
        self.bytes.recv().map(|item| Ok((self.decode)(&item?)?))
    }

    /// As [`recv`](Self::recv), for tasks.
    pub async fn recv_async(&self) -> Option<Result<T, RpcError>> {
        self.bytes.recv_async().await.map(|item| Ok((self.decode)(&item?)?))
    }
}

impl<T> Iterator for StreamReceiver<T> {
    type Item = Result<T, RpcError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}
