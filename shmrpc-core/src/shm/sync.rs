//! The atomics with which rings and boards are built. The models in `tests/models` compile those same files with
//! atomics of their own here, which try every order of events.

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Between a read-modify-write and a load that must not be earlier: the first is a full barrier on x86, and on other
/// processors a fence makes one of it.
pub(super) fn fence_after_swap() {
    if cfg!(target_arch = "x86_64") {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}
