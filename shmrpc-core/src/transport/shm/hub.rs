//! Where the callers of a process sleep. All of them share one doorbell: one thread, the leader, sleeps
//! on it for all; when it wakes it looks through every connection, wakes whoever has an answer, and hands
//! the lead on when its own is there. Tasks have a thread that leads for them, started with the first.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::Thread,
    time::Duration,
};

use crate::shm::{
    doorbell::{Doorbell, ONLY_BELL, monotonic_ns},
    kill_point::kill_point,
};

/// A connection whose calls may be waited for.
pub(crate) trait Waiting: Send + Sync {
    /// Says in shared memory, for each ring with calls in flight, whether this process sleeps.
    fn announce(&self, sleeping: bool);
    /// Wakes whoever has an answer or has waited for too long, and a worker for calls that no worker has taken;
    /// says how long the leader may sleep.
    fn look(&self, now_ns: u64) -> Look;
    /// Whether calls wait that no worker has taken yet.
    fn has_unclaimed(&self) -> bool;
    /// Unparks one thread that waits, to take the lead; whether there was one.
    fn wake_follower(&self) -> bool;
}

/// What a look found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The earliest deadline of a call that is waited for by a task.
    pub(crate) next_deadline_ns: u64,
    /// Whether calls wait that no worker has taken yet.
    pub(crate) unclaimed: bool,
}

/// A wake-up that was lost with a dying process costs at most this.
const SLICE: Duration = Duration::from_millis(500);
/// How soon a call that nobody has taken is offered to another sleeping worker; doubles up to `SLICE`.
const FIRST_RESCUE: Duration = Duration::from_millis(1);
/// A worker that has just been woken for a call has so long to take it. A kernel tick or more: a timer that is not
/// the next one to go off costs the sleeper nothing, an earlier one has to be told to the machine, twice.
pub(super) const WOKEN_TIME: Duration = Duration::from_millis(4);
/// A follower looks for itself so often, should the lead have been lost.
const FOLLOWER_SLICE: Duration = Duration::from_millis(20);

pub(crate) struct Hub {
    doorbell: Arc<Doorbell>,
    connections: Mutex<Vec<Weak<dyn Waiting>>>,
    lead: Mutex<()>,
    reactor: Mutex<Option<Thread>>,
    tasks: AtomicUsize,
    /// Threads that sleep while another leads.
    followers: AtomicUsize,
    /// When the leader will look again by itself; 0 while it is awake and has yet to look.
    wakes_at_ns: AtomicU64,
}

