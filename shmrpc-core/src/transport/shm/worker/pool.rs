//! What a pool thread does: look for a call, run it, answer it; and when there is none, watch the ring
//! that it served last for as long as that has lately paid, then sleep at its bell.
//!
//! A ring has one attendant, whose mark tells the client that it need not wake anybody. Other threads take a call
//! from an attended ring only if its attendant gets no further: two that take turns cost each other more than
//! either does. `serve` runs what was claimed; the protocol between publishing, attending, readiness and
//! sleep is in docs/memory-model.md, and each fence names its partner.

use std::{
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

use super::{
    Shared,
    clients::{Seat, Seats},
};
use crate::shm::{
    channel::{Claimed, fence_after_claim},
    counters::Table,
    doorbell::{current_cpu, online_cpus},
    kill_point::kill_point,
    ticks::{Reckoned, Ticks},
};
use crate::transport::shm::hub::Bell;

/// A sleeper looks by itself so often: a wake-up that died with its sender costs at most this.
const SLEEP_SLICE: Duration = Duration::from_millis(500);
/// While calls are no further apart than this in the mean, it pays to watch for the next.
const PAYING_GAP_NS: u64 = 20_000;
/// How long a thread watches its ring as long as that pays: about as long as a virtual machine needs to wake a thread on
/// another processor. A shorter watch ends at each interruption of the client, of which there are a thousand a second, and
/// costs two wake-ups every time.
const SPIN_BUDGET: Duration = Duration::from_micros(60);
/// How long a client may need from being woken to its next call: a watch for that is never longer.
const RETURN_MAX_NS: u64 = 200_000;
/// While calls come one by one and each has to wake both sides, they seem further apart than they would be if
/// both watched: every so many sleeps a thread watches for as long as the last gap, to find out.
const TRIAL_EVERY: u32 = 8;
/// Unless that was longer than this.
const TRIAL_GAP_NS: u64 = 400_000;
/// How long a thread that was woken looks for what it was woken for.
const ARRIVAL_BUDGET: Duration = Duration::from_micros(10);
/// An attendant that claims nothing for so long runs a handler: others may take calls from its ring.
const STALL: Duration = Duration::from_micros(2);
/// How far ahead the lines of calls are asked for while one follows the other.
const AHEAD: u32 = 4;
/// Calls of one ring in a row before a look at the others.
const RUN: u32 = 32;
/// After a call that took so long the others come first.
const LONG_CALL_NS: u64 = 10_000;

/// Serves until the worker drains.
pub(super) fn run(shared: &Arc<Shared>, thread: usize) {
    let mut pool_thread = PoolThread::new(shared, thread);
    while shared.activity.approach(thread) {
        pool_thread.work();
        pool_thread.unattend();
        shared.activity.withdraw(thread);
        pool_thread.sleep();
    }
}

pub(super) struct PoolThread<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) thread: usize,
    pub(super) table: Table,
    seats: Arc<Seats>,
    seats_version: u64,
    /// What it knows of while it sleeps.
    no_seats: Arc<Seats>,
    attended: Option<Arc<Seat>>,
    /// What is written into the ring that this thread attends.
    mark: u64,
    /// Calls of the attended ring since the last look at the others.
    in_a_row: u32,
    /// The attended ring has answers of which its client may still have to be told.
    owed: bool,
    next_number: u16,
    /// Somebody else's ring that had work: its number, its head then, and when.
    stalled: Option<(u16, u32, Ticks)>,
    /// The last reading of the clock.
    pub(super) clock: Ticks,
    reckoned: Reckoned,
    /// Moving average of the time between two calls, sleeping included.
    mean_gap_ns: u64,
    last_gap_ns: u64,
    /// The client of the attended ring has been woken for the last answer.
    woke_client: bool,
    /// How long a client that had been woken needed until its next call, lately.
    return_ns: u64,
    last_call_ns: u64,
    sleeps: u32,
    /// Woken, and nothing found yet.
    woken: bool,
    /// The method that was called last, and its number.
    pub(super) last_method: (u64, usize),
    /// The private copy of a call's argument; kept for its memory.
    pub(super) argument: Vec<u8>,
    /// A small reply that is written in place.
    pub(super) small_reply: Vec<u8>,
}

