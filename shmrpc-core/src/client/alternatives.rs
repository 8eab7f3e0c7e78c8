//! A connection with several endpoints: the transport that answered first serves it, until nobody serves there any
//! more. Calls that were never run for that reason then go to the next endpoint that answers, in their order, and so
//! does every later call. Connections with one endpoint do not pass through here.

mod call;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use self::call::MovingCall;
use super::{ConnectOptions, Outcome, Pending, check};
use crate::{
    endpoint::Endpoint,
    error::{RpcError, Status},
    method::{ServiceDescription, ServiceInfo},
    server::{Draft, Drafted, Loan, ShmBytes},
    stream::ClientStream,
    transport::{self, InPlace, Outbound, Transport},
};

/// So often a call goes to another endpoint before its caller hears of it.
const MOST_MOVES: u32 = 4;

/// What tells how to connect.
pub(super) struct Addresses {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) info: Option<&'static ServiceInfo>,
    pub(super) options: ConnectOptions,
}

/// The index of an endpoint, and what answers there.
type Found = (usize, Arc<dyn Transport>);

/// A move to another endpoint, under way: whether one answers, or why none does.
type Move = Outcome<Result<(), String>>;

/// See the module.
pub(super) struct Alternatives {
    shared: Arc<Shared>,
}

struct Shared {
    addresses: Arc<Addresses>,
    /// What answered first.
    first: Found,
    /// Calls do not go to `first`. Without it they take no lock.
    has_moved: AtomicBool,
    state: Mutex<State>,
    /// The process that connected.
    owner: u32,
}

struct State {
    /// Counts the moves, so that one who finds a transport deserted need not find it so again.
    serial: u64,
    /// Where calls go.
    current: Found,
    moving: Option<Arc<Move>>,
}

/// Where a call goes.
struct Way {
    serial: u64,
    /// `None`: the first.
    moved: Option<Arc<dyn Transport>>,
}

impl Alternatives {
    /// The endpoint of that index has answered.
    pub(super) fn new(addresses: Addresses, index: usize, first: Arc<dyn Transport>) -> Self {
        let state = State { serial: 0, current: (index, Arc::clone(&first)), moving: None };
        Self {
            shared: Arc::new(Shared {
                addresses: Arc::new(addresses),
                first: (index, first),
                has_moved: AtomicBool::new(false),
                state: Mutex::new(state),
                owner: std::process::id(),
            }),
        }
    }

    /// Runs a call on the transport in use, and on the next one if nobody serves there. `run` is given a deadline.
    fn run<T>(
        &self,
        call: &Outbound<'_>,
        mut run: impl FnMut(&dyn Transport, Outbound<'_>) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let until = Instant::now() + call.deadline;
        let mut deadline = call.deadline;
        for moves in 0.. {
            let way = self.shared.way()?;
            let outcome = run(way.transport(&self.shared), Outbound { deadline, ..*call });
            let Err(RpcError::Unavailable { service, reason }) = outcome else { return outcome };
            if moves == MOST_MOVES {
                return Err(RpcError::Unavailable { service, reason });
            }
            if let Some(moving) = self.shared.leave(way.serial) {
                let overdue = || overdue(service.clone(), call);
                let failed = moving.wait_until(until).ok_or_else(overdue)?;
                failed.map_err(|others| unavailable(service.clone(), &reason, &others))?;
            }
            deadline = until.saturating_duration_since(Instant::now());
            if deadline.is_zero() {
                return Err(overdue(service, call));
            }
        }
        unreachable!("the loop ends by its own")
    }
}

impl Transport for Alternatives {
    fn service(&self) -> Arc<ServiceDescription> {
        match self.shared.way() {
            Ok(way) => way.transport(&self.shared).service(),
            // In a forked child, where nothing may be waited for.
            Err(_) => self.shared.first.1.service(),
        }
    }

    fn begin(&self, call: Outbound<'_>) -> Result<Pending, RpcError> {
        Ok(Pending::new(MovingCall::begin(Arc::clone(&self.shared), &call)?))
    }

    fn call(&self, call: Outbound<'_>, body: &mut Vec<u8>) -> Result<Status, RpcError> {
        let len_before = body.len();
        self.run(&call, |transport, call| {
            body.truncate(len_before);
            transport.call(call, body)
        })
    }

