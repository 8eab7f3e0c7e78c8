//! In place of the processor's atomics: those of loom.

pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// As on processors whose swaps are no full barriers.
pub(crate) fn fence_after_swap() {
    fence(Ordering::SeqCst);
}
