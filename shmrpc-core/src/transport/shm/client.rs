//! The client's end of shared memory: links to every worker of a service, rings of calls that any of them
//! may claim, and the answers.
//!
//! `peers` keeps the links and hands over regions; `rings` publishes calls and takes answers, `ring` is one of them; `call` is one
//! call under way, `stream` one that streams items. All state of a connection is behind one mutex, which is held for as long as it takes to
//! publish a call or to take an answer, never while waiting.

mod call;
mod peers;
mod place;
mod ring;
mod rings;
mod stream;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use self::call::ShmCall;
use self::{
    peers::Peers,
    ring::{Key, Lane},
    rings::{RINGS, Rings},
};
use super::{
    directory::{Directory, Entry, Role},
    link::Link,
    node::{Membership, Node, Party},
};
use crate::{
    client::{ConnectOptions, Pending},
    error::{ConnectError, RpcError, Status},
    method::{MethodId, ServiceDescription},
    process::{ProcessStamp, random_u64},
    runtime_dir::RuntimeDir,
    shm::{doorbell::online_cpus, kill_point::kill_point, ticks::Reckoned},
    stream::ClientStream,
    transport::{InPlace, Outbound, Transport},
};

/// Largest message unless the options say otherwise.
const DEFAULT_MAX_MESSAGE_BYTES: u64 = 1 << 30;

/// How often `connect` looks whether workers that are starting still live.
const STARTING_SLICE: Duration = Duration::from_millis(100);

/// A connection to one service through shared memory.
pub(crate) struct ShmClient {
    shared: Arc<Open>,
    endpoint: String,
    options: ConnectOptions,
    /// Another one in its place, made when this one had been given up and was called again.
    heir: Mutex<Option<Arc<ShmClient>>>,
}

/// What lasts until both the client and all its calls are gone.
struct Open {
    shared: Arc<Shared>,
    _membership: Membership,
}

impl std::ops::Deref for Open {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// What callers, the watcher and the hub share.
pub(super) struct Shared {
    node: Arc<Node>,
    service: String,
    /// This connection, in directory and handshakes.
    id: u64,
    owner_pid: u32,
    max_message_bytes: u64,
    reconnect_timeout: Duration,
    state: Mutex<State>,
    /// Notified when a worker has been greeted, or has refused.
    greeted: Condvar,
    /// Somebody has written where only this connection's own words should be.
    given_up: AtomicBool,
    patience: Patience,
    /// What the first worker offered: for a forked child, which must not wait for a lock that another thread may have
    /// held when it was made.
    first_description: OnceLock<Arc<ServiceDescription>>,
    /// What callers use of the rings without the lock.
    lanes: [OnceLock<Arc<Lane>>; RINGS],
}

pub(super) struct State {
    peers: Peers,
    rings: Rings,
    /// What the worker that greeted last offers.
    description: Option<Arc<ServiceDescription>>,
    /// The unary method that was called last.
    last_method: Option<MethodId>,
    clock: Reckoned,
    refusal: Option<String>,
    /// Whose greetings `connect` waits for.
    awaited: Vec<Awaited>,
    /// The connection is over: who greets it now comes too late.
    has_left: bool,
}

/// A greeting that may come. A worker that dies may leave us two links that end, the one that it made and ours: each
/// link stands for itself.
#[derive(Debug)]
enum Awaited {
    Link(u64),
    /// A worker that is starting, and dials us; its node.
    Starting(ProcessStamp, String),
}

impl Awaited {
    fn may_come(&self, directory: &Directory) -> bool {
        match self {
            Self::Link(_) => true,
            Self::Starting(process, node) => directory.is_alive(process, node),
        }
    }
}

impl State {
    /// A link that has ended is not waited for.
    fn forget_awaited(&mut self, link: &Link) {
        let ended = link.token();
        self.awaited.retain(|awaited| !matches!(awaited, Awaited::Link(token) if *token == ended));
    }

