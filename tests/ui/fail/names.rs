//! Methods are known by their names alone; some names are the clients' own.

use shmrpc::{json_method, msgpack_method, service};

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn echo(&self, value: u32) -> u32 {
        value
    }

    #[msgpack_method]
    fn echo(&self, value: String) -> String {
        value
    }

    #[json_method]
    fn connect(&self) {}

    #[json_method]
    #[msgpack_method]
    fn two_encodings(&self) {}

    #[json_method]
    #[json_method]
    fn marked_twice(&self) {}

    #[json_method]
    #[cfg(unix)]
    fn only_on_unix(&self) {}
}

fn main() {}
