//! The worker program of the echo service. `service.ini` names it, and `shmrpc-service` starts as many as it
//! needs; by hand:
//!
//! ```text
//! cargo run --example echo_server -- --serve       # serve alone, until ^C
//! cargo run --example echo_server -- --describe    # say what it offers
//! ```

#[path = "echo/service.rs"]
#[allow(dead_code, reason = "clients are made too")]
mod service;

use service::EchoServer;

shmrpc::worker_main!(EchoServer);
