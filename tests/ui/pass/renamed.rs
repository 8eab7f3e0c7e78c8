//! The facade under another name.
#![deny(warnings)]

mod vendored {
    pub(crate) use ::shmrpc as calls;
}

use vendored::calls::{json_method, raw_method, service};

struct EchoServer;

#[service(crate = crate::vendored::calls, name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    async fn echo(&self, value: u32) -> u32 {
        value
    }

    #[raw_method]
    fn raw(&self) {}
}

#[service(name = "echo", port = 5556, crate = vendored::calls)]
trait Echo {
    #[json_method]
    async fn echo(&self) -> u32;
}

struct Implementation;

impl Echo for Implementation {
    async fn echo(&self) -> u32 {
        2
    }
}

fn main() {
    assert_eq!(EchoServerBlockingClient::in_process(EchoServer).echo(1).unwrap(), 1);
    assert_eq!(EchoBlockingClient::in_process(Implementation).echo().unwrap(), 2);
}
