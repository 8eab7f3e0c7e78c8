//! A worker program for the daemon's tests: it says who it is, prints, takes its time, and dies when asked.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use shmrpc::{StreamReceiver, bincode_method, json_method, logger, raw_method, service};

/// Answers questions about itself.
#[derive(Default)]
pub struct Probe {
    calls: AtomicU64,
}

#[service(name = "probe", port = 5999)]
impl Probe {
    /// Bytes in, bytes out.
    #[raw_method]
    fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    /// The worker's process id.
    #[json_method(read_only)]
    fn pid(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::process::id()
    }

    /// A sum.
    #[json_method(idempotent)]
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    /// A sum of as many as come, and of what was there before.
    #[json_method]
    fn add_all(&self, before: i64, numbers: StreamReceiver<i64>) -> Result<i64, String> {
        let mut numbers = std::iter::from_fn(|| numbers.recv());
        numbers.try_fold(before, |sum, number| Ok(sum + number.map_err(|error| error.to_string())?))
    }

    /// The same in the guarded encoding.
    #[bincode_method]
    fn add_guarded(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    /// Prints a line to standard output, and logs it.
    #[json_method]
    fn say(&self, line: String) {
        println!("{line}");
        logger().info(&line);
    }

    /// Says that it begins, and takes its time.
    #[json_method]
    fn slow(&self, ms: u64) -> u32 {
        println!("slow begins");
        sleep(Duration::from_millis(ms));
        std::process::id()
    }

    /// Keeps a processor busy for so long.
    #[json_method]
    fn burn(&self, ms: u64) -> u32 {
        let until = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        std::process::id()
    }

    /// Ends the worker in mid-call.
    #[json_method]
    fn die(&self) {
        std::process::abort();
    }
}

shmrpc::worker_main!(Probe);