impl Hub {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            doorbell,
            connections: Mutex::default(),
            lead: Mutex::default(),
            reactor: Mutex::default(),
            tasks: AtomicUsize::new(0),
            followers: AtomicUsize::new(0),
            wakes_at_ns: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, connection: Weak<dyn Waiting>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(connection);
    }

    fn connections(&self) -> Vec<Arc<dyn Waiting>> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// Blocks this thread for a while, until `done` may have become true. The caller has made itself
    /// known as a waiter of `connection` before, and looks again afterwards.
    pub(crate) fn sleep(&self, connection: &dyn Waiting, until_ns: u64, mut done: impl FnMut() -> bool) {
        if let Some(_lead) = self.try_lead() {
            return self.lead(until_ns, done);
        }
        self.followers.fetch_add(1, Ordering::SeqCst);
        // Again, now that we are counted: either we find the lead free, or who gives it up finds us.
        match self.try_lead() {
            Some(_lead) => self.lead(until_ns, done),
            None => {
                self.announce(connection, u64::MAX);
                if !done() {
                    let left = Duration::from_nanos(until_ns.saturating_sub(monotonic_ns()));
                    std::thread::park_timeout(left.min(FOLLOWER_SLICE));
                }
            }
        }
        self.followers.fetch_sub(1, Ordering::SeqCst);
    }

    /// The short way for the caller of a single call, who has woken a worker and is the only one in this process that
    /// waits: sleeps until somebody rings or the time is over, and says whether `answered` then. If not, or if
    /// others wait, the caller goes on to [`sleep`](Self::sleep).
    pub(crate) fn sleep_alone(
        &self,
        sleeping: &AtomicU32,
        until_ns: u64,
        answered: impl Fn() -> bool,
    ) -> bool {
        if self.others_wait() {
            return false;
        }
        let Some(_lead) = self.try_lead() else { return false };
        // Who comes later and needs us earlier posts; see `wake_by`.
        self.wakes_at_ns.store(until_ns, Ordering::SeqCst);
        sleeping.store(1, Ordering::Relaxed);
        // Pairs with the fence after a reply, as in `lead`.
        fence(Ordering::SeqCst);
        kill_point("alone.announced");
        if !answered() {
            self.doorbell.wait_until(ONLY_BELL, until_ns);
        }
        kill_point("alone.woken");
        self.wakes_at_ns.store(0, Ordering::SeqCst);
        sleeping.store(0, Ordering::Relaxed);
        answered()
    }

    fn others_wait(&self) -> bool {
        self.followers.load(Ordering::SeqCst) > 0 || self.tasks.load(Ordering::SeqCst) > 0
    }

    fn try_lead(&self) -> Option<MutexGuard<'_, ()>> {
        match self.lead.try_lock() {
            Ok(lead) => Some(lead),
            Err(TryLockError::Poisoned(lead)) => Some(lead.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// To be called by a thread that has slept here and will not do so again for now: it may have led, or have
    /// been woken to take the lead just when its own answer came.
    pub(crate) fn pass_on(&self) {
        if self.others_wait() && self.try_lead().is_some() {
            self.hand_over();
        }
    }

    /// Makes a new waiter known to workers and to a leader that may be asleep already. The caller looks for
    /// its answer once more afterwards.
    pub(crate) fn announce(&self, connection: &dyn Waiting, deadline_ns: u64) {
        connection.announce(true);
        // Pairs with the fence after a reply, as in `lead`.
        fence(Ordering::SeqCst);
        self.wake_by(deadline_ns);
        if connection.has_unclaimed() {
            self.wake_by(monotonic_ns() + 2 * FIRST_RESCUE.as_nanos() as u64);
        }
    }

    /// Has the leader look again by then, if it sleeps for longer.
    pub(crate) fn wake_by(&self, ns: u64) {
        if self.wakes_at_ns.load(Ordering::SeqCst) > ns {
            self.doorbell.post(ONLY_BELL);
        }
    }

    fn lead(&self, until_ns: u64, mut done: impl FnMut() -> bool) {
        let mut rescue = FIRST_RESCUE;
        loop {
            // Posts for answers that have been seen already.
            self.doorbell.take_all(ONLY_BELL);
            // From here on a new waiter posts, since we may not see it in the look that follows.
            self.wakes_at_ns.store(u64::MAX, Ordering::SeqCst);
            let connections = self.connections();
            for connection in &connections {
                connection.announce(true);
            }
            kill_point("wait.announced");
            // Pairs with the fence after a reply: either the worker sees that we sleep, or we see its reply.
            fence(Ordering::SeqCst);
            let now_ns = monotonic_ns();
            let mut wake_ns = until_ns;
            let mut unclaimed = false;
            for connection in &connections {
                let look = connection.look(now_ns);
                wake_ns = wake_ns.min(look.next_deadline_ns);
                unclaimed |= look.unclaimed;
            }
            if done() || now_ns >= until_ns {
                break;
            }
            let slice = if unclaimed { rescue } else { SLICE };
            rescue = if unclaimed { (rescue * 2).min(SLICE) } else { FIRST_RESCUE };
            let wake_ns = wake_ns.min(now_ns + slice.as_nanos() as u64);
            self.wakes_at_ns.store(wake_ns, Ordering::SeqCst);
            kill_point("wait.looked");
            self.doorbell.wait_until(ONLY_BELL, wake_ns);
            kill_point("wait.woken");
        }
        self.wakes_at_ns.store(0, Ordering::SeqCst);
        for connection in self.connections() {
            connection.announce(false);
        }
        kill_point("wait.retracted");
    }

    fn hand_over(&self) {
        if self.tasks.load(Ordering::Relaxed) > 0 {
            self.wake_reactor();
            return;
        }
        for connection in self.connections() {
            if connection.wake_follower() {
                return;
            }
        }
    }

    /// Counts a task that waits; the reactor leads for it from now on.
    pub(crate) fn task_waits(self: &Arc<Self>) -> TaskWaits {
        if self.tasks.fetch_add(1, Ordering::SeqCst) == 0 {
            self.wake_reactor();
        }
        TaskWaits { hub: Arc::clone(self) }
    }

    fn wake_reactor(&self) {
        if let Some(reactor) = &*self.reactor.lock().unwrap_or_else(PoisonError::into_inner) {
            reactor.unpark();
        }
    }

    /// Starts the thread that leads for tasks, once.
    pub(crate) fn ensure_reactor(self: &Arc<Self>) {
        let mut reactor = self.reactor.lock().unwrap_or_else(PoisonError::into_inner);
        if reactor.is_some() {
            return;
        }
        let hub = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("shmrpc-reactor".into()).spawn(move || react(&hub));
        *reactor = Some(thread.expect("a thread can be started").thread().clone());
    }
}

fn react(hub: &Weak<Hub>) {
    while let Some(hub) = hub.upgrade() {
        if hub.tasks.load(Ordering::Relaxed) > 0 {
            let lead = hub.lead.lock().unwrap_or_else(PoisonError::into_inner);
            let until_ns = monotonic_ns() + SLICE.as_nanos() as u64;
            hub.lead(until_ns, || hub.tasks.load(Ordering::Relaxed) == 0);
            drop(lead);
            if hub.tasks.load(Ordering::SeqCst) == 0 {
                // Threads may have followed; one of them leads from now on.
                hub.pass_on();
            }
        } else {
            drop(hub);
            std::thread::park_timeout(SLICE);
        }
    }
}

/// One task that waits.
pub(crate) struct TaskWaits {
    hub: Arc<Hub>,
}

impl Drop for TaskWaits {
    fn drop(&mut self) {
        self.hub.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}
