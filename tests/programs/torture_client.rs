//! A client program for the process tests: many calls in every encoding and size, several in flight, each
//! reply compared with its request. Prints how many calls each worker answered.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::json;
use shmrpc::{
    ConnectOptions, Connection, Door,
    client::{Pending, Target},
    codec::{Bincode, Encode, Json, Msgpack},
};

const ENCODINGS: [&str; 4] = ["echo_raw", "echo_json", "echo_msgpack", "echo_bincode"];
const IN_FLIGHT: usize = 16;
const MAX_BYTES: u64 = 64 << 10;

/// The same fields as the service's `Parcel`.
#[derive(serde::Serialize)]
struct Parcel {
    number: u64,
    text: String,
    bytes: Vec<u8>,
    nested: Option<Box<Parcel>>,
}

/// A small generator (xorshift64*), so that a run can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Small sizes are as likely as large ones.
    fn size(&mut self) -> usize {
        let power = self.next() % 17;
        (self.next() % (1 << power).min(MAX_BYTES + 1)) as usize
    }
}

fn payload(method: &str, random: &mut Random) -> Vec<u8> {
    let len = random.size();
    let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    if method == "echo_raw" {
        return bytes;
    }
    // JSON numbers take up to four bytes each: the encoded value stays within 64 KiB or so.
    let bytes = bytes[..len / 4].to_vec();
    let parcel = Parcel { number: random.next(), text: "täxt ".repeat(len % 7), bytes, nested: None };
    let mut out = Vec::new();
    let encoded = match method {
        "echo_json" => Json::encode(&(parcel,), &mut out),
        "echo_msgpack" => Msgpack::encode(&(parcel,), &mut out),
        _ => Bincode::encode(&(parcel,), &mut out),
    };
    encoded.expect("a parcel has bytes in every encoding");
    out
}

/// What an echo must answer: the argument without the tuple around it.
fn expected(method: &str, payload: &[u8]) -> Vec<u8> {
    match method {
        "echo_json" => payload[1..payload.len() - 1].to_vec(),
        "echo_msgpack" => payload[1..].to_vec(),
        _ => payload.to_vec(),
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut number = || args.next().and_then(|arg| arg.parse::<u64>().ok());
    let (Some(calls), Some(seed)) = (number(), number()) else {
        eprintln!("usage: torture_client CALLS SEED");
        return ExitCode::from(2);
    };
    let connection = Connection::connect_any("shm://torture", &ConnectOptions::default()).expect("connected");
    let service = connection.service();
    let mut random = Random(seed | 1);
    let mut workers: BTreeMap<u64, u64> = BTreeMap::new();
    let mut window: Vec<(usize, &str, Vec<u8>, Pending)> = Vec::new();
    let begin = |method: &'static str, payload: Vec<u8>, serial: usize| {
        let target = Target::from(service.method(method).expect("the service has it"));
        let pending = connection.begin(target, Door::Native, &payload).expect("begun");
        (serial, method, payload, pending)
    };
    for serial in 0..calls as usize {
        if serial % 64 == 0 {
            let target = Target::from(service.method("pid").expect("the service has it"));
            let reply = connection.call_bytes_blocking(target, Door::Json, b"[]").expect("answered");
            let pid: u64 = serde_json::from_slice(&reply.body).expect("a number");
            *workers.entry(pid).or_default() += 1;
        }
        let method = ENCODINGS[(random.next() % 4) as usize];
        let payload = payload(method, &mut random);
        window.push(begin(method, payload, serial));
        if window.len() == IN_FLIGHT {
            let at = (random.next() % IN_FLIGHT as u64) as usize;
            check(window.swap_remove(at));
        }
    }
    window.into_iter().for_each(check);
    println!("{}", json!({ "calls": calls, "workers": workers }));
    ExitCode::SUCCESS
}

fn check((serial, method, payload, pending): (usize, &str, Vec<u8>, Pending)) {
    let reply = pending.wait().unwrap_or_else(|error| panic!("call {serial}, {method}: {error}"));
    assert!(
        reply.body == expected(method, &payload),
        "call {serial}, {method}: {} bytes sent, {} other bytes came back",
        payload.len(),
        reply.body.len()
    );
}