impl<'a> PoolThread<'a> {
    fn new(shared: &'a Arc<Shared>, thread: usize) -> Self {
        Self {
            shared,
            thread,
            table: shared.counters.table(thread),
            seats: shared.seats(),
            seats_version: 0,
            no_seats: Arc::default(),
            attended: None,
            mark: 0,
            in_a_row: 0,
            owed: false,
            next_number: 0,
            stalled: None,
            clock: Ticks::now(),
            reckoned: Reckoned::new(),
            mean_gap_ns: 0,
            last_gap_ns: u64::MAX,
            woke_client: false,
            return_ns: RETURN_MAX_NS / 2,
            last_call_ns: 0,
            sleeps: 0,
            woken: false,
            last_method: (0, usize::MAX),
            argument: Vec::new(),
            small_reply: Vec::new(),
        }
    }

    /// Serves for as long as there is something to do, or to watch for.
    fn work(&mut self) {
        while !self.shared.draining.load(Ordering::Relaxed) {
            self.refresh();
            if !self.serve_one() {
                self.settle();
                if !self.watch() {
                    return;
                }
            }
        }
    }

    /// Takes notice of clients that have come or gone.
    fn refresh(&mut self) {
        // Pairs with the Release addition in `change_seats`.
        let version = self.shared.seats_version.load(Ordering::Acquire);
        if version != self.seats_version {
            self.seats_version = version;
            self.seats = self.shared.seats();
            if let Some(seat) = &self.attended
                && !self.seats.get(seat.number).is_some_and(|kept| Arc::ptr_eq(kept, seat))
            {
                self.unattend();
            }
        }
    }

    /// Claims and runs one call, if there is one.
    fn serve_one(&mut self) -> bool {
        if let Some(seat) = self.attended.take() {
            let claimed = seat.channel.try_claim(self.shared.claimer);
            if let Some(claimed) = claimed {
                if self.in_a_row > 2 {
                    seat.channel.expect_more(claimed.index.wrapping_add(AHEAD));
                }
                self.settle_after_claim(&seat);
                self.run(&seat, claimed);
                self.owed = true;
            }
            let number = seat.number;
            self.attended = Some(seat);
            if claimed.is_some() {
                self.in_a_row += 1;
                if self.in_a_row >= RUN || self.last_call_ns > LONG_CALL_NS {
                    self.in_a_row = 0;
                    self.next_number = number.wrapping_add(1);
                    self.serve_other();
                }
                return true;
            }
        }
        self.serve_other()
    }

    /// Runs a call that was claimed, and takes the time.
    fn run(&mut self, seat: &Arc<Seat>, claimed: Claimed) {
        self.woken = false;
        self.woke_client = false;
        let begun = self.clock;
        // Late by the error of the reckoning: no call is refused before its time.
        let now_ns = self.reckoned.at(begun) - Reckoned::ERROR_NS;
        self.serve(seat, claimed, now_ns);
        self.last_call_ns = self.clock.ns_since(begun);
    }

    /// Claims a call of another ring than the attended one, runs it, and attends that ring from now on unless
    /// somebody else does.
    fn serve_other(&mut self) -> bool {
        let Some(seat) = self.next_ready(false).or_else(|| self.next_stalled()) else { return false };
        let Some(claimed) = seat.channel.try_claim(self.shared.claimer) else {
            self.withdraw_ready(&seat);
            return false;
        };
        self.next_number = seat.number.wrapping_add(1);
        self.attend(&seat);
        self.run(&seat, claimed);
        if self.attends(&seat) {
            self.owed = true;
        } else {
            tell(&seat);
        }
        true
    }

    /// Says that a ring has no work; unless its attendant does so.
    fn withdraw_ready(&self, seat: &Seat) {
        if seat.channel.attended().load(Ordering::Relaxed) != 0 {
            return;
        }
        self.shared.board.clear_ready(seat.number);
        kill_point("withdraw.cleared");
        // Pairs with `fence_after_publish`: a call published before the bit was withdrawn is seen now.
        fence(Ordering::SeqCst);
        if seat.channel.has_work() {
            self.shared.board.set_ready(seat.number);
        }
    }

