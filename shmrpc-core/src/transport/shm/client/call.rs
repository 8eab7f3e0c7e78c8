//! One call under way: published, waited for by spinning while that pays and by sleeping at the hub
//! otherwise, taken, or abandoned.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Open, Shared,
    peers::method_name,
    ring::{Key, Waiter, read_reply},
    rings::NewCall,
};
use crate::{
    client::{PendingCall, Reply},
    error::{RpcError, Status},
    method::Shape,
    shm::{channel::Channel, doorbell::monotonic_ns},
    transport::{
        Outbound,
        inproc::{not_unary, unknown},
        shm::{
            hub::{Look, TaskWaits, Waiting},
            node::Party,
        },
    },
};

pub(super) struct ShmCall {
    /// Keeps the connection until the call is over, even if its owner has let go of it.
    shared: Arc<Open>,
    channel: Arc<Channel>,
    key: Key,
    /// The call's number on the ring when it was published; a retry gets another.
    index: u32,
    method: u64,
    begun: Instant,
    after: Duration,
    deadline_ns: u64,
    /// Whether a sleeping worker had to be woken: spinning would only be in its way.
    woke: bool,
    done: bool,
    task: Option<TaskWaits>,
}

impl ShmCall {
    pub(super) fn begin(shared: &Arc<Open>, call: &Outbound<'_>) -> Result<Self, RpcError> {
        let begun = Instant::now();
        let deadline_ns = monotonic_ns().saturating_add(call.deadline.as_nanos() as u64);
        let new = NewCall {
            method: call.method.id.0,
            door: call.door as u8,
            idempotent: call.method.idempotent,
            deadline_ns,
            payload: call.payload,
        };
        let mut state = shared.lock();
        let state = &mut *state;
        match state.methods.get(&call.method.id) {
            Some(Shape::Unary) => {}
            Some(shape) => return Err(not_unary(&shared.service, call.method, *shape)),
            // Nobody lives who could tell: the next worker decides.
            None if state.methods.is_empty() => {}
            None => return Err(unknown(&shared.service, call.method)),
        }
        let (key, index, woke) = state.rings.publish(&new, &state.peers)?;
        Ok(Self {
            shared: Arc::clone(shared),
            channel: Arc::clone(&state.rings.ring(key).channel),
            key,
            index,
            method: call.method.id.0,
            begun,
            after: call.deadline,
            deadline_ns,
            woke,
            done: false,
            task: None,
        })
    }