    /// Nor is a process that is not for us.
    fn forget_process(&mut self, pid: Option<u32>) {
        let is_it = |process: &ProcessStamp| !process.is_foreign() && Some(process.pid) == pid;
        self.awaited.retain(|awaited| !matches!(awaited, Awaited::Starting(process, _) if is_it(process)));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShmClient {
    /// Connects to a service by name: lists itself, dials every worker, and waits for the first greeting.
    pub(crate) fn connect(
        service: &str,
        endpoint: &str,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let fail = |doing: &str| {
            let (endpoint, doing) = (endpoint.to_owned(), doing.to_owned());
            move |source| ConnectError::Io { endpoint, doing, source }
        };
        let path = options.runtime_dir.clone().unwrap_or_else(RuntimeDir::default_path);
        let membership = Node::join(&path).map_err(fail("joining the runtime folder"))?;
        let rings = Rings::new().map_err(|e| fail("making a ring")(std::io::Error::other(e)))?;
        let shared = Arc::new(Shared {
            id: random_u64(),
            service: service.to_owned(),
            owner_pid: std::process::id(),
            max_message_bytes: options.max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
            reconnect_timeout: options.reconnect_timeout,
            state: Mutex::new(State {
                peers: Peers::default(),
                rings,
                description: None,
                last_method: None,
                clock: Reckoned::new(),
                refusal: None,
                awaited: Vec::new(),
                has_left: false,
            }),
            greeted: Condvar::new(),
            given_up: AtomicBool::new(false),
            patience: Patience::default(),
            first_description: OnceLock::new(),
            lanes: Default::default(),
            node: Arc::clone(&membership),
        });
        let party: std::sync::Weak<dyn Party> = Arc::<Shared>::downgrade(&shared) as _;
        shared.node.add_party(party);
        shared.node.hub().add(Arc::<Shared>::downgrade(&shared) as _);
        // From here on dropping the client takes the entry back.
        let client = Self {
            shared: Arc::new(Open { shared, _membership: membership }),
            endpoint: endpoint.to_owned(),
            options: options.clone(),
            heir: Mutex::default(),
        };
        client.list_and_dial().map_err(fail("using the service directory"))?;
        client.await_greeting(endpoint, options.timeout)?;
        Ok(client)
    }

    /// Lists this connection and dials the workers that are listed then. One that comes later finds the connection listed.
    fn list_and_dial(&self) -> std::io::Result<()> {
        let shared = &self.shared;
        let workers = shared.node.join_as(Entry {
            role: Role::Client,
            service: shared.service.clone(),
            id: shared.id,
            node: shared.node.id().to_owned(),
            process: shared.node.process(),
            board: 0,
        })?;
        kill_point("connect.listed");
        for worker in workers {
            // One that is still starting dials us; one that is dead does not answer.
            if worker.board == 0 {
                shared.lock().awaited.push(Awaited::Starting(worker.process, worker.node.clone()));
            } else if let Some(link) = shared.dial(&worker.node) {
                let mut state = shared.lock();
                // What has become of it already, we may have been told before; if nothing has, we are told afterwards.
                if !link.is_closed() && !state.peers.is_stranger(&link) {
                    state.awaited.push(Awaited::Link(link.token()));
                }
            }
        }
        Ok(())
    }

    fn await_greeting(&self, endpoint: &str, timeout: Duration) -> Result<(), ConnectError> {
        let until = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if state.description.is_some() {
                return Ok(());
            }
            let directory = self.shared.node.directory();
            let may_come = state.awaited.iter().any(|awaited| awaited.may_come(directory));
            let left = until.checked_duration_since(Instant::now()).filter(|_| may_come);
            let Some(left) = left else {
                let endpoint = endpoint.to_owned();
                return Err(match state.refusal.take() {
                    Some(reason) => ConnectError::Refused { endpoint, reason },
                    None if may_come => ConnectError::TimedOut { endpoint, after: timeout },
                    None => ConnectError::NotFound { service: self.shared.service.clone(), endpoint },
                });
            };
            // Of the death of one that is starting nobody tells.
            let waited = self.shared.greeted.wait_timeout(state, left.min(STARTING_SLICE));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl ShmClient {
    /// Whoever serves the calls of a connection that has been given up; it is made when it is needed, which may take
    /// as long as connecting did.
    fn heir(&self) -> Result<Arc<Self>, RpcError> {
        self.shared.check_fork()?;
        let mut heir = self.heir.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(heir) = heir.as_ref().filter(|heir| !heir.shared.is_given_up()) {
            return Ok(Arc::clone(heir));
        }
        let service = &self.shared.service;
        let new = Self::connect(service, &self.endpoint, &self.options)
            .map_err(|error| RpcError::Unavailable { service: service.clone(), reason: error.to_string() })?;
        Ok(Arc::clone(heir.insert(Arc::new(new))))
    }
}

impl Shared {
    fn is_given_up(&self) -> bool {
        // Set under the lock, which orders what belongs to it.
        self.given_up.load(Ordering::Relaxed)
    }

    fn check_fork(&self) -> Result<(), RpcError> {
        if self.node.is_ours() {
            return Ok(());
        }
        Err(RpcError::Forked { owner: self.owner_pid, current: std::process::id() })
    }
}

impl Shared {
    fn check(&self, call: &Outbound<'_>) -> Result<(), RpcError> {
        self.check_fork()?;
        let len_bytes = call.payload.len() as u64;
        if len_bytes > self.max_message_bytes.min(u64::from(u32::MAX)) {
            let limit_bytes = self.max_message_bytes;
            return Err(RpcError::TooLarge { what: "arguments", len_bytes, limit_bytes });
        }
        Ok(())
    }
}

impl Transport for ShmClient {
    fn service(&self) -> Arc<ServiceDescription> {
        let first = self.shared.first_description.get().expect("set before connect returns");
        if !self.shared.node.is_ours() {
            return Arc::clone(first);
        }
        Arc::clone(self.shared.lock().description.as_ref().unwrap_or(first))
    }

    fn begin(&self, call: Outbound<'_>) -> Result<Pending, RpcError> {
        if self.shared.is_given_up() {
            return self.heir()?.begin(call);
        }
        self.shared.check(&call)?;
        Ok(Pending::shm(ShmCall::begin(&self.shared, &call)?))
    }

    fn call(&self, call: Outbound<'_>, body: &mut Vec<u8>) -> Result<Status, RpcError> {
        if self.shared.is_given_up() {
            return self.heir()?.call(call, body);
        }
        self.shared.check(&call)?;
        call::call(&self.shared, &call, body)
    }

    fn call_in_place(&self, call: InPlace<'_>) -> Result<(), RpcError> {
        if self.shared.is_given_up() {
            return self.heir()?.call_in_place(call);
        }
        self.shared.check(&call.call)?;
        call::call_in_place(&self.shared, call)
    }

    fn begin_stream(&self, call: Outbound<'_>) -> Result<ClientStream, RpcError> {
        if self.shared.is_given_up() {
            return self.heir()?.begin_stream(call);
        }
        self.shared.check_fork()?;
        self.start_stream(&call)
    }

    fn must_reconnect(&self) -> bool {
        !self.shared.lock().peers.any_stays()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.shared.node.is_ours() {
            self.shared.node.withdraw(self.shared.id);
            kill_point("leave.withdrawn");
            self.shared.leave();
        }
    }
}

impl Shared {
    fn publish_lanes(&self, rings: &Rings) {
        for (published, lane) in self.lanes.iter().zip(rings.lanes()) {
            let _known = published.set(Arc::clone(lane));
        }
    }

    /// What a call uses of its ring.
    fn lane(&self, key: Key) -> &Lane {
        self.lanes[usize::from(key.ring)].get().expect("set before the first call of the ring is known")
    }
}

/// How long it has lately paid to watch for an answer.
#[derive(Default)]
struct Patience {
    /// Moving average of recent waits for workers that were awake, in nanoseconds.
    mean_wait_ns: AtomicU64,
    refusals: AtomicU64,
    /// Answers that tasks have taken which were under way beside others.
    answers: AtomicU32,
}

impl Patience {
    /// While answers take no longer than this in the mean, it pays to watch for the next.
    const PAYING_WAIT_NS: u64 = 20_000;
    /// For how long: through most interruptions of a worker, as the worker does through a client's.
    const BUDGET: Duration = Duration::from_micros(60);
    /// While it does not seem to pay, every so many calls are watched for all the same.
    const TRIAL_EVERY: u64 = 16;

    fn budget(&self) -> Duration {
        if online_cpus() == 1 {
            return Duration::ZERO;
        }
        if self.mean_wait_ns.load(Ordering::Relaxed) < Self::PAYING_WAIT_NS {
            return Self::BUDGET;
        }
        // Two threads that count at the same time may lose one; nothing depends on it.
        let refusals = self.refusals.load(Ordering::Relaxed).wrapping_add(1);
        self.refusals.store(refusals, Ordering::Relaxed);
        if refusals.is_multiple_of(Self::TRIAL_EVERY) { Self::BUDGET } else { Duration::ZERO }
    }

    fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Of two threads that count at the same time one may be lost here, too.
    fn note_answer(&self) {
        self.answers.store(self.answers().wrapping_add(1), Ordering::Relaxed);
    }

    fn learn(&self, waited_ns: u64) {
        // Clamped, so that one long call does not keep the next hundred from being watched for.
        let sample = waited_ns.min(80_000);
        let mean = self.mean_wait_ns.load(Ordering::Relaxed);
        self.mean_wait_ns.store(mean - mean / 8 + sample / 8, Ordering::Relaxed);
    }
}
