//! The in-process transport: services published in this process, called through the same client. Calls
//! run on tokio's blocking pool, so that deadlines and concurrency are as between processes.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Outbound, Transport,
    io::NO_DEADLINE,
    session::{FrameSink, Label, Session, SessionCall, SessionLimits},
};
use crate::{
    client::{Completion, Connection, Pending, PendingCall, Reply, Target},
    endpoint::Endpoint,
    error::{ConnectError, RpcError, Status},
    frame::{DEFAULT_WINDOW_BYTES, Frame},
    method::{ServiceDescription, Shape},
    server::{CallContext, IncomingCall, ReplySink, Responder, Service, contained, runtime},
    stream::ClientStream,
};

static PUBLISHED: LazyLock<Mutex<HashMap<String, Arc<dyn Service>>>> = LazyLock::new(Mutex::default);

/// Keeps a service reachable as `inproc://NAME`; dropped, it can no longer be connected to. Connections
/// that exist keep the service alive.
#[must_use = "dropped, the service is unpublished"]
#[derive(Debug)]
pub struct Published {
    name: String,
}

/// Publishes a service in this process as `inproc://NAME`, replacing one of the same name.
pub fn publish(service: impl Service) -> Published {
    let name = service.info().name.to_owned();
    let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    published.insert(name.clone(), Arc::new(service));
    Published { name }
}

impl Drop for Published {
    fn drop(&mut self) {
        PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// A connection to a service in this process, published nowhere.
#[must_use]
pub fn in_process(service: Arc<dyn Service>) -> Connection {
    Connection::new(Arc::new(Inproc::new(service)), None)
}

pub(crate) struct Inproc {
    service: Arc<dyn Service>,
    description: Arc<ServiceDescription>,
    next_call_id: AtomicU64,
}

impl Inproc {
    fn new(service: Arc<dyn Service>) -> Self {
        let description = Arc::new(ServiceDescription::from(service.info()));
        Self { service, description, next_call_id: AtomicU64::new(1) }
    }

    pub(crate) fn connect(name: &str, endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
        let service = published
            .get(name)
            .cloned()
            .ok_or_else(|| ConnectError::NotFound { service: name.into(), endpoint: endpoint.to_string() })?;
        Ok(Self::new(service))
    }
}

impl Transport for Inproc {
    fn service(&self) -> Arc<ServiceDescription> {
        Arc::clone(&self.description)
    }

    fn begin(&self, call: Outbound<'_>) -> Result<Pending, RpcError> {
        let (index, shape) = find(&self.description, call.method)?;
        unary_only(&self.description, call.method, shape)?;
        let until = Instant::now() + call.deadline;
        let answer = Completion::new();
        let context = CallContext::new(self.next_call_id.fetch_add(1, Ordering::Relaxed), Some(until));
        let responder = Responder::new(Sink { answer: Arc::clone(&answer) });
        let (service, door, payload) = (Arc::clone(&self.service), call.door, call.payload.to_vec());
        runtime().spawn_blocking(move || {
            contained(&service, index, IncomingCall::new(Cow::Owned(payload), door, context, responder));
        });
        let timer = Arc::clone(&answer);
        let timeout = runtime().spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            timer.fill((Status::DeadlineExceeded, Vec::new()));
        });
        Ok(Pending::new(InprocCall {
            answer,
            until,
            after: call.deadline,
            service: self.description.name.clone(),
            method: call.method.name.into(),
            timeout,
        }))
    }

    fn begin_stream(&self, call: Outbound<'_>) -> Result<ClientStream, RpcError> {
        let (index, shape) = find(&self.description, call.method)?;
        let until = Instant::now() + call.deadline;
        let id = self.next_call_id.fetch_add(1, Ordering::Relaxed);
        let (client, server) = wired();
        let label = Arc::new(Label {
            service: self.description.name.clone(),
            method: call.method.name.into(),
            deadline: call.deadline,
        });
        let broken = |reason: String| RpcError::Internal(reason);
        let opened = client.open(id, shape, Arc::clone(&label), until).map_err(broken)?;
        let accepted = server.accept(id, shape, until).map_err(|violation| broken(violation.0))?;
        let deadline = (call.deadline < NO_DEADLINE).then_some(until);
        let context = CallContext::new(id, deadline).with_cancelled(accepted.cancelled);
        let (service, door, payload) = (Arc::clone(&self.service), call.door, call.payload.to_vec());
        let responder = server.responder(id);
        runtime().spawn_blocking(move || {
            let call = IncomingCall::new(Cow::Owned(payload), door, context, responder);
            contained(&service, index, call.with_stream(accepted.stream));
        });
        Ok(ClientStream {
            reply: Pending::new(InprocStream {
                call: SessionCall::new(client, id, opened.answer, label, until),
                _server: server,
            }),
            sender: opened.sender,
            receiver: opened.receiver,
        })
    }
}

