//! Doorbells: the one place where a process sleeps. A doorbell has one or several bells, process-shared POSIX
//! semaphores in a sealed memfd; peers map the descriptor and post.
//!
//! It is initialised by `sem_init` rather than opened by name: a named semaphore is the same `sem_t` in a
//! file, but has a name for an instant (which a `kill -9` leaves behind) and can be truncated under its
//! sleepers. The named kind is [`HybridLock`](super::lock)'s.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::{OnceLock, atomic::Ordering},
    time::Duration,
};

use super::{
    board::MAX_BELLS,
    region::{Identity, Region, RegionError, page_bytes},
};

unsafe extern "C" {
    // Since glibc 2.30; the libc crate does not declare it.
    fn sem_clockwait(
        sem: *mut libc::sem_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// Semaphores that threads of this process sleep on, or that a peer process sleeps on. Bells are numbered from 0;
/// a number too large is a bell too, somebody's mistake and nobody's harm.
///
/// glibc keeps, behind the eight bytes of its count, a word that goes into the futex's operation: whoever
/// writes it has our `sem_post` do anything, or abort. So each semaphore lies across a page's end: its count is
/// the last word of a shared page, and the rest is on a page of our own that nobody can write.
pub(crate) struct Doorbell {
    region: Region,
    bells: usize,
    /// Two pages a bell: the shared one and our own.
    pages: NonNull<u8>,
}

// SAFETY: the mapping is valid until drop, from any thread; semaphores are made to be shared.
unsafe impl Send for Doorbell {}
// SAFETY: as above.
unsafe impl Sync for Doorbell {}

const SEMAPHORE_BYTES: usize = size_of::<libc::sem_t>();
/// The part that processes share: the value, and how many wait for it.
const COUNT_BYTES: usize = 8;
/// The posts in it, beside who waits for them.
const POSTS: u64 = u32::MAX as u64;
/// Nobody has as many threads to wake: more posts were written there by a faulty peer.
const MAX_POSTS: u64 = 4096;
// glibc on 64-bit machines; a peer with another layout would post to the wrong word.
const _: () = assert!(SEMAPHORE_BYTES == 32 || size_of::<usize>() != 8);
const _: () = assert!(align_of::<libc::sem_t>() <= COUNT_BYTES);

impl Doorbell {
    /// A new doorbell of this process. A count of zero is an initialised one.
    pub(crate) fn create(bells: usize) -> Result<Self, RegionError> {
        Self::map(Region::create("shmrpc-doorbell", bells * page_bytes())?)
    }

    /// A peer's doorbell.
    pub(crate) fn attach(fd: OwnedFd) -> Result<Self, RegionError> {
        let region = Region::attach(fd, MAX_BELLS * page_bytes())?;
        if !region.len_bytes().is_multiple_of(page_bytes()) {
            return Err(RegionError::Refused(format!("a doorbell of {} bytes", region.len_bytes())));
        }
        Self::map(region)
    }

    fn map(region: Region) -> Result<Self, RegionError> {
        let bells = region.len_bytes() / page_bytes();
        let len_bytes = 2 * bells * page_bytes();
        let fail = |doing| RegionError::Io { len_bytes, doing, source: io::Error::last_os_error() };
        let own = own_part()?;
        // SAFETY: a fresh reservation of addresses; none is asked for.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(std::ptr::null_mut(), len_bytes, libc::PROT_NONE, flags, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return Err(fail("mmap of a doorbell"));
        }
        let pages = NonNull::new(start.cast()).expect("a mapping is never at address zero");
        let doorbell = Self { region, bells, pages };
        let (shared, ours) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ);
        for page in 0..2 * bells {
            let (fd, offset, protection) = match page % 2 {
                0 => (doorbell.fd().as_raw_fd(), page / 2 * page_bytes(), shared),
                _ => (own.as_raw_fd(), 0, ours),
            };
            // SAFETY: all pages lie inside the reservation.
            let at = unsafe { pages.add(page * page_bytes()) };
            // SAFETY: it takes the place of a page that we have just reserved and that nothing uses.
            let mapped = unsafe {
                let flags = libc::MAP_SHARED | libc::MAP_FIXED;
                libc::mmap(at.as_ptr().cast(), page_bytes(), protection, flags, fd, offset as libc::off_t)
            };
            if mapped == libc::MAP_FAILED {
                return Err(fail("mmap of a doorbell's page"));
            }
        }
        Ok(doorbell)
    }

    pub(crate) fn identity(&self) -> Identity {
        self.region.identity()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    fn semaphore(&self, bell: u8) -> NonNull<libc::sem_t> {
        let at = usize::from(bell) % self.bells * 2 * page_bytes() + page_bytes() - COUNT_BYTES;
        // SAFETY: inside the pages, with the rest of the semaphore behind it; aligned to eight bytes.
        unsafe { self.pages.add(at) }.cast()
    }

    /// Wakes one sleeper, now or when it next sleeps. Never blocks.
    pub(crate) fn post(&self, bell: u8) {
        // SAFETY: a mapped semaphore. With a scribbled count the worst outcome is an error (overflow), which
        // is ignored: whoever sleeps does so in slices.
        unsafe { libc::sem_post(self.semaphore(bell).as_ptr()) };
    }

    /// Sleeps until somebody posts or the time is over; says whether it was a post. Callers look again
    /// either way.
    pub(crate) fn wait(&self, bell: u8, at_most: Duration) -> bool {
        self.wait_until(bell, monotonic_ns().saturating_add(at_most.as_nanos() as u64))
    }

    /// The same, with a time of [`monotonic_ns`].
    pub(crate) fn wait_until(&self, bell: u8, ns: u64) -> bool {
        self.mend(bell);
        let until = libc::timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (ns % 1_000_000_000) as i64,
        };
        let semaphore = self.semaphore(bell);
        // SAFETY: a mapped semaphore and a valid time.
        unsafe { sem_clockwait(semaphore.as_ptr(), libc::CLOCK_MONOTONIC, &raw const until) == 0 }
    }

    /// Takes back millions of posts, which a faulty peer may have written: they would keep us awake for hours.
    fn mend(&self, bell: u8) {
        let page = usize::from(bell) % self.bells;
        let count = self.region.word64((page + 1) * page_bytes() - COUNT_BYTES);
        if count.load(Ordering::Relaxed) & POSTS > MAX_POSTS {
            count.fetch_and(!POSTS, Ordering::AcqRel);
        }
    }

    /// Takes all posts that are there already.
    pub(crate) fn take_all(&self, bell: u8) {
        self.mend(bell);
        let mut left = MAX_POSTS;
        while left > 0 && self.try_wait(bell) {
            left -= 1;
        }
    }

    /// Takes a post that is already there.
    pub(crate) fn try_wait(&self, bell: u8) -> bool {
        // SAFETY: a mapped semaphore.
        unsafe { libc::sem_trywait(self.semaphore(bell).as_ptr()) == 0 }
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        // SAFETY: the pages are ours, and nothing borrows from them beyond `self`.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), 2 * self.bells * page_bytes()) };
    }
}

