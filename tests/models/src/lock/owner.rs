//! In place of pid, start time and `/proc`: numbers, and a word that says which of them are dead.

use crate::sync::{AtomicU64, Ordering};

pub(super) const OWNER_MASK: u64 = (1 << 63) - 1;

loom::lazy_static! {
    static ref DEAD: AtomicU64 = AtomicU64::new(0);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u64);

impl Owner {
    /// A process, by its number from 1.
    pub(super) fn of(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn from_word(word: u64) -> Option<Self> {
        match word & OWNER_MASK {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn is_dead(self) -> bool {
        DEAD.load(Ordering::Acquire) >> self.0 & 1 == 1
    }

    /// Nothing that it did comes after this.
    pub(super) fn has_died(self) {
        DEAD.fetch_or(1 << self.0, Ordering::AcqRel);
    }
}
