//! A worker that stops in the midst of a call, all of its threads: it neither answers nor dies.

use nix::sys::signal::{Signal, raise};
use shmrpc::{json_method, service};

/// Hangs when asked.
#[derive(Default)]
pub struct Hanging;

#[service(name = "hanging", port = 5972)]
impl Hanging {
    /// The worker's process id.
    #[json_method]
    fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Never answers.
    #[json_method]
    fn hang(&self) {
        raise(Signal::SIGSTOP).unwrap();
    }
}

shmrpc::worker_main!(Hanging);
