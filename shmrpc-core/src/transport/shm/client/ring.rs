//! One ring of a connection: its channel, the numbers that it has on boards, the slots that are free, and the
//! calls that lie in the others. Which ring a call goes to, and who is woken for it, is decided in `rings`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
    thread::Thread,
};

use super::peers::Worker;
use crate::{
    client::Reply,
    error::RpcError,
    process::random_u64,
    shm::{arena::Extent, board::Board, channel::Channel, kill_point::kill_point, region::RegionError},
    transport::shm::{
        hub::{RESCUE_TIME, WOKEN_TIME},
        message::Message,
    },
};

/// What callers use of a ring without the connection's lock: they watch their slot, and give it back.
pub(super) struct Lane {
    pub(super) channel: Channel,
    /// A word a slot: the number of the call that has it, or 0.
    busy: Box<[AtomicU64]>,
    /// Calls that have given their slots back, ever.
    finished: AtomicU32,
}

impl Lane {
    /// Frees the slot of a call: after its answer, or the death of its claimer.
    pub(super) fn finish(&self, slot: u16) {
        // Release, both: who takes the slot comes after whatever we have read from it.
        self.busy[usize::from(slot)].store(0, Ordering::Release);
        self.finished.fetch_add(1, Ordering::Release);
    }
}

pub(super) struct Ring {
    pub(super) lane: Arc<Lane>,
    pub(super) nonce: u64,
    pub(super) bindings: Vec<Binding>,
    /// One a slot; of those that are free, the last.
    calls: Vec<Call>,
    pub(super) next: u32,
    /// The last call for which a worker was woken when it was published, and until when it is left to that.
    woken_for: Option<(u32, u64)>,
    /// Calls that have taken slots, ever.
    begun: u32,
}

/// A ring's number on a board.
pub(super) struct Binding {
    pub(super) board: Arc<Board>,
    pub(super) number: u16,
}

/// A call under way.
#[derive(Default)]
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) serial: u64,
    pub(super) method: u64,
    pub(super) deadline_ns: u64,
    pub(super) extent: Option<Extent>,
    pub(super) idempotent: bool,
    pub(super) retried: bool,
    pub(super) abandoned: bool,
    /// What most calls never need.
    pub(super) rare: Option<Box<Rare>>,
}

#[derive(Default)]
pub(super) struct Rare {
    waiter: Waiter,
    /// Decided without an answer in the slot.
    outcome: Option<Result<Reply, RpcError>>,
}

/// Who is woken when the answer is there.
#[derive(Default)]
pub(super) enum Waiter {
    #[default]
    Nobody,
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    /// Wakes it. Never under the connection's lock: a waker may run anything.
    pub(super) fn wake(self) {
        match self {
            Self::Nobody => {}
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

impl Call {
    pub(super) fn decide(&mut self, outcome: Result<Reply, RpcError>, due: &mut Vec<Waiter>) {
        self.rare.get_or_insert_default().outcome = Some(outcome);
        self.wake(due);
    }

    pub(super) fn is_decided(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.outcome.is_some())
    }

    pub(super) fn take_outcome(&mut self) -> Option<Result<Reply, RpcError>> {
        self.rare.as_mut()?.outcome.take()
    }

    /// Who waits, if anybody does.
    pub(super) fn waiter(&self) -> Option<&Waiter> {
        let waiter = self.rare.as_ref().map(|rare| &rare.waiter);
        waiter.filter(|waiter| !matches!(waiter, Waiter::Nobody))
    }

    /// Notes who waits, in place of who did.
    pub(super) fn set_waiter(&mut self, waiter: Waiter) -> Waiter {
        std::mem::replace(&mut self.rare.get_or_insert_default().waiter, waiter)
    }

    pub(super) fn wake(&mut self, due: &mut Vec<Waiter>) {
        if self.waiter().is_some() {
            due.push(self.set_waiter(Waiter::Nobody));
        }
    }
}

/// Where a call is; the serial number tells it from the slot's later uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) ring: u8,
    pub(super) slot: u16,
    pub(super) serial: u64,
}

impl Ring {
    pub(super) fn new(slots: usize) -> Result<Self, RegionError> {
        Ok(Self {
            lane: Arc::new(Lane {
                channel: Channel::create(slots)?,
                busy: (0..slots).map(|_| AtomicU64::new(0)).collect(),
                finished: AtomicU32::new(0),
            }),
            nonce: random_u64(),
            bindings: Vec::new(),
            calls: (0..slots).map(|_| Call::default()).collect(),
            next: 0,
            woken_for: None,
            begun: 0,
        })
    }

    /// Calls that have slots. Others may give theirs back at any time.
    pub(super) fn in_flight(&self) -> usize {
        // Pairs with the Release in `finish`: the slots of those that are counted as finished are free.
        self.begun.wrapping_sub(self.lane.finished.load(Ordering::Acquire)) as usize
    }

    pub(super) fn slots(&self) -> usize {
        self.calls.len()
    }

