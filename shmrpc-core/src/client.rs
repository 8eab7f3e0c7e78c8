//! The client's side of a call: [`Connection`] finds a transport for an endpoint, checks the methods,
//! encodes, waits and decodes. The types that `#[service]` makes (`…Client`, `…BlockingClient`) are thin
//! covers over it; the command line, REST and the TCP gateway call by description instead.
//!
//! Bytes go to a `Transport`, which moves them and knows nothing of values.

mod alternatives;
mod connect;
mod outcome;
mod pending;
mod raw;
mod typed;

use std::{sync::Arc, time::Duration};

pub use self::connect::ConnectOptions;
pub(crate) use self::outcome::Outcome;
pub use self::pending::Pending;
pub(crate) use self::pending::{Completion, PendingCall};
pub use self::typed::TypedCall;
use crate::{
    codec::{Codec, Decode, Encode},
    error::{CallError, ConnectError, RpcError, Status},
    method::{MethodDescription, MethodId, MethodInfo, ServiceDescription},
    stream::ClientStream,
    transport::{Outbound, Transport, io::NO_DEADLINE},
};

/// How long a call may take unless its method, its client or its caller says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// In which encoding a call's arguments and reply are: the method's own, or JSON whatever the method's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// The method's own encoding.
    Native = 0,
    /// A JSON array of arguments in, JSON out (typed errors too); decoded in the worker. Methods in raw
    /// have no JSON door.
    Json = 1,
}

/// A connection to one service. Cheap to clone; clones share the transport. `Send` and `Sync`: any number
/// of threads and tasks may call at once, and their calls are in flight together.
///
/// It reconnects by itself when the service restarts; calls that were under way then fail with
/// [`RpcError::WorkerDied`] or [`RpcError::ConnectionLost`], later ones work. With several endpoints it goes to the
/// next one that answers when nobody serves any more at the one that it uses; calls that were not run go with it. After
/// `fork`, calls in the child fail with [`RpcError::Forked`].
#[derive(Clone)]
pub struct Connection {
    transport: Arc<dyn Transport>,
    deadline: Option<Duration>,
}

impl Connection {
    pub(crate) fn new(transport: Arc<dyn Transport>, deadline: Option<Duration>) -> Self {
        Self { transport, deadline }
    }

