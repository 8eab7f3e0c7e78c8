//! The reply of a raw call in place: a [`Loan`] writes into a [`Draft`], which the glue sends.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use super::{Lent, Room, ShmBytes, Source};

/// A message in the making: in a room of the transport's if it lent one, in a buffer otherwise.
pub(crate) struct Draft<'a> {
    room: Option<&'a mut dyn Room>,
    /// How large the room is and how much of it is written, while it is in use.
    lent: Option<(usize, usize)>,
    buffer: Vec<u8>,
}

/// What has been written.
pub(crate) enum Drafted {
    /// So many bytes in the room.
    Room(usize),
    /// In private memory.
    Buffer(Vec<u8>),
}

impl<'a> Draft<'a> {
    pub(crate) fn new(room: Option<&'a mut dyn Room>) -> Self {
        Self { room, lent: None, buffer: Vec::new() }
    }

    pub(crate) fn finish(self) -> Drafted {
        match self.lent {
            Some((_, written)) => Drafted::Room(written),
            None => Drafted::Buffer(self.buffer),
        }
    }
}

/// What a [`Loan`] does with its draft, whatever the draft's own life.
trait Drafting {
    fn len(&self) -> usize;
    fn reserve(&mut self, additional_bytes: usize) -> Result<(), LoanError>;
    fn append(&mut self, bytes: &[u8]);
    fn append_lent(&mut self, source: &dyn Lent);
    fn skip(&mut self, len_bytes: usize);
}

impl Drafting for Draft<'_> {
    fn len(&self) -> usize {
        self.lent.map_or(self.buffer.len(), |(_, written)| written)
    }

    fn reserve(&mut self, additional_bytes: usize) -> Result<(), LoanError> {
        let total = self.len().saturating_add(additional_bytes);
        if total as u64 > LIMIT_BYTES {
            return Err(LoanError::TooLarge { len_bytes: total as u64, limit_bytes: LIMIT_BYTES });
        }
        match (self.lent, &mut self.room) {
            (Some((size, _)), _) if total <= size => return Ok(()),
            // The room is too small after all: on with a buffer.
            (Some((_, written)), Some(room)) => {
                room.read(written, &mut self.buffer);
                self.lent = None;
                self.room = None;
            }
            (None, Some(room)) if self.buffer.is_empty() => {
                self.lent = Some((room.make(total)?, 0));
                return Ok(());
            }
            _ => {}
        }
        let missing = total - self.buffer.len();
        self.buffer.try_reserve(missing).map_err(|_| LoanError::NoSpace { len_bytes: total as u64 })
    }

    fn append(&mut self, bytes: &[u8]) {
        match (&mut self.lent, &mut self.room) {
            (Some((_, written)), Some(room)) => {
                room.write(*written, bytes);
                *written += bytes.len();
            }
            _ => self.buffer.extend_from_slice(bytes),
        }
    }

    fn skip(&mut self, len_bytes: usize) {
        match &mut self.lent {
            Some((_, written)) => *written += len_bytes,
            None => self.buffer.resize(self.buffer.len() + len_bytes, 0),
        }
    }

    fn append_lent(&mut self, source: &dyn Lent) {
        match (&mut self.lent, &mut self.room) {
            (Some((_, written)), Some(room)) => {
                room.fill(*written, source);
                *written += source.len_bytes();
            }
            _ => source.copy_out(0, source.len_bytes(), &mut self.buffer),
        }
    }
}

/// The place of a raw call's reply at the worker, or of its argument at the client: what is written into it is
/// the message if the function that writes returns `Ok`, and is forgotten otherwise.
///
/// With [`copy_from`](Self::copy_from), or after a [`reserve`](Self::reserve) that was large enough, the bytes
/// are written where the other side reads them; what outgrows its place is collected first.
pub struct Loan<'a> {
    draft: &'a mut (dyn Drafting + 'a),
}

/// The largest reply that can be described.
const LIMIT_BYTES: u64 = u32::MAX as u64;

impl<'a> Loan<'a> {
    pub(crate) fn new(draft: &'a mut Draft<'_>) -> Self {
        Self { draft }
    }

    /// What has been written so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.draft.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for so many more bytes at once, where the caller will read them if this is the beginning.
    ///
    /// # Errors
    /// When there is no room.
    pub fn reserve(&mut self, additional_bytes: usize) -> Result<(), LoanError> {
        self.draft.reserve(additional_bytes)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LoanError> {
        self.draft.reserve(bytes.len())?;
        self.draft.append(bytes);
        Ok(())
    }

    /// Lengthens the message by so many bytes and leaves them as they are: zeroes, or what an earlier message of the
    /// same connection has left there. For messages of which the other side knows what is filled in.
    ///
    /// # Errors
    /// When there is no room.
    pub fn skip(&mut self, len_bytes: usize) -> Result<(), LoanError> {
        self.draft.reserve(len_bytes)?;
        self.draft.skip(len_bytes);
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
        loan.reserve(self.len())?;
        match self.source {
            Source::Copied(copy) => loan.draft.append(copy),
            Source::Lent(lent) => loan.draft.append_lent(lent),
        }
        Ok(())
    }
}

impl<T: AsRef<[u8]> + ?Sized> LoanSource for &T {
    fn append_to(&self, loan: &mut Loan<'_>) -> Result<(), LoanError> {
        loan.reserve(self.as_ref().len())?;
        loan.draft.append(self.as_ref());
        Ok(())
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
