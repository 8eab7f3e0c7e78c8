//! What the code made by `#[service]` calls: decode the arguments, run the handler, encode the answer.
//! Public for that code alone; not part of the stable interface.
//!
//! Handlers come as closures over the decoded arguments that return `Result<Reply, UserError>`;
//! methods without a `Result` are wrapped in `Ok` and have `NoError` as their error.

mod streams;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub use self::streams::{raw_stream, raw_stream_async, stream, stream_async};
use super::{
    IncomingCall, Loan, ShmBytes,
    call::{Responder, panic_text},
    in_place::{Draft, Drafted},
};
use crate::{
    client::Door,
    codec::{Codec, Decode, Encode, Json, Raw},
    error::Status,
    method::ServiceInfo,
};

/// Runs a `fn` handler of a method that is not raw.
pub fn unary<C, A, R, E>(call: IncomingCall<'_>, handler: impl FnOnce(A) -> Result<R, E>)
where
    C: Decode<A> + Encode<R>,
    C::Errors: Encode<E>,
    Json: Decode<A> + Encode<R> + Encode<E>,
{
    match call.door() {
        Door::Native => unary_in::<C, A, R, E>(call, handler),
        Door::Json => unary_in::<Json, A, R, E>(call, handler),
    }
}

fn unary_in<C, A, R, E>(call: IncomingCall<'_>, handler: impl FnOnce(A) -> Result<R, E>)
where
    C: Decode<A> + Encode<R>,
    C::Errors: Encode<E>,
{
    let args = C::decode(call.args());
    let (_, responder) = call.into_parts();
    match args {
        Ok(args) => answer::<C, R, E>(responder, || handler(args)),
        Err(error) => responder.refuse_arguments(&error),
    }
}

/// Runs an `async fn` handler of a method that is not raw.
pub fn unary_async<C, A, R, E, F>(call: IncomingCall<'_>, handler: impl FnOnce(A) -> F)
where
    C: Decode<A> + Encode<R>,
    C::Errors: Encode<E>,
    Json: Decode<A> + Encode<R> + Encode<E>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    match call.door() {
        Door::Native => unary_async_in::<C, A, R, E, F>(call, handler),
        Door::Json => unary_async_in::<Json, A, R, E, F>(call, handler),
    }
}

fn unary_async_in<C, A, R, E, F>(call: IncomingCall<'_>, handler: impl FnOnce(A) -> F)
where
    C: Decode<A> + Encode<R>,
    C::Errors: Encode<E>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    let args = C::decode(call.args());
    let (_, responder) = call.into_parts();
    match args {
        Ok(args) => {
            let running = handler(args);
            responder.spawn(async move { encoded::<C, R, E>(&running.await) });
        }
        Err(error) => responder.refuse_arguments(&error),
    }
}

/// Runs a `fn` handler of a raw method that borrows its argument.
pub fn raw<R, E>(call: IncomingCall<'_>, handler: impl FnOnce(&[u8]) -> Result<R, E>)
where
    R: AsRef<[u8]>,
    Json: Encode<E>,
{
    if call.door() == Door::Json {
        return refuse_json_door(call);
    }
    let (args, responder) = call.into_parts();
    answer_bytes(responder, || handler(&args));
}

/// Runs a `fn` handler of a raw method that owns its argument.
pub fn raw_owned<R, E>(call: IncomingCall<'_>, handler: impl FnOnce(Vec<u8>) -> Result<R, E>)
where
    R: AsRef<[u8]>,
    Json: Encode<E>,
{
    if call.door() == Door::Json {
        return refuse_json_door(call);
    }
    let (args, responder) = call.into_parts();
    answer_bytes(responder, || handler(args.into_owned()));
}

/// Answers with the handler's bytes as they are: they are copied once, to where the caller reads them.
fn answer_bytes<R, E>(responder: Responder<'_>, handler: impl FnOnce() -> Result<R, E>)
where
    R: AsRef<[u8]>,
    Json: Encode<E>,
{
    match catch_unwind(AssertUnwindSafe(handler)) {
        Ok(Ok(reply)) => responder.send(Status::Ok, reply.as_ref()),
        Ok(Err(error)) => answer::<Raw, [u8; 0], E>(responder, || Err(error)),
        Err(panic) => responder.fail(Status::Panicked, panic_text(&*panic)),
    }
}

/// Runs a `fn` handler of a raw method that reads its argument and writes its reply in place.
pub fn raw_in_place<E>(call: IncomingCall<'_>, handler: impl FnOnce(ShmBytes<'_>, Loan<'_>) -> Result<(), E>)
where
    Json: Encode<E>,
{
    if call.door() == Door::Json {
        return refuse_json_door(call);
    }
    let (argument, mut responder) = call.into_argument();
    let mut draft = Draft::new(responder.room());
    let outcome = catch_unwind(AssertUnwindSafe(|| handler(argument.bytes(), Loan::new(&mut draft))));
    match (outcome, draft.finish()) {
        (Ok(Ok(())), Drafted::Room(len_bytes)) => responder.send_room(len_bytes),
        (Ok(Ok(())), Drafted::Buffer(body)) => responder.send(Status::Ok, &body),
        (Ok(Err(error)), _) => answer::<Raw, [u8; 0], E>(responder, || Err(error)),
        (Err(panic), _) => responder.fail(Status::Panicked, panic_text(&*panic)),
    }
}

/// The reply of a raw method that returns nothing.
///
/// # Errors
/// The method's own.
pub fn no_bytes<E>(outcome: Result<(), E>) -> Result<[u8; 0], E> {
    outcome.map(|()| [])
}

/// Answers a call whose method's index is out of range: transports look indices up, so this is a fault of
/// the library.
pub fn no_such_method(call: IncomingCall<'_>, info: &ServiceInfo, method: usize) {
    let text = format!("{} has no method of index {method}", info.name);
    call.into_parts().1.fail(Status::NoSuchMethod, &text);
}

/// Runs an `async fn` handler of a raw method, which owns its argument.
pub fn raw_async<R, E, F>(call: IncomingCall<'_>, handler: impl FnOnce(Vec<u8>) -> F)
where
    R: AsRef<[u8]>,
    Json: Encode<E>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    if call.door() == Door::Json {
        return refuse_json_door(call);
    }
    let (args, responder) = call.into_parts();
    let running = handler(args.into_owned());
    responder.spawn(async move { encoded::<Raw, R, E>(&running.await) });
}

fn refuse_json_door(call: IncomingCall<'_>) {
    call.into_parts().1.fail(Status::BadArguments, "a raw method takes bytes, not JSON");
}

fn answer<C, R, E>(responder: Responder<'_>, handler: impl FnOnce() -> Result<R, E>)
where
    C: Encode<R>,
    C::Errors: Encode<E>,
{
    match catch_unwind(AssertUnwindSafe(handler)) {
        Ok(result) => {
            let (status, body) = encoded::<C, R, E>(&result);
            responder.send(status, &body);
        }
        Err(panic) => responder.fail(Status::Panicked, panic_text(&*panic)),
    }
}

fn encoded<C, R, E>(result: &Result<R, E>) -> (Status, Vec<u8>)
where
    C: Codec + Encode<R>,
    C::Errors: Encode<E>,
{
    let mut body = Vec::new();
    let (status, written) = match result {
        Ok(reply) => (Status::Ok, C::encode(reply, &mut body)),
        Err(error) => (Status::ServiceError, <C::Errors as Encode<E>>::encode(error, &mut body)),
    };
    match written {
        Ok(()) => (status, body),
        Err(error) => (Status::Internal, format!("the reply has no bytes: {error}").into_bytes()),
    }
}