    /// A clone whose calls have that deadline, whatever their methods say.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { transport: Arc::clone(&self.transport), deadline: Some(deadline) }
    }

    /// What the server offers, as it said when the connection was last made.
    #[must_use]
    pub fn service(&self) -> Arc<ServiceDescription> {
        self.transport.service()
    }

    /// Starts a call with encoded arguments and returns at once (it may block for as long as the
    /// transport has no room for the message; never beyond the deadline).
    ///
    /// # Errors
    /// When the call could not be handed over; nothing was run then.
    pub fn begin(&self, method: Target<'_>, door: Door, payload: &[u8]) -> Result<Pending, RpcError> {
        let deadline = self.deadline.or(method.deadline).unwrap_or(DEFAULT_DEADLINE).min(NO_DEADLINE);
        self.transport.begin(Outbound { method, door, payload, deadline })
    }

    /// Starts a streaming call with encoded arguments and returns at once, as [`Self::begin`] does. Without
    /// a deadline of its method or this connection it has none.
    ///
    /// # Errors
    /// When the call could not be handed over; nothing was run then.
    pub fn begin_stream(
        &self,
        method: Target<'_>,
        door: Door,
        payload: &[u8],
    ) -> Result<ClientStream, RpcError> {
        let deadline = self.deadline.or(method.deadline).map_or(NO_DEADLINE, |own| own.min(NO_DEADLINE));
        self.transport.begin_stream(Outbound { method, door, payload, deadline })
    }

    /// As [`Self::begin_stream`], for tasks: where the connection has to be made anew first, a thread of its
    /// own waits for that.
    ///
    /// # Errors
    /// As [`Self::begin_stream`].
    pub async fn begin_stream_async(
        &self,
        method: Target<'_>,
        door: Door,
        payload: &[u8],
    ) -> Result<ClientStream, RpcError> {
        if !self.transport.must_reconnect() {
            return self.begin_stream(method, door, payload);
        }
        let (connection, payload, name) = (self.clone(), payload.to_vec(), method.name.to_owned());
        let (id, idempotent, deadline) = (method.id, method.idempotent, method.deadline);
        self::pending::on_thread(move || {
            let method = Target { id, name: &name, idempotent, deadline };
            connection.begin_stream(method, door, &payload)
        })
        .await
    }

    /// Calls with encoded arguments and waits for the encoded reply.
    ///
    /// # Errors
    /// See [`RpcError`]. A typed error of the service is `Ok` with [`Status::ServiceError`].
    pub fn call_bytes_blocking(
        &self,
        method: Target<'_>,
        door: Door,
        payload: &[u8],
    ) -> Result<Reply, RpcError> {
        let mut body = Vec::new();
        let status = self.call_into_blocking(method, door, payload, &mut body)?;
        Ok(Reply { status, body })
    }

    /// As [`Self::call_bytes_blocking`], with the reply appended to a buffer of the caller's: with one that has
    /// room enough, a call through shared memory allocates nothing. Says whether it is a reply
    /// ([`Status::Ok`]) or a typed error of the service ([`Status::ServiceError`]).
    ///
    /// # Errors
    /// See [`RpcError`]; what the buffer holds then is of no account.
    pub fn call_into_blocking(
        &self,
        method: Target<'_>,
        door: Door,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<Status, RpcError> {
        let deadline = self.deadline.or(method.deadline).unwrap_or(DEFAULT_DEADLINE).min(NO_DEADLINE);
        self.transport.call(Outbound { method, door, payload, deadline }, reply)
    }

    /// Calls with encoded arguments and waits for the encoded reply.
    ///
    /// # Errors
    /// See [`RpcError`]. A typed error of the service is `Ok` with [`Status::ServiceError`].
    pub async fn call_bytes(
        &self,
        method: Target<'_>,
        door: Door,
        payload: &[u8],
    ) -> Result<Reply, RpcError> {
        self.begin(method, door, payload)?.await
    }

    /// Calls a method by its definition and waits, blocking the thread.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`].
    pub fn call_blocking<C, A, R, E>(&self, method: &'static MethodInfo, args: &A) -> Result<R, CallError<E>>
    where
        C: Encode<A> + Decode<R>,
        C::Errors: Decode<E>,
        A: ?Sized,
    {
        self.send_blocking(TypedCall::new::<C>(method, args))
    }

    /// Calls a method by its definition.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`].
    pub async fn call<C, A, R, E>(&self, method: &'static MethodInfo, args: &A) -> Result<R, CallError<E>>
    where
        C: Encode<A> + Decode<R>,
        C::Errors: Decode<E>,
        A: ?Sized,
    {
        self.send(TypedCall::new::<C>(method, args)).await
    }

    /// Checks that the server offers these methods with the same encoding and signature.
    pub(crate) fn check(&self, endpoint: &str, methods: &[MethodInfo]) -> Result<(), ConnectError> {
        check(&self.service(), endpoint, methods)
    }
}

fn check(service: &ServiceDescription, endpoint: &str, methods: &[MethodInfo]) -> Result<(), ConnectError> {
    let mismatches: Vec<String> =
        methods.iter().filter_map(|ours| mismatch(ours, service.method(ours.name))).collect();
    if mismatches.is_empty() {
        return Ok(());
    }
    Err(ConnectError::Mismatch { service: service.name.clone(), endpoint: endpoint.into(), mismatches })
}

/// What differs between a client's method and the server's of the same name, naming both sides.
fn mismatch(ours: &MethodInfo, theirs: Option<&MethodDescription>) -> Option<String> {
    let Some(theirs) = theirs else {
        return Some(format!("method {} is unknown to the server", ours.name));
    };
    if theirs.id == ours.id() {
        return None;
    }
    Some(format!(
        "method {}: client has {} {} {}, server has {} {} {}",
        ours.name,
        ours.encoding,
        ours.shape.name(),
        ours.signature,
        theirs.encoding,
        theirs.shape.name(),
        theirs.signature,
    ))
}

/// Which method is called, and what the transport must know of it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The identity on the wire.
    pub id: MethodId,
    /// The name, for errors.
    pub name: &'a str,
    /// May be run again by itself when its worker dies.
    pub idempotent: bool,
    /// The method's own deadline.
    pub deadline: Option<Duration>,
}

impl From<&'static MethodInfo> for Target<'static> {
    fn from(info: &'static MethodInfo) -> Self {
        Self { id: info.id(), name: info.name, idempotent: info.idempotent, deadline: info.deadline }
    }
}

impl<'a> From<&'a MethodDescription> for Target<'a> {
    fn from(method: &'a MethodDescription) -> Self {
        Self {
            id: method.id,
            name: &method.name,
            idempotent: method.idempotent,
            deadline: method.deadline_ms.map(Duration::from_millis),
        }
    }
}

/// A reply as bytes: the encoded value, or the encoded typed error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// [`Status::Ok`] or [`Status::ServiceError`]; everything else has become an [`RpcError`].
    pub status: Status,
    /// The encoded value.
    pub body: Vec<u8>,
}

pub(crate) fn decode_reply<C, R, E>(status: Status, body: &[u8]) -> Result<R, CallError<E>>
where
    C: Codec + Decode<R>,
    C::Errors: Decode<E>,
{
    match status {
        Status::Ok => Ok(C::decode(body)?),
        _ => Err(CallError::Service(<C::Errors as Decode<E>>::decode(body)?)),
    }
}
