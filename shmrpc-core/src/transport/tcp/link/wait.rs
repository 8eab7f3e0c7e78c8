//! Who reads a client's socket, and how the reader is passed on.
//!
//! Three rules keep answers from lying in the socket while somebody waits for them. A thread makes itself
//! known as a follower before it tries for the reader a last time, and whoever gives the reader back looks
//! for followers afterwards: so either the one finds the reader free or the other finds the follower. The
//! poller that finds the reader taken says so (`missed`) and tries once more, and whoever gives it back
//! looks whether it did. And a follower that leaves without having read passes on what it may have been
//! given.

use std::{
    sync::{MutexGuard, atomic::Ordering},
    task::{Context, Poll},
    time::Instant,
};

use super::{FrameReader, Link, Outcome, Wait, monotonic_ns};
use crate::transport::tcp::{socket::SLICE, ticker};

/// So many calls are gathered before they are sent.
const GATHERED: usize = 32;
const GATHERED_BYTES: usize = 32 << 10;

/// How waiting for a call has ended.
pub(in super::super) enum Waited {
    Over(Outcome),
    DeadlineExceeded,
}

impl Link {
    /// A call has been put into the writer. The first of several is sent at once; those behind it are
    /// gathered until there are some, or somebody waits, or a moment has passed.
    pub(in super::super) fn sent(&self, others: usize, gathered: usize, gathered_bytes: usize) {
        if others == 0 || gathered >= GATHERED || gathered_bytes >= GATHERED_BYTES {
            return self.writer.flush();
        }
        if !self.ticking.swap(true, Ordering::AcqRel) {
            ticker::watch(self.me.clone());
        }
    }

    /// Blocks the thread until the call has its outcome.
    pub(in super::super) fn wait(&self, id: u64, until: Instant) -> Waited {
        if let Some(outcome) = self.calls.take(id) {
            return Waited::Over(outcome);
        }
        self.writer.flush();
        let thread = std::thread::current();
        loop {
            if let Some(reader) = self.try_read() {
                return self.lead(reader, id, until);
            }
            if let Some(outcome) = self.calls.take_or_follow(id, &thread) {
                self.pass_on();
                return Waited::Over(outcome);
            }
            // Again, now that we are known.
            if let Some(reader) = self.try_read() {
                self.calls.lock().unfollow(id);
                return self.lead(reader, id, until);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.calls.lock().unfollow(id);
                self.pass_on();
                return Waited::DeadlineExceeded;
            }
            std::thread::park_timeout(left.min(SLICE));
        }
    }

    /// Reads for all until our own answer has come.
    fn lead(&self, mut reader: MutexGuard<'_, FrameReader>, id: u64, until: Instant) -> Waited {
        self.rest_poller();
        let mut slices = 0_u32;
        let waited = loop {
            if let Some(outcome) = self.calls.take(id) {
                break Waited::Over(outcome);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Waited::DeadlineExceeded;
            }
            let wait = if left < SLICE { Wait::No } else { Wait::Slice };
            if wait == Wait::No {
                self.socket.wait_readable(left);
            }
            slices += 1;
            if let Err(reason) = self.pump(&mut reader, wait) {
                self.close(&reason);
                continue;
            }
            if slices > 1 {
                self.look_after(&reader);
            }
        };
        drop(reader);
        if matches!(waited, Waited::Over(_)) {
            self.heard_at_ns.store(monotonic_ns(), Ordering::Relaxed);
        }
        self.hand_over();
        self.leave_if_done();
        waited
    }

    /// The outcome, or the task is woken when it comes or the deadline has passed.
    pub(in super::super) fn poll(&self, id: u64, until: Instant, cx: &Context<'_>) -> Poll<Waited> {
        if let Poll::Ready(outcome) = self.calls.poll(id, cx) {
            self.leave_if_done();
            return Poll::Ready(Waited::Over(outcome));
        }
        if Instant::now() >= until {
            return Poll::Ready(Waited::DeadlineExceeded);
        }
        self.flush_soon();
        self.have_read();
        self.watch_until(until);
        Poll::Pending
    }

    /// Has the poller send what was gathered: by the time that it runs there may be more.
    fn flush_soon(&self) {
        if self.writer.gathered() > 0
            && !self.flushing.swap(true, Ordering::AcqRel)
            && let Some(registration) = self.writer.registration()
        {
            registration.poller().call(self.me.clone());
        }
    }

    /// Has the poller read from now on.
    pub(in super::super) fn have_read(&self) {
        if let Some(registration) = self.writer.registration()
            && !registration.reads()
        {
            registration.read(true);
        }
    }

    /// Has the poller not woken for what this thread is going to read.
    fn rest_poller(&self) {
        if let Some(registration) = self.writer.registration()
            && registration.reads()
            && !self.must_be_read()
        {
            registration.read(false);
            self.watch_for_quiet();
        }
    }

    /// The poller, called by the socket.
    pub(super) fn poller_reads(&self) {
        let reader = self.try_read().or_else(|| {
            self.missed.store(true, Ordering::SeqCst);
            self.try_read()
        });
        if let Some(mut reader) = reader {
            let read = self.pump(&mut reader, Wait::No);
            drop(reader);
            self.read_on(read);
            self.hand_over();
        }
    }

    /// After the reader has been given back: somebody else takes it, if anybody waits.
    pub(super) fn hand_over(&self) {
        if self.missed.swap(false, Ordering::SeqCst)
            && let Some(registration) = self.writer.registration()
            && registration.reads()
        {
            // What came while we read is told to the poller anew.
            registration.read(true);
        }
        let follower = self.calls.lock().follower();
        match follower {
            Some(follower) => follower.unpark(),
            None if self.must_be_read() => self.have_read(),
            None => {}
        }
    }

    /// Gives on what was meant for a thread that goes away.
    fn pass_on(&self) {
        if self.try_read().is_some() {
            self.hand_over();
        }
    }
}

impl ticker::Tick for Link {
    fn tick(self: std::sync::Arc<Self>) -> bool {
        if self.writer.gathered() == 0 && self.open_calls() == 0 {
            self.ticking.store(false, Ordering::Release);
            // A call may have come in between, and counted on the ticker.
            return self.writer.gathered() > 0 && !self.ticking.swap(true, Ordering::AcqRel);
        }
        self.writer.flush();
        true
    }
}
