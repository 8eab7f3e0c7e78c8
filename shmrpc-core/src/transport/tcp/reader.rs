//! Frames out of a TCP stream. Small frames are parsed where they were read, in a buffer that the reader has
//! only while there is something in it; a large one is read straight into memory of its own, which grows
//! with what has arrived, never with what a header claims. How long a frame may take is its user's to say.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::socket::{Fill, Socket, Wait};
use crate::frame::{FrameError, HEADER_BYTES, Header};

/// How much is read at once, while frames are small.
const CHUNK_BYTES: usize = 64 << 10;
/// Frames from this length on get memory of their own.
const LARGE_BYTES: usize = CHUNK_BYTES / 2;
/// How fast a large frame must come at least, beyond the time that every frame has.
const SLOWEST_BYTES_PER_S: u64 = 64 << 10;

/// Where bytes come from: a socket, or what stands for one.
pub(super) trait Source {
    /// Reads once.
    fn read(&self, into: &mut [u8], wait: Wait) -> io::Result<(Fill, usize)>;
    /// Reads once, into what a vector has room for.
    fn read_into(&self, into: &mut Vec<u8>, wait: Wait) -> io::Result<Fill>;
    /// Whether the peer has begun something of which nothing can be seen before it is whole.
    fn is_inside_record(&self) -> bool;
}

impl Source for Socket {
    fn read(&self, into: &mut [u8], wait: Wait) -> io::Result<(Fill, usize)> {
        Self::read(self, into, wait)
    }

    fn read_into(&self, into: &mut Vec<u8>, wait: Wait) -> io::Result<Fill> {
        Self::read_into(self, into, wait)
    }

    fn is_inside_record(&self) -> bool {
        Self::is_inside_record(self)
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// A frame, not yet decoded; its length has been checked.
    Frame(Header, Body<'a>),
    /// A frame longer than allowed; its body has been skipped and the next one may be read.
    Oversized { header: Header, error: FrameError },
}

/// The body of a frame.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// In the reader's buffer.
    Here(&'a [u8]),
    /// In memory of its own.
    Own(Vec<u8>),
}

impl Body<'_> {
    pub(super) fn into_bytes(self) -> bytes::Bytes {
        match self {
            Self::Here(bytes) => bytes::Bytes::copy_from_slice(bytes),
            Self::Own(bytes) => bytes.into(),
        }
    }

    /// What comes after so many bytes.
    pub(super) fn into_bytes_from(self, at: usize) -> bytes::Bytes {
        match self {
            Self::Here(bytes) => bytes::Bytes::copy_from_slice(&bytes[at..]),
            Self::Own(bytes) => bytes::Bytes::from(bytes).slice(at..),
        }
    }
}

impl std::ops::Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the connection ended in the middle of a frame")]
    Truncated,
}

/// Buffers that no reader has just now.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// So many are kept.
const MOST_SPARE: usize = 16;

pub(super) struct FrameReader {
    /// Either empty or [`CHUNK_BYTES`] long; what has been read lies at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A large frame under way.
    large: Option<(Header, Vec<u8>)>,
    /// An oversized frame's header, its fault, and how much of its body is still to come.
    skipping: Option<(Header, FrameError, u64)>,
    /// When the frame under way was first waited for.
    begun_at: Option<Instant>,
    max_message_bytes: u64,
}

/// A frame found at the beginning of what has been read.
enum Found {
    Small(Header),
    Large(Header, Vec<u8>),
    Oversized(Header, FrameError),
}