/// The page that all doorbells of this process have behind their counts: what `sem_init` writes there.
fn own_part() -> Result<BorrowedFd<'static>, RegionError> {
    static PAGE: OnceLock<Region> = OnceLock::new();
    if PAGE.get().is_none() {
        let mut words = [0_u64; SEMAPHORE_BYTES / 8];
        // SAFETY: private memory of a semaphore's size and alignment.
        let failed = unsafe { libc::sem_init(words.as_mut_ptr().cast(), 1, 0) };
        assert_eq!(failed, 0, "a process-shared semaphore can be initialised");
        assert_eq!(words[0], 0, "a semaphore begins with its count");
        let page = Region::create("shmrpc-doorbell-own", page_bytes())?;
        for (number, word) in words[1..].iter().enumerate() {
            page.word64(number * 8).store(*word, Ordering::Relaxed);
        }
        let _another_thread_was_faster = PAGE.set(page);
    }
    Ok(PAGE.get().expect("it has just been set").fd())
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

/// CPUs that are there; watching for another process is pointless on one. One that shares our CPU, whatever
/// the reason, is told by [`current_cpu`].
pub(crate) fn online_cpus() -> usize {
    static CPUS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CPUS.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_wakes_a_sleeper() {
        let ours = Doorbell::create(1).unwrap();
        let theirs = Doorbell::attach(ours.fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(!ours.wait(0, Duration::from_millis(1)));
        let peer = std::thread::spawn(move || theirs.post(0));
        assert!(ours.wait(0, Duration::from_secs(30)));
        peer.join().unwrap();
        assert!(!ours.try_wait(0));
    }

    /// All that a peer can write are the count and bytes that mean nothing.
    #[test]
    fn a_scribbled_doorbell_posts_and_wakes_on() {
        let ours = Doorbell::create(1).unwrap();
        let theirs = Doorbell::attach(ours.fd().try_clone_to_owned().unwrap()).unwrap();
        for word in [u64::MAX, 0x7fff_ffff, 1 << 63, 0xffff_ffff_0000_0000, 5, 0] {
            for at in (0..page_bytes()).step_by(8) {
                ours.region.word64(at).store(word, Ordering::Relaxed);
            }
            theirs.post(0);
            ours.post(0);
            let _woken = (ours.try_wait(0), ours.wait(0, Duration::from_millis(1)));
        }
        while ours.try_wait(0) {}
        theirs.post(0);
        assert!(ours.wait(0, Duration::from_secs(30)));
    }

    #[test]
    fn posts_that_a_peer_has_made_up_keep_nobody_awake() {
        let ours = Doorbell::create(1).unwrap();
        let count = || ours.region.word64(page_bytes() - COUNT_BYTES);
        count().store(3, Ordering::Relaxed);
        assert!(ours.try_wait(0) && ours.try_wait(0) && ours.try_wait(0) && !ours.try_wait(0));
        count().store(0x7fff_fff0, Ordering::Relaxed);
        assert!(!ours.wait(0, Duration::from_millis(1)));
        count().store(0x7fff_fff0, Ordering::Relaxed);
        ours.take_all(0);
        assert!(!ours.try_wait(0));
    }

    #[test]
    fn a_peers_doorbell_without_room_for_a_semaphore_is_refused() {
        let short = Region::create("test", 8).unwrap();
        let refused = Doorbell::attach(short.fd().try_clone_to_owned().unwrap());
        assert!(matches!(refused, Err(RegionError::Refused(_))));
    }
}
