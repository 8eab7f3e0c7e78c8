//! The reader of frames, fed with bytes in pieces of any length: for the fuzzer and the tests that share its
//! targets, which know what is to be found in those bytes.

use std::{cell::Cell, io};

use super::{
    reader::{FrameReader, Received, Source},
    socket::{Fill, Wait},
};
use crate::frame::{Frame, FrameError, Header, decode};

/// Bytes that come so many at a time.
struct Pieces<'a> {
    bytes: Cell<&'a [u8]>,
    most: usize,
}

impl Pieces<'_> {
    fn take(&self, room: usize) -> (Fill, &[u8]) {
        let bytes = self.bytes.get();
        let (taken, rest) = bytes.split_at(bytes.len().min(room).min(self.most));
        self.bytes.set(rest);
        let fill = match (taken.len(), rest.len()) {
            (0, 0) => Fill::Closed,
            (len, _) if len < room => Fill::Last,
            _ => Fill::Some,
        };
        (fill, taken)
    }
}

impl Source for Pieces<'_> {
    fn read(&self, into: &mut [u8], _: Wait) -> io::Result<(Fill, usize)> {
        let (fill, taken) = self.take(into.len());
        into[..taken.len()].copy_from_slice(taken);
        Ok((fill, taken.len()))
    }

    fn read_into(&self, into: &mut Vec<u8>, _: Wait) -> io::Result<Fill> {
        let (fill, taken) = self.take(into.capacity() - into.len());
        into.extend_from_slice(taken);
        Ok(fill)
    }

    fn is_inside_record(&self) -> bool {
        false
    }
}

/// Every frame that a connection would see. What is held meanwhile is little more than what has come.
pub(crate) fn read_in_pieces(
    bytes: &[u8],
    most: usize,
    limit_bytes: u64,
    mut took: impl FnMut(Header, Result<Frame, FrameError>),
) {
    /// The reader's own buffer, and the first of a large frame.
    const AT_LEAST_BYTES: usize = 256 << 10;
    let source = Pieces { bytes: Cell::new(bytes), most };
    let mut reader = FrameReader::new(limit_bytes);
    loop {
        match reader.next() {
            Ok(Some(Received::Frame(header, body))) => {
                took(header, decode(header, body.into_bytes(), limit_bytes));
                continue;
            }
            Ok(Some(Received::Oversized { header, error })) => {
                took(header, Err(error));
                continue;
            }
            Ok(None) => {}
            Err(_) => return,
        }
        match reader.fill(&source, Wait::No) {
            Ok(Fill::Closed) | Err(_) => return,
            Ok(_) => {}
        }
        let come = bytes.len() - source.bytes.get().len();
        let held = reader.capacity_bytes();
        assert!(held <= 2 * come + AT_LEAST_BYTES, "{held} bytes are held for {come} that have come");
    }
}
