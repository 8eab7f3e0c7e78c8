//! One client process of a bench: connects, waits for the start, calls, reports.

use std::{
    collections::VecDeque,
    io::{self, Write},
    time::{Duration, Instant},
};

use shmrpc_core::{
    Connection, Door, Encoding, RpcError, Status,
    client::{Pending, Reply},
    codec::{Bincode, CodecError, Encode, Json, Msgpack},
    method::{MethodDescription, Shape},
};

use super::{
    super::{
        args::{BenchArgs, Reach},
        failure::Failure,
        target,
    },
    READY,
    report::{ClientReport, Latencies},
};

/// Calls that are made before anything is measured: the connection grows to the size that it needs.
const WARM_UP: Duration = Duration::from_millis(100);

/// Plays one client.
pub(super) fn run(args: &BenchArgs, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    let connection = target::connect(&args.endpoint, reach, None, false)?;
    let service = connection.service();
    let method = target::method(&service, &args.method)?;
    let payload = payload(method, args.size)?;
    let mut load = Load { connection: &connection, method, payload: &payload, seen: Seen::default() };
    load.go_on(WARM_UP, args.in_flight);

    writeln!(out, "{READY}").and_then(|()| out.flush()).map_err(Failure::output)?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line).is_ok_and(|read| read == 0) {
        return Ok(()); // whoever measures has given up
    }
    load.seen = Seen::default();
    let start = Instant::now();
    load.go_on(args.seconds, args.in_flight);
    let report = ClientReport {
        elapsed_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        bytes: load.seen.bytes,
        errors: load.seen.errors,
        first_error: load.seen.first_error,
        latencies: load.seen.latencies.to_counts(),
    };
    let text = serde_json::to_string(&report).expect("a report is JSON");
    writeln!(out, "{text}").map_err(Failure::output)
}

/// The encoded arguments: bytes for a raw method, a string of that length for another one.
pub(super) fn payload(method: &MethodDescription, size: usize) -> Result<Vec<u8>, Failure> {
    if method.shape != Shape::Unary {
        return Err(Failure::usage(format!("{} is a stream; a bench calls unary methods", method.name)));
    }
    let mut bytes = Vec::new();
    let written = match (method.encoding, method.params.len()) {
        (Encoding::Raw, _) => {
            bytes = (0..size).map(|index| index as u8).collect();
            Ok(())
        }
        (encoding, 0) => encode::<[(); 0]>(encoding, &[], &mut bytes),
        (encoding, 1) => encode(encoding, &("x".repeat(size),), &mut bytes),
        _ => {
            return Err(Failure::usage(format!(
                "{} takes several arguments; a bench sends one or none",
                target::usage_of(method)
            )));
        }
    };
    written.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(bytes)
}

fn encode<T>(encoding: Encoding, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>
where
    Json: Encode<T>,
    Msgpack: Encode<T>,
    Bincode: Encode<T>,
{
    match encoding {
        Encoding::Msgpack => Msgpack::encode(value, out),
        Encoding::Bincode => Bincode::encode(value, out),
        _ => Json::encode(value, out),
    }
}

#[derive(Default)]
struct Seen {
    latencies: Latencies,
    bytes: u64,
    errors: u64,
    first_error: Option<String>,
}

struct Load<'a> {
    connection: &'a Connection,
    method: &'a MethodDescription,
    payload: &'a [u8],
    seen: Seen,
}

impl Load<'_> {
    /// Calls for that long, so many at once, and waits for the answers to all.
    fn go_on(&mut self, time: Duration, in_flight: u32) {
        let until = Instant::now() + time;
        if in_flight == 1 {
            while Instant::now() < until {
                let start = Instant::now();
                let answer = self.begin().and_then(Pending::wait);
                self.count(start, answer);
            }
            return;
        }
        let mut under_way: VecDeque<(Instant, Pending)> = VecDeque::new();
        loop {
            while under_way.len() < in_flight as usize && Instant::now() < until {
                let start = Instant::now();
                match self.begin() {
                    Ok(pending) => under_way.push_back((start, pending)),
                    Err(error) => {
                        self.count(start, Err(error));
                        break;
                    }
                }
            }
            match under_way.pop_front() {
                Some((start, pending)) => self.count(start, pending.wait()),
                None if Instant::now() >= until => return,
                None => {}
            }
        }
    }

    fn begin(&self) -> Result<Pending, RpcError> {
        self.connection.begin(self.method.into(), Door::Native, self.payload)
    }

    fn count(&mut self, start: Instant, answer: Result<Reply, RpcError>) {
        let error = match answer {
            Ok(reply) if reply.status == Status::Ok => {
                self.seen.latencies.record(start.elapsed());
                self.seen.bytes += (self.payload.len() + reply.body.len()) as u64;
                return;
            }
            Ok(reply) => String::from_utf8_lossy(&reply.body).into_owned(),
            Err(error) => error.to_string(),
        };
        self.seen.errors += 1;
        self.seen.first_error.get_or_insert(error);
        // A service that is gone is not asked a million times a second.
        std::thread::sleep(Duration::from_millis(1));
    }
}