/// The index and shape of a method in the table of a server.
pub(crate) fn find(service: &ServiceDescription, method: Target<'_>) -> Result<(usize, Shape), RpcError> {
    let index = service.methods.iter().position(|known| known.id == method.id);
    index.map(|index| (index, service.methods[index].shape)).ok_or_else(|| unknown(&service.name, method))
}

/// The error for a method that the server does not have.
pub(crate) fn unknown(service: &str, method: Target<'_>) -> RpcError {
    RpcError::NoSuchMethod(format!("{service} has no {}", method.name))
}

/// A streaming method cannot be called without its streams.
pub(crate) fn unary_only(
    service: &ServiceDescription,
    method: Target<'_>,
    shape: Shape,
) -> Result<(), RpcError> {
    match shape {
        Shape::Unary => Ok(()),
        _ => Err(not_unary(&service.name, method, shape)),
    }
}

/// The error for a streaming method that is called without its streams.
pub(crate) fn not_unary(service: &str, method: Target<'_>, shape: Shape) -> RpcError {
    RpcError::BadArguments(format!(
        "{service}.{} streams items ({}): start it as a stream",
        method.name,
        shape.name()
    ))
}

/// Hands one session's frames to another, at once and on the same thread.
#[derive(Default)]
struct Wire {
    peer: OnceLock<Weak<Session>>,
}

impl FrameSink for Wire {
    fn send(&self, frame: Frame) {
        if let Some(peer) = self.peer.get().and_then(Weak::upgrade) {
            // Both ends are this crate's: neither breaks the protocol.
            let _handled = peer.on_frame(frame);
        }
    }
}

/// Two sessions that are each other's peer. Each must be kept by its user.
fn wired() -> (Arc<Session>, Arc<Session>) {
    let limits = SessionLimits {
        our_window_bytes: DEFAULT_WINDOW_BYTES,
        peer_window_bytes: DEFAULT_WINDOW_BYTES,
        peer_max_message_bytes: u64::MAX,
    };
    let (to_server, to_client) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let client = Session::new(Arc::clone(&to_server) as Arc<dyn FrameSink>, limits);
    let server = Session::new(Arc::clone(&to_client) as Arc<dyn FrameSink>, limits);
    let _fresh = (to_server.peer.set(Arc::downgrade(&server)), to_client.peer.set(Arc::downgrade(&client)));
    (client, server)
}

struct Sink {
    answer: Arc<Completion<(Status, Vec<u8>)>>,
}

impl ReplySink for Sink {
    fn send(&mut self, status: Status, body: &[u8]) {
        self.answer.fill((status, body.to_vec()));
    }
}

struct InprocCall {
    answer: Arc<Completion<(Status, Vec<u8>)>>,
    until: Instant,
    after: Duration,
    service: String,
    method: String,
    timeout: tokio::task::JoinHandle<()>,
}

impl InprocCall {
    fn outcome(&self, (status, body): (Status, Vec<u8>)) -> Result<Reply, RpcError> {
        match status {
            Status::Ok | Status::ServiceError => Ok(Reply { status, body }),
            _ => Err(RpcError::from_reply(status, &body, &self.service, &self.method, self.after)),
        }
    }
}

/// A streaming call; it keeps the server's session for as long as the caller waits.
struct InprocStream {
    call: SessionCall,
    _server: Arc<Session>,
}

impl PendingCall for InprocStream {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        self.call.wait()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        self.call.poll(cx)
    }
}

impl PendingCall for InprocCall {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        let answer = self.answer.wait_until(self.until).unwrap_or((Status::DeadlineExceeded, Vec::new()));
        self.outcome(answer)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        self.answer.poll(cx).map(|answer| self.outcome(answer))
    }
}

impl Drop for InprocCall {
    fn drop(&mut self) {
        self.timeout.abort();
    }
}
