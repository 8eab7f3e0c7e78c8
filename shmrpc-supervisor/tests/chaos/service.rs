//! The service of the chaos run: methods in several encodings, blocking and async, in place and streaming, each
//! with an answer that its caller can check to the byte. Calls that must not be run twice are noted in a file.

use std::{fs::File, io::Write, time::Duration};

use shmrpc::{
    Loan, LoanError, ShmBytes, StreamReceiver, StreamSender, json_method, msgpack_method, raw_method, service,
};

use crate::{
    ledger::{self, NOTE_BYTES},
    random::answer,
};

/// Answers what can be checked.
pub(crate) struct Chaos {
    /// Where executions are noted, a record each.
    notes: File,
}

impl Default for Chaos {
    fn default() -> Self {
        Self { notes: ledger::open_notes() }
    }
}

impl Chaos {
    fn note(&self, number: u64) {
        let mut record = [0; NOTE_BYTES];
        record[..8].copy_from_slice(&number.to_le_bytes());
        record[8..12].copy_from_slice(&std::process::id().to_le_bytes());
        // One write, appended: whole or not at all.
        (&self.notes).write_all(&record).expect("the notes can be written");
    }
}

/// Answers what can be checked.
#[service(name = "chaos", port = 5602)]
impl Chaos {
    /// Every bit turned over.
    #[raw_method]
    fn invert(&self, data: &[u8]) -> Vec<u8> {
        answer(data)
    }

    /// The same bytes, from place to place.
    #[raw_method]
    fn copy(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        reply.copy_from(data)
    }

    /// Every bit turned over, by a task.
    #[raw_method(idempotent)]
    async fn invert_later(&self, data: Vec<u8>) -> Vec<u8> {
        tokio::time::sleep(Duration::from_millis(data.len() as u64 % 3)).await;
        answer(&data)
    }

    /// The number and the text's length, in JSON.
    #[json_method(idempotent)]
    fn measure(&self, number: u64, text: &str) -> (u64, usize) {
        (number, text.len())
    }

    /// The list backwards, in MessagePack.
    #[msgpack_method]
    fn backwards(&self, mut numbers: Vec<u64>) -> Vec<u64> {
        numbers.reverse();
        numbers
    }

    /// Noted each time that it is run; never to be run twice.
    #[json_method]
    fn once(&self, number: u64) -> u64 {
        self.note(number);
        !number
    }

    /// Noted each time that it is run; twice at most.
    #[json_method(idempotent)]
    fn again(&self, number: u64) -> u64 {
        self.note(number);
        !number
    }

    /// Takes its time.
    #[json_method]
    fn nap(&self, ms: u64) -> u64 {
        std::thread::sleep(Duration::from_millis(ms));
        ms
    }

    /// Counts.
    #[json_method]
    fn count(&self, to: u64, out: StreamSender<u64>) -> u64 {
        (1..=to).take_while(|number| out.send(number).is_ok()).count() as u64
    }

    /// Turns over each item.
    #[raw_method]
    fn invert_all(&self, input: StreamReceiver<Vec<u8>>, out: StreamSender<Vec<u8>>) {
        for item in input.map_while(Result::ok) {
            if out.send(&answer(&item)).is_err() {
                break;
            }
        }
    }
}
