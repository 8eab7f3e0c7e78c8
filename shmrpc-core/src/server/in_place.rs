//! Raw calls in place: [`ShmBytes`], the argument where it lies, and [`Loan`], the place of the reply. Neither
//! gives out a reference over memory that a peer may write: everything goes through copies of a size that
//! the handler chooses.
//!
//! Where the bytes are is the transport's choice. Those that have no memory in common with the caller give
//! private copies, which behave the same.

use std::{
    fmt, io,
    ops::{Bound, RangeBounds},
};

use serde::{Deserialize, Serialize};

/// The argument of a raw call, in place.
#[derive(Clone, Copy)]
pub struct ShmBytes<'a> {
    copy: &'a [u8],
}

impl<'a> ShmBytes<'a> {
    /// Over a private copy.
    pub(crate) fn copied(copy: &'a [u8]) -> Self {
        Self { copy }
    }

    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.copy.len()
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
        let rest = self.copy.get(offset..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
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
        let mut part = vec![0; to.min(self.len()).saturating_sub(from)];
        let count = self.copy_from_offset(from, &mut part);
        part.truncate(count);
        part
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

/// The place of a raw call's reply: what is written into it is the reply if the handler returns `Ok`, and is
/// forgotten otherwise.
pub struct Loan<'a> {
    reply: &'a mut Vec<u8>,
}

/// The largest reply that can be described.
const LIMIT_BYTES: u64 = u32::MAX as u64;

impl<'a> Loan<'a> {
    /// Over a buffer that the transport sends on.
    pub(crate) fn buffered(reply: &'a mut Vec<u8>) -> Self {
        Self { reply }
    }

    /// What has been written so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reply.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for so many more bytes at once, which saves moving them later.
    ///
    /// # Errors
    /// When there is no room.
    pub fn reserve(&mut self, additional_bytes: usize) -> Result<(), LoanError> {
        let len_bytes = (self.len() as u64).saturating_add(additional_bytes as u64);
        if len_bytes > LIMIT_BYTES {
            return Err(LoanError::TooLarge { len_bytes, limit_bytes: LIMIT_BYTES });
        }
        self.reply.try_reserve(additional_bytes).map_err(|_| LoanError::NoSpace { len_bytes })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LoanError> {
        self.reserve(bytes.len())?;
        self.reply.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends the bytes of an argument in place ([`ShmBytes`]) or of a slice, and ends the reply.
    ///
    /// # Errors
    /// When there is no room.
    pub fn copy_from(mut self, source: impl LoanSource) -> Result<(), LoanError> {
        source.append_to(&mut self)
    }
}

impl fmt::Debug for Loan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("len_bytes", &self.len()).finish_non_exhaustive()
    }
}

impl io::Write for Loan<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Loan::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a [`Loan`] can copy from.
pub trait LoanSource {
    /// Appends all bytes.
    ///
    /// # Errors
    /// When there is no room.
    fn append_to(&self, loan: &mut Loan<'_>) -> Result<(), LoanError>;
}

impl LoanSource for ShmBytes<'_> {
    fn append_to(&self, loan: &mut Loan<'_>) -> Result<(), LoanError> {
        loan.write(self.copy)
    }
}

impl<T: AsRef<[u8]> + ?Sized> LoanSource for &T {
    fn append_to(&self, loan: &mut Loan<'_>) -> Result<(), LoanError> {
        loan.write(self.as_ref())
    }
}

/// A reply that has no room. It can be the error of a handler that works in place, and then reaches the caller
/// typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum LoanError {
    /// The reply exceeds what a message may be.
    #[error("reply of {len_bytes} bytes exceeds the limit of {limit_bytes} bytes")]
    TooLarge {
        /// What the reply would have been.
        len_bytes: u64,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// There is no memory for it.
    #[error("no memory for a reply of {len_bytes} bytes")]
    NoSpace {
        /// What the reply would have been.
        len_bytes: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_at_the_end() {
        let bytes = ShmBytes::copied(b"abcdef");
        assert_eq!(bytes.read(1..3), b"bc");
        assert_eq!(bytes.read(4..=9), b"ef");
        assert_eq!(bytes.read(7..), b"");
        #[expect(clippy::reversed_empty_ranges, reason = "must not panic")]
        let reversed = bytes.read(3..1);
        assert_eq!(reversed, b"");
        let mut few = [0; 4];
        assert_eq!(bytes.copy_to(&mut few), 4);
        assert_eq!(&few, b"abcd");
        assert_eq!(bytes.copy_from_offset(5, &mut few), 1);
        assert_eq!(bytes.copy_from_offset(99, &mut few), 0);
    }

    #[test]
    fn a_loan_collects_what_is_written() {
        let mut reply = Vec::new();
        let mut loan = Loan::buffered(&mut reply);
        loan.write(b"ab").unwrap();
        io::Write::write_all(&mut loan, b"cd").unwrap();
        loan.copy_from(ShmBytes::copied(b"ef")).unwrap();
        assert_eq!(reply, b"abcdef");
        Loan::buffered(&mut reply).copy_from(b"!").unwrap();
        assert_eq!(reply, b"abcdef!");
        let too_much = Loan::buffered(&mut reply).reserve(usize::MAX);
        assert!(matches!(too_much, Err(LoanError::TooLarge { .. })));
    }
}
