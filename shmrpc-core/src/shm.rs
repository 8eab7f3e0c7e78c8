//! Shared memory: sealed regions, doorbells, the board of a service, the rings of a channel, arenas for
//! what does not fit a slot, and [`HybridLock`](lock::HybridLock).
//!
//! This tree owns every byte that two processes can see, and all `unsafe` code of the workspace. It knows
//! nothing of RPC, sockets or runtimes: it is told what to write and says what it found. Whatever it reads
//! was possibly written by a faulty peer: each field is read once, the copy is validated, and nothing here
//! keeps a reference other than to atomics.

pub(crate) mod arena;
pub(crate) mod board;
pub(crate) mod channel;
pub(crate) mod counters;
pub(crate) mod doorbell;
pub(crate) mod kill_point;
pub(crate) mod lock;
pub(crate) mod region;
mod sync;
pub(crate) mod ticks;

use std::os::fd::{FromRawFd, OwnedFd};

/// Takes over a descriptor that the kernel has just given us in a message.
pub(crate) fn adopt_fd(fd: i32) -> OwnedFd {
    // SAFETY: the kernel made the descriptor for us with this very `recvmsg`; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes over a descriptor that was inherited, by the number that the parent process gave; `None` when it is
/// not open.
pub(crate) fn inherited_fd(fd: i32) -> Option<OwnedFd> {
    // SAFETY: acts on a number; no preconditions. Children of ours are not to inherit it in turn.
    let open = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } >= 0;
    // SAFETY: it is open, and by the contract with the parent it was opened for this use alone.
    open.then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How often this process is the child of a `fork`; changes in the child only.
pub(crate) fn fork_generation() -> u32 {
    use std::sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    };

    static GENERATION: AtomicU32 = AtomicU32::new(0);
    static REGISTERED: Once = Once::new();
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    REGISTERED.call_once(|| {
        // SAFETY: the handler only changes an atomic.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::Relaxed)
}

/// Has a function called when the process exits in the ordinary way.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: the function is safe and lives as long as the program.
    unsafe { libc::atexit(function) };
}
