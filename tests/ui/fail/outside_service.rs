//! The method attributes have a meaning only inside a service.

use shmrpc::{json_method, raw_method};

struct EchoServer;

impl EchoServer {
    #[json_method]
    fn forgotten(&self) -> u32 {
        1
    }
}

#[raw_method(idempotent)]
fn free() {}

fn main() {
    EchoServer.forgotten();
    free();
}
