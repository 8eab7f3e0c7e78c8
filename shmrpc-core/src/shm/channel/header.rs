//! What the words of a slot say about a call and a reply. Where they lie is the channel's business.

use super::Claimer;

/// Where a payload lies: in the slot (`arena == 0`) or in an arena of the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) arena: u32,
    pub(crate) len_bytes: u32,
    pub(crate) offset: u64,
}

impl Place {
    /// Arena and length, as they lie in a slot.
    pub(super) fn word(self) -> u64 {
        u64::from(self.arena) << 32 | u64::from(self.len_bytes)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self { arena: (word >> 32) as u32, len_bytes: word as u32, offset: 0 }
    }
}

/// A call's header, as it lies in the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallHeader {
    pub(crate) call_id: u64,
    pub(crate) method: u64,
    /// On CLOCK_MONOTONIC.
    pub(crate) deadline_ns: u64,
    pub(crate) place: Place,
    pub(crate) door: u8,
    /// Given up before it was claimed.
    pub(crate) cancelled: bool,
}

/// A header whose seal fits, and the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedCall {
    pub(crate) header: CallHeader,
    pub(crate) seal: u32,
}

/// A reply's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplyHeader {
    pub(crate) status: u8,
    pub(crate) place: Place,
    /// Whose arena it is, of a reply that lies in one.
    pub(crate) claimer: Claimer,
}

/// The words about a call or a reply contradict each other: somebody has written there who had no business to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;
