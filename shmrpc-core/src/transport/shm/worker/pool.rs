//! What a pool thread does: look for a call, run it, answer it; and when there is none, watch the ring
//! that it served last for as long as that has lately paid, then sleep on the worker's doorbell.
//!
//! The protocol between publishing, attending, readiness and sleep is in docs/memory-model.md; each fence
//! names its partner.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use super::{
    Shared,
    clients::Seat,
    reply::{Answering, Reply},
};
use crate::{
    client::Door,
    error::Status,
    server::{CallContext, Cancellation, IncomingCall, Lent, Responder, contained},
    shm::{
        channel::{CALL_INLINE_BYTES, CallHeader, Claimed},
        doorbell::{current_cpu, monotonic_ns, usable_cpus},
        region::Region,
    },
};

/// A sleeper looks by itself so often: a wake-up that died with its sender costs at most this.
const SLEEP_SLICE: Duration = Duration::from_millis(500);
/// How long a thread watches its ring when calls have lately come sooner than that.
const SPIN_BUDGET: Duration = Duration::from_micros(20);
/// Empty looks between two looks at the clock.
const LOOKS: u32 = 64;

/// Serves until the worker drains.
pub(super) fn run(shared: &Arc<Shared>, thread: u32) {
    let mut pool_thread = PoolThread {
        shared,
        mark: (u64::from(shared.index) + 1) | (u64::from(current_cpu()) << 16) | (u64::from(thread) << 32),
        seats: shared.seats(),
        seats_version: 0,
        attended: None,
        next_number: 0,
        mean_gap_ns: 0,
        argument: Vec::new(),
    };
    while !shared.draining.load(Ordering::Acquire) {
        pool_thread.refresh();
        if !pool_thread.serve_one() {
            pool_thread.idle();
        }
    }
    pool_thread.unattend();
}

struct PoolThread<'a> {
    shared: &'a Arc<Shared>,
    /// What is written into the ring that this thread attends.
    mark: u64,
    seats: Arc<HashMap<u16, Arc<Seat>>>,
    seats_version: u64,
    attended: Option<Arc<Seat>>,
    next_number: u16,
    /// Moving average of the time between two calls, sleeping included.
    mean_gap_ns: u64,
    /// The private copy of a call's argument; kept for its memory.
    argument: Vec<u8>,
}

