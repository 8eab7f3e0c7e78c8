//! Transports move encoded calls between a client and a service. Each is one module behind
//! [`Transport`]; nothing outside this tree touches sockets or `shm`.

pub(crate) mod inproc;
pub(crate) mod io;
pub(crate) mod session;
pub(crate) mod shm;
pub(crate) mod tcp;

use std::{sync::Arc, time::Duration};

use crate::{
    client::{ConnectOptions, Door, Pending, Target},
    codec::Encoding,
    endpoint::Endpoint,
    error::{ConnectError, RpcError, Status},
    method::{MethodId, ServiceDescription, ServiceInfo},
    server::{CallContext, Draft, Drafted, Loan, LoanError, NearSink, ShmBytes},
    stream::ClientStream,
};

/// One call on its way out: the arguments are encoded and borrowed for the time of `begin`.
pub(crate) struct Outbound<'a> {
    pub(crate) method: Target<'a>,
    pub(crate) door: Door,
    pub(crate) payload: &'a [u8],
    pub(crate) deadline: Duration,
}

/// A raw call whose argument is written, and whose reply is read, in the transport's memory. `call` has no
/// payload.
pub(crate) struct InPlace<'a> {
    pub(crate) call: Outbound<'a>,
    pub(crate) write: &'a mut dyn FnMut(Loan<'_>) -> Result<(), LoanError>,
    /// Called at most once: with the reply, or with the encoded error of the service.
    pub(crate) read: &'a mut dyn FnMut(Status, ShmBytes<'_>),
}

/// A client's way to one service.
pub(crate) trait Transport: Send + Sync {
    /// What the server offers, as of the last handshake.
    fn service(&self) -> Arc<ServiceDescription>;
    /// Hands a call over. May block while there is no room, never beyond the deadline.
    fn begin(&self, call: Outbound<'_>) -> Result<Pending, RpcError>;
    /// Calls and waits, blocking the thread; the reply is appended to `body`. What is left in `body` with an error
    /// is of no account.
    fn call(&self, call: Outbound<'_>, body: &mut Vec<u8>) -> Result<Status, RpcError> {
        let reply = self.begin(call)?.wait()?;
        if body.is_empty() {
            *body = reply.body;
        } else {
            body.extend_from_slice(&reply.body);
        }
        Ok(reply.status)
    }
    /// Calls in place and waits, blocking the thread. Without memory in common with the server, through a buffer.
    fn call_in_place(&self, call: InPlace<'_>) -> Result<(), RpcError> {
        let mut draft = Draft::new(None);
        (call.write)(Loan::new(&mut draft)).map_err(|error| RpcError::NoSpace(error.to_string()))?;
        let Drafted::Buffer(payload) = draft.finish() else { unreachable!("there is no room") };
        let mut body = Vec::new();
        let status = self.call(Outbound { payload: &payload, ..call.call }, &mut body)?;
        (call.read)(status, ShmBytes::copied(&body));
        Ok(())
    }
    /// Hands over a call whose method streams items; as [`Self::begin`] otherwise.
    fn begin_stream(&self, call: Outbound<'_>) -> Result<ClientStream, RpcError>;
    /// Whether a stream begun now would first wait for a connection: async callers let a thread do that.
    fn must_reconnect(&self) -> bool {
        false
    }
}

/// A service in this process, for a transport that may run calls on the thread that reads them.
pub(crate) trait Local: Send + Sync {
    /// The index and encoding of a unary method that may be run at once: it has lately been quick.
    fn quick(&self, method: MethodId) -> Option<(usize, Encoding)>;
    /// Runs a call. `false`: it was not run and must go another way; the sink has not been used then.
    fn run(
        &self,
        method: usize,
        args: &[u8],
        door: Door,
        context: CallContext,
        sink: &mut dyn NearSink,
    ) -> bool;
}

/// Connects one endpoint.
pub(crate) fn connect(
    endpoint: &Endpoint,
    info: Option<&'static ServiceInfo>,
    options: &ConnectOptions,
) -> Result<Arc<dyn Transport>, ConnectError> {
    let own_name = info.map(|info| info.name);
    let unnamed = || ConnectError::NotFound {
        service: "a service without a name".into(),
        endpoint: endpoint.to_string(),
    };
    match endpoint {
        Endpoint::Inproc { name } => {
            let name = name.as_deref().or(own_name).ok_or_else(unnamed)?;
            Ok(Arc::new(inproc::Inproc::connect(name, endpoint)?))
        }
        Endpoint::Shm { name } => {
            let name = name.as_deref().or(own_name).ok_or_else(unnamed)?;
            Ok(Arc::new(shm::client::ShmClient::connect(name, &endpoint.to_string(), options)?))
        }
        Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
            let security = match endpoint {
                Endpoint::Tls { .. } => tcp::Security::Tls,
                _ => tcp::Security::Clear,
            };
            let port = port.or(info.map(|info| info.port)).ok_or_else(|| ConnectError::NotFound {
                service: "a service without a port".into(),
                endpoint: endpoint.to_string(),
            })?;
            Ok(Arc::new(tcp::TcpTransport::connect(security, host, port, own_name, options)?))
        }
    }
}