    /// A ring that is ready and whose attendant gets no further with it. One is suspected at a time, and is looked
    /// at rarely: each look costs the attendant its hold of the line.
    fn next_stalled(&mut self) -> Option<Arc<Seat>> {
        let now = Ticks::now();
        if self.stalled.is_some_and(|(_, _, until)| !now.reached(until)) {
            return None;
        }
        let seat = self.next_ready(true)?;
        let head = seat.channel.next_unclaimed();
        let suspected =
            self.stalled.take().is_some_and(|(number, at, _)| (number, at) == (seat.number, head));
        if suspected && seat.channel.has_work() {
            return Some(seat);
        }
        if suspected {
            // Nothing is left there but what is being run: on to the next.
            self.next_number = seat.number.wrapping_add(1);
        } else {
            self.stalled = Some((seat.number, head, now.plus(STALL)));
        }
        None
    }

    /// A channel that is ready, and that nobody attends or another thread than this.
    fn next_ready(&self, attended: bool) -> Option<Arc<Seat>> {
        let board = &self.shared.board;
        let own = self.attended.as_ref().map(|seat| seat.number);
        let wanted = |number| {
            Some(number) != own
                && self.seats.get(number).is_some_and(|seat| {
                    board.owns_channel(number, seat.nonce)
                        && (seat.channel.attended().load(Ordering::Relaxed) != 0) == attended
                })
        };
        board.next_ready(self.next_number, wanted).and_then(|number| self.seats.get(number).cloned())
    }

    fn attends(&self, seat: &Arc<Seat>) -> bool {
        self.attended.as_ref().is_some_and(|now| Arc::ptr_eq(now, seat))
    }

    fn attend(&mut self, seat: &Arc<Seat>) {
        self.unattend();
        self.mark = self.new_mark();
        if seat.channel.attend(self.mark) {
            kill_point("attend.marked");
            self.attended = Some(Arc::clone(seat));
            self.in_a_row = 0;
        }
    }

    fn new_mark(&self) -> u64 {
        (u64::from(self.shared.index) + 1)
            | (u64::from(current_cpu() & 0xffff) << 16)
            | ((self.thread as u64) << 32)
    }

    /// Watches no ring any more. What was published in the last moment is put on the board.
    fn unattend(&mut self) {
        self.settle();
        if let Some(seat) = self.attended.take() {
            self.shared.board.clear_ready(seat.number);
            kill_point("unattend.withdrawn");
            seat.channel.unattend(self.mark);
            if seat.channel.has_work() {
                self.shared.board.set_ready(seat.number);
            }
        }
    }

    /// Wakes the client of the attended ring if it sleeps and has answers: before anything else than its next
    /// call is done.
    fn settle(&mut self) {
        if std::mem::take(&mut self.owed)
            && let Some(seat) = &self.attended
        {
            self.woke_client = tell(seat);
        }
    }

    /// The same between a claim and the run: the claim was a barrier.
    fn settle_after_claim(&mut self, seat: &Seat) {
        if std::mem::take(&mut self.owed) {
            fence_after_claim();
            wake(seat);
        }
    }

    /// Watches the attended ring and the board, if that has lately paid; whether there is something to do.
    fn watch(&mut self) -> bool {
        let since = self.clock;
        let budget = self.budget();
        let until = since.plus(budget);
        if budget.is_zero() {
            return false;
        }
        let is_trial = !self.watching_pays() && !self.woken;
        self.mark_cpu();
        if let Some(seat) = &self.attended {
            seat.channel.expect_to_answer(seat.channel.next_unclaimed());
        }
        let mut looks = 0_u32;
        loop {
            // Several looks to one at the clock, which takes longer than they do.
            if self.attended.as_ref().is_some_and(|seat| (0..4).any(|_| seat.channel.work_arrives())) {
                break;
            }
            self.clock = Ticks::now();
            looks += 1;
            if looks.is_multiple_of(16) {
                self.refresh();
                if self.serve_other() {
                    break;
                }
                if self.clock.reached(until) || self.shared.draining.load(Ordering::Relaxed) {
                    return false;
                }
            }
            // Close together at first; a long watch leaves more to a sibling on the same core.
            if looks > 64 {
                std::hint::spin_loop();
            }
        }
        self.learn(since);
        if is_trial {
            self.mean_gap_ns = self.mean_gap_ns.min(PAYING_GAP_NS / 2);
        }
        true
    }