impl PoolThread<'_> {
    /// Takes notice of clients that have come or gone.
    fn refresh(&mut self) {
        // Pairs with the Release addition in `change_seats`.
        let version = self.shared.seats_version.load(Ordering::Acquire);
        if version != self.seats_version {
            self.seats_version = version;
            self.seats = self.shared.seats();
            if let Some(seat) = &self.attended
                && !self.seats.get(&seat.number).is_some_and(|kept| Arc::ptr_eq(kept, seat))
            {
                self.unattend();
            }
        }
    }

    /// Claims and runs one call, if there is one.
    fn serve_one(&mut self) -> bool {
        if let Some(seat) = &self.attended
            && let Some(claimed) = self.claim(seat)
        {
            let seat = Arc::clone(seat);
            self.serve(&seat, claimed);
            // Others may wait longer than the one that we watch.
            self.next_number = seat.number.wrapping_add(1);
            if let Some(other) = self.next_ready().filter(|other| other.number != seat.number) {
                self.try_seat(&other);
            }
            return true;
        }
        match self.next_ready() {
            Some(seat) => self.try_seat(&seat),
            None => false,
        }
    }

    fn claim(&self, seat: &Seat) -> Option<Claimed> {
        // The look first: most are in vain, and need not be counted.
        let shared = self.shared;
        if !seat.channel.has_work() {
            return None;
        }
        shared.activity.claim(|| seat.channel.try_claim(shared.claimer))
    }

    fn next_ready(&self) -> Option<Arc<Seat>> {
        let board = &self.shared.board;
        let ours =
            |number| self.seats.get(&number).is_some_and(|seat| board.owns_channel(number, seat.nonce));
        board.next_ready(self.next_number, ours).and_then(|number| self.seats.get(&number).cloned())
    }

    /// Claims from a ring that is said to be ready; withdraws its bit if it is empty.
    fn try_seat(&mut self, seat: &Arc<Seat>) -> bool {
        if let Some(claimed) = self.claim(seat) {
            self.next_number = seat.number.wrapping_add(1);
            self.attend(seat);
            self.serve(seat, claimed);
            return true;
        }
        self.shared.board.clear_ready(seat.number);
        // Pairs with `fence_after_publish`: a call published before the bit was withdrawn is seen now.
        fence(Ordering::SeqCst);
        if seat.channel.has_work() {
            self.shared.board.set_ready(seat.number);
        }
        false
    }

    fn attend(&mut self, seat: &Arc<Seat>) {
        if self.attended.as_ref().is_some_and(|now| Arc::ptr_eq(now, seat)) {
            return;
        }
        self.unattend();
        seat.channel.attended().store(self.mark, Ordering::Release);
        self.attended = Some(Arc::clone(seat));
    }

    /// Watches no ring any more. What was published in the last moment is put on the board.
    fn unattend(&mut self) {
        if let Some(seat) = self.attended.take() {
            seat.channel.unattend(self.mark);
            if seat.channel.has_work() {
                self.shared.board.set_ready(seat.number);
            }
        }
    }

    fn serve(&mut self, seat: &Arc<Seat>, claimed: Claimed) {
        let call = seat.channel.read_call(claimed.slot);
        let answering = Answering::new(self.shared, seat, claimed, &call);
        let now_ns = monotonic_ns();
        if seat.channel.is_cancelled(claimed.slot) {
            return answering.refuse(Status::Cancelled, "cancelled before it was run");
        }
        if call.deadline_ns <= now_ns {
            return answering.refuse(Status::DeadlineExceeded, "the deadline passed before it was run");
        }
        let Some(&method) = self.shared.methods.get(&call.method) else {
            let text = format!("{} has no method {:016x}", self.shared.description.name, call.method);
            return answering.refuse(Status::NoSuchMethod, &text);
        };
        let located = match self.locate_argument(seat, claimed, &call) {
            Ok(located) => located,
            Err(text) => return answering.refuse(Status::Protocol, &text),
        };
        let deadline = Instant::now() + Duration::from_nanos(call.deadline_ns - now_ns);
        let knows = Arc::clone(seat) as Arc<dyn Cancellation>;
        let context =
            CallContext::new(call.call_id, Some(deadline)).with_cancellation(knows, Seat::number_of(claimed));
        let door = if call.door == 0 { Door::Native } else { Door::Json };
        let responder = Responder::new(Reply::new(answering, method, located.len_bytes() as u64));
        let mut argument = std::mem::take(&mut self.argument);
        let incoming = IncomingCall::lent(&located, &mut argument, door, context, responder);
        contained(&self.shared.service, method, incoming);
        self.argument = argument;
        self.argument.clear();
        // One huge argument must not keep its memory for ever.
        if self.argument.capacity() > 1 << 20 {
            self.argument = Vec::new();
        }
    }

    /// Where the argument lies in the client's memory. It stays there until the call is answered.
    fn locate_argument<'s>(
        &self,
        seat: &'s Seat,
        claimed: Claimed,
        call: &CallHeader,
    ) -> Result<Located<'s>, String> {
        let (place, len) = (call.place, call.place.len_bytes as usize);
        if place.arena == 0 {
            if len > CALL_INLINE_BYTES {
                return Err(format!("inline arguments of {len} bytes"));
            }
            let at = seat.channel.call_inline(claimed.slot);
            return Ok(Located { memory: Memory::Slot(seat.channel.region()), at, len });
        }
        let region = self.argument_arena(seat, place.arena).ok_or("arguments in an arena never announced")?;
        let at = usize::try_from(place.offset).unwrap_or(usize::MAX);
        if !region.holds(at, len) {
            return Err(format!("arguments of {len} bytes outside their arena"));
        }
        Ok(Located { memory: Memory::Arena(region), at, len })
    }

    /// The arena was announced before the call was published, so at worst the message waits in the
    /// client's queue or in our socket.
    fn argument_arena(&self, seat: &Seat, id: u32) -> Option<Arc<Region>> {
        use crate::transport::shm::node::Party;
        for attempt in 0..200 {
            if let Some(region) = seat.client.argument_arena(id) {
                return Some(region);
            }
            let link = &seat.client.link;
            if link.is_closed() {
                return None;
            }
            link.pump(|arrival| self.shared.arrived(link, arrival));
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        seat.client.argument_arena(id)
    }

    /// Nothing to do: watch for a while if that has lately paid, then sleep.
    fn idle(&mut self) {
        let since = Instant::now();
        let spins = usable_cpus() > 1 && self.mean_gap_ns < SPIN_BUDGET.as_nanos() as u64;
        if spins && self.watch(since) {
            return self.learn(since.elapsed());
        }
        self.unattend();
        self.shared.board.announce_sleep(self.shared.index);
        // A ring that we have not taken notice of yet may have been made ready before we were announced.
        let outdated = self.shared.seats_version.load(Ordering::Acquire) != self.seats_version;
        if outdated || self.next_ready().is_some() || self.shared.draining.load(Ordering::Acquire) {
            // If somebody has used the announcement, its post wakes a thread once too often. It is not waited
            // for: who is about to post may have been stopped.
            self.shared.board.retract_sleep(self.shared.index);
            return;
        }
        if !self.shared.doorbell.wait(SLEEP_SLICE) {
            self.shared.board.retract_sleep(self.shared.index);
        }
        self.learn(since.elapsed());
    }

    /// Watches the attended ring and the board; whether something has come.
    fn watch(&self, since: Instant) -> bool {
        loop {
            for _ in 0..LOOKS {
                if self.attended.as_ref().is_some_and(|seat| seat.channel.has_work()) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.next_ready().is_some() {
                return true;
            }
            if since.elapsed() > SPIN_BUDGET {
                return false;
            }
        }
    }

    fn learn(&mut self, gap: Duration) {
        // Clamped, so that one long pause does not keep the next hundred calls from being watched for.
        let sample = (gap.as_nanos() as u64).min(80_000);
        self.mean_gap_ns = self.mean_gap_ns - self.mean_gap_ns / 8 + sample / 8;
    }
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

impl Lent for Located<'_> {
    fn len_bytes(&self) -> usize {
        self.len
    }

    fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        assert!(offset + len <= self.len, "a part of an argument lies inside it");
        let region = match &self.memory {
            Memory::Slot(region) => region,
            Memory::Arena(region) => &**region,
        };
        region.copy_out(self.at + offset, len, into);
    }
}
