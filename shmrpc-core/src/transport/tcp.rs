//! TCP, the client's side: [`TcpTransport`] keeps one live connection to a server, makes a new one when
//! that has ended, and hands calls to whichever is there. Callers write to the socket themselves, and threads
//! that wait read it; `poller` reads for tasks. Connections are made on the process's I/O thread
//! (`transport::io`). The server's side is [`gateway`].

mod call;
mod calls;
mod dial;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod gateway;
mod introduction;
mod link;
mod poller;
mod reader;
mod redial;
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "some of it is there for TLS alone"))]
mod socket;
#[cfg(test)]
mod tests;
mod ticker;
#[cfg_attr(not(feature = "tls"), path = "tcp/tls/without.rs")]
mod tls;
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "what only TLS can say"))]
mod wire;
mod writer;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::{
    call::TcpCall,
    dial::{Address, dial},
    link::Link,
    redial::Redial,
    writer::call_head,
};
use super::{Outbound, Transport, inproc::not_unary, io};
use crate::{
    client::{Completion, ConnectOptions, Door, Pending, Target},
    endpoint::Endpoint,
    error::{ConnectError, RpcError},
    frame::{Call, Frame},
    method::{MethodId, ServiceDescription, Shape},
    stream::ClientStream,
    transport::session::{FrameSink, Label, Opened, SessionCall},
};

/// A client's way to a service over TCP.
pub(crate) struct TcpTransport {
    shared: Arc<Shared>,
}

/// What outlives any one connection.
struct Shared {
    address: Address,
    /// The process whose I/O thread serves it.
    owner: u32,
    state: Mutex<State>,
    /// As of the last handshake.
    service: Mutex<Arc<ServiceDescription>>,
}

enum State {
    Up(Arc<Link>),
    Dialling(Arc<Redial>),
}

/// Whether what is said to a server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Clear,
    Tls,
}

/// Where a call goes now.
enum Way {
    Link(Arc<Link>),
    Redial(Arc<Redial>),
}

/// A call, kept for as long as it may have to be sent again.
struct Request {
    method: MethodId,
    /// For errors.
    name: Box<str>,
    idempotent: bool,
    door: Door,
    payload: Bytes,
    deadline: Duration,
    until: Instant,
}

impl TcpTransport {
    /// Connects, waiting for the handshake.
    pub(crate) fn connect(
        security: Security,
        host: &str,
        port: u16,
        service: Option<&str>,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let (host, at) = (host.to_owned(), Some(port));
        let endpoint = match security {
            Security::Clear => Endpoint::Tcp { host: host.clone(), port: at },
            Security::Tls => Endpoint::Tls { host: host.clone(), port: at },
        };
        let address = Address {
            host,
            port,
            security,
            endpoint: endpoint.to_string(),
            service: service.map(Into::into),
            options: options.clone(),
        };
        let dialled = Completion::new();
        io::handle().spawn({
            let (address, dialled) = (address.clone(), Arc::clone(&dialled));
            async move { dialled.fill(dial(&address).await) }
        });
        // The dial has its own timeout; twice that says that the I/O thread is gone.
        let after = options.timeout;
        let link = dialled
            .wait_until(Instant::now() + after * 2)
            .unwrap_or(Err(ConnectError::TimedOut { endpoint: address.endpoint.clone(), after }))?;
        let service = Mutex::new(Arc::clone(&link.service));
        let owner = std::process::id();
        let shared = Arc::new(Shared { address, owner, state: Mutex::new(State::Up(link)), service });
        Ok(Self { shared })
    }

    fn request(&self, call: &Outbound<'_>) -> Result<Request, RpcError> {
        self.shared.check_owner()?;
        check_length(call.payload.len(), self.shared.address.max_message_bytes())?;
        Ok(Request {
            method: call.method.id,
            name: call.method.name.into(),
            idempotent: call.method.idempotent,
            door: call.door,
            payload: Bytes::copy_from_slice(call.payload),
            deadline: call.deadline,
            until: Instant::now() + call.deadline,
        })
    }
}

impl Transport for TcpTransport {
    fn service(&self) -> Arc<ServiceDescription> {
        self.shared.service()
    }

    fn begin(&self, call: Outbound<'_>) -> Result<Pending, RpcError> {
        let request = self.request(&call)?;
        TcpCall::start(Arc::clone(&self.shared), request).map(Pending::new)
    }

    fn begin_stream(&self, call: Outbound<'_>) -> Result<ClientStream, RpcError> {
        let request = self.request(&call)?;
        let link = match self.shared.way() {
            Way::Link(link) => link,
            Way::Redial(redial) => {
                let label = || self.shared.label(&request);
                redial.wait_until(request.until).map_err(|missed| missed.error(&label()))?
            }
        };
        let (opened, call) = link.send_stream(&self.shared, &request)?;
        Ok(ClientStream { reply: Pending::new(call), sender: opened.sender, receiver: opened.receiver })
    }

