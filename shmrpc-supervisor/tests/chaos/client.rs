//! A client of the chaos run, a process with several lanes: threads and tasks that call in every way there
//! is, and check every reply. It rests, goes on and ends as the run says on its standard input, and says at rest
//! what it holds.

mod calls;
mod lane;
mod many;
mod streams;

use std::{
    io::{BufRead, Write},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use shmrpc::{ConnectError, ConnectOptions};

use self::lane::Lane;
use crate::{
    ledger,
    service::{ChaosBlockingClient, ChaosClient},
};

/// No call may take longer. What the run stops it lets go on long before, and what it kills is replaced.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// What a call may take beyond its deadline: its own process may have been stopped, the machine be busy.
pub(super) const SLACK: Duration = Duration::from_secs(5);
/// Who takes so long hangs.
const HANG: Duration = Duration::from_secs(40);
/// The pair through which tokio hears of signals.
const RUNTIME_SOCKETS: usize = 2;
/// A first line says at rest, a second line that all went on.
pub(super) const REST: &str = "rest";
pub(super) const GO: &str = "go";
pub(super) const END: &str = "end";

/// What the lanes of a process share.
struct Shared {
    resting: AtomicBool,
    ending: AtomicBool,
    parked: AtomicUsize,
    began: Instant,
    /// A lane each: since when it has been at one call, in milliseconds, or 0.
    pulses: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }
}

/// The client's `main`.
pub(crate) fn run(number: u32, seed: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        ledger::wrong(&format!("a client panicked: {panic}"));
        std::process::abort();
    }));
    let shared = Arc::new(Shared {
        resting: AtomicBool::new(false),
        ending: AtomicBool::new(false),
        parked: AtomicUsize::new(0),
        began: Instant::now(),
        pulses: Mutex::default(),
    });
    let client = connect();
    let bodies: [fn(&mut Lane, &ChaosBlockingClient); 6] =
        [calls::blocking, calls::blocking, many::pipelined, many::tasks, streams::run, calls::reconnecting];
    let lanes: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(index, body)| {
            let mut lane = Lane::new(&shared, number, index as u32, seed);
            let client = client.clone();
            thread::spawn(move || body(&mut lane, &client))
        })
        .collect();
    {
        let shared = Arc::clone(&shared);
        thread::spawn(move || watch(&shared));
    }
    obey(&shared, lanes.len());
    for lane in lanes {
        lane.join().expect("a lane that panics ends the process");
    }
    drop(client);
    let until = Instant::now() + SLACK;
    let held = || (own_sockets(), region_bytes());
    let is_much = |held: &(Vec<String>, u64)| held.0.len() > RUNTIME_SOCKETS || held.1 > 0;
    // The library's own thread lets go when it next wakes.
    while is_much(&held()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    let (sockets, region_bytes) = held();
    if sockets.len() > RUNTIME_SOCKETS || region_bytes > 0 {
        let what = format!("{sockets:?} and {region_bytes} bytes of regions");
        ledger::wrong(&format!("a client without connections still has {what}"));
    }
    ExitCode::SUCCESS
}

/// Does what the lines say, until one says that it is the end. The end of all lines is the end of the run.
fn obey(shared: &Shared, lanes: usize) {
    let mut tally = ledger::open_tally();
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok(REST) => {
                shared.resting.store(true, Ordering::SeqCst);
                while shared.parked.load(Ordering::SeqCst) < lanes {
                    thread::sleep(Duration::from_millis(5));
                }
                // What the last calls have left is taken back by the next ones, or by the watcher.
                thread::sleep(Duration::from_millis(300));
                let line = json!({ "fds": fds(), "region_bytes": region_bytes() });
                tally.write_all(format!("{line}\n").as_bytes()).expect("a tally can be written");
            }
            Ok(GO) => shared.resting.store(false, Ordering::SeqCst),
            Ok(END) => {
                shared.ending.store(true, Ordering::SeqCst);
                shared.resting.store(false, Ordering::SeqCst);
                return;
            }
            _ => break,
        }
    }
    std::process::exit(1);
}

/// Ends the process, with a core if the system wants one, when a lane hangs.
fn watch(shared: &Shared) {
    loop {
        thread::sleep(Duration::from_millis(500));
        let now_ms = shared.now_ms();
        for (lane, pulse) in shared.pulses.lock().expect("unpoisoned").iter().enumerate() {
            let since_ms = pulse.load(Ordering::Relaxed);
            if since_ms != 0 && now_ms.saturating_sub(since_ms) > HANG.as_millis() as u64 {
                ledger::wrong(&format!("lane {lane} hangs since {} ms", now_ms - since_ms));
                std::process::abort();
            }
        }
    }
}

fn options() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.deadline = Some(LONG);
    options.reconnect_timeout = LONG;
    options
}

/// Connects, as soon as there is a worker that answers.
fn connect() -> ChaosBlockingClient {
    let until = Instant::now() + LONG + SLACK;
    loop {
        match ChaosBlockingClient::connect_with("shm://", &options()) {
            Ok(client) => return client.with_deadline(LONG),
            Err(error) if can_happen(&error) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                ledger::wrong(&format!("cannot connect: {error}{}", source.unwrap_or_default()));
                std::process::exit(1);
            }
        }
    }
}

/// No worker, one that is stopped, or one that leaves just now.
fn can_happen(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::NotFound { .. } | ConnectError::TimedOut { .. } | ConnectError::Refused { .. }
    )
}

fn async_client(client: &ChaosBlockingClient) -> ChaosClient {
    ChaosClient::from_connection(client.connection().clone())
}

fn fds() -> usize {
    // Less the one that lists them.
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| list.count().saturating_sub(1))
}

fn own_sockets() -> Vec<String> {
    let fds = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let targets = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    targets
        .map(|target| target.display().to_string())
        .filter(|target| target.starts_with("socket:"))
        .collect()
}

/// Bytes of shared regions that this process has mapped.
fn region_bytes() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // Every process has a page of its own behind its doorbells, for as long as it runs.
    let region = |line: &&str| line.contains("memfd:shmrpc") && !line.contains("memfd:shmrpc-doorbell-own");
    let regions = maps.lines().filter(region);
    regions
        .filter_map(|line| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
        })
        .sum()
}
