//! A connection's rings taken together: where a call is published, who is woken for it, and what becomes of
//! it when its worker dies or nobody waits for it any more. The first ring has few slots; when all are taken a larger one is added, up to 4096 slots, and the
//! smaller ones stay for what they hold.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    thread::Thread,
};

use super::{
    peers::{Peers, Worker},
    ring::{Call, Key, Ring, Waiter, read_reply},
};
use crate::{
    client::Reply,
    error::RpcError,
    shm::{
        arena::{Arenas, Extent, NoExtent, release},
        board::{Board, fence_after_publish},
        channel::{CALL_INLINE_BYTES, CallHeader, Claimer, MAX_SLOTS, Place, ReplyHeader},
        doorbell::Doorbell,
        region::RegionError,
    },
    transport::shm::message::Message,
};

const FIRST_SLOTS: usize = 16;
/// Memory for arguments of one connection.
const ARENA_CAP_BYTES: usize = 4 << 30;

pub(super) struct Rings {
    rings: Vec<Ring>,
    arenas: Arenas,
    targets: Vec<Target>,
    next_serial: u64,
    /// Calls that nobody waits for any more but whose slots a worker may still write.
    abandoned: VecDeque<Key>,
    wake_from: u8,
    /// To be woken as soon as the lock is released.
    due: Vec<Waiter>,
}

/// Whom to wake: a board and the doorbells of its workers that we know.
struct Target {
    board: Arc<Board>,
    doorbells: Vec<(u8, Arc<Doorbell>)>,
}

/// What a new call needs.
pub(super) struct NewCall<'a> {
    pub(super) method: u64,
    pub(super) door: u8,
    pub(super) idempotent: bool,
    pub(super) deadline_ns: u64,
    pub(super) payload: &'a [u8],
}

impl Rings {
    pub(super) fn new() -> Result<Self, RegionError> {
        Ok(Self {
            rings: vec![Ring::new(FIRST_SLOTS)?],
            arenas: Arenas::new(ARENA_CAP_BYTES),
            targets: Vec::new(),
            next_serial: 0,
            abandoned: VecDeque::new(),
            wake_from: 0,
            due: Vec::new(),
        })
    }

    pub(super) fn ring(&self, key: Key) -> &Ring {
        &self.rings[key.ring]
    }

    /// Gives a worker everything that it needs to serve this connection.
    pub(super) fn hand_to(&mut self, worker: &Worker) -> Result<(), String> {
        for (id, region) in self.arenas.regions() {
            worker.link.send(&Message::Arena { id }, &[region.fd()]);
        }
        self.rings.iter_mut().try_for_each(|ring| ring.hand_to(worker))
    }

    /// Recomputes whom to wake after workers have come or gone.
    pub(super) fn aim(&mut self, peers: &Peers) {
        self.targets.clear();
        for worker in peers.workers() {
            let doorbell = (worker.index, Arc::clone(&worker.doorbell));
            match self.targets.iter_mut().find(|target| target.board.id() == worker.board.id()) {
                Some(target) => target.doorbells.push(doorbell),
                None => {
                    self.targets.push(Target { board: Arc::clone(&worker.board), doorbells: vec![doorbell] })
                }
            }
        }
        for ring in &mut self.rings {
            ring.bindings.retain(|binding| {
                let alive = self.targets.iter().any(|target| target.board.id() == binding.board.id());
                if !alive {
                    binding.board.leave_channel(binding.number, ring.nonce);
                }
                alive
            });
        }
    }

