//! Answers: put into the slot if they are small, into an arena of ours otherwise, published and counted. The
//! pool wakes the client when it has answered for itself; an answer that comes from elsewhere does so at once.

use std::sync::Arc;

use super::{Shared, clients::Seat, lock, pool::tell};
use crate::{
    error::Status,
    server::{Lent, LoanError, NearSink, ReplySink, Room},
    shm::{
        arena::{Extent, NoExtent},
        channel::{Claimed, Place, REPLY_INLINE_BYTES, ReplyHeader},
        counters::Table,
        kill_point::kill_point,
        region::Region,
        ticks::Ticks,
    },
    transport::shm::message::Message,
};

/// After a handler that took so long the client is told at once that it has its answer.
const LONG_CALL_NS: u64 = 2_000;

/// One claimed call that is to be answered. Whoever publishes has made sure that the worker has not left its
/// clients.
#[derive(Clone, Copy)]
pub(super) struct Answering<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) seat: &'a Arc<Seat>,
    pub(super) claimed: Claimed,
    pub(super) seal: u32,
}

impl Answering<'_> {
    /// Whether the answer may be written to the slot. If not, the ring's words have been changed under us, or the
    /// client takes this worker for dead.
    fn may_write(self) -> bool {
        let awaited = self.seat.channel.awaits(self.claimed, self.seal);
        if !awaited {
            self.seat.give_up("a call was claimed twice, or its slot given back under it");
        }
        awaited
    }

    pub(super) fn answer(self, status: Status, body: &[u8]) {
        if body.len() <= REPLY_INLINE_BYTES {
            return self.publish_inline(status, body);
        }
        match self.room(body.len()) {
            Ok(room) => {
                room.region.copy_in(room.extent.offset as usize, body);
                kill_point("reply.large_copied");
                self.publish_placed(status, room.extent.place(body.len()));
            }
            Err(error) => {
                let text = match error {
                    NoExtent::Cap { wanted_bytes, cap_bytes } => {
                        format!("{wanted_bytes} bytes for replies exceed the cap of {cap_bytes}")
                    }
                    NoExtent::Region(error) => error.to_string(),
                };
                let text = &text.as_bytes()[..text.len().min(REPLY_INLINE_BYTES)];
                self.publish_inline(Status::NoSpace, text);
            }
        }
    }

    fn publish_inline(self, status: Status, body: &[u8]) {
        if !self.may_write() {
            return;
        }
        let channel = &self.seat.channel;
        channel.put_reply(self.claimed.slot, body);
        kill_point("reply.copied");
        self.publish(status, inline(body.len()));
    }

    fn publish_placed(self, status: Status, place: Place) {
        if self.may_write() {
            self.publish(status, place);
        }
    }

    fn publish(self, status: Status, place: Place) {
        let reply = ReplyHeader { status: status as u8, place, claimer: self.shared.claimer };
        self.seat.channel.publish_reply(self.claimed, reply);
    }

    /// Finds room in our arenas; a new one is announced first.
    fn room(self, len_bytes: usize) -> Result<ArenaRoom, NoExtent> {
        if u32::try_from(len_bytes).is_err() {
            return Err(NoExtent::Cap { wanted_bytes: len_bytes, cap_bytes: u32::MAX as usize });
        }
        let client = &self.seat.client;
        let mut arenas = lock(&client.replies);
        let allocated = arenas.allocate(len_bytes)?;
        kill_point("reply.allocated");
        let extent = allocated.extent;
        for &id in &allocated.dropped {
            client.link.send(&Message::DropArena { id }, &[]);
        }
        if allocated.is_new {
            client.link.send(&Message::Arena { id: extent.arena }, &[allocated.region.fd()]);
        }
        kill_point("reply.announced");
        Ok(ArenaRoom { extent, region: allocated.region })
    }
}

fn inline(len_bytes: usize) -> Place {
    Place { arena: 0, len_bytes: len_bytes as u32, offset: 0 }
}

/// Where a reply is written in an arena.
struct ArenaRoom {
    extent: Extent,
    region: Arc<Region>,
}

/// The answer of a handler that a pool thread runs, with what is counted about it.
pub(super) struct PoolReply<'a> {
    answering: Answering<'a>,
    thread: usize,
    table: Table,
    method: usize,
    bytes_in: u64,
    begun: Ticks,
    /// Lent to a handler that writes its reply in place, if it is large; a small one goes into the slot in one piece
    /// when it is complete, and is kept here until then.
    room: Option<ArenaRoom>,
    small: &'a mut Vec<u8>,
    answered: bool,
    ended: Ticks,
}

