//! A connection's rings taken together: where a call is published, who is woken for it, and what becomes of
//! it when its worker dies or nobody waits for it any more. The first ring has two slots; when one is full the next larger
//! one is used, up to 4096 slots, and a smaller one again when few calls are under way.

mod recovery;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    thread::Thread,
};

use super::{
    peers::{Peers, Worker},
    ring::{Call, Key, Lane, Ring, Waiter},
};
use crate::{
    error::RpcError,
    shm::{
        arena::{Arenas, Extent, NoExtent, release},
        board::{Board, fence_after_publish},
        channel::{CALL_INLINE_BYTES, CallHeader, Damaged, MAX_SLOTS, Place, ReplyHeader},
        doorbell::Doorbell,
        kill_point::kill_point,
        region::{Region, RegionError},
    },
    transport::shm::{
        hub::{Bell, retract},
        message::Message,
    },
};

/// The slots of the rings of a connection: the first fits a page, and each is made when those before are full.
const SLOTS: [usize; RINGS] = [2, 16, 128, 1024, MAX_SLOTS];
/// Most rings of a connection.
pub(super) const RINGS: usize = 5;
/// Calls after which a ring that turned out too large is left for a smaller one.
const REVIEW: u32 = 256;
/// How far ahead the lines of calls are asked for while several are under way.
pub(super) const AHEAD: u32 = 4;
/// Memory for arguments of one connection.
const ARENA_CAP_BYTES: usize = 4 << 30;

pub(super) struct Rings {
    rings: Vec<Ring>,
    /// Where calls are published now; the most that were under way there since the last review; and when the next
    /// is.
    current: usize,
    peak: usize,
    review_in: u32,
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
    pub(super) now_ns: u64,
    pub(super) deadline_ns: u64,
    pub(super) payload: Payload<'a>,
}

/// Arguments: to be copied, or in an arena of ours already.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Bytes(&'a [u8]),
    Placed { extent: Extent, len_bytes: usize },
}

/// A call that has been published.
pub(super) struct Published {
    pub(super) key: Key,
    pub(super) index: u32,
    pub(super) peer: Peer,
    /// No other call was under way on its ring.
    pub(super) alone: bool,
    pub(super) in_arena: bool,
}

/// What is known of who will serve a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It had to be woken: watching for its answer would only be in its way.
    Woken,
    /// It watches the ring, on that processor.
    OnCpu(u32),
    /// Somebody is awake, or nobody is there.
    Unknown,
}

impl Peer {
    fn from_mark(attended: u64) -> Self {
        if attended == 0 { Self::Unknown } else { Self::OnCpu((attended >> 16) as u32 & 0xffff) }
    }
}

impl Rings {
    pub(super) fn new() -> Result<Self, RegionError> {
        Ok(Self {
            rings: vec![Ring::new(SLOTS[0])?],
            current: 0,
            peak: 0,
            review_in: REVIEW,
            arenas: Arenas::new(ARENA_CAP_BYTES),
            targets: Vec::new(),
            next_serial: 0,
            abandoned: VecDeque::new(),
            wake_from: 0,
            due: Vec::new(),
        })
    }