    fn must_reconnect(&self) -> bool {
        self.shared.check_owner().is_ok() && matches!(self.shared.way(), Way::Redial(_))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // After a fork the connection is the parent's: nothing may be said on it.
        if self.check_owner().is_ok()
            && let State::Up(link) = &*self.lock()
        {
            link.close("the client has let go of the connection");
        }
    }
}

impl Shared {
    fn check_owner(&self) -> Result<(), RpcError> {
        let current = std::process::id();
        if current == self.owner {
            return Ok(());
        }
        Err(RpcError::Forked { owner: self.owner, current })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn service(&self) -> Arc<ServiceDescription> {
        Arc::clone(&self.service.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a call is called in errors.
    fn label(&self, request: &Request) -> Label {
        Label {
            service: self.service().name.clone(),
            method: request.name.clone().into(),
            deadline: request.deadline,
        }
    }

    fn unavailable(&self, reason: String) -> RpcError {
        RpcError::Unavailable { service: self.service().name.clone(), reason }
    }

    /// The live connection, or the attempt to make one, which is begun if need be.
    fn way(self: &Arc<Self>) -> Way {
        let mut state = self.lock();
        match &*state {
            State::Up(link) if link.is_usable() => return Way::Link(Arc::clone(link)),
            State::Dialling(redial) if !redial.has_failed() => return Way::Redial(Arc::clone(redial)),
            State::Up(_) | State::Dialling(_) => {}
        }
        let redial = Redial::start(Arc::downgrade(self), self.address.clone());
        *state = State::Dialling(Arc::clone(&redial));
        Way::Redial(redial)
    }

    /// A new connection is there.
    fn connected(&self, link: &Arc<Link>) {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&link.service);
        *self.lock() = State::Up(Arc::clone(link));
    }
}

impl Link {
    /// The method as this server knows it: its table may have changed since the last connection.
    fn find(&self, shared: &Shared, request: &Request) -> Result<Shape, RpcError> {
        self.shape(request.method).ok_or_else(|| {
            let label = shared.label(request);
            RpcError::NoSuchMethod(format!("{} has no {}", label.service, label.method))
        })
    }

    /// May block while the queue is full, never beyond the deadline.
    fn wait_for_room(&self, shared: &Shared, request: &Request) -> Result<(), RpcError> {
        check_length(request.payload.len(), self.peer_max_message_bytes)?;
        if self.writer.is_full() {
            // The server may want its replies taken before it takes more calls.
            self.have_read();
            if !self.writer.wait_for_room(request.until) {
                return Err(shared.label(request).deadline_exceeded());
            }
        }
        Ok(())
    }

    /// Sends a call that has one reply and no streams; its id. The error is [`RpcError::Unavailable`] if the
    /// connection has ended before anything was sent.
    fn send_unary(&self, shared: &Shared, request: &Request) -> Result<u64, RpcError> {
        let shape = self.find(shared, request)?;
        if shape != Shape::Unary {
            let label = shared.label(request);
            let (id, idempotent) = (request.method, request.idempotent);
            let target = Target { id, name: &label.method, idempotent, deadline: None };
            return Err(not_unary(&label.service, target, shape));
        }
        self.wait_for_room(shared, request)?;
        let opened = self.calls.lock().open(request.until);
        let opened = opened.map_err(|reason| shared.unavailable(reason))?;
        let head =
            call_head(opened.id, request.method, request.timeout_ns(), request.door, request.idempotent);
        let (gathered, gathered_bytes) = self.writer.gather_call(head, &request.payload);
        self.sent(opened.others, gathered, gathered_bytes);
        Ok(opened.id)
    }

    /// Sends a call that streams items; errors as above.
    fn send_stream(&self, shared: &Shared, request: &Request) -> Result<(Opened, SessionCall), RpcError> {
        let shape = self.find(shared, request)?;
        self.wait_for_room(shared, request)?;
        let id = self.calls.lock().id_elsewhere();
        let label = Arc::new(shared.label(request));
        let opened = self
            .session
            .open(id, shape, Arc::clone(&label), request.until)
            .map_err(|reason| shared.unavailable(reason))?;
        self.have_read();
        self.watch_until(request.until);
        self.writer.send(Frame::Call(Call {
            id,
            method: request.method,
            timeout_ns: request.timeout_ns(),
            door: request.door,
            idempotent: request.idempotent,
            metadata: Bytes::new(),
            payload: request.payload.clone(),
        }));
        let answer = Arc::clone(&opened.answer);
        let call = SessionCall::new(Arc::clone(&self.session), id, answer, label, request.until);
        Ok((opened, call))
    }
}

impl Request {
    /// How long the caller still waits, as the wire has it.
    fn timeout_ns(&self) -> u64 {
        if self.deadline >= io::NO_DEADLINE {
            return 0;
        }
        let left = self.until.saturating_duration_since(Instant::now());
        u64::try_from(left.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

fn check_length(len: usize, limit_bytes: u64) -> Result<(), RpcError> {
    let len_bytes = len as u64;
    if len_bytes <= limit_bytes {
        return Ok(());
    }
    Err(RpcError::TooLarge { what: "arguments", len_bytes, limit_bytes })
}