impl<'a> PoolReply<'a> {
    pub(super) fn new(
        answering: Answering<'a>,
        thread: usize,
        table: Table,
        method: usize,
        bytes_in: u64,
        begun: Ticks,
        small: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            answering,
            thread,
            table,
            method,
            bytes_in,
            begun,
            room: None,
            small,
            answered: false,
            ended: begun,
        }
    }

    /// When the call was answered, if that was during its dispatch.
    pub(super) fn ended(&self) -> Option<Ticks> {
        self.answered.then_some(self.ended)
    }

    fn give_back(&mut self) {
        if let Some(room) = self.room.take() {
            lock(&self.answering.seat.client.replies).free(room.extent);
        }
    }

    /// Counted before it is published: who has the answer finds it counted.
    fn publish(&mut self, status: Status, len_bytes: usize, write: impl FnOnce(Answering<'a>)) {
        let shared = self.answering.shared;
        self.answered = true;
        let failed = status != Status::Ok;
        shared.counters.count(self.table, self.method, failed, self.bytes_in, len_bytes as u64);
        kill_point("reply.counted");
        if shared.activity.return_to_rings(self.thread) {
            write(self.answering);
            self.ended = Ticks::now();
            if self.ended.ns_since(self.begun) > LONG_CALL_NS {
                tell(self.answering.seat);
            }
        }
    }
}

impl ReplySink for PoolReply<'_> {
    fn send(&mut self, status: Status, body: &[u8]) {
        self.give_back();
        self.publish(status, body.len(), |answering| answering.answer(status, body));
    }

    fn room(&mut self) -> Option<&mut dyn Room> {
        Some(self)
    }

    fn send_room(&mut self, len_bytes: usize) {
        match self.room.take() {
            Some(room) => {
                let place = room.extent.place(len_bytes);
                self.publish(Status::Ok, len_bytes, |answering| answering.publish_placed(Status::Ok, place));
            }
            None => {
                let small = std::mem::take(self.small);
                self.publish(Status::Ok, len_bytes, |answering| {
                    answering.publish_inline(Status::Ok, &small[..len_bytes]);
                });
                *self.small = small;
            }
        }
    }
}

impl NearSink for PoolReply<'_> {
    fn detach(&mut self) -> Box<dyn ReplySink> {
        self.give_back();
        let Answering { shared, seat, claimed, seal } = self.answering;
        shared.activity.begin();
        Box::new(LateReply {
            shared: Arc::clone(shared),
            seat: Arc::clone(seat),
            claimed,
            seal,
            method: self.method,
            bytes_in: self.bytes_in,
            begun: self.begun,
        })
    }
}

impl Room for PoolReply<'_> {
    fn make(&mut self, len_bytes: usize) -> Result<usize, LoanError> {
        self.give_back();
        if len_bytes <= REPLY_INLINE_BYTES {
            self.small.resize(REPLY_INLINE_BYTES, 0);
            return Ok(REPLY_INLINE_BYTES);
        }
        match self.answering.room(len_bytes) {
            Ok(room) => {
                self.room = Some(room);
                Ok(len_bytes)
            }
            Err(NoExtent::Cap { cap_bytes, .. }) => {
                Err(LoanError::TooLarge { len_bytes: len_bytes as u64, limit_bytes: cap_bytes as u64 })
            }
            Err(NoExtent::Region(_)) => Err(LoanError::NoSpace { len_bytes: len_bytes as u64 }),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        match &self.room {
            Some(room) => room.region.copy_in(room.extent.offset as usize + offset, bytes),
            None => self.small[offset..offset + bytes.len()].copy_from_slice(bytes),
        }
    }

    fn fill(&mut self, offset: usize, source: &dyn Lent) {
        let len = source.len_bytes();
        match (&self.room, source.region()) {
            (Some(room), Some((from, at))) => {
                room.region.copy_from(room.extent.offset as usize + offset, from, at, len);
            }
            (Some(room), None) => {
                let mut copy = Vec::new();
                source.copy_out(0, len, &mut copy);
                room.region.copy_in(room.extent.offset as usize + offset, &copy);
            }
            (None, _) => source.copy_to(0, &mut self.small[offset..offset + len]),
        }
    }

    fn read(&mut self, len_bytes: usize, into: &mut Vec<u8>) {
        match &self.room {
            Some(room) => room.region.copy_out(room.extent.offset as usize, len_bytes, into),
            None => into.extend_from_slice(&self.small[..len_bytes]),
        }
        self.give_back();
    }
}

/// The answer of a handler that goes on after its dispatch.
struct LateReply {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    claimed: Claimed,
    seal: u32,
    method: usize,
    bytes_in: u64,
    begun: Ticks,
}

impl ReplySink for LateReply {
    fn send(&mut self, status: Status, body: &[u8]) {
        let (counters, method) = (&self.shared.counters, self.method);
        let failed = status != Status::Ok;
        counters.count(Table::COMMON, method, failed, self.bytes_in, body.len() as u64);
        let nanos = Ticks::now().ns_since(self.begun);
        counters.count_time(Table::COMMON, method, nanos);
        self.shared.pace.note(method, nanos);
        let answering =
            Answering { shared: &self.shared, seat: &self.seat, claimed: self.claimed, seal: self.seal };
        self.shared.activity.answer(|| {
            answering.answer(status, body);
            tell(&self.seat);
        });
    }
}
