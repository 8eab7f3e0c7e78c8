//! One call under way: published, waited for by spinning while that pays and by sleeping at the hub
//! otherwise, taken, or abandoned.

mod later;

use std::{sync::Arc, time::Duration};

pub(crate) use self::later::ShmCall;
use super::{
    Shared,
    peers::{damaged, method_name},
    place::{Answer, ArgumentRoom, InReply},
    ring::{Call, Key, Waiter},
    rings::{AHEAD, NewCall, Payload, Peer},
};
use crate::{
    error::{RpcError, Status},
    method::Shape,
    server::{Draft, Drafted, Lent, Loan, ShmBytes},
    shm::{
        channel::CALL_INLINE_BYTES,
        doorbell::{current_cpu, monotonic_ns},
        kill_point::kill_point,
        ticks::{Reckoned, Ticks},
    },
    transport::{
        InPlace, Outbound,
        inproc::{not_unary, unknown},
        shm::{
            hub::{Bell, Look, WOKEN_TIME, Waiting},
            node::Party,
        },
    },
};

/// A call that has been published and not yet taken or given up. Whoever holds it does one of the two.
struct Flight {
    key: Key,
    /// The call's number on the ring when it was published; a retry gets another.
    index: u32,
    method: u64,
    after: Duration,
    deadline_ns: u64,
    peer: Peer,
    alone: bool,
    in_arena: bool,
    done: bool,
}

impl Flight {
    fn begin(shared: &Shared, call: &Outbound<'_>) -> Result<Self, RpcError> {
        Self::begin_with(shared, call, Payload::Bytes(call.payload))
    }

    fn begin_with(shared: &Shared, call: &Outbound<'_>, payload: Payload<'_>) -> Result<Self, RpcError> {
        let now = Ticks::now();
        let mut state = shared.lock();
        let state = &mut *state;
        // Late by the error of the reckoning rather than early.
        let now_ns = state.clock.at(now) + Reckoned::ERROR_NS;
        let deadline_ns = now_ns.saturating_add(call.deadline.as_nanos() as u64);
        let new = NewCall {
            method: call.method.id.0,
            door: call.door as u8,
            idempotent: call.method.idempotent,
            now_ns,
            deadline_ns,
            payload,
        };
        if state.last_method != Some(call.method.id) {
            if shared.is_given_up() {
                return Err(damaged("by the time of this call"));
            }
            match state.peers.shape_of(call.method.id) {
                Some(Shape::Unary) => state.last_method = Some(call.method.id),
                Some(shape) => return Err(not_unary(&shared.service, call.method, shape)),
                // Nobody lives who could tell: the next worker decides.
                None if state.peers.workers().is_empty() => {}
                None => return Err(unknown(&shared.service, call.method)),
            }
        }
        let published = state.rings.publish(&new, &state.peers)?;
        if shared.lanes[usize::from(published.key.ring)].get().is_none() {
            shared.publish_lanes(&state.rings);
        }
        Ok(Self {
            key: published.key,
            index: published.index,
            method: call.method.id.0,
            after: call.deadline,
            deadline_ns,
            peer: published.peer,
            alone: published.alone,
            in_arena: published.in_arena,
            done: false,
        })
    }

    /// The outcome, if it is there; the answer is appended to `body`.
    fn take(&mut self, shared: &Arc<Shared>, body: &mut Vec<u8>) -> Option<Result<Status, RpcError>> {
        let lane = shared.lane(self.key);
        // The common case by itself: a small answer to a call that was never run again.
        if let Some(Ok(header)) = lane.channel.reply(self.key.slot, self.index)
            && header.place.arena == 0
        {
            kill_point("take.found");
            if !self.alone {
                lane.channel.expect_to_read(self.index.wrapping_add(AHEAD));
            }
            let status = InReply::find(lane, self.key.slot, header, None)?.map(|reply| {
                reply.copy_out(0, reply.len_bytes(), body);
                reply.status
            });
            self.finish(shared);
            return Some(self.outcome(shared, status, body));
        }
        let outcome = self.find(shared)?.map(|answer| match answer {
            Answer::Decided(reply) => {
                *body = reply.body;
                reply.status
            }
            Answer::Lies(reply) => {
                reply.copy_out(0, reply.len_bytes(), body);
                reply.status
            }
        });
        self.finish(shared);
        Some(self.outcome(shared, outcome, body))
    }

