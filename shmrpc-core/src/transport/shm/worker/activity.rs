//! What a worker's threads are doing with its clients' memory: how many calls run, and whether any thread is
//! just now claiming a call or writing an answer. A worker that leaves while calls still run (its drain took
//! too long) must never again touch a ring: its clients have written those calls off and use their slots
//! anew.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const RUNNING: u64 = 1;
const TOUCHING: u64 = 1 << 32;
const CLOSED: u64 = 1 << 63;
const LEFT: u64 = 1 << 62;

/// Two counts and two flags in one word, so that counting oneself in and seeing the flags is one step.
#[derive(Default)]
pub(super) struct Activity(AtomicU64);

/// Counted out again even if what was to be done panics.
struct Counted<'a>(&'a AtomicU64, u64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // Pairs with the Acquire loads in `leave` and `running`.
        self.0.fetch_sub(self.1, Ordering::Release);
    }
}

impl Activity {
    /// Claims a call, unless the worker takes no more. What is claimed counts as running until it is
    /// answered.
    pub(super) fn claim<T>(&self, claim: impl FnOnce() -> Option<T>) -> Option<T> {
        // AcqRel, here and below, pairs with the flags set in `close` and `leave`: either we see the flag, or
        // who set it sees us counted.
        let mut counted = Counted(&self.0, RUNNING + TOUCHING);
        if self.0.fetch_add(RUNNING + TOUCHING, Ordering::AcqRel) & CLOSED != 0 {
            return None;
        }
        let claimed = claim();
        if claimed.is_some() {
            counted.1 = TOUCHING;
        }
        claimed
    }

    /// Answers a call that was claimed, unless the worker has left its clients: then nothing is written.
    pub(super) fn answer(&self, write: impl FnOnce()) {
        let _counted = Counted(&self.0, RUNNING + TOUCHING);
        if self.0.fetch_add(TOUCHING, Ordering::AcqRel) & LEFT == 0 {
            write();
        }
    }

    /// Counts a call that lies in no ring.
    pub(super) fn begin(&self) {
        self.0.fetch_add(RUNNING, Ordering::AcqRel);
    }

    /// Its end.
    pub(super) fn end(&self) {
        drop(Counted(&self.0, RUNNING));
    }

    /// Calls that have been claimed and not answered.
    pub(super) fn running(&self) -> usize {
        self.0.load(Ordering::Acquire) as u32 as usize
    }

    /// From now on nothing is claimed.
    pub(super) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// When this returns, no thread touches a client's ring, and none will.
    pub(super) fn leave(&self) {
        self.0.fetch_or(CLOSED | LEFT, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) & !(CLOSED | LEFT) >= TOUCHING {
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
        let activity = Activity::default();
        assert_eq!(activity.claim(|| Some(1)), Some(1));
        assert_eq!(activity.claim(|| Some(2)), Some(2));
        assert_eq!(activity.claim(|| None::<u8>), None);
        assert_eq!(activity.running(), 2);
        let mut written = false;
        activity.answer(|| written = true);
        assert!(written && activity.running() == 1);
        activity.close();
        assert_eq!(activity.claim(|| Some(3)), None);
        activity.leave();
        activity.answer(|| unreachable!("nothing is written after leaving"));
        assert_eq!(activity.running(), 0);
    }

    #[test]
    fn leaving_waits_for_who_is_writing() {
        let activity = Activity::default();
        activity.claim(|| Some(())).unwrap();
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
}
