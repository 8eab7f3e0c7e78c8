//! Arguments and replies in place, over a transport that lends what it is told to.

use std::io;

use super::{
    loan::{Draft, Drafted},
    *,
};
use crate::server::CallContext;

struct Lending(Vec<u8>);

impl Lent for Lending {
    fn len_bytes(&self) -> usize {
        self.0.len()
    }

    fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.0[offset..offset + len]);
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0[offset..offset + into.len()]);
    }

    fn region(&self) -> Option<(&Region, usize)> {
        None
    }
}

impl Near for Lending {
    fn context(&self) -> CallContext {
        CallContext::new(0, None)
    }
}

#[test]
fn parts_are_cut_at_the_end_wherever_they_lie() {
    let lending = Lending(b"abcdef".to_vec());
    for argument in [Argument::Copied(Cow::Borrowed(b"abcdef")), Argument::Lent(&lending)] {
        let bytes = argument.bytes();
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
        assert_eq!(bytes.to_vec(), b"abcdef");
    }
}

/// Lends rooms of at least `least` bytes.
struct Memory {
    least: usize,
    room: Vec<u8>,
}

impl Room for Memory {
    fn make(&mut self, len_bytes: usize) -> Result<usize, LoanError> {
        self.room = vec![0; len_bytes.max(self.least)];
        Ok(self.room.len())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.room[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn fill(&mut self, offset: usize, source: &dyn Lent) {
        source.copy_to(0, &mut self.room[offset..offset + source.len_bytes()]);
    }

    fn read(&mut self, len_bytes: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.room[..len_bytes]);
    }
}

/// What is written, and whether into a room of at least so many bytes; without one, into a buffer.
fn sent(least: Option<usize>, write: impl FnOnce(Loan<'_>)) -> (Vec<u8>, bool) {
    let mut memory = Memory { least: least.unwrap_or(0), room: Vec::new() };
    let mut draft = Draft::new(least.is_some().then_some(&mut memory as &mut dyn Room));
    write(Loan::new(&mut draft));
    match draft.finish() {
        Drafted::Room(len_bytes) => (memory.room[..len_bytes].to_vec(), true),
        Drafted::Buffer(buffer) => (buffer, false),
    }
}

#[test]
fn a_loan_collects_what_is_written() {
    let collected = sent(None, |mut loan| {
        loan.write(b"ab").unwrap();
        io::Write::write_all(&mut loan, b"cd").unwrap();
        assert_eq!(loan.len(), 4);
        loan.copy_from(b"ef").unwrap();
    });
    assert_eq!(collected, (b"abcdef".to_vec(), false));
    assert_eq!(sent(None, |_| ()), (Vec::new(), false));
}

#[test]
fn a_reply_of_known_size_is_written_where_it_will_be_read() {
    let large: Vec<u8> = (0..50_000u32).map(|i| i as u8).collect();
    let lending = Lending(large.clone());
    let argument = Argument::Lent(&lending);
    assert_eq!(sent(Some(100), |loan| loan.copy_from(argument.bytes()).unwrap()), (large.clone(), true));
    assert_eq!(sent(Some(100), |loan| loan.copy_from(&large).unwrap()), (large, true));
    assert_eq!(sent(Some(100), |loan| loan.copy_from(b"few").unwrap()), (b"few".to_vec(), true));
    let parts = sent(Some(100), |mut loan| {
        loan.reserve(200).unwrap();
        loan.write(b"ab").unwrap();
        loan.write(b"cd").unwrap();
    });
    assert_eq!(parts, (b"abcd".to_vec(), true));
}

#[test]
fn a_room_that_is_too_small_is_left() {
    let outgrown = sent(Some(2), |mut loan| {
        loan.reserve(3).unwrap();
        loan.write(b"ab").unwrap();
        loan.write(b"cd").unwrap();
        loan.write(b"ef").unwrap();
    });
    assert_eq!(outgrown, (b"abcdef".to_vec(), false));
    sent(Some(2), |mut loan| {
        assert!(matches!(loan.reserve(usize::MAX), Err(LoanError::TooLarge { .. })));
    });
}

#[test]
fn what_is_skipped_counts() {
    for least in [None, Some(2)] {
        let (message, _) = sent(least, |mut loan| {
            loan.reserve(5).unwrap();
            loan.write(b"ab").unwrap();
            loan.skip(2).unwrap();
            loan.write(b"c").unwrap();
        });
        assert_eq!(message, b"ab\0\0c");
    }
}
