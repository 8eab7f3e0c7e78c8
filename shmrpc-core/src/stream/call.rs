//! What a client gets for a streaming call: [`StreamCall`] for tasks, [`BlockingStreamCall`] for threads.
//! Both have the same methods by shared reference, so that one side may send while another receives.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{ByteReceiver, ByteSender, ClientStream, StreamClosed, server::encoded};
use crate::{
    client::{Connection, Door, Pending, decode_reply},
    codec::{Codec, CodecError, Decode, Encode},
    error::{CallError, RpcError, Status},
    method::MethodInfo,
    transport::io::Alarm,
};

/// A streaming call of a client that blocks: items of `In` go to the server, items of `Out` come back,
/// and the call ends with a reply. Dropped before its end, it is cancelled.
#[must_use = "a dropped call is cancelled; end it with finish"]
pub struct BlockingStreamCall<In, Out, R, E> {
    parts: Parts<In, Out, R, E>,
}

/// A streaming call of an async client: items of `In` go to the server, items of `Out` come back, and the
/// call ends with a reply. Dropped before its end, it is cancelled.
#[must_use = "a dropped call is cancelled; end it with finish"]
pub struct StreamCall<In, Out, R, E> {
    parts: Parts<In, Out, R, E>,
}

type DecodeReply<R, E> = fn(Status, &[u8]) -> Result<R, CallError<E>>;

struct Parts<In, Out, R, E> {
    // The order matters: dropping the reply first cancels the call, before the halves say their regular
    // goodbyes. In a lock that nobody waits for: it makes the call shareable.
    reply: Mutex<Pending>,
    sender: ByteSender,
    receiver: ByteReceiver,
    encode: fn(&In, &mut Vec<u8>) -> Result<(), CodecError>,
    decode: fn(&[u8]) -> Result<Out, CodecError>,
    decode_reply: DecodeReply<R, E>,
}

impl<In, Out, R, E> Parts<In, Out, R, E> {
    fn new<C>(stream: ClientStream) -> Self
    where
        C: Encode<In> + Decode<Out> + Decode<R>,
        C::Errors: Decode<E>,
    {
        let ClientStream { reply, sender, receiver } = stream;
        Self {
            reply: Mutex::new(reply),
            sender,
            receiver,
            encode: <C as Encode<In>>::encode,
            decode: <C as Decode<Out>>::decode,
            decode_reply: decode_reply::<C, R, E>,
        }
    }

    fn decoded(&self, item: Result<bytes::Bytes, RpcError>) -> Result<Out, RpcError> {
        Ok((self.decode)(&item?)?)
    }

    /// Ends both directions and leaves the reply.
    fn close(self) -> (Pending, DecodeReply<R, E>) {
        self.sender.finish();
        self.receiver.stop();
        (self.reply.into_inner().unwrap_or_else(PoisonError::into_inner), self.decode_reply)
    }
}

impl<In, Out, R, E> BlockingStreamCall<In, Out, R, E> {
    /// Sends one item, blocking the thread while the server is a window behind.
    ///
    /// # Errors
    /// When the server wants no more or the call has ended; [`finish`](Self::finish) tells how.
    pub fn send(&self, item: &In) -> Result<(), StreamClosed> {
        let bytes = encoded(self.parts.encode, item, &self.parts.sender)?;
        self.parts.sender.send(bytes)
    }

    /// Tells the server that there are no more items. The server's may go on.
    pub fn close_send(&self) {
        self.parts.sender.finish();
    }

    /// The server's next item, blocking the thread until there is one; `None` after the last. An error
    /// (the call failed on the way) is the last thing that is said; an error of the service's own is
    /// told by [`finish`](Self::finish).
    #[must_use]
    pub fn recv(&self) -> Option<Result<Out, RpcError>> {
        self.parts.receiver.recv().map(|item| self.parts.decoded(item))
    }

