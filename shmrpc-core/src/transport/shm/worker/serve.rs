//! One call that a pool thread has claimed: its header and argument are read out of the client's memory and
//! checked, the handler runs, and its answer is put where the client reads it. What can be said without the
//! handler is answered at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Shared,
    clients::Seat,
    pool::PoolThread,
    reply::{Answering, PoolReply},
};
use crate::{
    client::Door,
    error::Status,
    server::{CallContext, Cancellation, IncomingCall, Lent, Near, Responder, contained},
    shm::{
        channel::{CALL_INLINE_BYTES, CallHeader, Claimed, SealedCall},
        doorbell::monotonic_ns,
        kill_point::kill_point,
        region::Region,
        ticks::Ticks,
    },
};

/// A buffer for arguments that has grown beyond this is let go after the call.
const KEPT_BYTES: usize = 1 << 20;

impl PoolThread<'_> {
    /// Runs a claimed call and leaves the time of its end in `self.clock`. The client has not been woken yet.
    pub(super) fn serve(&mut self, seat: &Arc<Seat>, claimed: Claimed, now_ns: u64) {
        let Ok(SealedCall { header: call, seal }) = seat.channel.read_call(claimed) else {
            return seat.give_up("the words about a call were changed");
        };
        kill_point("serve.read");
        let answering = Answering { shared: self.shared, seat, claimed, seal };
        let refused = if call.cancelled {
            Err((Status::Cancelled, "cancelled before it was run".to_owned()))
        } else if call.deadline_ns <= now_ns {
            Err((Status::DeadlineExceeded, "the deadline passed before it was run".to_owned()))
        } else {
            self.method(&call).and_then(|method| Ok((method, locate(self.shared, seat, claimed, &call)?)))
        };
        match refused {
            Ok((method, located)) => self.dispatch(answering, &call, method, &located),
            Err((status, text)) => answering.answer(status, text.as_bytes()),
        }
    }

    fn dispatch(
        &mut self,
        answering: Answering<'_>,
        call: &CallHeader,
        method: usize,
        located: &Located<'_>,
    ) {
        let (shared, begun) = (self.shared, self.clock);
        let near = NearCall { located, seat: answering.seat, claimed: answering.claimed, call };
        let door = if call.door == 0 { Door::Native } else { Door::Json };
        let bytes_in = located.len as u64;
        let mut argument = std::mem::take(&mut self.argument);
        let mut small = std::mem::take(&mut self.small_reply);
        let mut reply =
            PoolReply::new(answering, self.thread, self.table, method, bytes_in, begun, &mut small);
        let incoming = IncomingCall::near(&near, &mut argument, door, Responder::near(&mut reply));
        shared.activity.enter_handler(self.thread);
        kill_point("serve.entered");
        contained(&shared.service, method, incoming);
        kill_point("serve.handled");
        shared.activity.return_to_rings(self.thread);
        match reply.ended() {
            Some(ended) => {
                self.clock = ended;
                let nanos = ended.ns_since(begun);
                shared.counters.count_time(self.table, method, nanos);
                shared.pace.note(method, nanos);
            }
            None => self.clock = Ticks::now(),
        }
        self.argument = argument;
        self.small_reply = small;
        // One huge argument must not keep its memory for ever.
        if self.argument.capacity() > KEPT_BYTES {
            self.argument = Vec::new();
        }
    }

    fn method(&mut self, call: &CallHeader) -> Result<usize, (Status, String)> {
        if self.last_method.0 != call.method || self.last_method.1 == usize::MAX {
            let Some(&method) = self.shared.methods.get(&call.method) else {
                let text = format!("{} has no method {:016x}", self.shared.description.name, call.method);
                return Err((Status::NoSuchMethod, text));
            };
            self.last_method = (call.method, method);
        }
        Ok(self.last_method.1)
    }
}

/// Where the argument lies in the client's memory. It stays there until the call is answered.
fn locate<'s>(
    shared: &Shared,
    seat: &'s Seat,
    claimed: Claimed,
    call: &CallHeader,
) -> Result<Located<'s>, (Status, String)> {
    let fault = |text: String| (Status::Protocol, text);
    let (place, len) = (call.place, call.place.len_bytes as usize);
    if place.arena == 0 {
        if len > CALL_INLINE_BYTES {
            return Err(fault(format!("inline arguments of {len} bytes")));
        }
        let at = seat.channel.call_inline(claimed.slot);
        return Ok(Located { memory: Memory::Slot(seat.channel.region()), at, len });
    }
    let region = argument_arena(shared, seat, place.arena)
        .ok_or_else(|| fault("arguments in an arena never announced".into()))?;
    let at = usize::try_from(place.offset).unwrap_or(usize::MAX);
    if !region.holds(at, len) {
        return Err(fault(format!("arguments of {len} bytes outside their arena")));
    }
    Ok(Located { memory: Memory::Arena(region), at, len })
}

/// The arena was announced before the call was published, so at worst the message waits in the
/// client's queue or in our socket.
fn argument_arena(shared: &Shared, seat: &Seat, id: u32) -> Option<Arc<Region>> {
    use crate::transport::shm::node::Party;
    for attempt in 0..200 {
        if let Some(region) = seat.client.argument_arena(id) {
            return Some(region);
        }
        let link = &seat.client.link;
        if link.is_closed() {
            return None;
        }
        link.pump(|arrival| shared.arrived(link, arrival));
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    seat.client.argument_arena(id)
}

/// An argument in the client's memory, where the client can change it at any time.
struct Located<'a> {
    memory: Memory<'a>,
    /// Checked to lie inside, with the length.
    at: usize,
    len: usize,
}

enum Memory<'a> {
    Slot(&'a Region),
    Arena(Arc<Region>),
}

impl Located<'_> {
    fn region(&self) -> &Region {
        match &self.memory {
            Memory::Slot(region) => region,
            Memory::Arena(region) => region,
        }
    }
}

/// What handlers may ask of a call while it is dispatched.
struct NearCall<'a> {
    located: &'a Located<'a>,
    seat: &'a Arc<Seat>,
    claimed: Claimed,
    call: &'a CallHeader,
}

impl Lent for NearCall<'_> {
    fn len_bytes(&self) -> usize {
        self.located.len
    }

    fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        assert!(offset + len <= self.located.len, "a part of an argument lies inside it");
        self.located.region().copy_out(self.located.at + offset, len, into);
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= self.located.len, "a part of an argument lies inside it");
        self.located.region().copy_to(self.located.at + offset, into);
    }

    fn region(&self) -> Option<(&Region, usize)> {
        Some((self.located.region(), self.located.at))
    }
}

impl Near for NearCall<'_> {
    fn context(&self) -> CallContext {
        let left = Duration::from_nanos(self.call.deadline_ns.saturating_sub(monotonic_ns()));
        let knows = Arc::clone(self.seat) as Arc<dyn Cancellation>;
        CallContext::new(self.call.call_id, Some(Instant::now() + left))
            .with_cancellation(knows, Seat::number_of(self.claimed))
    }
}
