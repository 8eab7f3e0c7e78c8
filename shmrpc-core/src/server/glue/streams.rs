//! The same for methods that stream items. Handlers get both halves; the caller drops the one that its
//! method does not take.

use std::future::Future;

use super::{answer, encoded, refuse_json_door};
use crate::{
    client::Door,
    codec::{Codec, Decode, Encode, Json, Raw},
    server::IncomingCall,
    stream::{StreamReceiver, StreamSender},
};

/// Runs a `fn` handler that streams: `S` to the caller, `U` from it.
pub fn stream<C, A, S, U, R, E>(
    call: IncomingCall<'_>,
    handler: impl FnOnce(A, StreamSender<S>, StreamReceiver<U>) -> Result<R, E>,
) where
    C: Decode<A> + Encode<S> + Decode<U> + Encode<R>,
    C::Errors: Encode<E>,
    Json: Decode<A> + Encode<S> + Decode<U> + Encode<R> + Encode<E>,
{
    match call.door() {
        Door::Native => stream_in::<C, A, S, U, R, E>(call, handler),
        Door::Json => stream_in::<Json, A, S, U, R, E>(call, handler),
    }
}

fn stream_in<C, A, S, U, R, E>(
    mut call: IncomingCall<'_>,
    handler: impl FnOnce(A, StreamSender<S>, StreamReceiver<U>) -> Result<R, E>,
) where
    C: Decode<A> + Encode<S> + Decode<U> + Encode<R>,
    C::Errors: Encode<E>,
{
    let args = <C as Decode<A>>::decode(call.args());
    let (out, input) = halves::<C, S, U>(&mut call);
    let (_, responder) = call.into_parts();
    match args {
        Ok(args) => answer::<C, R, E>(responder, || handler(args, out, input)),
        Err(error) => responder.refuse_arguments(&error),
    }
}

/// Runs an `async fn` handler that streams: `S` to the caller, `U` from it.
pub fn stream_async<C, A, S, U, R, E, F>(
    call: IncomingCall<'_>,
    handler: impl FnOnce(A, StreamSender<S>, StreamReceiver<U>) -> F,
) where
    C: Decode<A> + Encode<S> + Decode<U> + Encode<R>,
    C::Errors: Encode<E>,
    Json: Decode<A> + Encode<S> + Decode<U> + Encode<R> + Encode<E>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    match call.door() {
        Door::Native => stream_async_in::<C, A, S, U, R, E, F>(call, handler),
        Door::Json => stream_async_in::<Json, A, S, U, R, E, F>(call, handler),
    }
}

fn stream_async_in<C, A, S, U, R, E, F>(
    mut call: IncomingCall<'_>,
    handler: impl FnOnce(A, StreamSender<S>, StreamReceiver<U>) -> F,
) where
    C: Decode<A> + Encode<S> + Decode<U> + Encode<R>,
    C::Errors: Encode<E>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    let args = <C as Decode<A>>::decode(call.args());
    let (out, input) = halves::<C, S, U>(&mut call);
    let (_, responder) = call.into_parts();
    match args {
        Ok(args) => {
            let running = handler(args, out, input);
            responder.spawn(async move { encoded::<C, R, E>(&running.await) });
        }
        Err(error) => responder.refuse_arguments(&error),
    }
}

/// Runs a `fn` handler of a raw method that streams; items are bytes both ways.
pub fn raw_stream<R, E>(
    mut call: IncomingCall<'_>,
    handler: impl FnOnce(&[u8], StreamSender<Vec<u8>>, StreamReceiver<Vec<u8>>) -> Result<R, E>,
) where
    R: AsRef<[u8]>,
    Json: Encode<E>,
{
    if call.door() == Door::Json {
        return refuse_json_door(call);
    }
    let (out, input) = halves::<Raw, Vec<u8>, Vec<u8>>(&mut call);
    let (args, responder) = call.into_parts();
    answer::<Raw, R, E>(responder, || handler(&args, out, input));
}

/// Runs an `async fn` handler of a raw method that streams; items are bytes both ways.
pub fn raw_stream_async<R, E, F>(
    mut call: IncomingCall<'_>,
    handler: impl FnOnce(Vec<u8>, StreamSender<Vec<u8>>, StreamReceiver<Vec<u8>>) -> F,
) where
    R: AsRef<[u8]>,
    Json: Encode<E>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    if call.door() == Door::Json {
        return refuse_json_door(call);
    }
    let (out, input) = halves::<Raw, Vec<u8>, Vec<u8>>(&mut call);
    let (args, responder) = call.into_parts();
    let running = handler(args.into_owned(), out, input);
    responder.spawn(async move { encoded::<Raw, R, E>(&running.await) });
}

fn halves<C, S, U>(call: &mut IncomingCall<'_>) -> (StreamSender<S>, StreamReceiver<U>)
where
    C: Codec + Encode<S> + Decode<U>,
{
    let stream = call.take_stream();
    (StreamSender::new::<C>(stream.sender), StreamReceiver::new::<C>(stream.receiver))
}
