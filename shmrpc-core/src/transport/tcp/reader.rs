//! Frames out of a TCP stream. Memory grows with what has arrived, never with what a header claims; a
//! frame that has begun must end in time.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::frame::{Frame, FrameError, HEADER_BYTES, Header, decode};

/// How much is read at once, at most, while a frame is small.
const CHUNK_BYTES: usize = 32 << 10;
/// How fast a large frame must come at least, beyond the time that every frame has.
const SLOWEST_BYTES_PER_S: u64 = 64 << 10;

/// What came.
#[derive(Debug)]
pub(super) enum Received {
    Frame(Frame),
    /// A frame longer than allowed; its body has been skipped and the next one may be read.
    Oversized {
        header: Header,
        error: FrameError,
    },
    /// The peer has closed, between two frames.
    Closed,
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
    #[error("a frame was not finished in time")]
    TooSlow,
}

pub(super) struct FrameReader {
    stream: Arc<TcpStream>,
    buffer: BytesMut,
    header: Option<Header>,
    /// An oversized frame's header, its fault, and how much of its body is still to come.
    skipping: Option<(Header, FrameError, u64)>,
    /// When the frame under way was first waited for.
    begun_at: Option<Instant>,
    frame_timeout: Duration,
    max_message_bytes: u64,
}

impl FrameReader {
    pub(super) fn new(stream: Arc<TcpStream>, max_message_bytes: u64, frame_timeout: Duration) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            header: None,
            skipping: None,
            begun_at: None,
            frame_timeout,
            max_message_bytes,
        }
    }

    /// Other limits, from the next frame on.
    pub(super) fn set_limits(&mut self, max_message_bytes: u64, frame_timeout: Duration) {
        self.max_message_bytes = max_message_bytes;
        self.frame_timeout = frame_timeout;
    }

    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next frame. May be dropped and called again: what has been read is kept.
    pub(super) async fn next(&mut self) -> Result<Received, ReadError> {
        loop {
            if let Some(received) = self.parse()? {
                self.begun_at = None;
                return Ok(received);
            }
            if self.fill().await? == 0 {
                let between = self.buffer.is_empty() && self.header.is_none() && self.skipping.is_none();
                return if between { Ok(Received::Closed) } else { Err(ReadError::Truncated) };
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Received>, ReadError> {
        if self.skipping.is_some() {
            return Ok(self.skip());
        }
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
                let header = Header::decode(bytes)?;
                self.buffer.advance(HEADER_BYTES);
                if let Err(error) = header.check(self.max_message_bytes) {
                    self.skipping = Some((header, error, u64::from(header.body_bytes)));
                    return Ok(self.skip());
                }
                self.header = Some(header);
                header
            }
        };
        let body_bytes = header.body_bytes as usize;
        if self.buffer.len() < body_bytes {
            return Ok(None);
        }
        let body = self.buffer.split_to(body_bytes).freeze();
        self.header = None;
        match decode(header, body, self.max_message_bytes) {
            Ok(frame) => Ok(Some(Received::Frame(frame))),
            Err(error @ FrameError::TooLarge { .. }) => Ok(Some(Received::Oversized { header, error })),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops what has come of an oversized body.
    fn skip(&mut self) -> Option<Received> {
        let (header, error, left) = self.skipping.take()?;
        let here = left.min(self.buffer.len() as u64);
        self.buffer.advance(usize::try_from(here).unwrap_or(usize::MAX));
        if left == here {
            return Some(Received::Oversized { header, error });
        }
        self.skipping = Some((header, error, left - here));
        None
    }

    /// Reads what there is. A frame that has begun has a deadline. While nothing comes, a reader between
    /// two frames holds no memory.
    async fn fill(&mut self) -> Result<usize, ReadError> {
        let begun = !self.buffer.is_empty() || self.claimed_bytes() > 0;
        if !begun {
            self.buffer = BytesMut::new();
        }
        let until = begun.then(|| {
            let allowed =
                self.frame_timeout + Duration::from_secs(self.claimed_bytes() / SLOWEST_BYTES_PER_S);
            *self.begun_at.get_or_insert_with(Instant::now) + allowed
        });
        loop {
            match until {
                Some(until) => {
                    timeout_at(until, self.stream.readable()).await.map_err(|_| ReadError::TooSlow)??;
                }
                None => self.stream.readable().await?,
            }
            // At most double what has arrived: a claim alone allocates nothing.
            let claimed = usize::try_from(self.claimed_bytes()).unwrap_or(usize::MAX);
            let missing = claimed.saturating_sub(self.buffer.len()).max(CHUNK_BYTES);
            self.buffer.reserve(missing.min(self.buffer.len().max(CHUNK_BYTES)));
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(read) => return Ok(read),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the frame under way has still to bring, by its own word.
    fn claimed_bytes(&self) -> u64 {
        match (&self.header, &self.skipping) {
            (Some(header), _) => u64::from(header.body_bytes),
            (None, Some((_, _, left))) => *left,
            (None, None) => 0,
        }
    }
}
