//! The semaphore at which waiters of a lock sleep: glibc's `sem_t` to those that open it by name, worked by system calls
//! of our own here. glibc makes the futex's operation of a word of it, and aborts when the kernel refuses that, so that
//! a peer who writes there would abort us. Here a peer can only write the count: a sleep is too short, or lasts its slice.

use std::{
    mem::size_of,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use rustix::{
    io::Errno,
    thread::futex::{self, Flags},
    time::Timespec,
};

use super::super::doorbell::monotonic_ns;

/// As glibc has it since 2.21, on 64-bit machines: the posts in the lower half of the count, in the upper half how
/// many wait for one. What follows is glibc's alone.
#[repr(C)]
pub(super) struct Semaphore {
    count: AtomicU64,
    _of_glibc: [AtomicU64; 3],
}

const _: () = assert!(size_of::<Semaphore>() == size_of::<libc::sem_t>());
#[cfg(not(target_endian = "little"))]
compile_error!("the halves of a semaphore's count are told apart for little-endian machines");

const POSTS: u64 = u32::MAX as u64;
const ONE_WAITS: u64 = 1 << 32;
/// One is enough for all; more were written there by a faulty peer, and would keep sleepers awake for as long.
const MOST_POSTS: u64 = 4096;

impl Semaphore {
    /// Makes it one for those that open it by name. Nobody else knows of it yet.
    pub(super) fn initialise(&self) -> std::io::Result<()> {
        let own: *const Self = self;
        // SAFETY: of a semaphore's size and alignment, all of it in atomics, and nobody else's yet.
        let failed = unsafe { libc::sem_init(own.cast_mut().cast(), 1, 0) };
        if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }

    /// The half that the kernel compares.
    fn posts(&self) -> &AtomicU32 {
        let count = self.count.as_ptr().cast();
        // SAFETY: the lower half of a word that lives as long as `self`, aligned; nothing here reads or writes it but the
        // kernel.
        unsafe { AtomicU32::from_ptr(count) }
    }

    /// Wakes one sleeper, unless a post that nobody has taken yet is there already.
    pub(super) fn wake(&self) {
        if self.count.load(Ordering::Relaxed) & POSTS > 0 {
            return;
        }
        // Pairs with the Acquire in `take`.
        if self.count.fetch_add(1, Ordering::Release) >= ONE_WAITS {
            // It can only fail for an address that is none.
            let _woken = futex::wake(self.posts(), Flags::empty(), 1);
        }
    }

    /// Sleeps until there is a post, which it takes, or until the time has passed; says whether it was woken. A signal
    /// handler wakes too.
    pub(super) fn sleep(&self, longest: Duration) -> bool {
        let until_ns = monotonic_ns().saturating_add(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX));
        let until = Timespec {
            tv_sec: i64::try_from(until_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (until_ns % 1_000_000_000) as i64,
        };
        if self.count.load(Ordering::Relaxed) & POSTS > MOST_POSTS {
            self.count.fetch_and(!POSTS, Ordering::Relaxed);
        }
        if self.take(0) {
            return true;
        }
        self.count.fetch_add(ONE_WAITS, Ordering::Relaxed);
        loop {
            let outcome = futex::wait_bitset(self.posts(), Flags::empty(), 0, Some(&until), NonZeroU32::MAX);
            if self.take(ONE_WAITS) {
                return true;
            }
            if let Err(error) = outcome
                && error != Errno::AGAIN
            {
                self.count.fetch_sub(ONE_WAITS, Ordering::Relaxed);
                return error == Errno::INTR;
            }
        }
    }

    /// Takes a post if there is one, and as many of those that wait.
    fn take(&self, waiting: u64) -> bool {
        let less = |count: u64| (count & POSTS > 0).then(|| count.wrapping_sub(1).wrapping_sub(waiting));
        // Acquire pairs with the Release in `wake`.
        self.count.fetch_update(Ordering::Acquire, Ordering::Relaxed, less).is_ok()
    }
}