    /// The argument is written once, and may have to be sent twice: it is kept in private memory.
    fn call_in_place(&self, call: InPlace<'_>) -> Result<(), RpcError> {
        let InPlace { call, write, read } = call;
        let mut draft = Draft::new(None);
        write(Loan::new(&mut draft)).map_err(|error| RpcError::NoSpace(error.to_string()))?;
        let Drafted::Buffer(payload) = draft.finish() else { unreachable!("there is no room") };
        self.run(&call, |transport, call| {
            let mut copy = |loan: Loan<'_>| loan.copy_from(ShmBytes::copied(&payload));
            transport.call_in_place(InPlace { call, write: &mut copy, read: &mut *read })
        })
    }

    fn begin_stream(&self, call: Outbound<'_>) -> Result<ClientStream, RpcError> {
        self.run(&call, |transport, call| transport.begin_stream(call))
    }

    fn must_reconnect(&self) -> bool {
        self.shared.way().is_ok_and(|way| way.transport(&self.shared).must_reconnect())
    }
}

impl Way {
    fn transport<'a>(&'a self, shared: &'a Shared) -> &'a dyn Transport {
        match &self.moved {
            Some(moved) => &**moved,
            None => &*shared.first.1,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where calls go now.
    fn way(&self) -> Result<Way, RpcError> {
        // Pairs with the store in `arrived`; who comes too early finds the first deserted, as others did.
        if !self.has_moved.load(Ordering::Acquire) {
            return Ok(Way { serial: 0, moved: None });
        }
        let current = std::process::id();
        if current != self.owner {
            return Err(RpcError::Forked { owner: self.owner, current });
        }
        let state = self.lock();
        Ok(Way { serial: state.serial, moved: Some(Arc::clone(&state.current.1)) })
    }

    /// Leaves a transport that nobody serves; `None` if others have done so already.
    fn leave(self: &Arc<Self>, serial: u64) -> Option<Arc<Move>> {
        let mut state = self.lock();
        if state.serial != serial {
            return None;
        }
        if let Some(moving) = &state.moving {
            return Some(Arc::clone(moving));
        }
        let moving = Arc::new(Move::default());
        state.moving = Some(Arc::clone(&moving));
        let (deserted, addresses) = (state.current.0, Arc::clone(&self.addresses));
        drop(state);
        // The thread keeps nothing of a connection that is dropped meanwhile.
        let (shared, moves) = (Arc::downgrade(self), Arc::clone(&moving));
        let search = move || {
            let found = search(&shared, &addresses, deserted);
            moves.settle(shared.upgrade().map_or(Ok(()), |shared| shared.arrived(found)));
        };
        let thread = std::thread::Builder::new().name("shmrpc-connect".into());
        if let Err(error) = thread.spawn(search) {
            self.lock().moving = None;
            moving.settle(Err(error.to_string()));
        }
        Some(moving)
    }

    /// From now on calls go there.
    fn arrived(&self, found: Result<Found, String>) -> Result<(), String> {
        let mut state = self.lock();
        state.moving = None;
        state.current = found?;
        state.serial += 1;
        // After the state, under the lock: pairs with the load in `way`.
        self.has_moved.store(true, Ordering::Release);
        Ok(())
    }
}

/// The next endpoint that answers and offers what the client calls, in their order.
fn search(shared: &Weak<Shared>, addresses: &Addresses, deserted: usize) -> Result<Found, String> {
    let Addresses { endpoints, info, options } = addresses;
    let mut errors = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate().filter(|(index, _)| *index != deserted) {
        if let Some(shared) = shared.upgrade()
            && index == shared.first.0
            && !shared.first.1.must_reconnect()
        {
            return Ok((index, Arc::clone(&shared.first.1)));
        }
        let connected = transport::connect(endpoint, *info, options).and_then(|transport| {
            let methods = info.map_or(&[][..], |info| info.methods);
            check(&transport.service(), &endpoint.to_string(), methods).map(|()| transport)
        });
        match connected {
            Ok(transport) => return Ok((index, transport)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Err(errors.join("; "))
}

fn overdue(service: String, call: &Outbound<'_>) -> RpcError {
    RpcError::DeadlineExceeded { service, method: call.method.name.to_owned(), after: call.deadline }
}

/// Nobody serves at any endpoint.
fn unavailable(service: String, reason: &str, others: &str) -> RpcError {
    RpcError::Unavailable { service, reason: format!("{reason}; {others}") }
}
