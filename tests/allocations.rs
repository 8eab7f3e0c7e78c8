//! A raw call through shared memory allocates nothing, on either side, once both are under way: client and worker
//! are in this process, and its allocator counts. What other threads do now and then (a tick of the watcher, a
//! caller that had to sleep) may allocate, so it is the best of many short batches that has to be without.
//!
//! A program of its own, without the test harness, which allocates as it likes.
#![allow(unsafe_code, reason = "an allocator is unsafe by nature; this one only counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shmrpc::{
    ConnectOptions, Definition, ServeOptions, Serving, raw_method,
    server::{Loan, LoanError, ShmBytes},
    service,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is handed to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

struct Echo;

#[service(name = "counted_echo", port = 5596)]
impl Echo {
    #[raw_method]
    fn copied(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        reply.copy_from(data)
    }
}

const BATCH: u32 = 200;
/// For so long each length is tried: a machine may be so busy that client and worker have to sleep for some time.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.path().join("run"));
    options.threads = 1;
    let _serving = Serving::start(Arc::new(Echo), options).expect("the service starts");
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(folder.path().join("run"));
    let client = EchoBlockingClient::connect_with("shm://", &options).expect("it is found");
    let method = &<EchoBlockingClient as Definition>::INFO.methods[0];

    let mut failed = 0;
    for len in [0_usize, 64, 400, 5_000] {
        let message = vec![7; len];
        let mut reply = Vec::with_capacity(len);
        let mut batch = || {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..BATCH {
                let called =
                    client.connection().call_raw_into_blocking::<LoanError>(method, &message, &mut reply);
                assert!(called.is_ok() && reply == message);
            }
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        let until = Instant::now() + PATIENCE;
        let fewest = std::iter::from_fn(|| (Instant::now() < until).then(&mut batch)).find_or_least();
        println!("{len} bytes: {fewest} allocations in {BATCH} calls");
        failed += u32::from(fewest > 0);
    }
    println!(
        "test result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        4 - failed
    );
    ExitCode::from(u8::from(failed > 0))
}

/// The first that is zero, or the least of all.
trait FindOrLeast: Iterator<Item = u64> {
    fn find_or_least(self) -> u64;
}

impl<I: Iterator<Item = u64>> FindOrLeast for I {
    fn find_or_least(self) -> u64 {
        let mut least = u64::MAX;
        for count in self {
            least = least.min(count);
            if least == 0 {
                break;
            }
        }
        least
    }
}