    /// What callers use of each ring.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.rings.iter().map(|ring| &ring.lane)
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
            // It may be the one that has gone.
            ring.forget_woken();
            ring.bindings.retain(|binding| {
                let alive = self.targets.iter().any(|target| target.board.id() == binding.board.id());
                if !alive {
                    binding.board.leave_channel(binding.number, ring.nonce);
                }
                alive
            });
        }
    }

    /// Publishes a call and makes sure that somebody looks.
    pub(super) fn publish(&mut self, call: &NewCall<'_>, peers: &Peers) -> Result<Published, RpcError> {
        if !self.abandoned.is_empty() {
            self.reap(peers);
        }
        let number = self.ring_with_room(peers)?;
        let (place, extent) = match call.payload {
            Payload::Placed { extent, len_bytes } => (extent.place(len_bytes), Some(extent)),
            Payload::Bytes(bytes) if bytes.len() <= CALL_INLINE_BYTES => {
                (Place { arena: 0, len_bytes: bytes.len() as u32, offset: 0 }, None)
            }
            Payload::Bytes(bytes) => {
                let (extent, region) = self.allocate(bytes.len(), peers)?;
                region.copy_in(extent.offset as usize, bytes);
                kill_point("arena.copied");
                (extent.place(bytes.len()), Some(extent))
            }
        };
        let serial = self.next_serial();
        let ring = &mut self.rings[number];
        let alone = ring.in_flight() == 0;
        let slot = ring.take_slot(serial);
        kill_point("publish.slot_taken");
        let channel = &ring.lane.channel;
        if let (None, Payload::Bytes(bytes)) = (extent, call.payload) {
            channel.put_call(slot, bytes);
        }
        let header = CallHeader {
            call_id: serial,
            method: call.method,
            deadline_ns: call.deadline_ns,
            place,
            door: call.door,
            cancelled: false,
        };
        kill_point("publish.copied");
        channel.write_call(slot, ring.next, &header);
        let index = ring.publish(slot);
        if !alone {
            ring.lane.channel.expect_to_write(index.wrapping_add(AHEAD));
        }
        fence_after_publish();
        let attended = ring.lane.channel.attended().load(Ordering::Relaxed);
        ring.note(
            slot,
            Call {
                index,
                serial,
                method: call.method,
                deadline_ns: call.deadline_ns,
                extent,
                idempotent: call.idempotent,
                ..Call::default()
            },
        );
        // If this is the only call, whoever attends is looking at this very ring.
        let told = (attended == 0 || !alone) && ring.set_ready();
        kill_point("publish.told");
        let woke = told && attended == 0 && self.wake_one();
        if woke {
            self.rings[number].note_woken(index, call.now_ns);
        }
        let peer = if woke { Peer::Woken } else { Peer::from_mark(attended) };
        let key = Key { ring: number as u8, slot, serial };
        Ok(Published { key, index, peer, alone, in_arena: extent.is_some() })
    }

    /// A number that no other call of this connection has.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn ring_with_room(&mut self, peers: &Peers) -> Result<usize, RpcError> {
        self.review_in -= 1;
        if self.review_in == 0 {
            self.review();
        }
        let ring = &self.rings[self.current];
        self.peak = self.peak.max(ring.in_flight());
        if ring.has_room() {
            return Ok(self.current);
        }
        if let Some(larger) = (self.current + 1..self.rings.len()).find(|&n| self.rings[n].has_room()) {
            self.current = larger;
            return Ok(larger);
        }
        if let Some(&slots) = SLOTS.get(self.rings.len()) {
            let mut ring = Ring::new(slots).map_err(|e| RpcError::NoSpace(e.to_string()))?;
            kill_point("ring.made");
            if let Err(reason) = peers.workers().iter().try_for_each(|worker| ring.hand_to(worker)) {
                ring.leave();
                return Err(RpcError::Busy(reason));
            }
            self.rings.push(ring);
            self.current = self.rings.len() - 1;
            return Ok(self.current);
        }
        // The largest ring is full: the smaller ones may have room again.
        let room = self.rings.iter().rposition(Ring::has_room);
        room.ok_or_else(|| RpcError::Busy("all 5261 slots of this connection are taken".into()))
    }

    /// Back to the smallest ring that would have done lately: the fewer slots, the warmer they are.
    fn review(&mut self) {
        let fits = |ring: &Ring| ring.slots() > 2 * self.peak;
        let smaller = self.rings[..self.current].iter().position(|ring| fits(ring) && ring.has_room());
        self.current = smaller.unwrap_or(self.current);
        self.peak = 0;
        self.review_in = REVIEW;
    }

    /// Finds room for an argument where workers can read it; they are told of a new arena first.
    pub(super) fn allocate(
        &mut self,
        len_bytes: usize,
        peers: &Peers,
    ) -> Result<(Extent, Arc<Region>), RpcError> {
        let allocated = self.arenas.allocate(len_bytes).map_err(no_space)?;
        kill_point("arena.allocated");
        for worker in peers.workers() {
            for &id in &allocated.dropped {
                worker.link.send(&Message::DropArena { id }, &[]);
            }
            if allocated.is_new {
                worker.link.send(&Message::Arena { id: allocated.extent.arena }, &[allocated.region.fd()]);
            }
        }
        kill_point("arena.announced");
        Ok((allocated.extent, allocated.region))
    }

    /// Takes room back that no call has used.
    pub(super) fn give_back(&mut self, extent: Extent) {
        self.arenas.free(extent);
    }

    fn wake_one(&mut self) -> bool {
        for target in &self.targets {
            let known = |index: u8| target.doorbells.iter().any(|(at, _)| *at == index);
            if let Some((index, bell)) = target.board.take_sleeper(self.wake_from, known) {
                kill_point("wake.taken");
                // The next one too, if it sleeps again by then: its caches are warm, and it runs where we do.
                self.wake_from = index;
                if let Some((_, doorbell)) = target.doorbells.iter().find(|(at, _)| *at == index) {
                    doorbell.post(bell);
                }
                kill_point("wake.posted");
                return true;
            }
        }
        false
    }

    /// Offers calls that nobody has claimed to one more sleeping worker; whether there are any. A call by itself
    /// that has just woken one is left to that.
    pub(super) fn rescue(&mut self, peers: &Peers, now_ns: u64) -> bool {
        let mut unclaimed = false;
        let mut left = false;
        for ring in self.rings.iter_mut().filter(|ring| ring.unclaimed()) {
            unclaimed = true;
            if ring.has_woken_for_all(now_ns) {
                continue;
            }
            left = true;
            if ring.mend() {
                // Who has no room for it serves nobody any more.
                let _ = peers.workers().iter().try_for_each(|worker| ring.hand_to(worker));
            }
            ring.set_ready();
            kill_point("rescue.offered");
        }
        if left && !peers.workers().is_empty() {
            // Not the one that was woken before, which may have been stopped.
            self.wake_from = self.wake_from.wrapping_add(1);
            self.wake_one();
        }
        unclaimed
    }

    /// Whether there is nothing left to wait for: an answer, an outcome, or no such call.
    pub(super) fn is_decided(&mut self, key: Key) -> bool {
        match self.call(key) {
            Some(call) if !call.is_decided() => self.answer(key).is_some(),
            _ => true,
        }
    }

    /// The call with that key, unless it has been answered and taken.
    pub(super) fn call(&mut self, key: Key) -> Option<&mut Call> {
        self.rings[usize::from(key.ring)].call(key.slot).filter(|call| call.serial == key.serial)
    }

    /// The header of a call's answer, if it is there.
    pub(super) fn answer(&mut self, key: Key) -> Option<Result<ReplyHeader, Damaged>> {
        let index = self.call(key)?.index;
        self.rings[usize::from(key.ring)].lane.channel.reply(key.slot, index)
    }

    /// Frees a call's slot and arguments. Only after its answer, or the death of its claimer.
    pub(super) fn finish(&mut self, key: Key) {
        let Some(call) = self.call(key) else { return };
        if let Some(extent) = call.extent.take() {
            self.arenas.free(extent);
        }
        self.rings[usize::from(key.ring)].lane.finish(key.slot);
    }

    /// Nobody waits for the call any more. Its slot is free when its answer comes.
    pub(super) fn abandon(&mut self, key: Key) {
        let Some(call) = self.call(key) else { return };
        call.abandoned = true;
        call.set_waiter(Waiter::Nobody);
        let decided = call.is_decided();
        if decided {
            self.finish(key);
        } else {
            self.rings[usize::from(key.ring)].lane.channel.cancel(key.slot);
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
                Some(Ok(reply)) if discard(reply, peers) => self.finish(key),
                // Of one that is damaged nobody can say whether its worker has done with it.
                _ => self.abandoned.push_back(key),
            }
        }
    }

    /// Notes whoever has an answer as due; fails calls that nobody claims when there is no worker for too long.
    pub(super) fn look(&mut self, now_ns: u64, unavailable: Option<&RpcError>) -> u64 {
        if let Some(error) = unavailable {
            self.give_up_unclaimed(error);
        }
        let mut next_deadline_ns = u64::MAX;
        for ring in self.rings.iter_mut().filter(|ring| ring.in_flight() > 0) {
            let lane = Arc::clone(&ring.lane);
            for (slot, call) in ring.calls() {
                let Some(waiter) = call.waiter() else { continue };
                let is_task = matches!(waiter, Waiter::Task(_));
                let decided = call.is_decided() || lane.channel.is_answered(slot, call.index);
                if decided || call.deadline_ns <= now_ns {
                    call.wake(&mut self.due);
                } else if is_task {
                    next_deadline_ns = next_deadline_ns.min(call.deadline_ns);
                }
            }
        }
        next_deadline_ns
    }

    pub(super) fn unclaimed(&self) -> bool {
        self.rings.iter().any(Ring::unclaimed)
    }

    /// When somebody has to look for calls that no worker has claimed; `None` without such calls.
    pub(super) fn rescue_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.rings.iter().filter(|ring| ring.unclaimed()).map(|ring| ring.rescue_at_ns(now_ns)).min()
    }

    pub(super) fn announce(&self, bell: Bell) {
        for ring in self.rings.iter().filter(|ring| ring.in_flight() > 0) {
            let word = ring.lane.channel.sleeping();
            if word.load(Ordering::Relaxed) & bell.bit() == 0 {
                word.fetch_or(bell.bit(), Ordering::Relaxed);
            }
        }
    }

    pub(super) fn retract(&self, bell: Bell) {
        for ring in &self.rings {
            retract(ring.lane.channel.sleeping(), bell);
        }
    }

    /// One thread that waits.
    pub(super) fn follower(&mut self) -> Option<Thread> {
        self.rings.iter_mut().flat_map(Ring::calls).find_map(|(_, call)| match call.waiter() {
            Some(Waiter::Thread(thread)) => Some(thread.clone()),
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

/// Tells the worker that an answer which nobody reads may go from its arena; `false` while the arena's
/// announcement is still on its way.
fn discard(reply: ReplyHeader, peers: &Peers) -> bool {
    if reply.place.arena == 0 {
        return true;
    }
    let Some(worker) = peers.claimer(reply.claimer) else { return true };
    let Some(region) = worker.arena(reply.place.arena) else { return false };
    release(&region, reply.place.offset);
    true
}

fn no_space(error: NoExtent) -> RpcError {
    RpcError::NoSpace(match error {
        NoExtent::Cap { wanted_bytes, cap_bytes } => {
            format!("{wanted_bytes} bytes for arguments exceed the connection's cap of {cap_bytes}")
        }
        NoExtent::Region(error) => error.to_string(),
    })
}
