//! `#[service]` stands on an `impl` block or a trait.

use shmrpc::{json_method, service};

#[service(name = "echo_serv", port = 5555)]
struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
fn echo() {}

#[service(name = "echo_serv", port = 5555)]
mod echoes {}

trait Echo {
    fn echo(&self);
}

#[service(name = "echo_serv", port = 5555)]
impl Echo for EchoServer {
    #[json_method]
    fn echo(&self) {}
}

fn main() {
    echo();
    EchoServer.echo();
}
