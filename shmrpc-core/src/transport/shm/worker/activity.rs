//! What a worker's threads are doing with its clients' memory: how many calls run, and whether any thread is
//! just now claiming a call or writing an answer. A worker that leaves while calls still run (its drain took
//! too long) must never again touch a ring: its clients have written those calls off and use their slots
//! anew.
//!
//! A thread of the pool says where it is in a word of its own; answers that come from elsewhere are counted in a
//! word that they share.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

const RUNNING: u64 = 1;
const TOUCHING: u64 = 1 << 32;
const CLOSED: u64 = 1 << 63;
const LEFT: u64 = 1 << 62;

/// Where a thread of the pool is.
const AWAY: u32 = 0;
const AT_RINGS: u32 = 1;
const IN_HANDLER: u32 = 2;

/// Two counts and two flags in one word, so that counting oneself in and seeing the flags is one step; and a
/// word for each thread of the pool.
pub(super) struct Activity {
    shared: AtomicU64,
    threads: Box<[Station]>,
}

/// A thread's word, on lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Station(AtomicU32);

/// Counted out again even if what was to be done panics.
struct Counted<'a>(&'a AtomicU64, u64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // Pairs with the Acquire loads in `leave` and `running`.
        self.0.fetch_sub(self.1, Ordering::Release);
    }
}

impl Activity {
    pub(super) fn new(threads: usize) -> Self {
        Self { shared: AtomicU64::new(0), threads: (0..threads).map(|_| Station::default()).collect() }
    }

    /// A thread of the pool is about to look for calls, unless the worker takes no more.
    pub(super) fn approach(&self, thread: usize) -> bool {
        // SeqCst, here and in `return_to`, pairs with the flags set in `close` and `leave`: either we see the
        // flag, or who set it sees us here.
        self.threads[thread].0.swap(AT_RINGS, Ordering::SeqCst);
        let open = self.shared.load(Ordering::SeqCst) & (CLOSED | LEFT) == 0;
        if !open {
            self.withdraw(thread);
        }
        open
    }

    /// It sleeps, or ends.
    pub(super) fn withdraw(&self, thread: usize) {
        self.threads[thread].0.store(AWAY, Ordering::Release);
    }

    /// It runs a handler.
    pub(super) fn enter_handler(&self, thread: usize) {
        // Pairs with the Acquire loads in `leave`: what was written to rings is written.
        self.threads[thread].0.store(IN_HANDLER, Ordering::Release);
    }

    /// The handler has its answer, and the thread is at its rings again; `false` when the worker has left its
    /// clients: then nothing may be written.
    pub(super) fn return_to_rings(&self, thread: usize) -> bool {
        if self.threads[thread].0.load(Ordering::Relaxed) != AT_RINGS {
            self.threads[thread].0.swap(AT_RINGS, Ordering::SeqCst);
        }
        let left = self.shared.load(Ordering::SeqCst) & LEFT != 0;
        if left {
            self.withdraw(thread);
        }
        !left
    }

    /// Answers a call that was begun, unless the worker has left its clients: then nothing is written.
    pub(super) fn answer(&self, write: impl FnOnce()) {
        let _counted = Counted(&self.shared, RUNNING + TOUCHING);
        // AcqRel pairs with the flag set in `leave`, as in `approach`.
        if self.shared.fetch_add(TOUCHING, Ordering::AcqRel) & LEFT == 0 {
            write();
        }
    }

    /// Counts a call that is answered by another thread than that which claimed it.
    pub(super) fn begin(&self) {
        self.shared.fetch_add(RUNNING, Ordering::AcqRel);
    }

    /// As [`begin`](Self::begin), unless the worker takes no more or so many handlers run already.
    pub(super) fn begin_beside(&self, most: usize) -> bool {
        let handlers = |thread: &&Station| thread.0.load(Ordering::Relaxed) == IN_HANDLER;
        let pool = self.threads.iter().filter(handlers).count();
        // AcqRel pairs with the flag set in `close`, as in `approach`.
        let before = self.shared.fetch_add(RUNNING, Ordering::AcqRel);
        let may = before & CLOSED == 0 && pool + (before as u32 as usize) < most;
        if !may {
            self.end();
        }
        may
    }

    /// Its end, if nothing is to be written to a ring.
    pub(super) fn end(&self) {
        drop(Counted(&self.shared, RUNNING));
    }

    /// Threads of the pool in handlers, and calls that are answered by other threads.
    pub(super) fn occupied(&self) -> (usize, usize) {
        let handlers = |thread: &&Station| thread.0.load(Ordering::Relaxed) == IN_HANDLER;
        let apart = self.shared.load(Ordering::Relaxed) as u32 as usize;
        (self.threads.iter().filter(handlers).count(), apart)
    }

    /// Calls that have been claimed and not answered. A thread that may be about to claim one counts too.
    pub(super) fn running(&self) -> usize {
        // The threads first: one that hands its call on and goes is seen there, or the call is seen in the shared word.
        let threads = self.threads.iter().filter(|thread| thread.0.load(Ordering::SeqCst) != AWAY).count();
        threads + self.shared.load(Ordering::SeqCst) as u32 as usize
    }

    /// From now on nothing is claimed.
    pub(super) fn close(&self) {
        self.shared.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// When this returns, no thread touches a client's ring, and none will.
    pub(super) fn leave(&self) {
        self.shared.fetch_or(CLOSED | LEFT, Ordering::SeqCst);
        let touched = || {
            self.shared.load(Ordering::SeqCst) & !(CLOSED | LEFT) >= TOUCHING
                || self.threads.iter().any(|thread| thread.0.load(Ordering::SeqCst) == AT_RINGS)
        };
        while touched() {
            // A thread is copying an answer.
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_touches_nothing_more() {
        let activity = Activity::new(2);
        assert!(activity.approach(0) && activity.approach(1));
        activity.enter_handler(0);
        activity.enter_handler(1);
        activity.begin();
        assert_eq!(activity.running(), 3);
        let mut written = false;
        activity.answer(|| written = true);
        assert!(written && activity.running() == 2);
        activity.begin();
        assert!(activity.return_to_rings(1));
        activity.withdraw(1);
        activity.close();
        assert!(!activity.approach(1));
        activity.leave();
        activity.answer(|| unreachable!("nothing is written after leaving"));
        assert_eq!(activity.running(), 1, "the handler of thread 0 runs on");
        assert!(!activity.return_to_rings(0));
        assert_eq!(activity.running(), 0);
    }

    #[test]
    fn leaving_waits_for_who_is_writing() {
        let activity = Activity::new(1);
        activity.begin();
        let written = std::sync::atomic::AtomicBool::new(false);
        let (begun, has_begun) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                activity.answer(|| {
                    begun.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(30));
                    written.store(true, Ordering::Relaxed);
                });
            });
            has_begun.recv().unwrap();
            activity.leave();
            assert!(written.load(Ordering::Relaxed));
        });
    }

    #[test]
    fn leaving_waits_for_a_thread_at_the_rings() {
        let activity = Activity::new(1);
        assert!(activity.approach(0));
        std::thread::scope(|scope| {
            let leaving = scope.spawn(|| activity.leave());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!leaving.is_finished());
            activity.withdraw(0);
            leaving.join().unwrap();
        });
    }
}