    /// Where the answer is, if there is one. A reply in an arena that we have not mapped yet has been announced
    /// already: the announcement is in the worker's socket. The slot is not given back yet.
    fn find<'s>(&mut self, shared: &'s Arc<Shared>) -> Option<Result<Answer<'s>, RpcError>> {
        let lane = shared.lane(self.key);
        for attempt in 0..100 {
            let mut state = shared.lock();
            if let Some(outcome) = state.rings.call(self.key).and_then(Call::take_outcome) {
                return Some(outcome.map(Answer::Decided));
            }
            let Ok(header) = state.rings.answer(self.key)? else {
                drop(state);
                return Some(Err(shared.give_up("the words about a reply were changed")));
            };
            self.index = state.rings.call(self.key)?.index;
            let worker = state.peers.claimer(header.claimer).cloned();
            drop(state);
            if let Some(reply) = InReply::find(lane, self.key.slot, header, worker.as_deref()) {
                return Some(reply.map(Answer::Lies));
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
        Some(Err(RpcError::Protocol("a reply in an arena that was never announced".into())))
    }

    /// Gives the slot back after an answer.
    fn finish(&mut self, shared: &Shared) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        kill_point("take.copied");
        if self.in_arena {
            shared.lock().rings.finish(self.key);
        } else {
            shared.lane(self.key).finish(self.key.slot);
        }
        kill_point("take.freed");
    }

    fn outcome(
        &self,
        shared: &Shared,
        outcome: Result<Status, RpcError>,
        body: &[u8],
    ) -> Result<Status, RpcError> {
        match outcome? {
            status @ (Status::Ok | Status::ServiceError) => Ok(status),
            status => {
                let (service, method) = self.names(shared);
                Err(RpcError::from_reply(status, body, &service, &method, self.after))
            }
        }
    }

    fn names(&self, shared: &Shared) -> (String, String) {
        let state = shared.lock();
        (shared.service.clone(), method_name(state.description.as_deref(), self.method))
    }

    /// Gives the call up: its slot says so, and is free when the worker is done with it.
    fn abandon(&mut self, shared: &Shared) {
        if !self.done && shared.node.is_ours() {
            self.done = true;
            shared.lock().rings.abandon(self.key);
        }
    }

    fn overdue(&mut self, shared: &Shared) -> RpcError {
        let (service, method) = self.names(shared);
        self.abandon(shared);
        RpcError::DeadlineExceeded { service, method, after: self.after }
    }

    /// How long to watch for the answer before sleeping.
    fn patience(&self, shared: &Shared) -> Duration {
        match self.peer {
            Peer::Woken => Duration::ZERO,
            Peer::OnCpu(cpu) if cpu == current_cpu() & 0xffff => Duration::ZERO,
            Peer::OnCpu(_) | Peer::Unknown => shared.patience.budget(),
        }
    }

    fn is_answered(&self, shared: &Shared) -> bool {
        shared.lane(self.key).channel.is_answered(self.key.slot, self.index)
    }

    /// Watches for the answer; whether it came.
    fn watch(&self, shared: &Shared) -> bool {
        if self.is_answered(shared) {
            return true;
        }
        let patience = self.patience(shared);
        if patience.is_zero() {
            return false;
        }
        self.watch_until(shared, Ticks::now().plus(patience))
    }

    fn watch_until(&self, shared: &Shared, until: Ticks) -> bool {
        let lane = shared.lane(self.key);
        let began = Ticks::now();
        let mut now = began;
        let mut looks = 0_u32;
        loop {
            // Several looks to one at the clock, which takes longer than they do.
            for _ in 0..4 {
                lane.channel.expect_rest_of_reply(self.key.slot);
                if lane.channel.is_answered(self.key.slot, self.index) {
                    shared.patience.learn(now.ns_since(began));
                    return true;
                }
            }
            if now.reached(until) {
                return false;
            }
            now = Ticks::now();
            looks += 1;
            // Close together at first; a long watch leaves more to a sibling on the same core.
            if looks > 64 {
                std::hint::spin_loop();
            }
        }
    }

    fn wait(&mut self, shared: &Arc<Shared>, body: &mut Vec<u8>) -> Result<Status, RpcError> {
        self.wait_for(shared, |flight| flight.take(shared, body))
    }

    /// Waits until `take` has something.
    fn wait_for<T>(
        &mut self,
        shared: &Arc<Shared>,
        mut take: impl FnMut(&mut Self) -> Option<Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        shared.check_fork()?;
        if self.watch(shared)
            && let Some(outcome) = take(self)
        {
            return outcome;
        }
        let began = Ticks::now();
        if self.peer == Peer::Woken
            && self.sleep_alone(shared)
            && let Some(outcome) = take(self)
        {
            shared.node.hub().pass_on();
            return outcome;
        }
        let outcome = self.sleep(shared, take);
        if self.peer != Peer::Woken {
            shared.patience.learn(Ticks::now().ns_since(began));
        }
        shared.node.hub().pass_on();
        outcome
    }

    /// Sleeps until the answer is there, if that is all that this process waits for; whether it is.
    fn sleep_alone(&self, shared: &Shared) -> bool {
        let sleeping = shared.lane(self.key).channel.sleeping();
        let until_ns = self.deadline_ns.min(monotonic_ns() + WOKEN_TIME.as_nanos() as u64);
        shared.node.hub().sleep_alone(sleeping, until_ns, || self.is_answered(shared))
    }

    /// Waits for the answer asleep.
    fn sleep<T>(
        &mut self,
        shared: &Arc<Shared>,
        mut take: impl FnMut(&mut Self) -> Option<Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        loop {
            if let Some(outcome) = take(self) {
                return outcome;
            }
            if monotonic_ns() >= self.deadline_ns {
                return Err(self.overdue(shared));
            }
            if self.note(shared, || Waiter::Thread(std::thread::current())) {
                let key = self.key;
                shared.node.hub().sleep(&**shared, self.deadline_ns, || shared.lock().rings.is_decided(key));
            }
        }
    }

    /// Notes whom to wake; whether the call is still under way.
    fn note(&mut self, shared: &Shared, waiter: impl FnOnce() -> Waiter) -> bool {
        // Made before and dropped after the lock is held: a waker may run anything.
        let waiter = waiter();
        let mut state = shared.lock();
        let Some(call) = state.rings.call(self.key) else { return false };
        self.index = call.index;
        let before = call.set_waiter(waiter);
        drop(state);
        drop(before);
        true
    }
}

