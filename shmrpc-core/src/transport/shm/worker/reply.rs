//! Answers: put into the slot if they are small, into an arena of ours otherwise, published, counted,
//! and the client woken if it sleeps.

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

use super::{Shared, clients::Seat, lock};
use crate::{
    error::Status,
    server::ReplySink,
    shm::{
        arena::NoExtent,
        channel::{CallHeader, Claimed, Place, REPLY_INLINE_BYTES, ReplyHeader},
        doorbell::monotonic_ns,
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
        let (status, place) = match self.place(body) {
            Ok(place) => (status, place),
            Err(error) => {
                let text = match error {
                    NoExtent::Cap { wanted_bytes, cap_bytes } => {
                        format!("{wanted_bytes} bytes for replies exceed the cap of {cap_bytes}")
                    }
                    NoExtent::Region(error) => error.to_string(),
                };
                let text = &text.as_bytes()[..text.len().min(REPLY_INLINE_BYTES)];
                (Status::NoSpace, self.inline(text))
            }
        };
        let channel = &self.seat.channel;
        channel.publish_reply(self.claimed, ReplyHeader { status: status as u16, place });
        // Pairs with the fence of the hub before its look: either it sees the reply, or we see it sleep.
        fence(Ordering::SeqCst);
        if channel.sleeping().load(Ordering::Relaxed) != 0
            && channel.sleeping().swap(0, Ordering::AcqRel) != 0
        {
            self.seat.client.doorbell.post();
        }
        self.shared.running.fetch_sub(1, Ordering::AcqRel);
    }

    fn inline(&self, body: &[u8]) -> Place {
        let channel = &self.seat.channel;
        channel.region().copy_in(channel.reply_inline(self.claimed.slot), body);
        Place { arena: 0, len_bytes: body.len() as u32, offset: 0 }
    }

    /// Writes the body where the client can read it; a new arena is announced first.
    fn place(&self, body: &[u8]) -> Result<Place, NoExtent> {
        if body.len() <= REPLY_INLINE_BYTES {
            return Ok(self.inline(body));
        }
        if u32::try_from(body.len()).is_err() {
            return Err(NoExtent::Cap { wanted_bytes: body.len(), cap_bytes: u32::MAX as usize });
        }
        let client = &self.seat.client;
        let mut arenas = lock(&client.replies);
        let allocated = arenas.allocate(body.len())?;
        let extent = allocated.extent;
        for &id in &allocated.dropped {
            client.link.send(&Message::DropArena { id }, &[]);
        }
        if allocated.is_new {
            client.link.send(&Message::Arena { id: extent.arena }, &[allocated.region.fd()]);
        }
        drop(arenas);
        allocated.region.copy_in(extent.offset as usize, body);
        Ok(Place { arena: extent.arena, len_bytes: body.len() as u32, offset: extent.offset })
    }
}

/// The answer of a handler, with what is counted about it.
pub(super) struct Reply {
    answering: Answering,
    method: usize,
    bytes_in: u64,
    begun_ns: u64,
}

impl Reply {
    pub(super) fn new(answering: Answering, method: usize, bytes_in: u64) -> Self {
        Self { answering, method, bytes_in, begun_ns: monotonic_ns() }
    }
}

impl ReplySink for Reply {
    fn send(self: Box<Self>, status: Status, body: &[u8]) {
        // Counted before it is published: who has the answer finds it counted.
        let nanos = monotonic_ns().saturating_sub(self.begun_ns);
        let failed = status != Status::Ok;
        let counters = &self.answering.shared.counters;
        counters.count(self.method, failed, self.bytes_in, body.len() as u64, nanos);
        self.answering.answer(status, body);
    }
}
