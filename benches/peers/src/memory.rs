//! Memory that two processes map, and the little of the C library that the standard one lacks: semaphores and
//! futexes in that memory, pinning, the processor time of another process. All unsafe code of the harness is here.
//!
//! The memory is a memfd, which leaves no name behind. Its owner tells others `/proc/PID/fd/N`.
#![expect(unsafe_code, reason = "mappings, semaphores, futexes and calls of the C library")]

use std::{
    fs::{File, OpenOptions},
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Shared, populated memory.
pub struct Memory {
    base: NonNull<u8>,
    len_bytes: usize,
    file: File,
}

// SAFETY: it is plain memory; what races in it is atomic, or ordered by something atomic.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn create(len_bytes: usize) -> Self {
        // SAFETY: the name is a C string; flags are valid.
        let fd = unsafe { libc::memfd_create(c"shmrpc-bench".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len_bytes as u64).expect("the memory can be sized");
        Self::map(file, len_bytes)
    }

    pub fn open(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the owner lives");
        let len_bytes = file.metadata().expect("an open file").len() as usize;
        Self::map(file, len_bytes)
    }

    fn map(file: File, len_bytes: usize) -> Self {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping of an open file, at no given address.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len_bytes, access, flags, file.as_raw_fd(), 0) };
        assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self { base: NonNull::new(base.cast()).expect("mapped"), len_bytes, file }
    }

    /// Where another process opens it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.len_bytes);
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    pub fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: mapped, aligned, and only ever used as an atomic.
        unsafe { &*self.at::<AtomicU64>(offset) }
    }

    fn half_word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: mapped, aligned, and only ever used as an atomic.
        unsafe { &*self.at::<AtomicU32>(offset) }
    }

    /// Copies in. Nobody else may use that part meanwhile.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len_bytes);
        // SAFETY: inside the mapping, and apart from a private buffer.
        unsafe { self.base.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies out. Nobody else may write that part meanwhile.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= self.len_bytes);
        // SAFETY: inside the mapping, and apart from a private buffer.
        unsafe { self.base.as_ptr().add(offset).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies from one part to another that does not overlap it.
    pub fn move_within(&self, from: usize, to: usize, len_bytes: usize) {
        assert!(from.abs_diff(to) >= len_bytes && from.max(to) + len_bytes <= self.len_bytes);
        // SAFETY: inside the mapping, as just checked.
        let source = unsafe { self.base.as_ptr().add(from) };
        // SAFETY: inside the mapping, as just checked.
        let target = unsafe { self.base.as_ptr().add(to) };
        // SAFETY: both are inside, and they do not overlap.
        unsafe { source.copy_to_nonoverlapping(target, len_bytes) }
    }

    pub fn make_semaphore(&self, offset: usize) {
        // SAFETY: mapped, aligned memory in which nothing is yet.
        assert_eq!(unsafe { libc::sem_init(self.at(offset), 1, 0) }, 0);
    }

    pub fn post(&self, offset: usize) {
        // SAFETY: a semaphore was made there.
        assert_eq!(unsafe { libc::sem_post(self.at(offset)) }, 0);
    }

    pub fn wait(&self, offset: usize) {
        // SAFETY: a semaphore was made there.
        while unsafe { libc::sem_wait(self.at(offset)) } != 0 {}
    }

    /// Sets the word there to `value` and wakes whoever sleeps on it.
    pub fn futex_post(&self, offset: usize, value: u32) {
        self.half_word(offset).store(value, Ordering::Release);
        // SAFETY: the address is that of a mapped word.
        unsafe { libc::syscall(libc::SYS_futex, self.at::<u32>(offset), libc::FUTEX_WAKE, 1) };
    }

    /// Sleeps while the word there is not `value`.
    pub fn futex_wait(&self, offset: usize, value: u32) {
        loop {
            let seen = self.half_word(offset).load(Ordering::Acquire);
            if seen == value {
                return;
            }
            let forever = std::ptr::null::<libc::timespec>();
            let word = self.at::<u32>(offset);
            // SAFETY: the address is that of a mapped word.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, forever) };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}

/// The processors that this process may use.
pub fn processors() -> Vec<usize> {
    // SAFETY: an all-zero set is a valid, empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the size is that of the set.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    // SAFETY: indices below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Pins this thread, and the threads that it makes from now on.
pub fn pin(cpu: usize) {
    // SAFETY: an all-zero set is a valid, empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index comes from `processors`.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the size is that of the set.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    assert_eq!(result, 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
}

/// The processor time that a process of this user has had, in all its threads.
pub fn cpu_time(pid: u32) -> Duration {
    let mut clock = 0;
    // SAFETY: writes one clock id.
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) } != 0 {
        return Duration::ZERO;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processor time of this process's children that have ended and been waited for.
pub fn children_cpu_time() -> Duration {
    // SAFETY: an all-zero structure is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rusage.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .sum()
}

/// This process dies with the thread that spawned it.
pub fn die_with_parent() {
    // SAFETY: sets an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// As many open files as the system lets this process have.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}
