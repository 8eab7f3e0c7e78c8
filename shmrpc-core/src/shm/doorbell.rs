//! Doorbells: the one place where a process sleeps. A doorbell is a process-shared POSIX semaphore in a
//! sealed memfd of its own; peers map the descriptor and post.
//!
//! It is initialised by `sem_init` rather than opened by name: a named semaphore is the same `sem_t` in a
//! file, but has a name for an instant (which a `kill -9` leaves behind) and can be truncated under its
//! sleepers. The named kind is [`HybridLock`](super::lock)'s.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    ptr::NonNull,
    time::Duration,
};

use super::region::{Region, RegionError, page_bytes};

unsafe extern "C" {
    // Since glibc 2.30; the libc crate does not declare it.
    pub(super) fn sem_clockwait(
        sem: *mut libc::sem_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// A semaphore that threads of this process sleep on, or that a peer process sleeps on.
pub(crate) struct Doorbell {
    region: Region,
}

const SEMAPHORE_BYTES: usize = size_of::<libc::sem_t>();
// glibc on 64-bit machines; a peer with another layout would post to the wrong word.
const _: () = assert!(SEMAPHORE_BYTES == 32 || size_of::<usize>() != 8);

impl Doorbell {
    /// A new doorbell of this process.
    pub(crate) fn create() -> Result<Self, RegionError> {
        let doorbell = Self { region: Region::create("shmrpc-doorbell", page_bytes())? };
        // SAFETY: the semaphore lies in zeroed memory that nobody else has mapped yet.
        let failed = unsafe { libc::sem_init(doorbell.semaphore().as_ptr(), 1, 0) };
        assert_eq!(failed, 0, "a process-shared semaphore can be initialised");
        Ok(doorbell)
    }

    /// A peer's doorbell.
    pub(crate) fn attach(fd: OwnedFd) -> Result<Self, RegionError> {
        let region = Region::attach(fd, page_bytes())?;
        // All access below takes for granted that there is room for the semaphore.
        if !region.holds(0, SEMAPHORE_BYTES) {
            return Err(RegionError::Refused(format!("a doorbell of {} bytes", region.len_bytes())));
        }
        Ok(Self { region })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    fn semaphore(&self) -> NonNull<libc::sem_t> {
        self.region.address(0, SEMAPHORE_BYTES, align_of::<libc::sem_t>()).cast()
    }

    /// Wakes one sleeper, now or when it next sleeps. Never blocks.
    pub(crate) fn post(&self) {
        // SAFETY: a mapped semaphore. With a scribbled value the worst outcome is an error (overflow), which
        // is ignored: whoever sleeps does so in slices.
        unsafe { libc::sem_post(self.semaphore().as_ptr()) };
    }

    /// Sleeps until somebody posts or the time is over; says whether it was a post. Callers look again
    /// either way.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let until = monotonic_after(at_most);
        // SAFETY: a mapped semaphore and a valid time.
        unsafe { sem_clockwait(self.semaphore().as_ptr(), libc::CLOCK_MONOTONIC, &raw const until) == 0 }
    }

    /// Takes a post that is already there.
    pub(crate) fn try_wait(&self) -> bool {
        // SAFETY: a mapped semaphore.
        unsafe { libc::sem_trywait(self.semaphore().as_ptr()) == 0 }
    }
}

fn monotonic_after(time: Duration) -> libc::timespec {
    let at = Duration::from_nanos(monotonic_ns()).saturating_add(time);
    libc::timespec {
        tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(at.subsec_nanos()),
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes of a machine, so deadlines can be shared.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the target is a valid timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The CPU that this thread runs on, as far as the system tells.
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: no preconditions.
    u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// CPUs that this process may use; spinning is pointless on one.
pub(crate) fn usable_cpus() -> usize {
    static CPUS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_wakes_a_sleeper() {
        let ours = Doorbell::create().unwrap();
        let theirs = Doorbell::attach(ours.fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(!ours.wait(Duration::from_millis(1)));
        let peer = std::thread::spawn(move || theirs.post());
        assert!(ours.wait(Duration::from_secs(30)));
        peer.join().unwrap();
        assert!(!ours.try_wait());
    }

    #[test]
    fn a_peers_doorbell_without_room_for_a_semaphore_is_refused() {
        let short = Region::create("test", 8).unwrap();
        let refused = Doorbell::attach(short.fd().try_clone_to_owned().unwrap());
        assert!(matches!(refused, Err(RegionError::Refused(_))));
    }
}
