//! The in-process transport: services published in this process, called through the same client. Calls
//! run on tokio's blocking pool, so that deadlines and concurrency are as between processes.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{Outbound, Transport};
use crate::{
    client::{Completion, Connection, Pending, PendingCall, Reply},
    endpoint::Endpoint,
    error::{ConnectError, RpcError, Status},
    method::ServiceDescription,
    server::{CallContext, IncomingCall, ReplySink, Responder, Service, contained, runtime},
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
        let index =
            self.description.methods.iter().position(|m| m.id == call.method.id).ok_or_else(|| {
                RpcError::NoSuchMethod(format!("{} has no {}", self.description.name, call.method.name))
            })?;
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
}

struct Sink {
    answer: Arc<Completion<(Status, Vec<u8>)>>,
}

impl ReplySink for Sink {
    fn send(self: Box<Self>, status: Status, body: &[u8]) {
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
