//! The options of the method attributes.

use shmrpc::{bincode_method, json_method, msgpack_method, raw_method, service};

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method(timeout = "2s")]
    fn unknown(&self) {}

    #[json_method(deadline = "2")]
    fn no_unit(&self) {}

    #[msgpack_method(deadline = "0s")]
    fn zero(&self) {}

    #[bincode_method(deadline = 2)]
    fn number(&self) {}

    #[raw_method(deadline)]
    fn no_value(&self) {}

    #[json_method(idempotent = true)]
    fn flag_with_value(&self) {}

    #[json_method(read_only, read_only)]
    fn twice(&self) {}

    #[json_method = "2s"]
    fn not_in_brackets(&self) {}
}

fn main() {}
