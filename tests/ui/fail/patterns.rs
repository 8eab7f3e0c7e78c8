//! Parameters are plain names.

use shmrpc::{json_method, service};

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn tuple(&self, (a, b): (u8, u8)) -> u8 {
        a + b
    }

    #[json_method]
    fn bound(&self, whole @ _: u8, ref lent: u8) -> u8 {
        whole + lent
    }
}

fn main() {}
