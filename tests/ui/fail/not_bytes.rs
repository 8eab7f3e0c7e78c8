//! A raw reply that only the compiler can see not to be bytes. (That a value cannot be serialised is shown at
//! the value's type in the same way; those messages list what other crates implement and change with them.)

use shmrpc::{raw_method, service};

struct EchoServer;

struct Opaque;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[raw_method]
    fn bytes(&self) -> Opaque {
        Opaque
    }
}

fn main() {}
