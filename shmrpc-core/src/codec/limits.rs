//! Limits on what decoding may cost, the same for every encoding: how deep values nest, how much memory
//! they take, how many elements without bytes of their own they have.
//!
//! [`Limits`] is the tally of one decoding; [`bounded`] puts it between an encoding's deserializer and the
//! type that is read, so that a limit is met before the memory is asked for. Lengths of messages are the
//! transports' business.

mod bounded;

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error};

use self::bounded::Bounded;

/// Nesting beyond which values are refused when decoding; the same for every encoding that nests.
pub const MAX_DEPTH: usize = 128;

/// The memory that a decoded value may take, unless [`set_decode_budget_bytes`] says otherwise. A message so
/// long that [`BUDGET_PER_MESSAGE_BYTE`] times its length is more, may take that.
pub const DEFAULT_DECODE_BUDGET_BYTES: usize = 192 << 20;

/// See [`DEFAULT_DECODE_BUDGET_BYTES`]: numbers take up to eight times their bytes.
pub const BUDGET_PER_MESSAGE_BYTE: usize = 12;

/// Elements of size zero (`()` in bincode) that a value may have beyond one for each byte of its message.
const SPARE_EMPTY_ELEMENTS: usize = 4096;

static BUDGET_BYTES: AtomicUsize = AtomicUsize::new(DEFAULT_DECODE_BUDGET_BYTES);

/// Changes, for the whole process, the memory that a decoded value may take. It is an estimate, right within a
/// factor of two: elements, texts, and the nodes of maps are counted, what allocators add is not.
pub fn set_decode_budget_bytes(bytes: usize) {
    // Relaxed, here and below: a number that orders nothing.
    BUDGET_BYTES.store(bytes, Ordering::Relaxed);
}

/// The memory that a decoded value may take, at least.
#[must_use]
pub fn decode_budget_bytes() -> usize {
    BUDGET_BYTES.load(Ordering::Relaxed)
}

/// The limit that a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeLimit {
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// It would take more memory than it may.
    #[error("the value takes more memory than the {budget_bytes} bytes allowed")]
    Memory {
        /// The budget of this message.
        budget_bytes: usize,
    },
    /// It has more elements of size zero than its message has bytes.
    #[error("more empty elements than the message has bytes")]
    EmptyElements,
}

impl DecodeLimit {
    /// Its name, and for the budget how much it is; a colon; what people read. As it travels in a reply.
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Depth => format!("depth: {self}"),
            Self::Memory { budget_bytes } => format!("memory {budget_bytes}: {self}"),
            Self::EmptyElements => format!("empty elements: {self}"),
        }
    }

    /// What [`Self::to_text`] says; `None` for a limit that is not known here.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        match text.split_once(':')?.0 {
            "depth" => Some(Self::Depth),
            "empty elements" => Some(Self::EmptyElements),
            other => Some(Self::Memory { budget_bytes: other.strip_prefix("memory ")?.parse().ok()? }),
        }
    }
}

/// What one decoding has cost so far.
pub(super) struct Limits {
    depth: Cell<usize>,
    left_bytes: Cell<usize>,
    left_empty: Cell<usize>,
    /// Size of the value that is read next, as far as whoever holds it has paid for it.
    prepaid_bytes: Cell<usize>,
    len_bytes: usize,
    budget_bytes: usize,
    broken: Cell<Option<DecodeLimit>>,
}

impl Limits {
    pub(super) fn for_message(len_bytes: usize) -> Self {
        let budget_bytes = decode_budget_bytes().max(len_bytes.saturating_mul(BUDGET_PER_MESSAGE_BYTE));
        Self {
            depth: Cell::new(0),
            left_bytes: Cell::new(budget_bytes),
            left_empty: Cell::new(len_bytes.saturating_add(SPARE_EMPTY_ELEMENTS)),
            prepaid_bytes: Cell::new(0),
            len_bytes,
            budget_bytes,
            broken: Cell::new(None),
        }
    }

    /// The limit that was broken, if one was; the deserializer's own error says less.
    pub(super) fn broken(&self) -> Option<DecodeLimit> {
        self.broken.get()
    }

    /// Reads a value within these limits.
    pub(super) fn read<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        &self,
        deserializer: D,
    ) -> Result<T, D::Error> {
        T::deserialize(Bounded::new(deserializer, self))
    }

    /// The same as a seed, for deserializers that are not handed out.
    pub(super) fn seed<'de, 'l, T: DeserializeOwned + 'l>(
        &'l self,
    ) -> impl DeserializeSeed<'de, Value = T> + 'l {
        Bounded::new(std::marker::PhantomData::<T>, self)
    }

    #[cold]
    fn fail<E: Error>(&self, limit: DecodeLimit) -> E {
        self.broken.set(Some(limit));
        E::custom(limit)
    }

    #[inline]
    fn charge<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.left_bytes.get().checked_sub(bytes) {
            Some(left) => {
                self.left_bytes.set(left);
                Ok(())
            }
            None => Err(self.fail(DecodeLimit::Memory { budget_bytes: self.budget_bytes })),
        }
    }

    /// A value made of parts, of that size. Whoever holds it has paid for it if it lies inside its holder, and
    /// has not if it lies in a box of its own.
    #[inline]
    fn compound<E: Error>(&self, size: usize) -> Result<(), E> {
        let unpaid = size.saturating_sub(self.prepaid_bytes.get());
        self.prepaid_bytes.set(size);
        if unpaid == 0 { Ok(()) } else { self.charge(unpaid) }
    }

    #[inline]
    fn descend<E: Error>(&self) -> Result<(), E> {
        if self.depth.get() == MAX_DEPTH {
            return Err(self.fail(DecodeLimit::Depth));
        }
        self.depth.set(self.depth.get() + 1);
        Ok(())
    }

    #[inline]
    fn ascend(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    /// What a container is told to make room for: a length that lies is believed up to the message's, since each
    /// element has a byte of its own. Nested lies would otherwise cost a mebibyte a level.
    #[inline]
    fn believable(&self, elements: Option<usize>) -> Option<usize> {
        elements.map(|elements| elements.min(self.len_bytes))
    }

    #[inline]
    fn empty_element<E: Error>(&self) -> Result<(), E> {
        match self.left_empty.get().checked_sub(1) {
            Some(left) => {
                self.left_empty.set(left);
                Ok(())
            }
            None => Err(self.fail(DecodeLimit::EmptyElements)),
        }
    }
}
