//! TCP, the client's side: [`TcpTransport`] keeps one live connection to a server, makes a new one when
//! that has ended, and hands calls to whichever is there. The socket work is done on the process's I/O
//! thread (`transport::io`); callers only encode, send and wait. The server's side is [`gateway`].

mod call;
mod dial;
pub(crate) mod gateway;
mod link;
mod reader;
mod redial;
mod socket;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use self::{
    call::TcpCall,
    dial::{Address, dial},
    link::Link,
    redial::Redial,
};
use super::{
    Outbound, Transport,
    inproc::{find, unary_only},
    io,
};
use crate::{
    client::{Completion, ConnectOptions, Door, Pending, Target},
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

/// Where a call goes now.
enum Way {
    Link(Arc<Link>),
    Redial(Arc<Redial>),
}

/// A call, kept for as long as it may have to be sent again.
struct Request {
    method: MethodId,
    idempotent: bool,
    door: Door,
    payload: Bytes,
    label: Arc<Label>,
    until: Instant,
}

impl TcpTransport {
    /// Connects, waiting for the handshake.
    pub(crate) fn connect(
        host: &str,
        port: u16,
        service: Option<&str>,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let endpoint = crate::endpoint::Endpoint::Tcp { host: host.into(), port: Some(port) };
        let address = Address {
            host: host.into(),
            port,
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
        let service = self.shared.service();
        let label =
            Label { service: service.name.clone(), method: call.method.name.into(), deadline: call.deadline };
        check_length(call.payload.len(), self.shared.address.max_message_bytes())?;
        Ok(Request {
            method: call.method.id,
            idempotent: call.method.idempotent,
            door: call.door,
            payload: Bytes::copy_from_slice(call.payload),
            label: Arc::new(label),
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
                redial.wait_until(request.until).map_err(|missed| missed.error(&request))?
            }
        };
        let (shape, _) = link.find(&request)?;
        let (opened, call) = link.send(&request, shape)?;
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
    fn find<'a>(&self, request: &'a Request) -> Result<(Shape, Target<'a>), RpcError> {
        let target = Target {
            id: request.method,
            name: &request.label.method,
            idempotent: request.idempotent,
            deadline: None,
        };
        find(&self.service, target).map(|(_, shape)| (shape, target))
    }

    /// Sends a call. May block while the queue is full, never beyond the deadline. The error is
    /// [`RpcError::Unavailable`] if the connection has ended before anything was sent.
    fn send(&self, request: &Request, shape: Shape) -> Result<(Opened, SessionCall), RpcError> {
        check_length(request.payload.len(), self.peer_max_message_bytes)?;
        if !self.writer.wait_for_room(request.until) {
            return Err(request.label.deadline_exceeded());
        }
        let id = self.next_id();
        let label = Arc::clone(&request.label);
        let opened = self
            .session
            .open(id, shape, Arc::clone(&label), request.until)
            .map_err(|reason| RpcError::Unavailable { service: label.service.clone(), reason })?;
        self.wake();
        let left = request.until.saturating_duration_since(Instant::now());
        let timeout_ns = if label.deadline >= io::NO_DEADLINE { 0 } else { left.as_nanos().max(1) };
        self.writer.send(Frame::Call(Call {
            id,
            method: request.method,
            timeout_ns: timeout_ns.try_into().unwrap_or(u64::MAX),
            door: request.door,
            idempotent: request.idempotent,
            metadata: Bytes::new(),
            payload: request.payload.clone(),
        }));
        let answer = Arc::clone(&opened.answer);
        let call = SessionCall::new(Arc::clone(&self.session), id, answer, label, request.until);
        Ok((opened, call))
    }

    /// Sends a call that has one reply and no streams.
    fn send_unary(&self, request: &Request) -> Result<SessionCall, RpcError> {
        let (shape, target) = self.find(request)?;
        unary_only(&self.service, target, shape)?;
        self.send(request, shape).map(|(_, call)| call)
    }
}

fn check_length(len: usize, limit_bytes: u64) -> Result<(), RpcError> {
    let len_bytes = len as u64;
    if len_bytes <= limit_bytes {
        return Ok(());
    }
    Err(RpcError::TooLarge { what: "arguments", len_bytes, limit_bytes })
}