    /// Publishes a call and makes sure that somebody looks; says where it is, its number, and whether a
    /// sleeping worker had to be woken.
    pub(super) fn publish(
        &mut self,
        call: &NewCall<'_>,
        peers: &Peers,
    ) -> Result<(Key, u32, bool), RpcError> {
        self.reap(peers);
        let ring_number = self.ring_with_room(peers)?;
        let (place, extent) = self.place(call.payload, peers)?;
        self.next_serial += 1;
        let ring = &mut self.rings[ring_number];
        let slot = ring.free.pop().expect("the ring was chosen for its room");
        if extent.is_none() {
            ring.channel.region().copy_in(ring.channel.call_inline(slot), call.payload);
        }
        let serial = self.next_serial;
        let header = CallHeader {
            call_id: serial,
            method: call.method,
            deadline_ns: call.deadline_ns,
            place,
            door: call.door,
        };
        ring.channel.write_call(slot, &header);
        let index = ring.publish(slot);
        ring.in_flight += 1;
        ring.calls[usize::from(slot)] = Some(Call {
            index,
            serial,
            method: call.method,
            idempotent: call.idempotent,
            retried: false,
            abandoned: false,
            extent,
            deadline_ns: call.deadline_ns,
            waiter: Waiter::Nobody,
            outcome: None,
        });
        fence_after_publish();
        let attended = ring.channel.attended().load(Ordering::Relaxed) != 0;
        let woke = if attended && ring.in_flight == 1 {
            // A worker is looking at this very ring.
            false
        } else {
            ring.set_ready() && !attended && self.wake_one()
        };
        Ok((Key { ring: ring_number, slot, serial }, index, woke))
    }

