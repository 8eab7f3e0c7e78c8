//! The server's side of a call: a [`Service`] (made by `#[service]`) is handed [`IncomingCall`]s and
//! answers through their [`Responder`]. Which transport brought the call is not its business.

mod call;
mod config;
#[doc(hidden)]
pub mod glue;
mod in_place;
mod log;
mod looks;
mod runtime;
mod serve;
mod worker;

use std::sync::Arc;

pub use self::call::{CallContext, IncomingCall, Responder};
pub(crate) use self::call::{Cancellation, Near, NearSink, ReplySink, contained};
pub(crate) use self::in_place::{Draft, Drafted, Lent, Room};
pub(crate) use self::runtime::runtime;
pub use self::{
    config::{TcpLimits, TlsFiles, WorkerConfig},
    in_place::{Loan, LoanError, LoanSource, ShmBytes},
    log::{Level, Logger, logger},
    serve::{ServeOptions, Serving, serve},
    worker::{Described, Offered, worker_program},
};
use crate::{method::ServiceInfo, schema::Schemas};

/// The definition of a service, without a value of it. Implemented by `#[service]`.
pub trait Definition {
    /// Name, port and methods.
    const INFO: &'static ServiceInfo;

    /// The schemas of what its methods take and answer, as far as their types tell.
    #[must_use]
    fn schemas() -> Schemas {
        Schemas::default()
    }
}

/// A service that can be served. Implemented by `#[service]`; by hand only for services whose methods
/// are not known at compile time.
pub trait Service: Send + Sync + 'static {
    /// Name, port and methods.
    fn info(&self) -> &'static ServiceInfo;

    /// Runs the method with that index of [`ServiceInfo::methods`]. Called on a thread of the pool, many
    /// at once; panics are caught by the caller and answered.
    fn dispatch(self: Arc<Self>, method: usize, call: IncomingCall<'_>);

    /// The same for methods that are over when this returns, and need no share in the service to go on: gives the
    /// call back if it is of another kind, and [`Self::dispatch`] runs it. Counting a share in and out would be a
    /// noticeable part of a short call.
    fn dispatch_here<'a>(&self, method: usize, call: IncomingCall<'a>) -> Option<IncomingCall<'a>> {
        let _ = method;
        Some(call)
    }
}
