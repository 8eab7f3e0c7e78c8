//! Where the callers of a process sleep. Its doorbell has two bells. At one a thread, the leader, sleeps for all
//! threads that wait; when it wakes it looks through every connection, wakes whoever has an answer, and hands the
//! lead on when its own is there. At the other the reactor sleeps for tasks, a thread that is started with the first:
//! it is there already when a task begins to wait, so nobody has to be woken for that.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError, TryLockError, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

use crate::shm::{
    doorbell::{Doorbell, monotonic_ns},
    kill_point::kill_point,
};

/// A connection whose calls may be waited for.
pub(crate) trait Waiting: Send + Sync {
    /// Says in shared memory, for each ring with calls in flight, that somebody sleeps at this bell.
    fn announce(&self, bell: Bell);
    /// Says that nobody sleeps there any more.
    fn retract(&self, bell: Bell);
    /// Wakes whoever has an answer or has waited for too long, and a worker for calls that no worker has taken;
    /// says how long the leader may sleep.
    fn look(&self, now_ns: u64) -> Look;
    /// When somebody has to look, at the latest, for calls that no worker has taken yet; `None` without such calls.
    fn rescue_at_ns(&self, now_ns: u64) -> Option<u64>;
    /// Unparks one thread that waits, to take the lead; whether there was one.
    fn wake_follower(&self) -> bool;
}

/// The bells of a process that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bell {
    /// The leader of the threads sleeps here.
    Threads,
    /// The reactor sleeps here.
    Tasks,
}

impl Bell {
    pub(crate) const ALL: [Self; 2] = [Self::Threads, Self::Tasks];

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// How a ring says that somebody sleeps here.
    pub(crate) fn bit(self) -> u32 {
        1 << self.number()
    }
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
/// Who sleeps already looks for such a call of somebody else by then.
pub(super) const RESCUE_TIME: Duration = Duration::from_millis(2);
/// A worker that has just been woken for a call has so long to take it. A kernel tick or more: a timer that is not
/// the next one to go off costs the sleeper nothing, an earlier one has to be told to the machine, twice.
pub(super) const WOKEN_TIME: Duration = Duration::from_millis(4);
/// A follower looks for itself so often, should the lead have been lost.
const FOLLOWER_SLICE: Duration = Duration::from_millis(20);

pub(crate) struct Hub {
    doorbell: Arc<Doorbell>,
    connections: Mutex<Vec<Weak<dyn Waiting>>>,
    lead: Mutex<()>,
    leader: Sleeper,
    /// Threads that sleep while another leads.
    followers: AtomicUsize,
    reactor: Sleeper,
    reactor_started: Once,
    /// Tasks that wait.
    tasks: AtomicUsize,
}

/// Who sleeps at a bell.
struct Sleeper {
    bell: Bell,
    /// When it will look again by itself; 0 while it is awake and has yet to look.
    wakes_at_ns: AtomicU64,
}

impl Sleeper {
    fn new(bell: Bell) -> Self {
        Self { bell, wakes_at_ns: AtomicU64::new(0) }
    }
}

impl Hub {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            doorbell,
            connections: Mutex::default(),
            lead: Mutex::default(),
            leader: Sleeper::new(Bell::Threads),
            followers: AtomicUsize::new(0),
            reactor: Sleeper::new(Bell::Tasks),
            reactor_started: Once::new(),
            tasks: AtomicUsize::new(0),
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
                self.announce(connection, &self.leader, u64::MAX);
                if !done() {
                    let left = Duration::from_nanos(until_ns.saturating_sub(monotonic_ns()));
                    std::thread::park_timeout(left.min(FOLLOWER_SLICE));
                }
            }
        }
        self.followers.fetch_sub(1, Ordering::SeqCst);
    }

    /// The short way for the caller of a single call, who has woken a worker and is the only thread in this process that
    /// waits: sleeps until somebody rings or the time is over, and says whether `answered` then. If not, or if
    /// others wait, the caller goes on to [`sleep`](Self::sleep).
    pub(crate) fn sleep_alone(
        &self,
        sleeping: &AtomicU32,
        until_ns: u64,
        answered: impl Fn() -> bool,
    ) -> bool {
        if self.threads_follow() {
            return false;
        }
        let Some(_lead) = self.try_lead() else { return false };
        let Sleeper { bell, wakes_at_ns } = &self.leader;
        // Who comes later and needs us earlier posts; see `wake_by`.
        wakes_at_ns.store(until_ns, Ordering::SeqCst);
        sleeping.fetch_or(bell.bit(), Ordering::Relaxed);
        // Pairs with the fence after a reply, as in `look`.
        fence(Ordering::SeqCst);
        kill_point("alone.announced");
        if !answered() {
            self.doorbell.wait_until(bell.number(), until_ns);
        }
        kill_point("alone.woken");
        wakes_at_ns.store(0, Ordering::SeqCst);
        retract(sleeping, *bell);
        answered()
    }

    fn threads_follow(&self) -> bool {
        self.followers.load(Ordering::SeqCst) > 0
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
        if self.threads_follow() && self.try_lead().is_some() {
            // The first that is found takes the lead.
            let _woken = self.connections().iter().any(|connection| connection.wake_follower());
        }
    }

    /// Makes a new waiter known to workers and to whoever may be asleep for it already. The caller looks for its
    /// answer once more afterwards.
    fn announce(&self, connection: &dyn Waiting, sleeper: &Sleeper, deadline_ns: u64) {
        connection.announce(sleeper.bell);
        // Pairs with the fence after a reply, as in `look`.
        fence(Ordering::SeqCst);
        let rescue_at_ns = connection.rescue_at_ns(monotonic_ns());
        self.wake_by(sleeper, deadline_ns.min(rescue_at_ns.unwrap_or(u64::MAX)));
    }

    /// Has the sleeper look again by then, if it sleeps for longer.
    fn wake_by(&self, sleeper: &Sleeper, ns: u64) {
        if sleeper.wakes_at_ns.load(Ordering::SeqCst) > ns {
            self.doorbell.post(sleeper.bell.number());
        }
    }

    /// Has all who sleep look again: something has happened of which no worker tells.
    pub(crate) fn wake(&self) {
        self.wake_by(&self.leader, 0);
        self.wake_by(&self.reactor, 0);
    }

    /// Looks through all connections, and announces a sleep before if there is somebody to sleep for.
    fn look(&self, sleeper: &Sleeper, announce: bool) -> (u64, Look) {
        // Posts for answers that have been seen already.
        self.doorbell.take_all(sleeper.bell.number());
        // From here on a new waiter posts, since we may not see it in the look that follows.
        sleeper.wakes_at_ns.store(u64::MAX, Ordering::SeqCst);
        let connections = self.connections();
        if announce {
            connections.iter().for_each(|connection| connection.announce(sleeper.bell));
        }
        kill_point("wait.announced");
        // Pairs with the fence after a reply: either the worker sees that we sleep, or we see its reply.
        fence(Ordering::SeqCst);
        let now_ns = monotonic_ns();
        let mut all = Look { next_deadline_ns: u64::MAX, unclaimed: false };
        for connection in &connections {
            let look = connection.look(now_ns);
            all.next_deadline_ns = all.next_deadline_ns.min(look.next_deadline_ns);
            all.unclaimed |= look.unclaimed;
        }
        (now_ns, all)
    }

    fn lead(&self, until_ns: u64, mut done: impl FnMut() -> bool) {
        let Sleeper { bell, wakes_at_ns } = &self.leader;
        let mut rescue = FIRST_RESCUE;
        loop {
            let (now_ns, look) = self.look(&self.leader, true);
            if done() || now_ns >= until_ns {
                break;
            }
            let wake_ns = until_ns.min(wake_ns(now_ns, look, SLICE, &mut rescue));
            wakes_at_ns.store(wake_ns, Ordering::SeqCst);
            kill_point("wait.looked");
            self.doorbell.wait_until(bell.number(), wake_ns);
            kill_point("wait.woken");
        }
        wakes_at_ns.store(0, Ordering::SeqCst);
        for connection in self.connections() {
            connection.retract(*bell);
        }
        kill_point("wait.retracted");
    }

    /// Counts a task that begins to wait; see [`announce_task`](Self::announce_task).
    pub(crate) fn task_waits(self: &Arc<Self>) -> TaskWaits {
        self.reactor_started.call_once(|| {
            let hub = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("shmrpc-reactor".into()).spawn(move || react(&hub));
            thread.expect("a thread can be started");
        });
        self.tasks.fetch_add(1, Ordering::SeqCst);
        TaskWaits { hub: Arc::clone(self) }
    }

    /// Makes a waiting task known to workers and to the reactor. The caller looks for its answer once more afterwards.
    pub(crate) fn announce_task(&self, connection: &dyn Waiting, deadline_ns: u64) {
        self.announce(connection, &self.reactor, deadline_ns);
    }
}