    /// The outcome, if it is there. A reply in an arena that we have not mapped yet has been announced
    /// already: the announcement is in the worker's socket.
    fn take(&mut self) -> Option<Result<Reply, RpcError>> {
        if let Some(header) = self.channel.reply(self.key.slot, self.index)
            && header.place.arena == 0
        {
            let reply = read_reply(&self.channel, self.key.slot, header, None)?;
            self.shared.lock().rings.finish(self.key);
            return Some(self.outcome(reply));
        }
        for attempt in 0..100 {
            let shared = Arc::clone(&self.shared);
            let mut state = shared.lock();
            if let Some(outcome) = state.rings.take_outcome(self.key) {
                drop(state);
                return Some(self.outcome(outcome));
            }
            let header = state.rings.answer(self.key)?;
            self.index = state.rings.call(self.key)?.index;
            let worker = self
                .channel
                .claimer(self.key.slot, self.index)
                .and_then(|who| state.peers.claimer(who).cloned());
            drop(state);
            if let Some(reply) = read_reply(&self.channel, self.key.slot, header, worker.as_deref()) {
                self.shared.lock().rings.finish(self.key);
                return Some(self.outcome(reply));
            }
            match worker {
                Some(worker) => {
                    worker.link.pump(|arrival| shared.arrived(&worker.link, arrival));
                }
                // It died a moment ago; the watcher is about to decide the call.
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            if attempt > 3 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.shared.lock().rings.finish(self.key);
        Some(self.outcome(Err(RpcError::Protocol("a reply in an arena that was never announced".into()))))
    }

    fn outcome(&mut self, outcome: Result<Reply, RpcError>) -> Result<Reply, RpcError> {
        self.done = true;
        self.task = None;
        let reply = outcome?;
        match reply.status {
            Status::Ok | Status::ServiceError => Ok(reply),
            status => {
                let (service, method) = self.names();
                Err(RpcError::from_reply(status, &reply.body, &service, &method, self.after))
            }
        }
    }

    fn names(&self) -> (String, String) {
        let state = self.shared.lock();
        (self.shared.service.clone(), method_name(state.description.as_deref(), self.method))
    }

    /// Gives the call up: its slot says so, and is free when the worker is done with it.
    fn abandon(&mut self) {
        self.done = true;
        self.task = None;
        self.shared.lock().rings.abandon(self.key);
    }

    fn overdue(&mut self) -> RpcError {
        let (service, method) = self.names();
        self.abandon();
        RpcError::DeadlineExceeded { service, method, after: self.after }
    }

    fn spin(&mut self) -> Option<Result<Reply, RpcError>> {
        if self.woke {
            return None;
        }
        let budget = self.shared.spin_budget();
        if budget.is_zero() {
            return None;
        }
        loop {
            for _ in 0..64 {
                if self.channel.reply(self.key.slot, self.index).is_some() {
                    return self.take();
                }
                std::hint::spin_loop();
            }
            if self.begun.elapsed() > budget {
                return None;
            }
        }
    }
}

impl PendingCall for ShmCall {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        self.shared.check_fork()?;
        if let Some(outcome) = self.spin() {
            self.shared.learn_wait(self.begun.elapsed());
            return outcome;
        }
        let outcome = self.sleep();
        self.shared.node.hub().pass_on();
        outcome
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        if let Err(forked) = self.shared.check_fork() {
            return Poll::Ready(Err(forked));
        }
        if let Some(outcome) = self.take() {
            return Poll::Ready(outcome);
        }
        if monotonic_ns() >= self.deadline_ns {
            return Poll::Ready(Err(self.overdue()));
        }
        self.note(|| Waiter::Task(cx.waker().clone()));
        if self.task.is_none() {
            let hub = self.shared.node.hub();
            hub.ensure_reactor();
            self.task = Some(hub.task_waits());
        }
        self.shared.node.hub().announce(&***self.shared, self.deadline_ns);
        // It may have come between the first look and the note of whom to wake.
        match self.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl ShmCall {
    /// Notes whom to wake; whether the call is still under way.
    fn note(&mut self, waiter: impl FnOnce() -> Waiter) -> bool {
        // Made before and dropped after the lock is held: a waker may run anything.
        let mut waiter = waiter();
        let mut state = self.shared.lock();
        let Some(call) = state.rings.call(self.key) else { return false };
        self.index = call.index;
        std::mem::swap(&mut call.waiter, &mut waiter);
        drop(state);
        true
    }

    /// Waits for the answer asleep.
    fn sleep(&mut self) -> Result<Reply, RpcError> {
        loop {
            if let Some(outcome) = self.take() {
                self.shared.learn_wait(self.begun.elapsed());
                return outcome;
            }
            if monotonic_ns() >= self.deadline_ns {
                return Err(self.overdue());
            }
            if self.note(|| Waiter::Thread(std::thread::current())) {
                let (shared, key) = (&**self.shared, self.key);
                shared.node.hub().sleep(&**shared, self.deadline_ns, || shared.lock().rings.is_decided(key));
            }
        }
    }
}

impl Drop for ShmCall {
    fn drop(&mut self) {
        if !self.done && self.shared.node.is_ours() {
            self.abandon();
        }
    }
}

impl Waiting for Shared {
    fn announce(&self, sleeping: bool) {
        self.lock().rings.announce(sleeping);
    }

    fn look(&self, now_ns: u64) -> Look {
        let mut guard = self.lock();
        let state = &mut *guard;
        let patience_ns = self.reconnect_timeout.as_nanos() as u64;
        let alone_until_ns = state.peers.alone_since_ns().map(|since| since.saturating_add(patience_ns));
        let unavailable = alone_until_ns.filter(|&until| until <= now_ns).map(|_| RpcError::Unavailable {
            service: self.service.clone(),
            reason: format!("no worker for {:?}", self.reconnect_timeout),
        });
        let next_deadline_ns = state.rings.look(now_ns, unavailable.as_ref());
        let unclaimed = if state.rings.unclaimed() { state.rings.rescue(&state.peers) } else { false };
        let next_deadline_ns = match alone_until_ns {
            Some(until) if unavailable.is_none() => next_deadline_ns.min(until),
            _ => next_deadline_ns,
        };
        let due = state.rings.take_due();
        drop(guard);
        due.into_iter().for_each(Waiter::wake);
        Look { next_deadline_ns, unclaimed }
    }

    fn has_unclaimed(&self) -> bool {
        self.lock().rings.unclaimed()
    }

    fn wake_follower(&self) -> bool {
        let follower = self.lock().rings.follower();
        follower.inspect(std::thread::Thread::unpark).is_some()
    }
}
