//! A worker that keeps whatever it is given.

use std::sync::Mutex;

use shmrpc::{json_method, service};

/// Forgets nothing.
#[derive(Default)]
pub struct Leaking {
    kept: Mutex<Vec<Vec<u8>>>,
}

#[service(name = "leaking", port = 5971)]
impl Leaking {
    /// Uses so much more memory; gives the worker's process id.
    #[json_method]
    fn keep(&self, len_bytes: usize) -> u32 {
        // Written to, so that it is there.
        self.kept.lock().unwrap().push(vec![1; len_bytes]);
        std::process::id()
    }
}

shmrpc::worker_main!(Leaking);