/// A call whose caller stays until it is over.
struct Attended<'a> {
    shared: &'a Arc<Shared>,
    flight: Flight,
    /// Its answer has been found: what is left is to give the slot back, even if the caller's code panics.
    answered: bool,
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        if self.answered {
            self.flight.finish(self.shared);
        } else {
            self.flight.abandon(self.shared);
        }
    }
}

/// Calls and waits; the reply is appended to `body`.
pub(super) fn call(
    shared: &Arc<Shared>,
    call: &Outbound<'_>,
    body: &mut Vec<u8>,
) -> Result<Status, RpcError> {
    let mut attended = Attended { shared, flight: Flight::begin(shared, call)?, answered: false };
    attended.flight.wait(shared, body)
}

/// Calls in place and waits.
pub(super) fn call_in_place(shared: &Arc<Shared>, call: InPlace<'_>) -> Result<(), RpcError> {
    let mut room = ArgumentRoom { shared, small: [0; CALL_INLINE_BYTES], lent: None };
    let mut draft = Draft::new(Some(&mut room));
    let written = (call.write)(Loan::new(&mut draft));
    let drafted = draft.finish();
    written.map_err(|error| RpcError::NoSpace(error.to_string()))?;
    let flight = match &drafted {
        Drafted::Room(len_bytes) => {
            let payload = match &room.lent {
                Some((extent, _)) => Payload::Placed { extent: *extent, len_bytes: *len_bytes },
                None => Payload::Bytes(&room.small[..*len_bytes]),
            };
            let flight = Flight::begin_with(shared, &call.call, payload)?;
            // The call's from now on.
            room.lent = None;
            flight
        }
        Drafted::Buffer(bytes) => Flight::begin_with(shared, &call.call, Payload::Bytes(bytes))?,
    };
    let mut attended = Attended { shared, flight, answered: false };
    let answer = attended.flight.wait_for(shared, |flight| {
        let found = flight.find(shared)?;
        if found.is_err() {
            flight.finish(shared);
        }
        Some(found)
    })?;
    attended.answered = true;
    let copy;
    let (status, reply) = match &answer {
        Answer::Decided(reply) => (reply.status, ShmBytes::copied(&reply.body)),
        Answer::Lies(reply) => (reply.status, ShmBytes::lent(reply)),
    };
    if !matches!(status, Status::Ok | Status::ServiceError) {
        copy = reply.to_vec();
        return attended.flight.outcome(shared, Ok(status), &copy).map(|_| ());
    }
    (call.read)(status, reply);
    Ok(())
}

impl Waiting for Shared {
    fn announce(&self, bell: Bell) {
        self.lock().rings.announce(bell);
    }

    fn retract(&self, bell: Bell) {
        self.lock().rings.retract(bell);
    }

    fn look(&self, now_ns: u64) -> Look {
        let mut guard = self.lock();
        let state = &mut *guard;
        let patience_ns = state.peers.patience(self.reconnect_timeout).as_nanos() as u64;
        let alone_until_ns = state.peers.alone_since_ns().map(|since| since.saturating_add(patience_ns));
        let unavailable = alone_until_ns.filter(|&until| until <= now_ns).map(|_| RpcError::Unavailable {
            service: self.service.clone(),
            reason: state.peers.absence(self.reconnect_timeout),
        });
        let next_deadline_ns = state.rings.look(now_ns, unavailable.as_ref());
        let unclaimed =
            if state.rings.unclaimed() { state.rings.rescue(&state.peers, now_ns) } else { false };
        let next_deadline_ns = match alone_until_ns {
            Some(until) if unavailable.is_none() => next_deadline_ns.min(until),
            _ => next_deadline_ns,
        };
        let due = state.rings.take_due();
        drop(guard);
        due.into_iter().for_each(Waiter::wake);
        Look { next_deadline_ns, unclaimed }
    }

    fn rescue_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.lock().rings.rescue_at_ns(now_ns)
    }

    fn wake_follower(&self) -> bool {
        let follower = self.lock().rings.follower();
        follower.inspect(std::thread::Thread::unpark).is_some()
    }
}
