//! A worker program for the process tests: echoes in every encoding, and methods that take long, die, or
//! say who answered.

use serde::{Deserialize, Serialize};
use shmrpc::{bincode_method, json_method, msgpack_method, raw_method, service};

#[derive(Default)]
struct Torture;

/// A value with a bit of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    number: u64,
    text: String,
    bytes: Vec<u8>,
    nested: Option<Box<Parcel>>,
}

#[service(name = "torture", port = 5599)]
impl Torture {
    #[raw_method]
    fn echo_raw(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[json_method]
    fn echo_json(&self, parcel: Parcel) -> Parcel {
        parcel
    }

    #[msgpack_method]
    fn echo_msgpack(&self, parcel: Parcel) -> Parcel {
        parcel
    }

    #[bincode_method]
    fn echo_bincode(&self, parcel: Parcel) -> Parcel {
        parcel
    }

    /// Who answers.
    #[json_method(idempotent, read_only)]
    fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Takes its time over a large argument.
    #[raw_method(deadline = "1m")]
    fn slow(&self, data: &[u8]) -> Vec<u8> {
        std::thread::sleep(std::time::Duration::from_secs(2));
        vec![data.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))]
    }

    /// Waits until it is killed, or for `ms`.
    #[json_method]
    fn hang(&self, ms: u64) -> u32 {
        std::thread::sleep(std::time::Duration::from_millis(ms));
        std::process::id()
    }

    /// As `hang`, but may be run again; a file counts how often it was begun.
    #[json_method(idempotent)]
    fn hang_idempotent(&self, ms: u64, tally: String) -> u32 {
        use std::io::Write;
        let tally = std::fs::OpenOptions::new().create(true).append(true).open(tally);
        tally.and_then(|mut file| file.write_all(b"x")).expect("the tally can be written");
        std::thread::sleep(std::time::Duration::from_millis(ms));
        std::process::id()
    }

    /// Ends the worker in the midst of the call.
    #[json_method]
    fn die(&self) {
        std::process::abort();
    }
}

shmrpc::worker_main!(Torture);