impl FrameReader {
    pub(super) fn new(max_message_bytes: u64) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            large: None,
            skipping: None,
            begun_at: None,
            max_message_bytes,
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.buffer.capacity() + self.large.as_ref().map_or(0, |(_, body)| body.capacity())
    }

    /// Whether bytes are here that `next` has not looked at.
    pub(super) fn has_bytes(&self) -> bool {
        self.end > self.start
    }

    /// When the frame under way must be complete, if one is: after `timeout`, and a second more for every
    /// 64 KiB of it.
    pub(super) fn due(&self, timeout: Duration) -> Option<Instant> {
        let claimed = self.claimed_bytes();
        self.begun_at.map(|begun| begun + timeout + Duration::from_secs(claimed / SLOWEST_BYTES_PER_S))
    }

    /// The next frame, if all of it has been read.
    pub(super) fn next(&mut self) -> Result<Option<Received<'_>>, ReadError> {
        let Some(found) = self.find()? else { return Ok(None) };
        self.begun_at = None;
        Ok(Some(match found {
            Found::Large(header, body) => Received::Frame(header, Body::Own(body)),
            Found::Oversized(header, error) => Received::Oversized { header, error },
            Found::Small(header) => {
                let body = self.start + HEADER_BYTES;
                self.start = body + header.body_bytes as usize;
                Received::Frame(header, Body::Here(&self.buffer[body..self.start]))
            }
        }))
    }

    fn find(&mut self) -> Result<Option<Found>, ReadError> {
        if self.skipping.is_some() {
            return Ok(self.skip());
        }
        if let Some((header, body)) = self.large.take() {
            return Ok(self.complete(header, body));
        }
        let here = &self.buffer[self.start..self.end];
        let Some(bytes) = here.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(bytes)?;
        if let Err(error) = header.check(self.max_message_bytes) {
            self.start += HEADER_BYTES;
            self.skipping = Some((header, error, u64::from(header.body_bytes)));
            return Ok(self.skip());
        }
        let body_bytes = header.body_bytes as usize;
        if here.len() - HEADER_BYTES >= body_bytes {
            return Ok(Some(Found::Small(header)));
        }
        if body_bytes < LARGE_BYTES {
            return Ok(None);
        }
        let begun = here[HEADER_BYTES..].to_vec();
        self.start = self.end;
        self.large = Some((header, begun));
        Ok(None)
    }

    /// A large frame, if it is complete. What was read beyond it is kept.
    fn complete(&mut self, header: Header, mut body: Vec<u8>) -> Option<Found> {
        let body_bytes = header.body_bytes as usize;
        if body.len() < body_bytes {
            self.large = Some((header, body));
            return None;
        }
        let beyond = body.len() - body_bytes;
        if beyond > 0 {
            self.take_buffer();
            // A large body is given room for itself alone, and what an allocator adds is little.
            let fits = self.buffer.len().max(beyond);
            self.buffer.resize(fits, 0);
            self.buffer[..beyond].copy_from_slice(&body[body_bytes..]);
            (self.start, self.end) = (0, beyond);
            body.truncate(body_bytes);
        }
        Some(Found::Large(header, body))
    }

    /// Drops what has come of an oversized body.
    fn skip(&mut self) -> Option<Found> {
        let (header, error, left) = self.skipping.take()?;
        let here = left.min((self.end - self.start) as u64);
        self.start += here as usize;
        if left == here {
            return Some(Found::Oversized(header, error));
        }
        self.skipping = Some((header, error, left - here));
        None
    }

    /// Reads once. To be called when `next` has found nothing.
    pub(super) fn fill(&mut self, socket: &impl Source, wait: Wait) -> Result<Fill, ReadError> {
        let fill = match &mut self.large {
            Some((header, body)) => {
                // At most double what has arrived: a claim alone allocates nothing.
                let missing = header.body_bytes as usize - body.len();
                body.reserve_exact(missing.min(body.len().max(CHUNK_BYTES)));
                socket.read_into(body, wait)?
            }
            None => self.fill_buffer(socket, wait)?,
        };
        let between = !self.has_bytes() && self.large.is_none() && self.skipping.is_none();
        if between {
            self.give_buffer_back();
        }
        if between && !socket.is_inside_record() {
            self.begun_at = None;
        } else {
            self.begun_at.get_or_insert_with(Instant::now);
        }
        match fill {
            Fill::Closed if !between => Err(ReadError::Truncated),
            fill => Ok(fill),
        }
    }

    fn fill_buffer(&mut self, socket: &impl Source, wait: Wait) -> Result<Fill, ReadError> {
        self.take_buffer();
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let (fill, read) = socket.read(&mut self.buffer[self.end..], wait)?;
        self.end += read;
        Ok(fill)
    }

    fn take_buffer(&mut self) {
        if self.buffer.is_empty() {
            let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
            self.buffer = spare.unwrap_or_else(|| vec![0; CHUNK_BYTES]);
            (self.start, self.end) = (0, 0);
        }
    }

    /// A reader between two frames holds no memory.
    pub(super) fn give_buffer_back(&mut self) {
        if self.has_bytes() {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        (self.start, self.end) = (0, 0);
        if buffer.len() == CHUNK_BYTES {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < MOST_SPARE {
                spare.push(buffer);
            }
        }
    }

    /// What the frame under way has still to bring, by its own word.
    fn claimed_bytes(&self) -> u64 {
        match (&self.large, &self.skipping) {
            (Some((header, _)), _) => u64::from(header.body_bytes),
            (None, Some((_, _, left))) => *left,
            (None, None) => 0,
        }
    }
}
