//! A `Result` spells out both its types.

use std::{fmt, io};

use shmrpc::{json_method, raw_method, service};

type Result<T> = std::result::Result<T, String>;

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn alias(&self) -> Result<u32> {
        Ok(1)
    }

    #[json_method]
    async fn io(&self) -> io::Result<u32> {
        Ok(1)
    }

    #[raw_method]
    fn fmt(&self) -> fmt::Result {
        Ok(())
    }
}

fn main() {}
