//! Who claims, and what has been claimed.

/// A worker on a ring: its index on the board and a random incarnation, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Claimer(u32);

impl Claimer {
    /// The connection itself, which claims what it gives up: no worker has this index.
    pub(crate) const CLIENT: Self = Self(0xff << 24 | 1);

    pub(crate) fn new(index: u8, nonce: u64) -> Self {
        Self(u32::from(index) << 24 | ((nonce as u32) & 0x00ff_ffff).max(1))
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

/// A call that this worker has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) slot: u16,
    pub(crate) index: u32,
}
