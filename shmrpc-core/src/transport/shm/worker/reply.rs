//! Answers: put into the slot if they are small, into an arena of ours otherwise, published, counted,
//! and the client woken if it sleeps.

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

use super::{Shared, clients::Seat, lock};
use crate::{
    error::Status,
    server::{LoanError, ReplySink},
    shm::{
        arena::{Extent, NoExtent},
        channel::{CallHeader, Claimed, Place, REPLY_INLINE_BYTES, ReplyHeader},
        doorbell::monotonic_ns,
        region::Region,
    },
    transport::shm::message::Message,
};

/// The obligation to answer one claimed call in shared memory.
pub(super) struct Answering {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    claimed: Claimed,
}

impl Answering {
    pub(super) fn new(shared: &Arc<Shared>, seat: &Arc<Seat>, claimed: Claimed, _call: &CallHeader) -> Self {
        Self { shared: Arc::clone(shared), seat: Arc::clone(seat), claimed }
    }

    /// Answers without having run anything.
    pub(super) fn refuse(self, status: Status, text: &str) {
        self.answer(status, text.as_bytes());
    }

    fn answer(self, status: Status, body: &[u8]) {
        match self.place(body) {
            Ok(placed) => self.publish(status, placed),
            Err(error) => {
                let text = match error {
                    NoExtent::Cap { wanted_bytes, cap_bytes } => {
                        format!("{wanted_bytes} bytes for replies exceed the cap of {cap_bytes}")
                    }
                    NoExtent::Region(error) => error.to_string(),
                };
                let text = &text.as_bytes()[..text.len().min(REPLY_INLINE_BYTES)];
                self.publish(Status::NoSpace, Body::Inline(text));
            }
        }
    }

    fn publish(self, status: Status, body: Body<'_>) {
        self.shared.activity.answer(|| {
            let channel = &self.seat.channel;
            let place = match body {
                Body::Placed(place) => place,
                Body::Inline(bytes) => {
                    channel.region().copy_in(channel.reply_inline(self.claimed.slot), bytes);
                    Place { arena: 0, len_bytes: bytes.len() as u32, offset: 0 }
                }
            };
            channel.publish_reply(self.claimed, ReplyHeader { status: status as u16, place });
            // Pairs with the fence of the hub before its look: either it sees the reply, or we see it sleep.
            fence(Ordering::SeqCst);
            if channel.sleeping().load(Ordering::Relaxed) != 0
                && channel.sleeping().swap(0, Ordering::AcqRel) != 0
            {
                self.seat.client.doorbell.post();
            }
        });
    }

    /// Writes the body where the client can read it; a small one is written into the slot at the very end.
    fn place<'b>(&self, body: &'b [u8]) -> Result<Body<'b>, NoExtent> {
        if body.len() <= REPLY_INLINE_BYTES {
            return Ok(Body::Inline(body));
        }
        let room = self.room(body.len())?;
        room.region.copy_in(room.extent.offset as usize, body);
        Ok(Body::Placed(room.place(body.len())))
    }

    /// Finds room in our arenas; a new one is announced first.
    fn room(&self, len_bytes: usize) -> Result<Room, NoExtent> {
        if u32::try_from(len_bytes).is_err() {
            return Err(NoExtent::Cap { wanted_bytes: len_bytes, cap_bytes: u32::MAX as usize });
        }
        let client = &self.seat.client;
        let mut arenas = lock(&client.replies);
        let allocated = arenas.allocate(len_bytes)?;
        let extent = allocated.extent;
        for &id in &allocated.dropped {
            client.link.send(&Message::DropArena { id }, &[]);
        }
        if allocated.is_new {
            client.link.send(&Message::Arena { id: extent.arena }, &[allocated.region.fd()]);
        }
        Ok(Room { extent, region: allocated.region })
    }
}

/// The body of an answer.
enum Body<'b> {
    /// To be copied into the slot.
    Inline(&'b [u8]),
    /// In an arena of ours already.
    Placed(Place),
}

/// Where a reply is written in an arena.
struct Room {
    extent: Extent,
    region: Arc<Region>,
}

impl Room {
    fn place(&self, len_bytes: usize) -> Place {
        Place { arena: self.extent.arena, len_bytes: len_bytes as u32, offset: self.extent.offset }
    }
}

/// The answer of a handler, with what is counted about it.
pub(super) struct Reply {
    answering: Answering,
    method: usize,
    bytes_in: u64,
    begun_ns: u64,
    /// Lent to a handler that writes its reply in place.
    room: Option<Room>,
}

impl Reply {
    pub(super) fn new(answering: Answering, method: usize, bytes_in: u64) -> Self {
        Self { answering, method, bytes_in, begun_ns: monotonic_ns(), room: None }
    }

    /// Counted before it is published: who has the answer finds it counted.
    fn count(&self, status: Status, len_bytes: usize) {
        let nanos = monotonic_ns().saturating_sub(self.begun_ns);
        let counters = &self.answering.shared.counters;
        counters.count(self.method, status != Status::Ok, self.bytes_in, len_bytes as u64, nanos);
    }

    fn give_back(&mut self) {
        if let Some(room) = self.room.take() {
            lock(&self.answering.seat.client.replies).free(room.extent);
        }
    }
}

impl ReplySink for Reply {
    fn send(mut self: Box<Self>, status: Status, body: &[u8]) {
        self.give_back();
        self.count(status, body.len());
        self.answering.answer(status, body);
    }

    fn make_room(&mut self, len_bytes: usize) -> Option<Result<(), LoanError>> {
        if len_bytes <= REPLY_INLINE_BYTES {
            return None;
        }
        self.give_back();
        let wanted = len_bytes as u64;
        Some(match self.answering.room(len_bytes) {
            Ok(room) => {
                self.room = Some(room);
                Ok(())
            }
            Err(NoExtent::Cap { cap_bytes, .. }) => {
                Err(LoanError::TooLarge { len_bytes: wanted, limit_bytes: cap_bytes as u64 })
            }
            Err(NoExtent::Region(_)) => Err(LoanError::NoSpace { len_bytes: wanted }),
        })
    }

    fn write_room(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(room) = &self.room {
            room.region.copy_in(room.extent.offset as usize + offset, bytes);
        }
    }

    fn read_room(&mut self, len_bytes: usize, into: &mut Vec<u8>) {
        if let Some(room) = &self.room {
            room.region.copy_out(room.extent.offset as usize, len_bytes, into);
        }
        self.give_back();
    }

    fn send_room(mut self: Box<Self>, len_bytes: usize) {
        self.count(Status::Ok, len_bytes);
        match self.room.take() {
            Some(room) => self.answering.publish(Status::Ok, Body::Placed(room.place(len_bytes))),
            None => self.answering.answer(Status::Ok, &[]),
        }
    }
}