    /// A number that no other call of this connection has.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn ring_with_room(&mut self, peers: &Peers) -> Result<usize, RpcError> {
        let last = self.rings.len() - 1;
        if !self.rings[last].free.is_empty() {
            return Ok(last);
        }
        let slots = self.rings[last].calls.len() * 4;
        if slots <= MAX_SLOTS {
            let mut ring = Ring::new(slots).map_err(|e| RpcError::NoSpace(e.to_string()))?;
            if let Err(reason) = peers.workers().iter().try_for_each(|worker| ring.hand_to(worker)) {
                ring.leave();
                return Err(RpcError::Busy(reason));
            }
            self.rings.push(ring);
            return Ok(last + 1);
        }
        // The largest ring is full: the smaller ones may have room again.
        let room = self.rings.iter().rposition(|ring| !ring.free.is_empty());
        room.ok_or_else(|| RpcError::Busy("5000 calls are under way on this connection".into()))
    }

    /// Puts an argument where workers can read it.
    fn place(&mut self, payload: &[u8], peers: &Peers) -> Result<(Place, Option<Extent>), RpcError> {
        let len_bytes = payload.len() as u32;
        if payload.len() <= CALL_INLINE_BYTES {
            return Ok((Place { arena: 0, len_bytes, offset: 0 }, None));
        }
        let allocated = self.arenas.allocate(payload.len()).map_err(no_space)?;
        let extent = allocated.extent;
        allocated.region.copy_in(extent.offset as usize, payload);
        for worker in peers.workers() {
            for &id in &allocated.dropped {
                worker.link.send(&Message::DropArena { id }, &[]);
            }
            if allocated.is_new {
                worker.link.send(&Message::Arena { id: extent.arena }, &[allocated.region.fd()]);
            }
        }
        Ok((Place { arena: extent.arena, len_bytes, offset: extent.offset }, Some(extent)))
    }

    fn wake_one(&mut self) -> bool {
        for target in &self.targets {
            let known = |index: u8| target.doorbells.iter().any(|(at, _)| *at == index);
            if let Some(index) = target.board.take_sleeper(self.wake_from, known) {
                self.wake_from = index.wrapping_add(1);
                if let Some((_, doorbell)) = target.doorbells.iter().find(|(at, _)| *at == index) {
                    doorbell.post();
                }
                return true;
            }
        }
        false
    }

    /// Offers calls that nobody has claimed to one more sleeping worker; whether there are any.
    pub(super) fn rescue(&mut self, peers: &Peers) -> bool {
        let mut unclaimed = false;
        for ring in self.rings.iter().filter(|ring| ring.unclaimed()) {
            unclaimed = true;
            ring.set_ready();
        }
        if unclaimed && !peers.workers().is_empty() {
            self.wake_one();
        }
        unclaimed
    }

    /// Whether there is nothing left to wait for: an answer, an outcome, or no such call.
    pub(super) fn is_decided(&mut self, key: Key) -> bool {
        match self.call(key) {
            Some(call) if call.outcome.is_none() => self.answer(key).is_some(),
            _ => true,
        }
    }

    /// The call with that key, unless it has been answered and taken.
    pub(super) fn call(&mut self, key: Key) -> Option<&mut Call> {
        self.rings[key.ring].calls[usize::from(key.slot)].as_mut().filter(|call| call.serial == key.serial)
    }

    /// An outcome that was decided without an answer in the slot.
    pub(super) fn take_outcome(&mut self, key: Key) -> Option<Result<Reply, RpcError>> {
        let outcome = self.call(key)?.outcome.take()?;
        self.finish(key);
        Some(outcome)
    }

    /// The header of a call's answer, if it is there.
    pub(super) fn answer(&mut self, key: Key) -> Option<ReplyHeader> {
        let index = self.call(key)?.index;
        self.rings[key.ring].channel.reply(key.slot, index)
    }

    /// Frees a call's slot and arguments. Only after its answer, or the death of its claimer.
    pub(super) fn finish(&mut self, key: Key) {
        let ring = &mut self.rings[key.ring];
        if let Some(call) = ring.calls[usize::from(key.slot)].take() {
            ring.free.push(key.slot);
            ring.in_flight -= 1;
            if let Some(extent) = call.extent {
                self.arenas.free(extent);
            }
        }
    }

    /// Nobody waits for the call any more. Its slot is free when its answer comes.
    pub(super) fn abandon(&mut self, key: Key) {
        let Some(call) = self.call(key) else { return };
        call.abandoned = true;
        call.waiter = Waiter::Nobody;
        let decided = call.outcome.is_some();
        if decided {
            self.finish(key);
        } else {
            self.rings[key.ring].channel.cancel(key.slot);
            self.abandoned.push_back(key);
        }
    }

    fn reap(&mut self, peers: &Peers) {
        for _ in 0..self.abandoned.len().min(4) {
            let Some(key) = self.abandoned.pop_front() else { return };
            if self.call(key).is_none() {
                continue;
            }
            match self.answer(key) {
                Some(reply) if self.discard(key, reply, peers) => self.finish(key),
                _ => self.abandoned.push_back(key),
            }
        }
    }

    /// Tells the worker that an answer which nobody reads may go from its arena; `false` while the arena's
    /// announcement is still on its way.
    fn discard(&mut self, key: Key, reply: ReplyHeader, peers: &Peers) -> bool {
        if reply.place.arena == 0 {
            return true;
        }
        let Some(index) = self.call(key).map(|call| call.index) else { return true };
        let claimer = self.rings[key.ring].channel.claimer(key.slot, index);
        let Some(worker) = claimer.and_then(|who| peers.claimer(who)) else { return true };
        let Some(region) = worker.arena(reply.place.arena) else { return false };
        release(&region, reply.place.offset);
        true
    }

    /// Decides the calls that a dead worker had claimed.
    pub(super) fn recover(&mut self, dead: &Worker, lost: impl Fn(u64) -> RpcError) {
        for ring in &mut self.rings {
            let attended = ring.channel.attended();
            let by = attended.load(Ordering::Acquire);
            if by & 0xffff == u64::from(dead.index) + 1 {
                let _ = attended.compare_exchange(by, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
            for slot in 0..ring.calls.len() as u16 {
                let Some(call) = &mut ring.calls[usize::from(slot)] else { continue };
                let index = call.index;
                if call.outcome.is_some() || !ring.channel.claimed_by(slot, index, dead.claimer) {
                    continue;
                }
                if let Some(reply) = ring.channel.reply(slot, index) {
                    // Answered before it died; what lies in its arena must be taken while we have it.
                    if reply.place.arena != 0 {
                        let read = read_reply(&ring.channel, slot, reply, Some(dead));
                        let outcome = read.unwrap_or_else(|| Err(lost(call.method)));
                        call.decide(outcome, &mut self.due);
                    }
                    continue;
                }
                if call.idempotent && !call.retried && !call.abandoned {
                    call.retried = true;
                    let index = ring.next;
                    ring.next = index.wrapping_add(1);
                    call.index = index;
                    ring.channel.publish(index, slot);
                } else {
                    let error = lost(call.method);
                    call.decide(Err(error), &mut self.due);
                }
            }
        }
        self.forget_decided();
    }

    /// Fails every call that no worker has claimed. The connection claims them itself: a call that was just
    /// forgotten would leave its number on the ring, and the slot's next use under it.
    fn give_up_unclaimed(&mut self, error: &RpcError) {
        for ring in &mut self.rings {
            for _ in 0..ring.in_flight {
                let Some(claimed) = ring.channel.try_claim(Claimer::CLIENT) else { break };
                let call = ring.calls[usize::from(claimed.slot)].as_mut();
                if let Some(call) = call.filter(|call| call.index == claimed.index) {
                    call.decide(Err(error.clone()), &mut self.due);
                }
            }
        }
        self.forget_decided();
    }

    /// Frees the slots of abandoned calls that have been decided.
    fn forget_decided(&mut self) {
        let gone: Vec<Key> = self.abandoned.drain(..).collect();
        for key in gone {
            match self.call(key) {
                Some(call) if call.outcome.is_some() => self.finish(key),
                Some(_) => self.abandoned.push_back(key),
                None => {}
            }
        }
    }

    /// Notes whoever has an answer as due; fails calls that nobody claims when there is no worker for too long.
    pub(super) fn look(&mut self, now_ns: u64, unavailable: Option<&RpcError>) -> u64 {
        if let Some(error) = unavailable {
            self.give_up_unclaimed(error);
        }
        let mut next_deadline_ns = u64::MAX;
        for ring in &mut self.rings {
            if ring.in_flight == 0 {
                continue;
            }
            for (slot, call) in ring.calls.iter_mut().enumerate() {
                let Some(call) = call else { continue };
                if matches!(call.waiter, Waiter::Nobody) {
                    continue;
                }
                let slot = slot as u16;
                let decided = call.outcome.is_some() || ring.channel.reply(slot, call.index).is_some();
                if decided || call.deadline_ns <= now_ns {
                    call.wake(&mut self.due);
                } else if matches!(call.waiter, Waiter::Task(_)) {
                    next_deadline_ns = next_deadline_ns.min(call.deadline_ns);
                }
            }
        }
        next_deadline_ns
    }

    pub(super) fn unclaimed(&self) -> bool {
        self.rings.iter().any(Ring::unclaimed)
    }

    pub(super) fn announce(&self, sleeping: bool) {
        for ring in self.rings.iter().filter(|ring| ring.in_flight > 0 || !sleeping) {
            let word = ring.channel.sleeping();
            if word.load(Ordering::Relaxed) != u32::from(sleeping) {
                word.store(u32::from(sleeping), Ordering::Relaxed);
            }
        }
    }

    /// One thread that waits.
    pub(super) fn follower(&self) -> Option<Thread> {
        self.rings.iter().flat_map(|ring| &ring.calls).flatten().find_map(|call| match &call.waiter {
            Waiter::Thread(thread) => Some(thread.clone()),
            _ => None,
        })
    }

    /// Whom to wake now, to be done without the lock.
    pub(super) fn take_due(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.due)
    }

    /// Gives the channel numbers back.
    pub(super) fn leave(&mut self) {
        self.rings.iter_mut().for_each(Ring::leave);
        self.targets.clear();
    }
}

fn no_space(error: NoExtent) -> RpcError {
    RpcError::NoSpace(match error {
        NoExtent::Cap { wanted_bytes, cap_bytes } => {
            format!("{wanted_bytes} bytes for arguments exceed the connection's cap of {cap_bytes}")
        }
        NoExtent::Region(error) => error.to_string(),
    })
}