    /// Whether one more call may be under way; see `Channel`.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.calls.len() - 1
    }

    /// Takes a free slot for a call, at best that which its entry lies in. There must be room.
    pub(super) fn take_slot(&mut self, serial: u64) -> u16 {
        let natural = usize::from(self.lane.channel.natural_slot(self.next));
        let mut slots = (0..self.calls.len()).map(|step| (natural + step) & (self.calls.len() - 1));
        let free = |&slot: &usize| self.lane.busy[slot].load(Ordering::Acquire) == 0;
        let slot = slots.find(free).expect("the ring was chosen for its room");
        self.lane.busy[slot].store(serial, Ordering::Relaxed);
        self.begun = self.begun.wrapping_add(1);
        slot as u16
    }

    /// Notes a call that has taken a slot.
    pub(super) fn note(&mut self, slot: u16, call: Call) {
        self.calls[usize::from(slot)] = call;
    }

    /// The call in a slot, if it has one.
    pub(super) fn call(&mut self, slot: u16) -> Option<&mut Call> {
        let busy = self.lane.busy[usize::from(slot)].load(Ordering::Acquire);
        let call = &mut self.calls[usize::from(slot)];
        (busy != 0 && call.serial == busy).then_some(call)
    }

    /// All calls that have slots.
    pub(super) fn calls(&mut self) -> impl Iterator<Item = (u16, &mut Call)> {
        let busy = self.lane.busy.iter().map(|serial| serial.load(Ordering::Acquire));
        let calls = self.calls.iter_mut().zip(busy).enumerate();
        calls
            .filter(|(_, (call, busy))| *busy != 0 && call.serial == *busy)
            .map(|(n, (call, _))| (n as u16, call))
    }

    /// Announces the ring to a worker, under its number on the worker's board.
    pub(super) fn hand_to(&mut self, worker: &Worker) -> Result<(), String> {
        let number = match self.bindings.iter().find(|b| b.board.id() == worker.board.id()) {
            Some(binding) => binding.number,
            None => {
                let number = worker
                    .board
                    .join_channel(self.nonce)
                    .ok_or("the service has no room for more connections")?;
                self.bindings.push(Binding { board: Arc::clone(&worker.board), number });
                number
            }
        };
        kill_point("ring.numbered");
        worker.link.send(&Message::Attach { channel: self.nonce, number }, &[self.lane.channel.fd()]);
        kill_point("ring.handed");
        Ok(())
    }

    /// Gives its numbers back.
    pub(super) fn leave(&mut self) {
        for binding in self.bindings.drain(..) {
            binding.board.leave_channel(binding.number, self.nonce);
        }
    }

    /// Has its numbers back, or others, where the board does not say any more that they are its own: some faulty
    /// process has written there. Whether workers must be told of a new one.
    pub(super) fn mend(&mut self) -> bool {
        let mut moved = false;
        for binding in &mut self.bindings {
            let board = &binding.board;
            if !board.owns_channel(binding.number, self.nonce) {
                match board.join_channel(self.nonce) {
                    Some(number) => binding.number = number,
                    None => board.seize_channel(binding.number, self.nonce),
                }
                moved = true;
            }
            board.mend_used(binding.number);
        }
        moved
    }

    pub(super) fn set_ready(&self) -> bool {
        // Every board, not only up to the first that had not been told.
        self.bindings.iter().filter(|binding| binding.board.set_ready(binding.number)).count() > 0
    }

    pub(super) fn unclaimed(&self) -> bool {
        self.in_flight() > 0 && self.lane.channel.next_unclaimed() != self.next
    }

    /// A worker has been woken for a call that was published a moment ago.
    pub(super) fn note_woken(&mut self, index: u32, now_ns: u64) {
        self.woken_for = Some((index, now_ns + WOKEN_TIME.as_nanos() as u64));
    }

    pub(super) fn forget_woken(&mut self) {
        self.woken_for = None;
    }

    /// Whether a worker has just been woken for all that nobody has claimed: then it is a single call, the last.
    pub(super) fn has_woken_for_all(&self, now_ns: u64) -> bool {
        self.left_until_ns(now_ns).is_some()
    }

    fn left_until_ns(&self, now_ns: u64) -> Option<u64> {
        let last = self.next.wrapping_sub(1);
        let (index, until_ns) = self.woken_for?;
        let left = index == last && now_ns < until_ns && self.lane.channel.next_unclaimed() == last;
        left.then_some(until_ns)
    }

    /// When calls that nobody has claimed are to be offered to one more worker.
    pub(super) fn rescue_at_ns(&self, now_ns: u64) -> u64 {
        self.left_until_ns(now_ns).unwrap_or(now_ns + RESCUE_TIME.as_nanos() as u64)
    }

    /// Appends a slot to the ring under a new number.
    pub(super) fn publish(&mut self, slot: u16) -> u32 {
        let index = self.next;
        self.next = index.wrapping_add(1);
        self.lane.channel.publish(index, slot);
        index
    }
}
