//! Arguments and replies in place, over a transport that lends what it is told to.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::{loan::Draft, *};
use crate::{
    error::Status,
    server::{ReplySink, Responder},
};

struct Lending(Vec<u8>);

impl Lent for Lending {
    fn len_bytes(&self) -> usize {
        self.0.len()
    }

    fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.0[offset..offset + len]);
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

/// Lends rooms of at least `least` bytes and notes what is sent, and whether from a room.
struct Sink {
    least: usize,
    room: Vec<u8>,
    sent: Arc<Mutex<(Vec<u8>, bool)>>,
}

impl ReplySink for Sink {
    fn send(self: Box<Self>, _: Status, body: &[u8]) {
        *self.sent.lock().unwrap() = (body.to_vec(), false);
    }

    fn make_room(&mut self, len_bytes: usize) -> Option<Result<(), LoanError>> {
        self.room = vec![0; len_bytes];
        (len_bytes >= self.least).then_some(Ok(()))
    }

    fn write_room(&mut self, offset: usize, bytes: &[u8]) {
        self.room[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn read_room(&mut self, len_bytes: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.room[..len_bytes]);
    }

    fn send_room(self: Box<Self>, len_bytes: usize) {
        *self.sent.lock().unwrap() = (self.room[..len_bytes].to_vec(), true);
    }
}

fn sent(least: usize, write: impl FnOnce(Loan<'_>)) -> (Vec<u8>, bool) {
    let sent = Arc::default();
    let sink = Sink { least, room: Vec::new(), sent: Arc::clone(&sent) };
    let mut draft = Draft::new(Responder::new(sink));
    write(Loan::new(&mut draft));
    draft.send();
    let sent = sent.lock().unwrap();
    sent.clone()
}

#[test]
fn a_loan_collects_what_is_written() {
    let collected = sent(0, |mut loan| {
        loan.write(b"ab").unwrap();
        io::Write::write_all(&mut loan, b"cd").unwrap();
        assert_eq!(loan.len(), 4);
        loan.copy_from(b"ef").unwrap();
    });
    assert_eq!(collected, (b"abcdef".to_vec(), false));
    assert_eq!(sent(0, |_| ()), (Vec::new(), false));
}

#[test]
fn a_reply_of_known_size_is_written_where_it_will_be_read() {
    let large: Vec<u8> = (0..50_000u32).map(|i| i as u8).collect();
    let lending = Lending(large.clone());
    let argument = Argument::Lent(&lending);
    assert_eq!(sent(100, |loan| loan.copy_from(argument.bytes()).unwrap()), (large.clone(), true));
    assert_eq!(sent(100, |loan| loan.copy_from(&large).unwrap()), (large, true));
    assert_eq!(sent(100, |loan| loan.copy_from(b"few").unwrap()), (b"few".to_vec(), false));
    let parts = sent(100, |mut loan| {
        loan.reserve(200).unwrap();
        loan.write(b"ab").unwrap();
        loan.write(b"cd").unwrap();
    });
    assert_eq!(parts, (b"abcd".to_vec(), true));
}

#[test]
fn a_room_that_is_too_small_is_left() {
    let outgrown = sent(2, |mut loan| {
        loan.reserve(3).unwrap();
        loan.write(b"ab").unwrap();
        loan.write(b"cd").unwrap();
        loan.write(b"ef").unwrap();
    });
    assert_eq!(outgrown, (b"abcdef".to_vec(), false));
    sent(2, |mut loan| {
        assert!(matches!(loan.reserve(usize::MAX), Err(LoanError::TooLarge { .. })));
    });
}
