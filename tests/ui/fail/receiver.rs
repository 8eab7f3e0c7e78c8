//! An offered method takes `&self`.

use std::sync::Arc;

use shmrpc::{json_method, service};

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn changes(&mut self, value: u32) -> u32 {
        value
    }

    #[json_method]
    fn no_receiver(value: u32) -> u32 {
        value
    }

    #[json_method]
    fn consumes(self) -> u32 {
        1
    }

    #[json_method]
    fn shared(self: Arc<Self>) -> u32 {
        1
    }

    #[json_method]
    fn right(&self) -> u32 {
        1
    }

    fn not_offered(&mut self) {}
}

fn main() {
    // What is right can be used: one mistake makes one error.
    let client = EchoServerBlockingClient::connect("shm://").unwrap();
    let _: u32 = client.right().unwrap();
    EchoServer.not_offered();
}
