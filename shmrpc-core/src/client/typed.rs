//! A call by its definition, before it is sent: arguments, and how to write them and to read the reply.
//!
//! The generated clients name the four types of a call once, in [`TypedCall::new`]; what comes after asks
//! nothing of the types. So a type that cannot travel is reported where it is named, and once.

use std::cell::Cell;

use super::{Connection, Door, decode_reply};
use crate::{
    codec::{CodecError, Decode, Encode},
    error::{CallError, Status},
    method::MethodInfo,
};

/// A call to be sent by [`Connection::send`] or [`Connection::send_blocking`].
pub struct TypedCall<'a, A: ?Sized, R, E> {
    method: &'static MethodInfo,
    args: &'a A,
    encode: fn(&A, &mut Vec<u8>) -> Result<(), CodecError>,
    decode: fn(Status, &[u8]) -> Result<R, CallError<E>>,
}

impl<'a, A: ?Sized, R, E> TypedCall<'a, A, R, E> {
    /// The call of `method`, which is in encoding `C`, with these arguments.
    #[must_use]
    pub fn new<C>(method: &'static MethodInfo, args: &'a A) -> Self
    where
        C: Encode<A> + Decode<R>,
        C::Errors: Decode<E>,
    {
        Self { method, args, encode: C::encode, decode: decode_reply::<C, R, E> }
    }
}

impl Connection {
    /// Sends the call and waits, blocking the thread.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`](crate::RpcError).
    pub fn send_blocking<A: ?Sized, R, E>(&self, call: TypedCall<'_, A, R, E>) -> Result<R, CallError<E>> {
        let mut scratch = Scratch::take();
        let Scratch { payload, reply } = &mut scratch;
        (call.encode)(call.args, payload)?;
        let status = self.call_into_blocking(call.method.into(), Door::Native, payload, reply)?;
        let outcome = (call.decode)(status, reply);
        scratch.keep();
        outcome
    }

    /// Sends the call. The future holds the encoded arguments, not the arguments themselves, and begins the
    /// call when it is first polled.
    pub fn send<A: ?Sized, R, E>(
        &self,
        call: TypedCall<'_, A, R, E>,
    ) -> impl Future<Output = Result<R, CallError<E>>> + use<'_, A, R, E> {
        let mut payload = Vec::new();
        let encoded = (call.encode)(call.args, &mut payload);
        let (method, decode) = (call.method, call.decode);
        async move {
            encoded?;
            let reply = self.call_bytes(method.into(), Door::Native, &payload).await?;
            decode(reply.status, &reply.body)
        }
    }
}

/// Buffers for encoded arguments and reply, of which a thread keeps one pair from call to call. A call that begins
/// within another (in a user's `Serialize`) has a pair of its own.
#[derive(Default)]
struct Scratch {
    payload: Vec<u8>,
    reply: Vec<u8>,
}

impl Scratch {
    /// Buffers that have grown beyond this are let go.
    const KEPT_BYTES: usize = 64 * 1024;

    fn take() -> Self {
        KEPT.with(Cell::take)
    }

    fn keep(mut self) {
        if self.payload.capacity().max(self.reply.capacity()) <= Self::KEPT_BYTES {
            self.payload.clear();
            self.reply.clear();
            KEPT.with(|kept| kept.set(self));
        }
    }
}

thread_local! {
    static KEPT: Cell<Scratch> = const { Cell::new(Scratch { payload: Vec::new(), reply: Vec::new() }) };
}
