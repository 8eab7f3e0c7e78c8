//! The reply of a raw call in place: a [`Loan`] writes into a [`Draft`], which the glue sends.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use super::ShmBytes;
use crate::{error::Status, server::call::Responder};

/// A reply in the making: in a room of the transport's if it lent one, in a buffer otherwise.
pub(in crate::server) struct Draft {
    responder: Responder,
    buffer: Vec<u8>,
    /// How large the room is and how much of it is written.
    room: Option<(usize, usize)>,
}

impl Draft {
    pub(in crate::server) fn new(responder: Responder) -> Self {
        Self { responder, buffer: Vec::new(), room: None }
    }

    /// Answers with what has been written.
    pub(in crate::server) fn send(self) {
        match self.room {
            Some((_, written)) => self.responder.send_room(written),
            None => self.responder.send(Status::Ok, &self.buffer),
        }
    }

    /// Forgets what has been written, for an answer of another kind.
    pub(in crate::server) fn discard(self) -> Responder {
        self.responder
    }

    fn len(&self) -> usize {
        self.room.map_or(self.buffer.len(), |(_, written)| written)
    }

    fn reserve(&mut self, additional_bytes: usize) -> Result<(), LoanError> {
        let total = self.len().saturating_add(additional_bytes);
        if total as u64 > LIMIT_BYTES {
            return Err(LoanError::TooLarge { len_bytes: total as u64, limit_bytes: LIMIT_BYTES });
        }
        match self.room {
            Some((size, _)) if total <= size => return Ok(()),
            // The room is too small after all: on with a buffer.
            Some((_, written)) => {
                self.responder.read_room(written, &mut self.buffer);
                self.room = None;
            }
            None if self.buffer.is_empty() => {
                if let Some(room) = self.responder.make_room(total) {
                    room?;
                    self.room = Some((total, 0));
                    return Ok(());
                }
            }
            None => {}
        }
        let missing = total - self.buffer.len();
        self.buffer.try_reserve(missing).map_err(|_| LoanError::NoSpace { len_bytes: total as u64 })
    }

    fn append(&mut self, bytes: &[u8]) {
        match &mut self.room {
            Some((_, written)) => {
                self.responder.write_room(*written, bytes);
                *written += bytes.len();
            }
            None => self.buffer.extend_from_slice(bytes),
        }
    }
}

/// The place of a raw call's reply: what is written into it is the reply if the handler returns `Ok`, and is
/// forgotten otherwise.
///
/// With [`copy_from`](Self::copy_from), or after a [`reserve`](Self::reserve) that was large enough, the bytes
/// are written where the caller reads them; otherwise they are collected first.
pub struct Loan<'a> {
    draft: &'a mut Draft,
}

/// The largest reply that can be described.
const LIMIT_BYTES: u64 = u32::MAX as u64;

impl<'a> Loan<'a> {
    pub(in crate::server) fn new(draft: &'a mut Draft) -> Self {
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
        if self.draft.room.is_some() {
            self.draft.reserve(bytes.len())?;
        } else if (self.len() + bytes.len()) as u64 > LIMIT_BYTES {
            let len_bytes = (self.len() + bytes.len()) as u64;
            return Err(LoanError::TooLarge { len_bytes, limit_bytes: LIMIT_BYTES });
        }
        self.draft.append(bytes);
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
        self.steps(0, self.len(), |part| loan.draft.append(part));
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