    /// The server's items as an iterator.
    pub fn items(&self) -> impl Iterator<Item = Result<Out, RpcError>> + '_ {
        std::iter::from_fn(|| self.recv())
    }

    /// Ends the call: no more items either way, then the reply. Items that have not been received are
    /// dropped, and the server's handler sees that they are no longer wanted.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`].
    pub fn finish(self) -> Result<R, CallError<E>> {
        let (reply, decode_reply) = self.parts.close();
        let reply = reply.wait()?;
        decode_reply(reply.status, &reply.body)
    }
}

impl<In, Out, R, E> StreamCall<In, Out, R, E> {
    /// Sends one item, waiting while the server is a window behind.
    ///
    /// # Errors
    /// When the server wants no more or the call has ended; [`finish`](Self::finish) tells how.
    pub async fn send(&self, item: &In) -> Result<(), StreamClosed> {
        let bytes = encoded(self.parts.encode, item, &self.parts.sender)?;
        self.parts.sender.send_async(bytes).await
    }

    /// Tells the server that there are no more items. The server's may go on.
    pub fn close_send(&self) {
        self.parts.sender.finish();
    }

    /// The server's next item; `None` after the last. An error (the call failed on the way) is the last
    /// thing that is said; an error of the service's own is told by [`finish`](Self::finish).
    pub async fn recv(&self) -> Option<Result<Out, RpcError>> {
        self.parts.receiver.recv_async().await.map(|item| self.parts.decoded(item))
    }

    /// The server's items as a [`Stream`].
    pub fn items(&self) -> Items<'_, In, Out, R, E> {
        Items { alarm: self.parts.receiver.alarm(), call: self }
    }

    /// Ends the call: no more items either way, then the reply. Items that have not been received are
    /// dropped, and the server's handler sees that they are no longer wanted.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`].
    pub async fn finish(self) -> Result<R, CallError<E>> {
        let (reply, decode_reply) = self.parts.close();
        let reply = reply.await?;
        decode_reply(reply.status, &reply.body)
    }
}

/// The items of a [`StreamCall`] as a [`Stream`].
pub struct Items<'a, In, Out, R, E> {
    call: &'a StreamCall<In, Out, R, E>,
    alarm: Alarm,
}

impl<In, Out, R, E> Stream for Items<'_, In, Out, R, E> {
    type Item = Result<Out, RpcError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let parts = &this.call.parts;
        parts.receiver.poll_recv(cx, &mut this.alarm).map(|item| item.map(|item| parts.decoded(item)))
    }
}

impl Connection {
    /// Starts a streaming call by its definition, for threads.
    ///
    /// # Errors
    /// When the call could not be handed over, or the arguments not be encoded.
    pub fn stream_blocking<C, A, In, Out, R, E>(
        &self,
        method: &'static MethodInfo,
        args: &A,
    ) -> Result<BlockingStreamCall<In, Out, R, E>, CallError<E>>
    where
        C: Encode<A> + Encode<In> + Decode<Out> + Decode<R>,
        C::Errors: Decode<E>,
        A: ?Sized,
    {
        let stream = self.begin_stream(method.into(), Door::Native, &arguments::<C, A>(args)?)?;
        Ok(BlockingStreamCall { parts: Parts::new::<C>(stream) })
    }

    /// Starts a streaming call by its definition, for tasks.
    ///
    /// # Errors
    /// When the call could not be handed over, or the arguments not be encoded.
    pub async fn stream<C, A, In, Out, R, E>(
        &self,
        method: &'static MethodInfo,
        args: &A,
    ) -> Result<StreamCall<In, Out, R, E>, CallError<E>>
    where
        C: Encode<A> + Encode<In> + Decode<Out> + Decode<R>,
        C::Errors: Decode<E>,
        A: ?Sized,
    {
        let args = arguments::<C, A>(args)?;
        let stream = self.begin_stream_async(method.into(), Door::Native, &args).await?;
        Ok(StreamCall { parts: Parts::new::<C>(stream) })
    }
}

fn arguments<C, A>(args: &A) -> Result<Vec<u8>, CodecError>
where
    C: Codec + Encode<A>,
    A: ?Sized,
{
    let mut payload = Vec::new();
    C::encode(args, &mut payload)?;
    Ok(payload)
}