/// Until when one may sleep after a look: for a slice at most, and less as long as calls are unclaimed.
fn wake_ns(now_ns: u64, look: Look, slice: Duration, rescue: &mut Duration) -> u64 {
    let slice = if look.unclaimed { *rescue } else { slice };
    *rescue = if look.unclaimed { (*rescue * 2).min(SLICE) } else { FIRST_RESCUE };
    look.next_deadline_ns.min(now_ns + slice.as_nanos() as u64)
}

/// Takes back that somebody sleeps at a bell.
pub(crate) fn retract(sleeping: &AtomicU32, bell: Bell) {
    if sleeping.load(Ordering::Relaxed) & bell.bit() != 0 {
        sleeping.fetch_and(!bell.bit(), Ordering::Relaxed);
    }
}

/// The reactor: sleeps, and wakes tasks, for as long as there is a hub.
fn react(hub: &Weak<Hub>) {
    let mut rescue = FIRST_RESCUE;
    let mut rung = false;
    while let Some(hub) = hub.upgrade() {
        let (now_ns, look) = hub.look(&hub.reactor, hub.tasks.load(Ordering::SeqCst) > 0);
        // While calls follow one another it would have to be woken to look in time for each that has woken a worker.
        let slice = if rung { WOKEN_TIME } else { SLICE };
        let wake_ns = wake_ns(now_ns, look, slice, &mut rescue);
        hub.reactor.wakes_at_ns.store(wake_ns, Ordering::SeqCst);
        kill_point("wait.looked");
        let doorbell = Arc::clone(&hub.doorbell);
        // Not kept while we sleep: who drops the last need not wait for us.
        drop(hub);
        rung = doorbell.wait_until(Bell::Tasks.number(), wake_ns);
        kill_point("wait.woken");
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
