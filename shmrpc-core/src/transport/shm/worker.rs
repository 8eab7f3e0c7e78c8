//! The worker's end of shared memory: a board shared with its colleagues, a seat at every client's ring,
//! and threads that claim calls and run them.
//!
//! `join` finds the board, `clients` keeps the links, `pool` is what the threads do, `serve` runs a claimed call,
//! `reply` puts answers where the client reads them, `streams` runs calls that stream items.

mod activity;
mod bells;
mod clients;
mod here;
mod join;
mod look;
mod pool;
mod reply;
mod serve;
mod streams;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use self::{
    activity::Activity,
    bells::Bells,
    clients::{Client, Orphan, Seats},
    here::Pace,
};
use super::{
    directory::{Entry, Role},
    message::{Message, Welcome},
    node::{Membership, Node, Party},
};
use crate::{
    error::ServeError,
    method::ServiceDescription,
    server::Service,
    shm::{board::Board, channel::Claimer, counters::Counters, kill_point::kill_point},
    transport::Local,
};

/// How long a worker that leaves waits for its clients to take notice, and to take what was sent to them. One
/// that is stopped does neither.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a worker is to run.
pub(crate) struct WorkerOptions {
    pub(crate) runtime_dir: PathBuf,
    /// The service's name with its prefix, and its port.
    pub(crate) service: String,
    pub(crate) port: u16,
    /// Threads that run `fn` handlers.
    pub(crate) threads: usize,
    /// Read ends of our output, for a supervisor that asks.
    pub(crate) output: Option<(OwnedFd, OwnedFd)>,
}

