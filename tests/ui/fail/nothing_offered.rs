//! A service offers something.

use shmrpc::service;

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    fn forgotten(&self) {}
}

fn main() {
    EchoServer.forgotten();
}