    fn budget(&self) -> Duration {
        if online_cpus() == 1 {
            return Duration::ZERO;
        }
        // Whatever there is to do is done by others: to watch for it would take processors from them.
        if self.attended.is_none() && !self.woken {
            return Duration::ZERO;
        }
        if self.watching_pays() {
            // One stop of either side, and each call would wake both from then on: nobody watches for as long as it takes
            // the other to wake up.
            let return_ns = if self.woke_client { self.return_ns + self.return_ns / 2 } else { 0 };
            return SPIN_BUDGET.max(Duration::from_nanos(return_ns.min(RETURN_MAX_NS)));
        }
        if self.last_gap_ns < TRIAL_GAP_NS && self.sleeps.is_multiple_of(TRIAL_EVERY) {
            return Duration::from_nanos(self.last_gap_ns);
        }
        if self.woken { ARRIVAL_BUDGET } else { Duration::ZERO }
    }

    fn watching_pays(&self) -> bool {
        self.mean_gap_ns < PAYING_GAP_NS
    }

    /// The client sleeps at once if we are on its own processor.
    fn mark_cpu(&mut self) {
        if let Some(seat) = &self.attended {
            let mark = self.new_mark();
            if mark != self.mark {
                let _ = seat.channel.attended().compare_exchange(
                    self.mark,
                    mark,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                self.mark = mark;
            }
        }
    }

    /// Sleeps until there may be something to do.
    fn sleep(&mut self) {
        let (shared, since) = (self.shared, self.clock);
        shared.bells.announce(self.thread, &shared.board);
        kill_point("sleep.announced");
        // A ring that we have not taken notice of yet may have been made ready before we were announced.
        let outdated = shared.seats_version.load(Ordering::Acquire) != self.seats_version;
        // Calls of a ring that somebody attends are his until a caller finds that he has to sleep, and wakes one.
        if outdated || self.next_ready(false).is_some() || shared.draining.load(Ordering::Acquire) {
            shared.bells.get_up(self.thread, &shared.board, false);
            return;
        }
        // Asleep it keeps nobody's memory mapped: a client may die meanwhile.
        self.seats = Arc::clone(&self.no_seats);
        self.seats_version = u64::MAX;
        kill_point("sleep.looked");
        self.woken = shared.bells.wait(self.thread, SLEEP_SLICE);
        if self.woken {
            kill_point("sleep.woken");
        }
        shared.bells.get_up(self.thread, &shared.board, self.woken);
        if !self.woken {
            kill_point("sleep.retracted");
        }
        self.sleeps = self.sleeps.wrapping_add(1);
        self.clock = Ticks::now();
        self.learn(since);
    }

    fn learn(&mut self, since: Ticks) {
        self.last_gap_ns = self.clock.ns_since(since);
        // Clamped, so that one long pause does not keep the next hundred calls from being watched for.
        let sample = self.last_gap_ns.min(80_000);
        self.mean_gap_ns = self.mean_gap_ns - self.mean_gap_ns / 8 + sample / 8;
        if self.woke_client {
            self.return_ns = (self.return_ns + self.last_gap_ns.min(RETURN_MAX_NS)) / 2;
        }
    }
}

/// Wakes a client that sleeps, after an answer to it; whether it did.
pub(super) fn tell(seat: &Seat) -> bool {
    // Pairs with the fence of the hub before its look: either it sees the reply, or we see it sleep.
    fence(Ordering::SeqCst);
    wake(seat)
}

fn wake(seat: &Seat) -> bool {
    let sleeping = seat.channel.sleeping();
    if sleeping.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let bells = sleeping.swap(0, Ordering::AcqRel);
    kill_point("tell.taken");
    for bell in Bell::ALL.into_iter().filter(|bell| bells & bell.bit() != 0) {
        seat.client.doorbell.post(bell.number());
    }
    kill_point("tell.posted");
    bells != 0
}
