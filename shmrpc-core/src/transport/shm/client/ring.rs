//! One ring of a connection: its channel, the numbers that it has on boards, the slots that are free, and the
//! calls that lie in the others. Which ring a call goes to, and who is woken for it, is decided in `rings`.

use std::{sync::Arc, task::Waker, thread::Thread};

use super::peers::Worker;
use crate::{
    client::Reply,
    error::{RpcError, Status},
    process::random_u64,
    shm::{
        arena::Extent,
        board::Board,
        channel::{Channel, ReplyHeader},
        region::RegionError,
    },
    transport::shm::message::Message,
};

pub(super) struct Ring {
    pub(super) channel: Arc<Channel>,
    pub(super) nonce: u64,
    pub(super) bindings: Vec<Binding>,
    pub(super) free: Vec<u16>,
    pub(super) calls: Vec<Option<Call>>,
    pub(super) next: u32,
    pub(super) in_flight: usize,
}

/// A ring's number on a board.
pub(super) struct Binding {
    pub(super) board: Arc<Board>,
    pub(super) number: u16,
}

/// A call under way.
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) serial: u64,
    pub(super) method: u64,
    pub(super) idempotent: bool,
    pub(super) retried: bool,
    pub(super) abandoned: bool,
    pub(super) extent: Option<Extent>,
    pub(super) deadline_ns: u64,
    pub(super) waiter: Waiter,
    /// Decided without an answer in the slot.
    pub(super) outcome: Option<Result<Reply, RpcError>>,
}

/// Who is woken when the answer is there.
pub(super) enum Waiter {
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
        self.outcome = Some(outcome);
        self.wake(due);
    }

    pub(super) fn wake(&mut self, due: &mut Vec<Waiter>) {
        match std::mem::replace(&mut self.waiter, Waiter::Nobody) {
            Waiter::Nobody => {}
            waiter => due.push(waiter),
        }
    }
}

/// Where a call is; the serial number tells it from the slot's later uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) ring: usize,
    pub(super) slot: u16,
    pub(super) serial: u64,
}

impl Ring {
    pub(super) fn new(slots: usize) -> Result<Self, RegionError> {
        Ok(Self {
            channel: Arc::new(Channel::create(slots)?),
            nonce: random_u64(),
            bindings: Vec::new(),
            free: (0..slots as u16).rev().collect(),
            calls: (0..slots).map(|_| None).collect(),
            next: 0,
            in_flight: 0,
        })
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
        worker.link.send(&Message::Attach { channel: self.nonce, number }, &[self.channel.fd()]);
        Ok(())
    }

    /// Gives its numbers back.
    pub(super) fn leave(&mut self) {
        for binding in self.bindings.drain(..) {
            binding.board.leave_channel(binding.number, self.nonce);
        }
    }

    pub(super) fn set_ready(&self) -> bool {
        // Every board, not only up to the first that had not been told.
        self.bindings.iter().filter(|binding| binding.board.set_ready(binding.number)).count() > 0
    }

    pub(super) fn unclaimed(&self) -> bool {
        self.in_flight > 0 && self.channel.next_unclaimed() != self.next
    }

    /// Appends a slot to the ring under a new number.
    pub(super) fn publish(&mut self, slot: u16) -> u32 {
        let index = self.next;
        self.next = index.wrapping_add(1);
        self.channel.publish(index, slot);
        index
    }
}

/// Copies a reply out; `None` when it lies in an arena that is not known (yet).
pub(super) fn read_reply(
    channel: &Channel,
    slot: u16,
    header: ReplyHeader,
    worker: Option<&Worker>,
) -> Option<Result<Reply, RpcError>> {
    let len = header.place.len_bytes as usize;
    let status = Status::from_u16(header.status);
    let mut body = Vec::new();
    if header.place.arena == 0 {
        if len > crate::shm::channel::REPLY_INLINE_BYTES {
            return Some(Err(RpcError::Protocol(format!("inline reply of {len} bytes"))));
        }
        channel.region().copy_out(channel.reply_inline(slot), len, &mut body);
    } else {
        let region = worker?.arena(header.place.arena)?;
        let offset = usize::try_from(header.place.offset).unwrap_or(usize::MAX);
        if !region.holds(offset, len) {
            return Some(Err(RpcError::Protocol(format!("reply of {len} bytes outside its arena"))));
        }
        region.copy_out(offset, len, &mut body);
        crate::shm::arena::release(&region, header.place.offset);
    }
    Some(Ok(Reply { status, body }))
}
