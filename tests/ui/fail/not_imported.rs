//! The method attributes are imported like any other name.

use shmrpc::service;

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn echo(&self) {}
}

fn main() {}
