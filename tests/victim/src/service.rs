//! The service that is called while one side of it dies.

use std::time::Duration;

use shmrpc::{StreamReceiver, StreamSender, json_method, raw_method, service};

/// What an echo answers: every bit turned over, so that nobody's own argument passes for an answer.
#[must_use]
pub fn inverted(data: &[u8]) -> Vec<u8> {
    data.iter().map(|byte| !byte).collect()
}

/// Answers what can be checked.
#[derive(Default)]
pub struct Victim;

/// Answers what can be checked.
#[service(name = "victim", port = 5608)]
impl Victim {
    /// Every bit turned over.
    #[raw_method]
    fn invert(&self, data: &[u8]) -> Vec<u8> {
        inverted(data)
    }

    /// Who answers.
    #[json_method(idempotent, read_only)]
    fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Takes its time.
    #[json_method]
    fn nap(&self, ms: u64) -> u32 {
        std::thread::sleep(Duration::from_millis(ms));
        std::process::id()
    }

    /// As `nap`, and may be run again.
    #[json_method(idempotent)]
    fn nap_again(&self, ms: u64) -> u32 {
        std::thread::sleep(Duration::from_millis(ms));
        std::process::id()
    }

    /// Turns over each item.
    #[raw_method]
    fn invert_all(&self, input: StreamReceiver<Vec<u8>>, out: StreamSender<Vec<u8>>) {
        for item in input.map_while(Result::ok) {
            if out.send(&inverted(&item)).is_err() {
                break;
            }
        }
    }
}