/// A worker that serves until it is drained or dropped.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    membership: Mutex<Option<Membership>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the watcher, the pool and replies share.
struct Shared {
    me: Weak<Shared>,
    node: Arc<Node>,
    service: Arc<dyn Service>,
    description: ServiceDescription,
    methods: HashMap<u64, usize>,
    board: Arc<Board>,
    index: u8,
    nonce: u64,
    claimer: Claimer,
    /// Where the pool sleeps. Not the node's, at which this process waits for its own calls: a post would be
    /// taken by whoever sleeps there, and the one that it was for would sleep on.
    bells: Bells,
    counters: Counters,
    /// Calls answered at the time of the last look.
    looked_calls: AtomicU64,
    pace: Pace,
    /// Of the pool.
    threads: usize,
    clients: Mutex<Vec<Arc<Client>>>,
    seats: RwLock<Arc<Seats>>,
    /// Changes with `seats`, so that threads notice without a lock.
    seats_version: AtomicU64,
    draining: AtomicBool,
    activity: Activity,
    /// Channel numbers that clients have left behind.
    orphans: Mutex<Vec<Orphan>>,
    /// Channel numbers that the board says are taken, by nobody that we know.
    strangers: Mutex<HashMap<u16, u64>>,
    supervisor_seen: Mutex<Instant>,
    output: Option<(OwnedFd, OwnedFd)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Starts serving: joins the runtime folder, finds or makes the board, starts the threads, becomes
    /// visible, and dials every client and observer that was there before.
    pub(crate) fn start(service: Arc<dyn Service>, options: WorkerOptions) -> Result<Self, ServeError> {
        let fail = |doing: &'static str| move |source| ServeError::Io { doing: doing.into(), source };
        let other = |doing: &'static str| {
            move |source: crate::shm::region::RegionError| {
                ServeError::io(doing, std::io::Error::other(source))
            }
        };
        let membership = Node::join(&options.runtime_dir).map_err(fail("joining the runtime folder"))?;
        let mut description = ServiceDescription::from(service.info());
        description.name.clone_from(&options.service);
        description.port = options.port;
        let seat = join::take_place(&membership, &description)?;
        let threads = options.threads.max(1);
        let counters =
            Counters::create(description.methods.len(), threads).map_err(other("making counters"))?;
        let bells = Bells::create(seat.index, threads).map_err(other("making a doorbell"))?;
        let methods = description.methods.iter().enumerate().map(|(n, m)| (m.id.0, n)).collect();
        let shared = Arc::new_cyclic(|me| Shared {
            me: Weak::clone(me),
            node: Arc::clone(&membership),
            service,
            methods,
            board: seat.board,
            index: seat.index,
            nonce: seat.nonce,
            claimer: Claimer::new(seat.index, seat.nonce),
            bells,
            counters,
            looked_calls: AtomicU64::new(0),
            pace: Pace::new(description.methods.len()),
            threads,
            clients: Mutex::default(),
            seats: RwLock::default(),
            seats_version: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            activity: Activity::new(threads),
            orphans: Mutex::default(),
            strangers: Mutex::default(),
            supervisor_seen: Mutex::new(Instant::now()),
            output: options.output,
            description,
        });
        let party: Weak<dyn Party> = Arc::<Shared>::downgrade(&shared) as _;
        shared.node.add_party(party);
        let threads = (0..threads)
            .map(|number| {
                let shared = Arc::clone(&shared);
                let name = format!("shmrpc-pool-{number}");
                std::thread::Builder::new().name(name).spawn(move || pool::run(&shared, number))
            })
            .collect::<Result<_, _>>()
            .map_err(fail("starting threads"))?;
        let worker = Self { shared, membership: Mutex::new(Some(membership)), threads: Mutex::new(threads) };
        worker.shared.become_visible().map_err(fail("using the service directory"))?;
        Ok(worker)
    }

    /// For a gateway in this process.
    pub(crate) fn local(&self) -> Arc<dyn Local> {
        Arc::clone(&self.shared) as _
    }

    /// How long no supervisor has been linked; zero while one is.
    pub(crate) fn without_supervisor_for(&self) -> Duration {
        if lock(&self.shared.clients).iter().any(|client| client.is_supervisor()) {
            *lock(&self.shared.supervisor_seen) = Instant::now();
        }
        lock(&self.shared.supervisor_seen).elapsed()
    }

    /// Looks at how its threads are occupied and what waits for them; whether there was anything to see.
    pub(crate) fn look(&self) -> bool {
        self.shared.look()
    }

    /// Says that this process runs; whoever has its counters mapped can see it.
    pub(crate) fn beat(&self) {
        self.shared.counters.beat();
    }

    /// Takes no more calls, finishes those that run, and leaves; after `at_most` it leaves anyway. Calls
    /// that nobody has claimed are left to the other workers. Says how many calls were cut off.
    pub(crate) fn drain(&self, at_most: Duration) -> usize {
        let shared = &self.shared;
        if shared.draining.swap(true, Ordering::SeqCst) {
            return 0;
        }
        shared.activity.close();
        kill_point("drain.closed");
        shared.node.withdraw(shared.nonce);
        kill_point("drain.withdrawn");
        shared.bells.wake_all(shared.threads);
        let until = Instant::now() + at_most;
        let parted_until = Instant::now() + FAREWELL.min(at_most);
        shared.say_goodbye();
        kill_point("drain.goodbye_said");
        let parts = || Instant::now() < parted_until && !shared.has_parted();
        // What ends the wait is what counts: a thread that is just waking shows for a moment, to see that all is closed.
        let cut_off = loop {
            let running = shared.activity.running();
            if running == 0 && !parts() || Instant::now() >= until {
                break running;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        // Before the links end: at their end clients use the slots of what was cut off for other calls.
        shared.activity.leave();
        kill_point("drain.rings_left");
        shared.leave();
        kill_point("drain.links_closed");
        if cut_off == 0 {
            for thread in lock(&self.threads).drain(..) {
                let _ = thread.join();
            }
        }
        lock(&self.membership).take();
        cut_off
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.shared.node.is_ours() {
            self.drain(Duration::ZERO);
        }
    }
}

impl Shared {
    /// Lists this worker as ready; whoever was listed before is dialled, whoever comes later dials us.
    fn become_visible(self: &Arc<Self>) -> std::io::Result<()> {
        self.node.publish(Entry {
            role: Role::Worker,
            service: self.description.name.clone(),
            id: self.nonce,
            node: self.node.id().to_owned(),
            process: self.node.process(),
            board: self.board.id(),
        })?;
        kill_point("join.visible");
        for entry in self.node.directory().entries()? {
            let ours = entry.role == Role::Observer
                || (entry.role == Role::Client && entry.service == self.description.name);
            if ours {
                self.invite(&entry);
            }
        }
        Ok(())
    }

    fn invite(self: &Arc<Self>, entry: &Entry) {
        let party: Weak<dyn Party> = Arc::<Self>::downgrade(self) as _;
        if let Ok(link) = self.node.dial(&entry.node, party) {
            link.send(
                &Message::Invite {
                    version: super::message::LAYOUT_VERSION,
                    service: self.description.name.clone(),
                    id: entry.id,
                    worker: self.nonce,
                },
                &[],
            );
            kill_point("join.invited");
        }
    }

    fn welcome(&self) -> Message {
        Message::Welcome(Box::new(Welcome {
            version: super::message::LAYOUT_VERSION,
            board: self.board.id(),
            index: self.index,
            nonce: self.nonce,
            claimer: self.claimer.bits(),
            node: self.node.id().to_owned(),
            process: self.node.process(),
            description: self.description.clone(),
        }))
    }

    /// Gives up the place on the board and ends every link: clients then know that this worker will
    /// answer nothing more.
    fn leave(&self) {
        self.board.leave_worker(self.index, self.nonce);
        for client in lock(&self.clients).drain(..) {
            client.link.close();
        }
    }

    /// Tells clients to begin no more streams here; each answers when it has begun its last.
    fn say_goodbye(&self) {
        for client in lock(&self.clients).iter().filter(|client| !client.has_parted()) {
            client.link.send(&Message::Goodbye, &[]);
        }
    }

    /// Whether all clients have answered, and have been sent the last of what their streams said.
    fn has_parted(&self) -> bool {
        lock(&self.clients).iter().all(|client| client.has_parted() && client.link.is_flushed())
    }
}
