//! Raw calls in place: [`ShmBytes`], the argument where it lies, and [`Loan`], the place of its reply. Neither
//! gives out a reference over memory that a peer may write: everything goes through copies of a size that
//! the handler chooses.
//!
//! Where the bytes are is the transport's choice: it lends an argument as [`Lent`], and room for a reply
//! through its `ReplySink`. A transport that has no memory in common with the caller gives private copies,
//! which behave the same.

mod loan;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fmt,
    ops::{Bound, RangeBounds},
};

pub(crate) use self::loan::{Draft, Drafted};
pub use self::loan::{Loan, LoanError, LoanSource};
use super::call::Near;
use crate::shm::region::Region;

/// Memory that a peer may write, and that is only ever copied out of. Parts lie inside.
pub(crate) trait Lent: Sync {
    fn len_bytes(&self) -> usize;
    /// Appends a copy of a part.
    fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>);
    /// Copies a part.
    fn copy_to(&self, offset: usize, into: &mut [u8]);
    /// The region in which it lies, and where it begins there: a copy to another need not pass through
    /// private memory.
    fn region(&self) -> Option<(&Region, usize)>;
}

/// Memory that a peer will read, lent to be written: for a reply at the server, for arguments at a client.
pub(crate) trait Room: Send {
    /// Finds room for so many bytes, and says how many fit; what was lent before is given back.
    fn make(&mut self, len_bytes: usize) -> Result<usize, LoanError>;
    /// Writes into the room, inside of it.
    fn write(&mut self, offset: usize, bytes: &[u8]);
    /// Writes a copy of all that is lent there into the room, inside of it.
    fn fill(&mut self, offset: usize, source: &dyn Lent);
    /// Appends a copy of the room's beginning, and gives the room back.
    fn read(&mut self, len_bytes: usize, into: &mut Vec<u8>);
}

/// A call's argument as its transport has it.
pub(crate) enum Argument<'a> {
    Copied(Cow<'a, [u8]>),
    Lent(&'a dyn Near),
}

impl Argument<'_> {
    pub(super) fn bytes(&self) -> ShmBytes<'_> {
        match self {
            Self::Copied(copy) => ShmBytes::copied(copy),
            Self::Lent(lent) => ShmBytes::lent(*lent),
        }
    }
}

/// The argument of a raw call at the worker, or its reply at the client, in place. Who wrote it can write it
/// still: what is read twice may differ.
#[derive(Clone, Copy)]
pub struct ShmBytes<'a> {
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Copied(&'a [u8]),
    Lent(&'a dyn Lent),
}

impl<'a> ShmBytes<'a> {
    pub(crate) fn lent(lent: &'a dyn Lent) -> Self {
        Self { source: Source::Lent(lent) }
    }

    pub(crate) fn copied(copy: &'a [u8]) -> Self {
        Self { source: Source::Copied(copy) }
    }

    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.source {
            Source::Copied(copy) => copy.len(),
            Source::Lent(lent) => lent.len_bytes(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies from the beginning as much as there is and fits, and says how much.
    pub fn copy_to(&self, into: &mut [u8]) -> usize {
        self.copy_from_offset(0, into)
    }

    /// Copies from an offset as much as there is and fits, and says how much.
    pub fn copy_from_offset(&self, offset: usize, into: &mut [u8]) -> usize {
        let count = self.len().saturating_sub(offset).min(into.len());
        match self.source {
            Source::Copied(_) if count == 0 => {}
            Source::Copied(copy) => into[..count].copy_from_slice(&copy[offset..offset + count]),
            Source::Lent(_) if count == 0 => {}
            Source::Lent(lent) => lent.copy_to(offset, &mut into[..count]),
        }
        count
    }

    /// A copy of the part in that range; what lies beyond the end is left out.
    #[must_use]
    pub fn read(&self, range: impl RangeBounds<usize>) -> Vec<u8> {
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&to) => to,
            Bound::Unbounded => self.len(),
        };
        let len = to.min(self.len()).saturating_sub(from);
        match self.source {
            _ if len == 0 => Vec::new(),
            Source::Copied(copy) => copy[from..from + len].to_vec(),
            Source::Lent(lent) => {
                let mut part = Vec::with_capacity(len);
                lent.copy_out(from, len, &mut part);
                part
            }
        }
    }

    /// A copy of all of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.read(..)
    }
}

impl fmt::Debug for ShmBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShmBytes").field("len_bytes", &self.len()).finish_non_exhaustive()
    }
}
