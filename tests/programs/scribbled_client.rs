//! A client program for the process tests whose shared memory somebody else scribbles over: it calls, checks every
//! reply, and connects anew when its connection has become useless. Its argument says whether its messages are `small`
//! and lie in slots, or `large` and lie in arenas. Ends with its standard input, and prints how its calls ended.

use std::{
    collections::BTreeMap,
    io::Read,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use shmrpc::{ConnectOptions, Connection, Door, RpcError, client::Target};

/// A call's deadline, and what it may take beyond: whoever takes longer hangs.
const DEADLINE: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_secs(10);

/// Lengths of arguments and replies that lie in slots, and that do not.
const SMALL: &[usize] = &[0, 40, 192, 224, 400, 464];
const LARGE: &[usize] = &[500, 5000, 1000, 70_000];

fn connect() -> Result<Connection, String> {
    let mut options = ConnectOptions::default();
    options.timeout = DEADLINE;
    let connected = Connection::connect_any("shm://torture", &options);
    connected.map(|connection| connection.with_deadline(DEADLINE)).map_err(|error| error.to_string())
}

/// Calls for as long as its connection is of use; counts outcomes.
fn use_up(connection: &Connection, sizes: &[usize], ends: &AtomicBool, outcomes: &mut BTreeMap<String, u64>) {
    let service = connection.service();
    let Some(method) = service.method("echo_raw") else { return };
    let target = Target::from(method);
    for round in 0..400_usize {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        let len = sizes[round % sizes.len()];
        let data: Vec<u8> = (0..len).map(|at: usize| (at.wrapping_mul(7) ^ round) as u8).collect();
        let began = Instant::now();
        // Two at once, so that one may lie in the ring when the other is scribbled over.
        let other = connection.begin(target, Door::Native, &data);
        let reply = connection.call_bytes_blocking(target, Door::Native, &data);
        let mut useless = false;
        for reply in [reply, other.and_then(shmrpc::client::Pending::wait)] {
            let outcome = match reply {
                Ok(reply) if reply.body == data => "right",
                Ok(reply) => {
                    eprintln!("{} bytes sent, {} other bytes came back", data.len(), reply.body.len());
                    "wrong"
                }
                Err(error) => {
                    useless = true;
                    if error.to_string().contains("was damaged") {
                        // Of the connection's memory, not of the connection.
                        let after = connection.call_bytes_blocking(target, Door::Native, &data);
                        let after = if after.is_ok() { "right after damage" } else { "failed after damage" };
                        *outcomes.entry(after.to_owned()).or_default() += 1;
                    }
                    kind(&error)
                }
            };
            *outcomes.entry(outcome.to_owned()).or_default() += 1;
        }
        assert!(began.elapsed() < DEADLINE + SLACK, "two calls took {:?}", began.elapsed());
        if useless {
            return;
        }
    }
}

fn kind(error: &RpcError) -> &'static str {
    match error {
        RpcError::DeadlineExceeded { .. } => "DeadlineExceeded",
        RpcError::Protocol(_) => "Protocol",
        RpcError::Busy(_) => "Busy",
        RpcError::NoSpace(_) => "NoSpace",
        RpcError::Unavailable { .. } => "Unavailable",
        RpcError::WorkerDied { .. } => "WorkerDied",
        _ => "other errors",
    }
}

fn main() -> ExitCode {
    let ends = Arc::new(AtomicBool::new(false));
    {
        let ends = Arc::clone(&ends);
        std::thread::spawn(move || {
            let _ended = std::io::stdin().read_to_end(&mut Vec::new());
            ends.store(true, Ordering::Relaxed);
        });
    }
    let sizes = if std::env::args().nth(1).as_deref() == Some("large") { LARGE } else { SMALL };
    let mut outcomes = BTreeMap::new();
    while !ends.load(Ordering::Relaxed) {
        match connect() {
            Ok(connection) => {
                *outcomes.entry("connections".to_owned()).or_default() += 1;
                use_up(&connection, sizes, &ends, &mut outcomes);
            }
            Err(reason) => {
                if std::env::var_os("SHMRPC_MUTATION_TRACE").is_some() {
                    eprintln!("{reason}");
                }
                *outcomes.entry("refused connections".to_owned()).or_default() += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    println!("{}", serde_json::json!(outcomes));
    ExitCode::SUCCESS
}
