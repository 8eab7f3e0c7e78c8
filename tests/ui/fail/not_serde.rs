//! What travels is serialised.

use shmrpc::{json_method, msgpack_method, raw_method, service};

struct EchoServer;

#[derive(Clone)]
struct Opaque;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn takes(&self, _value: Opaque) {}

    #[msgpack_method]
    fn returns(&self) -> Vec<Opaque> {
        Vec::new()
    }

    #[json_method]
    async fn fails(&self) -> Result<u32, Opaque> {
        Ok(1)
    }

    #[raw_method]
    fn bytes(&self) -> Opaque {
        Opaque
    }
}

fn main() {}
