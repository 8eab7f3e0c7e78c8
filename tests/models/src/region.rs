//! In place of shared memory: words of loom's. Bytes that are copied in and out are words too, loaded and stored
//! without any order of their own, so that a payload which is read before it was published shows.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Words that exist: enough for a ring of four slots, and for the first channels of a board. Others are never touched
/// by the models, and would take their time in each of thousands of runs.
const MOST_BYTES: usize = 640 + 4 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub(crate) enum RegionError {
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {}

pub(crate) struct Region {
    len_bytes: usize,
    words: Box<[AtomicU64]>,
    /// The one word of 32 bits that there is.
    word32: AtomicU32,
}

impl Region {
    pub(crate) fn create(_label: &str, len_bytes: usize) -> Result<Self, RegionError> {
        let words = (0..len_bytes.min(MOST_BYTES) / 8).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { len_bytes, words, word32: AtomicU32::new(0) })
    }

    pub(crate) fn attach(_fd: OwnedFd, _max_bytes: usize) -> Result<Self, RegionError> {
        Err(RegionError::Refused("models share one mapping".into()))
    }

    pub(crate) fn identity(&self) -> Identity {
        unreachable!("models have no descriptors")
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        unreachable!("models have no descriptors")
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(crate) fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len_bytes)
    }

    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8));
        &self.words[offset / 8]
    }

    pub(crate) fn word32(&self, _offset: usize) -> &AtomicU32 {
        &self.word32
    }

    pub(crate) fn words<const N: usize>(&self, offset: usize) -> &[AtomicU64; N] {
        self.words[offset / 8..][..N].try_into().expect("so many words")
    }

    pub(crate) fn prefetch(&self, _offset: usize) {}

    pub(crate) fn prefetch_exclusive(&self, _offset: usize) {}

    /// A payload of one word, or of none.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let word = u64::from_le_bytes(word.try_into().expect("models write whole words"));
            self.word64(offset).store(word, Ordering::Relaxed);
        }
    }

    pub(crate) fn take(&self, offset: usize) -> u64 {
        self.word64(offset).load(Ordering::Relaxed)
    }
}

/// The size of a page.
pub(crate) fn page_bytes() -> usize {
    4096
}
